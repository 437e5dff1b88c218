"""The open ``with`` blocks (the DAG and group that a new task joins), and the line of the user's file for errors.

``with DAG``, ``with TaskGroup`` and ``with teardown`` each push a frame on a stack; a new task joins the DAG and group
of the top frame. The stack is a context variable, so threads and asyncio tasks do not see each other's frames.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from types import FrameType
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from nbflow.authoring.dag import DAG
    from nbflow.authoring.taskgroup import TaskGroup


class Frame(NamedTuple):
    """One open ``with``. ``tasks`` collects the tasks created inside it, for setup and teardown scopes."""

    dag: DAG | None
    group: TaskGroup | None
    tasks: list[Any] | None = None


_stack: ContextVar[tuple[Frame, ...]] = ContextVar("nbflow_dag_stack", default=())
_collected: ContextVar[list[Any] | None] = ContextVar("nbflow_created_dags", default=None)


def push(dag: DAG | None, group: TaskGroup | None, tasks: list[Any] | None = None) -> None:
    _stack.set((*_stack.get(), Frame(dag, group, tasks)))


def pop() -> Frame:
    frames = _stack.get()
    _stack.set(frames[:-1])
    return frames[-1]


def current_dag() -> DAG | None:
    """The DAG whose ``with`` is open."""
    frames = _stack.get()
    return frames[-1].dag if frames else None


def current_group() -> TaskGroup | None:
    """The innermost group whose ``with`` is open; directly inside ``with DAG`` it is the DAG's root group."""
    frames = _stack.get()
    return frames[-1].group if frames else None


def record_task(task: Any) -> None:
    """Add a new task to every open setup and teardown scope."""
    for frame in _stack.get():
        if frame.tasks is not None:
            frame.tasks.append(task)


@contextmanager
def collect_dags() -> Iterator[list[Any]]:
    """Collect every DAG that is created inside the ``with`` block, in order. The loader of DAG files uses it."""
    dags: list[Any] = []
    token = _collected.set(dags)
    frames = _stack.set(())
    try:
        yield dags
    finally:
        _stack.reset(frames)
        _collected.reset(token)


def record_dag(dag: Any) -> None:
    """Add a new DAG to the list of the open :func:`collect_dags`."""
    dags = _collected.get()
    if dags is not None:
        dags.append(dag)


class Place(NamedTuple):
    """A line of a user's file."""

    file: str
    line: int

    def __str__(self) -> str:
        return f"line {self.line}"


_NBFLOW_MODULES = (
    *("nbflow.authoring.", "nbflow.sources.", "nbflow.execution.", "nbflow.operators.", "nbflow.sensors."),
    *("nbflow.transfers.", "nbflow.interop."),
)


def _users_frame(depth: int) -> FrameType:
    """The innermost frame on the call stack whose module is not nbflow's."""
    frame = sys._getframe(depth + 1)
    while frame.f_back is not None and frame.f_globals.get("__name__", "").startswith(_NBFLOW_MODULES):
        frame = frame.f_back
    return frame


def place(depth: int = 1) -> Place:
    """The user's line: that of the innermost frame on the call stack whose module is not nbflow's."""
    frame = _users_frame(depth + 1)
    return Place(frame.f_code.co_filename, frame.f_lineno)


def warn(message: str, category: type[Warning] = UserWarning, at: Place | None = None) -> None:
    """Issue a warning that points to the user's line: ``at``, by default the line that is running."""
    if at is not None:
        warnings.warn_explicit(message, category, *at)
        return
    frame = _users_frame(1)
    module = frame.f_globals.get("__name__")  # Python shows DeprecationWarnings only of the module __main__
    warnings.warn_explicit(message, category, frame.f_code.co_filename, frame.f_lineno, module)
