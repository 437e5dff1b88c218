"""How each surface spells a suggested command.

A terminal shows ``nbflow dags unpause sales``, a notebook ``%dag unpause sales``. A command without a magic is run from
a notebook through the shell: ``!nbflow db migrate``. All surfaces have the same arguments, so only the command differs.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

from nbflow.commands import commands_of
from nbflow.core.wait_reasons import WaitReason
from nbflow.errors import NbflowError
from nbflow.suggestions import SuggestedCommand, respelled

if TYPE_CHECKING:
    from nbflow.commands.base import Command


class Surface(Enum):
    """Where a text is displayed."""

    TERMINAL = "terminal"
    NOTEBOOK = "notebook"


def spelled(suggested: SuggestedCommand, surface: Surface) -> str:
    """The command line or magic."""
    if surface is Surface.TERMINAL:
        return str(suggested)
    return str(suggested).replace(f"nbflow {suggested.command}", _magic(suggested.command), 1)


def _magic(name: str) -> str:
    command = _declared(name)
    return command.magic if command is not None and command.magic else f"!nbflow {name}"


def _declared(name: str) -> Command | None:
    """The command; None if only the command line has it ("db migrate")."""
    commands = commands_of(name.split()[0])
    return next((command for command in commands if name in (command.name, *command.aliases)), None)


def invocation(name: str, surface: Surface, *words: str) -> str:
    """A command with arguments in the surface's syntax."""
    return spelled(SuggestedCommand(name, words), surface)


def text_on(surface: Surface, message: NbflowError | WaitReason) -> str:
    """The text of an error or a reason, with its suggested commands in the surface's syntax."""
    text = message.text if isinstance(message, WaitReason) else str(message)
    return respelled(text, message.suggestions, lambda suggested: spelled(suggested, surface))
