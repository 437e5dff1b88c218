"""``react``: what an event from outside does to a task instance.

The table ``_REACTIONS`` holds one small function for each kind of event. All of them keep three rules:

* An event speaks for one attempt. If the instance's current attempt is another, or it has ended, nothing changes and
  the plan says why (``refused``): a worker that was given up cannot overwrite its successor.
* An outcome that overtakes its own start implies the start, so that history never has a gap.
* A terminal transition of a task that has a callback for it carries one callback intent, unless the process that ran
  the task has already called it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from datetime import datetime
from typing import Any

from nbflow.core import events as ev
from nbflow.core.plan import Callback, Move, Op, Plan
from nbflow.core.retry import retry_at, retry_delay
from nbflow.core.snapshot import Instance, Snapshot, TaskKey, change
from nbflow.core.spec import DagSpec, TaskSpec
from nbflow.core.states import LIVE, RUN_FINISHED, UNFINISHED, Cause, TaskState

_GONE: dict[str, Any] = {"attempt_id": None}


def react(snapshot: Snapshot, key: TaskKey, event: ev.Event, *, callbacks_run: Collection[str] = ()) -> Plan:
    """The plan for one event. ``callbacks_run``: kinds of callbacks that the task's own process has already called."""
    one = snapshot.instances.get(key)
    if one is None:
        return Plan(refused=f"{key} is no longer part of run {snapshot.run.run_id}")
    if one.attempt_id != event.attempt_id:
        return Plan(refused=f"attempt {event.attempt_id} of {key} is not its current one")
    if one.state not in LIVE:
        return Plan(refused=f"{key} is {one.state}: it awaits no outcome")
    task = snapshot.dag.tasks.get(key.task_id)
    if task is None:
        return Plan(refused=f"the DAG no longer has task {key.task_id}")
    if one.state is TaskState.RESTARTING:
        return Plan(ops=tuple(_start_over(snapshot, one, event)))
    if one.state is TaskState.DEFERRED and not _speaks_for_a_trigger(event):
        return Plan(refused=f"{key} is deferred: its attempt has reported, now only its trigger may")
    ops = _REACTIONS[type(event)](snapshot, task, one, event)
    if isinstance(ops, str):
        return Plan(refused=ops)
    kept = [op for op in ops if not (isinstance(op, Callback) and op.key == key and op.kind in callbacks_run)]
    return Plan(ops=tuple(kept))


_TRIGGER_FAILURES = frozenset({Cause.TRIGGER_FAILED, Cause.TRIGGER_TIMEOUT, Cause.KILLED})


def _speaks_for_a_trigger(event: ev.Event) -> bool:
    """A deferred instance still carries its attempt's id, so that the trigger can be held to it; but a worker that
    reports its outcome once more, or is given up late, must not end the wait."""
    if isinstance(event, ev.Failed):
        return event.cause in _TRIGGER_FAILURES
    return isinstance(event, ev.TriggerFired)


def _start_over(snapshot: Snapshot, one: Instance, event: ev.Event) -> list[Op]:
    """Whatever a killed attempt reports, except that it has only just started, its instance starts over."""
    if isinstance(event, ev.Started):
        return []
    return [_move(snapshot, one, TaskState.NONE, Cause.KILLED_TO_RESTART, event.at, fresh(), guard=True)]


def fresh() -> dict[str, Any]:
    """The fields of an instance that is to run again from the start. Its try number stays: the next try counts on."""
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
    one: Instance,
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
        key=one.key,
        source=one.state,
        target=target,
        cause=cause,
        at=at,
        changes=changes,
        detail=detail or {},
        attempt_id=one.attempt_id if guard else None,
    )


def _begun(snapshot: Snapshot, one: Instance, started_at: datetime | None, at: datetime) -> tuple[list[Op], Instance]:
    """The start that an outcome implies, if no start was reported; and the instance after it."""
    if one.state is not TaskState.QUEUED:
        return [], one
    start = started_at or at
    changes: dict[str, Any] = {} if one.start_date is not None else {"start_date": start}
    move = _move(snapshot, one, TaskState.RUNNING, Cause.STARTED, start, changes, guard=True)
    return [move], change(one, state=TaskState.RUNNING, **changes)


def _callback(snapshot: Snapshot, task: TaskSpec, one: Instance, kind: str, at: datetime, why: str) -> list[Op]:
    if kind not in task.callbacks:
        return []
    return [Callback(run=snapshot.run.key, key=one.key, kind=kind, at=at, reason=why)]


def _started(snapshot: Snapshot, task: TaskSpec, one: Instance, event: ev.Started) -> list[Op] | str:
    if one.state is not TaskState.QUEUED:
        return f"{one.key} is {one.state}: it has started already"
    return _begun(snapshot, one, event.at, event.at)[0]


def _succeeded(snapshot: Snapshot, task: TaskSpec, one: Instance, event: ev.Succeeded) -> list[Op] | str:
    ops, one = _begun(snapshot, one, event.started_at, event.at)
    skips = skipped_by(snapshot.dag, task.task_id, event)
    changes = {**_GONE, "end_date": event.at, "skips": skips, "length": event.length, "next_method": None}
    detail: dict[str, Any] = {} if event.follow is None else {"follow": list(event.follow)}
    if skips:
        detail["skips"] = list(skips)
    ops.append(_move(snapshot, one, TaskState.SUCCESS, Cause.SUCCEEDED, event.at, changes, detail, guard=True))
    return ops + _callback(snapshot, task, one, "success", event.at, "succeeded")


def skipped_by(dag: DagSpec, task_id: str, event: ev.Succeeded) -> tuple[str, ...]:
    """Ids of the tasks that a success decides to skip, in topological order.

    A branch skips its direct downstream tasks but those it follows and those that come after a followed one (a join is
    reached either way). A short circuit skips the direct downstream tasks, or everything after it but teardowns.
    """
    down = dag.downstream[task_id]
    if event.follow is not None:
        kept = set(event.follow)
        for followed in event.follow:
            kept |= dag.relatives(followed, upstream=False)
        return tuple(other for other in down if other not in kept)
    if event.skip == "direct":
        return tuple(other for other in down if not dag.tasks[other].is_teardown)
    if event.skip == "all":
        after = dag.relatives(task_id, upstream=False)
        return tuple(other for other in dag.tasks if other in after and not dag.tasks[other].is_teardown)
    return ()


def _skipped(snapshot: Snapshot, task: TaskSpec, one: Instance, event: ev.SkippedItself) -> list[Op] | str:
    ops, one = _begun(snapshot, one, event.started_at, event.at)
    changes = {**_GONE, "end_date": event.at}
    detail = {"message": event.message} if event.message else {}
    ops.append(_move(snapshot, one, TaskState.SKIPPED, Cause.SKIPPED_ITSELF, event.at, changes, detail, guard=True))
    return ops + _callback(snapshot, task, one, "skipped", event.at, "skipped itself")


def _failed(snapshot: Snapshot, task: TaskSpec, one: Instance, event: ev.Failed) -> list[Op] | str:
    ops, one = _begun(snapshot, one, event.started_at, event.at)
    retry = event.retry and event.cause is not Cause.FAILED_HARD
    return ops + failure_ops(snapshot, task, one, event.cause, event.at, error=event.error, retry=retry)


def failure_ops(
    snapshot: Snapshot,
    task: TaskSpec,
    one: Instance,
    cause: Cause,
    at: datetime,
    *,
    error: str = "",
    retry: bool = True,
) -> list[Op]:
    """A failed attempt becomes a retry while tries are left, else a failure (which ends the others under fail_fast)."""
    run = snapshot.run
    detail: dict[str, Any] = {"error": error} if error else {}
    changes: dict[str, Any] = {**_GONE, "end_date": at, "next_method": None}
    if retry and one.try_number <= one.max_tries and run.state not in RUN_FINISHED:
        delay = retry_delay(
            delay_s=task.retry_delay,
            multiplier=task.retry_backoff,
            max_delay_s=task.max_retry_delay,
            dag_id=run.dag_id,
            task_id=task.task_id,
            logical_date=run.logical_date,
            failed_try=one.try_number,
            map_index=one.map_index,
        )
        changes["next_at"] = retry_at(at, delay)
        detail |= {"delay": delay, "tries": one.max_tries + 1}
        move = _move(snapshot, one, TaskState.UP_FOR_RETRY, cause, at, changes, detail, guard=True)
        return [move, *_callback(snapshot, task, one, "retry", at, error or cause.value)]
    ops: list[Op] = [_move(snapshot, one, TaskState.FAILED, cause, at, changes, detail, guard=True)]
    ops += _callback(snapshot, task, one, "failure", at, error or cause.value)
    if snapshot.dag.fail_fast:
        ops += _stop_the_rest(snapshot, one, at)
    return ops


def _stop_the_rest(snapshot: Snapshot, failed: Instance, at: datetime) -> list[Op]:
    """fail_fast, as in Airflow: running tasks fail, others that have not ended are skipped; teardowns still run."""
    ops: list[Op] = []
    for other in snapshot.in_order():
        if other.key == failed.key or other.state not in UNFINISHED or snapshot.dag.tasks[other.task_id].is_teardown:
            continue
        target = TaskState.FAILED if other.state is TaskState.RUNNING else TaskState.SKIPPED
        changes = {**_GONE, "end_date": at, "next_at": None}
        ops.append(_move(snapshot, other, target, Cause.FAIL_FAST, at, changes, {"failed": str(failed.key)}))
    return [*ops, *callbacks_of_ended(snapshot, ops)]


_KIND_OF_END = {TaskState.SUCCESS: "success", TaskState.FAILED: "failure", TaskState.SKIPPED: "skipped"}


def callbacks_of_ended(snapshot: Snapshot, ops: Iterable[Op]) -> list[Op]:
    """The callback intents of live tasks that others end: a user's mark, fail_fast, the run's time limit. Their own
    processes are killed and call nothing. A task that never started has no callbacks when it is skipped, as in
    Airflow."""
    intents: list[Op] = []
    for op in ops:
        if not isinstance(op, Move) or op.source not in LIVE:
            continue
        kind, task = _KIND_OF_END.get(op.target, ""), snapshot.dag.tasks.get(op.key.task_id)
        if task is not None and kind in task.callbacks:
            intents.append(Callback(run=op.run, key=op.key, kind=kind, at=op.at, reason=op.cause.value))
    return intents


def _rescheduled(snapshot: Snapshot, task: TaskSpec, one: Instance, event: ev.Rescheduled) -> list[Op] | str:
    ops, one = _begun(snapshot, one, event.started_at, event.at)
    changes = {**_GONE, "next_at": event.until, "reschedules": one.reschedules + 1}
    ops.append(_move(snapshot, one, TaskState.UP_FOR_RESCHEDULE, Cause.RESCHEDULED, event.at, changes, guard=True))
    return ops


def _deferred(snapshot: Snapshot, task: TaskSpec, one: Instance, event: ev.Deferred) -> list[Op] | str:
    ops, one = _begun(snapshot, one, event.started_at, event.at)
    changes = {"next_at": event.timeout_at, "next_method": event.next_method}
    detail = {
        "trigger": dict(event.trigger),
        "next_method": event.next_method,
        "kwargs": dict(event.kwargs),
        "timeout_at": event.timeout_at.isoformat() if event.timeout_at else None,
    }
    ops.append(_move(snapshot, one, TaskState.DEFERRED, Cause.DEFERRED, event.at, changes, detail, guard=True))
    return ops


def _trigger_fired(snapshot: Snapshot, task: TaskSpec, one: Instance, event: ev.TriggerFired) -> list[Op] | str:
    if one.state is not TaskState.DEFERRED:
        return f"{one.key} is {one.state}: it waits for no trigger"
    changes = {**_GONE, "next_at": None, "scheduled_at": event.at}
    detail = {"event": event.payload}
    return [_move(snapshot, one, TaskState.SCHEDULED, Cause.TRIGGER_FIRED, event.at, changes, detail, guard=True)]


def _dispatch_lost(snapshot: Snapshot, task: TaskSpec, one: Instance, event: ev.DispatchLost) -> list[Op] | str:
    if one.state is not TaskState.QUEUED:
        return f"{one.key} is {one.state}: its dispatch arrived"
    changes = {**_GONE, "queued_at": None}
    return [_move(snapshot, one, TaskState.SCHEDULED, Cause.DISPATCH_LOST, event.at, changes, guard=True)]


def _ended(snapshot: Snapshot, task: TaskSpec, one: Instance, event: ev.KilledToRestart) -> list[Op] | str:
    return f"{one.key} is {one.state}: only an attempt that is being restarted may simply end"


_REACTIONS: dict[type, Callable[[Snapshot, TaskSpec, Instance, Any], list[Op] | str]] = {
    ev.Started: _started,
    ev.Succeeded: _succeeded,
    ev.SkippedItself: _skipped,
    ev.Failed: _failed,
    ev.Rescheduled: _rescheduled,
    ev.Deferred: _deferred,
    ev.TriggerFired: _trigger_fired,
    ev.DispatchLost: _dispatch_lost,
    ev.KilledToRestart: _ended,
}
