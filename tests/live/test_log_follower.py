"""Following the log of a try: from before its start, while it grows, over a deferral, to its end."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import pytest

from nbflow.clock import SystemClock
from nbflow.config import Settings
from nbflow.core.snapshot import Instance, RunKey
from nbflow.core.states import RunCause, RunState, TaskState
from nbflow.errors import NbflowError
from nbflow.live.feed import Feed
from nbflow.live.log_follower import follow_lines, follow_log
from nbflow.store import open_store
from nbflow.store.base import Store
from nbflow.views import fetch, task_try
from nbflow.views.task_log import LogLine
from nbflow.views.task_try import TRY_UNFINISHED, TaskTryQuery, TaskTryView, find_followed
from tests.store.worlds import (
    LEASE,
    T0,
    C,
    S,
    deferred,
    dispatch,
    ended,
    fired,
    move,
    plan,
    queued,
    register,
    run_move,
    started_run,
)

TIMEOUT = 60.0
FIRST = TaskTryQuery(dag_id="sales", run_id="r1", task_id="extract", try_number=1)


@pytest.fixture
def store() -> Store:
    opened = open_store("memory://")
    register(opened)
    return opened


@pytest.fixture
def feed(store: Store, nbflow_settings: Settings) -> Iterator[Feed]:
    created = Feed(store, SystemClock(), partial(fetch, settings=nbflow_settings))
    yield created
    created.close()


class Reader:
    """Follows a log on its own thread."""

    def __init__(self, feed: Feed, query: TaskTryQuery) -> None:
        self._chunks: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._feed, self._query = feed, query
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        for chunk in follow_log(self._feed, self._query):
            self._chunks.put(chunk)
        self._chunks.put(None)

    def until(self, text: str) -> str:
        """The text that is read up to and including ``text``."""
        read = ""
        while not read.endswith(text):
            chunk = self._chunks.get(timeout=TIMEOUT)
            assert chunk is not None, f"the log ended after {read!r}"
            read += chunk
        return read

    def rest(self) -> str:
        """The text that is read up to the end."""
        read = ""
        while (chunk := self._chunks.get(timeout=TIMEOUT)) is not None:
            read += chunk
        return read


def _start(store: Store, run: RunKey, attempt_id: str, log: Path) -> None:
    store.claim(attempt_id, owner="w", hostname="h", lease=LEASE, now=T0, log_path=str(log))
    start = move(run, "extract", S.QUEUED, C.STARTED, S.RUNNING, attempt=attempt_id, start_date=T0)
    store.apply([plan(start)], actor="w")


def _write(log: Path, text: str) -> None:
    with log.open("a") as file:
        file.write(text)


def test_a_log_is_followed_from_before_the_start_of_its_try_to_the_end(
    feed: Feed, store: Store, tmp_path: Path
) -> None:
    # Given a reader of a try that has not started
    run, log = started_run(store), tmp_path / "log"
    reader = Reader(feed, FIRST)

    # When it starts, writes, and ends
    (attempt,) = dispatch(store, run, "extract")
    _start(store, run, attempt.attempt_id, log)
    _write(log, "one\n")
    read = [reader.until("one\n")]
    _write(log, "two\nthree\n")
    read.append(reader.until("three\n"))
    _write(log, "last\n")
    store.apply([plan(ended(run, "extract", attempt.attempt_id))], actor="w")

    # Then each line was read once, and the reader has ended
    assert [*read, reader.rest()] == ["one\n", "two\nthree\n", "last\n"]


def test_a_deferred_try_is_followed_to_its_end(feed: Feed, store: Store, tmp_path: Path) -> None:
    # Given a try that was deferred
    run, log = started_run(store), tmp_path / "log"
    (attempt,) = dispatch(store, run, "extract")
    _start(store, run, attempt.attempt_id, log)
    reader = Reader(feed, FIRST)
    _write(log, "waits\n")
    read = [reader.until("waits\n")]
    store.apply([plan(deferred(run, "extract", attempt.attempt_id))], actor="w")

    # When its trigger fires, and another attempt continues it
    store.apply([plan(fired(run, "extract", attempt.attempt_id, 1))], actor="t")
    (again,) = store.apply([plan(queued(run, "extract"))], actor="s")
    _start(store, run, again.attempt_id, log)
    _write(log, "continues\n")
    read.append(reader.until("continues\n"))
    store.apply([plan(ended(run, "extract", again.attempt_id))], actor="w")

    # Then the reader has the log of both
    assert [*read, reader.rest()] == ["waits\n", "continues\n", ""]


def test_the_log_of_a_finished_try_is_read_completely(feed: Feed, store: Store, tmp_path: Path) -> None:
    run, log = started_run(store), tmp_path / "log"
    (attempt,) = dispatch(store, run, "extract")
    _start(store, run, attempt.attempt_id, log)
    _write(log, "all\n" * 500_000)
    store.apply([plan(ended(run, "extract", attempt.attempt_id))], actor="w")

    assert "".join(follow_log(feed, FIRST)) == "all\n" * 500_000


def test_an_unknown_task_or_run_has_no_log(feed: Feed, store: Store) -> None:
    started_run(store)

    none = TaskTryQuery(dag_id="sales", run_id="none", task_id="extract", try_number=1)
    assert list(follow_log(feed, none)) == []
    assert list(follow_log(feed, TaskTryQuery(dag_id="sales", run_id="r1", task_id="none", try_number=1))) == []


def test_a_closed_feed_ends_its_readers(feed: Feed, store: Store, tmp_path: Path) -> None:
    run, log = started_run(store), tmp_path / "log"
    (attempt,) = dispatch(store, run, "extract")
    _start(store, run, attempt.attempt_id, log)
    _write(log, "one\n")
    reader = Reader(feed, FIRST)
    reader.until("one\n")

    feed.close()

    assert reader.rest() == ""


def test_lines_are_complete_and_a_search_keeps_those_with_the_text(feed: Feed, store: Store, tmp_path: Path) -> None:
    # Given a search in the log of a try that has not started
    run, log = started_run(store), tmp_path / "log"
    polls: list[None] = []
    lines = follow_lines(feed, FIRST, UTC, search="ROW", on_poll=lambda: polls.append(None))
    (attempt,) = dispatch(store, run, "extract")
    _start(store, run, attempt.attempt_id, log)
    # When lines are written, the last one partially, and the try ends without a newline
    _write(log, "starts\nrow 1\nro")
    assert next(lines) == LogLine(message="row 1")
    _write(log, "w 2\r\n2024-06-01T12:00:01+00:00 ERROR nbflow.task | row 3 is wrong\nrow 4")
    store.apply([plan(ended(run, "extract", attempt.attempt_id))], actor="w")
    # Then each matching line was returned once, and complete
    at = datetime(2024, 6, 1, 12, 0, 1, tzinfo=UTC)
    assert list(lines) == [
        LogLine(message="row 2"),
        LogLine(message="row 3 is wrong", at=at, level="ERROR", source="nbflow.task"),
        LogLine(message="row 4"),
    ]
    assert polls


def test_an_error_in_on_poll_ends_the_following(feed: Feed, store: Store) -> None:
    # Given a try that has not started, and a reader whose pipe is closed
    started_run(store)

    def fail() -> None:
        raise BrokenPipeError

    # Then following ends at once
    with pytest.raises(BrokenPipeError):
        next(follow_lines(feed, FIRST, UTC, on_poll=fail))


def _followed(store: Store, task: str | None = None, try_number: int | None = None) -> tuple[str, int]:
    run = store.run(RunKey("sales", "r1"))
    assert run is not None
    query = find_followed(store, run, task, try_number)
    return query.task_id, query.try_number


def test_a_running_task_is_followed_else_an_unfinished_one_else_the_one_that_logs_shows(store: Store) -> None:
    run = started_run(store)
    # Given a run without a try: only a named task can be followed
    with pytest.raises(NbflowError, match="has started yet"):
        _followed(store)
    assert _followed(store, "extract") == ("extract", 1)
    # When its first try fails, its next one is followed, unless another is named
    (attempt,) = dispatch(store, run, "extract")
    assert _followed(store) == ("extract", 1)
    _start(store, run, attempt.attempt_id, Path("log"))
    store.apply([plan(ended(run, "extract", attempt.attempt_id, C.RAISED, S.UP_FOR_RETRY))], actor="w")
    assert (_followed(store), _followed(store, try_number=1)) == (("extract", 2), ("extract", 1))
    # And in a finished run, no further try is expected
    end = run_move(run, RunState.RUNNING, RunState.FAILED, RunCause.TASK_FAILED, changes={"end_date": T0})
    store.apply([end], actor="s")
    assert _followed(store) == ("extract", 1)


def test_a_running_task_is_followed_rather_than_a_failed_one(store: Store) -> None:
    run = started_run(store)
    (extract,) = dispatch(store, run, "extract")
    _start(store, run, extract.attempt_id, Path("log"))
    store.apply([plan(ended(run, "extract", extract.attempt_id, C.RAISED, S.FAILED))], actor="w")
    assert _followed(store) == ("extract", 1)
    (other,) = dispatch(store, run, "load")
    assert _followed(store) == ("load", 1)


def test_is_finished_is_defined_for_each_state() -> None:
    # Given an instance in its second try, in each state
    def finished(try_number: int) -> set[TaskState]:
        return {
            state
            for state in TaskState
            if task_try.is_finished(Instance(task_id="t", state=state, try_number=2), try_number)
        }

    # Then the first try has ended, the second unless it can continue, and the third only if the instance has ended
    assert finished(1) == set(TaskState)
    assert finished(2) == set(TaskState) - TRY_UNFINISHED
    assert finished(3) == {S.SUCCESS, S.FAILED, S.SKIPPED, S.UPSTREAM_FAILED, S.REMOVED}
    assert set(TaskState) - TRY_UNFINISHED == finished(3) | {S.NONE, S.UP_FOR_RETRY}


def test_a_finished_run_starts_no_further_try(store: Store, nbflow_settings: Settings) -> None:
    run = started_run(store)
    before = fetch(store, FIRST, T0, nbflow_settings)
    end = run_move(run, RunState.RUNNING, RunState.FAILED, RunCause.TASK_FAILED, changes={"end_date": T0})
    store.apply([end], actor="s")

    assert before == TaskTryView(state="none", finished=False)
    assert fetch(store, FIRST, T0, nbflow_settings) == TaskTryView(state="none", finished=True)
