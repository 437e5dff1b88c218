"""The syntax of a suggested command on each surface.

A terminal shows ``nbflow dags unpause sales``, a notebook ``%dag unpause sales``. A notebook shows a command without a
magic as a shell command: ``!nbflow db migrate``. The arguments are the same on all surfaces.
"""

from __future__ import annotations

from enum import Enum

from nbflow.commands import command_named
from nbflow.core.wait_reasons import WaitReason
from nbflow.errors import NbflowError
from nbflow.suggested_commands import SuggestedCommand, respelled


class Surface(Enum):
    """A surface that displays texts."""

    TERMINAL = "terminal"
    NOTEBOOK = "notebook"


def spelled(suggested: SuggestedCommand, surface: Surface) -> str:
    """The command in the surface's syntax."""
    if surface is Surface.TERMINAL:
        return str(suggested)
    return str(suggested).replace(f"nbflow {suggested.command}", _magic(suggested.command), 1)


def _magic(name: str) -> str:
    return command_named(name).magic or f"!nbflow {name}"


def invocation(name: str, surface: Surface, *words: str) -> str:
    """A command with arguments in the surface's syntax."""
    return spelled(SuggestedCommand(name, words), surface)


def text_on(surface: Surface, message: NbflowError | WaitReason) -> str:
    """The text of an error or a wait reason, with its suggested commands in the surface's syntax."""
    text = message.text if isinstance(message, WaitReason) else str(message)
    return respelled(text, message.suggestions, lambda suggested: spelled(suggested, surface))
