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

STATE_PRIORITY = (
    "failed", "upstream_failed", "up_for_retry", "running", "restarting", "deferred", "up_for_reschedule", "queued",
    "scheduled", "success", "skipped", "none", "removed",
)  # fmt: skip
"""The order of states in legends and counts: states that need attention, then active, waiting and ended ones."""
_NOT_ACTIVE = ("success", "skipped", "none", "removed")
_DONE = ("success", "skipped", "removed")


# ---------------------------------------------------------------------------------------------------------------- times


def zone_of(spec: DagSpec) -> tzinfo:
    """The time zone in which a DAG's times are shown."""
    return timezone_of(spec.timezone)


def in_zone(at: datetime | None, zone: tzinfo) -> datetime | None:
    return at.astimezone(zone) if at is not None else None


def between(start: datetime, end: datetime) -> float:
    """Seconds from start to end. ``end - start`` would ignore a change to or from summer time between them."""
    return end.timestamp() - start.timestamp()


def elapsed(start: datetime | None, end: datetime | None, now: datetime | None = None) -> float | None:
    """Seconds from start to end, or to ``now`` without an end. None if a time is missing."""
    until = end or now
    return None if start is None or until is None else between(start, until)


def day_text(at: datetime, zone: tzinfo) -> str:
    """``2026-11-20``, with the time of day unless it is midnight, and with the seconds unless they are zero."""
    at = at.astimezone(zone)
    whole_day = (at.hour, at.minute, at.second, at.microsecond) == (0, 0, 0, 0)
    return f"{at:%Y-%m-%d}" if whole_day else f"{at:%Y-%m-%d %H:%M:%S}" if at.second else f"{at:%Y-%m-%d %H:%M}"


def run_title(run: Run, zone: tzinfo) -> str:
    """The name of a run in a heading: its logical date, or its id if it has none."""
    return f"run {run.run_id if run.logical_date is None else day_text(run.logical_date, zone)}"


# --------------------------------------------------------------------------------------------------------------- states


Keyed = TypeVar("Keyed", "Instance", "TaskKey")


def in_dag_order(tis: Iterable[Keyed], task_ids: Sequence[str]) -> list[Keyed]:
    """Task instances (or their keys) in the order of the DAG's tasks; those of removed tasks come last."""
    position = {task_id: index for index, task_id in enumerate(task_ids)}
    return sorted(tis, key=lambda ti: (position.get(ti.task_id, len(position)), ti.task_id, ti.map_index))


def count(number: int, noun: str) -> str:
    """``1 run``, ``1,204 runs``."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def state_counts(states: Iterable[str]) -> dict[str, int]:
    """The number of each state, by state priority."""
    return by_state_priority(Counter(state or "none" for state in states))


def by_state_priority(counts: Mapping[str, int]) -> dict[str, int]:
    """Counts of states in the order of :data:`STATE_PRIORITY`; unknown states come last."""
    order = {state: index for index, state in enumerate(STATE_PRIORITY)}
    return dict(sorted(counts.items(), key=lambda item: (order.get(item[0], len(order)), item[0])))


def group_state(states: Mapping[str, int]) -> str:
    """The one state shown for several instances or tasks: their common state, otherwise by state priority."""
    if len(states) == 1:
        return next(iter(states))
    for state in STATE_PRIORITY:
        if states.get(state) and state not in _NOT_ACTIVE:
            return state
    return "success" if states and set(states) <= set(_DONE) else "none"


def group_note(counts: Mapping[str, int]) -> str:
    """``12 of 14 done``: the text below the name of a group or a mapped task."""
    done = sum(number for state, number in counts.items() if state in _DONE)
    total = sum(counts.values())
    return f"{done} of {total} done" if set(counts) != {"none"} else count(total, "task")


# -------------------------------------------------------------------------------------------------------------- history


def cause_text(cause: str) -> str:
    """The text for a cause in the history."""
    if cause in CAUSES:
        return CAUSES[Cause(cause)]
    return RUN_CAUSES[RunCause(cause)] if cause in RUN_CAUSES else cause


@dataclass(frozen=True, slots=True, kw_only=True)
class EventRow(Row):
    """One state change. ``subject`` is the name of the task instance, or "the run"."""

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
            cause=cause_text(event.cause),
            actor=event.actor,
        )
        for event in events
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class LastRun(Row):
    """One of the newest runs, as a bar. ``duration``: seconds; None until the run has ended."""

    run_id: str
    state: str
    duration: float | None = None

    @property
    def id(self) -> str:
        return self.run_id


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """A period of time in one state. ``note`` is the text in or beside the bar; dashed bars are waits or estimates."""

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
