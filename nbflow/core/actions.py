"""What a user, or the scheduler for a new run, asks of a run: make, clear, mark, end, follow a new version.

Each function takes a snapshot (or what a run is to be) and gives a plan; nothing here is done until a store applies it.
Bad requests raise ``ValueError`` that names the task and what there is instead.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from datetime import datetime
from difflib import get_close_matches

from nbflow.core.plan import AddInstances, AddRun, KeepVersion, Move, Op, Plan, RunMove
from nbflow.core.react import callbacks_of_ended, fresh
from nbflow.core.snapshot import Instance, Run, Snapshot, TaskKey
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
    """The rows that a new run starts with: literal mappings are expanded, others have their placeholder."""
    rows: list[Instance] = []
    for task in dag.tasks.values():
        plain = Instance(task_id=task.task_id, max_tries=max(task.retries, 0))
        expr = dag.length_expr(task.task_id)
        length = length_of(expr, lambda _: None) if expr is not None and not any(length_sources(expr)) else None
        if length:
            rows += [replace(plain, map_index=index) for index in range(length)]
        else:
            rows.append(plain)
    return tuple(rows)


def new_run(dag: DagSpec, run: Run, now: datetime) -> Plan:
    """Make ``run`` (queued) with its instances. The caller has chosen its dates, id and version."""
    queued = replace(run, state=RunState.QUEUED, queued_at=now, start_date=None, end_date=None)
    return Plan(ops=(AddRun(run=queued, instances=first_instances(dag), at=now, cause=run.run_type),))


def select(
    dag: DagSpec, task_ids: Iterable[str] | None, *, upstream: bool = False, downstream: bool = False
) -> frozenset[str]:
    """Ids of the named tasks (a group's id stands for its tasks; None for all), with what is before or after them."""
    if task_ids is None:
        return frozenset(dag.tasks)
    chosen: set[str] = set()
    for name in task_ids:
        inside = [t for t in dag.tasks if t == name or t.startswith(f"{name}.")] if name in dag.groups else [name]
        for task_id in inside:
            if task_id not in dag.tasks:
                near = get_close_matches(task_id, [*dag.tasks, *dag.groups], n=1)
                hint = f" Did you mean {near[0]!r}?" if near else f" It has: {', '.join(list(dag.tasks)[:10])}"
                raise ValueError(f"DAG {dag.dag_id} has no task {task_id!r}.{hint}")
        chosen.update(inside)
    for task_id in tuple(chosen):
        if upstream:
            chosen |= dag.relatives(task_id, upstream=True)
        if downstream:
            chosen |= dag.relatives(task_id, upstream=False)
    return frozenset(chosen)


def with_setups(dag: DagSpec, chosen: Collection[str]) -> frozenset[str]:
    """The chosen tasks, with the setups that they need and the teardowns of those, as in Airflow: a task that runs
    again finds what a setup had made torn down since."""
    found = set(chosen)
    for task_id in chosen:
        task = dag.tasks[task_id]
        if not task.is_setup and not task.is_teardown:
            found.update(dag.setup_scope.get(task_id, ()))
    found.update(task_id for task_id, task in dag.tasks.items() if not found.isdisjoint(task.setups))
    return frozenset(found)


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
    """Let the tasks run again, with their retries anew. Live ones are ended first (restarting). A finished run is
    queued again, with a clear number one higher (``reopen``)."""
    run = snapshot.run
    ops: list[Op] = []
    for one in snapshot.in_order():
        if one.task_id not in task_ids or (map_index is not None and one.map_index != map_index):
            continue
        if only_failed and one.state not in FAILED_STATES:
            continue
        if only_running and one.state is not TaskState.RUNNING:
            continue
        ops += _cleared(snapshot, one, now)
    if ops and reopen and run.state in RUN_FINISHED:
        changes = {"start_date": None, "end_date": None, "queued_at": now, "clear_number": run.clear_number + 1}
        ops.append(
            RunMove(
                run=run.key, source=run.state, target=RunState.QUEUED, cause=RunCause.CLEARED, at=now, changes=changes
            )
        )
    return Plan(ops=tuple(ops))


def _cleared(snapshot: Snapshot, one: Instance, now: datetime) -> list[Op]:
    task = snapshot.dag.tasks.get(one.task_id)
    if task is None or one.state in (TaskState.REMOVED, TaskState.RESTARTING):
        return []
    tries = {"max_tries": max(one.max_tries, one.try_number + max(task.retries, 0))}
    if one.state in LIVE and one.state is not TaskState.DEFERRED:
        return [_move(snapshot, one, TaskState.RESTARTING, Cause.CLEARED_WHILE_LIVE, now, tries)]
    if one.state is TaskState.NONE:
        return []
    return [_move(snapshot, one, TaskState.NONE, Cause.CLEARED, now, {**fresh(), **tries})]


def _move(
    snapshot: Snapshot, one: Instance, target: TaskState, cause: Cause, now: datetime, changes: Mapping[str, object]
) -> Move:
    return Move(
        run=snapshot.run.key, key=one.key, source=one.state, target=target, cause=cause, at=now, changes=changes
    )


def hand_back(snapshot: Snapshot, attempt_ids: Collection[str], now: datetime) -> Plan:
    """A scheduler stops: what it runs is ended and starts over under the next one; that costs no retry."""
    ops: list[Op] = []
    for one in snapshot.instances.values():
        if one.attempt_id in attempt_ids and one.state in (TaskState.QUEUED, TaskState.RUNNING):
            tries = {"max_tries": one.max_tries + 1}
            ops.append(_move(snapshot, one, TaskState.RESTARTING, Cause.SCHEDULER_STOPPED, now, tries))
    return Plan(ops=tuple(ops))


_MARKS = {
    TaskState.SUCCESS: Cause.MARKED_SUCCESS,
    TaskState.FAILED: Cause.MARKED_FAILED,
    TaskState.SKIPPED: Cause.MARKED_SKIPPED,
}


def mark(snapshot: Snapshot, keys: Iterable[TaskKey], state: TaskState, now: datetime) -> Plan:
    """Set instances to success, failed or skipped by hand; live work is ended. Those already so are passed over."""
    if state not in _MARKS:
        raise ValueError(f"a task may be marked {', '.join(sorted(_MARKS))}, not {state}")
    ops: list[Op] = []
    for key in keys:
        one = snapshot.instances.get(key)
        if one is None:
            raise ValueError(f"run {snapshot.run.run_id} has no task instance {key}")
        if one.state in (state, TaskState.REMOVED):
            continue
        changes = {"attempt_id": None, "end_date": now, "next_at": None, "start_date": one.start_date or now}
        ops.append(_move(snapshot, one, state, _MARKS[state], now, changes))
    return Plan(ops=(*ops, *callbacks_of_ended(snapshot, ops)))


def mark_run(snapshot: Snapshot, state: RunState, now: datetime) -> Plan:
    """End a run by hand, as in Airflow: marked failed, running tasks fail and unfinished ones are skipped; marked
    success, every unfinished or failed task becomes success."""
    run = snapshot.run
    if state not in RUN_FINISHED:
        raise ValueError(f"a run may be marked success or failed, not {state}")
    if state is RunState.SUCCESS:
        keys = [one.key for one in snapshot.in_order() if one.state in UNFINISHED | FAILED_STATES]
        ops = list(mark(snapshot, keys, TaskState.SUCCESS, now).ops)
    else:
        live = [one.key for one in snapshot.in_order() if one.state in LIVE]
        idle = [one.key for one in snapshot.in_order() if one.state in UNFINISHED - LIVE]
        ops = [*mark(snapshot, live, TaskState.FAILED, now).ops, *mark(snapshot, idle, TaskState.SKIPPED, now).ops]
    if run.state is not state:
        cause = RunCause.MARKED_SUCCESS if state is RunState.SUCCESS else RunCause.MARKED_FAILED
        changes = {"end_date": now, "start_date": run.start_date or now}
        ops.append(RunMove(run=run.key, source=run.state, target=state, cause=cause, at=now, changes=changes))
    return Plan(ops=tuple(ops))


def follow_version(snapshot: Snapshot, dag: DagSpec, number: int, now: datetime) -> Plan:
    """Let a run keep another version of its DAG from now on: what is gone becomes removed, what is new gets rows, what
    is back is restored. That goes for tasks, for the items of literal lists that tasks are mapped over, and for tasks
    that are mapped now, or no longer. Nothing changes if it keeps that version already."""
    if snapshot.run.version == number:
        return Plan()
    ops: list[Op] = [KeepVersion(run=snapshot.run.key, dag=dag, number=number, at=now)]
    rows: dict[str, set[int]] = {}
    for one in snapshot.in_order():
        rows.setdefault(one.task_id, set()).add(one.map_index)
    kept: dict[str, set[int]] = {}
    for one in snapshot.in_order():
        belongs = one.task_id in dag.tasks and _has_place(dag, one, rows[one.task_id])
        if belongs:
            kept.setdefault(one.task_id, set()).add(one.map_index)
        if belongs and one.state is TaskState.REMOVED:
            ops.append(_move(snapshot, one, TaskState.NONE, Cause.TASK_RESTORED, now, dict(fresh())))
        elif not belongs and one.state is not TaskState.REMOVED:
            changes = {"attempt_id": None, "end_date": one.end_date or now}
            ops.append(_move(snapshot, one, TaskState.REMOVED, Cause.TASK_REMOVED, now, changes))
    added = tuple(
        one
        for one in first_instances(dag)
        if one.key not in snapshot.instances
        and (one.task_id not in kept or (one.map_index >= 0 and kept[one.task_id] != {-1}))
    )
    if added:
        ops.append(AddInstances(run=snapshot.run.key, instances=added, at=now))
    return Plan(ops=tuple(ops))


def _has_place(dag: DagSpec, one: Instance, rows: Collection[int]) -> bool:
    """Whether a task of this version may have the instance. A mapped one keeps the row that it had before it was, until
    that is cleared and expanded; but not beside rows of an expansion."""
    expr = dag.length_expr(one.task_id)
    if expr is None or one.map_index < 0:
        return one.map_index < 0 and (expr is None or max(rows) < 0)
    return any(length_sources(expr)) or one.map_index < (length_of(expr, lambda _: None) or 0)


assert set(_MARKS) < FINISHED
