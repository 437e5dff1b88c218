"""The contract between schedulers of one metastore: two store objects on the same data, in memory and on Postgres."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from nbflow.core.plan import Plan
from nbflow.core.snapshot import RunKey
from nbflow.core.states import Cause, TaskState
from nbflow.errors import DagRunAlreadyExists, StalePlan
from nbflow.store import open_store
from nbflow.store.base import Store
from nbflow.store.memory import MemoryStore
from tests.store.worlds import LEASE, SECOND, T0, a_run, add, after, move, plan, register, start_run, started_run

Stores = tuple[Store, Store]


@pytest.fixture(params=["memory", pytest.param("postgres", marks=pytest.mark.postgres)])
def stores(request: pytest.FixtureRequest) -> Iterator[Stores]:
    if request.param == "memory":
        first = MemoryStore(shared=True)
        yield first, first.connect()
        return
    url = str(request.getfixturevalue("empty_postgres"))
    both = open_store(url), open_store(url)
    yield both
    for store in both:
        store.close()


@pytest.fixture
def run(stores: Stores) -> RunKey:
    register(stores[0])
    return started_run(stores[0])


def in_thread(call: threading.Thread) -> threading.Thread:
    call.start()
    return call


def test_several_schedulers_may_use_it(stores: Stores) -> None:
    assert [store.shared for store in stores] == [True, True]


def test_a_commit_is_foreign_to_the_other_store_object(stores: Stores, run: RunKey) -> None:
    # Given the tokens of both
    first, second = stores
    before = first.change_token(), second.change_token()

    # When the first commits
    first.apply([start(run)], actor="scheduler")

    # Then it is its own commit there, and a foreign one here
    assert first.change_token() == before[0].after_own_commit
    assert second.change_token().own_commits == before[1].own_commits
    assert second.wait_for_change(before[1], timeout=10)
    assert second.change_token().foreign_commits != before[1].foreign_commits


def start(run: RunKey) -> Plan:
    return plan(move(run, "extract", TaskState.NONE, Cause.DEPENDENCIES_MET, TaskState.SCHEDULED))


def test_a_plan_from_before_the_others_commit_is_stale(stores: Stores, run: RunKey) -> None:
    first, second = stores
    snapshot = second.snapshot(run)
    assert snapshot is not None
    first.apply([start(run)], actor="first")

    with pytest.raises(StalePlan):
        second.apply([start(run)], actor="second", expect={run: snapshot.run.revision})
    assert [event.actor for event in first.events(run=run)][-1] == "first"


def test_a_named_lock_excludes_the_other(stores: Stores) -> None:
    # Given a lock that the first holds
    order: list[str] = []
    waits = threading.Event()

    def take() -> None:
        waits.set()
        with stores[1].lock("dispatch"):
            order.append("second")

    # When the second wants it too
    with stores[0].lock("dispatch"):
        thread = in_thread(threading.Thread(target=take))
        assert waits.wait(10)
        with stores[1].lock("another name"):
            order.append("another name")
        order.append("first ends")
    thread.join(10)

    # Then it gets it after the first, and other names do not wait
    assert order == ["another name", "first ends", "second"]


def test_an_error_inside_releases_the_lock(stores: Stores) -> None:
    with pytest.raises(ZeroDivisionError), stores[0].lock("dispatch"):
        _ = 1 / 0
    with stores[1].lock("dispatch"):
        pass


def test_a_lock_covers_what_is_read_and_committed_inside(stores: Stores, run: RunKey) -> None:
    first, second = stores
    with first.lock("dispatch"):
        assert [active.key for active in first.active_runs()] == [run]
        first.apply([start(run)], actor="first")
    with second.lock("dispatch"):
        assert [event.actor for event in second.events(run=run)][-1] == "first"


def test_a_stale_plan_inside_a_lock_changes_nothing_and_releases_it(stores: Stores, run: RunKey) -> None:
    first, second = stores
    with pytest.raises(StalePlan), first.lock("dispatch"):
        first.apply([start(run)], actor="first", expect={run: 99})
    with second.lock("dispatch"):
        second.apply([start(run)], actor="second")
    assert [event.actor for event in first.events(run=run)][-1] == "second"


def test_a_run_belongs_to_who_leased_it_first(stores: Stores, run: RunKey) -> None:
    first, second = stores
    first.apply([add(a_run("r2", 1)), start_run(RunKey("sales", "r2"))], actor="scheduler")
    other = RunKey("sales", "r2")

    assert first.lease_runs("s1", [run], lease=LEASE, now=T0) == [run]
    assert second.lease_runs("s2", [run, other], lease=LEASE, now=after(1)) == [other]
    assert second.lease_runs("s2", [run], lease=LEASE, now=T0 + LEASE + SECOND) == [run]
    assert first.lease_runs("s1", [run, other], lease=LEASE, now=T0 + LEASE + SECOND) == []


def test_a_lease_is_renewed_when_a_quarter_of_it_has_passed(stores: Stores, run: RunKey) -> None:
    # Given a lease that is asked for again early and late
    first, second = stores
    first.lease_runs("s1", [run], lease=LEASE, now=T0)
    early, late = T0 + 0.2 * LEASE, T0 + 0.3 * LEASE
    assert first.lease_runs("s1", [run], lease=LEASE, now=early) == [run]
    assert first.lease_runs("s1", [run], lease=LEASE, now=late) == [run]

    # Then it ends one lease after the latter
    assert second.lease_runs("s2", [run], lease=LEASE, now=late + LEASE) == []
    assert second.lease_runs("s2", [run], lease=LEASE, now=late + LEASE + SECOND) == [run]


def test_a_new_run_can_be_left_to_others(stores: Stores, run: RunKey) -> None:
    first, second = stores
    assert first.lease_runs("s1", [run], lease=LEASE, now=T0, leave=[run]) == []
    assert second.lease_runs("s2", [run], lease=LEASE, now=T0) == [run]
    assert first.lease_runs("s1", [run], lease=LEASE, now=T0 + LEASE + SECOND, leave=[run]) == [run]


def test_released_runs_can_be_leased_at_once(stores: Stores, run: RunKey) -> None:
    first, second = stores
    first.lease_runs("s1", [run], lease=LEASE, now=T0)
    token = second.change_token()
    first.release_runs("s1")
    assert second.wait_for_change(token, timeout=10)
    assert second.lease_runs("s2", [run], lease=LEASE, now=T0) == [run]


def test_an_attempt_is_claimed_by_one(stores: Stores, run: RunKey) -> None:
    first, second = stores
    first.apply([start(run)], actor="s")
    [attempt] = first.apply(
        [plan(move(run, "extract", TaskState.SCHEDULED, Cause.DISPATCHED, TaskState.QUEUED))], actor="s"
    )
    values = {"hostname": "h", "lease": LEASE, "now": T0}

    assert second.claim_all([attempt.attempt_id], owner="s2", **values) == {attempt.attempt_id}
    assert first.claim_all([attempt.attempt_id], owner="s1", **values) == frozenset()
    assert first.heartbeat([attempt.attempt_id], owner="s1", lease=LEASE, now=T0) == [attempt.attempt_id]
    assert second.heartbeat([attempt.attempt_id], owner="s2", lease=LEASE, now=T0) == []


def test_only_one_of_two_schedulers_creates_the_run_of_a_date(stores: Stores) -> None:
    first, second = stores
    register(first)
    first.apply([add(a_run("r1", run_type="scheduled"))], actor="s1")
    with pytest.raises(DagRunAlreadyExists):
        second.apply([add(a_run("r2", run_type="scheduled"))], actor="s2")
    assert [run.run_id for run in second.runs("sales")] == ["r1"]


def test_a_transaction_holds_the_rows_of_its_runs() -> None:
    """In memory only: what hangs between the lock and the commit is a fault of the simulator."""
    # Given a transaction that hangs with the locks of its run
    first = MemoryStore(shared=True)
    register(first)
    run = started_run(first)
    first.apply([add(a_run("r2", 1)), start_run(RunKey("sales", "r2"))], actor="s")
    second = first.connect()
    hangs, goes_on = threading.Event(), threading.Event()
    order: list[str] = []

    def hang() -> None:
        if not hangs.is_set():
            hangs.set()
            assert goes_on.wait(10)
            order.append("first")

    first.locks.in_transaction = hang
    thread = in_thread(threading.Thread(target=first.apply, args=([start(run)],), kwargs={"actor": "s1"}))
    assert hangs.wait(10)

    # When another transaction changes that run
    def change() -> None:
        with pytest.raises(StalePlan):
            second.apply([start(run)], actor="s2")
        order.append("second")

    waiting = in_thread(threading.Thread(target=change))
    leased = second.lease_runs("s3", [run, RunKey("sales", "r2")], lease=LEASE, now=T0)
    goes_on.set()
    thread.join(10)
    waiting.join(10)

    # Then it has waited; who leases runs takes the others
    assert order == ["first", "second"]
    assert leased == [RunKey("sales", "r2")]
