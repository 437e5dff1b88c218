"""``plan_dispatch``: which scheduled instances go to the executor now, and what keeps each of the others.

Candidates are taken in order of priority weight (highest first), then of the run's logical date, then of task and map
index. Each must pass every limit; one that does not is passed over with its reason, and the next is tried, as in
Airflow: a full pool does not hold up the tasks of another. What is granted counts at once, so a plan never exceeds a
limit, and the store's guards see to it that two planners together do not either.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from nbflow.core.plan import Move, Op, Plan, RunMove
from nbflow.core.reason_texts import paused_wait
from nbflow.core.reasons import WaitReason
from nbflow.core.snapshot import Instance, Run, RunKey, TaskKey
from nbflow.core.spec import TaskSpec
from nbflow.core.states import Cause, RunCause, RunState, TaskState


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadyTask:
    """A scheduled instance that asks for a slot."""

    run: Run
    task: TaskSpec
    instance: Instance
    dag_max_active_tasks: int


@dataclass(slots=True, kw_only=True)
class Limits:
    """What is free and what is taken. Counts are of instances that are queued, running or restarting."""

    slots: int | None
    """Free executor slots; None: no limit."""
    pools: Mapping[str, int] = field(default_factory=dict)
    """pool -> size, -1 without limit."""
    pool_used: dict[str, int] = field(default_factory=dict)
    run_used: dict[RunKey, int] = field(default_factory=dict)
    task_used: dict[tuple[str, str], int] = field(default_factory=dict)
    """(dag_id, task_id) -> instances over all runs."""
    task_in_run_used: dict[tuple[RunKey, str], int] = field(default_factory=dict)

    def take(self, ready: ReadyTask) -> None:
        """Count one more."""
        task, run = ready.task, ready.run.key
        if self.slots is not None:
            self.slots -= 1
        _add(self.pool_used, task.pool, task.pool_slots)
        _add(self.run_used, run, 1)
        _add(self.task_used, (run.dag_id, task.task_id), 1)
        _add(self.task_in_run_used, (run, task.task_id), 1)


def _add(counts: dict[Any, int], key: Any, amount: int) -> None:
    counts[key] = counts.get(key, 0) + amount


def _pool(ready: ReadyTask, limits: Limits) -> WaitReason | None:
    task = ready.task
    size = limits.pools.get(task.pool)
    if size is None:
        text = f"Pool {task.pool!r} does not exist. Make it with: nbflow pools set {task.pool} SLOTS DESCRIPTION"
        return WaitReason(kind="pool_missing", text=text, detail={"pool": task.pool})
    if size < 0:
        return None
    used = limits.pool_used.get(task.pool, 0)
    facts = {"pool": task.pool, "slots": size, "used": used, "needs": task.pool_slots}
    if task.pool_slots > size:
        text = f"It needs {task.pool_slots} slots, but pool {task.pool!r} has only {size} in all: it can never start."
        return WaitReason(kind="pool_too_small", text=text, detail=facts)
    if used + task.pool_slots > size:
        text = f"Pool {task.pool!r} is full: {used} of {size} slots are taken, and it needs {task.pool_slots}."
        return WaitReason(kind="pool", text=text, detail=facts)
    return None


def _limit(kind: str, what: str, used: int, most: int | None) -> WaitReason | None:
    if most is None or used < most:
        return None
    return WaitReason(
        kind=kind, text=f"{kind} of {what} is reached: {used} of {most}.", detail={"used": used, "limit": most}
    )


def _max_active_tasks(ready: ReadyTask, limits: Limits) -> WaitReason | None:
    run = ready.run.key
    what = f"{run.dag_id} in one run"
    return _limit("max_active_tasks", what, limits.run_used.get(run, 0), ready.dag_max_active_tasks)


def _max_active_tis_per_dag(ready: ReadyTask, limits: Limits) -> WaitReason | None:
    most = ready.task.max_active_tis_per_dag
    used = limits.task_used.get((ready.run.dag_id, ready.task.task_id), 0)
    return _limit("max_active_tis_per_dag", f"task {ready.task.task_id}", used, most)


def _max_active_tis_per_dagrun(ready: ReadyTask, limits: Limits) -> WaitReason | None:
    most = ready.task.max_active_tis_per_dagrun
    used = limits.task_in_run_used.get((ready.run.key, ready.task.task_id), 0)
    return _limit("max_active_tis_per_dagrun", f"task {ready.task.task_id}", used, most)


LIMITS: tuple[Callable[[ReadyTask, Limits], WaitReason | None], ...] = (
    _pool,
    _max_active_tasks,
    _max_active_tis_per_dag,
    _max_active_tis_per_dagrun,
)
"""Every limit but the executor's slots, in the order in which a task is told of them. ``max_active_tasks`` holds
in each run, as in Airflow 3."""


def plan_dispatch(ready: Iterable[ReadyTask], limits: Limits, now: datetime, *, explain: bool = False) -> Plan:
    """Queue what fits; ``limits`` is used up as it goes. Without ``explain`` it stops when the executor is full."""
    ops: list[Op] = []
    waits: dict[tuple[RunKey, TaskKey], WaitReason] = {}
    for one in sorted(ready, key=_order):
        if limits.slots is not None and limits.slots <= 0:
            if not explain:
                break
            text = "Every executor slot is taken; tasks of higher priority or earlier runs go first."
            waits[one.run.key, one.instance.key] = WaitReason(kind="slot", text=text)
            continue
        refusal = next((why for limit in LIMITS if (why := limit(one, limits)) is not None), None)
        if refusal is not None:
            if explain:
                waits[one.run.key, one.instance.key] = refusal
            continue
        limits.take(one)
        ops.append(_queue(one, now))
    return Plan(ops=tuple(ops), waits=waits)


def _order(ready: ReadyTask) -> tuple[int, datetime, str, str, int]:
    one, run = ready.instance, ready.run
    weight = one.priority_weight if one.priority_weight is not None else ready.task.priority_weight
    return (-weight, run.logical_date or run.run_after, run.run_id, one.task_id, one.map_index)


def _queue(ready: ReadyTask, now: datetime) -> Move:
    return Move(
        run=ready.run.key,
        key=ready.instance.key,
        source=TaskState.SCHEDULED,
        target=TaskState.QUEUED,
        cause=Cause.DISPATCHED,
        at=now,
        changes={"queued_at": now},
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class RunLimits:
    """How many runs of a DAG may be active. A backfill counts only its own runs, against its own limit, and every
    other run counts only those that belong to no backfill, as in Airflow 3."""

    max_active_runs: Mapping[str, int]
    """dag_id -> limit."""
    backfills: Mapping[int, int] = field(default_factory=dict)
    """backfill id -> limit."""
    paused_backfills: frozenset[int] = frozenset()
    paused_dags: frozenset[str] = frozenset()


def plan_run_starts(queued: Sequence[Run], running: Sequence[Run], limits: RunLimits, now: datetime) -> Plan:
    """Start queued runs, in the given order, as far as the limits allow."""
    active: dict[tuple[str, int | None], int] = {}
    for run in running:
        _add(active, (run.dag_id, run.backfill_id), 1)
    ops: list[Op] = []
    waits: dict[RunKey, WaitReason] = {}
    for run in queued:
        group = (run.dag_id, run.backfill_id)
        why = _run_refusal(run, active.get(group, 0), limits)
        if why is not None:
            waits[run.key] = why
            continue
        _add(active, group, 1)
        ops.append(
            RunMove(
                run=run.key,
                source=RunState.QUEUED,
                target=RunState.RUNNING,
                cause=RunCause.SLOT_FREE,
                at=now,
                changes={"start_date": now},
            )
        )
    return Plan(ops=tuple(ops), run_waits=waits)


def _run_refusal(run: Run, active: int, limits: RunLimits) -> WaitReason | None:
    if run.dag_id in limits.paused_dags and run.heeds_pause:
        return paused_wait(run.dag_id)
    if run.backfill_id is None:
        return _limit("max_active_runs", run.dag_id, active, limits.max_active_runs.get(run.dag_id))
    if run.backfill_id in limits.paused_backfills:
        return WaitReason(kind="paused", text=f"Backfill {run.backfill_id} is paused.")
    # A run that is cleared after its backfill was over finds no limit of the backfill's any more.
    most = limits.backfills.get(run.backfill_id, limits.max_active_runs.get(run.dag_id))
    return _limit("backfill_limit", f"backfill {run.backfill_id}", active, most)
