"""``breakpoint()`` in a task under ``%dag test`` stops, in a kernel too.

A kernel that can be debugged hands ``breakpoint()`` to debugpy, which passes over it without a word while no debugger
is attached. Then Python's own hook is put in its place for as long as the test takes: the prompt opens below the cell.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def breakpoints_stop() -> Iterator[None]:
    """See above. A hook that is not debugpy's, or an attached debugger, is left as it is."""
    hook = sys.breakpointhook
    if not _passed_over(hook):
        yield
        return
    sys.breakpointhook = sys.__breakpointhook__
    try:
        yield
    finally:
        sys.breakpointhook = hook


def _passed_over(hook: object) -> bool:
    debugpy = sys.modules.get("debugpy")
    if debugpy is None or "debugpy" not in getattr(hook, "__qualname__", ""):
        return False
    return not debugpy.is_client_connected()
