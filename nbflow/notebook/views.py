"""From the store's answers to the view models of :mod:`nbflow.ui`. Nothing here decides or changes anything."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nbflow.core.backfill import BackfillPlan
from nbflow.core.snapshot import Instance, Run, RunKey, TaskKey
from nbflow.core.spec import DagSpec, TaskSpec
from nbflow.core.states import CAUSES, FAILED_STATES, FINISHED, RUN_CAUSES, Cause, RunCause, RunState, TaskState
from nbflow.core.timetables import DagRunInfo, TimeRestriction, timetable_from_spec
from nbflow.core.timetables.time_zones import timezone_of
from nbflow.ui import formatting
from nbflow.ui.scene import group_note, group_state
from nbflow.ui.viewmodel import (
    BackfillView,
    Bar,
    DagRow,
    EdgeView,
    EventRow,
    GanttView,
    GraphView,
    GridRow,
    GridRun,
    GridView,
    GroupView,
    ImportErrorRow,
    Lane,
    LogLine,
    LogView,
    PlannedRun,
    RunRow,
    TaskRow,
    TaskView,
    TimelineView,
    WhyView,
    state_counts,
)

if TYPE_CHECKING:
    from nbflow.sim import Simulation
    from nbflow.store.base import Attempt, DagImportError, Store, TaskEvent

LAST_RUNS = 14
LOG_BYTES = 1024 * 1024
_LOG_LINE = re.compile(r"(\d{4}-\d\d-\d\dT[\d:.]+(?:[+-]\d\d:\d\d|Z)) ([A-Z]+) (\S+) \| (.*)", re.DOTALL)


def zone_of(spec: DagSpec) -> tzinfo:
    """The zone in which a DAG's times are shown."""
    return timezone_of(spec.timezone)


# ---------------------------------------------------------------------------------------- graphs


def graph_view(
    spec: DagSpec,
    *,
    run: Run | None = None,
    instances: Iterable[Instance] = (),
    next_run: datetime | None = None,
    paused: bool = False,
    footer: Sequence[str] = (),
) -> GraphView:
    """A DAG, or one run of it."""
    zone = zone_of(spec)
    return GraphView(
        dag_id=spec.dag_id,
        tasks=tuple(task_views(spec, instances, zone)),
        edges=tuple(
            EdgeView(source=up, target=task.task_id, label=spec.edge_labels.get(f"{up}>{task.task_id}", ""))
            for task in spec.tasks.values()
            for up in task.upstream
        ),
        groups=tuple(
            GroupView(group_id=group.group_id, label=group.label or "", parent=group.parent or "")
            for group in spec.groups.values()
        ),
        schedule="" if spec.schedule_text == "None" else spec.schedule_text,
        run=run_title(run, zone) if run is not None else "",
        run_state=run.state.value if run is not None else "none",
        next_run=next_run.astimezone(zone) if next_run is not None else None,
        paused=paused,
        footer=tuple(part for part in footer if part),
    )


def run_title(run: Run, zone: tzinfo) -> str:
    """What a run is called in a heading: its logical date, as far as it says something."""
    if run.logical_date is None:
        return f"run {run.run_id}"
    at = run.logical_date.astimezone(zone)
    whole_day = (at.hour, at.minute, at.second, at.microsecond) == (0, 0, 0, 0)
    return f"run {at:%Y-%m-%d}" if whole_day else f"run {at:%Y-%m-%d %H:%M}"


def task_views(spec: DagSpec, instances: Iterable[Instance], zone: tzinfo) -> list[TaskView]:
    """The tasks of a graph with the states of a run; a mapped task has one state for all its instances."""
    found: dict[str, list[Instance]] = {}
    for one in instances:
        found.setdefault(one.task_id, []).append(one)
    return [_task_view(spec, task, found.get(task.task_id, []), zone) for task in spec.tasks.values()]


def _task_view(spec: DagSpec, task: TaskSpec, own: Sequence[Instance], zone: tzinfo) -> TaskView:
    mapped: int | None = None
    if spec.length_expr(task.task_id) is not None:
        mapped = len(own) if own and own[0].map_index >= 0 else -1
    counts = state_counts(one.state.value for one in own)
    plain = TaskView(
        task_id=task.task_id,
        label=task.label or "",
        group=task.group or "",
        kind="setup" if task.is_setup else "teardown" if task.is_teardown else "task",
        operator=operator_name(task),
        mapped=mapped,
    )
    if not own:
        return plain
    if len(own) > 1:
        return replace(plain, state=group_state(counts), note=group_note(counts))
    [one] = own
    return replace(
        plain,
        state=one.state.value,
        duration=formatting.elapsed(one.start_date, one.end_date),
        try_number=one.try_number,
        max_tries=one.max_tries + 1,
        since=one.start_date.astimezone(zone) if one.start_date and one.state is TaskState.RUNNING else None,
        due=one.next_at.astimezone(zone) if one.next_at and one.state not in FINISHED else None,
    )


def operator_name(task: TaskSpec) -> str:
    """What a task is, for people: ``@task`` rather than the class behind it."""
    return str(task.ui.get("operator_name") or task.operator)


def changed_fields(before: TaskView, after: TaskView) -> dict[str, Any]:
    """The fields in which two views of a task differ."""
    names = ("state", "note", "duration", "try_number", "max_tries", "since", "due", "mapped")
    return {name: getattr(after, name) for name in names if getattr(before, name) != getattr(after, name)}


# ---------------------------------------------------------------------------------------- lists


def run_rows(runs: Sequence[Run], counts: Mapping[RunKey, Mapping[TaskState, int]], zone: tzinfo) -> list[RunRow]:
    return [
        RunRow(
            run_id=run.run_id,
            state=run.state.value,
            run_type=run.run_type,
            logical_date=_in(run.logical_date, zone),
            start=_in(run.start_date, zone),
            end=_in(run.end_date, zone),
            counts=tuple((state.value, number) for state, number in counts.get(run.key, {}).items()),
        )
        for run in runs
    ]


def dag_row(store: Store, spec: DagSpec, *, paused: bool, next_run: datetime | None) -> DagRow:
    """A line of the DAG list."""
    runs = list(reversed(store.runs(spec.dag_id, limit=LAST_RUNS)))
    return DagRow(
        dag_id=spec.dag_id,
        schedule="" if spec.schedule_text == "None" else spec.schedule_text,
        paused=paused,
        latest=runs[-1].state.value if runs else "none",
        last_runs=tuple((run.state.value, formatting.elapsed(run.start_date, run.end_date)) for run in runs),
        next_run=_in(next_run, zone_of(spec)),
        tags=spec.tags,
        owner=", ".join(spec.owners),
    )


def import_error_rows(faults: Iterable[DagImportError], folder: Path, zone: tzinfo) -> list[ImportErrorRow]:
    """The files that do not load, each with the place of its mistake."""
    return [
        ImportErrorRow(
            file=", ".join(filter(None, [os.path.relpath(fault.fileloc, folder), fault.cell])),
            error=fault.error,
            line=fault.line,
            at=_in(fault.at, zone),
        )
        for fault in faults
    ]


def task_rows(
    instances: Sequence[Instance], reasons: Mapping[TaskKey, str], zone: tzinfo, order: Sequence[str]
) -> list[TaskRow]:
    """The task instances of a run in the order of its DAG, each with why it waits or what it failed of."""
    place = {task_id: index for index, task_id in enumerate(order)}
    ordered = sorted(instances, key=lambda one: (place.get(one.task_id, len(place)), one.map_index))
    return [
        TaskRow(
            task_id=one.task_id,
            state=one.state.value,
            map_index=one.map_index,
            try_number=one.try_number,
            max_tries=one.max_tries + 1,
            start=_in(one.start_date, zone),
            end=_in(one.end_date, zone),
            reason=reasons.get(one.key, ""),
        )
        for one in ordered
    ]


def next_runs(spec: DagSpec, last: Run | None, now: datetime, number: int) -> list[DagRunInfo]:
    """The next runs that the schedule makes. ``last``: the latest scheduled run."""
    from nbflow.core.timetables import DataInterval

    timetable = timetable_from_spec(spec.schedule)
    if not timetable.can_be_scheduled:
        return []
    interval = None
    if last is not None and last.data_interval_start is not None and last.data_interval_end is not None:
        interval = DataInterval(last.data_interval_start, last.data_interval_end)
    restriction = TimeRestriction(spec.start_date, spec.end_date, spec.catchup)
    found: list[DagRunInfo] = []
    while len(found) < number:
        info = timetable.next_run(interval, restriction, now)
        if info is None or (found and info.run_after <= found[-1].run_after):
            break
        found.append(info)
        interval = info.data_interval
    return found


# ---------------------------------------------------------------------------------------- grid and gantt


def grid_view(spec: DagSpec, runs: Sequence[tuple[Run, Sequence[Instance]]]) -> GridView:
    """The given runs (oldest first) as columns, the DAG's tasks as rows."""
    zone = zone_of(spec)
    columns = [
        GridRun(
            run_id=run.run_id,
            label=f"{run.logical_date.astimezone(zone):%d %b}" if run.logical_date else run.run_id[-6:],
            state=run.state.value,
            duration=formatting.elapsed(run.start_date, run.end_date),
        )
        for run, _ in runs
    ]
    states: list[dict[str, TaskView]] = [
        {view.task_id: view for view in task_views(spec, found, zone)} for _, found in runs
    ]
    rows = tuple(
        GridRow(label=task_id, states=tuple(column[task_id].state for column in states)) for task_id in spec.tasks
    )
    return GridView(dag_id=spec.dag_id, runs=tuple(columns), rows=rows)


def gantt_view(spec: DagSpec, run: Run, events: Sequence[TaskEvent], now: datetime) -> GanttView:
    """Where a run's time went: each attempt of each task, and the time that it stood in the queue."""
    zone = zone_of(spec)
    lanes: dict[str, list[Bar]] = {task_id: [] for task_id in spec.tasks}
    queued: dict[TaskKey, datetime] = {}
    begun: dict[TaskKey, datetime] = {}

    def add(key: TaskKey, end: datetime, state: str) -> None:
        start = begun.pop(key)
        label = str(key)
        lanes.setdefault(label, []).append(
            Bar(
                start=start.astimezone(zone),
                end=end.astimezone(zone),
                state=state,
                queued_from=_in(queued.pop(key, None), zone),
            )
        )

    for event in events:
        if event.key is None:
            continue
        if event.target == TaskState.QUEUED:
            queued[event.key] = event.at
        elif event.target == TaskState.RUNNING:
            begun[event.key] = event.at
        elif event.key in begun:
            add(event.key, event.at, event.target)
    for key in list(begun):
        add(key, now, TaskState.RUNNING.value)
    shown = tuple(Lane(label=label, bars=tuple(bars)) for label, bars in lanes.items() if bars)
    return GanttView(dag_id=spec.dag_id, run=run_title(run, zone), run_state=run.state.value, lanes=shown)


# ---------------------------------------------------------------------------------------- why


def failure(store: Store, run: RunKey, key: TaskKey) -> str:
    """What the last try of a task instance failed of; empty where nobody said."""
    attempts: list[Attempt] = store.attempts(run, key)
    return (attempts[-1].error or "").strip() if attempts else ""


def cause_words(cause: str) -> str:
    """A cause of the history as a sentence."""
    if cause in CAUSES:
        return CAUSES[Cause(cause)]
    return RUN_CAUSES[RunCause(cause)] if cause in RUN_CAUSES else cause


def event_rows(events: Iterable[TaskEvent], zone: tzinfo) -> list[EventRow]:
    return [
        EventRow(
            at=event.at.astimezone(zone),
            subject=str(event.key) if event.key is not None else "the run",
            from_state=event.source,
            to_state=event.target,
            cause=cause_words(event.cause),
            actor=event.actor,
        )
        for event in events
    ]


def why_view(
    store: Store, run: Run, one: Instance, reason: str, *, zone: tzinfo, kind: str = "", history: int = 20
) -> WhyView:
    """One task instance: the reason why it waits, or the cause of the state in which it ended."""
    events = store.events(run=run.key, key=one.key, limit=1000)[-history:]
    ways: tuple[str, ...] = ()
    grounds: list[str] = []
    headline = reason
    if one.state in FINISHED:
        headline = cause_words(events[-1].cause) if events else f"It is {one.state.value}."
        error = failure(store, run.key, one.key)
        if one.state in FAILED_STATES:
            if error:
                grounds.append(error.splitlines()[-1])
            ways = (f"%dag logs {run.dag_id} {one.task_id}", f"%dag clear {run.dag_id} {one.task_id}")
    elif error := failure(store, run.key, one.key):
        grounds.append(f"The try before: {error.splitlines()[-1]}")
    ways = ways or _ways_out(run.dag_id, kind)
    return WhyView(
        subject=f"{run.dag_id} {one.key}, {run_title(run, zone)}",
        state=one.state.value,
        headline=_sentence(headline),
        grounds=tuple(grounds),
        ways_out=ways,
        history=tuple(event_rows(events, zone)),
    )


def _ways_out(dag_id: str, kind: str) -> tuple[str, ...]:
    ways: Mapping[str, tuple[str, ...]] = {
        "paused": (f"%dag unpause {dag_id}",),
        "no_scheduler": ("%nbflow start",),
        "stuck": (f"%dag clear {dag_id} --failed",),
    }
    return ways.get(kind, ())


def _sentence(text: str) -> str:
    text = text.strip()
    return text if not text or text[-1] in ".!?" else f"{text[0].upper()}{text[1:]}."


# ---------------------------------------------------------------------------------------- logs


def log_view(title: str, text: str, zone: tzinfo, *, dropped: int = 0, search: str = "") -> LogView:
    """A try's log; ``search`` keeps the lines that hold the word."""
    lines: list[LogLine] = []
    traceback = False
    for raw in text.splitlines():
        match = _LOG_LINE.fullmatch(raw)
        if match is not None:
            at = datetime.fromisoformat(match[1]).astimezone(zone)
            lines.append(LogLine(message=match[4], at=at, level=match[2], source=match[3]))
            traceback = False
            continue
        traceback = traceback or raw.startswith("Traceback (")
        lines.append(LogLine(message=raw, level="ERROR" if traceback else "INFO"))
        if traceback and raw[:1].strip() and not raw.startswith("Traceback ("):
            traceback = False  # the exception's own line ends it
    if search:
        lines = [line for line in lines if search.lower() in line.message.lower()]
    return LogView(title=title, lines=tuple(lines), dropped=dropped)


# ---------------------------------------------------------------------------------------- backfills and simulations

_REASONS = {"already exists": "it has a run already", "in flight": "its run is not over"}


def backfill_view(
    dag_id: str, plan: BackfillPlan, zone: tzinfo, *, dry_run: bool, states: Mapping[str, RunState] | None = None
) -> BackfillView:
    """The planned runs; once they are made, with their states."""
    runs = []
    for entry in plan.entries:
        refused = entry.not_created_because
        state = (states or {}).get(entry.run_id or "")
        runs.append(
            PlannedRun(
                logical_date=entry.logical_date.astimezone(zone),
                action="keep" if refused else "rerun" if entry.reset else "make",
                interval_start=entry.info.data_interval.start.astimezone(zone),
                interval_end=entry.info.data_interval.end.astimezone(zone),
                reason=_REASONS.get(refused or "", refused or ""),
                state=state.value if state is not None else "",
            )
        )
    return BackfillView(dag_id=dag_id, runs=tuple(runs), remarks=tuple(_clock_changes(runs)), dry_run=dry_run)


def _clock_changes(runs: Sequence[PlannedRun]) -> Iterable[str]:
    """Intervals that a change of the clocks makes longer or shorter than a day."""
    for run in runs:
        begin, end = run.interval_start, run.interval_end
        if begin is None or end is None or begin.utcoffset() == end.utcoffset():
            continue
        hours = formatting.between(begin, end) / 3600
        if hours <= 25:
            at, forward = _change_between(begin, end)
            where = "forward" if forward else "back"
            yield f"The clocks go {where} on {at:%d %b %Y}: that interval has {hours:g} hours."


def _change_between(begin: datetime, end: datetime) -> tuple[datetime, bool]:
    """The first whole hour after the clocks changed, in the interval's own zone, and whether they went forward."""
    zone, instant = begin.tzinfo, begin.astimezone(UTC)
    while instant.astimezone(zone).utcoffset() == begin.utcoffset():
        instant += timedelta(hours=1)
    changed = instant.astimezone(zone)
    return changed, (changed.utcoffset() or timedelta()) > (begin.utcoffset() or timedelta())


def timeline_view(simulation: Simulation, spec: DagSpec) -> TimelineView:
    """A simulation as a timeline: a lane for the runs, one for each task."""
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
    lanes = [Lane(label="runs", bars=tuple(runs))]
    for task_id in spec.tasks:
        bars = [
            Bar(
                start=one.start.astimezone(zone),
                end=(one.end or simulation.end).astimezone(zone),
                state=one.state,
                note=one.why,
            )
            for run in simulation.runs
            for one in run.stretches
            if one.key.task_id == task_id
        ]
        lanes.append(Lane(label=task_id, bars=tuple(bars)))
    last = max([simulation.end, *(run.ended for run in simulation.runs if run.ended)])
    events = [
        EventRow(
            at=(one.end or one.start).astimezone(zone),
            subject=f"{run_date(run.logical_date, zone)} {one.key}",
            to_state=one.state,
            cause=one.why,
        )
        for run in simulation.runs
        for one in run.stretches
    ]
    return TimelineView(
        title=f"{spec.dag_id}, simulated",
        start=simulation.start.astimezone(zone),
        end=last.astimezone(zone),
        lanes=tuple(lanes),
        events=tuple(events),
        assumptions=tuple(line.rstrip(".") for line in simulation.assumptions),
        footer=(formatting.count(len(simulation.runs), "run"), *simulation.happened),
    )


def run_date(at: datetime | None, zone: tzinfo) -> str:
    return formatting.short_time(_in(at, zone))


def _in(at: datetime | None, zone: tzinfo) -> datetime | None:
    return at.astimezone(zone) if at is not None else None
