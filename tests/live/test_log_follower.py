"""Following the log of a try: from before it begins, while it grows, over a deferral, to its end."""

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

WAIT = 60.0
FIRST = TaskTryQuery(dag_id="sales", run_id="r1", task_id="extract", try_number=1)


@pytest.fixture
def store() -> Store:
    made = open_store("memory://")
    register(made)
    return made


@pytest.fixture
def feed(store: Store, nbflow_settings: Settings) -> Iterator[Feed]:
    made = Feed(store, SystemClock(), partial(fetch, settings=nbflow_settings))
    yield made
    made.close()


class Reader:
    """Somebody who follows a log on a thread of their own."""

    def __init__(self, feed: Feed, query: TaskTryQuery) -> None:
        self._pieces: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._feed, self._query = feed, query
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        for piece in follow_log(self._feed, self._query):
            self._pieces.put(piece)
        self._pieces.put(None)

    def until(self, text: str) -> str:
        """What is read up to some text."""
        read = ""
        while not read.endswith(text):
            piece = self._pieces.get(timeout=WAIT)
            assert piece is not None, f"it ended after {read!r}"
            read += piece
        return read

    def rest(self) -> str:
        """What is read up to the end."""
        read = ""
        while (piece := self._pieces.get(timeout=WAIT)) is not None:
            read += piece
        return read


def _begin(store: Store, run: RunKey, attempt_id: str, log: Path) -> None:
    store.claim(attempt_id, owner="w", hostname="h", lease=LEASE, now=T0, log_path=str(log))
    began = move(run, "extract", S.QUEUED, C.STARTED, S.RUNNING, attempt=attempt_id, start_date=T0)
    store.apply([plan(began)], actor="w")


def _write(log: Path, text: str) -> None:
    with log.open("a") as file:
        file.write(text)


def test_a_log_is_followed_from_before_its_try_begins_to_its_end(feed: Feed, store: Store, tmp_path: Path) -> None:
    # Given a reader of a try that has not begun
    run, log = started_run(store), tmp_path / "log"
    reader = Reader(feed, FIRST)

    # When it begins, writes, and ends
    (attempt,) = dispatch(store, run, "extract")
    _begin(store, run, attempt.attempt_id, log)
    _write(log, "one\n")
    read = [reader.until("one\n")]
    _write(log, "two\nthree\n")
    read.append(reader.until("three\n"))
    _write(log, "last\n")
    store.apply([plan(ended(run, "extract", attempt.attempt_id))], actor="w")

    # Then each line was read once, and the reader's loop ends
    assert [*read, reader.rest()] == ["one\n", "two\nthree\n", "last\n"]


def test_a_try_that_is_deferred_is_followed_on(feed: Feed, store: Store, tmp_path: Path) -> None:
    # Given a try that was deferred
    run, log = started_run(store), tmp_path / "log"
    (attempt,) = dispatch(store, run, "extract")
    _begin(store, run, attempt.attempt_id, log)
    reader = Reader(feed, FIRST)
    _write(log, "waits\n")
    read = [reader.until("waits\n")]
    store.apply([plan(deferred(run, "extract", attempt.attempt_id))], actor="w")

    # When its trigger fires, and another attempt goes on with it
    store.apply([plan(fired(run, "extract", attempt.attempt_id, 1))], actor="t")
    (again,) = store.apply([plan(queued(run, "extract"))], actor="s")
    _begin(store, run, again.attempt_id, log)
    _write(log, "goes on\n")
    read.append(reader.until("goes on\n"))
    store.apply([plan(ended(run, "extract", again.attempt_id))], actor="w")

    # Then its log is one
    assert [*read, reader.rest()] == ["waits\n", "goes on\n", ""]


def test_the_log_of_a_try_that_is_over_is_read_whole(feed: Feed, store: Store, tmp_path: Path) -> None:
    run, log = started_run(store), tmp_path / "log"
    (attempt,) = dispatch(store, run, "extract")
    _begin(store, run, attempt.attempt_id, log)
    _write(log, "all\n" * 500_000)
    store.apply([plan(ended(run, "extract", attempt.attempt_id))], actor="w")

    assert "".join(follow_log(feed, FIRST)) == "all\n" * 500_000


def test_a_task_or_run_that_is_not_there_has_no_log(feed: Feed, store: Store) -> None:
    started_run(store)

    none = TaskTryQuery(dag_id="sales", run_id="none", task_id="extract", try_number=1)
    assert list(follow_log(feed, none)) == []
    assert list(follow_log(feed, TaskTryQuery(dag_id="sales", run_id="r1", task_id="none", try_number=1))) == []


def test_a_feed_that_is_closed_ends_its_readers(feed: Feed, store: Store, tmp_path: Path) -> None:
    run, log = started_run(store), tmp_path / "log"
    (attempt,) = dispatch(store, run, "extract")
    _begin(store, run, attempt.attempt_id, log)
    _write(log, "one\n")
    reader = Reader(feed, FIRST)
    reader.until("one\n")

    feed.close()

    assert reader.rest() == ""


def test_lines_come_whole_and_a_search_keeps_those_with_the_word(feed: Feed, store: Store, tmp_path: Path) -> None:
    # Given somebody who follows the lines with a word of a try that has not begun
    run, log = started_run(store), tmp_path / "log"
    looked: list[None] = []
    lines = follow_lines(feed, FIRST, UTC, search="ROW", on_look=lambda: looked.append(None))
    (attempt,) = dispatch(store, run, "extract")
    _begin(store, run, attempt.attempt_id, log)
    # When lines are written, the last one in part, and the try ends without a line's end
    _write(log, "begins\nrow 1\nro")
    assert next(lines) == LogLine(message="row 1")
    _write(log, "w 2\r\n2024-06-01T12:00:01+00:00 ERROR nbflow.task | row 3 is wrong\nrow 4")
    store.apply([plan(ended(run, "extract", attempt.attempt_id))], actor="w")
    # Then each line came once, and whole
    at = datetime(2024, 6, 1, 12, 0, 1, tzinfo=UTC)
    assert list(lines) == [
        LogLine(message="row 2"),
        LogLine(message="row 3 is wrong", at=at, level="ERROR", source="nbflow.task"),
        LogLine(message="row 4"),
    ]
    assert looked


def test_who_looks_may_end_the_following(feed: Feed, store: Store) -> None:
    # Given a try that has not begun, and somebody who no longer wants its lines
    started_run(store)

    def leave() -> None:
        raise BrokenPipeError

    # Then nothing is waited for
    with pytest.raises(BrokenPipeError):
        next(follow_lines(feed, FIRST, UTC, on_look=leave))


def _followed(store: Store, task: str | None = None, try_number: int | None = None) -> tuple[str, int]:
    run = store.run(RunKey("sales", "r1"))
    assert run is not None
    query = find_followed(store, run, task, try_number)
    return query.task_id, query.try_number


def test_the_task_that_runs_is_followed_else_one_that_has_not_ended_else_the_one_that_logs_shows(store: Store) -> None:
    run = started_run(store)
    # Given nothing that was tried: a task that is named is waited for
    with pytest.raises(NbflowError, match="has started yet"):
        _followed(store)
    assert _followed(store, "extract") == ("extract", 1)
    # When its first try fails, it is its next one that is followed, unless another is named
    (attempt,) = dispatch(store, run, "extract")
    assert _followed(store) == ("extract", 1)
    _begin(store, run, attempt.attempt_id, Path("log"))
    store.apply([plan(ended(run, "extract", attempt.attempt_id, C.RAISED, S.UP_FOR_RETRY))], actor="w")
    assert (_followed(store), _followed(store, try_number=1)) == (("extract", 2), ("extract", 1))
    # And of a run that has ended none is to come
    over = run_move(run, RunState.RUNNING, RunState.FAILED, RunCause.TASK_FAILED, changes={"end_date": T0})
    store.apply([over], actor="s")
    assert _followed(store) == ("extract", 1)


def test_a_task_that_runs_is_followed_rather_than_one_that_has_failed(store: Store) -> None:
    run = started_run(store)
    (extract,) = dispatch(store, run, "extract")
    _begin(store, run, extract.attempt_id, Path("log"))
    store.apply([plan(ended(run, "extract", extract.attempt_id, C.RAISED, S.FAILED))], actor="w")
    assert _followed(store) == ("extract", 1)
    (other,) = dispatch(store, run, "load")
    assert _followed(store) == ("load", 1)


def test_every_state_says_whether_a_try_is_over() -> None:
    # Given an instance at its second try, in each state
    def over(try_number: int) -> set[TaskState]:
        return {
            state
            for state in TaskState
            if task_try.is_over(Instance(task_id="t", state=state, try_number=2), try_number)
        }

    # Then the first try is over, the second where nothing of it can come, and the third only where all has ended
    assert over(1) == set(TaskState)
    assert over(2) == set(TaskState) - TRY_UNFINISHED
    assert over(3) == {S.SUCCESS, S.FAILED, S.SKIPPED, S.UPSTREAM_FAILED, S.REMOVED}
    assert set(TaskState) - TRY_UNFINISHED == over(3) | {S.NONE, S.UP_FOR_RETRY}


def test_a_run_that_has_ended_begins_no_more_tries(store: Store, nbflow_settings: Settings) -> None:
    run = started_run(store)
    before = fetch(store, FIRST, T0, nbflow_settings)
    over = run_move(run, RunState.RUNNING, RunState.FAILED, RunCause.TASK_FAILED, changes={"end_date": T0})
    store.apply([over], actor="s")

    assert before == TaskTryView(state="none", over=False)
    assert fetch(store, FIRST, T0, nbflow_settings) == TaskTryView(state="none", over=True)
