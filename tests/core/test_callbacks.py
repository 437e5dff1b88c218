"""One callback for each end of a task that had started, whatever ended it; none for a task that never ran."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from nbflow.core.attempt_events import Failed, Succeeded
from nbflow.core.decide import plan_run
from nbflow.core.event_handlers import handle_event
from nbflow.core.plan import Callback
from nbflow.core.run_changes import mark, mark_run
from nbflow.core.snapshot import Instance, Run, Snapshot, TaskKey
from nbflow.core.spec import DagSpec, TaskSpec
from nbflow.core.states import Cause, RunState, TaskState

NOW = datetime(2024, 1, 2, tzinfo=UTC)
ALL = ("success", "failure", "retry", "skipped")


def snapshot(states, **options):
    tasks = {name: TaskSpec(task_id=name, callbacks=ALL) for name in states}
    run = Run(dag_id="d", run_id="r", state=RunState.RUNNING, run_after=NOW, start_date=NOW)
    rows = {
        TaskKey(name): Instance(
            task_id=name, state=TaskState(state), try_number=1, attempt_id=f"{name}1" if state == "running" else None
        )
        for name, state in states.items()
    }
    return Snapshot(dag=DagSpec(dag_id="d", tasks=tasks, **options), run=run, instances=rows)


def callbacks(plan):
    return [(op.key and op.key.task_id, op.kind) for op in plan.ops if isinstance(op, Callback)]


@pytest.mark.parametrize(
    ("event", "kind"),
    [
        (Succeeded(attempt_id="a1", at=NOW), "success"),
        (Failed(attempt_id="a1", at=NOW), "failure"),
        (Failed(attempt_id="a1", at=NOW, cause=Cause.KILLED, retry=False), "failure"),
    ],
)
def test_an_outcome_has_one_callback_unless_its_process_called_it(event, kind):
    before = snapshot({"a": "running"})

    assert callbacks(handle_event(before, TaskKey("a"), event)) == [("a", kind)]
    assert callbacks(handle_event(before, TaskKey("a"), event, callbacks_run=(kind,))) == []


@pytest.mark.parametrize(("state", "kind"), [("success", "success"), ("failed", "failure"), ("skipped", "skipped")])
def test_marking_a_running_task_has_a_callback_and_marking_a_pending_one_has_none(state, kind):
    before = snapshot({"a": "running", "b": "none"})

    assert callbacks(mark(before, [TaskKey("a"), TaskKey("b")], TaskState(state), NOW)) == [("a", kind)]


def test_marking_a_run_has_callbacks_for_its_running_tasks():
    before = snapshot({"a": "running", "b": "none"})

    assert callbacks(mark_run(before, RunState.FAILED, NOW)) == [("a", "failure")]


def test_fail_fast_has_callbacks_for_the_failed_task_and_for_those_it_ends():
    before = snapshot({"a": "running", "b": "running", "c": "none"}, fail_fast=True)

    plan = handle_event(before, TaskKey("a"), Failed(attempt_id="a1", at=NOW))
    assert callbacks(plan) == [("a", "failure"), ("b", "failure")]


def test_a_timed_out_run_has_callbacks_for_the_tasks_it_ends_and_for_the_dag():
    before = snapshot({"a": "running", "b": "none"}, dagrun_timeout=60.0, callbacks=("failure",))

    assert callbacks(plan_run(before, NOW + timedelta(minutes=2))) == [("a", "skipped"), (None, "failure")]


def test_a_task_skipped_by_its_rule_has_no_callback():
    tasks = {"a": TaskSpec(task_id="a"), "b": TaskSpec(task_id="b", upstream=("a",), callbacks=ALL)}
    run = Run(dag_id="d", run_id="r", state=RunState.RUNNING, run_after=NOW, start_date=NOW)
    rows = {
        TaskKey("a"): Instance(task_id="a", state=TaskState.SKIPPED),
        TaskKey("b"): Instance(task_id="b"),
    }
    plan = plan_run(Snapshot(dag=DagSpec(dag_id="d", tasks=tasks), run=run, instances=rows), NOW)

    assert [move.target for move in plan.moves] == [TaskState.SKIPPED]
    assert callbacks(plan) == []
