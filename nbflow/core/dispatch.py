"""``plan_dispatch``: which scheduled instances are queued now, and which limit makes each of the others wait.

Candidates are ordered by priority weight (highest first), then by the run's logical date, task id and map index. A
candidate that would exceed a limit waits with that limit as its reason, and the next candidate is checked, as in
Airflow: a full pool does not block the tasks of another pool. Each dispatched instance counts for the candidates after
it, so a plan never exceeds a limit. Schedulers that share a metastore dispatch under its named lock, so that together
they do not either.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from nbflow.core.plan import Move, Op, Plan, RunMove
from nbflow.core.snapshot import Instance, Run, RunKey, TaskKey
from nbflow.core.spec import TaskSpec
from nbflow.core.states import Cause, RunCause, RunState, TaskState
from nbflow.core.wait_reason_texts import paused_wait
from nbflow.core.wait_reasons import WaitReason
from nbflow.suggested_commands import suggest


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadyTask:
    """A scheduled instance, a candidate for dispatch."""

    run: Run
    task: TaskSpec
    instance: Instance
    dag_max_active_tasks: int


@dataclass(slots=True, kw_only=True)
class Limits:
    """Free slots and usage. Usage counts instances that are queued, running or restarting."""

    slots: int | None
    """Free executor slots; None: no limit."""
    pools: Mapping[str, int] = field(default_factory=dict)
    """pool -> number of slots; -1: no limit."""
    pool_used: dict[str, int] = field(default_factory=dict)
    """pool -> occupied slots."""
    run_used: dict[RunKey, int] = field(default_factory=dict)
    task_used: dict[tuple[str, str], int] = field(default_factory=dict)
    """(dag_id, task_id) -> instances in all runs."""
    task_in_run_used: dict[tuple[RunKey, str], int] = field(default_factory=dict)

    def add(self, candidate: ReadyTask) -> None:
        """Count a dispatched instance."""
        task, run = candidate.task, candidate.run.key
        if self.slots is not None:
            self.slots -= 1
        _add(self.pool_used, task.pool, task.pool_slots)
        _add(self.run_used, run, 1)
        _add(self.task_used, (run.dag_id, task.task_id), 1)
        _add(self.task_in_run_used, (run, task.task_id), 1)


def _add(counts: dict[Any, int], key: Any, amount: int) -> None:
    counts[key] = counts.get(key, 0) + amount


def _pool(candidate: ReadyTask, limits: Limits) -> WaitReason | None:
    task = candidate.task
    slots = limits.pools.get(task.pool)
    if slots is None:
        create = suggest("pools set", task.pool, "SLOTS")
        text = f"Pool {task.pool!r} does not exist. Create it with: {create}"
        return WaitReason(kind="pool_missing", text=text, detail={"pool": task.pool}, suggestions=(create,))
    if slots < 0:
        return None
    used = limits.pool_used.get(task.pool, 0)
    detail = {"pool": task.pool, "slots": slots, "used": used, "needs": task.pool_slots}
    if task.pool_slots > slots:
        enlarge = suggest("pools set", task.pool, str(task.pool_slots))
        text = (
            f"The task needs {task.pool_slots} slots, but pool {task.pool!r} has only {slots}: it can never start. "
            f"Enlarge the pool with: {enlarge}"
        )
        return WaitReason(kind="pool_too_small", text=text, detail=detail, suggestions=(enlarge,))
    if used + task.pool_slots > slots:
        text = (
            f"Pool {task.pool!r} is full: {used} of {slots} slots are occupied, and the task needs {task.pool_slots}."
        )
        return WaitReason(kind="pool", text=text, detail=detail)
    return None


def _limit(kind: str, scope: str, used: int, limit: int | None) -> WaitReason | None:
    if limit is None or used < limit:
        return None
    return WaitReason(
        kind=kind, text=f"{kind} of {scope} is reached: {used} of {limit}.", detail={"used": used, "limit": limit}
    )


def _max_active_tasks(candidate: ReadyTask, limits: Limits) -> WaitReason | None:
    run = candidate.run.key
    scope = f"DAG {run.dag_id!r} in one run"
    return _limit("max_active_tasks", scope, limits.run_used.get(run, 0), candidate.dag_max_active_tasks)


def _max_active_tis_per_dag(candidate: ReadyTask, limits: Limits) -> WaitReason | None:
    task = candidate.task
    used = limits.task_used.get((candidate.run.dag_id, task.task_id), 0)
    return _limit("max_active_tis_per_dag", f"task {task.task_id!r}", used, task.max_active_tis_per_dag)


def _max_active_tis_per_dagrun(candidate: ReadyTask, limits: Limits) -> WaitReason | None:
    task = candidate.task
    used = limits.task_in_run_used.get((candidate.run.key, task.task_id), 0)
    return _limit("max_active_tis_per_dagrun", f"task {task.task_id!r}", used, task.max_active_tis_per_dagrun)


LIMITS: tuple[Callable[[ReadyTask, Limits], WaitReason | None], ...] = (
    _pool,
    _max_active_tasks,
    _max_active_tis_per_dag,
    _max_active_tis_per_dagrun,
)
"""All limits except the executor's slots; the first limit that a task would exceed is the reason. ``max_active_tasks``
counts per run, as in Airflow 3."""


def plan_dispatch(candidates: Iterable[ReadyTask], limits: Limits, now: datetime, *, explain: bool = False) -> Plan:
    """Queue the candidates that the limits allow; updates ``limits``. Without ``explain`` the plan has no reasons."""
    ops: list[Op] = []
    waits: dict[tuple[RunKey, TaskKey], WaitReason] = {}
    for candidate in sorted(candidates, key=_order):
        if limits.slots is not None and limits.slots <= 0:
            if not explain:
                break
            text = (
                "All executor slots are occupied ([core] parallelism); "
                "tasks of higher priority and of earlier runs start first."
            )
            waits[candidate.run.key, candidate.instance.key] = WaitReason(kind="slot", text=text)
            continue
        wait = next((reason for limit in LIMITS if (reason := limit(candidate, limits)) is not None), None)
        if wait is not None:
            if explain:
                waits[candidate.run.key, candidate.instance.key] = wait
            continue
        limits.add(candidate)
        ops.append(_queue(candidate, now))
    return Plan(ops=tuple(ops), waits=waits)


def _order(candidate: ReadyTask) -> tuple[int, datetime, str, str, int]:
    ti, run = candidate.instance, candidate.run
    weight = ti.priority_weight if ti.priority_weight is not None else candidate.task.priority_weight
    return (-weight, run.logical_date or run.run_after, run.run_id, ti.task_id, ti.map_index)


def _queue(candidate: ReadyTask, now: datetime) -> Move:
    return Move(
        run=candidate.run.key,
        key=candidate.instance.key,
        source=TaskState.SCHEDULED,
        target=TaskState.QUEUED,
        cause=Cause.DISPATCHED,
        at=now,
        changes={"queued_at": now},
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class RunLimits:
    """Limits of active runs. The runs of a backfill count against the backfill's limit, all other runs of a DAG
    against the DAG's, as in Airflow 3."""

    max_active_runs: Mapping[str, int]
    """dag_id -> limit."""
    backfills: Mapping[int, int] = field(default_factory=dict)
    """backfill id -> limit."""
    paused_backfills: frozenset[int] = frozenset()
    paused_dags: frozenset[str] = frozenset()


def plan_run_starts(queued: Sequence[Run], running: Sequence[Run], limits: RunLimits, now: datetime) -> Plan:
    """Start queued runs, in the order of ``queued``, as far as the limits allow."""
    active: dict[tuple[str, int | None], int] = {}
    for run in running:
        _add(active, (run.dag_id, run.backfill_id), 1)
    ops: list[Op] = []
    waits: dict[RunKey, WaitReason] = {}
    for run in queued:
        group = (run.dag_id, run.backfill_id)
        wait = _run_wait(run, active.get(group, 0), limits)
        if wait is not None:
            waits[run.key] = wait
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


def _run_wait(run: Run, active: int, limits: RunLimits) -> WaitReason | None:
    if run.dag_id in limits.paused_dags and run.pausable:
        return paused_wait(run.dag_id)
    if run.backfill_id is None:
        return _limit("max_active_runs", f"DAG {run.dag_id!r}", active, limits.max_active_runs.get(run.dag_id))
    if run.backfill_id in limits.paused_backfills:
        unpause = suggest("backfill unpause", str(run.backfill_id))
        text = f"Backfill {run.backfill_id} is paused. Unpause it with: {unpause}"
        return WaitReason(kind="paused", text=text, suggestions=(unpause,))
    # A completed backfill has no limit any more: its runs that are cleared later count against the DAG's limit.
    limit = limits.backfills.get(run.backfill_id, limits.max_active_runs.get(run.dag_id))
    return _limit("backfill_limit", f"backfill {run.backfill_id}", active, limit)
