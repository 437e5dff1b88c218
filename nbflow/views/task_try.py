"""The state of a try, for clients that follow its log."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, ClassVar

from nbflow.core.snapshot import Instance, Run, RunKey, TaskKey
from nbflow.core.states import FINISHED, LIVE, RUN_FINISHED, UNFINISHED, TaskState
from nbflow.store.base import Store
from nbflow.views.base import Query, View
from nbflow.views.task_log import find_logged

if TYPE_CHECKING:
    from nbflow.config import Settings

TRY_UNFINISHED = LIVE | {TaskState.SCHEDULED, TaskState.UP_FOR_RESCHEDULE}
"""States of a task instance whose current try may still write to its log."""

AWAITS_NEXT_TRY = UNFINISHED - TRY_UNFINISHED
"""States of a task instance whose current try has ended, if there was one, and whose next try has not started."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskTryQuery(Query["TaskTryView"]):
    NAME: ClassVar[str] = "task_try"

    dag_id: str
    run_id: str
    task_id: str
    map_index: int = -1
    try_number: int

    @property
    def key(self) -> TaskKey:
        """The key of the task instance."""
        return TaskKey(self.task_id, self.map_index)


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskTryView(View):
    """``finished``: the try has ended, or will never start."""

    NAME: ClassVar[str] = "task_try"

    state: str
    finished: bool
    log_path: str | None = None
    """Path of the log on the worker's machine; None until a worker has claimed the try."""


def fetch(store: Store, query: TaskTryQuery, now: datetime, settings: Settings) -> TaskTryView:
    key = RunKey(query.dag_id, query.run_id)
    run = store.run(key)
    tis = [ti for ti in store.instances(key) if (ti.task_id, ti.map_index) == (query.task_id, query.map_index)]
    if run is None or not tis:
        return TaskTryView(state=TaskState.REMOVED, finished=True)
    [ti] = tis
    attempts = [attempt for attempt in store.attempts(key, ti.key) if attempt.try_number == query.try_number]
    paths = [attempt.log_path for attempt in attempts if attempt.log_path]
    finished = is_finished(ti, query.try_number) or (run.state in RUN_FINISHED and ti.state not in LIVE)
    return TaskTryView(state=ti.state, finished=finished, log_path=paths[-1] if paths else None)


def find_followed(store: Store, run: Run, task: str | None = None, try_number: int | None = None) -> TaskTryQuery:
    """The try to follow for ``task`` (``load`` or ``load[1]``; without it, all instances that have started): the try of
    a running instance, otherwise of an unfinished one, otherwise of the one that :func:`find_logged` returns. For an
    instance that waits for its next try, it is the next try. Raises the errors of :func:`find_logged`."""
    shown = find_logged(store, run, task)
    tis = store.instances(run.key)
    if task is None:
        candidates = [ti for ti in tis if ti.try_number > 0]
    else:
        candidates = [ti for ti in tis if task in (ti.task_id, str(ti.key))]
    choices = (
        [ti for ti in candidates if ti.state is TaskState.RUNNING],
        [ti for ti in candidates if ti.state in UNFINISHED],
        [ti for ti in candidates if ti.key == shown],
    )
    ti = next(choice for choice in choices if choice)[0]
    awaits_next = ti.state in AWAITS_NEXT_TRY and run.state not in RUN_FINISHED
    number = try_number or max(ti.try_number + awaits_next, 1)
    return TaskTryQuery(**run.key._asdict(), **ti.key._asdict(), try_number=number)


def is_finished(ti: Instance, try_number: int) -> bool:
    """Whether a try has ended, or will never start. A deferred or rescheduled try has not ended."""
    if ti.try_number == try_number:
        return ti.state not in TRY_UNFINISHED
    return ti.try_number > try_number or ti.state in FINISHED
