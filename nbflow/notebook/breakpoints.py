"""``breakpoint()`` in a task under ``%dag test`` stops in a kernel too.

In a kernel with debugpy ``breakpoint()`` calls debugpy, which silently ignores it while no debugger is attached. In
that case Python's own hook replaces debugpy's during the test, and the pdb prompt opens below the cell.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def breakpoints_stop() -> Iterator[None]:
    """Install Python's hook while the block runs, unless the hook is not debugpy's or a debugger is attached."""
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
