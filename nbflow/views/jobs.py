"""The jobs, i.e. processes of nbflow: schedulers and DAG tests."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, ClassVar

from nbflow.services.schedulers import state_of
from nbflow.store.base import Job, Store
from nbflow.views.base import Query, Row, View

if TYPE_CHECKING:
    from nbflow.config import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class JobsQuery(Query["JobsView"]):
    """The newest ``limit`` processes."""

    NAME: ClassVar[str] = "jobs"

    limit: int = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRow(Row):
    """One process. ``state`` is running, success (a clean exit) or failed (its heartbeat stopped)."""

    job_id: str
    job_type: str
    state: str
    hostname: str
    pid: int
    start_date: datetime
    end_date: datetime | None = None
    latest_heartbeat: datetime

    @property
    def id(self) -> str:
        return self.job_id


@dataclass(frozen=True, slots=True, kw_only=True)
class JobsView(View):
    """Newest first."""

    NAME: ClassVar[str] = "jobs"

    rows: tuple[JobRow, ...] = ()


def fetch(store: Store, query: JobsQuery, now: datetime, settings: Settings) -> JobsView:
    return JobsView(rows=tuple(job_row(job, state_of(job, settings, now)) for job in store.jobs(limit=query.limit)))


def job_row(job: Job, state: str) -> JobRow:
    """The row of a process in this state."""
    return JobRow(
        job_id=job.job_id,
        job_type=job.kind,
        state=state,
        hostname=job.hostname,
        pid=job.pid,
        start_date=job.started_at,
        end_date=job.ended_at,
        latest_heartbeat=job.heartbeat_at,
    )
