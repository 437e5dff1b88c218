"""Reading runs and history, the previous run for depends_on_past, leases of runs, pruning."""

from __future__ import annotations

from datetime import timedelta

import pytest

from nbflow.core.snapshot import Instance, PreviousRun, RunKey, TaskKey
from nbflow.core.states import RunCause, RunState
from nbflow.store.base import Store
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
    ended,
    move,
    plan,
    register,
    run_move,
    spec,
    start_run,
    started_run,
    with_task,
)

PAST = with_task(spec("extract", "load"), "load", depends_on_past=True)


def _finish(store: Store, run: RunKey, state: RunState = RunState.SUCCESS, *, at: int = 0) -> None:
    cause = RunCause.ALL_TASKS_DONE if state is RunState.SUCCESS else RunCause.TASK_FAILED
    store.apply([run_move(run, RunState.RUNNING, state, cause, changes={"end_date": after(at)})], actor="scheduler")


# ----------------------------------------------------------------------------------------------------- the previous run


def test_the_previous_run_is_not_read_if_no_task_depends_on_it(store: Store) -> None:
    register(store)
    started_run(store)
    run = started_run(store, a_run("r2", 1))

    snapshot = store.snapshot(run)

    assert snapshot is not None
    assert snapshot.previous is None


def test_the_previous_run_is_the_run_before_by_logical_date(store: Store) -> None:
    register(store, PAST)
    first = started_run(store, a_run("r1", 0), "extract")
    before = started_run(
        store, a_run("r2", 1), Instance(task_id="load", map_index=1), Instance(task_id="load", map_index=0)
    )
    started_run(store, a_run("r4", 3))
    run = started_run(store, a_run("r3", 2))
    begin(store, before, TaskKey("load", 0))

    snapshot, of_first = store.snapshot(run), store.snapshot(first)

    assert snapshot is not None
    assert snapshot.previous == PreviousRun(
        run_id="r2", states={"load": (S.RUNNING, S.NONE)}, known_tasks=frozenset({"extract", "load"})
    )
    assert of_first is not None
    assert of_first.previous is None


@pytest.mark.parametrize(("catchup", "expected"), [(False, "m"), (True, "b")])
def test_with_catchup_a_manual_run_is_not_a_previous_run(store: Store, catchup: bool, expected: str) -> None:
    register(store, with_task(spec(catchup=catchup), "load", wait_for_downstream=True))
    started_run(store, a_run("s", 0))
    started_run(store, a_run("b", 1, run_type="backfill"))
    started_run(store, a_run("m", 2, run_type="manual"))
    run = started_run(store, a_run("r", 3))

    snapshot = store.snapshot(run)

    assert snapshot is not None
    assert snapshot.previous is not None
    assert snapshot.previous.run_id == expected


def test_a_task_is_known_from_the_date_of_its_first_instance(store: Store) -> None:
    register(store, PAST)
    started_run(store, a_run("r1", 5), "extract", "load")
    started_run(store, a_run("r0", 1), "load")
    run = started_run(store, a_run("r2", 2))

    snapshot = store.snapshot(run)

    assert snapshot is not None
    assert snapshot.previous is not None
    assert snapshot.previous.known_tasks == {"load"}


def test_a_run_without_logical_date_has_no_previous_run(store: Store) -> None:
    register(store, PAST)
    started_run(store)
    run = started_run(store, a_run("a", 2, run_type="asset_triggered", logical_date=None))

    snapshot = store.snapshot(run)

    assert snapshot is not None
    assert snapshot.previous is None
    assert store.previous_success(run) is None


# --------------------------------------------------------------------------------------------------------------- lists


def test_active_runs_are_the_unfinished_runs_oldest_first(store: Store) -> None:
    register(store)
    register(store, spec(dag_id="other"))
    done = started_run(store, a_run("r1", 0))
    started_run(store, a_run("r3", 2))
    store.apply([add(a_run("r2", 1)), add(a_run("o", 0, dag_id="other"))], actor="scheduler")
    _finish(store, done)

    assert [run.run_id for run in store.active_runs()] == ["o", "r2", "r3"]
    assert [run.run_id for run in store.active_runs("sales")] == ["r2", "r3"]


def test_a_cleared_run_is_active_again(store: Store) -> None:
    register(store)
    run = started_run(store)
    _finish(store, run)
    changes = {"clear_number": 1, "end_date": None, "version": 1}

    store.apply([run_move(run, RunState.SUCCESS, RunState.QUEUED, RunCause.CLEARED, changes=changes)], actor="user:ada")

    assert [(run.state, run.clear_number, run.end_date) for run in store.active_runs()] == [(RunState.QUEUED, 1, None)]


def test_the_latest_run(store: Store) -> None:
    register(store)
    for name, day, kind in (("s1", 0, "scheduled"), ("s2", 1, "scheduled"), ("b", 2, "backfill"), ("m", 3, "manual")):
        store.apply([add(a_run(name, day, run_type=kind))], actor="scheduler")

    latest, newest = store.latest_run("sales"), store.latest_run("sales", automated=False)

    assert latest is not None
    assert newest is not None
    assert (latest.run_id, newest.run_id, store.latest_run("none")) == ("s2", "m", None)


def test_the_newest_run_was_queued_last_whatever_its_date(store: Store) -> None:
    # Given runs of two DAGs: the last one created has the earliest date, and two were created at the same time
    for dag_id in ("sales", "other", "idle"):
        register(store, spec(dag_id=dag_id))
    for name, dag_id, day, at in (
        ("late", "sales", 9, 1),
        ("early", "sales", 0, 5),
        ("first", "other", 1, 3),
        ("second", "other", 0, 3),
    ):
        store.apply([add(a_run(name, day, dag_id=dag_id, queued_at=after(at)))], actor="scheduler")

    def newest(*dag_ids: str) -> dict[str, str]:
        return {dag_id: run.run_id for dag_id, run in store.newest_runs(dag_ids).items()}

    # Then the newest run was queued last; a DAG without a run and a missing DAG have none
    assert newest("sales", "other", "idle", "nothing") == {"sales": "early", "other": "second"}
    assert store.newest_runs(["sales"]) == {"sales": store.run(RunKey("sales", "early"))}
    assert store.newest_runs([]) == {}
    # And a run that is cleared is queued again
    run = RunKey("sales", "late")
    store.apply([start_run(run)], actor="scheduler")
    _finish(store, run)
    again = {"clear_number": 1, "queued_at": after(8), "end_date": None}
    store.apply([run_move(run, RunState.SUCCESS, RunState.QUEUED, RunCause.CLEARED, changes=again)], actor="user:ada")
    assert newest("sales", "other") == {"sales": "late", "other": "second"}


def test_runs_are_listed_by_logical_date_with_filters(store: Store) -> None:
    register(store)
    register(store, spec(dag_id="other"))
    for name, day in (("r2", 1), ("r1", 0), ("r3", 2)):
        store.apply([add(a_run(name, day))], actor="scheduler")
    asset = a_run("asset", 0, run_type="asset_triggered", logical_date=None, run_after=T0 + DAY / 2)
    store.apply([add(asset), add(a_run("o", 9, dag_id="other"))], actor="scheduler")
    store.apply([start_run(RunKey("sales", "r2"))], actor="scheduler")

    def ids(**filters: object) -> list[str]:
        return [run.run_id for run in store.runs(**filters)]  # type: ignore[arg-type]

    assert ids() == ["o", "r3", "r2", "asset", "r1"]
    assert ids(dag_id="sales", newest_first=False) == ["r1", "asset", "r2", "r3"]
    assert ids(dag_id="sales", limit=2) == ["r3", "r2"]
    assert ids(states=[RunState.RUNNING]) == ["r2"]
    assert ids(states=[]) == []
    assert ids(run_type="asset_triggered") == ["asset"]
    assert ids(dag_id="sales", since=T0 + DAY, until=T0 + DAY) == ["r2"]
    assert ids(dag_id="none") == []


def test_history_is_filtered_and_paged(store: Store) -> None:
    register(store)
    register(store, spec(dag_id="other"))
    first, second = started_run(store), started_run(store, a_run(dag_id="other"))
    begin(store, first, "extract")

    assert [event.seq for event in store.events()] == [1, 2, 3, 4, 5, 6, 7]
    assert [event.seq for event in store.events(after=2, limit=2)] == [3, 4]
    assert [event.seq for event in store.events(run=second)] == [3, 4]
    assert [event.seq for event in store.events(dag_id="sales", after=1)] == [2, 5, 6, 7]
    assert [event.seq for event in store.events(run=first, key=TaskKey("extract"))] == [5, 6, 7]
    assert store.events(run=RunKey("none", "r1")) == []


def test_the_latest_success_before(store: Store) -> None:
    register(store)
    good, bad = started_run(store, a_run("r1", 0)), started_run(store, a_run("r2", 1))
    later = started_run(store, a_run("r4", 3))
    run = started_run(store, a_run("r3", 2))
    _finish(store, good)
    _finish(store, bad, RunState.FAILED)
    _finish(store, later)

    assert store.previous_success(run) == store.run(good)
    assert store.previous_success(good) is None
    assert store.previous_success(RunKey("sales", "none")) is None


def test_queries_for_missing_runs_and_attempts(store: Store) -> None:
    missing = RunKey("none", "none")

    assert (store.run(missing), store.snapshot(missing), store.instances(missing)) == (None, None, [])
    assert (store.counts([missing]), store.counts([])) == ({missing: {}}, {})
    assert (store.last_seq(), store.attempt("none"), store.attempts(missing)) == (0, None, [])


# ---------------------------------------------------------------------------------------------------- leases, pruning


def test_a_run_is_leased_to_one_owner_until_the_lease_expires(store: Store) -> None:
    register(store)
    first, second = started_run(store), started_run(store, a_run("r2", 1))
    runs = [second, first]

    assert store.lease_runs("a", [first], lease=LEASE, now=T0) == [first]
    assert store.lease_runs("b", runs, lease=LEASE, now=T0) == [second]
    assert store.lease_runs("a", runs, lease=LEASE, now=T0) == [first]
    assert store.lease_runs("b", runs, lease=LEASE, now=T0 + 2 * LEASE) == [second, first]
    assert store.lease_runs("a", [RunKey("none", "none")], lease=LEASE, now=T0) == []
    assert store.lease_runs("a", [], lease=LEASE, now=T0) == []


def test_pruning_deletes_old_finished_runs_except_the_latest_scheduled_run(store: Store) -> None:
    register(store)
    keys = [started_run(store, a_run(f"r{day}", day)) for day in range(4)]
    attempt = begin(store, keys[0], "extract")
    store.xcom_push(attempt, "return_value", "1", now=T0)
    store.put_rendered(attempt, {"sql": "SELECT 1"})
    store.apply([plan(ended(keys[0], "extract", attempt))], actor="worker")
    for number in (0, 2, 3):
        _finish(store, keys[number], at=number)

    expected = {"dag_run": 1, "task_instance": 2, "task_event": 7, "attempt": 1, "xcom": 1, "rendered": 1}
    preview = store.prune(before=after(2), dry_run=True)
    count_after_preview = len(store.runs())
    deleted = store.prune(before=after(2), dag_ids=["sales", "other"])
    rest = store.prune(before=T0 + timedelta(days=900))

    assert (preview, count_after_preview, deleted) == (expected, 4, expected)
    assert rest == {"dag_run": 1, "task_instance": 2, "task_event": 3}
    assert [run.run_id for run in store.runs(newest_first=False)] == ["r1", "r3"]
    assert {event.run for event in store.events()} == {keys[1], keys[3]}
    assert store.prune(before=T0 + timedelta(days=900), dag_ids=["other"]) == {}


def test_history_numbers_are_not_reused(store: Store) -> None:
    register(store)
    started_run(store, a_run("m", 0, run_type="manual"))
    _finish(store, RunKey("sales", "m"))
    last = store.last_seq()
    store.prune(before=T0 + DAY)

    store.apply([add(a_run("m2", 1))], actor="scheduler")

    assert [event.seq for event in store.events()] == [last + 1]


def test_a_skip_by_the_scheduler_needs_no_attempt(store: Store) -> None:
    register(store)
    run = started_run(store)

    attempts = store.apply([plan(move(run, "load", S.NONE, C.RULE_SKIPS, S.SKIPPED))], actor="scheduler")

    assert (attempts, store.attempts(run)) == ([], [])
