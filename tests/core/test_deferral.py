"""Deferred instances: which events end a deferral, and what happens after a trigger's timeout."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from nbflow.core import attempt_events as ev
from nbflow.core.decide import plan_run
from nbflow.core.event_handlers import handle_event
from nbflow.core.plan import advance
from nbflow.core.snapshot import Instance, Run, Snapshot, TaskKey
from nbflow.core.spec import DagSpec, TaskSpec
from nbflow.core.states import Cause, RunState, TaskState

NOW = datetime(2024, 1, 1, tzinfo=UTC)
WAIT = TaskKey("wait")


def deferred(*others: TaskSpec, retries: int = 0, fail_fast: bool = False) -> Snapshot:
    """A run whose task ``wait`` is deferred until NOW at most, with other tasks that have not started."""
    tasks = {task.task_id: task for task in (TaskSpec(task_id="wait", retries=retries), *others)}
    dag = DagSpec(dag_id="d", tasks=tasks, fail_fast=fail_fast)
    run = Run(dag_id="d", run_id="r", state=RunState.RUNNING, run_after=NOW, start_date=NOW)
    waiting = Instance(
        task_id="wait",
        state=TaskState.DEFERRED,
        attempt_id="a1",
        try_number=1,
        max_tries=retries,
        start_date=NOW - timedelta(minutes=1),
        next_at=NOW,
    )
    rows = {WAIT: waiting, **{task.task_id: Instance(task_id=task.task_id) for task in others}}
    return Snapshot(dag=dag, run=run, instances={ti.key: ti for ti in rows.values()})


def test_a_trigger_timeout_is_a_failed_try_and_not_a_deadlock() -> None:
    # Given a deferred task with a retry left, and nothing else in the run
    snapshot = deferred(retries=1)

    # When its trigger times out
    plan = plan_run(snapshot, NOW)

    # Then it waits for its next try, and the run stays running
    after = advance(snapshot, plan.ops)
    assert [(move.target, move.cause) for move in plan.moves] == [(TaskState.UP_FOR_RETRY, Cause.TRIGGER_TIMEOUT)]
    assert after.run.state is RunState.RUNNING
    assert plan.wake_at == NOW + timedelta(minutes=5)


def test_a_trigger_timeout_can_fail_the_run_fast() -> None:
    # Given a DAG with fail_fast, in which a task is ready to start
    snapshot = deferred(TaskSpec(task_id="other"), fail_fast=True)

    # When the deferred task fails without a retry
    after = advance(snapshot, plan_run(snapshot, NOW).ops)

    # Then the other task is skipped and not started
    assert {str(key): ti.state for key, ti in after.instances.items()} == {
        "wait": TaskState.FAILED,
        "other": TaskState.SKIPPED,
    }
    assert after.run.state is RunState.FAILED


@pytest.mark.parametrize(
    "event",
    [
        ev.Deferred(attempt_id="a1", at=NOW, trigger={}, next_method="m"),
        ev.Succeeded(attempt_id="a1", at=NOW),
        ev.Failed(attempt_id="a1", at=NOW),
        ev.Failed(attempt_id="a1", at=NOW, cause=Cause.HEARTBEAT_LOST),
        ev.Started(attempt_id="a1", at=NOW),
    ],
)
def test_a_worker_that_reports_again_does_not_end_the_deferral(event: ev.Event) -> None:
    plan = handle_event(deferred(), WAIT, event)
    assert (plan.ops, bool(plan.refused)) == ((), True)


@pytest.mark.parametrize("cause", [Cause.TRIGGER_FAILED, Cause.KILLED])
def test_a_trigger_that_raises_ends_the_deferral(cause: Cause) -> None:
    plan = handle_event(deferred(), WAIT, ev.Failed(attempt_id="a1", at=NOW, cause=cause))
    assert [(move.target, move.cause) for move in plan.moves] == [(TaskState.FAILED, cause)]
