"""Snapshots: the data that a decision about a run depends on (its DAG, row, task instances and previous run).

A :class:`Snapshot` is a value. ``advance`` (in :mod:`nbflow.core.plan`) returns the snapshot after a plan, so that the
scheduler, the in-process runner and the simulator can continue without reading it back from the store; contract tests
check that every store gives the same result.
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
    """Identifies a run."""

    dag_id: str
    run_id: str


class TaskKey(NamedTuple):
    """Identifies a task instance within its run. ``map_index`` is -1 if the task is not mapped, or not expanded yet."""

    task_id: str
    map_index: int = -1

    def __str__(self) -> str:
        return self.task_id if self.map_index < 0 else f"{self.task_id}[{self.map_index}]"


@dataclass(frozen=True, slots=True, kw_only=True)
class Instance:
    """One task instance. Times are aware UTC; None if that has not happened."""

    task_id: str
    map_index: int = -1
    state: TaskState = TaskState.NONE
    try_number: int = 0
    """The current (or last) try; 0 before the first. A retry or a clear adds one; a deferral or reschedule does not."""
    max_tries: int = 0
    """``max_tries + 1`` tries are allowed. A clear raises it, so that a cleared task has its retries again."""
    attempt_id: str | None = None
    """Id of the current attempt, if any. Events of other attempts change nothing."""
    scheduled_at: datetime | None = None
    queued_at: datetime | None = None
    start_date: datetime | None = None
    """Start of the current try. A reschedule or a deferral does not start a new try: a scheduled instance with a start
    date continues its try, and keeps its XComs."""
    end_date: datetime | None = None
    next_at: datetime | None = None
    """When a retry or the next check is due, or when a deferral times out."""
    reschedules: int = 0
    """Number of times that this try was rescheduled to a later check."""
    skips: tuple[str, ...] = ()
    """Ids of the tasks that this instance decided to skip (branch, short circuit, latest only)."""
    length: int | None = None
    """Number of items of the return value, if a task is mapped over it; for an instance of a mapped task 1 if it
    returned a value, else 0."""
    priority_weight: int | None = None
    """None: that of the task."""
    next_method: str | None = None
    """The operator's method that resumes a deferred instance."""
    trigger_id: int | None = None
    note: str | None = None

    @property
    def key(self) -> TaskKey:
        return TaskKey(self.task_id, self.map_index)


change = replacer(Instance)
"""``dataclasses.replace`` for an :class:`Instance`."""

KERNEL = "kernel:"
"""Prefix of ``triggered_by`` for runs that a notebook kernel triggered of a DAG that its cells define."""
INLINE = "inline:"
"""Prefix of ``triggered_by`` for runs of ``dag.test()``, followed by the job id of their process: only that process
schedules them."""


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
    """Number of the run's DAG version."""
    backfill_id: int | None = None
    triggered_by: str | None = None
    clear_number: int = 0
    revision: int = 0
    """Incremented by every plan applied to the run: a plan computed from an older revision is stale."""

    @property
    def key(self) -> RunKey:
        return RunKey(self.dag_id, self.run_id)

    @property
    def is_inline(self) -> bool:
        """Whether the process that created the run drives it (``dag.test()``): schedulers leave it alone."""
        return (self.triggered_by or "").startswith(INLINE)

    @property
    def pausable(self) -> bool:
        """Whether pausing the DAG pauses this run. Exceptions: a run of a backfill, which is paused separately, and
        runs that do not come from the saved file: of a DAG that notebook cells define, and of ``dag.test()``."""
        return self.backfill_id is None and not (self.triggered_by or "").startswith((KERNEL, INLINE))


change_run = replacer(Run)
"""``dataclasses.replace`` for a :class:`Run`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PreviousRun:
    """The previous run, for ``depends_on_past`` and ``wait_for_downstream``."""

    run_id: str
    states: Mapping[str, tuple[TaskState, ...]] = field(default_factory=dict)
    """task id -> states of its instances."""
    known_tasks: frozenset[str] = frozenset()
    """Ids of the tasks that have an instance in any earlier run. A new task has no past to depend on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """A run as data, at one revision."""

    dag: DagSpec
    run: Run
    instances: Mapping[TaskKey, Instance]
    previous: PreviousRun | None = None
    """Set only if a task of the DAG depends on its past."""
    paused: bool = False
    """The DAG is paused."""

    @property
    def pause_applies(self) -> bool:
        """The DAG is paused, and that pauses this run."""
        return self.paused and self.run.pausable

    def in_order(self) -> list[Instance]:
        """All instances by task id and map index. Stores return them in different orders; plans that change many
        instances iterate in this order, so that every store has the same history."""
        return [self.instances[key] for key in sorted(self.instances)]

    def of_task(self, task_id: str) -> list[Instance]:
        """All instances of a task, by map index."""
        unmapped = self.instances.get(TaskKey(task_id))
        if unmapped is not None:
            return [unmapped]
        tis: list[Instance] = []
        while (ti := self.instances.get(TaskKey(task_id, len(tis)))) is not None:
            tis.append(ti)
        return tis
