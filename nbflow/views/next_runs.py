"""The next runs of a DAG's schedule."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, ClassVar

from nbflow.services.scheduled_runs import upcoming_runs
from nbflow.store.base import Store
from nbflow.views.base import Query, Row, View
from nbflow.views.lookups import version_of
from nbflow.views.shared import zone_of

if TYPE_CHECKING:
    from nbflow.config import Settings
    from nbflow.core.spec import DagSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class NextRunsQuery(Query["NextRunsView"]):
    """``version``: of the DAG, by default the one that the schedule follows."""

    NAME: ClassVar[str] = "next_runs"

    dag_id: str
    version: int | None = None
    limit: int = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class NextRun(Row):
    """``run_after``: when the run starts at the earliest."""

    logical_date: datetime
    data_interval_start: datetime
    data_interval_end: datetime
    run_after: datetime

    @property
    def id(self) -> str:
        return str(self.run_after.timestamp())


@dataclass(frozen=True, slots=True, kw_only=True)
class NextRunsView(View):
    """``is_paused``: no run is created until the DAG is unpaused; None for a DAG that is not scheduled."""

    NAME: ClassVar[str] = "next_runs"

    dag_id: str
    schedule: str
    timezone: str
    is_paused: bool | None = None
    rows: tuple[NextRun, ...] = ()


def fetch(store: Store, query: NextRunsQuery, now: datetime, settings: Settings) -> NextRunsView:
    spec = version_of(store, query.dag_id, query.version).spec
    return fetch_of_spec(store, spec, now, limit=query.limit)


def fetch_of_spec(store: Store, spec: DagSpec, now: datetime, *, limit: int) -> NextRunsView:
    """The next runs of a spec that need not be registered in the metastore, such as the spec of a file."""
    row = store.dag(spec.dag_id)
    runs = upcoming_runs(store, spec, now, limit)
    zone = zone_of(spec)
    return NextRunsView(
        dag_id=spec.dag_id,
        schedule=spec.schedule_text,
        timezone=spec.timezone,
        is_paused=row.paused if row is not None else None,
        rows=tuple(
            NextRun(
                logical_date=info.logical_date.astimezone(zone),
                data_interval_start=info.data_interval.start.astimezone(zone),
                data_interval_end=info.data_interval.end.astimezone(zone),
                run_after=info.run_after.astimezone(zone),
            )
            for info in runs
        ),
    )
