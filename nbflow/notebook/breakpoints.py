"""``breakpoint()`` in a task under ``%dag test`` in a kernel.

In a kernel with debugpy, ``breakpoint()`` calls debugpy, which silently ignores the call while no debugger is attached.
In that case Python's default hook replaces debugpy's during the test, and the pdb prompt opens below the cell.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def python_breakpoint_hook() -> Iterator[None]:
    """Install Python's default hook during the block, if debugpy's hook is installed and no debugger is attached."""
    hook = sys.breakpointhook
    if not _ignores_breakpoints(hook):
        yield
        return
    sys.breakpointhook = sys.__breakpointhook__
    try:
        yield
    finally:
        sys.breakpointhook = hook


def _ignores_breakpoints(hook: object) -> bool:
    debugpy = sys.modules.get("debugpy")
    if debugpy is None or "debugpy" not in getattr(hook, "__qualname__", ""):
        return False
    return not debugpy.is_client_connected()
