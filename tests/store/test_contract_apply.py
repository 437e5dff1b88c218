"""``apply`` on every store: the effects of plans, and refusals."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from nbflow.core.plan import AddInstances, Callback, DropInstance, Plan, advance
from nbflow.core.snapshot import Instance, RunKey, TaskKey
from nbflow.core.states import IllegalTransition, RunCause, RunState
from nbflow.errors import DagNotFound, DagRunAlreadyExists, SerializationError, StalePlan
from nbflow.store.base import Attempt, PendingCallback, Pool, Store, TaskEvent, Usage
from nbflow.store.plan_effects import UNCLAIMED_LEASE_SECONDS
from tests.store.worlds import (
    DAY,
    LEASE,
    T0,
    C,
    S,
    a_run,
    add,
    after,
    begin,
    deferred,
    dispatch,
    ended,
    everything,
    fired,
    move,
    plan,
    queued,
    register,
    run_move,
    scheduled,
    spec,
    start_run,
    started_run,
    with_task,
)

EXTRACT, LOAD = TaskKey("extract"), TaskKey("load")


# ------------------------------------------------------------------------------------------------------------- new runs


def test_a_new_run_is_stored_with_its_instances(store: Store) -> None:
    register(store)
    run = a_run(conf={"n": (1, 2)}, triggered_by="ada")

    store.apply([add(run)], actor="scheduler")

    snapshot = store.snapshot(run.key)
    assert snapshot is not None
    assert snapshot.run == replace(run, conf={"n": [1, 2]})
    assert snapshot.instances == {EXTRACT: Instance(task_id="extract"), LOAD: Instance(task_id="load")}
    assert snapshot.dag == spec()
    assert (snapshot.previous, snapshot.paused) == (None, False)


def test_the_creation_of_a_run_is_in_its_history(store: Store) -> None:
    register(store)

    store.apply([add(a_run())], actor="scheduler")

    created = TaskEvent(
        seq=1,
        run=RunKey("sales", "r1"),
        key=None,
        source="",
        target="queued",
        cause="created",
        actor="scheduler",
        at=T0,
        detail={"by": "scheduled"},
    )
    assert store.events() == [created]


def test_a_run_needs_a_registered_version(store: Store) -> None:
    with pytest.raises(DagNotFound, match="sales has no version 1"):
        store.apply([add(a_run())], actor="scheduler")


@pytest.mark.parametrize("other", [{"run_id": "r1"}, {"run_id": "r2"}, {"run_id": "r2", "run_type": "backfill"}])
def test_a_second_run_of_the_id_or_the_logical_date_is_refused(store: Store, other: dict[str, str]) -> None:
    register(store)
    store.apply([add(a_run())], actor="scheduler")
    before = everything(store, RunKey("sales", "r1"))

    with pytest.raises(DagRunAlreadyExists):
        store.apply([add(replace(a_run(), **other))], actor="scheduler")

    assert everything(store, RunKey("sales", "r1")) == before
    assert len(store.runs("sales")) == 1


def test_two_runs_of_one_date_in_one_plan_are_refused(store: Store) -> None:
    register(store)

    with pytest.raises(DagRunAlreadyExists):
        store.apply([add(a_run("r1")), add(a_run("r2"))], actor="scheduler")

    assert store.runs() == []


def test_manual_runs_share_a_logical_date_and_block_nothing(store: Store) -> None:
    register(store)

    for name, kind in (("m1", "manual"), ("m2", "manual"), ("s", "scheduled"), ("m3", "manual")):
        store.apply([add(a_run(name, run_type=kind))], actor="scheduler")

    assert [run.run_id for run in store.runs(newest_first=False)] == ["m1", "m2", "s", "m3"]


def test_naive_times_are_refused(store: Store) -> None:
    register(store)
    naive = datetime(2024, 1, 1)

    with pytest.raises(ValueError, match="no time zone"):
        store.apply([add(a_run(logical_date=naive))], actor="scheduler")
    started_run(store)
    with pytest.raises(ValueError, match="no time zone"):
        store.apply([plan(scheduled(RunKey("sales", "r1"), "extract", at=naive))], actor="scheduler")

    assert [event.cause for event in store.events()] == ["created", "slot_free"]


# --------------------------------------------------------------------------------------------------------------- moves


def test_moves_change_instances_and_write_history_in_order(store: Store) -> None:
    register(store)
    run = started_run(store)

    store.apply([plan(scheduled(run, "extract", at=after(1)))], actor="scheduler")

    snapshot = store.snapshot(run)
    assert snapshot is not None
    expected = Instance(task_id="extract", state=S.SCHEDULED, try_number=1, scheduled_at=after(1))
    assert snapshot.instances[EXTRACT] == expected
    assert store.events(key=EXTRACT) == [
        TaskEvent(
            seq=3,
            run=run,
            key=EXTRACT,
            source="none",
            target="scheduled",
            cause="dependencies_met",
            actor="scheduler",
            at=after(1),
            try_number=1,
        )
    ]
    assert store.last_seq() == 3


def test_several_moves_of_an_instance_are_one_write_with_all_their_history(store: Store) -> None:
    register(store)
    run = started_run(store)
    step = {"start_date": T0, "end_date": T0, "attempt_id": None}

    attempts = store.apply(
        [
            plan(scheduled(run, "extract"), queued(run, "extract")),
            plan(move(run, "extract", S.QUEUED, C.SUCCEEDED, S.SUCCESS, **step)),
        ],
        actor="scheduler",
    )

    snapshot = store.snapshot(run)
    assert snapshot is not None
    assert (snapshot.instances[EXTRACT].state, snapshot.run.revision) == (S.SUCCESS, 2)
    assert [(e.source, e.target) for e in store.events(key=EXTRACT)] == [
        ("none", "scheduled"),
        ("scheduled", "queued"),
        ("queued", "success"),
    ]
    assert [(attempt.state, attempt.outcome) for attempt in attempts] == [("ended", "succeeded")]
    assert store.attempts(run) == attempts


def test_apply_does_what_advance_does_to_the_snapshot(store: Store) -> None:
    register(store)
    run = started_run(store)
    begin(store, run, "extract")
    before = store.snapshot(run)
    assert before is not None
    ops = (
        ended(run, "extract", "a1", at=after(3), length=3, skips=("load",)),
        move(run, "load", S.NONE, C.BRANCH_NOT_TAKEN, S.SKIPPED, end_date=after(3)),
        AddInstances(run=run, instances=(Instance(task_id="late", max_tries=2),), at=after(3)),
        *run_move(run, RunState.RUNNING, RunState.SUCCESS, RunCause.ALL_TASKS_DONE, changes={"end_date": T0}).ops,
    )

    store.apply([Plan(ops=ops)], actor="scheduler", expect={run: before.run.revision})

    assert store.snapshot(run) == advance(before, ops)


def test_a_plan_may_change_several_runs(store: Store) -> None:
    register(store)
    first, second = started_run(store), started_run(store, a_run("r2", 1))

    store.apply(
        [plan(scheduled(first, "extract"), scheduled(second, "extract"))],
        actor="scheduler",
        expect={first: 1, second: 1},
    )

    assert [run.revision for run in store.runs(newest_first=False)] == [2, 2]
    assert store.counts([first, second]) == {run: {S.NONE: 1, S.SCHEDULED: 1} for run in (first, second)}


# ------------------------------------------------------------------------------------------------------------ refusals


def _stale(store: Store, *ops: object, expect: dict[RunKey, int] | None = None) -> None:
    run = RunKey("sales", "r1")
    before = everything(store, run)
    with pytest.raises(StalePlan):
        store.apply([plan(*ops)], actor="scheduler", expect=expect)
    assert everything(store, run) == before


def test_another_revision_than_expected_is_stale(store: Store) -> None:
    register(store)
    run = started_run(store)

    _stale(store, scheduled(run, "extract"), expect={run: 0})


def test_another_state_than_expected_is_stale_and_rolls_back_the_earlier_operations(store: Store) -> None:
    register(store)
    run = started_run(store)

    _stale(store, scheduled(run, "load"), queued(run, "extract"))


def test_another_attempt_than_expected_is_stale(store: Store) -> None:
    register(store)
    run = started_run(store)
    begin(store, run, "extract")

    _stale(store, ended(run, "extract", "another"))


def test_a_plan_for_a_missing_row_is_stale(store: Store) -> None:
    register(store)
    run = started_run(store)

    _stale(store, scheduled(run, "missing"))
    _stale(store, scheduled(RunKey("sales", "missing"), "extract"))
    _stale(store, *start_run(run).ops)
    _stale(store, DropInstance(run=run, key=TaskKey("missing"), at=T0, length=2))
    _stale(store, expect={RunKey("sales", "missing"): 0})


def test_an_unmapped_instance_in_another_state_is_not_expanded(store: Store) -> None:
    register(store)
    run = started_run(store)
    store.apply([plan(scheduled(run, "extract"))], actor="scheduler")

    _stale(store, DropInstance(run=run, key=EXTRACT, at=T0, length=2))


def test_an_illegal_transition_is_refused(store: Store) -> None:
    register(store)
    run = started_run(store)
    before = everything(store, run)

    with pytest.raises(IllegalTransition):
        store.apply(
            [plan(scheduled(run, "load"), move(run, "extract", S.NONE, C.SUCCEEDED, S.SUCCESS))], actor="scheduler"
        )
    with pytest.raises(IllegalTransition):
        store.apply([run_move(run, RunState.RUNNING, RunState.QUEUED, RunCause.SLOT_FREE)], actor="scheduler")

    assert everything(store, run) == before


def test_a_detail_that_is_not_json_is_refused_with_its_plan(store: Store) -> None:
    register(store)
    run = started_run(store)
    before = everything(store, run)

    for bad in ({"x": object()}, {"trigger": {"x": object()}}):
        ops = (scheduled(run, "load"), move(run, "extract", S.NONE, C.RULE_SKIPS, S.SKIPPED, detail=bad))
        with pytest.raises(SerializationError):
            store.apply([plan(*ops)], actor="scheduler")

    assert everything(store, run) == before


# -------------------------------------------------------------------------------------------------------------- mapping


def test_an_unmapped_instance_is_replaced_by_its_expansion(store: Store) -> None:
    register(store)
    run = started_run(store)
    copies = tuple(Instance(task_id="extract", map_index=index) for index in range(3))

    store.apply(
        [plan(DropInstance(run=run, key=EXTRACT, at=T0, length=3), AddInstances(run=run, instances=copies, at=T0))],
        actor="scheduler",
    )

    assert store.instances(run) == [*copies, Instance(task_id="load")]
    assert [(e.cause, e.source, e.target, e.detail) for e in store.events(key=EXTRACT)] == [
        ("expanded", "none", "", {"length": 3})
    ]


def test_existing_instances_do_not_change(store: Store) -> None:
    register(store)
    run = started_run(store)
    store.apply([plan(scheduled(run, "extract"))], actor="scheduler")
    before = store.instances(run)

    store.apply([plan(AddInstances(run=run, instances=(Instance(task_id="extract"),), at=T0))], actor="scheduler")

    assert store.instances(run) == before


# ------------------------------------------------------------------------------------------------------------- attempts


def test_a_dispatch_creates_an_attempt_with_a_short_lease(store: Store) -> None:
    register(store, with_task(spec(), "extract", queue="big"))
    run = started_run(store)

    attempts = dispatch(store, run, "extract", at=after(5))

    expected = Attempt(
        attempt_id="a1",
        run=run,
        key=EXTRACT,
        try_number=1,
        version=1,
        queue="big",
        lease_until=after(5 + UNCLAIMED_LEASE_SECONDS),
        queued_at=after(5),
    )
    assert attempts == [expected]
    assert store.attempt("a1") == expected
    snapshot = store.snapshot(run)
    assert snapshot is not None
    assert snapshot.instances[EXTRACT].attempt_id == "a1"
    assert [event.attempt_id for event in store.events(key=EXTRACT)] == [None, "a1"]


def test_attempts_come_back_in_the_order_of_their_dispatches(store: Store) -> None:
    names = [f"t{number:02}" for number in range(30)]
    register(store, spec(*names))
    run = started_run(store, a_run(), *names)

    attempts = dispatch(store, run, *reversed(names))

    assert [(attempt.attempt_id, attempt.key.task_id) for attempt in attempts] == [
        (f"a{number}", name) for number, name in enumerate(reversed(names), 1)
    ]


def test_an_outcome_ends_its_attempt(store: Store) -> None:
    register(store)
    run = started_run(store)
    begin(store, run, "extract", at=after(1))
    failure = ended(run, "extract", "a1", C.RAISED, S.FAILED, at=after(9), detail={"error": "ValueError: no\x00"})

    store.apply([plan(failure)], actor="worker")

    attempt = store.attempt("a1")
    assert attempt is not None
    assert (attempt.state, attempt.outcome, attempt.error) == ("ended", "raised", "ValueError: no\\x00")
    assert (attempt.started_at, attempt.ended_at, attempt.lease_until) == (after(1), after(9), None)
    assert store.live_attempts() == []


def test_a_restarting_instance_keeps_its_attempt_until_the_process_has_ended(store: Store) -> None:
    register(store)
    run = started_run(store)
    begin(store, run, "extract")

    store.apply([plan(move(run, "extract", S.RUNNING, C.CLEARED_WHILE_LIVE, S.RESTARTING))], actor="user:ada")
    alive = store.attempt("a1")
    killed = move(run, "extract", S.RESTARTING, C.KILLED_TO_RESTART, S.NONE, attempt="a1", attempt_id=None)
    store.apply([plan(killed)], actor="worker")

    ended_attempt = store.attempt("a1")
    assert alive is not None
    assert ended_attempt is not None
    assert (alive.state, ended_attempt.state, ended_attempt.outcome) == ("running", "ended", "killed_to_restart")


def test_a_new_try_clears_the_xcoms_of_the_previous_try(store: Store) -> None:
    register(store)
    run = started_run(store)
    begin(store, run, "extract")
    store.xcom_push("a1", "return_value", "1", now=T0)
    failure = ended(run, "extract", "a1", C.RAISED, S.UP_FOR_RETRY)
    store.apply([plan(failure)], actor="worker")
    before_retry = store.xcoms(run)
    retry = move(run, "extract", S.UP_FOR_RETRY, C.RETRY_DUE, S.SCHEDULED, try_number=2, start_date=None)

    (attempt,) = store.apply([plan(retry, queued(run, "extract"))], actor="scheduler")

    assert before_retry == [(EXTRACT, "return_value", "1")]
    assert store.xcoms(run) == []
    assert (attempt.try_number, attempt.continues) == (2, False)


def test_a_rescheduled_try_keeps_its_xcoms(store: Store) -> None:
    register(store)
    run = started_run(store)
    begin(store, run, "extract")
    store.xcom_push("a1", "seen", "1", now=T0)
    later = ended(run, "extract", "a1", C.RESCHEDULED, S.UP_FOR_RESCHEDULE)
    store.apply([plan(later)], actor="worker")
    due = move(run, "extract", S.UP_FOR_RESCHEDULE, C.RESCHEDULE_DUE, S.SCHEDULED)

    (attempt,) = store.apply([plan(due, queued(run, "extract"))], actor="scheduler")

    assert (attempt.attempt_id, attempt.continues, attempt.next_method) == ("a2", True, None)
    assert store.xcoms(run) == [(EXTRACT, "seen", "1")]


def test_a_deferred_try_has_a_trigger_and_continues_with_its_event(store: Store) -> None:
    register(store)
    run = started_run(store)
    begin(store, run, "extract")
    store.xcom_push("a1", "seen", "1", now=T0)

    store.apply([plan(deferred(run, "extract", "a1", n=1))], actor="worker")
    waiting = store.triggers()
    waiting_instance = store.instances(run)[0]
    first_attempt = store.attempt("a1")
    store.apply([plan(fired(run, "extract", "a1", {"ok": (1,)}))], actor="triggerer")
    (attempt,) = store.apply([plan(queued(run, "extract"))], actor="scheduler")

    assert waiting == [
        {
            "trigger_id": 1,
            "attempt_id": "a1",
            "run": run,
            "key": EXTRACT,
            "trigger": {"name": "time", "args": {"s": 5}},
            "timeout_at": T0 + DAY,
        }
    ]
    assert (waiting_instance.trigger_id, waiting_instance.attempt_id) == (1, "a1")
    assert first_attempt is not None
    assert (first_attempt.state, first_attempt.outcome) == ("ended", "deferred")
    assert (attempt.continues, attempt.next_method) == (True, "resume")
    assert attempt.next_kwargs == {"n": 1, "event": {"ok": [1]}}
    assert store.triggers() == []
    assert store.instances(run)[0].trigger_id is None
    assert store.xcoms(run) == [(EXTRACT, "seen", "1")]


def test_a_lost_dispatch_of_a_deferred_try_is_repeated(store: Store) -> None:
    register(store)
    run = started_run(store)
    begin(store, run, "extract")
    store.apply([plan(deferred(run, "extract", "a1"))], actor="worker")
    store.apply([plan(fired(run, "extract", "a1", 7), queued(run, "extract"))], actor="triggerer")
    lost = move(run, "extract", S.QUEUED, C.DISPATCH_LOST, S.SCHEDULED, attempt="a2", attempt_id=None)

    (attempt,) = store.apply([plan(lost, queued(run, "extract"))], actor="scheduler")

    assert (attempt.attempt_id, attempt.continues, attempt.next_kwargs) == ("a3", True, {"event": 7})


# ------------------------------------------------------------------------------------------------- callbacks and usage


def test_a_callback_is_stored_with_its_transition_and_claimed_once(store: Store) -> None:
    register(store)
    run = started_run(store)
    of_task = Callback(run=run, key=EXTRACT, kind="success", at=after(1), reason="succeeded")
    of_run = Callback(run=run, key=None, kind="failure", at=after(2))
    store.apply([plan(of_task, of_run)], actor="scheduler")

    first = store.claim_callbacks(owner="one", lease=LEASE, now=T0, limit=1)
    second = store.claim_callbacks(owner="two", lease=LEASE, now=T0)
    none_left = store.claim_callbacks(owner="two", lease=LEASE, now=T0)
    after_expiry = store.claim_callbacks(owner="two", lease=LEASE, now=T0 + 2 * LEASE)
    store.finish_callback(1, error=None, now=T0)
    store.finish_callback(2, error="broke", now=T0)

    assert first == [
        PendingCallback(callback_id=1, run=run, key=EXTRACT, kind="success", version=1, at=after(1), reason="succeeded")
    ]
    assert second == [PendingCallback(callback_id=2, run=run, key=None, kind="failure", version=1, at=after(2))]
    assert none_left == []
    assert after_expiry == first + second
    assert store.claim_callbacks(owner="two", lease=LEASE, now=T0 + 9 * LEASE) == []
    assert [run.revision for run in store.runs()] == [1]


def test_a_refused_plan_leaves_no_callback(store: Store) -> None:
    register(store)
    run = started_run(store)

    _stale(store, Callback(run=run, key=EXTRACT, kind="success", at=T0), queued(run, "extract"))

    assert store.claim_callbacks(owner="one", lease=LEASE, now=T0) == []


def test_usage_counts_occupying_instances(store: Store) -> None:
    register(
        store,
        with_task(with_task(spec("extract", "load", "wait"), "extract", pool="db", pool_slots=3), "wait", pool="db"),
    )
    run = started_run(store, a_run(), "extract", "load", "wait")
    begin(store, run, "extract")
    dispatch(store, run, "load")
    attempt = begin(store, run, "wait")
    store.apply([plan(deferred(run, "wait", attempt))], actor="worker")

    plain = store.usage()
    store.set_pool(Pool(name="db", slots=9, include_deferred=True), actor="ada", now=T0)

    expected = Usage(
        pools={"db": 3, "default_pool": 1},
        dags={"sales": 2},
        runs={run: 2},
        tasks={("sales", "extract"): 1, ("sales", "load"): 1},
        tasks_in_runs={(run, "extract"): 1, (run, "load"): 1},
        total=2,
    )
    assert plain == expected
    assert store.usage() == replace(expected, pools={"db": 4, "default_pool": 1})


def test_usage_leaves_out_a_run_that_has_the_given_revision(store: Store) -> None:
    # Given a run with a task that occupies a slot
    register(store)
    run = started_run(store)
    begin(store, run, "extract")
    snapshot = store.snapshot(run)
    assert snapshot is not None

    # Then it is left out only by a caller who knows its current revision
    revision = snapshot.run.revision
    assert store.usage(without={run: revision}) == Usage()
    assert store.usage(without={run: revision - 1}).pools == {"default_pool": 1}


def test_finished_instances_occupy_nothing(store: Store) -> None:
    register(store)
    run = started_run(store)
    begin(store, run, "extract")

    store.apply([plan(ended(run, "extract", "a1"))], actor="worker")

    assert store.usage() == Usage()


def test_an_empty_apply_changes_nothing(store: Store) -> None:
    register(store)
    run = started_run(store)
    before = everything(store, run)

    assert store.apply([], actor="scheduler") == []
    assert store.apply([Plan()], actor="scheduler", expect={run: 1}) == []

    assert everything(store, run) == before


def test_times_of_any_zone_come_back_in_utc(store: Store) -> None:
    import pendulum

    register(store)
    in_berlin = pendulum.datetime(2024, 7, 1, 2, tz="Europe/Berlin")

    store.apply([add(a_run(logical_date=in_berlin))], actor="scheduler")

    (run,) = store.runs()
    assert run.logical_date is not None
    assert (type(run.logical_date), run.logical_date.isoformat()) == (datetime, "2024-07-01T00:00:00+00:00")
    assert store.active_runs() == [run]
    assert run.logical_date + timedelta(0) == in_berlin
