"""What a decision sees of a run: its DAG, its row, its task instances, and the run before it.

A :class:`Snapshot` is a value. ``advance`` (in :mod:`nbflow.core.plan`) gives the snapshot that a plan leads to, so
that the scheduler, the in-process runner and the simulator can go on from a plan without reading it back; contract
tests hold every store to the same result.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

from nbflow.core.fast_replace import replacer
from nbflow.core.spec import DagSpec
from nbflow.core.states import RunState, TaskState


class RunKey(NamedTuple):
    """Names a run everywhere."""

    dag_id: str
    run_id: str


class TaskKey(NamedTuple):
    """Names a task instance inside its run. ``map_index`` is -1 where the task is not mapped (or not yet)."""

    task_id: str
    map_index: int = -1

    def __str__(self) -> str:
        return self.task_id if self.map_index < 0 else f"{self.task_id}[{self.map_index}]"


@dataclass(frozen=True, slots=True, kw_only=True)
class Instance:
    """One task instance. Times are aware UTC; None where it has not come to that."""

    task_id: str
    map_index: int = -1
    state: TaskState = TaskState.NONE
    try_number: int = 0
    """The current (or last) try; 0 before the first. Retries and clears add one; deferral and reschedule do not."""
    max_tries: int = 0
    """Tries allowed are ``max_tries + 1``. A clear raises it, so that a cleared task has its retries again."""
    attempt_id: str | None = None
    """The one dispatch that may write now; None while there is none. Every event must carry it."""
    scheduled_at: datetime | None = None
    queued_at: datetime | None = None
    start_date: datetime | None = None
    """Start of the current try. A reschedule or a deferral does not begin a new one: an instance that is scheduled and
    has a start date goes on with its try, and keeps its XComs."""
    end_date: datetime | None = None
    next_at: datetime | None = None
    """When a retry or the next check is due, or when a deferral times out."""
    reschedules: int = 0
    """How often this try gave its slot back until a later check."""
    skips: tuple[str, ...] = ()
    """Ids of the tasks that this instance decided to skip (branch, short circuit, latest only)."""
    length: int | None = None
    """Number of items of the return value, where something is mapped over it; for one instance of a mapped task 1
    if it returned a value, else 0."""
    priority_weight: int | None = None
    """None: the task's own."""
    next_method: str | None = None
    """Of a deferred instance: the operator's method with which it goes on."""
    trigger_id: int | None = None
    note: str | None = None

    @property
    def key(self) -> TaskKey:
        return TaskKey(self.task_id, self.map_index)


change = replacer(Instance)
"""An instance with other values of some fields."""

KERNEL = "kernel:"
"""Begins the actor of runs that a notebook's kernel asked for of a DAG that its own cells made."""
INLINE = "inline:"
"""Runs of ``dag.test()`` are triggered by this and their process's job id: that process drives them, nobody else."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One DAG run."""

    dag_id: str
    run_id: str
    run_type: str = "scheduled"
    """scheduled, manual, backfill or asset_triggered."""
    state: RunState = RunState.QUEUED
    logical_date: datetime | None = None
    data_interval_start: datetime | None = None
    data_interval_end: datetime | None = None
    run_after: datetime
    queued_at: datetime | None = None
    start_date: datetime | None = None
    end_date: datetime | None = None
    conf: Mapping[str, Any] = field(default_factory=dict)
    version: int = 0
    """Number of the DAG version that this run keeps."""
    backfill_id: int | None = None
    triggered_by: str | None = None
    clear_number: int = 0
    revision: int = 0
    """Raised by every plan applied to the run: a plan made from an older one is stale."""

    @property
    def key(self) -> RunKey:
        return RunKey(self.dag_id, self.run_id)

    @property
    def heeds_pause(self) -> bool:
        """Whether pausing the DAG holds this run. Not a backfill, which was asked for by name and has a pause of its
        own; nor a kernel's run of its own cell's DAG, nor a test: pausing is about what the schedule makes of the saved
        file."""
        return self.backfill_id is None and not (self.triggered_by or "").startswith((KERNEL, INLINE))


change_run = replacer(Run)
"""A run with other values of some fields."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PreviousRun:
    """What ``depends_on_past`` may see: the states, in the run before this one, of each task's instances.

    ``ever`` names the tasks that have an instance in any earlier run: a task that is new is free of its past.
    """

    run_id: str
    states: Mapping[str, tuple[TaskState, ...]] = field(default_factory=dict)
    ever: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """A run as data, at one revision."""

    dag: DagSpec
    run: Run
    instances: Mapping[TaskKey, Instance]
    previous: PreviousRun | None = None
    """Filled only if some task of the DAG looks at its past."""
    paused: bool = False
    """The DAG is paused."""

    @property
    def held(self) -> bool:
        """The DAG is paused, and that holds this run."""
        return self.paused and self.run.heeds_pause

    def in_order(self) -> list[Instance]:
        """All instances by task id and map index. Stores give them in orders of their own; what changes many instances
        at once goes through them in this one, so that every store has the same history."""
        return [self.instances[key] for key in sorted(self.instances)]

    def of_task(self, task_id: str) -> list[Instance]:
        """All instances of a task, by map index."""
        plain = self.instances.get(TaskKey(task_id))
        if plain is not None:
            return [plain]
        found: list[Instance] = []
        while (one := self.instances.get(TaskKey(task_id, len(found)))) is not None:
            found.append(one)
        return found
