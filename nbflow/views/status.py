"""Whether a scheduler is running, and the active runs of the home."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, ClassVar

from nbflow.core.states import RunState
from nbflow.services.runs_set_aside import set_aside_lines
from nbflow.services.schedulers import RUNNING, running_schedulers
from nbflow.store.base import Store
from nbflow.views.base import Query, View
from nbflow.views.jobs import JobRow, job_row

if TYPE_CHECKING:
    from nbflow.config import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusQuery(Query["StatusView"]):
    NAME: ClassVar[str] = "status"


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusView(View):
    """``schedulers``: the running schedulers, most recent heartbeat first. ``metastore``: its URL without the password.
    ``next_run``: the time of the next scheduled run of an unpaused DAG."""

    NAME: ClassVar[str] = "status"

    schedulers: tuple[JobRow, ...] = ()
    metastore: str
    home: str
    dags_folder: str
    dags: int
    import_errors: int
    queued_runs: int
    running_runs: int
    running_tasks: int
    next_run: datetime | None = None
    runs_set_aside: tuple[str, ...] = ()
    """A line for each run that a scheduler has set aside."""


def fetch(store: Store, query: StatusQuery, now: datetime, settings: Settings) -> StatusView:
    active = store.active_runs()
    schedulers = running_schedulers(store, settings, now)
    return StatusView(
        schedulers=tuple(job_row(job, RUNNING) for job in schedulers),
        metastore=store.url,
        home=str(settings.home),
        dags_folder=str(settings.core.dags_folder),
        dags=len(store.dags()),
        import_errors=len(store.import_errors()),
        queued_runs=sum(run.state is RunState.QUEUED for run in active),
        running_runs=sum(run.state is RunState.RUNNING for run in active),
        running_tasks=store.usage().total,
        next_run=store.next_due(),
        runs_set_aside=set_aside_lines(schedulers),
    )
