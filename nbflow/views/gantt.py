"""The attempts of a run's task instances on a time axis, with the time that each spent in the queue."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, ClassVar

from nbflow.core.snapshot import Run, TaskKey
from nbflow.core.states import TaskState
from nbflow.store.base import Store, TaskEvent
from nbflow.views.base import Query, View
from nbflow.views.lookups import run_of, version_of
from nbflow.views.shared import Bar, Lane, in_dag_order, in_zone, run_title, zone_of

if TYPE_CHECKING:
    from nbflow.config import Settings
    from nbflow.core.spec import DagSpec

MAX_EVENTS = 200_000
"""About 50,000 tries: more than a chart can show."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GanttQuery(Query["GanttView"]):
    NAME: ClassVar[str] = "gantt"

    dag_id: str
    run_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class GanttView(View):
    """One lane per task instance that has started."""

    NAME: ClassVar[str] = "gantt"

    dag_id: str
    run_id: str = ""
    run: str = ""
    """Title of the run."""
    run_state: str = "none"
    lanes: tuple[Lane, ...] = ()
    footer: tuple[str, ...] = ()


def fetch(store: Store, query: GanttQuery, now: datetime, settings: Settings) -> GanttView:
    run = run_of(store, query.dag_id, query.run_id)
    spec = version_of(store, run.dag_id, run.version).spec
    return gantt_view(spec, run, store.events(run=run.key, limit=MAX_EVENTS), now)


def gantt_view(spec: DagSpec, run: Run, events: Sequence[TaskEvent], now: datetime) -> GanttView:
    """``events``: the history of the run."""
    zone = zone_of(spec)
    lanes: dict[TaskKey, list[Bar]] = {}
    queued: dict[TaskKey, datetime] = {}
    started: dict[TaskKey, datetime] = {}

    def add(key: TaskKey, end: datetime, state: str) -> None:
        start = started.pop(key)
        lanes.setdefault(key, []).append(
            Bar(
                start=start.astimezone(zone),
                end=end.astimezone(zone),
                state=state,
                queued_from=in_zone(queued.pop(key, None), zone),
            )
        )

    for event in events:
        if event.key is None:
            continue
        if event.target == TaskState.QUEUED:
            queued[event.key] = event.at
        elif event.target == TaskState.RUNNING:
            started[event.key] = event.at
        elif event.key in started:
            add(event.key, event.at, event.target)
    for key in list(started):
        add(key, now, TaskState.RUNNING.value)
    return GanttView(
        dag_id=spec.dag_id,
        run_id=run.run_id,
        run=run_title(run, zone),
        run_state=run.state.value,
        lanes=tuple(Lane(label=str(key), bars=tuple(lanes[key])) for key in in_dag_order(lanes, list(spec.tasks))),
    )
