"""The last runs of a DAG as columns, its tasks as rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, ClassVar

from nbflow.core.snapshot import Instance, Run, RunKey
from nbflow.store.base import Store
from nbflow.views.base import Query, Row, View
from nbflow.views.graph import task_views
from nbflow.views.lookups import version_of
from nbflow.views.shared import LastRun, elapsed, zone_of

if TYPE_CHECKING:
    from nbflow.config import Settings
    from nbflow.core.spec import DagSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class GridQuery(Query["GridView"]):
    """``version``: of the DAG whose tasks are the rows, by default the one that the schedule follows."""

    NAME: ClassVar[str] = "grid"

    dag_id: str
    version: int | None = None
    limit: int = 25


@dataclass(frozen=True, slots=True, kw_only=True)
class GridRun(LastRun):
    label: str


@dataclass(frozen=True, slots=True, kw_only=True)
class GridRow(Row):
    """A task with ``states``, one per run ("" where the run has no such task), or without states a group heading."""

    label: str
    depth: int = 0
    states: tuple[str, ...] = ()

    @property
    def id(self) -> str:
        return self.label


@dataclass(frozen=True, slots=True, kw_only=True)
class GridView(View):
    """``runs``: oldest first."""

    NAME: ClassVar[str] = "grid"

    dag_id: str
    runs: tuple[GridRun, ...] = ()
    rows: tuple[GridRow, ...] = ()
    footer: tuple[str, ...] = ()


def fetch(store: Store, query: GridQuery, now: datetime, settings: Settings) -> GridView:
    spec = version_of(store, query.dag_id, query.version).spec
    runs = list(reversed(store.runs(query.dag_id, limit=query.limit)))
    return grid_view(spec, runs, store.instances_of_runs([run.key for run in runs]))


def grid_view(spec: DagSpec, runs: Sequence[Run], tis: Mapping[RunKey, Sequence[Instance]]) -> GridView:
    """``runs``: oldest first."""
    zone = zone_of(spec)
    states = [{view.task_id: view.state for view in task_views(spec, tis.get(run.key, ()), zone)} for run in runs]
    return GridView(
        dag_id=spec.dag_id,
        runs=tuple(
            GridRun(
                run_id=run.run_id,
                label=f"{run.logical_date.astimezone(zone):%d %b}" if run.logical_date else run.run_id[-6:],
                state=run.state.value,
                duration=elapsed(run.start_date, run.end_date),
            )
            for run in runs
        ),
        rows=tuple(
            GridRow(label=task_id, states=tuple(column[task_id] for column in states)) for task_id in spec.tasks
        ),
    )
