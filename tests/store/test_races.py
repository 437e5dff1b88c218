"""Several threads and processes on one database, and processes that die."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier, Event
from typing import Any

import pytest

from nbflow.core.snapshot import RunKey
from nbflow.core.states import TaskState
from nbflow.errors import DagRunAlreadyExists, StalePlan
from nbflow.store import open_store
from nbflow.store.base import Store
from tests.store.worlds import LEASE, T0, a_run, add, dispatch, plan, register, scheduled, spec, started_run

TASKS = tuple(f"t{number:02}" for number in range(40))
THREADS = 6


@pytest.fixture
def store(database_url: str) -> Iterator[Store]:
    opened = open_store(database_url)
    yield opened
    opened.close()


@pytest.fixture
def run(store: Store) -> RunKey:
    register(store, spec(*TASKS))
    return started_run(store, a_run(), *TASKS)


def _process(*arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.store.processes", *arguments]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def _run_at_once(*commands: tuple[str, ...]) -> list[list[str]]:
    """Start processes at the same time; returns the lines that each printed."""
    processes = [_process(*command) for command in commands]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    printed = [process.communicate(timeout=60)[0].split() for process in processes]
    assert [process.returncode for process in processes] == [0] * len(processes)
    return printed


def _call_at_once(action: Callable[[], Any]) -> Counter[str]:
    """Call ``action`` in several threads at the same time; returns the number of each result or error class."""
    barrier = Barrier(THREADS)

    def call() -> str:
        barrier.wait()
        try:
            return type(action()).__name__
        except (StalePlan, DagRunAlreadyExists) as error:
            return type(error).__name__

    with ThreadPoolExecutor(THREADS) as pool:
        return Counter(future.result() for future in [pool.submit(call) for _ in range(THREADS)])


def test_one_of_many_concurrent_applies_of_a_revision_succeeds(store: Store, run: RunKey) -> None:
    for round_number, task in enumerate(TASKS[:8], 1):
        schedule = plan(scheduled(run, task))

        results = _call_at_once(
            lambda schedule=schedule, at=round_number: store.apply([schedule], actor="x", expect={run: at})
        )  # type: ignore[misc]

        assert results == {"list": 1, "StalePlan": THREADS - 1}
    assert [event.key.task_id for event in store.events() if event.key] == list(TASKS[:8])


def test_one_of_many_concurrent_runs_of_a_date_is_created(store: Store, run: RunKey) -> None:
    names = iter(f"r{number}" for number in range(10, 99))

    results = _call_at_once(lambda: store.apply([add(a_run(next(names), 1), *TASKS)], actor="x"))

    assert results == {"list": 1, "DagRunAlreadyExists": THREADS - 1}
    assert len(store.runs()) == 2


def test_plans_over_the_same_runs_in_any_order_do_not_block_each_other(store: Store, run: RunKey) -> None:
    runs = [run, *(started_run(store, a_run(f"q{day}", day), *TASKS) for day in range(1, 4))]
    orders = iter([runs, runs[::-1], runs[2:] + runs[:2]] * 2)

    results = _call_at_once(
        lambda: store.apply([plan(*(scheduled(run_key, "t00") for run_key in next(orders)))], actor="x")
    )

    assert results == {"list": 1, "StalePlan": THREADS - 1}


def test_processes_schedule_each_task_once(database_url: str, store: Store, run: RunKey) -> None:
    printed = _run_at_once(("schedule_all", database_url), ("schedule_all", database_url))

    assert sorted(line for lines in printed for line in lines) == list(TASKS)
    assert sorted(event.key.task_id for event in store.events() if event.key) == list(TASKS)


def test_processes_claim_each_attempt_once(database_url: str, store: Store, run: RunKey) -> None:
    attempts = [attempt.attempt_id for attempt in dispatch(store, run, *TASKS)]

    printed = _run_at_once(("claim_all", database_url, "one"), ("claim_all", database_url, "two"))

    assert sorted(line for lines in printed for line in lines) == sorted(attempts)
    owners = {attempt.attempt_id: attempt.owner for attempt in store.live_attempts()}
    assert owners == {line: owner for owner, lines in zip(("one", "two"), printed, strict=True) for line in lines}


def test_a_reader_concurrent_with_two_writers_misses_nothing(store: Store, run: RunKey) -> None:
    other = started_run(store, a_run("r2", 1), *TASKS)
    done, read_seqs, start = Event(), [], store.history_end()

    def write(key: RunKey) -> None:
        for task in TASKS:
            store.apply([plan(scheduled(key, task))], actor="x")

    def read() -> None:
        cursor, finished = start, False
        while not finished:
            finished = done.is_set()
            while (page := store.history(cursor, limit=7)).events:
                read_seqs.extend(event.seq for event in page.events)
                cursor = page.cursor

    with ThreadPoolExecutor(3) as pool:
        reader = pool.submit(read)
        for writer in [pool.submit(write, key) for key in (run, other)]:
            writer.result()
        done.set()
        reader.result()

    assert read_seqs == [event.seq for event in store.events(after=4)]
    assert len(read_seqs) == 2 * len(TASKS)


def test_callbacks_are_claimed_once(store: Store, run: RunKey) -> None:
    from nbflow.core.plan import Callback

    callbacks = [Callback(run=run, key=None, kind="success", at=T0) for _ in range(30)]
    store.apply([plan(*callbacks)], actor="x")
    barrier = Barrier(THREADS)

    def claim(owner: int) -> list[int]:
        barrier.wait()
        ids: list[int] = []
        while claimed := store.claim_callbacks(owner=str(owner), lease=LEASE, now=T0, limit=4):
            ids += [callback.callback_id for callback in claimed]
        return ids

    with ThreadPoolExecutor(THREADS) as pool:
        claimed = sorted(number for ids in pool.map(claim, range(THREADS)) for number in ids)

    assert claimed == list(range(1, 31))


@pytest.mark.chaos
def test_an_apply_of_a_killed_process_is_atomic(database_url: str, store: Store, run: RunKey) -> None:
    for applied in (1, 3, 7, 12):
        process = _process("churn", database_url)
        assert process.stdout is not None
        for _ in range(applied):  # when a line arrives, the next apply is already running
            process.stdout.readline()
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()

        snapshot = store.snapshot(run)
        assert snapshot is not None
        lines = [event for event in store.events(limit=10**6) if event.key is not None]
        assert len(lines) == (snapshot.run.revision - 1) * len(TASKS)
        last = {event.key: event.target for event in lines}
        assert {key: ti.state.value for key, ti in snapshot.instances.items()} == last
        assert len(set(last.values())) == 1

    store.apply([plan(*(scheduled(run, task) for task in _still_none(store, run)))], actor="x")


def _still_none(store: Store, run: RunKey) -> list[str]:
    return [ti.task_id for ti in store.instances(run) if ti.state is TaskState.NONE]


@pytest.mark.chaos
def test_a_sqlite_file_is_consistent_after_a_kill(sqlite_url: str, sqlite_path: Any) -> None:
    store = open_store(sqlite_url)
    register(store, spec(*TASKS))
    started_run(store, a_run(), *TASKS)
    store.close()
    process = _process("churn", sqlite_url)
    assert process.stdout is not None
    for _ in range(20):
        process.stdout.readline()
    process.kill()
    process.communicate()

    with sqlite3.connect(sqlite_path) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
    connection.close()


@pytest.mark.postgres
def test_a_row_that_changes_during_an_apply_makes_it_stale(empty_postgres: str) -> None:
    """nbflow never writes like this; the guard in the UPDATE protects against a program that does."""
    intruder = open_store(empty_postgres)

    def change_row() -> str:
        with intruder._engine.begin() as connection:  # type: ignore[attr-defined]
            connection.exec_driver_sql("UPDATE task_instance SET state = 'skipped' WHERE task_id = 't00'")
        return "a1"

    store = open_store(empty_postgres, new_id=change_row)
    register(store, spec(*TASKS))
    run = started_run(store, a_run(), *TASKS)
    events = store.events()

    with pytest.raises(StalePlan, match="changed while the plan was applied"):
        dispatch(store, run, "t00")

    assert store.events() == events
    assert (store.attempts(run), store.runs()[0].revision) == ([], 1)
    for opened in (store, intruder):
        opened.close()
