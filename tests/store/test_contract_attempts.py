"""Claims, leases, and the writes of attempts."""

from __future__ import annotations

import pytest

from nbflow.core.snapshot import RunKey, TaskKey
from nbflow.errors import StaleAttempt
from nbflow.store.base import Store
from tests.store.worlds import (
    LEASE,
    SECOND,
    T0,
    C,
    S,
    a_run,
    after,
    begin,
    deferred,
    dispatch,
    ended,
    everything,
    move,
    plan,
    queued,
    register,
    spec,
    started,
    started_run,
)

EXTRACT, LOAD = TaskKey("extract"), TaskKey("load")


def _claim(store: Store, attempt_id: str, owner: str = "worker") -> bool:
    return store.claim(attempt_id, owner=owner, hostname="here", lease=LEASE, now=T0, log_path="a/b.log")


def test_an_attempt_is_claimed_once(store: Store) -> None:
    register(store)
    run = started_run(store)
    dispatch(store, run, "extract")

    claims = [_claim(store, "a1"), _claim(store, "a1"), _claim(store, "a1", "other"), _claim(store, "none")]

    attempt = store.attempt("a1")
    assert claims == [True, False, False, False]
    assert attempt is not None
    assert (attempt.state, attempt.owner, attempt.hostname, attempt.log_path) == (
        "running",
        "worker",
        "here",
        "a/b.log",
    )
    assert (attempt.lease_until, attempt.started_at) == (T0 + LEASE, T0)


def test_claim_all_claims_the_attempts_that_are_not_claimed_yet(store: Store) -> None:
    # Given two attempts, of which one is claimed
    register(store)
    run = started_run(store)
    dispatch(store, run, "extract", "load")
    _claim(store, "a1", "other")

    # When both are claimed, and one that does not exist
    logs = {"a1": "a/mine.log", "a2": "b/mine.log"}
    claimed = store.claim_all(
        ["a2", "a1", "none"], owner="worker", hostname="here", lease=LEASE, now=T0, log_paths=logs
    )

    # Then only the free attempt is claimed
    attempts = [store.attempt("a1"), store.attempt("a2")]
    assert claimed == {"a2"}
    assert [attempt and (attempt.owner, attempt.state) for attempt in attempts] == [
        ("other", "running"),
        ("worker", "running"),
    ]
    assert [attempt and attempt.log_path for attempt in attempts] == ["a/b.log", "b/mine.log"]
    assert store.claim_all([], owner="worker", hostname="here", lease=LEASE, now=T0) == set()


def test_an_attempt_that_is_not_queued_any_more_cannot_be_claimed(store: Store) -> None:
    register(store)
    run = started_run(store)
    dispatch(store, run, "extract", "load")
    store.apply(
        [
            plan(
                move(run, "extract", S.QUEUED, C.CLEARED_WHILE_LIVE, S.RESTARTING),
                move(run, "load", S.QUEUED, C.MARKED_SUCCESS, S.SUCCESS, attempt_id=None),
            )
        ],
        actor="user:ada",
    )

    assert [_claim(store, "a1"), _claim(store, "a2")] == [False, False]


def test_the_process_of_an_attempt_is_stored(store: Store) -> None:
    register(store)
    begin(store, started_run(store), "extract")

    store.set_process("a1", pid=41, pid_started=12.25)

    attempt = store.attempt("a1")
    assert attempt is not None
    assert (attempt.pid, attempt.pid_started) == (41, 12.25)


def test_heartbeats_renew_leases_and_return_the_attempts_to_kill(store: Store) -> None:
    register(store, spec("a", "b", "c", "d", "e"))
    run = started_run(store, a_run(), "a", "b", "c", "d", "e")
    ids = [begin(store, run, task) for task in ("a", "b", "c", "d")]
    dispatch(store, run, "e")
    store.apply(
        [
            plan(
                move(run, "b", S.RUNNING, C.MARKED_SUCCESS, S.SUCCESS, attempt_id=None),
                move(run, "c", S.RUNNING, C.CLEARED_WHILE_LIVE, S.RESTARTING),
                deferred(run, "d", "a4"),
            )
        ],
        actor="user:ada",
    )

    kill = store.heartbeat([*ids, "a5", "none"], owner="worker", lease=LEASE, now=after(20))
    of_another = store.heartbeat(["a1"], owner="other", lease=LEASE, now=after(20))

    assert (kill, of_another) == (["a2", "a3", "a4", "a5", "none"], ["a1"])
    assert [attempt.attempt_id for attempt in store.expired(T0 + LEASE + SECOND)] == []
    assert [attempt.attempt_id for attempt in store.expired(after(81))] == ["a1", "a3", "a5"]
    assert store.heartbeat([], owner="worker", lease=LEASE, now=T0) == []


def test_the_current_states_leave_out_attempts_that_are_not_current(store: Store) -> None:
    # Given attempts that run, are marked, are cleared, are deferred and are queued
    register(store, spec("a", "b", "c", "d", "e"))
    run = started_run(store, a_run(), "a", "b", "c", "d", "e")
    ids = [begin(store, run, task) for task in ("a", "b", "c", "d")]
    dispatch(store, run, "e")
    store.apply(
        [
            plan(
                move(run, "b", S.RUNNING, C.MARKED_SUCCESS, S.SUCCESS, attempt_id=None),
                move(run, "c", S.RUNNING, C.CLEARED_WHILE_LIVE, S.RESTARTING),
                deferred(run, "d", "a4"),
            )
        ],
        actor="user:ada",
    )

    # Then the states of the live ones are returned, whoever holds them
    assert store.current_states([*ids, "a5", "none"]) == {"a1": S.RUNNING, "a3": S.RESTARTING, "a5": S.QUEUED}
    assert store.current_states([]) == {}


def test_leases_of_queued_and_running_attempts_expire(store: Store) -> None:
    register(store)
    run = started_run(store)
    begin(store, run, "extract")
    dispatch(store, run, "load")

    assert store.expired(T0 + LEASE) == []
    assert [attempt.attempt_id for attempt in store.expired(T0 + LEASE + SECOND)] == ["a1"]
    assert [attempt.attempt_id for attempt in store.expired(T0 + 9 * LEASE)] == ["a1", "a2"]


def test_live_attempts_by_owner(store: Store) -> None:
    register(store)
    run = started_run(store)
    begin(store, run, "extract")
    dispatch(store, run, "load")

    assert [attempt.attempt_id for attempt in store.live_attempts()] == ["a1", "a2"]
    assert [attempt.attempt_id for attempt in store.live_attempts("worker")] == ["a1"]


def test_attempts_of_an_instance_in_order(store: Store) -> None:
    register(store)
    run = started_run(store)
    begin(store, run, "extract")
    begin(store, run, "load")
    lost = move(run, "extract", S.RUNNING, C.HEARTBEAT_LOST, S.UP_FOR_RETRY, attempt="a1", attempt_id=None)
    retry = move(run, "extract", S.UP_FOR_RETRY, C.RETRY_DUE, S.SCHEDULED, try_number=2, start_date=None)
    store.apply([plan(lost, retry, queued(run, "extract"))], actor="scheduler")

    assert [(attempt.attempt_id, attempt.try_number, attempt.outcome) for attempt in store.attempts(run, EXTRACT)] == [
        ("a1", 1, "heartbeat_lost"),
        ("a3", 2, None),
    ]
    assert [attempt.attempt_id for attempt in store.attempts(run)] == ["a1", "a2", "a3"]


def test_the_reported_start_replaces_the_time_of_the_claim(store: Store) -> None:
    register(store)
    run = started_run(store)
    dispatch(store, run, "extract")
    _claim(store, "a1")

    store.apply([plan(started(run, "extract", "a1", at=after(2)))], actor="worker")

    attempt = store.attempt("a1")
    assert attempt is not None
    assert (attempt.state, attempt.started_at) == ("running", after(2))


# ---------------------------------------------------------------------------------------------------------------- xcom


def test_xcoms_are_in_the_order_of_the_task_ids_and_then_by_map_index(store: Store) -> None:
    register(store, spec("a", "b"))
    keys = [TaskKey("a", 10), TaskKey("a", 2), TaskKey("b")]
    run = started_run(store, a_run(), *(_instance(key) for key in keys))
    for key in keys:
        store.xcom_push(begin(store, run, key), "k", f'"{key}"', now=T0)
    store.xcom_push("a1", "other", "0", now=T0)

    ten, two, b = ((key, f'"{key}"') for key in keys)
    assert store.xcom_get(run, ["b", "a", "none"], "k") == [b, two, ten]
    assert store.xcom_get(run, ["b", "a"], "k", map_index=10) == [ten]
    assert store.xcom_get(run, ["b"], "k", map_index=-1) == [b]
    assert store.xcom_get(RunKey("none", "r"), ["a"], "k") == []
    assert store.xcoms(run, keys[0]) == [(keys[0], "k", '"a[10]"'), (keys[0], "other", "0")]
    assert [(key, label) for key, label, _ in store.xcoms(run)] == [
        (keys[1], "k"),
        (keys[0], "k"),
        (keys[0], "other"),
        (keys[2], "k"),
    ]


def _instance(key: TaskKey):  # type: ignore[no-untyped-def]
    from nbflow.core.snapshot import Instance

    return Instance(task_id=key.task_id, map_index=key.map_index)


def test_an_attempt_overwrites_its_xcom(store: Store) -> None:
    register(store)
    run = started_run(store)
    attempt = begin(store, run, "extract")

    store.xcom_push(attempt, "k", "1", now=T0)
    store.xcom_push(attempt, "k", '"zwei \\u00e4"', now=T0)

    assert store.xcoms(run) == [(EXTRACT, "k", '"zwei \\u00e4"')]


def test_prior_dates_give_the_latest_value_of_each_task(store: Store) -> None:
    register(store)
    first, second, run = (started_run(store, a_run(f"r{day}", day)) for day in range(3))
    for key, task, value in ((first, "extract", "1"), (first, "load", "2"), (second, "extract", "3")):
        store.xcom_push(begin(store, key, task), "k", value, now=T0)
    later = started_run(store, a_run("r9", 9))
    store.xcom_push(begin(store, later, "extract"), "k", "9", now=T0)

    assert store.xcom_get(run, ["load", "extract"], "k", prior_dates=True) == [(LOAD, "2"), (EXTRACT, "3")]
    assert store.xcom_get(run, ["load", "extract"], "k", prior_dates=True, map_index=0) == []
    assert store.xcom_get(run, ["load"], "k") == []
    store.xcom_push(begin(store, run, "load"), "k", "4", now=T0)
    assert store.xcom_get(run, ["load"], "k", prior_dates=True) == [(LOAD, "4")]


@pytest.mark.parametrize("how", ["ended", "requeued", "unknown"])
def test_an_attempt_that_is_not_current_writes_nothing(store: Store, how: str) -> None:
    register(store)
    run = started_run(store)
    begin(store, run, "extract")
    if how != "unknown":
        store.apply([plan(ended(run, "extract", "a1", C.RAISED, S.UP_FOR_RETRY))], actor="worker")
    if how == "requeued":
        retry = move(run, "extract", S.UP_FOR_RETRY, C.RETRY_DUE, S.SCHEDULED, try_number=2, start_date=None)
        store.apply([plan(retry, queued(run, "extract"))], actor="scheduler")
    before = everything(store, run)
    attempt = "none" if how == "unknown" else "a1"

    with pytest.raises(StaleAttempt):
        store.xcom_push(attempt, "k", "1", now=T0)
    with pytest.raises(StaleAttempt):
        store.put_rendered(attempt, {"a": 1})

    assert everything(store, run) == before
    assert store.rendered(run, EXTRACT) is None


def test_rendered_templates_are_those_of_the_last_write(store: Store) -> None:
    register(store)
    run = started_run(store)
    attempt = begin(store, run, "extract")

    store.put_rendered(attempt, {"sql": "1"})
    store.put_rendered(attempt, {"sql": "2", "args": ("x",)})

    assert store.rendered(run, EXTRACT) == {"sql": "2", "args": ["x"]}
    assert store.rendered(run, LOAD) is None
