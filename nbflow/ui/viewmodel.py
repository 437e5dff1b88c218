"""What each view shows, as frozen values: the one contract between the surfaces and the look.

A surface fills these from the store's queries; every function of `nbflow.ui` is pure in them. All times are aware
datetimes (a view writes the zone they carry), all durations are seconds, and states are the words of `core.states`
as plain strings, so that a state of a newer metastore can still be shown.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from nbflow.ui.state_colors import glyphs

FOLD_ABOVE_TASKS = 60  # a graph with more tasks starts with its outermost groups folded


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskView:
    """One task of a graph. `mapped` is the number of its instances, or -1 while their number is unknown."""

    task_id: str
    label: str = ""
    group: str = ""
    kind: str = "task"  # task, setup or teardown
    operator: str = ""
    mapped: int | None = None
    state: str = "none"
    note: str = ""  # the line below the label; empty: made from the fields below
    duration: float | None = None
    try_number: int = 0
    max_tries: int = 0
    since: datetime | None = None  # running: when it began
    due: datetime | None = None  # waiting for a time: which

    @property
    def shown(self) -> str:
        name = self.label or self.task_id.removeprefix(f"{self.group}." if self.group else "")
        return name + self.times

    @property
    def times(self) -> str:
        """` [3]` for a mapped task with three instances, ` [?]` before its expansion."""
        return "" if self.mapped is None else f" [{self.mapped if self.mapped >= 0 else '?'}]"


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupView:
    group_id: str
    label: str = ""
    parent: str = ""
    folded: bool = False

    @property
    def shown(self) -> str:
        return self.label or self.group_id.removeprefix(f"{self.parent}." if self.parent else "")


@dataclass(frozen=True, slots=True, kw_only=True)
class EdgeView:
    source: str
    target: str
    label: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphView:
    """A DAG, or one run of it. `footer` says what stands behind it: version, file and cell, scheduler."""

    dag_id: str
    tasks: tuple[TaskView, ...] = ()
    edges: tuple[EdgeView, ...] = ()
    groups: tuple[GroupView, ...] = ()
    schedule: str = ""
    run: str = ""  # e.g. "run 2026-11-20"; empty: the DAG without a run
    run_state: str = "none"
    next_run: datetime | None = None
    paused: bool = False
    footer: tuple[str, ...] = ()

    def counts(self) -> dict[str, int]:
        return state_counts(task.state for task in self.tasks)

    def with_states(self, states: Mapping[str, Mapping[str, Any]]) -> GraphView:
        """The same graph with changed tasks; `states` maps task ids to the fields of TaskView that changed."""
        return replace(self, tasks=tuple(replace(t, **states.get(t.task_id, {})) for t in self.tasks))


@dataclass(frozen=True, slots=True, kw_only=True)
class DagRow:
    """One line of the DAG list. `last_runs`: oldest first, (state, seconds)."""

    dag_id: str
    schedule: str = ""
    paused: bool = False
    latest: str = "none"
    last_runs: tuple[tuple[str, float | None], ...] = ()
    next_run: datetime | None = None
    tags: tuple[str, ...] = ()
    owner: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRow:
    run_id: str
    state: str
    run_type: str = ""
    logical_date: datetime | None = None
    start: datetime | None = None
    end: datetime | None = None
    counts: tuple[tuple[str, int], ...] = ()  # states of its tasks


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskRow:
    task_id: str
    state: str
    map_index: int = -1
    try_number: int = 0
    max_tries: int = 0
    start: datetime | None = None
    end: datetime | None = None
    reason: str = ""  # why it waits, or what it failed of, in one line


@dataclass(frozen=True, slots=True, kw_only=True)
class LogLine:
    message: str
    at: datetime | None = None
    level: str = "INFO"
    source: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class LogView:
    """A task's log. `dropped` lines came before the first one shown."""

    title: str
    lines: tuple[LogLine, ...] = ()
    dropped: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class EventRow:
    at: datetime
    subject: str
    to_state: str
    from_state: str = ""
    cause: str = ""
    actor: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class WhyView:
    """Why a task is in its state: one sentence, its grounds, and what can be done about it (each a command)."""

    subject: str
    state: str
    headline: str
    grounds: tuple[str, ...] = ()
    ways_out: tuple[str, ...] = ()
    history: tuple[EventRow, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedRun:
    logical_date: datetime
    action: str  # make, rerun, keep or refuse
    interval_start: datetime | None = None
    interval_end: datetime | None = None
    reason: str = ""
    state: str = ""  # of the run, once there is one


@dataclass(frozen=True, slots=True, kw_only=True)
class BackfillView:
    dag_id: str
    runs: tuple[PlannedRun, ...] = ()
    remarks: tuple[str, ...] = ()  # e.g. clocks go back on 25 Oct: that day's interval has 25 hours
    dry_run: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorView:
    """One red line: the fault, its place, the way out; `detail` is folded away."""

    message: str
    place: str = ""
    hint: str = ""
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportErrorRow:
    file: str
    error: str
    line: int | None = None
    gist: str = ""  # the source line
    at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GridRun:
    run_id: str
    label: str
    state: str
    duration: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GridRow:
    """One task (`states`: one per run, "" where it did not exist) or, without states, the heading of a group."""

    label: str
    depth: int = 0
    states: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class GridView:
    dag_id: str
    runs: tuple[GridRun, ...] = ()  # oldest first
    rows: tuple[GridRow, ...] = ()
    footer: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """A stretch of time in one state. `note` is written in or beside it; dashed bars are waits or expectations."""

    start: datetime
    end: datetime
    state: str
    note: str = ""
    queued_from: datetime | None = None
    dashed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Lane:
    label: str
    bars: tuple[Bar, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class GanttView:
    """Where one run's time went: a lane a task, axis in seconds from the first start."""

    dag_id: str
    run: str = ""
    run_state: str = "none"
    lanes: tuple[Lane, ...] = ()
    footer: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class TimelineView:
    """What happened over days: a lane a DAG (or task), axis in calendar time, and the events with their causes."""

    title: str
    start: datetime
    end: datetime
    lanes: tuple[Lane, ...] = ()
    events: tuple[EventRow, ...] = ()
    assumptions: tuple[str, ...] = ()
    footer: tuple[str, ...] = ()


def state_counts(states: Iterable[str]) -> dict[str, int]:
    """How many of each, in the order in which legends show them; a state this version does not know comes last."""
    order = {state: place for place, state in enumerate(glyphs())}
    counted = Counter(state or "none" for state in states)
    return dict(sorted(counted.items(), key=lambda item: (order.get(item[0], len(order)), item[0])))


def folded_for_size(graph: GraphView, *, above: int = FOLD_ABOVE_TASKS) -> GraphView:
    """The graph as it is first shown: with more than `above` tasks, its outermost groups are folded."""
    if len(graph.tasks) <= above:
        return graph
    return replace(graph, groups=tuple(replace(g, folded=g.folded or not g.parent) for g in graph.groups))


def unfolded(graph: GraphView, group_id: str) -> GraphView:
    """The graph with one group's fold turned over."""
    return replace(
        graph, groups=tuple(replace(g, folded=not g.folded) if g.group_id == group_id else g for g in graph.groups)
    )
