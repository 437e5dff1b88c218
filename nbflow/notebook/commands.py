"""Carries out a command of :mod:`nbflow.commands` from a notebook: with this kernel's DAGs and dates in the home's time
zone; the result is a message."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nbflow.authoring.dag import DAG
from nbflow.command_arguments import Argument, Values, values_of
from nbflow.commands import command_named
from nbflow.commands.base import Command, Preview, Result, run_command
from nbflow.commands.context import Context
from nbflow.commands.surface_syntax import Surface
from nbflow.errors import NbflowError
from nbflow.notebook.displayable import Shown
from nbflow.notebook.error_display import told_in_one_line
from nbflow.notebook.session import Session, session
from nbflow.ui.html import message_bundle

if TYPE_CHECKING:
    from nbflow.services.operations import Operations
    from nbflow.store.base import DagRow, DagVersion


@dataclass(frozen=True, slots=True)
class KernelDags:
    """Looks up DAGs: those of this kernel's cells first, then those of the scheduler. ``given`` is a DAG object that
    was passed instead of its id."""

    here: Session
    given: DAG | None = None

    def version(self, dag_id: str) -> DagVersion:
        if self.given is not None and self.given.dag_id == dag_id:
            return self.here.version(self.given)
        return self.here.version(dag_id)

    def scheduled(self, dag_id: str) -> DagRow:
        self.here.version(dag_id)
        row = self.here.app.store.dag(dag_id)
        if row is None:
            raise NbflowError(
                f"{dag_id} exists only in this kernel, so it is not scheduled.",
                hint=f"To schedule it, save its notebook in {self.here.app.settings.core.dags_folder}.",
            )
        return row

    def operations_on(self, version: DagVersion) -> Operations:
        return self.here.operations_on(version)


def context_of(here: Session, dag: str | DAG | None = None) -> Context:
    """The context of a command in this kernel."""
    dags = KernelDags(here, dag if isinstance(dag, DAG) else None)
    return Context(app=here.app, actor=here.actor, dags=dags, surface=Surface.NOTEBOOK, zone=here.zone)


def carried_out(one: Command, args: Values) -> Shown:
    """Carry out a command and show its message. As a value: the result for programs. Raises NbflowError."""
    done = run_command(one, context_of(session()), args)
    assert done is not None  # a magic asks for no confirmation
    return shown(done)


def shown(done: Result) -> Shown:
    """The result as a message."""
    return Shown(done.value, message_bundle(" ".join([done.text, *done.warnings])))


def previewed(one: Command, args: Values) -> Preview:
    """The preview of what a command would change. Raises NbflowError."""
    preview = one.preview(context_of(session()), args)
    assert preview is not None
    return preview


def result_of(name: str, dag: str | DAG | None = None, **given: Any) -> Result:
    """Carry out a command with arguments by name. ``dag`` is a dag_id or a DAG. Raises NbflowError."""
    one = command_named(name)
    if dag is not None:
        given["dag_id"] = dag.dag_id if isinstance(dag, DAG) else dag
    done = run_command(one, context_of(session(), dag), values_of(one.arguments, given))
    assert done is not None
    return done


def function_of(name: str) -> Callable[..., Shown]:
    """The command as a function: positional arguments first, options as keywords; ``dag_id`` may be a DAG object."""
    one = command_named(name)

    def call(*places: Any, **options: Any) -> Shown:
        given = dict(signature.bind(*places, **options).arguments)
        return shown(result_of(name, given.pop("dag_id", None), **given))

    signature = inspect.Signature([_parameter(argument) for argument in one.arguments])
    call.__name__ = call.__qualname__ = one.magic.rpartition(" ")[2]
    call.__doc__ = one.help
    call.__signature__ = signature  # type: ignore[attr-defined]
    return told_in_one_line(call)


def _parameter(one: Argument) -> inspect.Parameter:
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD if one.positional else inspect.Parameter.KEYWORD_ONLY
    return inspect.Parameter(one.name, kind, default=inspect.Parameter.empty if one.required else one.default)
