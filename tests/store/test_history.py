"""Following the history: a reader gets every event once, or StaleCursor."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from threading import Event
from typing import Any

import psycopg
import pytest
from sqlalchemy import event, make_url, text

from nbflow.connections import Connection
from nbflow.core.plan import Plan
from nbflow.core.snapshot import RunKey
from nbflow.core.states import RunCause, RunState
from nbflow.errors import StaleCursor
from nbflow.store import open_store
from nbflow.store.base import BackfillRow, Cursor, DagImportError, History, Job, Pool, Store
from tests.store.worlds import DAY, LEASE, T0, a_run, after, begin, dispatch, plan, register, run_move, scheduled, spec
from tests.store.worlds import started_run as started

TASKS = ("extract", "load")


def _seqs(history: History) -> list[int]:
    return [event.seq for event in history.events]


def _ended(store: Store, run_id: str, day: int, *, run_type: str = "manual") -> RunKey:
    """A run that has ended, so that it can be pruned; it has three rows of history."""
    run = started(store, a_run(run_id, day, run_type=run_type))
    changes = {"end_date": after(day)}
    end = run_move(run, RunState.RUNNING, RunState.SUCCESS, RunCause.ALL_TASKS_DONE, changes=changes)
    store.apply([end], actor="scheduler")
    return run


# --------------------------------------------------------------------------------------------------------- one process


def test_a_reader_that_continues_from_a_cursor_sees_each_event_once_and_in_order(store: Store) -> None:
    # Given a history
    register(store)
    run = started(store)
    first = store.history()

    # When more happens, and is read in pages
    begin(store, run, "extract")
    pages = [store.history(first.cursor, limit=2)]
    pages.append(store.history(pages[-1].cursor, limit=2))
    pages.append(store.history(pages[-1].cursor, limit=2))

    # Then the pages hold what came after, once each
    assert (_seqs(first), [_seqs(page) for page in pages]) == ([1, 2], [[3, 4], [5], []])
    assert pages[0].events + pages[1].events == store.events(after=2)
    assert pages[2].cursor == pages[1].cursor


def test_the_next_event_comes_after_the_end_of_the_history(store: Store) -> None:
    register(store)
    run = started(store)
    end = store.history_end()

    store.apply([plan(scheduled(run, "extract"))], actor="x")

    assert _seqs(store.history(end)) == [3]
    assert store.history(store.history_end()) == History(events=[], other_changes=False, cursor=store.history_end())


def test_an_empty_history_has_an_end_too(store: Store) -> None:
    end = store.history_end()

    assert store.history(end) == History(events=[], other_changes=False, cursor=end)
    assert store.history() == History(events=[], other_changes=True, cursor=end)


def test_a_cursor_is_short_text_that_is_valid_after_a_restart(database_url: str) -> None:
    # Given a cursor, stored as text
    store = open_store(database_url)
    register(store)
    run = started(store)
    cursor = str(store.history_end())
    store.close()

    # When the same metastore is opened again and something happens
    reopened = open_store(database_url)
    reopened.apply([plan(scheduled(run, "extract"))], actor="x")

    # Then the cursor is valid
    assert _seqs(reopened.history(Cursor(cursor))) == [3]
    assert (len(cursor) < 40, cursor.isascii(), cursor.isprintable(), " " in cursor) == (True, True, True, False)
    reopened.close()


# --------------------------------------------------------------------------------------------- changes without an event

JOB = Job(job_id="j", kind="scheduler", hostname="h", pid=1, started_at=T0, heartbeat_at=T0)
IMPORT_ERROR = DagImportError(fileloc="/f.py", line=1, error="E")
BACKFILL = BackfillRow(
    backfill_id=0, dag_id="sales", from_date=T0, to_date=T0, reprocess="none", run_backwards=False, max_active_runs=1
)
OTHER_CHANGES: dict[str, Callable[[Store], Any]] = {
    "a new version": lambda store: register(store, spec("another")),
    "pause": lambda store: store.set_paused("sales", True, actor="ada", now=T0),
    "stale": lambda store: store.set_stale(["sales"], True, now=T0),
    "next run": lambda store: store.set_next_run("sales", run_after=T0),
    "import error": lambda store: store.put_import_errors("/f.py", [IMPORT_ERROR], now=T0),
    "pool": lambda store: store.set_pool(Pool(name="p", slots=1), actor="ada", now=T0),
    "pool deleted": lambda store: store.delete_pool("p", actor="ada", now=T0),
    "variable": lambda store: store.set_variable("k", "v", actor="ada", now=T0),
    "variable deleted": lambda store: store.delete_variable("k", actor="ada", now=T0),
    "connection": lambda store: store.set_connection(Connection(conn_id="c", conn_type="fs"), actor="ada", now=T0),
    "connection deleted": lambda store: store.delete_connection("c", actor="ada", now=T0),
    "backfill": lambda store: store.add_backfill(BACKFILL, Plan(), actor="ada"),
    "backfill paused": lambda store: store.update_backfill(1, paused=True),
    "a process begins": lambda store: store.put_job(JOB),
    "a process ends": lambda store: store.put_job(replace(JOB, heartbeat_at=after(5), ended_at=after(5))),
    "a DAG is deleted": lambda store: store.delete_dag("sales", actor="ada", now=T0),
    "old rows are deleted": lambda store: store.prune(before=T0 + 900 * DAY),
}


@pytest.mark.parametrize("change", OTHER_CHANGES.values(), ids=OTHER_CHANGES)
def test_a_change_without_event_is_reported_once(store: Store, change: Callable[[Store], Any]) -> None:
    # Given a reader that has read everything
    register(store)
    _ended(store, "r1", 0)
    store.add_backfill(BACKFILL, Plan(), actor="ada")
    start = store.history_end()

    # When something other than runs and tasks changes
    change(store)

    # Then the change is reported, and only once
    changes = store.history(start)
    assert changes.other_changes
    assert store.history(changes.cursor) == History(events=[], other_changes=False, cursor=changes.cursor)


def test_runs_tasks_and_heartbeats_are_not_other_changes(store: Store) -> None:
    register(store)
    store.put_job(JOB)
    end = store.history_end()

    run = started(store)
    (attempt,) = dispatch(store, run, "extract")
    store.claim(attempt.attempt_id, owner="w", hostname="h", lease=LEASE, now=T0)
    store.heartbeat([attempt.attempt_id], owner="w", lease=LEASE, now=after(1))
    store.put_job(replace(JOB, heartbeat_at=after(1)))

    changes = store.history(end)
    assert (_seqs(changes), changes.other_changes) == ([1, 2, 3, 4], False)


# -------------------------------------------------------------------------------------------------------- stale cursors


def test_a_cursor_from_before_a_deletion_is_stale(store: Store) -> None:
    # Given a reader that has read the first of two runs
    register(store)
    _ended(store, "r1", 0)
    page = store.history()
    _ended(store, "r2", 1)

    # When both are deleted before it continues
    store.prune(before=T0 + timedelta(days=900))

    # Then its cursor is stale, and it can read from the start
    with pytest.raises(StaleCursor, match=r"is older than events that have been deleted\. Read the history"):
        store.history(page.cursor)
    assert store.history().cursor == store.history_end()


def test_a_deletion_of_events_that_were_read_leaves_the_cursor_valid(store: Store) -> None:
    register(store)
    _ended(store, "r1", 0)
    page = store.history()

    store.prune(before=T0 + timedelta(days=900))
    run = started(store, a_run("r2", 1))

    assert [event.run for event in store.history(page.cursor).events] == [run, run]


def test_a_reader_that_starts_after_a_deletion_reads_the_remaining_events_page_by_page(store: Store) -> None:
    # Given a history whose last rows were deleted
    register(store)
    remaining = started(store, a_run("r1", 0))
    _ended(store, "r2", 1)
    store.prune(before=T0 + timedelta(days=900))

    # When it is read from its start in pages
    first = store.history(limit=1)
    second = store.history(first.cursor, limit=1)
    third = store.history(second.cursor, limit=1)

    # Then no cursor is stale
    assert [event.run for page in (first, second, third) for event in page.events] == [remaining, remaining]


def test_deleting_a_dag_whose_events_were_not_read_makes_the_cursor_stale(store: Store) -> None:
    register(store)
    start = store.history_end()
    _ended(store, "r1", 0)

    store.delete_dag("sales", actor="ada", now=T0)

    with pytest.raises(StaleCursor, match="events that have been deleted"):
        store.history(start)


def test_a_cursor_of_another_metastore_is_stale(store: Store) -> None:
    other = open_store("memory://")
    register(other)
    started(other)
    register(store)
    started(store)

    with pytest.raises(StaleCursor, match="belongs to another metastore"):
        store.history(other.history_end())


@pytest.mark.parametrize("text", ["", "7", "x-1-1", "4f1d9a2c-1", "4f1d9a2c-1-1-1", "4f1d9a2c--1-1", f"ab-{10**30}-1"])
def test_text_that_is_not_a_cursor_is_refused(store: Store, text: str) -> None:
    with pytest.raises(StaleCursor, match=r"is not a history cursor\. Read the history from its start"):
        store.history(Cursor(text))


def test_a_cursor_from_after_the_restored_backup_is_stale(store: Store) -> None:
    register(store)
    started(store)
    position, _, other_changes = store.history_end().rpartition("-")
    ahead = [Cursor(f"{position}9-{other_changes}"), Cursor(f"{position}-{other_changes}9")]

    for cursor in ahead:
        with pytest.raises(StaleCursor, match="is ahead of the history"):
            store.history(cursor)


# ---------------------------------------------------------------------------------------------------------- concurrency


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(4) as executor:
        yield executor


HOLD_BACK = """
CREATE FUNCTION hold_back() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN PERFORM pg_advisory_xact_lock(42); RETURN NULL; END $$;
CREATE CONSTRAINT TRIGGER hold_back AFTER INSERT ON task_event DEFERRABLE INITIALLY DEFERRED
FOR EACH ROW WHEN (NEW.actor = 'slow') EXECUTE FUNCTION hold_back()
"""


@pytest.fixture
def gate(empty_postgres: str) -> Iterator[Any]:
    """A connection that holds an advisory lock; a commit of the actor "slow" waits for that lock."""
    address = make_url(empty_postgres).set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(address, autocommit=True) as connection:
        connection.execute(HOLD_BACK)
        connection.execute("SELECT pg_advisory_lock(42)")
        yield connection
        connection.execute("DROP TRIGGER hold_back ON task_event; DROP FUNCTION hold_back")


def _waiting(gate: Any) -> int:
    """Number of transactions that wait for a lock."""
    query = "SELECT count(*) FROM pg_locks JOIN pg_database AS d ON d.oid = database WHERE NOT granted AND datname = %s"
    return int(gate.execute(query, [gate.info.dbname]).fetchone()[0])


@pytest.mark.postgres
def test_a_reader_of_a_later_commit_does_not_miss_a_delayed_commit(
    empty_postgres: str, gate: Any, pool: ThreadPoolExecutor
) -> None:
    # Given a transaction whose rows have their numbers, and whose commit is delayed
    store = open_store(empty_postgres)
    register(store)
    first, second = started(store, a_run("r1", 0)), started(store, a_run("r2", 1))
    cursor = store.history_end()
    slow = pool.submit(store.apply, [plan(scheduled(first, "extract"))], actor="slow")
    _poll_until(lambda: _waiting(gate) == 1, slow)

    # When another transaction starts to commit, and a reader reads the committed events
    quick = pool.submit(store.apply, [plan(scheduled(second, "extract"))], actor="quick")
    _poll_until(lambda: quick.done() or _waiting(gate) == 2, slow)
    before = store.history(cursor)
    gate.execute("SELECT pg_advisory_unlock(42)")
    slow.result(), quick.result()
    later = store.history(before.cursor)

    # Then the reader gets both, in the order of their numbers
    assert [*before.events, *later.events] == store.events(after=4)
    assert sorted(event.actor for event in (*before.events, *later.events)) == ["quick", "slow"]
    store.close()


def _poll_until(condition: Callable[[], bool], running: Future[Any]) -> None:
    """Poll the server; ``running`` must not end meanwhile."""
    while not condition():
        assert not running.done()


@pytest.mark.postgres
def test_a_process_that_hangs_after_its_writes_blocks_no_other_commit(
    empty_postgres: str, pool: ThreadPoolExecutor
) -> None:
    # Given a process that hangs before it receives the response to its COMMIT
    hanging, other = open_store(empty_postgres), open_store(empty_postgres)
    register(other)
    runs = [started(other, a_run(f"r{day}", day)) for day in range(2)]
    reached, resume = Event(), Event()

    def stop(_: Any) -> None:
        reached.set()
        resume.wait(60)

    event.listen(hanging._engine, "commit", stop)  # type: ignore[attr-defined]
    stopped = pool.submit(hanging.apply, [plan(scheduled(runs[0], "extract"))], actor="hanging")
    assert reached.wait(30)

    # When another process commits history too
    commit = pool.submit(other.apply, [plan(scheduled(runs[1], "extract"))], actor="other")
    try:
        commit.result(timeout=30)
    finally:
        resume.set()

    # Then it does not wait, and the history has both
    stopped.result()
    assert [event.actor for event in other.events(after=4)] == ["hanging", "other"]
    hanging.close()
    other.close()


# ---------------------------------------------------------------------------------------------------------- older homes


def test_an_older_metastore_gets_a_head_and_keeps_its_history(database_url: str) -> None:
    # Given tables of the first revision, with history
    store = open_store(database_url)
    register(store)
    run = started(store)
    store.downgrade("0001")

    # When they are migrated
    store.migrate()

    # Then the history can be read from its start and from its end
    end = store.history_end()
    begin(store, run, "extract")
    assert _seqs(store.history()) == [1, 2, 3, 4, 5]
    assert _seqs(store.history(end)) == [3, 4, 5]
    store.close()


def test_recreated_tables_are_another_metastore(database_url: str) -> None:
    store = open_store(database_url)
    register(store)
    started(store)
    cursor = store.history_end()
    store.downgrade("base")
    store.migrate()
    register(store)
    started(store)

    with pytest.raises(StaleCursor, match="belongs to another metastore"):
        store.history(cursor)
    store.close()


def test_the_events_and_the_head_are_read_by_one_statement(database_url: str) -> None:
    store = open_store(database_url)
    register(store)
    started(store)
    statements: list[str] = []
    event.listen(
        store._engine,  # type: ignore[attr-defined]
        "before_cursor_execute",
        lambda _, __, statement, *___: statements.append(statement),
    )

    store.history(store.history_end())

    assert len(statements) == 2
    store.close()


def test_history_head_has_one_row(database_url: str) -> None:
    store = open_store(database_url)
    with store._engine.connect() as connection:  # type: ignore[attr-defined]
        assert connection.execute(text("SELECT count(*) FROM history_head")).scalar() == 1
    store.close()
