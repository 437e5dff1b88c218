"""The task instances of a run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, ClassVar, Self

from nbflow.core.snapshot import Instance, Run, TaskKey
from nbflow.services.schedulers import running_schedulers
from nbflow.services.why import explain_run
from nbflow.store.base import Store
from nbflow.suggested_commands import SuggestedCommand, respelled
from nbflow.views.base import Query, Row, View
from nbflow.views.ends import dates_note
from nbflow.views.lookups import run_of, version_of
from nbflow.views.shared import in_dag_order, in_zone, run_title, zone_of
from nbflow.views.why_run import last_errors, shows_error

if TYPE_CHECKING:
    from nbflow.config import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskInstancesQuery(Query["TaskInstancesView"]):
    """``reasons``: whether rows have a reason, which costs up to seven statements more."""

    NAME: ClassVar[str] = "task_instances"

    dag_id: str
    run_id: str
    reasons: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskInstanceRow(Row):
    """``reason``: why the task instance waits, or its error, in one line. ``suggestions``: the commands in it."""

    task_id: str
    map_index: int = -1
    state: str
    try_number: int = 0
    max_tries: int = 0
    start_date: datetime | None = None
    end_date: datetime | None = None
    reason: str = ""
    suggestions: tuple[SuggestedCommand, ...] = ()

    @property
    def id(self) -> str:
        return str(TaskKey(self.task_id, self.map_index))


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskInstancesView(View):
    """``rows`` are in the order of the DAG's tasks."""

    NAME: ClassVar[str] = "task_instances"

    dag_id: str = ""
    run_id: str = ""
    run: str = ""
    """Title of the run."""
    run_state: str = "none"
    logical_date: datetime | None = None
    note: str = ""
    """Why the run has ended at once, if no task was to run at its logical date."""
    rows: tuple[TaskInstanceRow, ...] = ()

    def by_id(self) -> list[TaskInstanceRow]:
        """The rows sorted by task id and map index: the order of ``-o json``."""
        return sorted(self.rows, key=lambda row: (row.task_id, row.map_index))

    def spelled(self, spell: Callable[[SuggestedCommand], str]) -> Self:
        rows = (replace(row, reason=respelled(row.reason, row.suggestions, spell)) for row in self.rows)
        return replace(self, rows=tuple(rows))


def fetch(store: Store, query: TaskInstancesQuery, now: datetime, settings: Settings) -> TaskInstancesView:
    run = run_of(store, query.dag_id, query.run_id)
    spec = version_of(store, run.dag_id, run.version).spec
    zone = zone_of(spec)
    tis = store.instances(run.key)
    reasons = _reasons(store, run, tis, now, settings) if query.reasons else {}
    return TaskInstancesView(
        dag_id=run.dag_id,
        run_id=run.run_id,
        run=run_title(run, zone),
        run_state=run.state.value,
        logical_date=in_zone(run.logical_date, zone),
        note=dates_note(spec, run),
        rows=tuple(
            TaskInstanceRow(
                task_id=ti.task_id,
                map_index=ti.map_index,
                state=ti.state.value,
                try_number=ti.try_number,
                max_tries=ti.max_tries + 1,
                start_date=in_zone(ti.start_date, zone),
                end_date=in_zone(ti.end_date, zone),
                reason=reasons[ti.key].text if ti.key in reasons else "",
                suggestions=tuple(reasons[ti.key].suggestions) if ti.key in reasons else (),
            )
            for ti in in_dag_order(tis, list(spec.tasks))
        ),
    )


@dataclass(frozen=True, slots=True)
class _Reason:
    text: str
    suggestions: Sequence[SuggestedCommand] = ()


def _reasons(
    store: Store, run: Run, tis: Sequence[Instance], now: datetime, settings: Settings
) -> dict[TaskKey, _Reason]:
    waits = explain_run(store, run.key, running_schedulers(store, settings, now), now)
    failed = [ti.key for ti in tis if shows_error(ti) and ti.key not in waits]
    errors = last_errors(store.attempts(run.key)) if failed else {}
    return {key: _Reason(wait.text, wait.suggestions) for key, wait in waits.items()} | {
        key: _Reason(errors[key]) for key in failed if key in errors
    }
