"""``Command``, ``Result`` and ``Preview``, and :func:`run_command`. The rules are in :mod:`nbflow.commands`."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any

from nbflow.command_arguments import (
    BACKFILL,
    CONNECTION,
    DAG,
    FILE,
    POOL,
    RUN,
    TASK,
    VARIABLE,
    Argument,
    UsageError,
    Values,
)
from nbflow.commands.permissions import PERMISSIONS
from nbflow.errors import NbflowError

if TYPE_CHECKING:
    from nbflow.commands.context import Context

Row = Mapping[str, Any]


class Refused(NbflowError):
    """The command is not possible in the current state; nothing was changed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """The outcome of a command."""

    text: str
    """A sentence to display."""
    rows: tuple[Row, ...] = ()
    """The outcome as data, for ``-o json`` and REST."""
    value: Any = None
    """Return value of the function in ``nbflow.notebook``."""
    warnings: tuple[str, ...] = ()
    ok: bool = True
    """False for an outcome that is a failure, such as a wrong answer; the exit code is then 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """The changes that a command would make."""

    text: str
    items: tuple[Row, ...] = ()


def _no_preview(context: Context, args: Values) -> None:
    return None


def _no_question(context: Context, args: Values, preview: Preview | None) -> str:
    return ""


def _no_refusals(context: Context, args: Values) -> Sequence[Refused]:
    return ()


class Audit(Enum):
    """Who records a successful change in the audit log. ``run_command`` records every failed change."""

    OPERATION = "operation"
    """The operation, in the transaction of the change."""
    COMMAND = "command"
    """``run_command``: the change is not in the metastore, or is the metastore itself."""
    NOBODY = "nobody"
    """Nobody: the job or the learner's progress is the record, or the process is replaced (``db shell``)."""


Run = Callable[["Context", Values], "Result"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Command:
    """A declared command."""

    name: str
    """All words of the name: "dags pause"."""
    help: str
    permission: str
    arguments: tuple[Argument, ...] = ()
    example: str = ""
    """Valid arguments of a command line."""
    magic: str = ""
    """The line magic of the command: "%dag pause"; empty if it has none."""
    terminal: bool = True
    """Whether the terminal has the command too."""
    aliases: tuple[str, ...] = ()
    changes: bool = False
    run: Run | None = None
    """None: each surface has its own function, e.g. one that fetches a view."""
    audit: Audit = Audit.OPERATION
    operation: str | Callable[[Values], str] = ""
    """The action of the command's rows in the audit log: that of its operation, so that failures and successes have the
    same. Empty: the command's name with underscores."""
    migrates: bool = True
    """Whether the tables must be up to date. False: the command works on a metastore without tables, too."""
    preview: Callable[[Context, Values], Preview | None] = _no_preview
    confirmation: Callable[[Context, Values, Preview | None], str] = _no_question
    """The question to confirm, given the preview; empty: run without confirmation."""
    refusals: Callable[[Context, Values], Sequence[Refused]] = _no_refusals
    """Reasons why the command is not possible now, most important first."""
    epilog: str = ""
    """Epilog of the help text."""

    @property
    def may_ask(self) -> bool:
        """Whether the command may ask for confirmation."""
        return self.confirmation is not _no_question

    def __post_init__(self) -> None:
        if self.permission not in PERMISSIONS:
            raise ValueError(f"{self.name}: unknown permission {self.permission!r}; see nbflow.commands.permissions")


AUDITED_TYPES = (DAG, TASK, RUN, BACKFILL, VARIABLE, CONNECTION, POOL, FILE)
"""Types of the arguments that the audit log records: ids and paths. Values of other types may be secret."""


Confirm = Callable[[str, "Preview | None"], bool]
"""Displays the preview, asks the question, and returns whether the answer is yes."""


def run_command(
    command: Command,
    context: Context,
    args: Values,
    *,
    confirm: Confirm = lambda question, preview: True,
    run: Run | None = None,
) -> Result | None:
    """Run a command. Returns None if ``confirm`` returns false. Raises Refused with the first refusal, or the error of
    the command; a failed change is recorded in the audit log. With ``dry_run`` among the arguments, the result is the
    preview, and nothing changes. ``run`` replaces the function of the command, for what only a surface has."""
    run = run or command.run
    assert run is not None, f"{command.name} is read-only: fetch its view"
    try:
        refusals = command.refusals(context, args)
        if refusals:
            raise refusals[0]
        if getattr(args, "dry_run", False) and (dry := command.preview(context, args)) is not None:
            return Result(text=dry.text, rows=dry.items, value=list(dry.items))
        preview = command.preview(context, args) if command.may_ask else None
        question = command.confirmation(context, args, preview)
        if question and not confirm(question, preview):
            return None
        result = run(context, args)
    except UsageError:
        raise  # an invalid command line is not an attempted change
    except Exception as error:
        if command.changes:
            _record(command, context, args, ok=False, error=type(error).__name__)
        raise
    if command.changes and command.audit is Audit.COMMAND:
        _record(command, context, args, ok=result.ok)
    return result


def _record(command: Command, context: Context, args: Values, *, ok: bool, **detail: str) -> None:
    """Write a row of the audit log, if the metastore can be reached and has its tables."""
    values = vars(args)
    ids = {
        argument.name: values[argument.name]
        for argument in command.arguments
        if argument.type in AUDITED_TYPES and values.get(argument.name)
    }
    row = {"command": command.name, **ids, **detail}
    operation = command.operation(args) if callable(command.operation) else command.operation
    action = operation or command.name.replace(" ", "_").replace("-", "_")
    with contextlib.suppress(NbflowError):
        context.store.audit(action, actor=context.actor, now=context.now(), detail=row, ok=ok)
