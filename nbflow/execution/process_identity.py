"""A process by its number and its start: numbers are used again, so a number alone names whatever has it now.

Linux tells the start of a process; elsewhere there is the number alone. Where the kernel has pidfds, a signal goes
through one that was opened before the start was compared, so no other process can take the number in between.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass

LOOK_SECONDS = 0.02
"""How often a process is looked at where nothing tells its end."""


def process_started(pid: int) -> float | None:
    """Start time of a process, in clock ticks since boot: distinguishes it from a later process with the same pid.
    None if there is no such process, or only a zombie."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            stat = file.read().rpartition(b")")[2].split()  # the name before it may hold anything
            return None if stat[0] in (b"Z", b"X") else float(stat[19])
    except (OSError, IndexError, ValueError):
        return None


def starts_are_told() -> bool:
    """Whether this system tells when processes started."""
    return process_started(os.getpid()) is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessIdentity:
    """One process of this machine. ``started``: what :func:`process_started` said of it, None where it is unknown."""

    pid: int
    started: float | None

    def lives(self) -> bool:
        """Whether it runs; a zombie does not."""
        started = process_started(self.pid)
        if started is not None:
            return self.started in (None, started)
        if starts_are_told():
            return False
        try:
            os.kill(self.pid, 0)
        except OSError as error:
            return isinstance(error, PermissionError)
        return True

    def send(self, number: signal.Signals) -> bool:
        """Send it a signal; whether it was there to get it. Raises PermissionError for another user's process."""
        with self._pidfd() as handle, contextlib.suppress(ProcessLookupError):
            if self.lives():
                if handle is not None:
                    signal.pidfd_send_signal(handle, number)
                else:
                    os.kill(self.pid, number)
                return True
        return False

    def wait(self, seconds: float) -> bool:
        """Wait for its end; whether it has ended."""
        until = time.monotonic() + seconds
        with self._pidfd() as handle:
            while self.lives() and (left := until - time.monotonic()) > 0:
                if handle is None:
                    time.sleep(min(left, LOOK_SECONDS))
                else:
                    select.select([handle], [], [], left)
        return not self.lives()

    @contextlib.contextmanager
    def _pidfd(self) -> Iterator[int | None]:
        """A handle on the process that has the number now; None where there is none, or the system has no such."""
        handle = None
        with contextlib.suppress(OSError, AttributeError):
            handle = os.pidfd_open(self.pid)
        try:
            yield handle
        finally:
            if handle is not None:
                os.close(handle)
