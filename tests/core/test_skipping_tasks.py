"""Tasks that a branch or a short circuit may skip: they wait for its choice, and the reason names it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from nbflow.core.decide import plan_run
from nbflow.core.snapshot import TaskKey
from nbflow.core.spec import DagSpec, GroupSpec, TaskSpec
from nbflow.sim.outcomes import Behaviour, ScriptedOutcomes
from tests.core.drive import Drive

FIRST: Callable[[list[TaskKey]], TaskKey] = min
LAST: Callable[[list[TaskKey]], TaskKey] = max


def dag_of(*tasks: TaskSpec) -> DagSpec:
    return DagSpec(dag_id="d", tasks={task.task_id: task for task in tasks})


def branching(rule: str) -> DagSpec:
    """``a`` and the branch ``b`` are upstream of ``t``; the branch may also choose ``u``."""
    return dag_of(
        TaskSpec(task_id="a"),
        TaskSpec(task_id="b", operator="BranchPythonOperator", steers="direct"),
        TaskSpec(task_id="t", upstream=("a", "b"), trigger_rule=rule),
        TaskSpec(task_id="u", upstream=("b",)),
    )


@pytest.mark.parametrize("order", [FIRST, LAST], ids=["a ends first", "the branch ends first"])
@pytest.mark.parametrize(
    ("rule", "a", "follow", "end"),
    [
        ("one_success", "success", "u", "skipped"),
        ("one_success", "success", "t", "success"),
        ("one_done", "success", "u", "skipped"),
        ("one_failed", "fail", "u", "skipped"),
        ("one_failed", "fail", "t", "success"),
        ("all_success", "fail", "u", "skipped"),
        ("all_success", "fail", "t", "upstream_failed"),
    ],
)
def test_a_task_that_a_branch_does_not_follow_is_skipped_in_every_order(
    order: Callable[[list[TaskKey]], TaskKey], rule: str, a: str, follow: str, end: str
) -> None:
    outcomes = ScriptedOutcomes(tasks={"a": Behaviour(outcome=a), "b": Behaviour(follow=(follow,))})  # type: ignore[arg-type]

    _, states = Drive(branching(rule), outcomes).run(order)

    assert states["t"] == end


def test_a_task_that_a_branch_may_skip_waits_for_the_branch() -> None:
    # Given one_success, which the success of `a` alone meets
    drive = Drive(branching("one_success"), ScriptedOutcomes(tasks={"b": Behaviour(follow=("t",))}))
    drive.decide()
    drive.dispatch()

    # When `a` has ended, and the branch has not
    drive.end(TaskKey("a"))
    plan = plan_run(drive.snapshot, drive.now, explain=True)

    # Then
    (wait,) = [wait for (_, key), wait in plan.waits.items() if key.task_id == "t"]
    assert [move.key.task_id for move in plan.moves] == []
    assert wait.kind == "upstream"
    assert wait.detail["upstream"] == {"b": "queued"}
    assert wait.text == (
        "Waits for b (queued). Trigger rule one_success: one upstream task must succeed. "
        "The choice of b may still skip it."
    )


def test_after_a_failed_branch_the_trigger_rule_decides() -> None:
    outcomes = ScriptedOutcomes(tasks={"a": Behaviour(), "b": Behaviour(outcome="fail")})
    assert Drive(branching("one_success"), outcomes).run(LAST)[1]["t"] == "success"


def test_always_waits_for_no_task() -> None:
    drive = Drive(branching("always"), ScriptedOutcomes())
    assert {move.key.task_id for move in drive.decide().moves} == {"a", "b", "t"}


@pytest.mark.parametrize("order", [FIRST, LAST])
@pytest.mark.parametrize("steers", ["all", "direct"])
def test_all_tasks_that_a_short_circuit_may_skip_wait_for_it(
    order: Callable[[list[TaskKey]], TaskKey], steers: str
) -> None:
    # Given a task indirectly downstream of a short circuit, and of another task whose success meets its rule
    dag = dag_of(
        TaskSpec(task_id="a"),
        TaskSpec(task_id="s", operator="ShortCircuitOperator", steers=steers),
        TaskSpec(task_id="t", upstream=("s",)),
        TaskSpec(task_id="u", upstream=("a", "t"), trigger_rule="one_success"),
    )
    # When the short circuit skips
    outcomes = ScriptedOutcomes(tasks={"s": Behaviour(skip=steers)})  # type: ignore[arg-type]
    _, states = Drive(dag, outcomes).run(order)

    # Then that task is skipped only if the short circuit skips all its downstream tasks
    assert (states["t"], states["u"]) == ("skipped", "skipped" if steers == "all" else "success")


def test_in_a_mapped_group_each_index_waits_for_its_own_branch() -> None:
    # Given a group, mapped over a result of two items, with a branch in it
    dag = DagSpec(
        dag_id="d",
        tasks={
            "list": TaskSpec(task_id="list", feeds_mapping=True),
            "g.b": TaskSpec(task_id="g.b", upstream=("list",), group="g", steers="direct"),
            "g.t": TaskSpec(task_id="g.t", upstream=("g.b",), group="g"),
        },
        groups={"g": GroupSpec(group_id="g", expand=("task", "list"))},
    )
    drive = Drive(dag, ScriptedOutcomes(tasks={"list": Behaviour(length=2), "g.b": Behaviour(follow=("g.t",))}))
    drive.step(FIRST)
    drive.decide()
    drive.dispatch()

    # When the branch of one index has ended
    drive.end(TaskKey("g.b", 1))
    moves = drive.decide().moves

    # Then the task downstream of it with that index starts
    assert [move.key for move in moves] == [TaskKey("g.t", 1)]


def test_skipping_tasks_of_each_task() -> None:
    dag = dag_of(
        TaskSpec(task_id="b", steers="direct"),
        TaskSpec(task_id="s", steers="all"),
        TaskSpec(task_id="x", upstream=("b", "s")),
        TaskSpec(task_id="y", upstream=("x",)),
        TaskSpec(task_id="z", upstream=("s",), trigger_rule="always"),
        TaskSpec(task_id="end", upstream=("y",), is_teardown=True),
    )
    assert dict(dag.skipping_tasks) == {"x": ("b", "s"), "y": ("s",)}
