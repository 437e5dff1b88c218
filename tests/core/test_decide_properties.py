"""Properties of deciding one run, over random DAGs, outcomes and orders of events.

What may depend on the order of events, and what may not
---------------------------------------------------------
Each attempt's outcome is fixed beforehand by its instance and try. Then the end of the run - the state of every
instance, and the run's own - is the same for every order in which the attempts end, with two exceptions: ``fail_fast``
and ``dagrun_timeout`` stop whatever happens to be unfinished at that moment, and whether a trigger fires in time is a
matter of time.
"""

from __future__ import annotations

import random
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from nbflow.core import events as ev
from nbflow.core.decide import plan_run
from nbflow.core.dispatch import Limits, plan_dispatch
from nbflow.core.plan import Plan, advance
from nbflow.core.react import react
from nbflow.core.snapshot import PreviousRun, TaskKey
from nbflow.core.spec import DagSpec
from nbflow.core.states import FINISHED, LIVE, OCCUPYING, RunState, TaskState
from nbflow.sim.outcomes import Seeded
from nbflow.sim.random_dags import random_dag
from tests.core.drive import Drive, prefixes

some = settings(max_examples=max(settings.default.max_examples // 4, 1))
"""Every example is a whole run: a quarter of the usual number finds as much, in seconds."""
dags = st.randoms(use_true_random=False).map(random_dag)
orders = st.randoms(use_true_random=False)
outcomes = st.builds(
    Seeded,
    seed=st.integers(0, 10_000),
    fail=st.sampled_from((0.0, 0.2, 0.6)),
    skip=st.sampled_from((0.0, 0.1)),
    fail_hard=st.sampled_from((0.0, 0.1)),
)
seen_before = st.none() | st.builds(
    lambda states, ever: PreviousRun(run_id="before", states=states, ever=frozenset(ever)),
    st.dictionaries(
        st.sampled_from([f"t{n}" for n in range(8)]), st.tuples(st.sampled_from(sorted(FINISHED))), max_size=8
    ),
    st.sets(st.sampled_from([f"t{n}" for n in range(8)])),
)


def is_fixed_point(drive: Drive, plan: Plan) -> None:
    after = advance(drive.snapshot, plan.ops)
    again = plan_run(after, drive.now)
    assert again.ops == ()
    assert again.wake_at is None or again.wake_at > drive.now
    assert plan.wake_at == again.wake_at or after.run.state is not RunState.RUNNING


def explains_and_decides_alike(drive: Drive, plan: Plan) -> None:
    assert plan_run(drive.snapshot, drive.now, explain=True).ops == plan.ops


def every_wait_has_a_true_reason(drive: Drive, plan: Plan) -> None:
    after = advance(drive.snapshot, plan.ops)
    if after.run.state is not RunState.RUNNING:
        return
    waits = {key: wait for (_, key), wait in plan_run(after, drive.now, explain=True).waits.items()}
    assert waits.keys() == {key for key, one in after.instances.items() if one.state not in FINISHED}
    states = {str(key): one.state for key, one in after.instances.items()}
    for key, wait in waits.items():
        one = after.instances[key]
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
                assert one.next_at == wait.until
                assert one.next_at is not None
                assert one.next_at > drive.now
            case "past" | "past_downstream":
                assert after.previous is not None
                assert one.state is TaskState.NONE
            case "length":
                assert key.map_index == -1
                assert after.dag.length_expr(key.task_id) is not None
            case "slot":
                assert one.state is TaskState.SCHEDULED
            case "executor" | "running" | "deferred":
                assert one.state in LIVE
            case other:
                raise AssertionError(f"{key} waits for {other}")


def a_cut_plan_is_made_good(drive: Drive, plan: Plan) -> None:
    whole = advance(drive.snapshot, plan.ops)
    for prefix in prefixes(plan.ops):
        cut = advance(drive.snapshot, prefix)
        mended = advance(cut, plan_run(cut, drive.now).ops)
        assert mended.instances == whole.instances
        assert mended.run.state == whole.run.state


def checked(dag: DagSpec, does: Seeded, *checks: object, previous: PreviousRun | None = None) -> Drive:
    drive = Drive(dag, does, previous=previous)
    drive.checks.extend(checks)  # type: ignore[arg-type]
    return drive


@some
@given(dags, outcomes, orders, seen_before)
def test_every_run_ends_or_names_the_run_that_it_waits_for(
    dag: DagSpec, does: Seeded, order: random.Random, past: PreviousRun | None
) -> None:
    drive = checked(dag, does, previous=past)

    drive.run(order.choice)

    if not drive.over:
        waits = plan_run(drive.snapshot, drive.now, explain=True).waits
        assert "past" in {wait.kind.split("_")[0] for wait in waits.values()}


@some
@given(dags, outcomes, orders, seen_before)
def test_asked_again_the_plan_is_empty(
    dag: DagSpec, does: Seeded, order: random.Random, past: PreviousRun | None
) -> None:
    checked(dag, does, is_fixed_point, previous=past).run(order.choice)


@some
@given(dags, outcomes, orders, seen_before)
def test_explaining_changes_no_decision(
    dag: DagSpec, does: Seeded, order: random.Random, past: PreviousRun | None
) -> None:
    checked(dag, does, explains_and_decides_alike, previous=past).run(order.choice)


@some
@given(dags, outcomes, orders, seen_before)
def test_everything_that_waits_has_a_true_reason(
    dag: DagSpec, does: Seeded, order: random.Random, past: PreviousRun | None
) -> None:
    checked(dag, does, every_wait_has_a_true_reason, previous=past).run(order.choice)


@some
@given(dags, outcomes, orders)
def test_a_plan_that_was_applied_in_part_is_made_good_by_the_next(
    dag: DagSpec, does: Seeded, order: random.Random
) -> None:
    checked(dag, does, a_cut_plan_is_made_good).run(order.choice)


@some
@given(dags, outcomes, orders)
def test_executions_stay_within_the_retries(dag: DagSpec, does: Seeded, order: random.Random) -> None:
    drive = checked(dag, does)
    drive.run(order.choice)
    assert all(number <= dag.tasks[key.task_id].retries + 1 for key, number in drive.executions.items())


@some
@given(dags, outcomes, orders)
def test_no_mapped_instance_is_lost(dag: DagSpec, does: Seeded, order: random.Random) -> None:
    drive = checked(dag, does)
    drive.run(order.choice)
    for task_id in dag.tasks:
        indexes = sorted(key.map_index for key in drive.snapshot.instances if key.task_id == task_id)
        assert indexes == [-1] or indexes == list(range(len(indexes)))
        assert indexes != []


def without_stops(dag: DagSpec) -> DagSpec:
    return replace(dag, fail_fast=False, dagrun_timeout=None)


@some
@given(dags.map(without_stops), outcomes, orders, orders)
def test_the_end_of_a_run_does_not_depend_on_the_order_of_events(
    dag: DagSpec, does: Seeded, one: random.Random, other: random.Random
) -> None:
    does = replace(does, trigger_timeout=0.0)
    first = Drive(dag, does).run(one.choice)
    assert Drive(dag, does).run(other.choice) == first
    assert Drive(dag, does).run(lambda keys: keys[-1]) == first


@some
@given(dags, outcomes, orders)
def test_an_event_of_an_old_attempt_changes_nothing(dag: DagSpec, does: Seeded, order: random.Random) -> None:
    # Given a run in which events were kept as they came
    drive = checked(dag, does)
    told: list[tuple[TaskKey, ev.Event]] = []
    end = drive.end

    def keep(key: TaskKey) -> ev.Event:
        event = end(key)
        told.append((key, event))
        return event

    drive.end = keep  # type: ignore[method-assign]
    drive.run(order.choice)

    # When all of them come once more, after the end
    again = [react(drive.snapshot, key, event) for key, event in told]

    # Then none changes anything, and each says why
    assert [(plan.ops, bool(plan.refused)) for plan in again] == [((), True)] * len(again)


@some
@given(dags, outcomes, orders, st.integers(0, 3), st.integers(1, 3), st.integers(1, 2))
def test_dispatch_never_exceeds_a_limit_and_leaves_nothing_that_fits(
    dag: DagSpec, does: Seeded, order: random.Random, slots: int, small: int, most: int
) -> None:
    drive = checked(dag, does)
    drive.decide()
    ready = [replace(one, dag_max_active_tasks=most) for one in drive.ready()]
    pools = {"default_pool": -1, "small": small, "tiny": 1}

    def limits() -> Limits:
        return Limits(slots=slots, pools=pools)

    granted = plan_dispatch(ready, limits(), drive.now)
    explained = plan_dispatch(ready, limits(), drive.now, explain=True)

    after = advance(drive.snapshot, granted.ops)
    taken = [one for one in after.instances.values() if one.state in OCCUPYING]
    in_pool = {pool: sum(dag.tasks[one.task_id].pool == pool for one in taken) for pool in ("small", "tiny")}
    assert len(taken) <= min(slots, most)
    assert in_pool["small"] <= small
    assert in_pool["tiny"] <= 1
    assert explained.ops == granted.ops
    assert {key for _, key in explained.waits} == {one.instance.key for one in ready} - {m.key for m in granted.moves}
