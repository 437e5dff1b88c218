"""Properties of deciding one run, over random DAGs, outcomes and orders of events.

What may depend on the order of events, and what may not
---------------------------------------------------------
Each attempt's outcome is fixed beforehand by its instance and try. Then the end of the run (the states of all instances
and of the run) is the same for every order in which the attempts end, with two exceptions: ``fail_fast`` and
``dagrun_timeout`` end the instances that are unfinished at that time, and whether a trigger times out depends on time.
"""

from __future__ import annotations

import random
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from nbflow.core import attempt_events as ev
from nbflow.core.decide import plan_run
from nbflow.core.dispatch import Limits, plan_dispatch
from nbflow.core.event_handlers import handle_event
from nbflow.core.plan import Plan, advance
from nbflow.core.snapshot import PreviousRun, TaskKey
from nbflow.core.spec import DagSpec
from nbflow.core.states import FINISHED, LIVE, OCCUPYING, RunState, TaskState
from nbflow.sim.outcomes import RandomOutcomes
from nbflow.sim.random_dags import random_dag
from tests.core.drive import Drive, prefixes

fewer_examples = settings(max_examples=max(settings.default.max_examples // 4, 1))
"""Every example is a whole run: a quarter of the usual number suffices, and takes seconds."""
dags = st.randoms(use_true_random=False).map(random_dag)
orders = st.randoms(use_true_random=False)
outcomes = st.builds(
    RandomOutcomes,
    seed=st.integers(0, 10_000),
    fail=st.sampled_from((0.0, 0.2, 0.6)),
    skip=st.sampled_from((0.0, 0.1)),
    fail_hard=st.sampled_from((0.0, 0.1)),
)
previous_runs = st.none() | st.builds(
    lambda states, known_tasks: PreviousRun(run_id="before", states=states, known_tasks=frozenset(known_tasks)),
    st.dictionaries(
        st.sampled_from([f"t{n}" for n in range(8)]), st.tuples(st.sampled_from(sorted(FINISHED))), max_size=8
    ),
    st.sets(st.sampled_from([f"t{n}" for n in range(8)])),
)


def is_fixed_point(drive: Drive, plan: Plan) -> None:
    after = advance(drive.snapshot, plan.ops)
    next_plan = plan_run(after, drive.now)
    assert next_plan.ops == ()
    assert next_plan.wake_at is None or next_plan.wake_at > drive.now
    assert plan.wake_at == next_plan.wake_at or after.run.state is not RunState.RUNNING


def explains_and_decides_alike(drive: Drive, plan: Plan) -> None:
    assert plan_run(drive.snapshot, drive.now, explain=True).ops == plan.ops


def every_wait_has_a_true_reason(drive: Drive, plan: Plan) -> None:
    after = advance(drive.snapshot, plan.ops)
    if after.run.state is not RunState.RUNNING:
        return
    waits = {key: wait for (_, key), wait in plan_run(after, drive.now, explain=True).waits.items()}
    assert waits.keys() == {key for key, ti in after.instances.items() if ti.state not in FINISHED}
    states = {str(key): ti.state for key, ti in after.instances.items()}
    for key, wait in waits.items():
        ti = after.instances[key]
        match wait.kind:
            case "upstream":
                named = wait.detail["upstream"]
                assert named
                assert all(states[name] == state and state not in FINISHED for name, state in named.items())
            case "stuck":
                assert all(
                    states[name] == state and state in FINISHED for name, state in wait.detail["upstream"].items()
                )
            case "retry" | "reschedule":
                assert ti.next_at == wait.until
                assert ti.next_at is not None
                assert ti.next_at > drive.now
            case "past" | "past_downstream":
                assert after.previous is not None
                assert ti.state is TaskState.NONE
            case "length":
                assert key.map_index == -1
                assert after.dag.length_expr(key.task_id) is not None
            case "slot":
                assert ti.state is TaskState.SCHEDULED
            case "executor" | "running" | "deferred":
                assert ti.state in LIVE
            case other:
                raise AssertionError(f"{key} waits for {other}")


def a_partly_applied_plan_is_completed(drive: Drive, plan: Plan) -> None:
    complete = advance(drive.snapshot, plan.ops)
    for prefix in prefixes(plan.ops):
        partial = advance(drive.snapshot, prefix)
        completed = advance(partial, plan_run(partial, drive.now).ops)
        assert completed.instances == complete.instances
        assert completed.run.state == complete.run.state


def checked(dag: DagSpec, outcomes: RandomOutcomes, *checks: object, previous: PreviousRun | None = None) -> Drive:
    drive = Drive(dag, outcomes, previous=previous)
    drive.checks.extend(checks)  # type: ignore[arg-type]
    return drive


@fewer_examples
@given(dags, outcomes, orders, previous_runs)
def test_every_run_ends_or_waits_for_its_previous_run(
    dag: DagSpec, outcomes: RandomOutcomes, order: random.Random, past: PreviousRun | None
) -> None:
    drive = checked(dag, outcomes, previous=past)

    drive.run(order.choice)

    if not drive.ended:
        waits = plan_run(drive.snapshot, drive.now, explain=True).waits
        assert "past" in {wait.kind.split("_")[0] for wait in waits.values()}


@fewer_examples
@given(dags, outcomes, orders, previous_runs)
def test_planned_again_the_plan_is_empty(
    dag: DagSpec, outcomes: RandomOutcomes, order: random.Random, past: PreviousRun | None
) -> None:
    checked(dag, outcomes, is_fixed_point, previous=past).run(order.choice)


@fewer_examples
@given(dags, outcomes, orders, previous_runs)
def test_explaining_changes_no_decision(
    dag: DagSpec, outcomes: RandomOutcomes, order: random.Random, past: PreviousRun | None
) -> None:
    checked(dag, outcomes, explains_and_decides_alike, previous=past).run(order.choice)


@fewer_examples
@given(dags, outcomes, orders, previous_runs)
def test_everything_that_waits_has_a_true_reason(
    dag: DagSpec, outcomes: RandomOutcomes, order: random.Random, past: PreviousRun | None
) -> None:
    checked(dag, outcomes, every_wait_has_a_true_reason, previous=past).run(order.choice)


@fewer_examples
@given(dags, outcomes, orders)
def test_a_partly_applied_plan_is_completed_by_the_next(
    dag: DagSpec, outcomes: RandomOutcomes, order: random.Random
) -> None:
    checked(dag, outcomes, a_partly_applied_plan_is_completed).run(order.choice)


@fewer_examples
@given(dags, outcomes, orders)
def test_executions_stay_within_the_retries(dag: DagSpec, outcomes: RandomOutcomes, order: random.Random) -> None:
    drive = checked(dag, outcomes)
    drive.run(order.choice)
    assert all(number <= dag.tasks[key.task_id].retries + 1 for key, number in drive.executions.items())


@fewer_examples
@given(dags, outcomes, orders)
def test_no_mapped_instance_is_lost(dag: DagSpec, outcomes: RandomOutcomes, order: random.Random) -> None:
    drive = checked(dag, outcomes)
    drive.run(order.choice)
    for task_id in dag.tasks:
        indexes = sorted(key.map_index for key in drive.snapshot.instances if key.task_id == task_id)
        assert indexes == [-1] or indexes == list(range(len(indexes)))
        assert indexes != []


def without_stops(dag: DagSpec) -> DagSpec:
    return replace(dag, fail_fast=False, dagrun_timeout=None)


@fewer_examples
@given(dags.map(without_stops), outcomes, orders, orders)
def test_the_end_of_a_run_does_not_depend_on_the_order_of_events(
    dag: DagSpec, outcomes: RandomOutcomes, order: random.Random, other_order: random.Random
) -> None:
    outcomes = replace(outcomes, trigger_timeout=0.0)
    end = Drive(dag, outcomes).run(order.choice)
    assert Drive(dag, outcomes).run(other_order.choice) == end
    assert Drive(dag, outcomes).run(lambda keys: keys[-1]) == end


@fewer_examples
@given(dags, outcomes, orders)
def test_an_event_of_an_old_attempt_changes_nothing(
    dag: DagSpec, outcomes: RandomOutcomes, order: random.Random
) -> None:
    # Given a run whose events were recorded
    drive = checked(dag, outcomes)
    events: list[tuple[TaskKey, ev.Event]] = []
    end = drive.end

    def record(key: TaskKey) -> ev.Event:
        event = end(key)
        events.append((key, event))
        return event

    drive.end = record  # type: ignore[method-assign]
    drive.run(order.choice)

    # When all of them arrive once more, after the end
    plans = [handle_event(drive.snapshot, key, event) for key, event in events]

    # Then none changes anything, and each plan holds the reason
    assert [(plan.ops, bool(plan.refused)) for plan in plans] == [((), True)] * len(plans)


@fewer_examples
@given(dags, outcomes, orders, st.integers(0, 3), st.integers(1, 3), st.integers(1, 2))
def test_dispatch_never_exceeds_a_limit_and_explains_every_other_candidate(
    dag: DagSpec, outcomes: RandomOutcomes, order: random.Random, slots: int, small: int, max_active_tasks: int
) -> None:
    drive = checked(dag, outcomes)
    drive.decide()
    candidates = [replace(candidate, dag_max_active_tasks=max_active_tasks) for candidate in drive.ready()]
    pools = {"default_pool": -1, "small": small, "tiny": 1}

    def limits() -> Limits:
        return Limits(slots=slots, pools=pools)

    plan = plan_dispatch(candidates, limits(), drive.now)
    explained = plan_dispatch(candidates, limits(), drive.now, explain=True)

    after = advance(drive.snapshot, plan.ops)
    queued = [ti for ti in after.instances.values() if ti.state in OCCUPYING]
    in_pool = {pool: sum(dag.tasks[ti.task_id].pool == pool for ti in queued) for pool in ("small", "tiny")}
    assert len(queued) <= min(slots, max_active_tasks)
    assert in_pool["small"] <= small
    assert in_pool["tiny"] <= 1
    assert explained.ops == plan.ops
    dispatched = {move.key for move in plan.moves}
    assert {key for _, key in explained.waits} == {candidate.instance.key for candidate in candidates} - dispatched
