"""The settings of a DAG and of its tasks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, ClassVar

from nbflow.store.base import DagRow, Store
from nbflow.views.base import Query, Row, View
from nbflow.views.lookups import version_of
from nbflow.views.shared import in_zone, zone_of

if TYPE_CHECKING:
    from nbflow.config import Settings
    from nbflow.core.spec import DagSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class DagDetailsQuery(Query["DagDetailsView"]):
    NAME: ClassVar[str] = "dag_details"

    dag_id: str
    version: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DagTask(Row):
    """``is_mapped``: the task or its task group is expanded."""

    task_id: str
    operator: str
    upstream: tuple[str, ...] = ()
    trigger_rule: str
    pool: str
    retries: int
    is_mapped: bool

    @property
    def id(self) -> str:
        return self.task_id


@dataclass(frozen=True, slots=True, kw_only=True)
class DagDetailsView(View):
    """``version``, ``is_paused`` and ``next_run`` are None for a DAG that is not registered in the metastore.
    ``dagrun_timeout`` is in seconds."""

    NAME: ClassVar[str] = "dag_details"

    dag_id: str
    description: str | None = None
    fileloc: str = ""
    version: int | None = None
    schedule: str
    timezone: str
    start_date: datetime | None = None
    end_date: datetime | None = None
    catchup: bool = False
    is_paused: bool | None = None
    next_run: datetime | None = None
    max_active_runs: int
    max_active_tasks: int
    dagrun_timeout: float | None = None
    tags: tuple[str, ...] = ()
    owners: tuple[str, ...] = ()
    params: Mapping[str, Any] = field(default_factory=dict)
    tasks: tuple[DagTask, ...] = ()


def fetch(store: Store, query: DagDetailsQuery, now: datetime, settings: Settings) -> DagDetailsView:
    version = version_of(store, query.dag_id, query.version)
    row = store.dag(query.dag_id)
    return details_of_spec(version.spec, fileloc=version.fileloc, version=version.number, row=row)


def details_of_spec(
    spec: DagSpec, *, fileloc: str, version: int | None = None, row: DagRow | None = None
) -> DagDetailsView:
    """The details of a spec that need not be registered in the metastore, such as the spec of a file."""
    zone = zone_of(spec)
    return DagDetailsView(
        dag_id=spec.dag_id,
        description=spec.description,
        fileloc=fileloc,
        version=version,
        schedule=spec.schedule_text,
        timezone=spec.timezone,
        start_date=in_zone(spec.start_date, zone),
        end_date=in_zone(spec.end_date, zone),
        catchup=spec.catchup,
        is_paused=row.paused if row is not None else None,
        next_run=in_zone(row.next_run, zone) if row is not None else None,
        max_active_runs=spec.max_active_runs,
        max_active_tasks=spec.max_active_tasks,
        dagrun_timeout=spec.dagrun_timeout,
        tags=spec.tags,
        owners=spec.owners,
        params={name: param.get("value") for name, param in spec.params.items()},
        tasks=tuple(
            DagTask(
                task_id=task.task_id,
                operator=task.operator,
                upstream=task.upstream,
                trigger_rule=task.trigger_rule,
                pool=task.pool,
                retries=task.retries,
                is_mapped=spec.length_expr(task.task_id) is not None,
            )
            for task in spec.tasks.values()
        ),
    )
