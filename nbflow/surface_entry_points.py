"""The entry points. Only this module combines the surfaces, which do not import each other; no other module imports
it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from nbflow.teach.commands import provide


def main(argv: Sequence[str] | None = None, environ: Mapping[str, str] | None = None) -> int:
    """``nbflow``: run a command line. Returns its exit code."""
    from nbflow.cli.main import main as run_command_line

    provide()
    return run_command_line(argv, environ)


def load(shell: Any) -> None:
    """``%load_ext nbflow``."""
    from nbflow.notebook.magics import load as load_magics

    provide()
    load_magics(shell)


def unload(shell: Any) -> None:
    """``%unload_ext nbflow``."""
    from nbflow.notebook.magics import unload as unload_magics

    unload_magics(shell)
