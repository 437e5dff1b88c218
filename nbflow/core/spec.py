"""The serialised DAG: everything that the scheduler, the simulator and the views read of a DAG; no code.

The authoring layer compiles a ``DAG`` to a :class:`DagSpec`; the store holds it as JSON, by the hash of that JSON.
Durations are seconds (float), times are aware UTC.

Lengths of mapped tasks
-----------------------
The spec holds only the length of the input that a task is mapped over, as an expression (:data:`Length`):

=======================  =========================================================================
``("lit", n)``           a literal list or dict of ``n`` items
``("task", task_id)``    the length of that task's return value (a mapped task: number of instances that returned one)
``("min", a, b, ...)``   ``zip``; ``("max", ...)``: ``zip`` with a fill value; ``("sum", ...)``: ``concat``
``("mul", a, b, ...)``   the cross product of ``expand(x=..., y=...)``
=======================  =========================================================================
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Hashable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime
from functools import cache, cached_property
from math import prod
from typing import Any, NamedTuple

Length = tuple[Any, ...]

SPEC_FORMAT = 1
"""Incremented when stored specs of an older nbflow can no longer be read."""


def length_of(expr: Length, of_task: Callable[[str], int | None]) -> int | None:
    """Value of a length expression; ``None`` while a task in it has no length yet."""
    kind, *args = expr
    if kind == "lit":
        return int(args[0])
    if kind == "task":
        return of_task(args[0])
    parts = [length_of(arg, of_task) for arg in args]
    known = [part for part in parts if part is not None]
    if len(known) != len(parts):
        return None
    return _LENGTH_OPS[kind](known)


_LENGTH_OPS: dict[str, Callable[[list[int]], int]] = {"min": min, "max": max, "sum": sum, "mul": prod}


def length_sources(expr: Length) -> Iterator[str]:
    """Ids of the tasks in a length expression."""
    kind, *args = expr
    if kind == "task":
        yield args[0]
    elif kind != "lit":
        for arg in args:
            yield from length_sources(arg)


@dataclass(frozen=True, kw_only=True)
class TaskSpec:
    """One task. Fields that are arguments of Airflow's operators have the same name and meaning."""

    task_id: str
    operator: str = "EmptyOperator"
    """Class name, for display; the code comes from loading the DAG's source."""
    upstream: tuple[str, ...] = ()
    """Direct upstream task ids, sorted."""
    trigger_rule: str = "all_success"
    retries: int = 0
    retry_delay: float = 300.0
    retry_backoff: float = 0.0
    """Factor from one retry delay to the next (``retry_exponential_backoff``: True is 2). 0 or 1: no backoff."""
    max_retry_delay: float | None = None
    execution_timeout: float | None = None
    depends_on_past: bool = False
    wait_for_downstream: bool = False
    ignore_first_depends_on_past: bool = True
    pool: str = "default_pool"
    pool_slots: int = 1
    priority_weight: int = 1
    """The effective weight: the weight rule is applied when the DAG is compiled."""
    queue: str = "default"
    executor: str | None = None
    max_active_tis_per_dag: int | None = None
    max_active_tis_per_dagrun: int | None = None
    start_date: datetime | None = None
    end_date: datetime | None = None
    is_setup: bool = False
    is_teardown: bool = False
    on_failure_fail_dagrun: bool = False
    setups: tuple[str, ...] = ()
    """Of a teardown: those of ``upstream`` that are its setups."""
    group: str | None = None
    """Id of the innermost task group, or None."""
    expand: Length | None = None
    """Length of the input that this task itself is mapped over; None if it is not mapped itself."""
    feeds_mapping: bool = False
    """A task or group is mapped over this task's return value, which must have a length."""
    steers: str = ""
    """Which tasks its success may skip: ``direct``, its direct downstream tasks (a branch); ``all``, all downstream
    tasks (a short circuit); empty: none."""
    is_sensor: bool = False
    reschedules: bool = False
    deferrable: bool = False
    empty: bool = False
    """It runs no code and has no callbacks: the scheduler marks it success without a process."""
    callbacks: tuple[str, ...] = ()
    """Those of execute, success, failure, retry, skipped that have callbacks."""
    label: str | None = None
    doc: str | None = None
    ui: Mapping[str, Any] = field(default_factory=dict)
    """For display: colour, template fields and their raw text, doc_md, owner, file line ..."""


@dataclass(frozen=True, kw_only=True)
class GroupSpec:
    """A task group; with ``expand``, a mapped one."""

    group_id: str
    parent: str | None = None
    expand: Length | None = None
    label: str | None = None
    tooltip: str | None = None


class Edge(NamedTuple):
    """From a task to a task directly downstream."""

    source: str
    target: str
    label: str = ""


def display_name(full_id: str, label: str | None, group_id: str | None) -> str:
    """The name of a task or group in a graph: its label, else its id without the id of the group that contains it."""
    return label or full_id.removeprefix(f"{group_id}." if group_id else "")


@dataclass(frozen=True, kw_only=True)
class DagSpec:
    """A DAG as data. ``tasks`` is in topological order; equal specs have equal :attr:`digest`."""

    dag_id: str
    tasks: Mapping[str, TaskSpec] = field(default_factory=dict)
    groups: Mapping[str, GroupSpec] = field(default_factory=dict)
    schedule: Mapping[str, Any] = field(default_factory=lambda: {"kind": "none"})
    """A timetable's ``to_spec()``."""
    schedule_text: str = "None"
    start_date: datetime | None = None
    end_date: datetime | None = None
    timezone: str = "UTC"
    catchup: bool = False
    max_active_runs: int = 16
    max_active_tasks: int = 16
    max_consecutive_failed_dag_runs: int = 0
    dagrun_timeout: float | None = None
    fail_fast: bool = False
    is_paused_upon_creation: bool | None = None
    description: str | None = None
    doc_md: str | None = None
    tags: tuple[str, ...] = ()
    owners: tuple[str, ...] = ()
    params: Mapping[str, Any] = field(default_factory=dict)
    """name -> {"value", "schema", "description"}; JSON only."""
    edge_labels: Mapping[str, str] = field(default_factory=dict)
    """"upstream>downstream" -> label."""
    callbacks: tuple[str, ...] = ()
    """Those of success, failure that the DAG itself has."""

    @cached_property
    def edges(self) -> tuple[Edge, ...]:
        """Every edge with its label; graphs, DOT text and views use nothing else."""
        return tuple(
            Edge(up, task.task_id, self.edge_labels.get(f"{up}>{task.task_id}", ""))
            for task in self.tasks.values()
            for up in task.upstream
        )

    @cached_property
    def downstream(self) -> Mapping[str, tuple[str, ...]]:
        """Direct downstream task ids of every task, in topological order."""
        down: dict[str, list[str]] = {task_id: [] for task_id in self.tasks}
        for task in self.tasks.values():
            for up in task.upstream:
                down[up].append(task.task_id)
        return {task_id: tuple(ids) for task_id, ids in down.items()}

    @cached_property
    def mapped_group(self) -> Mapping[str, str | None]:
        """Every task -> the innermost *mapped* group that contains it, or None."""
        return {task_id: self._mapped_group(task.group) for task_id, task in self.tasks.items()}

    def _mapped_group(self, group_id: str | None) -> str | None:
        while group_id is not None:
            group = self.groups[group_id]
            if group.expand is not None:
                return group_id
            group_id = group.parent
        return None

    def length_expr(self, task_id: str) -> Length | None:
        """Length of the input that the task is mapped over, itself or by its group; None for an unmapped task."""
        expand = self.tasks[task_id].expand
        if expand is not None:
            return expand
        group_id = self.mapped_group[task_id]
        return self.groups[group_id].expand if group_id else None

    @cached_property
    def setup_scope(self) -> Mapping[str, tuple[str, ...]]:
        """Task -> the setups in whose scope it lies: setups upstream of it that have no teardown, or a teardown
        downstream of the task. Teardowns and tasks in no scope are omitted."""
        setups = [task_id for task_id, task in self.tasks.items() if task.is_setup]
        if not setups:
            return {}
        teardowns: dict[str, list[str]] = {setup: [] for setup in setups}
        for task in self.tasks.values():
            for setup in task.setups:
                teardowns[setup].append(task.task_id)
        scope: dict[str, list[str]] = {}
        for setup in setups:
            inside = self.relatives(setup, upstream=False)
            if teardowns[setup]:
                inside &= frozenset().union(*(self.relatives(end, upstream=True) for end in teardowns[setup]))
            for task_id in inside:
                if not self.tasks[task_id].is_teardown:
                    scope.setdefault(task_id, []).append(setup)
        return {task_id: tuple(sorted(scope_setups)) for task_id, scope_setups in scope.items()}

    @cached_property
    def skipping_tasks(self) -> Mapping[str, tuple[str, ...]]:
        """Task -> the tasks that may skip it: branches directly upstream, and short circuits anywhere upstream. Omitted
        are tasks that no task may skip, teardowns, and tasks with the trigger rule ``always``."""
        skipping: dict[str, list[str]] = {}
        for task_id, task in self.tasks.items():
            downstream = self.relatives(task_id, upstream=False) if task.steers == "all" else frozenset[str]()
            for other in self.downstream[task_id] if task.steers == "direct" else downstream:
                if not self.tasks[other].is_teardown and self.tasks[other].trigger_rule != "always":
                    skipping.setdefault(other, []).append(task_id)
        return {task_id: tuple(ids) for task_id, ids in skipping.items()}

    @cached_property
    def effective_leaves(self) -> tuple[str, ...]:
        """Tasks whose states decide the run's state: those with no downstream tasks, where teardowns without
        ``on_failure_fail_dagrun`` do not count (in a DAG that has only such teardowns: its leaves)."""

        def counts(task: TaskSpec) -> bool:
            return not task.is_teardown or task.on_failure_fail_dagrun

        leaves = tuple(
            task_id
            for task_id, task in self.tasks.items()
            if counts(task) and not any(counts(self.tasks[other]) for other in self.downstream[task_id])
        )
        return leaves or tuple(task_id for task_id in self.tasks if not self.downstream[task_id])

    def relatives(self, task_id: str, *, upstream: bool) -> frozenset[str]:
        """All upstream (or all downstream) tasks of a task, without itself."""
        visited: set[str] = set()
        stack = [task_id]
        while stack:
            current = stack.pop()
            for other in self.tasks[current].upstream if upstream else self.downstream[current]:
                if other not in visited:
                    visited.add(other)
                    stack.append(other)
        return frozenset(visited)

    def to_dict(self) -> dict[str, Any]:
        """JSON values; :meth:`from_dict` returns an equal spec."""
        raw = _compact(self)
        raw["tasks"] = [_compact(task) for task in self.tasks.values()]
        raw["groups"] = [_compact(group) for group in self.groups.values()]
        return {"format": SPEC_FORMAT, **raw}

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> DagSpec:
        """Inverse of :meth:`to_dict`. Raises ValueError for a spec of another format."""
        data = dict(raw)
        spec_format = data.pop("format", None)
        if spec_format != SPEC_FORMAT:
            raise ValueError(
                f"this DAG was stored in spec format {spec_format}; this version of nbflow reads format {SPEC_FORMAT}"
            )
        data.pop("render_native", None)  # written until 0.1.0; rendering reads the DAG object's own argument
        data["tasks"] = {t["task_id"]: _from_json(TaskSpec, t) for t in data.get("tasks", ())}
        data["groups"] = {g["group_id"]: _from_json(GroupSpec, g) for g in data.get("groups", ())}
        spec: DagSpec = _from_json(cls, data)
        return spec

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the canonical JSON: the identity of the DAG version. Of a custom timetable only the class and its
        arguments count, not its recorded runs."""
        shape = self.to_dict()
        if self.schedule.get("kind") == "custom":
            shape["schedule"] = {name: self.schedule[name] for name in _CUSTOM_IDENTITY if name in self.schedule}
        text = json.dumps(shape, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
        return hashlib.sha256(text.encode()).hexdigest()


_CUSTOM_IDENTITY = ("kind", "class", "data")
_TUPLES = frozenset({"upstream", "setups", "callbacks", "tags", "owners"})
_TIMES = frozenset({"start_date", "end_date"})


def _compact(spec: Any) -> dict[str, Any]:
    """The fields that differ from their defaults, as JSON values: specs of large DAGs stay small."""
    compact: dict[str, Any] = {}
    for name, default in _defaults(spec.__class__):
        value = getattr(spec, name)
        if value != default:
            compact[name] = _jsonable(value)
    return compact


@cache
def _defaults(cls: Hashable) -> tuple[tuple[str, Any], ...]:
    all_fields = fields(cls)  # type: ignore[arg-type]
    return tuple((f.name, f.default_factory() if callable(f.default_factory) else f.default) for f in all_fields)


_SCALARS = frozenset({str, int, float, bool, type(None)})


def _jsonable(value: Any) -> Any:
    if type(value) in _SCALARS:  # nearly all values; the checks below would cost more than the rest of a spec
        return value
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, tuple | list):
        return [_jsonable(item) for item in value]
    if isinstance(value, Mapping):
        return {key: _jsonable(item) for key, item in value.items()}
    return value


def _from_json(cls: type[Any], raw: Mapping[str, Any]) -> Any:
    data = dict(raw)
    for name in _TUPLES & data.keys():
        data[name] = tuple(data[name])
    for name in _TIMES & data.keys():
        data[name] = datetime.fromisoformat(data[name])
    if data.get("expand") is not None:
        data["expand"] = _as_tuple(data["expand"])
    return cls(**data)


def _as_tuple(value: Any) -> Any:
    return tuple(_as_tuple(item) for item in value) if isinstance(value, list | tuple) else value


def needs_previous_run(dag: DagSpec) -> bool:
    """Whether a task of the DAG depends on the previous run."""
    return any(task.depends_on_past or task.wait_for_downstream for task in dag.tasks.values())
