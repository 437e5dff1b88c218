"""How each surface spells a way out.

A terminal types ``nbflow dags unpause sales``, a notebook ``%dag unpause sales``. A command without a magic is typed in
a notebook as in a shell: ``!nbflow db migrate``. Arguments are declared once for all surfaces, so only the head
differs."""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum
from typing import TYPE_CHECKING

from nbflow.core.reasons import WaitReason
from nbflow.errors import NbflowError
from nbflow.way_out import Way, respelled

if TYPE_CHECKING:
    from nbflow.commands.base import Command


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
    one = _declared(name)
    return one.magic if one is not None and one.magic else f"!nbflow {name}"


def _declared(name: str) -> Command | None:
    """The command; None for one that a terminal alone has, as "db migrate"."""
    from nbflow.commands import commands_of

    return next((one for one in commands_of(name.split()[0]) if name in (one.name, *one.also)), None)


def shown_ways(ways: Iterable[Way], surface: Surface) -> list[str]:
    """Those of the ways that the surface has, as one types them there."""
    known = [(way, _declared(way.command)) for way in ways]
    there = [way for way, one in known if surface is Surface.NOTEBOOK or one is None or one.terminal]
    return [spelled(way, surface) for way in there]


def invocation(name: str, surface: Surface, *words: str) -> str:
    """A command with the words behind it, as a surface spells it."""
    return spelled(Way(name, words), surface)


def respelled_for(text: str, ways: Iterable[Way], surface: Surface) -> str:
    """A text with the ways that it names as the surface spells them."""
    return respelled(text, ways, lambda way: spelled(way, surface))


def told(said: NbflowError | WaitReason, surface: Surface) -> str:
    """The text of an error or a reason, with its ways out as the surface spells them."""
    text = said.text if isinstance(said, WaitReason) else str(said)
    return respelled_for(text, said.ways, surface)
