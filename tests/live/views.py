"""A view of a whole metastore, for the tests of the feed: the states of all tasks, and the DAGs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from threading import Event
from typing import Any, ClassVar

from nbflow.live.shared_views import Change, Message, Snapshot
from nbflow.store.base import Store
from nbflow.views.base import Query, Row, View
from nbflow.views.patches import apply_patch

T0 = datetime(2024, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class StatesQuery(Query):
    NAME: ClassVar[str] = "states"

    dag_id: str | None = None
    run_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRow(Row):
    run_id: str
    state: str
    tasks: Mapping[str, str]

    @property
    def id(self) -> str:
        return self.run_id


@dataclass(frozen=True, slots=True, kw_only=True)
class StatesView(View):
    NAME: ClassVar[str] = "states"

    runs: tuple[RunRow, ...] = ()
    dags: Mapping[str, Any]
    """dag_id -> [version, paused, stale, next run]."""
    rest: Any = None
    wake_at: datetime | None = None


def fetch(store: Store, query: StatesQuery, now: datetime) -> StatesView:
    """The runs and DAGs that the query names, and all that belongs to no DAG."""
    found = [run for run in store.runs(query.dag_id, limit=10_000) if query.run_id in (None, run.run_id)]
    runs = [
        RunRow(run_id=run.run_id, state=run.state, tasks={str(ti.key): ti.state for ti in store.instances(run.key)})
        for run in found
    ]
    dags = {
        dag.dag_id: [dag.version, dag.paused, dag.stale, dag.next_run_after]
        for dag in store.dags(include_stale=True)
        if query.dag_id in (None, dag.dag_id)
    }
    rest = {
        "import errors": [error.error for error in store.import_errors()],
        "pools": [[pool.name, pool.slots] for pool in store.pools()],
        "jobs": {job.job_id: job.ended_at is None for job in store.jobs()},
    }
    return StatesView(runs=tuple(runs), dags=dags, rest=rest)


class Client:
    """Applies the messages of a watch, as a browser does."""

    def __init__(self) -> None:
        self.json: dict[str, Any] = {}
        self.messages: list[Message] = []

    def receive(self, message: Message | None) -> None:
        match message:
            case Snapshot(json=json):
                self.json = dict(json)
            case Change(patch=operations):
                self.json = apply_patch(self.json, operations)
        if message is not None:
            self.messages.append(message)

    @property
    def kinds(self) -> list[str]:
        return [type(message).__name__ for message in self.messages]


class ManualClock:
    """A clock that only ``advance`` moves."""

    def __init__(self) -> None:
        self.at = T0

    def now(self) -> datetime:
        return self.at

    def monotonic(self) -> float:
        return (self.at - T0).total_seconds()

    def wait(self, event: Event, until: datetime | None) -> bool:
        raise AssertionError("the feed does not wait on this clock")

    def advance(self, seconds: float) -> None:
        self.at += timedelta(seconds=seconds)
