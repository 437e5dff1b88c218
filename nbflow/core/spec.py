"""The serialisable DAG: all that a decision may know of a pipeline, and no code.

The authoring layer compiles a ``DAG`` to a :class:`DagSpec`; the store keeps it as JSON under the hash of that JSON;
the scheduler, the simulator and the views read nothing else. Durations are seconds (float), times are aware UTC.

Lengths of mapped tasks
-----------------------
What a task is mapped over is known here only by its length, as a small expression (:data:`Length`):

=======================  =========================================================================
``("lit", n)``           a literal list or dict of ``n`` items
``("task", task_id)``    the length of that task's return value (of a mapped task: how many returned one)
``("min", a, b, ...)``   ``zip``; ``("max", ...)`` with a fill value; ``("sum", ...)`` is ``concat``
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
from typing import Any

Length = tuple[Any, ...]

SPEC_FORMAT = 1
"""Raised when a stored spec of an older nbflow can no longer be read as it is."""


def length_of(expr: Length, of_task: Callable[[str], int | None]) -> int | None:
    """Value of a length expression, or ``None`` while a task it needs has no length yet."""
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
    """Ids of the tasks whose results a length expression needs."""
    kind, *args = expr
    if kind == "task":
        yield args[0]
    elif kind != "lit":
        for arg in args:
            yield from length_sources(arg)


@dataclass(frozen=True, kw_only=True)
class TaskSpec:
    """One task. Every field has Airflow's name and meaning where Airflow has the argument."""

    task_id: str
    operator: str = "EmptyOperator"
    """Class name, for people; the code is found again by loading the DAG's source."""
    upstream: tuple[str, ...] = ()
    """Direct upstream task ids, sorted."""
    trigger_rule: str = "all_success"
    retries: int = 0
    retry_delay: float = 300.0
    retry_backoff: float = 0.0
    """Multiplier of the delay from one try to the next (``retry_exponential_backoff``: True is 2). 0 or 1: none."""
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
    """Of a teardown: its setup tasks among ``upstream``."""
    group: str | None = None
    """Id of the innermost task group, or None."""
    expand: Length | None = None
    """What this task itself is mapped over."""
    feeds_mapping: bool = False
    """Something is mapped over this task's return value: its result must have a length."""
    steers: str = ""
    """What its success may skip: ``direct``, the tasks directly after it (a branch); ``all``, everything after it (a
    short circuit); or nothing."""
    is_sensor: bool = False
    reschedules: bool = False
    deferrable: bool = False
    empty: bool = False
    """Does nothing and has no callbacks: the scheduler may end it without a process."""
    callbacks: tuple[str, ...] = ()
    """Which of execute, success, failure, retry, skipped have callbacks."""
    label: str | None = None
    doc: str | None = None
    ui: Mapping[str, Any] = field(default_factory=dict)
    """For views only: colour, template fields and their raw text, doc_md, owner, file line ..."""


@dataclass(frozen=True, kw_only=True)
class GroupSpec:
    """A task group; ``expand`` makes it a mapped one."""

    group_id: str
    parent: str | None = None
    expand: Length | None = None
    label: str | None = None
    tooltip: str | None = None


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
    """Which of success, failure the DAG itself has."""
    render_native: bool = False

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
        """For every task the innermost *mapped* group around it, or None."""
        return {task_id: self._mapped_group(task.group) for task_id, task in self.tasks.items()}

    def _mapped_group(self, group_id: str | None) -> str | None:
        while group_id is not None:
            group = self.groups[group_id]
            if group.expand is not None:
                return group_id
            group_id = group.parent
        return None

    def length_expr(self, task_id: str) -> Length | None:
        """What the task is mapped over, by itself or by its group; None for a plain task."""
        expand = self.tasks[task_id].expand
        if expand is not None:
            return expand
        group_id = self.mapped_group[task_id]
        return self.groups[group_id].expand if group_id else None

    @cached_property
    def setup_scope(self) -> Mapping[str, tuple[str, ...]]:
        """For every plain task, the setups somewhere before it in whose scope it lies: those with no teardown, or
        with a teardown somewhere after the task. Tasks in no scope are left out."""
        setups = [task_id for task_id, task in self.tasks.items() if task.is_setup]
        if not setups:
            return {}
        ends: dict[str, list[str]] = {setup: [] for setup in setups}
        for task in self.tasks.values():
            for setup in task.setups:
                ends[setup].append(task.task_id)
        scope: dict[str, list[str]] = {}
        for setup in setups:
            inside = self.relatives(setup, upstream=False)
            if ends[setup]:
                inside &= frozenset().union(*(self.relatives(end, upstream=True) for end in ends[setup]))
            for task_id in inside:
                if not self.tasks[task_id].is_teardown:
                    scope.setdefault(task_id, []).append(setup)
        return {task_id: tuple(sorted(found)) for task_id, found in scope.items()}

    @cached_property
    def steered_by(self) -> Mapping[str, tuple[str, ...]]:
        """For every task that other tasks may skip, those: the branches directly before it, and the short circuits
        anywhere before it. No task that waits for nothing (``always``) is among them, and no teardown."""
        found: dict[str, list[str]] = {}
        for task_id, task in self.tasks.items():
            after = self.relatives(task_id, upstream=False) if task.steers == "all" else frozenset[str]()
            for other in self.downstream[task_id] if task.steers == "direct" else after:
                if not self.tasks[other].is_teardown and self.tasks[other].trigger_rule != "always":
                    found.setdefault(other, []).append(task_id)
        return {task_id: tuple(deciders) for task_id, deciders in found.items()}

    @cached_property
    def effective_leaves(self) -> tuple[str, ...]:
        """Tasks whose states decide the run's: those with nothing after them but teardowns that may fail freely
        (in a DAG of such teardowns alone: its last ones)."""

        def counts(task: TaskSpec) -> bool:
            return not task.is_teardown or task.on_failure_fail_dagrun

        leaves = tuple(
            task_id
            for task_id, task in self.tasks.items()
            if counts(task) and not any(counts(self.tasks[down]) for down in self.downstream[task_id])
        )
        return leaves or tuple(task_id for task_id in self.tasks if not self.downstream[task_id])

    def relatives(self, task_id: str, *, upstream: bool) -> frozenset[str]:
        """All tasks before (or after) a task, without itself."""
        seen: set[str] = set()
        todo = [task_id]
        while todo:
            here = todo.pop()
            for other in self.tasks[here].upstream if upstream else self.downstream[here]:
                if other not in seen:
                    seen.add(other)
                    todo.append(other)
        return frozenset(seen)

    def to_dict(self) -> dict[str, Any]:
        """JSON-able form; :meth:`from_dict` gives an equal spec back."""
        raw = _compact(self)
        raw["tasks"] = [_compact(task) for task in self.tasks.values()]
        raw["groups"] = [_compact(group) for group in self.groups.values()]
        return {"format": SPEC_FORMAT, **raw}

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> DagSpec:
        """Inverse of :meth:`to_dict`. Raises ValueError for a spec of another format."""
        data = dict(raw)
        found = data.pop("format", None)
        if found != SPEC_FORMAT:
            raise ValueError(f"this DAG was stored in spec format {found}; this nbflow reads format {SPEC_FORMAT}")
        data["tasks"] = {t["task_id"]: _revive(TaskSpec, t) for t in data.get("tasks", ())}
        data["groups"] = {g["group_id"]: _revive(GroupSpec, g) for g in data.get("groups", ())}
        spec: DagSpec = _revive(cls, data)
        return spec

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the canonical JSON: the identity of this shape of the DAG. Of a user's own timetable only the
        class and its arguments count: what it answered when it was last asked is data beside the DAG's shape."""
        shape = self.to_dict()
        if self.schedule.get("kind") == "custom":
            shape["schedule"] = {name: self.schedule[name] for name in _CUSTOM_IDENTITY if name in self.schedule}
        text = json.dumps(shape, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
        return hashlib.sha256(text.encode()).hexdigest()


_CUSTOM_IDENTITY = ("kind", "class", "data")
_TUPLES = frozenset({"upstream", "setups", "callbacks", "tags", "owners"})
_TIMES = frozenset({"start_date", "end_date"})


def _compact(spec: Any) -> dict[str, Any]:
    """Only what differs from the class's defaults, as JSON values: specs of large DAGs stay small."""
    out: dict[str, Any] = {}
    for name, default in _defaults(spec.__class__):
        value = getattr(spec, name)
        if value != default:
            out[name] = _jsonable(value)
    return out


@cache
def _defaults(cls: Hashable) -> tuple[tuple[str, Any], ...]:
    known = fields(cls)  # type: ignore[arg-type]
    return tuple((f.name, f.default_factory() if callable(f.default_factory) else f.default) for f in known)


_SCALARS = frozenset({str, int, float, bool, type(None)})


def _jsonable(value: Any) -> Any:
    if type(value) in _SCALARS:  # nearly all of them: the checks below cost more than the rest of a spec
        return value
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, tuple | list):
        return [_jsonable(item) for item in value]
    if isinstance(value, Mapping):
        return {key: _jsonable(item) for key, item in value.items()}
    return value


def _revive(cls: type[Any], raw: Mapping[str, Any]) -> Any:
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
