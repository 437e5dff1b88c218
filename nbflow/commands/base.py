"""What a command is, what it answers, and how it is carried out. See the rules in :mod:`nbflow.commands`."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nbflow.arguments import BACKFILL, CONNECTION, DAG, POOL, RUN, TASK, VARIABLE, Argument, UsageError, Values
from nbflow.commands.permissions import PERMISSIONS
from nbflow.errors import NbflowError

if TYPE_CHECKING:
    from nbflow.commands.context import Context

Row = Mapping[str, Any]


class Refused(NbflowError):
    """A command cannot be carried out now. Nothing was changed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What a command did."""

    text: str
    """A sentence for people."""
    rows: tuple[Row, ...] = ()
    """The same as data, for ``-o json`` and later REST."""
    value: Any = None
    """What the function in ``nbflow.notebook`` returns."""
    warnings: tuple[str, ...] = ()
    ok: bool = True
    """False: it was done, and its outcome is a failure (a wrong answer, say). A terminal then ends with exit code 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """What a command would change."""

    text: str
    items: tuple[Row, ...] = ()


def _nothing(context: Context, args: Values) -> None:
    return None


def _no_question(context: Context, args: Values, preview: Preview | None) -> str:
    return ""


def _no_reasons(context: Context, args: Values) -> Sequence[str]:
    return ()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Command:
    """One thing that can be done."""

    name: str
    """All its words: "dags pause"."""
    help: str
    permission: str
    arguments: tuple[Argument, ...] = ()
    example: str = ""
    """Words behind the command that make sense."""
    magic: str = ""
    """How a notebook spells it: "%dag pause"."""
    also: tuple[str, ...] = ()
    changes: bool = False
    run: Callable[[Context, Values], Result] | None = None
    preview: Callable[[Context, Values], Preview | None] = _nothing
    confirmation: Callable[[Context, Values, Preview | None], str] = _no_question
    """The question to ask first; empty: none. It is given the preview."""
    refusals: Callable[[Context, Values], Sequence[str]] = _no_reasons
    """Reasons why it cannot be done now, worst first."""
    more: str = ""
    """Shown under the options."""

    @property
    def asks(self) -> bool:
        """Whether it may ask before it is carried out."""
        return self.confirmation is not _no_question

    def __post_init__(self) -> None:
        if self.permission not in PERMISSIONS:
            raise ValueError(
                f"{self.name}: there is no permission {self.permission!r}; see nbflow.commands.permissions"
            )


SUBJECTS = (DAG, TASK, RUN, BACKFILL, VARIABLE, CONNECTION, POOL)
"""Types of arguments that name what a command is about: they stand in the audit log, other values may be secret."""


Sure = Callable[[str, "Preview | None"], bool]
"""Whether somebody who is asked the question, and is shown what would change, says yes."""


def carry_out(
    command: Command, context: Context, args: Values, *, sure: Sure = lambda question, preview: True
) -> Result | None:
    """Do it, if ``sure`` answers its confirmation with yes; None if not. Raises Refused with the first reason against
    it, or the error of what went wrong; a change that failed stands in the audit log."""
    assert command.run is not None, f"{command.name} only looks"
    try:
        reasons = command.refusals(context, args)
        if reasons:
            raise Refused(reasons[0])
        preview = command.preview(context, args) if command.asks else None
        question = command.confirmation(context, args, preview)
        if question and not sure(question, preview):
            return None
        return command.run(context, args)
    except UsageError:
        raise  # nothing was asked for that could be understood
    except NbflowError as error:
        if command.changes:
            with contextlib.suppress(NbflowError):  # the error itself may be that there is no metastore
                _audit_failure(command, context, args, error)
        raise


def _audit_failure(command: Command, context: Context, args: Values, error: NbflowError) -> None:
    subject = {one.name: value for one in command.arguments if one.type in SUBJECTS and (value := vars(args)[one.name])}
    detail = {"command": command.name, **subject, "error": type(error).__name__}
    context.store.audit(command.name.replace(" ", "_"), actor=context.actor, now=context.now(), detail=detail, ok=False)
