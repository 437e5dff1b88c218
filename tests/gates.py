"""Gates: where user code waits for the test, without looking again and again.

A gate is a lock on a file. The test holds it; user code asks for a share of it, and the kernel wakes whoever waits when
the test opens the gate. Who comes later walks through, and a gate whose test has died is open.
"""

from __future__ import annotations

import fcntl
from pathlib import Path

WAIT_AT = """\
def wait_at(path):
    import fcntl
    with open(path) as gate:
        fcntl.flock(gate, fcntl.LOCK_SH)
"""
"""The side of the user's code: ``wait_at(path)`` returns when the gate is open."""


class Gate:
    """A closed gate at ``path``."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = open(path, "w")  # noqa: SIM115 -- the open file is the lock
        fcntl.flock(self._file, fcntl.LOCK_EX)

    def open(self) -> None:
        """Let all pass who wait, and all who come."""
        self._file.close()

    def __enter__(self) -> Gate:
        return self

    def __exit__(self, *_: object) -> None:
        self.open()
