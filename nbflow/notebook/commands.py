"""Executes a command of :mod:`nbflow.commands` in a notebook: with the DAGs of this kernel, and with dates in the
home's time zone. The result is displayed as a message."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nbflow.authoring.dag import DAG
from nbflow.command_arguments import Argument, Values, values_of
from nbflow.commands import command_named
from nbflow.commands.base import Command, Preview, Result, Run, run_command
from nbflow.commands.context import Context
from nbflow.commands.surface_syntax import Surface
from nbflow.errors import NbflowError
from nbflow.notebook.displayable import Shown
from nbflow.notebook.error_display import one_line_errors
from nbflow.notebook.session import Session, current_session, dag_id_of
from nbflow.ui.view_bundles import message_bundle

if TYPE_CHECKING:
    from nbflow.services.operations import Operations
    from nbflow.store.base import DagRow, DagVersion


@dataclass(frozen=True, slots=True)
class KernelDags:
    """Looks up DAGs: first those of this kernel's cells, then the scheduled ones. ``dag``: a DAG object that was passed
    instead of its id."""

    session: Session
    dag: DAG | None = None

    def version(self, dag_id: str) -> DagVersion:
        if self.dag is not None and self.dag.dag_id == dag_id:
            return self.session.version(self.dag)
        return self.session.version(dag_id)

    def scheduled(self, dag_id: str) -> DagRow:
        self.session.version(dag_id)
        row = self.session.app.store.dag(dag_id)
        if row is None:
            raise NbflowError(
                f"{dag_id} exists only in this kernel, so it is not scheduled.",
                hint=f"To schedule it, save its notebook in {self.session.app.settings.core.dags_folder}.",
            )
        return row

    def operations_on(self, version: DagVersion) -> Operations:
        return self.session.operations_on(version)


def context_of(session: Session, dag: str | DAG | None = None) -> Context:
    """The context of a command in this kernel."""
    dags = KernelDags(session, dag if isinstance(dag, DAG) else None)
    return Context(app=session.app, actor=session.actor, dags=dags, surface=Surface.NOTEBOOK, zone=session.zone)


def execute(command: Command, args: Values) -> Shown:
    """Execute a command and show its message. As a value: the result for programs. Raises NbflowError."""
    result = run_command(command, context_of(current_session()), args)
    assert result is not None  # a magic asks for no confirmation
    return _displayable(result)


def _displayable(result: Result) -> Shown:
    return Shown(result.value, message_bundle(" ".join([result.text, *result.warnings])))


def preview_command(command: Command, args: Values) -> Preview:
    """The preview of what a command would change. Raises NbflowError."""
    preview = command.preview(context_of(current_session()), args)
    assert preview is not None
    return preview


def execute_by_name(
    name: str, dag: str | DAG | None = None, function: Run | None = None, /, **arguments: Any
) -> Result:
    """Execute a command with keyword arguments. ``dag`` is a dag_id or a DAG; ``function`` replaces the function of the
    command. Raises NbflowError."""
    command = command_named(name)
    if dag is not None:
        arguments["dag_id"] = dag_id_of(dag)
    context, args = context_of(current_session(), dag), values_of(command.arguments, arguments)
    result = run_command(command, context, args, run=function)
    assert result is not None
    return result


def command_function(name: str) -> Callable[..., Shown]:
    """The command as a function: positional arguments first, options as keywords; ``dag_id`` may be a DAG object."""
    command = command_named(name)

    def call(*args: Any, **kwargs: Any) -> Shown:
        arguments = dict(signature.bind(*args, **kwargs).arguments)
        return _displayable(execute_by_name(name, arguments.pop("dag_id", None), **arguments))

    signature = inspect.Signature([_parameter(argument) for argument in command.arguments])
    call.__name__ = call.__qualname__ = command.magic.rpartition(" ")[2]
    call.__doc__ = command.help
    call.__signature__ = signature  # type: ignore[attr-defined]
    return one_line_errors(call)


def _parameter(argument: Argument) -> inspect.Parameter:
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD if argument.positional else inspect.Parameter.KEYWORD_ONLY
    default = inspect.Parameter.empty if argument.required else argument.default
    return inspect.Parameter(argument.name, kind, default=default)
