"""``handle_event``: the plan for an event of an attempt.

The table ``_HANDLERS`` holds one function for each type of event. Three rules apply to all events:

* An event belongs to one attempt. If it is not the instance's current attempt, or the instance is not live, nothing
  changes and the plan holds the reason (``refused``): a worker that has lost its lease cannot overwrite the result of
  the next attempt.
* An outcome that arrives before its start was reported implies the start, so that the history has no gap.
* A terminal transition of a task that has a callback for it comes with one :class:`Callback`, unless the process that
  ran the task has already called it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from datetime import datetime
from typing import Any

from nbflow.core import attempt_events as ev
from nbflow.core.plan import Callback, Move, Op, Plan
from nbflow.core.retry import retry_at, retry_delay
from nbflow.core.snapshot import Instance, Snapshot, TaskKey, change
from nbflow.core.spec import DagSpec, TaskSpec
from nbflow.core.states import LIVE, RUN_FINISHED, UNFINISHED, Cause, TaskState

_NO_ATTEMPT: dict[str, Any] = {"attempt_id": None}


def handle_event(snapshot: Snapshot, key: TaskKey, event: ev.Event, *, callbacks_run: Collection[str] = ()) -> Plan:
    """The plan for one event. ``callbacks_run``: kinds of callbacks that the task's process has already called."""
    ti = snapshot.instances.get(key)
    if ti is None:
        return Plan(refused=f"{key} is no longer part of run {snapshot.run.run_id}")
    if ti.attempt_id != event.attempt_id:
        return Plan(refused=f"attempt {event.attempt_id} of {key} is not the current one")
    if ti.state not in LIVE:
        return Plan(refused=f"{key} is {ti.state}: no outcome is expected")
    task = snapshot.dag.tasks.get(key.task_id)
    if task is None:
        return Plan(refused=f"the DAG no longer has task {key.task_id}")
    if ti.state is TaskState.RESTARTING:
        return Plan(ops=tuple(_restart(snapshot, ti, event)))
    if ti.state is TaskState.DEFERRED and not _is_trigger_event(event):
        return Plan(refused=f"{key} is deferred: only events of its trigger are accepted")
    ops = _HANDLERS[type(event)](snapshot, task, ti, event)
    if isinstance(ops, str):
        return Plan(refused=ops)
    ops = [op for op in ops if not (isinstance(op, Callback) and op.key == key and op.kind in callbacks_run)]
    return Plan(ops=tuple(ops))


_TRIGGER_FAILURES = frozenset({Cause.TRIGGER_FAILED, Cause.TRIGGER_TIMEOUT, Cause.KILLED})


def _is_trigger_event(event: ev.Event) -> bool:
    """A deferred instance keeps its attempt id, against which the events of its trigger are checked. A worker that
    reports its outcome twice, or whose lease expires late, has the same id and must not end the deferral."""
    if isinstance(event, ev.Failed):
        return event.cause in _TRIGGER_FAILURES
    return isinstance(event, ev.TriggerFired)


def _restart(snapshot: Snapshot, ti: Instance, event: ev.Event) -> list[Op]:
    """The instance runs again, whatever outcome the killed attempt reports."""
    if isinstance(event, ev.Started):
        return []
    return [_move(snapshot, ti, TaskState.NONE, Cause.KILLED_TO_RESTART, event.at, reset_fields(), guard=True)]


def reset_fields() -> dict[str, Any]:
    """Fields to change in an instance that runs again from the start. The try number is not reset."""
    return {
        "attempt_id": None,
        "scheduled_at": None,
        "queued_at": None,
        "start_date": None,
        "end_date": None,
        "next_at": None,
        "reschedules": 0,
        "skips": (),
        "length": None,
        "next_method": None,
        "trigger_id": None,
    }


def _move(
    snapshot: Snapshot,
    ti: Instance,
    target: TaskState,
    cause: Cause,
    at: datetime,
    changes: dict[str, Any],
    detail: dict[str, Any] | None = None,
    *,
    guard: bool = False,
) -> Move:
    return Move(
        run=snapshot.run.key,
        key=ti.key,
        source=ti.state,
        target=target,
        cause=cause,
        at=at,
        changes=changes,
        detail=detail or {},
        attempt_id=ti.attempt_id if guard else None,
    )


def _implied_start(
    snapshot: Snapshot, ti: Instance, started_at: datetime | None, at: datetime
) -> tuple[list[Op], Instance]:
    """The start that an outcome implies, if none was reported; and the instance after it."""
    if ti.state is not TaskState.QUEUED:
        return [], ti
    start = started_at or at
    changes: dict[str, Any] = {} if ti.start_date is not None else {"start_date": start}
    move = _move(snapshot, ti, TaskState.RUNNING, Cause.STARTED, start, changes, guard=True)
    return [move], change(ti, state=TaskState.RUNNING, **changes)


def _callback(snapshot: Snapshot, task: TaskSpec, ti: Instance, kind: str, at: datetime, reason: str) -> list[Op]:
    if kind not in task.callbacks:
        return []
    return [Callback(run=snapshot.run.key, key=ti.key, kind=kind, at=at, reason=reason)]


def _started(snapshot: Snapshot, task: TaskSpec, ti: Instance, event: ev.Started) -> list[Op] | str:
    if ti.state is not TaskState.QUEUED:
        return f"{ti.key} is {ti.state}: it has started already"
    return _implied_start(snapshot, ti, event.at, event.at)[0]


def _succeeded(snapshot: Snapshot, task: TaskSpec, ti: Instance, event: ev.Succeeded) -> list[Op] | str:
    ops, ti = _implied_start(snapshot, ti, event.started_at, event.at)
    skips = skipped_by(snapshot.dag, task.task_id, event)
    changes = {**_NO_ATTEMPT, "end_date": event.at, "skips": skips, "length": event.length, "next_method": None}
    detail: dict[str, Any] = {} if event.follow is None else {"follow": list(event.follow)}
    if skips:
        detail["skips"] = list(skips)
    ops.append(_move(snapshot, ti, TaskState.SUCCESS, Cause.SUCCEEDED, event.at, changes, detail, guard=True))
    return ops + _callback(snapshot, task, ti, "success", event.at, "succeeded")


def skipped_by(dag: DagSpec, task_id: str, event: ev.Succeeded) -> tuple[str, ...]:
    """Ids of the tasks that a success skips, in topological order.

    A branch skips its direct downstream tasks, except the tasks that it follows and those downstream of a followed task
    (such as a join). A short circuit skips the direct downstream tasks, or all downstream tasks; never teardowns.
    """
    direct = dag.downstream[task_id]
    if event.follow is not None:
        reached = set(event.follow)
        for followed in event.follow:
            reached |= dag.relatives(followed, upstream=False)
        return tuple(other for other in direct if other not in reached)
    if event.skip == "direct":
        return tuple(other for other in direct if not dag.tasks[other].is_teardown)
    if event.skip == "all":
        downstream = dag.relatives(task_id, upstream=False)
        return tuple(other for other in dag.tasks if other in downstream and not dag.tasks[other].is_teardown)
    return ()


def _skipped(snapshot: Snapshot, task: TaskSpec, ti: Instance, event: ev.SkippedItself) -> list[Op] | str:
    ops, ti = _implied_start(snapshot, ti, event.started_at, event.at)
    changes = {**_NO_ATTEMPT, "end_date": event.at}
    detail = {"message": event.message} if event.message else {}
    ops.append(_move(snapshot, ti, TaskState.SKIPPED, Cause.SKIPPED_ITSELF, event.at, changes, detail, guard=True))
    return ops + _callback(snapshot, task, ti, "skipped", event.at, "skipped itself")


def _failed(snapshot: Snapshot, task: TaskSpec, ti: Instance, event: ev.Failed) -> list[Op] | str:
    ops, ti = _implied_start(snapshot, ti, event.started_at, event.at)
    retry = event.retry and event.cause is not Cause.FAILED_HARD
    return ops + failure_ops(snapshot, task, ti, event.cause, event.at, error=event.error, retry=retry)


def failure_ops(
    snapshot: Snapshot,
    task: TaskSpec,
    ti: Instance,
    cause: Cause,
    at: datetime,
    *,
    error: str = "",
    retry: bool = True,
) -> list[Op]:
    """After a failed attempt: a retry while tries remain, else a failure (which ends other tasks under fail_fast)."""
    run = snapshot.run
    detail: dict[str, Any] = {"error": error} if error else {}
    changes: dict[str, Any] = {**_NO_ATTEMPT, "end_date": at, "next_method": None}
    if retry and ti.try_number <= ti.max_tries and run.state not in RUN_FINISHED:
        delay = retry_delay(
            delay_s=task.retry_delay,
            multiplier=task.retry_backoff,
            max_delay_s=task.max_retry_delay,
            dag_id=run.dag_id,
            task_id=task.task_id,
            logical_date=run.logical_date,
            failed_try=ti.try_number,
            map_index=ti.map_index,
        )
        changes["next_at"] = retry_at(at, delay)
        detail |= {"delay": delay, "tries": ti.max_tries + 1}
        move = _move(snapshot, ti, TaskState.UP_FOR_RETRY, cause, at, changes, detail, guard=True)
        return [move, *_callback(snapshot, task, ti, "retry", at, error or cause.value)]
    ops: list[Op] = [_move(snapshot, ti, TaskState.FAILED, cause, at, changes, detail, guard=True)]
    ops += _callback(snapshot, task, ti, "failure", at, error or cause.value)
    if snapshot.dag.fail_fast:
        ops += _fail_fast(snapshot, ti, at)
    return ops


def _fail_fast(snapshot: Snapshot, failed: Instance, at: datetime) -> list[Op]:
    """fail_fast, as in Airflow: running tasks fail, other unfinished tasks are skipped; teardowns still run."""
    ops: list[Op] = []
    for other in snapshot.in_order():
        if other.key == failed.key or other.state not in UNFINISHED or snapshot.dag.tasks[other.task_id].is_teardown:
            continue
        target = TaskState.FAILED if other.state is TaskState.RUNNING else TaskState.SKIPPED
        changes = {**_NO_ATTEMPT, "end_date": at, "next_at": None}
        ops.append(_move(snapshot, other, target, Cause.FAIL_FAST, at, changes, {"failed": str(failed.key)}))
    return [*ops, *callbacks_of_killed(snapshot, ops)]


_CALLBACK_KIND = {TaskState.SUCCESS: "success", TaskState.FAILED: "failure", TaskState.SKIPPED: "skipped"}


def callbacks_of_killed(snapshot: Snapshot, ops: Iterable[Op]) -> list[Op]:
    """The callbacks of live tasks that a user's mark, fail_fast or dagrun_timeout ends: their processes are killed
    before they can call anything. As in Airflow, a task that never started has no callbacks when it is skipped."""
    callbacks: list[Op] = []
    for op in ops:
        if not isinstance(op, Move) or op.source not in LIVE:
            continue
        kind, task = _CALLBACK_KIND.get(op.target, ""), snapshot.dag.tasks.get(op.key.task_id)
        if task is not None and kind in task.callbacks:
            callbacks.append(Callback(run=op.run, key=op.key, kind=kind, at=op.at, reason=op.cause.value))
    return callbacks


def _rescheduled(snapshot: Snapshot, task: TaskSpec, ti: Instance, event: ev.Rescheduled) -> list[Op] | str:
    ops, ti = _implied_start(snapshot, ti, event.started_at, event.at)
    changes = {**_NO_ATTEMPT, "next_at": event.until, "reschedules": ti.reschedules + 1}
    ops.append(_move(snapshot, ti, TaskState.UP_FOR_RESCHEDULE, Cause.RESCHEDULED, event.at, changes, guard=True))
    return ops


def _deferred(snapshot: Snapshot, task: TaskSpec, ti: Instance, event: ev.Deferred) -> list[Op] | str:
    ops, ti = _implied_start(snapshot, ti, event.started_at, event.at)
    changes = {"next_at": event.timeout_at, "next_method": event.next_method}
    detail = {
        "trigger": dict(event.trigger),
        "next_method": event.next_method,
        "kwargs": dict(event.kwargs),
        "timeout_at": event.timeout_at.isoformat() if event.timeout_at else None,
    }
    ops.append(_move(snapshot, ti, TaskState.DEFERRED, Cause.DEFERRED, event.at, changes, detail, guard=True))
    return ops


def _trigger_fired(snapshot: Snapshot, task: TaskSpec, ti: Instance, event: ev.TriggerFired) -> list[Op] | str:
    if ti.state is not TaskState.DEFERRED:
        return f"{ti.key} is {ti.state}: no trigger is expected"
    changes = {**_NO_ATTEMPT, "next_at": None, "scheduled_at": event.at}
    detail = {"event": event.payload}
    return [_move(snapshot, ti, TaskState.SCHEDULED, Cause.TRIGGER_FIRED, event.at, changes, detail, guard=True)]


def _dispatch_lost(snapshot: Snapshot, task: TaskSpec, ti: Instance, event: ev.DispatchLost) -> list[Op] | str:
    if ti.state is not TaskState.QUEUED:
        return f"{ti.key} is {ti.state}: it was dispatched"
    changes = {**_NO_ATTEMPT, "queued_at": None}
    return [_move(snapshot, ti, TaskState.SCHEDULED, Cause.DISPATCH_LOST, event.at, changes, guard=True)]


def _killed_to_restart(snapshot: Snapshot, task: TaskSpec, ti: Instance, event: ev.KilledToRestart) -> list[Op] | str:
    return f"{ti.key} is {ti.state}, not restarting"


_HANDLERS: dict[type, Callable[[Snapshot, TaskSpec, Instance, Any], list[Op] | str]] = {
    ev.Started: _started,
    ev.Succeeded: _succeeded,
    ev.SkippedItself: _skipped,
    ev.Failed: _failed,
    ev.Rescheduled: _rescheduled,
    ev.Deferred: _deferred,
    ev.TriggerFired: _trigger_fired,
    ev.DispatchLost: _dispatch_lost,
    ev.KilledToRestart: _killed_to_restart,
}
