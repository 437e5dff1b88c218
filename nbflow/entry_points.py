"""The entry points: where the surfaces, which know nothing of each other, are put together. Nothing else imports this
module."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from nbflow.teach.commands import provide


def main(argv: Sequence[str] | None = None, environ: Mapping[str, str] | None = None) -> int:
    """``nbflow``: carry out one command line and return its exit code."""
    from nbflow.cli.main import main as carry_out

    provide()
    return carry_out(argv, environ)


def load(shell: Any) -> None:
    """``%load_ext nbflow``."""
    from nbflow.notebook.magics import load as load_magics

    provide()
    load_magics(shell)


def unload(shell: Any) -> None:
    """``%unload_ext nbflow``."""
    from nbflow.notebook.magics import unload as unload_magics

    unload_magics(shell)
