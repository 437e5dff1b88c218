"""Repeated decisions: after a plan that was applied in part, after a clear, in another order of events."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from nbflow.core.decide import plan_run
from nbflow.core.plan import advance
from nbflow.core.run_changes import clear, first_instances
from nbflow.core.snapshot import Instance, Run, Snapshot, TaskKey
from nbflow.core.spec import DagSpec, GroupSpec, TaskSpec
from nbflow.core.states import Cause, RunState, TaskState
from nbflow.core.trigger_rules import TriggerRule

NOW = datetime(2024, 1, 1, tzinfo=UTC)
RUN = Run(dag_id="d", run_id="r", state=RunState.RUNNING, run_after=NOW, start_date=NOW)


def test_a_scheduled_empty_task_succeeds_and_is_not_dispatched() -> None:
    # Given an empty task of whose plan only the first half was applied
    dag = DagSpec(dag_id="d", tasks={"t": TaskSpec(task_id="t", empty=True)})
    snapshot = Snapshot(dag=dag, run=RUN, instances={ti.key: ti for ti in first_instances(dag)})
    half = advance(snapshot, plan_run(snapshot, NOW).ops[:1])

    plan = plan_run(half, NOW)

    assert [(move.source, move.target, move.cause) for move in plan.moves] == [
        (TaskState.SCHEDULED, TaskState.SUCCESS, Cause.NOTHING_TO_DO)
    ]
    assert advance(half, plan.ops).run.state is RunState.SUCCESS


def test_new_items_of_a_cleared_mapped_task_have_their_first_try() -> None:
    # Given a task without retries, mapped over a result of two items, in a run that has ended
    tasks = {
        "list": TaskSpec(task_id="list", feeds_mapping=True),
        "each": TaskSpec(task_id="each", upstream=("list",), expand=("task", "list")),
    }
    tis = [
        Instance(task_id="list", state=TaskState.SUCCESS, try_number=1, length=2),
        *(Instance(task_id="each", map_index=n, state=TaskState.SUCCESS, try_number=1) for n in range(2)),
    ]
    snapshot = Snapshot(dag=DagSpec(dag_id="d", tasks=tasks), run=RUN, instances={ti.key: ti for ti in tis})

    # When the mapped task is cleared, and the result has three items the next time
    snapshot = advance(snapshot, clear(snapshot, {"each"}, NOW).ops)
    longer = {TaskKey("list"): Instance(task_id="list", state=TaskState.SUCCESS, try_number=2, length=3)}
    snapshot = Snapshot(dag=snapshot.dag, run=snapshot.run, instances={**snapshot.instances, **longer})
    after = advance(snapshot, plan_run(snapshot, NOW).ops)

    # Then the new item has one try, like the others
    tries = {
        key.map_index: ti.max_tries + 1 - ti.try_number for key, ti in after.instances.items() if key.task_id == "each"
    }
    assert tries == {0: 0, 1: 0, 2: 0}


def test_a_mapped_task_whose_setup_failed_stays_one_row() -> None:
    # Given a task in the scope of a failed setup, whose trigger rule alone would let it run over an existing result
    tasks = {
        "make": TaskSpec(task_id="make", is_setup=True),
        "list": TaskSpec(task_id="list", feeds_mapping=True),
        "each": TaskSpec(
            task_id="each", upstream=("list", "make"), trigger_rule="none_skipped", expand=("task", "list")
        ),
    }
    tis = [
        Instance(task_id="make", state=TaskState.FAILED, try_number=1),
        Instance(task_id="list", state=TaskState.SUCCESS, try_number=1, length=2),
        Instance(task_id="each"),
    ]
    snapshot = Snapshot(dag=DagSpec(dag_id="d", tasks=tasks), run=RUN, instances={ti.key: ti for ti in tis})

    after = advance(snapshot, plan_run(snapshot, NOW).ops)

    # Then it ends as it does when the setup fails before the result exists
    assert {str(key): ti.state.value for key, ti in after.instances.items()} == {
        "make": "failed",
        "list": "success",
        "each": "upstream_failed",
    }


def test_a_mapped_group_is_expanded_before_its_tasks_are_decided() -> None:
    # Given a group that is mapped over a running task, with a task that is also downstream of a failed one
    tasks = {
        "list": TaskSpec(task_id="list", feeds_mapping=True),
        "other": TaskSpec(task_id="other"),
        "g.each": TaskSpec(task_id="g.each", group="g", upstream=("list", "other")),
    }
    dag = DagSpec(dag_id="d", tasks=tasks, groups={"g": GroupSpec(group_id="g", expand=("task", "list"))})
    tis = {
        TaskKey("list"): Instance(task_id="list", state=TaskState.RUNNING, try_number=1, attempt_id="a1"),
        TaskKey("other"): Instance(task_id="other", state=TaskState.FAILED, try_number=1),
        TaskKey("g.each"): Instance(task_id="g.each"),
    }
    snapshot = Snapshot(dag=dag, run=RUN, instances=tis)

    # When it is decided before the result exists, and again with a result of two items
    early = plan_run(snapshot, NOW, explain=True)
    list_ti = Instance(task_id="list", state=TaskState.SUCCESS, try_number=1, length=2)
    later = Snapshot(dag=dag, run=RUN, instances={**tis, TaskKey("list"): list_ti})
    after = advance(later, plan_run(later, NOW).ops)

    # Then it waits for the result, and then each instance fails, whatever the order in which the two tasks ended
    assert (early.ops, early.waits[RUN.key, TaskKey("g.each")].kind) == ((), "length")
    assert {str(key): ti.state.value for key, ti in after.instances.items() if key.task_id == "g.each"} == {
        "g.each[0]": "upstream_failed",
        "g.each[1]": "upstream_failed",
    }


@pytest.mark.parametrize("trigger_rule", list(TriggerRule))
def test_a_cleared_mapped_task_without_items_ends_as_one_that_never_had_any(trigger_rule: TriggerRule) -> None:
    # Given a task mapped over a result, and a task after it
    tasks = {
        "list": TaskSpec(task_id="list", feeds_mapping=True),
        "each": TaskSpec(task_id="each", upstream=("list",), expand=("task", "list")),
        "after": TaskSpec(task_id="after", upstream=("each",), trigger_rule=trigger_rule),
    }
    empty = Instance(task_id="list", state=TaskState.SUCCESS, try_number=2, length=0)
    after = Instance(task_id="after")

    # When the result has no items, the first time or after the two instances of a longer result were cleared
    results = []
    for each in ([Instance(task_id="each")], [Instance(task_id="each", map_index=index) for index in range(2)]):
        tis = {ti.key: ti for ti in (empty, *each, after)}
        decided = Snapshot(dag=DagSpec(dag_id="d", tasks=tasks), run=RUN, instances=tis)
        decided = advance(decided, plan_run(decided, NOW).ops)
        states = {ti.task_id: ti.state for ti in decided.instances.values()}
        results.append((states, decided.run.state))

    # Then both end alike
    assert results[0][0]["each"] is TaskState.SKIPPED
    assert results[1] == results[0]
