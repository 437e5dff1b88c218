"""Plans for requests about a run: create it, clear or mark its tasks, end it, change its DAG version.

Each function takes a snapshot (or a new run) and returns a plan; a store applies it. A wrong request raises a
``ValueError`` that names the task and the valid choices.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from datetime import datetime
from difflib import get_close_matches

from nbflow.core.event_handlers import callbacks_of_killed, reset_fields
from nbflow.core.plan import AddInstances, AddRun, ChangeVersion, Move, Op, Plan, RunMove
from nbflow.core.snapshot import INLINE, KERNEL, Instance, Run, Snapshot, TaskKey
from nbflow.core.spec import DagSpec, length_of, length_sources
from nbflow.core.states import (
    FAILED_STATES,
    FINISHED,
    LIVE,
    RUN_FINISHED,
    UNFINISHED,
    Cause,
    RunCause,
    RunState,
    TaskState,
)


def first_instances(dag: DagSpec) -> tuple[Instance, ...]:
    """The instances of a new run. Tasks mapped over literals are expanded; others have one unmapped instance."""
    tis: list[Instance] = []
    for task in dag.tasks.values():
        ti = Instance(task_id=task.task_id, max_tries=max(task.retries, 0))
        expr = dag.length_expr(task.task_id)
        length = length_of(expr, lambda _: None) if expr is not None and not any(length_sources(expr)) else None
        if length:
            tis += [replace(ti, map_index=index) for index in range(length)]
        else:
            tis.append(ti)
    return tuple(tis)


def new_run(dag: DagSpec, run: Run, now: datetime) -> Plan:
    """Create ``run`` (queued) with its instances. The caller has set its dates, id and version."""
    queued = replace(run, state=RunState.QUEUED, queued_at=now, start_date=None, end_date=None)
    return Plan(ops=(AddRun(run=queued, instances=first_instances(dag), at=now, cause=run.run_type),))


def select(
    dag: DagSpec, task_ids: Iterable[str] | None, *, upstream: bool = False, downstream: bool = False
) -> frozenset[str]:
    """Ids of the named tasks (a group's id stands for its tasks; None for all), with their upstream or downstream
    tasks. Raises ValueError for an unknown name."""
    if task_ids is None:
        return frozenset(dag.tasks)
    selected: set[str] = set()
    for name in task_ids:
        named = [t for t in dag.tasks if t == name or t.startswith(f"{name}.")] if name in dag.groups else [name]
        for task_id in named:
            if task_id not in dag.tasks:
                near = get_close_matches(task_id, [*dag.tasks, *dag.groups], n=1)
                hint = f" Did you mean {near[0]!r}?" if near else f" It has: {', '.join(list(dag.tasks)[:10])}"
                raise ValueError(f"DAG {dag.dag_id} has no task {task_id!r}.{hint}")
        selected.update(named)
    for task_id in tuple(selected):
        if upstream:
            selected |= dag.relatives(task_id, upstream=True)
        if downstream:
            selected |= dag.relatives(task_id, upstream=False)
    return frozenset(selected)


def with_setups(dag: DagSpec, task_ids: Collection[str]) -> frozenset[str]:
    """``task_ids`` with the setups in whose scope they lie, and the teardowns of those setups, as in Airflow: the
    teardown has removed what the setup created, so a task that runs again needs its setup to run again."""
    selected = set(task_ids)
    for task_id in task_ids:
        task = dag.tasks[task_id]
        if not task.is_setup and not task.is_teardown:
            selected.update(dag.setup_scope.get(task_id, ()))
    selected.update(task_id for task_id, task in dag.tasks.items() if not selected.isdisjoint(task.setups))
    return frozenset(selected)


def clear(
    snapshot: Snapshot,
    task_ids: Collection[str],
    now: datetime,
    *,
    only_failed: bool = False,
    only_running: bool = False,
    map_index: int | None = None,
    reopen: bool = True,
) -> Plan:
    """Clear tasks so that they run again, with all their retries. Live instances are killed first (restarting). With
    ``reopen``, a finished run is queued again and its clear number incremented; a run of ``dag.test()``, whose process
    drives it no longer, becomes one that schedulers run."""
    run = snapshot.run
    ops: list[Op] = []
    for ti in snapshot.in_order():
        if ti.task_id not in task_ids or (map_index is not None and ti.map_index != map_index):
            continue
        if only_failed and ti.state not in FAILED_STATES:
            continue
        if only_running and ti.state is not TaskState.RUNNING:
            continue
        ops += _cleared(snapshot, ti, now)
    if ops and reopen and run.state in RUN_FINISHED:
        changes: dict[str, object] = {
            "start_date": None,
            "end_date": None,
            "queued_at": now,
            "clear_number": run.clear_number + 1,
        }
        changes |= _taken_over(run)
        ops.append(
            RunMove(
                run=run.key, source=run.state, target=RunState.QUEUED, cause=RunCause.CLEARED, at=now, changes=changes
            )
        )
    return Plan(ops=tuple(ops))


def _taken_over(run: Run) -> dict[str, object]:
    """Like a run of a DAG that notebook cells define: no pause of a DAG applies to it."""
    by = run.triggered_by or ""
    return {"triggered_by": KERNEL + by.removeprefix(INLINE)} if by.startswith(INLINE) else {}


def _cleared(snapshot: Snapshot, ti: Instance, now: datetime) -> list[Op]:
    task = snapshot.dag.tasks.get(ti.task_id)
    if task is None or ti.state in (TaskState.REMOVED, TaskState.RESTARTING):
        return []
    tries = {"max_tries": max(ti.max_tries, ti.try_number + max(task.retries, 0))}
    if ti.state in LIVE and ti.state is not TaskState.DEFERRED:
        return [_move(snapshot, ti, TaskState.RESTARTING, Cause.CLEARED_WHILE_LIVE, now, tries)]
    if ti.state is TaskState.NONE:
        return []
    return [_move(snapshot, ti, TaskState.NONE, Cause.CLEARED, now, {**reset_fields(), **tries})]


def _move(
    snapshot: Snapshot, ti: Instance, target: TaskState, cause: Cause, now: datetime, changes: Mapping[str, object]
) -> Move:
    return Move(run=snapshot.run.key, key=ti.key, source=ti.state, target=target, cause=cause, at=now, changes=changes)


def restart_attempts(snapshot: Snapshot, attempt_ids: Collection[str], now: datetime) -> Plan:
    """Restart the instances of these attempts under the next scheduler, because the scheduler that runs them stops.
    That uses no retry."""
    ops: list[Op] = []
    for ti in snapshot.instances.values():
        if ti.attempt_id in attempt_ids and ti.state in (TaskState.QUEUED, TaskState.RUNNING):
            tries = {"max_tries": ti.max_tries + 1}
            ops.append(_move(snapshot, ti, TaskState.RESTARTING, Cause.SCHEDULER_STOPPED, now, tries))
    return Plan(ops=tuple(ops))


_MARKS = {
    TaskState.SUCCESS: Cause.MARKED_SUCCESS,
    TaskState.FAILED: Cause.MARKED_FAILED,
    TaskState.SKIPPED: Cause.MARKED_SKIPPED,
}


def mark(
    snapshot: Snapshot, keys: Iterable[TaskKey], state: TaskState, now: datetime, *, cause: Cause | None = None
) -> Plan:
    """Mark instances success, failed or skipped; live instances are killed. Instances that already are in that state do
    not change. ``cause``: unless they themselves are marked."""
    if state not in _MARKS:
        raise ValueError(f"a task may be marked {', '.join(sorted(_MARKS))}, not {state}")
    ops: list[Op] = []
    for key in keys:
        ti = snapshot.instances.get(key)
        if ti is None:
            raise ValueError(f"run {snapshot.run.run_id} has no task instance {key}")
        if ti.state in (state, TaskState.REMOVED):
            continue
        changes = {"attempt_id": None, "end_date": now, "next_at": None, "start_date": ti.start_date or now}
        ops.append(_move(snapshot, ti, state, cause or _MARKS[state], now, changes))
    return Plan(ops=(*ops, *callbacks_of_killed(snapshot, ops)))


def mark_run(snapshot: Snapshot, state: RunState, now: datetime) -> Plan:
    """Mark a run, as in Airflow. Failed: live tasks fail, other unfinished tasks are skipped. Success: every unfinished
    or failed task becomes success."""
    run = snapshot.run
    if state not in RUN_FINISHED:
        raise ValueError(f"a run may be marked success or failed, not {state}")
    if state is RunState.FAILED:
        return fail_run(snapshot, RunCause.MARKED_FAILED, now)
    keys = [ti.key for ti in snapshot.in_order() if ti.state in UNFINISHED | FAILED_STATES]
    ops: list[Op] = [*mark(snapshot, keys, TaskState.SUCCESS, now, cause=Cause.RUN_MARKED).ops]
    return Plan(ops=(*ops, *_ended(run, state, RunCause.MARKED_SUCCESS, now)))


_TASK_CAUSES = {
    RunCause.MARKED_FAILED: Cause.RUN_MARKED,
    RunCause.BACKFILL_CANCELLED: Cause.BACKFILL_CANCELLED,
    RunCause.ABANDONED: Cause.RUN_ABANDONED,
}


def fail_run(snapshot: Snapshot, cause: RunCause, now: datetime, detail: Mapping[str, object] = {}) -> Plan:
    """End a run as failed for a cause outside of it: live tasks fail, other unfinished tasks are skipped."""
    live = [ti.key for ti in snapshot.in_order() if ti.state in LIVE]
    pending = [ti.key for ti in snapshot.in_order() if ti.state in UNFINISHED - LIVE]
    task_cause = _TASK_CAUSES[cause]
    failed = mark(snapshot, live, TaskState.FAILED, now, cause=task_cause)
    skipped = mark(snapshot, pending, TaskState.SKIPPED, now, cause=task_cause)
    ops = (*failed.ops, *skipped.ops, *_ended(snapshot.run, RunState.FAILED, cause, now))
    return Plan(ops=tuple(replace(op, detail=detail) if isinstance(op, Move | RunMove) else op for op in ops))


def _ended(run: Run, state: RunState, cause: RunCause, now: datetime) -> list[Op]:
    if run.state is state:
        return []
    changes = {"end_date": now, "start_date": run.start_date or now}
    return [RunMove(run=run.key, source=run.state, target=state, cause=cause, at=now, changes=changes)]


def change_version(snapshot: Snapshot, dag: DagSpec, number: int, now: datetime) -> Plan:
    """Change a run to another version of its DAG. Instances that the version does not have become removed, new
    instances are added, and removed instances that it has again are restored. That applies to tasks, to the items of
    literal lists over which tasks are mapped, and to tasks that have become mapped or unmapped. The plan is empty if
    the run already has that version."""
    if snapshot.run.version == number:
        return Plan()
    ops: list[Op] = [ChangeVersion(run=snapshot.run.key, dag=dag, number=number, at=now)]
    indexes: dict[str, set[int]] = {}
    for ti in snapshot.in_order():
        indexes.setdefault(ti.task_id, set()).add(ti.map_index)
    remaining: dict[str, set[int]] = {}
    for ti in snapshot.in_order():
        belongs = ti.task_id in dag.tasks and _belongs(dag, ti, indexes[ti.task_id])
        if belongs:
            remaining.setdefault(ti.task_id, set()).add(ti.map_index)
        if belongs and ti.state is TaskState.REMOVED:
            ops.append(_move(snapshot, ti, TaskState.NONE, Cause.TASK_RESTORED, now, dict(reset_fields())))
        elif not belongs and ti.state is not TaskState.REMOVED:
            changes = {"attempt_id": None, "end_date": ti.end_date or now}
            ops.append(_move(snapshot, ti, TaskState.REMOVED, Cause.TASK_REMOVED, now, changes))
    added = tuple(
        ti
        for ti in first_instances(dag)
        if ti.key not in snapshot.instances
        and (ti.task_id not in remaining or (ti.map_index >= 0 and remaining[ti.task_id] != {-1}))
    )
    if added:
        ops.append(AddInstances(run=snapshot.run.key, instances=added, at=now))
    return Plan(ops=tuple(ops))


def _belongs(dag: DagSpec, ti: Instance, indexes: Collection[int]) -> bool:
    """Whether the DAG version may have the instance; ``indexes`` are the map indexes of its task. A task that became
    mapped keeps its unmapped instance until that is cleared and expanded, but not together with expanded instances."""
    expr = dag.length_expr(ti.task_id)
    if expr is None or ti.map_index < 0:
        return ti.map_index < 0 and (expr is None or max(indexes) < 0)
    return any(length_sources(expr)) or ti.map_index < (length_of(expr, lambda _: None) or 0)


assert set(_MARKS) < FINISHED
