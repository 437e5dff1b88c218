"""The runs of a DAG in a simulation of several days: a lane for the runs and one for each task."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, ClassVar

from nbflow.store.base import Store
from nbflow.views.base import Query, View
from nbflow.views.lookups import version_of
from nbflow.views.shared import Bar, EventRow, Lane, count, day_text, zone_of

if TYPE_CHECKING:
    from nbflow.config import Settings
    from nbflow.core.spec import DagSpec
    from nbflow.sim import Simulation


@dataclass(frozen=True, slots=True, kw_only=True)
class TimelineQuery(Query["TimelineView"]):
    """``days`` calendar days from ``start`` (default: now)."""

    NAME: ClassVar[str] = "timeline"

    dag_id: str
    version: int | None = None
    start: datetime | None = None
    days: int = 7


@dataclass(frozen=True, slots=True, kw_only=True)
class TimelineView(View):
    """Lanes over calendar time, and the events with their causes."""

    NAME: ClassVar[str] = "timeline"

    title: str
    start: datetime
    end: datetime
    lanes: tuple[Lane, ...] = ()
    events: tuple[EventRow, ...] = ()
    assumptions: tuple[str, ...] = ()
    footer: tuple[str, ...] = ()


def fetch(store: Store, query: TimelineQuery, now: datetime, settings: Settings) -> TimelineView:
    """Simulates the DAG: takes seconds for many runs. Raises DagNotFound."""
    from nbflow.sim import simulate

    spec = version_of(store, query.dag_id, query.version).spec
    return timeline_view(simulate(spec, start=query.start or now, days=query.days, store=store), spec)


def timeline_view(simulation: Simulation, spec: DagSpec) -> TimelineView:
    zone = zone_of(spec)
    runs = [
        Bar(
            start=(run.started or run.planned).astimezone(zone),
            end=(run.ended or simulation.end).astimezone(zone),
            state=run.state,
            note=run.why,
        )
        for run in simulation.runs
    ]
    entries = [(run, entry) for run in simulation.runs for entry in run.entries]
    lanes = [Lane(label="runs", bars=tuple(runs))]
    for task_id in spec.tasks:
        bars = [
            Bar(
                start=entry.start.astimezone(zone),
                end=(entry.end or simulation.end).astimezone(zone),
                state=entry.state,
                note=entry.why,
            )
            for _, entry in entries
            if entry.key.task_id == task_id
        ]
        lanes.append(Lane(label=task_id, bars=tuple(bars)))
    last = max([simulation.end, *(run.ended for run in simulation.runs if run.ended)])
    events = [
        EventRow(
            seq=seq,
            at=(entry.end or entry.start).astimezone(zone),
            subject=f"{day_text(run.logical_date, zone) if run.logical_date else run.key.run_id} {entry.key}",
            to_state=entry.state,
            cause=entry.why,
        )
        for seq, (run, entry) in enumerate(entries, 1)
    ]
    return TimelineView(
        title=f"{spec.dag_id}, simulated",
        start=simulation.start.astimezone(zone),
        end=last.astimezone(zone),
        lanes=tuple(lanes),
        events=tuple(events),
        assumptions=tuple(line.rstrip(".") for line in simulation.assumptions),
        footer=(count(len(simulation.runs), "run"), *simulation.incidents),
    )
