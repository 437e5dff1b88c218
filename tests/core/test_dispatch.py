"""Which scheduled instances are dispatched, which queued runs start, and which limit makes the others wait."""

from __future__ import annotations

from datetime import UTC, datetime

from nbflow.core.dispatch import Limits, ReadyTask, RunLimits, plan_dispatch, plan_run_starts
from nbflow.core.snapshot import Instance, Run, RunKey, TaskKey
from nbflow.core.spec import TaskSpec
from nbflow.core.states import TaskState

NOW = datetime(2024, 1, 2, tzinfo=UTC)


def run(run_id="r1", *, dag_id="d", backfill_id=None, day=1):
    at = datetime(2024, 1, day, tzinfo=UTC)
    return Run(dag_id=dag_id, run_id=run_id, logical_date=at, run_after=at, backfill_id=backfill_id)


def ready(task_id, *, of=None, max_active_tasks=16, map_index=-1, **options):
    instance = Instance(task_id=task_id, map_index=map_index, state=TaskState.SCHEDULED, try_number=1)
    task = TaskSpec(task_id=task_id, **options)
    return ReadyTask(run=of or run(), task=task, instance=instance, dag_max_active_tasks=max_active_tasks)


def limits(**overrides):
    return Limits(**{"slots": 10, "pools": {"default_pool": 128, "small": 2}, **overrides})


def queued(plan):
    return [str(move.key) for move in plan.moves]


def kinds(plan):
    return {str(key): wait.kind for (_, key), wait in plan.waits.items()}


def test_priority_goes_before_date_and_date_before_name():
    # Given a task of a later run with a high weight, and tasks of two runs with weight 1
    later = run("r2", day=2)
    candidates = [ready("b"), ready("a", of=later), ready("heavy", of=later, priority_weight=9), ready("a")]

    # When there are slots for three
    plan = plan_dispatch(candidates, limits(slots=3), NOW)

    # Then the heavy task comes first, then the tasks of the earlier run by name
    assert [(move.run.run_id, str(move.key)) for move in plan.moves] == [("r2", "heavy"), ("r1", "a"), ("r1", "b")]


def test_a_full_pool_does_not_block_tasks_of_another_pool():
    candidates = [ready("a", pool="small", pool_slots=2, priority_weight=5), ready("b", pool="small"), ready("c")]

    plan = plan_dispatch(candidates, limits(), NOW, explain=True)

    assert (queued(plan), kinds(plan)) == (["a", "c"], {"b": "pool"})


def test_a_task_that_can_never_fit_its_pool_has_the_reason():
    plan = plan_dispatch([ready("a", pool="small", pool_slots=3), ready("b", pool="gone")], limits(), NOW, explain=True)

    assert (queued(plan), kinds(plan)) == ([], {"a": "pool_too_small", "b": "pool_missing"})


def test_limits_of_run_and_task_count_instances_dispatched_in_the_same_plan():
    # Given a limit of two in a run, and of one for a mapped task in each run
    in_run = [ready(name, max_active_tasks=2) for name in "abc"]
    mapped = [ready("m", map_index=i, max_active_tis_per_dagrun=1, of=run("r2")) for i in range(2)]

    plan = plan_dispatch([*in_run, *mapped], limits(), NOW, explain=True)

    assert queued(plan) == ["a", "b", "m[0]"]
    assert kinds(plan) == {"c": "max_active_tasks", "m[1]": "max_active_tis_per_dagrun"}


def test_a_limit_over_all_runs_counts_instances_of_other_runs():
    used = limits(task_used={("d", "a"): 2})

    plan = plan_dispatch([ready("a", max_active_tis_per_dag=2)], used, NOW, explain=True)

    assert (queued(plan), kinds(plan)) == ([], {"a": "max_active_tis_per_dag"})


def test_without_slots_all_tasks_wait_for_one():
    plan = plan_dispatch([ready("a"), ready("b")], limits(slots=0), NOW, explain=True)

    assert (queued(plan), kinds(plan)) == ([], {"a": "slot", "b": "slot"})


def test_queued_runs_start_up_to_the_limit_of_their_dag_or_backfill():
    # Given two scheduled runs and two of backfill 7, and one run of each that is already running
    waiting = [run("b1", backfill_id=7), run("s1"), run("b2", backfill_id=7), run("s2")]
    running = [run("s0"), run("b0", backfill_id=7)]

    plan = plan_run_starts(waiting, running, RunLimits(max_active_runs={"d": 2}, backfills={7: 2}), NOW)

    assert [op.run.run_id for op in plan.ops] == ["b1", "s1"]
    assert {key.run_id: wait.kind for key, wait in plan.run_waits.items()} == {
        "b2": "backfill_limit",
        "s2": "max_active_runs",
    }


def test_pausing_a_dag_keeps_its_runs_but_not_those_of_a_backfill_from_starting():
    waiting = [run("s1"), run("b1", backfill_id=7)]
    paused = RunLimits(max_active_runs={"d": 5}, backfills={7: 5}, paused_dags=frozenset({"d"}))

    plan = plan_run_starts(waiting, [], paused, NOW)

    assert [op.run.run_id for op in plan.ops] == ["b1"]
    assert plan.run_waits[RunKey("d", "s1")].kind == "paused"


def test_a_dispatch_names_the_state_it_expects():
    (move,) = plan_dispatch([ready("a")], limits(), NOW).moves

    assert (move.key, move.source, move.target) == (TaskKey("a"), TaskState.SCHEDULED, TaskState.QUEUED)
