"""Variables, connections, pools, backfills, jobs, named leases, the audit log, and change notifications."""

from __future__ import annotations

from dataclasses import replace
from threading import Thread

import pytest

from nbflow.connections import Connection
from nbflow.core.plan import Plan
from nbflow.core.states import RunCause, RunState
from nbflow.errors import DagRunAlreadyExists, NbflowError
from nbflow.store.base import BackfillRow, Job, Pool, Store
from tests.store.worlds import (
    DAY,
    LEASE,
    T0,
    a_run,
    add,
    after,
    begin,
    dispatch,
    plan,
    register,
    run_move,
    spec,
    started_run,
)

DEFAULT = Pool(name="default_pool", slots=128, description="Default pool")


def test_variables(store: Store) -> None:
    store.set_variable("b", "1", actor="ada", now=T0)
    store.set_variable("a", "x" * 10_000, description="long", actor="ada", now=T0)
    store.set_variable("b", "zwei ä \U0001f600", description="two", actor="bob", now=T0)

    assert store.variable("b") == "zwei ä \U0001f600"
    assert store.variables() == [("a", "x" * 10_000, "long"), ("b", "zwei ä \U0001f600", "two")]
    assert [store.delete_variable(key, actor="ada", now=T0) for key in ("b", "b")] == [True, False]
    assert (store.variable("b"), [key for key, _, _ in store.variables()]) == (None, ["a"])
    assert [(row["action"], row["actor"], row["ok"]) for row in store.audit_log(limit=3)] == [
        ("delete_variable", "ada", False),
        ("delete_variable", "ada", True),
        ("set_variable", "bob", True),
    ]


def test_row_counts(store: Store) -> None:
    # Given two DAGs, a run of two tasks, an XCom, a variable and a pool
    register(store)
    register(store, spec(dag_id="other"))
    run = started_run(store)
    store.xcom_push(begin(store, run, "extract"), "return_value", "1", now=T0)
    store.set_variable("x", "1", actor="ada", now=T0)
    store.set_pool(Pool(name="api", slots=2), actor="ada", now=T0)
    # Then their rows are counted
    counts = {"dag": 2, "dag_run": 1, "task_instance": 2, "xcom": 1, "variable": 1, "pool": 1}
    rest = ("backfill", "connection")
    audited = {"audit": len(store.audit_log())}
    assert store.row_counts() == {**counts, **dict.fromkeys(rest, 0), **audited}


def test_connections(store: Store) -> None:
    db = Connection("db", "postgres", "the db", "host", "ada", "pw:@/", "public", 5432, {"sslmode": "require"})
    bare = Connection("bare", "http")
    store.set_connection(replace(db, password="old"), actor="ada", now=T0)
    store.set_connection(db, actor="ada", now=T0)
    store.set_connection(bare, actor="ada", now=T0)

    assert (store.connection("db"), store.connection("none")) == (db, None)
    assert store.connections() == [bare, db]
    assert [store.delete_connection(name, actor="ada", now=T0) for name in ("db", "db")] == [True, False]
    assert store.connections() == [bare]
    with pytest.raises(NbflowError, match="conn_id"):
        store.set_connection(Connection(host="x"), actor="ada", now=T0)


def test_pools(store: Store) -> None:
    db = Pool(name="db", slots=3, description="few", include_deferred=True)
    store.set_pool(replace(db, slots=1), actor="ada", now=T0)
    store.set_pool(db, actor="ada", now=T0)

    assert (store.pool("db"), store.pool("default_pool"), store.pool("none")) == (db, DEFAULT, None)
    assert store.pools() == [db, DEFAULT]
    store.set_pool(replace(DEFAULT, slots=-1), actor="ada", now=T0)
    assert store.pools() == [db, replace(DEFAULT, slots=-1)]
    assert [store.delete_pool("db", actor="ada", now=T0) for _ in range(2)] == [True, False]
    with pytest.raises(NbflowError, match="default_pool"):
        store.delete_pool("default_pool", actor="ada", now=T0)


def a_backfill(**options: object) -> BackfillRow:
    values: dict[str, object] = {"from_date": T0, "to_date": T0 + DAY, "conf": {"n": 1}, "created_at": T0}
    values |= {"entries": ({"ordinal": 1, "logical_date": T0, "run_id": "b1", "not_created_because": None},)}
    values |= {"reprocess": "none", "run_backwards": False, "max_active_runs": 2}
    return BackfillRow(backfill_id=0, dag_id="sales", **{**values, **options})  # type: ignore[arg-type]


def test_a_backfill_owns_the_runs_that_it_creates_or_runs_again(store: Store) -> None:
    register(store)
    old = started_run(store)
    failure = run_move(old, RunState.RUNNING, RunState.FAILED, RunCause.TASK_FAILED)
    store.apply([failure], actor="scheduler")
    clear = run_move(old, RunState.FAILED, RunState.QUEUED, RunCause.CLEARED)
    backfill_plan = Plan(ops=(*add(a_run("b1", 1, run_type="backfill")).ops, *clear.ops))

    number = store.add_backfill(a_backfill(), backfill_plan, actor="user:ada")

    expected = replace(
        a_backfill(),
        backfill_id=1,
        entries=({"ordinal": 1, "logical_date": T0.isoformat(), "run_id": "b1", "not_created_because": None},),
    )
    assert (number, store.backfill(1), store.backfills()) == (1, expected, [expected])
    assert [(run.run_id, run.backfill_id) for run in store.active_runs()] == [("r1", 1), ("b1", 1)]
    assert (store.backfill(2), store.backfills("other")) == (None, [])


def test_a_backfill_whose_runs_are_refused_is_not_stored(store: Store) -> None:
    register(store)
    started_run(store)

    with pytest.raises(DagRunAlreadyExists):
        store.add_backfill(a_backfill(), add(a_run("b1", run_type="backfill")), actor="user:ada")

    assert store.backfills() == []


def test_a_backfill_is_paused_cancelled_and_completed(store: Store) -> None:
    register(store)
    store.add_backfill(a_backfill(), plan(), actor="user:ada")

    store.update_backfill(1, paused=True)
    store.update_backfill(1, cancelled=True)
    active = store.backfills(active=True)
    store.update_backfill(1, paused=False, completed_at=after(5))
    store.update_backfill(99, paused=True)

    assert [(row.paused, row.cancelled, row.completed_at) for row in active] == [(True, True, None)]
    assert [(row.paused, row.cancelled, row.completed_at) for row in store.backfills("sales")] == [
        (False, True, after(5))
    ]
    assert store.backfills(active=True) == []


def test_jobs_are_listed_by_their_last_heartbeat(store: Store) -> None:
    job = Job(job_id="j1", kind="scheduler", hostname="h", pid=1, started_at=T0, heartbeat_at=T0, detail={"slots": 4})
    other = replace(job, job_id="j2", kind="worker", heartbeat_at=after(5))
    ended = replace(job, job_id="j3", heartbeat_at=after(9), ended_at=after(9))
    for row in (job, other, ended):
        store.put_job(row)

    beat = replace(job, heartbeat_at=after(7))
    store.put_job(beat)

    assert store.jobs() == [ended, beat, other]
    assert store.jobs("scheduler", alive_since=after(6)) == [beat]
    assert store.jobs(alive_since=after(8)) == []
    assert store.jobs(limit=1) == [ended]


def test_a_named_lease_has_one_holder(store: Store) -> None:
    def take(job: str, seconds: float) -> bool:
        return store.take_singleton("scheduler", job, lease=LEASE, now=after(seconds))

    assert [take("a", 0), take("b", 0), take("a", 20), take("b", 40), take("b", 51)] == [True, False, True, False, True]
    store.release_singleton("scheduler", "a")
    assert not take("a", 52)
    store.release_singleton("scheduler", "b")
    assert take("a", 53)
    assert store.take_singleton("other", "b", lease=LEASE, now=T0)


def test_the_audit_log_is_newest_first(store: Store) -> None:
    store.audit("trigger", actor="ada", now=T0, detail={"dag_id": "sales"})
    store.audit("clear", actor="bob", now=after(1), detail={}, ok=False)

    assert store.audit_log() == [
        {"seq": 2, "at": after(1), "actor": "bob", "action": "clear", "ok": False, "detail": {}},
        {"seq": 1, "at": T0, "actor": "ada", "action": "trigger", "ok": True, "detail": {"dag_id": "sales"}},
    ]
    assert len(store.audit_log(limit=1)) == 1


def test_a_change_wakes_a_waiting_thread(store: Store) -> None:
    register(store)
    token = store.change_token()
    quiet = store.wait_for_change(token, timeout=0.01)
    other = Thread(target=lambda: store.apply([add(a_run())], actor="scheduler"))

    other.start()
    woken = store.wait_for_change(token, timeout=30)
    other.join()

    assert (quiet, woken) == (False, True)
    assert store.change_token() != token


def test_a_change_before_the_wait_is_not_missed(store: Store) -> None:
    register(store)
    token = store.change_token()
    store.apply([add(a_run())], actor="scheduler")

    assert store.wait_for_change(token, timeout=30)


def test_a_token_shows_a_commit_of_its_store(store: Store) -> None:
    # Given a token
    register(store)
    token = store.change_token()

    # When this store, and no other, commits once
    store.apply([add(a_run())], actor="scheduler")

    # Then the token differs, and equals the token after one own commit
    assert store.change_token() == token.after_own_commit != token


def test_a_claim_does_not_change_the_token(store: Store) -> None:
    # Given a dispatched task
    register(store)
    (attempt,) = dispatch(store, started_run(store), "extract")
    token = store.change_token()

    # When it is claimed, which the scheduler need not know
    store.claim(attempt.attempt_id, owner="me", hostname="here", lease=LEASE, now=T0)

    assert store.change_token() == token
