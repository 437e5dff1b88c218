"""The result of a simulation as data: runs with planned and actual times, each try of each task, and the causes.

Made from the history alone, so the same functions make a timeline of real runs.
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
"""A character for each state in which a stretch can end; ``>`` if it has not ended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretch:
    """An attempt, or a decision without an attempt (skipped, upstream_failed ...), with equal start and end."""

    key: TaskKey
    try_number: int
    start: datetime
    end: datetime | None
    """None: not ended."""
    state: str
    cause: str

    @property
    def why(self) -> str:
        """The cause in words."""
        return CAUSES[Cause(self.cause)] if self.cause in CAUSES else self.cause

    @property
    def glyph(self) -> str:
        return GLYPHS.get(self.state, ">")


@dataclass(frozen=True, slots=True, kw_only=True)
class RunLine:
    """One run."""

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
    stretches: tuple[Stretch, ...] = ()

    @property
    def late(self) -> timedelta | None:
        """The time between its due time and its start."""
        return self.started - self.planned if self.started is not None else None

    @property
    def why(self) -> str:
        """The cause of its state in words."""
        return RUN_CAUSES[RunCause(self.cause)] if self.cause in RUN_CAUSES else self.cause

    def events(self) -> list[str]:
        """The stretches that did not end in success, in order, as text."""
        return [f"{stretch.key} {_text(stretch)}" for stretch in self.stretches if stretch.state != TaskState.SUCCESS]


def _text(stretch: Stretch) -> str:
    try_number = f" (try {stretch.try_number})" if stretch.try_number > 1 else ""
    return f"{stretch.state}{try_number}: {stretch.why}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Simulation:
    """The result of :func:`nbflow.sim.simulate`. Equal inputs give equal results."""

    dag_id: str
    start: datetime
    end: datetime
    runs: tuple[RunLine, ...]
    assumptions: tuple[str, ...]
    waits: Mapping[str, WaitReason] = field(default_factory=dict)
    """"run id" or "run id task" -> reason, for runs and tasks that could not end."""
    happened: tuple[str, ...] = ()
    """The injected faults that occurred."""
    trace: str = ""
    """The whole history as text."""

    def text(self, *, most_runs: int = 30) -> str:
        """Text for a terminal: the assumptions, a line for each run, then the runs and tasks that still wait."""
        return "\n".join(self.lines(most_runs=most_runs))

    def lines(self, *, most_runs: int = 30) -> Iterator[str]:
        """The lines of :meth:`text`."""
        yield f"{self.dag_id}, simulated from {_moment(self.start)} to {_moment(self.end)}: {_tally(self.runs)}"
        yield from (f"  assumed: {line}" for line in self.assumptions)
        if self.runs:
            yield ""
            yield f"{'logical date':<17} {'due':<17} {'late':>7} {'took':>8} {'state':<8} tasks"
        for run in self.runs[:most_runs]:
            yield self._line(run)
            yield from (f"{'':>20}{event}" for event in run.events()[:5])
        if len(self.runs) > most_runs:
            yield f"... and {len(self.runs) - most_runs} more runs"
        for name, wait in self.waits.items():
            yield f"still waiting: {name}: {wait.text}"

    def _line(self, run: RunLine) -> str:
        took = _span(run.ended - run.started) if run.ended and run.started else "-"
        late = _span(run.late) if run.late is not None else "-"
        glyphs = "".join(stretch.glyph for stretch in run.stretches)
        date = _moment(run.logical_date) if run.logical_date else "-"
        return f"{date:<17} {_moment(run.planned):<17} {late:>7} {took:>8} {run.state:<8} {glyphs}"


def _tally(runs: Sequence[RunLine]) -> str:
    if not runs:
        return "no run"
    states = [run.state for run in runs]
    parts = [f"{states.count(state)} {state}" for state in dict.fromkeys(states)]
    return f"{len(runs)} {'run' if len(runs) == 1 else 'runs'} ({', '.join(parts)})"


def _moment(at: datetime) -> str:
    return at.strftime("%Y-%m-%d %H:%M")


def _span(delta: timedelta) -> str:
    seconds = round(delta.total_seconds())
    hours, rest = divmod(seconds, 3600)
    return f"{hours}h{rest // 60:02}m" if hours else f"{rest // 60}m{rest % 60:02}s"


def run_lines(runs: Iterable[Run], history: Iterable[TaskEvent]) -> tuple[RunLine, ...]:
    """The runs as lines, oldest first."""
    by_run: dict[RunKey, list[TaskEvent]] = {}
    for event in history:
        by_run.setdefault(event.run, []).append(event)
    return tuple(
        _run_line(run, by_run.get(run.key, []))
        for run in sorted(runs, key=lambda run: (run.run_after, run.logical_date or run.run_after, run.run_id))
    )


def _run_line(run: Run, history: Sequence[TaskEvent]) -> RunLine:
    own = [event for event in history if event.key is None]
    return RunLine(
        key=run.key,
        run_type=run.run_type,
        logical_date=run.logical_date,
        planned=run.run_after,
        created=own[0].at if own else None,
        started=next((event.at for event in own if event.target == RunState.RUNNING), None),
        ended=run.end_date,
        state=run.state.value,
        cause=own[-1].cause if own else "",
        stretches=tuple(stretches(history)),
    )


def stretches(history: Sequence[TaskEvent]) -> list[Stretch]:
    """The stretches of work of one run, by start."""
    found: list[Stretch] = []
    begun: dict[TaskKey, TaskEvent] = {}
    for event in history:
        if event.key is None:
            continue
        if event.target == TaskState.RUNNING:
            begun[event.key] = event
            continue
        start = begun.pop(event.key, None)
        if start is None and event.target not in FINISHED:
            continue
        found.append(
            Stretch(
                key=event.key,
                try_number=event.try_number,
                start=start.at if start else event.at,
                end=event.at,
                state=event.target,
                cause=event.cause,
            )
        )
    for key, start in begun.items():
        found.append(
            Stretch(
                key=key, try_number=start.try_number, start=start.at, end=None, state=start.target, cause=start.cause
            )
        )
    return sorted(found, key=lambda stretch: stretch.start)
