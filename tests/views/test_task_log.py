"""The log of a try."""

from __future__ import annotations

from datetime import UTC
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from nbflow.config import Settings
from nbflow.store import open_store
from nbflow.store.base import Store
from nbflow.views import task_log
from nbflow.views.task_log import MAX_LINES, TaskLogQuery, fetch, log_view
from tests.store.conftest import attempt_ids
from tests.store.worlds import (
    LEASE,
    T0,
    C,
    S,
    a_run,
    ended,
    move,
    plan,
    queued,
    register,
    scheduled,
    started,
    started_run,
)


def test_lines_of_a_traceback_are_errors() -> None:
    # Given a log with lines of nbflow, printed lines, and a traceback
    text = (
        "2024-06-01T12:00:00.123+00:00 INFO nbflow.task | begins\n"
        "a print\n"
        "2024-06-01T12:00:01.000+00:00 ERROR nbflow.task | Task failed: ValueError: no\n"
        "Traceback (most recent call last):\n"
        '  File "x.py", line 1, in f\n'
        "ValueError: no\n"
        "another print\n"
    )
    # Then each line has its level, and the times are in the given time zone
    view = log_view("t", text, ZoneInfo("Europe/Berlin"))
    assert [(line.level, line.message) for line in view.lines] == [
        ("INFO", "begins"),
        ("INFO", "a print"),
        ("ERROR", "Task failed: ValueError: no"),
        ("ERROR", "Traceback (most recent call last):"),
        ("ERROR", '  File "x.py", line 1, in f'),
        ("ERROR", "ValueError: no"),
        ("INFO", "another print"),
    ]
    assert [line.at and f"{line.at:%H:%M}" for line in view.lines[:2]] == ["14:00", None]
    # And a search returns the lines that contain the word
    assert [line.message for line in log_view("t", text, UTC, search="PRINT").lines] == [
        "a print",
        "another print",
    ]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A store with a task of two tries; the log of each try has three lines."""
    store = open_store("memory://", new_id=attempt_ids())
    register(store)
    run = started_run(store, a_run())
    for number in (1, 2):
        path = tmp_path / f"{number}.log"
        path.write_text(f"first\ntry {number}\nlast\n")
        store.apply([plan(scheduled(run, "extract", try_number=number), queued(run, "extract"))], actor="scheduler")
        store.claim(f"a{number}", owner="w", hostname="h", lease=LEASE, now=T0, log_path=str(path))
        store.apply([plan(started(run, "extract", f"a{number}"))], actor="worker")
        store.apply([plan(ended(run, "extract", f"a{number}"))], actor="worker")
        cleared = move(run, "extract", S.SUCCESS, C.CLEARED, S.NONE)
        store.apply([plan(cleared)], actor="user")
    return store


def messages(store: Store, tmp_path: Path, **options: Any) -> tuple[str, list[str], int]:
    query = TaskLogQuery(dag_id="sales", run_id="r1", task_id="extract", **options)
    view = fetch(store, query, T0, Settings.load({}, tmp_path))
    return view.title, [line.message for line in view.lines], view.searched


def test_without_a_try_number_the_log_is_that_of_the_last_try(store: Store, tmp_path: Path) -> None:
    assert messages(store, tmp_path) == ("extract of r1, try 2", ["first", "try 2", "last"], 0)
    assert messages(store, tmp_path, try_number=1) == ("extract of r1, try 1", ["first", "try 1", "last"], 0)
    # And a log that does not exist is empty
    assert messages(store, tmp_path, try_number=3) == ("extract of r1, try 3", [], 0)


def test_a_search_reads_the_whole_log_and_counts_its_lines(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a log of which only the last lines are shown
    monkeypatch.setattr(task_log, "LOG_BYTES", 7)
    assert messages(store, tmp_path)[1] == ["last"]

    assert messages(store, tmp_path, search="FIRST") == ("extract of r1, try 2", ["first"], 3)
    assert messages(store, tmp_path, search="nowhere") == ("extract of r1, try 2", [], 3)


def test_only_the_last_lines_are_shown_and_the_others_counted() -> None:
    view = log_view("t", "line\n" * (MAX_LINES + 5), UTC)

    assert (len(view.lines), view.dropped) == (MAX_LINES, 5)
