"""Logs of tries."""

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
from nbflow.views.task_log import MOST_LINES, TaskLogQuery, fetch, log_view
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


def test_a_log_knows_its_tracebacks() -> None:
    # Given a log with lines of ours, prints, and a traceback
    text = (
        "2024-06-01T12:00:00.123+00:00 INFO nbflow.task | begins\n"
        "a print\n"
        "2024-06-01T12:00:01.000+00:00 ERROR nbflow.task | Task failed: ValueError: no\n"
        "Traceback (most recent call last):\n"
        '  File "x.py", line 1, in f\n'
        "ValueError: no\n"
        "another print\n"
    )
    # Then each line has its level, and the times are in the zone asked for
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
    # And a search keeps the lines with the word
    assert [line.message for line in log_view("t", text, UTC, search="PRINT").lines] == [
        "a print",
        "another print",
    ]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A store with a task that was tried twice; the log of each try has three lines."""
    made = open_store("memory://", new_id=attempt_ids())
    register(made)
    run = started_run(made, a_run())
    for number in (1, 2):
        path = tmp_path / f"{number}.log"
        path.write_text(f"first\ntry {number}\nlast\n")
        made.apply([plan(scheduled(run, "extract", try_number=number), queued(run, "extract"))], actor="scheduler")
        made.claim(f"a{number}", owner="w", hostname="h", lease=LEASE, now=T0, log_path=str(path))
        made.apply([plan(started(run, "extract", f"a{number}"))], actor="worker")
        made.apply([plan(ended(run, "extract", f"a{number}"))], actor="worker")
        cleared = move(run, "extract", S.SUCCESS, C.CLEARED, S.NONE)
        made.apply([plan(cleared)], actor="user")
    return made


def messages(store: Store, tmp_path: Path, **options: Any) -> tuple[str, list[str], int]:
    query = TaskLogQuery(dag_id="sales", run_id="r1", task_id="extract", **options)
    view = fetch(store, query, T0, Settings.load({}, tmp_path))
    return view.title, [line.message for line in view.lines], view.searched


def test_the_log_is_that_of_the_last_try_unless_another_is_named(store: Store, tmp_path: Path) -> None:
    assert messages(store, tmp_path) == ("extract of r1, try 2", ["first", "try 2", "last"], 0)
    assert messages(store, tmp_path, try_number=1) == ("extract of r1, try 1", ["first", "try 1", "last"], 0)
    # And one that nobody has written is empty
    assert messages(store, tmp_path, try_number=3) == ("extract of r1, try 3", [], 0)


def test_a_search_reads_the_whole_log_and_tells_how_much_that_was(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a log of which only the last lines are shown
    monkeypatch.setattr(task_log, "LOG_BYTES", 7)
    assert messages(store, tmp_path)[1] == ["last"]

    assert messages(store, tmp_path, search="FIRST") == ("extract of r1, try 2", ["first"], 3)
    assert messages(store, tmp_path, search="nowhere") == ("extract of r1, try 2", [], 3)


def test_only_the_last_lines_are_kept_and_the_others_counted() -> None:
    view = log_view("t", "line\n" * (MOST_LINES + 5), UTC)

    assert (len(view.lines), view.dropped) == (MOST_LINES, 5)
