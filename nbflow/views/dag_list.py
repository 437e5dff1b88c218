"""All DAGs, each with its last runs and its next run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, ClassVar

from nbflow.core.snapshot import Run
from nbflow.core.timetables.time_zones import timezone_of
from nbflow.store.base import DagRow, Store
from nbflow.views.base import Query, Row, View
from nbflow.views.shared import LastRun, elapsed, in_zone

if TYPE_CHECKING:
    from nbflow.config import Settings

LAST_RUNS = 14


@dataclass(frozen=True, slots=True, kw_only=True)
class DagListQuery(Query["DagListView"]):
    """``pattern``: part of a DAG id or a tag. ``kernel_dags``: ids of unscheduled DAGs to list too. ``last_runs``:
    number of runs of each DAG; 0 leaves out ``latest`` too. ``with_stale``: also list the DAGs that no file defines any
    more."""

    NAME: ClassVar[str] = "dag_list"

    pattern: str = ""
    kernel_dags: tuple[str, ...] = ()
    last_runs: int = LAST_RUNS
    with_stale: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class DagListRow(Row):
    """One DAG. ``latest`` is the state of its newest run. ``last_runs`` are ordered by logical date, oldest first."""

    dag_id: str
    schedule: str = ""
    """Empty for ``schedule=None``."""
    scheduled: bool = True
    """False for a DAG of a kernel, or of a file that was only tested."""
    is_paused: bool = False
    latest: str = "none"
    last_runs: tuple[LastRun, ...] = ()
    next_run: datetime | None = None
    next_logical_date: datetime | None = None
    owners: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    fileloc: str = ""
    description: str | None = None
    version: int = 0
    is_stale: bool = False
    has_import_errors: bool = False
    last_parsed: datetime | None = None

    @property
    def id(self) -> str:
        return self.dag_id


@dataclass(frozen=True, slots=True, kw_only=True)
class DagListView(View):
    """``stale``: ids of the DAGs that are not listed because no file defines them any more."""

    NAME: ClassVar[str] = "dag_list"

    rows: tuple[DagListRow, ...] = ()
    stale: tuple[str, ...] = ()


def fetch(store: Store, query: DagListQuery, now: datetime, settings: Settings) -> DagListView:
    dags = store.dags(include_stale=True)
    kernel_dags = store.unscheduled_dags(query.kernel_dags) if query.kernel_dags else []
    matching = [row for row in [*dags, *kernel_dags] if _matches(row, query.pattern.lower())]
    stale = [row for row in matching if row.stale and not query.with_stale]
    listed = sorted((row for row in matching if row not in stale), key=lambda row: row.dag_id)
    ids = [row.dag_id for row in listed]
    runs = store.recent_runs(ids, limit=query.last_runs) if query.last_runs else {}
    newest = store.newest_runs(ids) if query.last_runs else {}
    scheduled = {row.dag_id for row in dags}
    return DagListView(
        rows=tuple(
            _row(row, runs.get(row.dag_id, ()), newest.get(row.dag_id), scheduled=row.dag_id in scheduled)
            for row in listed
        ),
        stale=tuple(row.dag_id for row in stale),
    )


def _matches(row: DagRow, word: str) -> bool:
    return word in row.dag_id.lower() or any(word in tag.lower() for tag in row.tags)


def _row(row: DagRow, runs: Sequence[Run], newest: Run | None, *, scheduled: bool) -> DagListRow:
    """``runs``: by logical date, newest first."""
    zone = timezone_of(row.timezone)
    return DagListRow(
        dag_id=row.dag_id,
        schedule="" if row.schedule_text == "None" else row.schedule_text,
        scheduled=scheduled,
        is_paused=row.paused,
        latest=newest.state.value if newest is not None else "none",
        last_runs=tuple(_last_run(run) for run in reversed(runs)),
        next_run=in_zone(row.next_run, zone),
        next_logical_date=in_zone(row.next_logical_date, zone),
        owners=row.owners,
        tags=row.tags,
        fileloc=row.fileloc,
        description=row.description,
        version=row.version,
        is_stale=row.stale,
        has_import_errors=row.has_import_errors,
        last_parsed=in_zone(row.last_parsed_at, zone),
    )


def _last_run(run: Run) -> LastRun:
    return LastRun(run_id=run.run_id, state=run.state.value, duration=elapsed(run.start_date, run.end_date))
