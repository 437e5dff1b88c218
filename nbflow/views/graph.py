"""The graph of a DAG, or of one of its runs with the states of its tasks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence, Set
from dataclasses import dataclass, replace
from datetime import datetime, tzinfo
from typing import TYPE_CHECKING, ClassVar

from nbflow.core.snapshot import Instance, Run
from nbflow.core.spec import display_name
from nbflow.core.states import FINISHED, RUN_FINISHED, TaskState
from nbflow.services.schedulers import describe, running_schedulers
from nbflow.views.base import Query, Row, View
from nbflow.views.ends import dates_note
from nbflow.views.lookups import run_of, version_of
from nbflow.views.shared import elapsed, group_note, group_state, in_zone, run_title, state_counts, zone_of

if TYPE_CHECKING:
    from nbflow.config import Settings
    from nbflow.core.spec import DagSpec, TaskSpec
    from nbflow.store.base import DagVersion, Store

FOLD_ABOVE_TASKS = 60
"""A graph with more tasks is first shown with its outermost task groups folded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphQuery(Query["GraphView"]):
    """The graph of a run, or without ``run_id`` of the DAG. ``version``: of the DAG, by default the scheduled one."""

    NAME: ClassVar[str] = "graph"

    dag_id: str
    run_id: str | None = None
    version: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskView(Row):
    """One task of a graph. ``mapped``: for a mapped task, the number of instances, or -1 before its expansion."""

    task_id: str
    label: str = ""
    group: str = ""
    kind: str = "task"
    """task, setup or teardown."""
    operator: str = ""
    mapped: int | None = None
    state: str = "none"
    note: str = ""
    """The line below the label. Empty: generated from the fields below."""
    duration: float | None = None
    try_number: int = 0
    max_tries: int = 0
    since: datetime | None = None
    """Start of a running task."""
    due: datetime | None = None
    """The time that an unfinished task waits for."""

    @property
    def id(self) -> str:
        return self.task_id

    @property
    def shown(self) -> str:
        return display_name(self.task_id, self.label, self.group) + self.times

    @property
    def times(self) -> str:
        """`` [3]`` for a mapped task with three instances, `` [?]`` before its expansion."""
        return "" if self.mapped is None else f" [{self.mapped if self.mapped >= 0 else '?'}]"


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupView(Row):
    group_id: str
    label: str = ""
    parent: str = ""
    folded: bool = False

    @property
    def id(self) -> str:
        return self.group_id

    @property
    def shown(self) -> str:
        return display_name(self.group_id, self.label, self.parent)


@dataclass(frozen=True, slots=True, kw_only=True)
class EdgeView:
    source: str
    target: str
    label: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphView(View):
    """A DAG, or one of its runs. ``footer``: the version, the file and cell, and whether a scheduler is running."""

    NAME: ClassVar[str] = "graph"

    dag_id: str
    tasks: tuple[TaskView, ...] = ()
    edges: tuple[EdgeView, ...] = ()
    groups: tuple[GroupView, ...] = ()
    schedule: str = ""
    run_id: str = ""
    run: str = ""
    """Title of the run, e.g. "run 2026-11-20". Empty for the graph of a DAG."""
    run_state: str = "none"
    next_run: datetime | None = None
    paused: bool = False
    blocked_by_pause: bool = False
    """Whether the run waits because its DAG is paused."""
    footer: tuple[str, ...] = ()

    def counts(self) -> dict[str, int]:
        return state_counts(task.state for task in self.tasks)


def fetch(store: Store, query: GraphQuery, now: datetime, settings: Settings) -> GraphView:
    """Raises DagNotFound or DagRunNotFound."""
    run = run_of(store, query.dag_id, query.run_id) if query.run_id is not None else None
    version = version_of(store, query.dag_id, run.version if run is not None else query.version)
    row = store.dag(query.dag_id)
    scheduler = next(iter(running_schedulers(store, settings, now)), None)
    return graph_view(
        version.spec,
        run=run,
        instances=store.instances(run.key) if run is not None else (),
        next_run=row.next_run if row is not None and run is None else None,
        paused=row is not None and row.paused,
        footer=(
            f"version {version.number}",
            place_of(version),
            describe(scheduler),
            dates_note(version.spec, run) if run is not None else "",
        ),
    )


def place_of(version: DagVersion) -> str:
    """The file of a version, and its cell: ``forex.ipynb, cell 3``."""
    file = version.fileloc if version.fileloc.startswith("<") else version.fileloc.rpartition("/")[2]
    return ", ".join(filter(None, [file, version.cell]))


def graph_view(
    spec: DagSpec,
    *,
    run: Run | None = None,
    instances: Iterable[Instance] = (),
    next_run: datetime | None = None,
    paused: bool = False,
    footer: Sequence[str] = (),
) -> GraphView:
    """The graph of a spec, and of a run if one is given."""
    zone = zone_of(spec)
    return GraphView(
        dag_id=spec.dag_id,
        tasks=tuple(task_views(spec, instances, zone)),
        edges=tuple(EdgeView(**edge._asdict()) for edge in spec.edges),
        groups=tuple(
            GroupView(group_id=group.group_id, label=group.label or "", parent=group.parent or "")
            for group in spec.groups.values()
        ),
        schedule="" if spec.schedule_text == "None" else spec.schedule_text,
        run_id=run.run_id if run is not None else "",
        run=run_title(run, zone) if run is not None else "",
        run_state=run.state.value if run is not None else "none",
        next_run=in_zone(next_run, zone),
        paused=paused,
        blocked_by_pause=run is not None and paused and run.pausable and run.state not in RUN_FINISHED,
        footer=tuple(part for part in footer if part),
    )


def task_views(spec: DagSpec, instances: Iterable[Instance], zone: tzinfo) -> list[TaskView]:
    """The tasks of a graph with the states of a run; a mapped task has one state for all its instances."""
    by_task: dict[str, list[Instance]] = {}
    for ti in instances:
        by_task.setdefault(ti.task_id, []).append(ti)
    return [_task_view(spec, task, by_task.get(task.task_id, []), zone) for task in spec.tasks.values()]


def _task_view(spec: DagSpec, task: TaskSpec, tis: Sequence[Instance], zone: tzinfo) -> TaskView:
    mapped: int | None = None
    if spec.length_expr(task.task_id) is not None:
        mapped = len(tis) if tis and tis[0].map_index >= 0 else -1
    counts = state_counts(ti.state.value for ti in tis)
    without_states = TaskView(
        task_id=task.task_id,
        label=task.label or "",
        group=task.group or "",
        kind="setup" if task.is_setup else "teardown" if task.is_teardown else "task",
        operator=operator_name(task),
        mapped=mapped,
    )
    if not tis:
        return without_states
    if len(tis) > 1:
        return replace(without_states, state=group_state(counts), note=group_note(counts))
    [ti] = tis
    return replace(
        without_states,
        state=ti.state.value,
        duration=elapsed(ti.start_date, ti.end_date),
        try_number=ti.try_number,
        max_tries=ti.max_tries + 1,
        since=in_zone(ti.start_date, zone) if ti.state is TaskState.RUNNING else None,
        due=in_zone(ti.next_at, zone) if ti.state not in FINISHED else None,
    )


def operator_name(task: TaskSpec) -> str:
    """The operator as users know it: ``@task`` instead of its operator class."""
    return str(task.ui.get("operator_name") or task.operator)


def folded_for_size(graph: GraphView, *, above: int = FOLD_ABOVE_TASKS) -> GraphView:
    """The graph; if it has more than ``above`` tasks, with its outermost task groups folded."""
    if len(graph.tasks) <= above:
        return graph
    return with_folded(graph, {group.group_id for group in graph.groups if group.folded or not group.parent})


def with_folded(graph: GraphView, group_ids: Set[str]) -> GraphView:
    """The graph with these task groups folded, and no others."""
    return replace(graph, groups=tuple(replace(g, folded=g.group_id in group_ids) for g in graph.groups))
