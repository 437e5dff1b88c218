"""The runs of a DAG."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, tzinfo
from typing import TYPE_CHECKING, ClassVar

from nbflow.core.snapshot import Run
from nbflow.core.states import RunState
from nbflow.core.timetables.time_zones import timezone_of
from nbflow.store.base import Store
from nbflow.views.base import Query, Row, View
from nbflow.views.ends import dates_note, may_have_dates_note
from nbflow.views.lookups import row_of, version_of
from nbflow.views.shared import by_state_priority, in_zone

if TYPE_CHECKING:
    from nbflow.config import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class RunsQuery(Query["RunsView"]):
    """The newest ``limit`` runs by logical date. ``since`` and ``until`` are inclusive logical dates. ``task_counts``:
    count the task instances of each run by state."""

    NAME: ClassVar[str] = "runs"

    dag_id: str
    states: tuple[str, ...] = ()
    since: datetime | None = None
    until: datetime | None = None
    limit: int = 20
    task_counts: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRow(Row):
    """One run. ``counts``: state -> number of its task instances."""

    dag_id: str = ""
    run_id: str
    run_type: str = ""
    state: str
    logical_date: datetime | None = None
    data_interval_start: datetime | None = None
    data_interval_end: datetime | None = None
    start_date: datetime | None = None
    end_date: datetime | None = None
    counts: Mapping[str, int] = field(default_factory=dict)
    note: str = ""
    """Why the run has ended at once, if no task was to run at its logical date."""

    @property
    def id(self) -> str:
        return self.run_id


@dataclass(frozen=True, slots=True, kw_only=True)
class RunsView(View):
    """Newest first."""

    NAME: ClassVar[str] = "runs"

    dag_id: str = ""
    rows: tuple[RunRow, ...] = ()
    total: int | None = None
    """Number of all runs, if ``rows`` holds only some of them."""


def fetch(store: Store, query: RunsQuery, now: datetime, settings: Settings) -> RunsView:
    zone = timezone_of(row_of(store, query.dag_id).timezone)
    runs = store.runs(
        query.dag_id,
        states=[RunState(state) for state in query.states] or None,
        since=query.since,
        until=query.until,
        limit=query.limit,
    )
    counts = store.counts([run.key for run in runs]) if query.task_counts else {}
    ended_at_once = [run for run in runs if may_have_dates_note(run)]
    specs = {number: version_of(store, query.dag_id, number).spec for number in {run.version for run in ended_at_once}}
    notes = {run.key: dates_note(specs[run.version], run) for run in ended_at_once}
    return RunsView(
        dag_id=query.dag_id,
        rows=tuple(
            run_row(
                run,
                zone,
                counts={state.value: n for state, n in counts.get(run.key, {}).items()},
                note=notes.get(run.key, ""),
            )
            for run in runs
        ),
    )


def run_row(run: Run, zone: tzinfo, *, counts: Mapping[str, int] | None = None, note: str = "") -> RunRow:
    return RunRow(
        dag_id=run.dag_id,
        run_id=run.run_id,
        run_type=run.run_type,
        state=run.state.value,
        logical_date=in_zone(run.logical_date, zone),
        data_interval_start=in_zone(run.data_interval_start, zone),
        data_interval_end=in_zone(run.data_interval_end, zone),
        start_date=in_zone(run.start_date, zone),
        end_date=in_zone(run.end_date, zone),
        counts=by_state_priority(counts or {}),
        note=note,
    )
