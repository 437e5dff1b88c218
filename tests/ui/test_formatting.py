"""Numbers have units, times have zones."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbflow.ui import formatting
from nbflow.ui.text_width import fit, text_width
from nbflow.views.graph import TaskView
from tests.ui.samples import BERLIN, NOW


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "–"), (-1, "0 ms"), (0.0004, "0 ms"), (0.05, "50 ms"), (0.1, "0.1 s"), (9.94, "9.9 s"), (9.96, "10 s"),
        (59.4, "59 s"), (59.6, "1 min"), (125, "2 min 5 s"), (3600, "1 h"),
        (77_160, "21 h 26 min"), (266_400, "3 d 2 h"),
    ],
)  # fmt: skip
def test_durations_name_their_units(seconds: float | None, text: str) -> None:
    assert formatting.duration(seconds) == text


@pytest.mark.parametrize(
    ("delta", "text"),
    [
        (timedelta(hours=21, minutes=26), "in 21 h 26 min"),
        (timedelta(seconds=-3.2), "3 s ago"),
        (timedelta(milliseconds=400), "now"),
    ],
)
def test_a_relative_time_comes_with_the_exact_one(delta: timedelta, text: str) -> None:
    at = NOW + delta
    assert formatting.relative(at, NOW) == formatting.When(text, formatting.exact(at))


def test_a_run_that_is_late_is_due() -> None:
    assert formatting.next_run(NOW + timedelta(minutes=1), NOW) == "next in 1 min"
    assert formatting.next_run(NOW - timedelta(hours=3), NOW) == "next is due"


def test_an_exact_time_names_its_zone_and_utc() -> None:
    assert formatting.exact(NOW) == "Fri 2026-11-20 06:03:03 CET (05:03:03 UTC)"
    assert formatting.exact(NOW.astimezone(UTC)) == "Fri 2026-11-20 05:03:03 UTC"


def test_a_naive_time_is_refused() -> None:
    with pytest.raises(ValueError, match="no time zone"):
        formatting.short_time(datetime(2026, 1, 1))


def test_the_night_of_25_october_has_one_more_hour() -> None:
    """Given two midnights in Berlin with a DST change between, when subtracted, then 25 hours have passed."""
    start, end = datetime(2026, 10, 25, tzinfo=BERLIN), datetime(2026, 10, 26, tzinfo=BERLIN)
    assert formatting.between(start, end) == 25 * 3600


@pytest.mark.parametrize(
    ("task", "text"),
    [
        (TaskView(task_id="t", state="success", duration=0.8), "0.8 s"),
        (TaskView(task_id="t", state="success", duration=0.8, try_number=2), "0.8 s · try 2"),
        (TaskView(task_id="t", state="skipped", duration=0.8), "0.8 s"),
        (TaskView(task_id="t", state="skipped", duration=0.0), ""),
        (TaskView(task_id="t", state="upstream_failed", duration=0.0), ""),
        (TaskView(task_id="t", state="running", since=NOW - timedelta(seconds=12)), "for 12 s"),
        (TaskView(task_id="t", state="up_for_retry", try_number=1, max_tries=4, due=NOW + timedelta(seconds=38)),
         "try 2 of 4 in 38 s"),
        (TaskView(task_id="t", state="up_for_retry", try_number=1, max_tries=4, due=NOW), "try 2 of 4"),
        (TaskView(task_id="t", note="waits for a slot of pool db"), "waits for a slot of pool db"),
        (TaskView(task_id="t"), ""),
    ],
)  # fmt: skip
def test_the_note_of_a_task_depends_on_its_state_and_the_time(task: TaskView, text: str) -> None:
    assert formatting.note(task, NOW) == text


@given(st.text(max_size=60), st.floats(20, 300))
def test_a_truncated_text_fits(text: str, width: float) -> None:
    assert text_width(fit(text, width)) <= max(width, text_width("…"))


def test_a_truncated_name_keeps_both_ends() -> None:
    cut = fit("load_orders_from_germany", 100)
    assert (cut[:6], cut[-2:], "…" in cut) == ("load_o", "ny", True)
