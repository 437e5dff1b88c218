"""Values and small functions that several views share."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, tzinfo
from typing import TYPE_CHECKING, TypeVar

from nbflow.core.states import CAUSES, RUN_CAUSES, Cause, RunCause
from nbflow.core.timetables.time_zones import timezone_of
from nbflow.views.base import Row

if TYPE_CHECKING:
    from nbflow.core.snapshot import Instance, Run, TaskKey
    from nbflow.core.spec import DagSpec
    from nbflow.store.base import TaskEvent

LOUDEST_FIRST = (
    "failed", "upstream_failed", "up_for_retry", "running", "restarting", "deferred", "up_for_reschedule", "queued",
    "scheduled", "success", "skipped", "none", "removed",
)  # fmt: skip
"""The order of states in legends and counts: first what needs attention, then what is still to come."""
_QUIET = ("success", "skipped", "none", "removed")
_DONE = ("success", "skipped", "removed")


# ---------------------------------------------------------------------------------------------------------------- times


def zone_of(spec: DagSpec) -> tzinfo:
    """The time zone in which a DAG's times are shown."""
    return timezone_of(spec.timezone)


def in_zone(at: datetime | None, zone: tzinfo) -> datetime | None:
    return at.astimezone(zone) if at is not None else None


def between(start: datetime, end: datetime) -> float:
    """Seconds that pass from start to end. ``end - start`` would ignore a clock change in between."""
    return end.timestamp() - start.timestamp()


def elapsed(start: datetime | None, end: datetime | None, now: datetime | None = None) -> float | None:
    """Seconds from start to end, or to ``now`` while there is no end."""
    last = end or now
    return None if start is None or last is None else between(start, last)


def day_text(at: datetime, zone: tzinfo) -> str:
    """``2026-11-20``, with the time of day unless it is midnight."""
    at = at.astimezone(zone)
    whole_day = (at.hour, at.minute, at.second, at.microsecond) == (0, 0, 0, 0)
    return f"{at:%Y-%m-%d}" if whole_day else f"{at:%Y-%m-%d %H:%M}"


def run_title(run: Run, zone: tzinfo) -> str:
    """The name of a run in a heading: its logical date, or its id if it has none."""
    return f"run {run.run_id if run.logical_date is None else day_text(run.logical_date, zone)}"


# --------------------------------------------------------------------------------------------------------------- states


Keyed = TypeVar("Keyed", "Instance", "TaskKey")


def in_dag_order(tis: Iterable[Keyed], task_ids: Sequence[str]) -> list[Keyed]:
    """Task instances (or their keys) in the order of the DAG's tasks; those of tasks that it no longer has come
    last."""
    place = {task_id: index for index, task_id in enumerate(task_ids)}
    return sorted(tis, key=lambda ti: (place.get(ti.task_id, len(place)), ti.task_id, ti.map_index))


def count(number: int, noun: str) -> str:
    """``1 run``, ``1,204 runs``."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def state_counts(states: Iterable[str]) -> dict[str, int]:
    """The number of each state, loudest first."""
    return loudest_first(Counter(state or "none" for state in states))


def loudest_first(counts: Mapping[str, int]) -> dict[str, int]:
    """Counts of states in the order of :data:`LOUDEST_FIRST`; states that this version does not know come last."""
    order = {state: place for place, state in enumerate(LOUDEST_FIRST)}
    return dict(sorted(counts.items(), key=lambda item: (order.get(item[0], len(order)), item[0])))


def group_state(states: Mapping[str, int]) -> str:
    """The one state shown for several instances or tasks: their common state, else the loudest one."""
    if len(states) == 1:
        return next(iter(states))
    for state in LOUDEST_FIRST:
        if states.get(state) and state not in _QUIET:
            return state
    return "success" if states and set(states) <= set(_DONE) else "none"


def group_note(counts: Mapping[str, int]) -> str:
    """``12 of 14 done``, shown below the name of a group or a mapped task."""
    done = sum(number for state, number in counts.items() if state in _DONE)
    total = sum(counts.values())
    return f"{done} of {total} done" if set(counts) != {"none"} else count(total, "task")


# -------------------------------------------------------------------------------------------------------------- history


def cause_words(cause: str) -> str:
    """A cause of the history in words."""
    if cause in CAUSES:
        return CAUSES[Cause(cause)]
    return RUN_CAUSES[RunCause(cause)] if cause in RUN_CAUSES else cause


@dataclass(frozen=True, slots=True, kw_only=True)
class EventRow(Row):
    """One state change. ``subject`` names the task instance, or says that it is the run."""

    seq: int = 0
    at: datetime
    subject: str
    to_state: str
    from_state: str = ""
    cause: str = ""
    actor: str = ""

    @property
    def id(self) -> str:
        return str(self.seq)


def event_rows(events: Iterable[TaskEvent], zone: tzinfo) -> list[EventRow]:
    return [
        EventRow(
            seq=event.seq,
            at=event.at.astimezone(zone),
            subject=str(event.key) if event.key is not None else "the run",
            from_state=event.source,
            to_state=event.target,
            cause=cause_words(event.cause),
            actor=event.actor,
        )
        for event in events
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """A stretch of time in one state. ``note`` is written in or beside it; dashed bars are waits or expectations."""

    start: datetime
    end: datetime
    state: str
    note: str = ""
    queued_from: datetime | None = None
    dashed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Lane(Row):
    """The bars of one task, task instance or DAG."""

    label: str
    bars: tuple[Bar, ...] = ()

    @property
    def id(self) -> str:
        return self.label
