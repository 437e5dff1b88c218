"""Why the tasks of a run wait or have ended, and why the run has."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, ClassVar, Self

from nbflow.core.snapshot import Instance, TaskKey
from nbflow.core.states import FAILED_STATES, TaskState
from nbflow.core.timetables.time_zones import timezone_of
from nbflow.services.runs_set_aside import runs_set_aside
from nbflow.services.schedulers import running_schedulers
from nbflow.services.why import explain_run
from nbflow.store.base import Attempt, Store
from nbflow.suggested_commands import SuggestedCommand, respelled
from nbflow.views.base import Query, Row, View
from nbflow.views.ends import end_reasons, last_events
from nbflow.views.lookups import row_of, run_of, version_of
from nbflow.views.shared import in_dag_order, in_zone, run_title, zone_of

if TYPE_CHECKING:
    from nbflow.config import Settings
    from nbflow.core.spec import DagSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class WhyRunQuery(Query["WhyRunView"]):
    NAME: ClassVar[str] = "why_run"
    SELF_CONTAINED: ClassVar[bool] = False  # tasks of other DAGs may occupy the pool slots that its tasks wait for

    dag_id: str
    run_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class WhyRow(Row):
    """One task instance that waits, or that failed. ``kind`` and ``reason`` are those of the wait, ``until`` is when it
    ends without a command, and ``suggestions`` are the commands in ``reason``. ``error`` is the last line of the last
    try's error, or the reason of an upstream_failed instance."""

    task_id: str
    map_index: int = -1
    state: str
    kind: str = ""
    reason: str = ""
    until: datetime | None = None
    suggestions: tuple[SuggestedCommand, ...] = ()
    error: str = ""

    @property
    def id(self) -> str:
        return str(TaskKey(self.task_id, self.map_index))

    @property
    def text(self) -> str:
        """The line that surfaces show."""
        return self.reason or self.error


@dataclass(frozen=True, slots=True, kw_only=True)
class FailedTry(Row):
    """A failed try with its full error."""

    task_id: str
    map_index: int = -1
    try_number: int
    error: str

    @property
    def name(self) -> str:
        """The name of the task instance: ``load[1]``."""
        return str(TaskKey(self.task_id, self.map_index))

    @property
    def id(self) -> str:
        return f"{self.name} {self.try_number}"


@dataclass(frozen=True, slots=True, kw_only=True)
class WhyRunView(View):
    """``rows`` are in the order of the DAG's tasks; task instances that neither wait nor failed have no row."""

    NAME: ClassVar[str] = "why_run"

    dag_id: str
    run_id: str
    run: str = ""
    """Title of the run."""
    run_state: str = "none"
    rows: tuple[WhyRow, ...] = ()
    failures: tuple[FailedTry, ...] = ()
    """In the order in which the tries were queued."""
    end: str = ""
    """Why the run has ended; "" before."""
    suggestions: tuple[SuggestedCommand, ...] = ()
    """Commands that make tasks of an ended run run again."""

    @property
    def wake_at(self) -> datetime | None:
        """The time at which the view changes without a commit."""
        return min((row.until for row in self.rows if row.until is not None), default=None)

    def spelled(self, spell: Callable[[SuggestedCommand], str]) -> Self:
        rows = (replace(row, reason=respelled(row.reason, row.suggestions, spell)) for row in self.rows)
        return replace(self, rows=tuple(rows))


def fetch(store: Store, query: WhyRunQuery, now: datetime, settings: Settings) -> WhyRunView:
    run = run_of(store, query.dag_id, query.run_id)
    schedulers = running_schedulers(store, settings, now)
    tis = store.instances(run.key)
    spec: DagSpec | None = None
    if run.key in runs_set_aside(schedulers):  # perhaps because its spec cannot be read
        zone, task_ids = timezone_of(row_of(store, run.dag_id).timezone), [ti.task_id for ti in tis]
    else:
        spec = version_of(store, run.dag_id, run.version).spec
        zone, task_ids = zone_of(spec), list(spec.tasks)
    waits = explain_run(store, run.key, schedulers, now)
    attempts = store.attempts(run.key)
    errors = last_errors(attempts)
    ends = {} if spec is None else end_reasons(spec, run, tis, last_events(store, run.key), errors)
    rows = []
    for ti in in_dag_order(tis, task_ids):
        wait = waits.get(ti.key)
        error = errors.get(ti.key, "") if shows_error(ti) else ""
        if ti.state is TaskState.UPSTREAM_FAILED and ti.key in ends:
            error = ends[ti.key].text
        if wait is not None or error:
            rows.append(
                WhyRow(
                    task_id=ti.task_id,
                    map_index=ti.map_index,
                    state=ti.state.value,
                    kind=wait.kind if wait is not None else "",
                    reason=wait.text if wait is not None else "",
                    until=in_zone(wait.until, zone) if wait is not None else None,
                    suggestions=tuple(wait.suggestions) if wait is not None else (),
                    error=error,
                )
            )
    return WhyRunView(
        dag_id=run.dag_id,
        run_id=run.run_id,
        run=run_title(run, zone),
        run_state=run.state.value,
        end=ends[None].text if None in ends else "",
        suggestions=tuple(ends[None].suggestions) if None in ends else (),
        rows=tuple(rows),
        failures=tuple(
            FailedTry(task_id=a.key.task_id, map_index=a.key.map_index, try_number=a.try_number, error=a.error)
            for a in attempts
            if a.error
        ),
    )


def shows_error(ti: Instance) -> bool:
    """Whether the error of the task instance's last try explains its state."""
    return ti.state in FAILED_STATES or ti.state is TaskState.UP_FOR_RETRY


def last_errors(attempts: Iterable[Attempt]) -> dict[TaskKey, str]:
    """The last line of the error of each task instance's last try; instances without an error are left out."""
    newest = {attempt.key: (attempt.error or "").strip() for attempt in attempts}
    return {key: error.splitlines()[-1] for key, error in newest.items() if error}
