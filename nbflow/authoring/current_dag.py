"""Where in a file we are: which DAG and group a new task joins, which places to name in an error.

``with DAG``, ``with TaskGroup`` and ``with teardown`` each put a frame on a stack; a new task looks at the top one.
The stack is a context variable, so that a cell that runs while a widget's thread draws does not see its frames.
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
    """One open ``with``. ``made`` collects the tasks made inside it, for setup and teardown scopes."""

    dag: DAG | None
    group: TaskGroup | None
    made: list[Any] | None = None


_stack: ContextVar[tuple[Frame, ...]] = ContextVar("nbflow_dag_stack", default=())
_created: ContextVar[list[Any] | None] = ContextVar("nbflow_created_dags", default=None)


def push(dag: DAG | None, group: TaskGroup | None, made: list[Any] | None = None) -> None:
    _stack.set((*_stack.get(), Frame(dag, group, made)))


def pop() -> Frame:
    frames = _stack.get()
    _stack.set(frames[:-1])
    return frames[-1]


def current_dag() -> DAG | None:
    """The DAG whose ``with`` is open."""
    frames = _stack.get()
    return frames[-1].dag if frames else None


def current_group() -> TaskGroup | None:
    """The innermost group whose ``with`` is open; a DAG's own root group counts as one."""
    frames = _stack.get()
    return frames[-1].group if frames else None


def note_task(task: Any) -> None:
    """Tell the open setup and teardown scopes of a new task."""
    for frame in _stack.get():
        if frame.made is not None:
            frame.made.append(task)


@contextmanager
def collecting() -> Iterator[list[Any]]:
    """Every DAG that is made inside the ``with`` block, in order. Loaders of DAG files use it."""
    made: list[Any] = []
    token = _created.set(made)
    frames = _stack.set(())
    try:
        yield made
    finally:
        _stack.reset(frames)
        _created.reset(token)


def note_dag(dag: Any) -> None:
    made = _created.get()
    if made is not None:
        made.append(dag)


class Place(NamedTuple):
    """A line of a user's file."""

    file: str
    line: int

    def __str__(self) -> str:
        return f"line {self.line}"


_OURS = (
    *("nbflow.authoring.", "nbflow.sources.", "nbflow.execution.", "nbflow.operators.", "nbflow.sensors."),
    *("nbflow.transfers.", "nbflow.interop."),
)


def _users_frame(depth: int) -> FrameType:
    """The nearest frame on the call stack that is not nbflow's."""
    frame = sys._getframe(depth + 1)
    while frame.f_back is not None and frame.f_globals.get("__name__", "").startswith(_OURS):
        frame = frame.f_back
    return frame


def place(depth: int = 1) -> Place:
    """The line that the user wrote: the nearest on the call stack that is not nbflow's."""
    frame = _users_frame(depth + 1)
    return Place(frame.f_code.co_filename, frame.f_lineno)


def warn(message: str, category: type[Warning] = UserWarning, at: Place | None = None) -> None:
    """A warning that points at the user's line: ``at``, else the one that is running."""
    if at is not None:
        warnings.warn_explicit(message, category, *at)
        return
    frame = _users_frame(
        1
    )  # with its module: Python shows deprecations in __main__ only, and a notebook's cell is that
    module = frame.f_globals.get("__name__")
    warnings.warn_explicit(message, category, frame.f_code.co_filename, frame.f_lineno, module)
