"""How far one try of a task is, for who follows its log."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, ClassVar

from nbflow.core.snapshot import Instance, RunKey
from nbflow.core.states import FINISHED, LIVE, RUN_FINISHED, TaskState
from nbflow.store.base import Store
from nbflow.views.base import Query, View

if TYPE_CHECKING:
    from nbflow.config import Settings

GOES_ON = LIVE | {TaskState.SCHEDULED, TaskState.UP_FOR_RESCHEDULE}
"""States in which an instance's current try is still to write to its log."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskTryQuery(Query["TaskTryView"]):
    NAME: ClassVar[str] = "task_try"

    dag_id: str
    run_id: str
    task_id: str
    map_index: int = -1
    try_number: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskTryView(View):
    """``over``: the try has ended, or will never begin."""

    NAME: ClassVar[str] = "task_try"

    state: str
    over: bool
    log_path: str | None = None
    """Where its log lies on the machine that runs it; None until somebody has taken the try."""


def fetch(store: Store, query: TaskTryQuery, now: datetime, settings: Settings) -> TaskTryView:
    key = RunKey(query.dag_id, query.run_id)
    run = store.run(key)
    tis = [ti for ti in store.instances(key) if (ti.task_id, ti.map_index) == (query.task_id, query.map_index)]
    if run is None or not tis:
        return TaskTryView(state=TaskState.REMOVED, over=True)
    [ti] = tis
    paths = [one.log_path for one in store.attempts(key, ti.key) if one.try_number == query.try_number and one.log_path]
    over = is_over(ti, query.try_number) or (run.state in RUN_FINISHED and ti.state not in LIVE)
    return TaskTryView(state=ti.state, over=over, log_path=paths[-1] if paths else None)


def is_over(ti: Instance, try_number: int) -> bool:
    """Whether a try has ended, or can no longer come. A try that was deferred or rescheduled goes on."""
    if ti.try_number == try_number:
        return ti.state not in GOES_ON
    return ti.try_number > try_number or ti.state in FINISHED
