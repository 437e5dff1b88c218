"""Logs of tries."""

from __future__ import annotations

from datetime import UTC
from zoneinfo import ZoneInfo

from nbflow.views.task_log import log_view


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
