"""How each surface spells a way out.

A terminal types ``nbflow dags unpause sales``, a notebook ``%dag unpause sales``. A command without a magic is typed in
a notebook as in a shell: ``!nbflow db migrate``. Arguments are declared once for all surfaces, so only the head
differs."""

from __future__ import annotations

from enum import Enum

from nbflow.core.reasons import WaitReason
from nbflow.errors import NbflowError
from nbflow.way_out import Way, respelled


class Surface(Enum):
    """Where somebody reads what nbflow says."""

    TERMINAL = "terminal"
    NOTEBOOK = "notebook"


def spelled(way: Way, surface: Surface) -> str:
    """What one types."""
    if surface is Surface.TERMINAL:
        return str(way)
    return str(way).replace(f"nbflow {way.command}", _magic(way.command), 1)


def _magic(name: str) -> str:
    from nbflow.commands import MODULES, command

    magic = command(name).magic if name.split()[0] in MODULES else ""
    return magic or f"!nbflow {name}"


def invocation(name: str, surface: Surface, *words: str) -> str:
    """A command with the words behind it, as a surface spells it."""
    return spelled(Way(name, words), surface)


def told(said: NbflowError | WaitReason, surface: Surface) -> str:
    """The text of an error or a reason, with its ways out as the surface spells them."""
    text = said.text if isinstance(said, WaitReason) else str(said)
    return respelled(text, said.ways, lambda way: spelled(way, surface))
