"""The result of a simulation as data: runs with planned and actual times, each try of each task, and the causes.

The data come from the event history only, so the same functions make a timeline of real runs.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from nbflow.core.snapshot import Run, RunKey, TaskKey
from nbflow.core.states import CAUSES, FINISHED, RUN_CAUSES, Cause, RunCause, RunState, TaskState
from nbflow.core.wait_reasons import WaitReason
from nbflow.store.base import TaskEvent

GLYPHS: Mapping[str, str] = {
    "success": "+",
    "failed": "x",
    "skipped": ".",
    "upstream_failed": "u",
    "up_for_retry": "r",
    "up_for_reschedule": "s",
    "deferred": "d",
    "removed": "-",
}
"""A character for each state in which an attempt can end; ``>`` if it has not ended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TimelineEntry:
    """An attempt, or a decision without an attempt (skipped, upstream_failed ...), whose start and end are equal."""

    key: TaskKey
    try_number: int
    start: datetime
    end: datetime | None
    """None: not ended."""
    state: str
    cause: str

    @property
    def why(self) -> str:
        """The description of the cause."""
        return CAUSES[Cause(self.cause)] if self.cause in CAUSES else self.cause

    @property
    def glyph(self) -> str:
        return GLYPHS.get(self.state, ">")


@dataclass(frozen=True, slots=True, kw_only=True)
class TimelineRun:
    """A run and its timeline."""

    key: RunKey
    run_type: str
    logical_date: datetime | None
    planned: datetime
    """The time at which it was due (run_after)."""
    created: datetime | None
    started: datetime | None
    ended: datetime | None
    state: str
    cause: str
    entries: tuple[TimelineEntry, ...] = ()

    @property
    def late(self) -> timedelta | None:
        """The time between its due time and its start."""
        return self.started - self.planned if self.started is not None else None

    @property
    def why(self) -> str:
        """The description of the cause of its state."""
        return RUN_CAUSES[RunCause(self.cause)] if self.cause in RUN_CAUSES else self.cause

    def events(self) -> list[str]:
        """The entries that did not end in success, in order, as text."""
        return [f"{entry.key} {_text(entry)}" for entry in self.entries if entry.state != TaskState.SUCCESS]


def _text(entry: TimelineEntry) -> str:
    try_number = f" (try {entry.try_number})" if entry.try_number > 1 else ""
    return f"{entry.state}{try_number}: {entry.why}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Simulation:
    """The result of :func:`nbflow.sim.simulate`. Equal inputs give equal results."""

    dag_id: str
    start: datetime
    end: datetime
    runs: tuple[TimelineRun, ...]
    assumptions: tuple[str, ...]
    waits: Mapping[str, WaitReason] = field(default_factory=dict)
    """"run id" or "run id task" -> reason, for runs and tasks that could not end."""
    incidents: tuple[str, ...] = ()
    """The injected faults, and what was refused, each with its time."""
    trace: str = ""
    """The whole event history and the incidents, as text."""

    def text(self, *, most_runs: int = 30) -> str:
        """Text for a terminal: the assumptions, a line for each run (followed by the tries that did not succeed), then
        the runs and tasks that still wait."""
        return "\n".join(self.lines(most_runs=most_runs))

    def lines(self, *, most_runs: int = 30) -> Iterator[str]:
        """The lines of :meth:`text`."""
        period = f"from {_minute(self.start)} to {_minute(self.end)}"
        yield f"{self.dag_id}, simulated {period}: {_count_by_state(self.runs)}"
        yield from (f"  assumed: {line}" for line in self.assumptions)
        shown = self.runs[:most_runs]
        width = max((len(_minute(at)) + 1 for run in shown for at in (run.logical_date, run.planned) if at), default=0)
        if self.runs:
            yield ""
            yield f"{'logical date':<{width}} {'due':<{width}} {'late':>7} {'took':>8} {'state':<8} tasks"
        for run in shown:
            yield self._line(run, width)
            yield from (f"{'':>20}{event}" for event in run.events()[:5])
        if len(self.runs) > most_runs:
            yield f"... and {len(self.runs) - most_runs} more runs"
        for name, wait in self.waits.items():
            yield f"still waiting: {name}: {wait.text}"

    def _line(self, run: TimelineRun, width: int) -> str:
        took = _duration(run.ended - run.started) if run.ended and run.started else "-"
        late = _duration(run.late) if run.late is not None else "-"
        glyphs = "".join(entry.glyph for entry in run.entries)
        date = _minute(run.logical_date) if run.logical_date else "-"
        return f"{date:<{width}} {_minute(run.planned):<{width}} {late:>7} {took:>8} {run.state:<8} {glyphs}"


def _count_by_state(runs: Sequence[TimelineRun]) -> str:
    if not runs:
        return "no run"
    states = [run.state for run in runs]
    parts = [f"{states.count(state)} {state}" for state in dict.fromkeys(states)]
    return f"{len(runs)} {'run' if len(runs) == 1 else 'runs'} ({', '.join(parts)})"


def _minute(at: datetime) -> str:
    """With the seconds where they are not zero."""
    return at.strftime("%Y-%m-%d %H:%M:%S" if at.second else "%Y-%m-%d %H:%M")


def _duration(delta: timedelta) -> str:
    seconds = round(delta.total_seconds())
    hours, seconds = divmod(seconds, 3600)
    return f"{hours}h{seconds // 60:02}m" if hours else f"{seconds // 60}m{seconds % 60:02}s"


def timeline_runs(runs: Iterable[Run], history: Iterable[TaskEvent]) -> tuple[TimelineRun, ...]:
    """The timelines of the runs, oldest first."""
    by_run: dict[RunKey, list[TaskEvent]] = {}
    for event in history:
        by_run.setdefault(event.run, []).append(event)
    return tuple(
        _timeline_run(run, by_run.get(run.key, []))
        for run in sorted(runs, key=lambda run: (run.run_after, run.logical_date or run.run_after, run.run_id))
    )


def _timeline_run(run: Run, history: Sequence[TaskEvent]) -> TimelineRun:
    run_events = [event for event in history if event.key is None]
    return TimelineRun(
        key=run.key,
        run_type=run.run_type,
        logical_date=run.logical_date,
        planned=run.run_after,
        created=run_events[0].at if run_events else None,
        started=next((event.at for event in run_events if event.target == RunState.RUNNING), None),
        ended=run.end_date,
        state=run.state.value,
        cause=run_events[-1].cause if run_events else "",
        entries=tuple(_entries(history)),
    )


def _entries(history: Sequence[TaskEvent]) -> list[TimelineEntry]:
    """The timeline of one run's tasks, by start."""
    entries: list[TimelineEntry] = []
    starts: dict[TaskKey, TaskEvent] = {}
    for event in history:
        if event.key is None:
            continue
        if event.target == TaskState.RUNNING:
            starts[event.key] = event
            continue
        start = starts.pop(event.key, None)
        if start is None and event.target not in FINISHED:
            continue
        entries.append(
            TimelineEntry(
                key=event.key,
                try_number=event.try_number,
                start=start.at if start else event.at,
                end=event.at,
                state=event.target,
                cause=event.cause,
            )
        )
    for key, start in starts.items():
        entries.append(
            TimelineEntry(
                key=key, try_number=start.try_number, start=start.at, end=None, state=start.target, cause=start.cause
            )
        )
    return sorted(entries, key=lambda entry: entry.start)
