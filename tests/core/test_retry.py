"""Retry delays: behaviour that tests/facts does not cover."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbflow.core.retry import MAX_BACKOFF_S, backoff_multiplier, retry_at, retry_delay

TASK = {"dag_id": "etl", "task_id": "load", "logical_date": datetime(2024, 1, 1, tzinfo=UTC)}


@pytest.mark.parametrize(
    ("argument", "multiplier"), [(None, 0), (False, 0), (0, 0), (1, 0), (True, 2), (3, 3), (1.5, 1.5), (0.5, 0.5)]
)
def test_retry_exponential_backoff_is_read_as_a_multiplier(argument, multiplier):
    assert backoff_multiplier(argument) == multiplier


@pytest.mark.parametrize("multiplier", [0.0, 1.0])
def test_without_backoff_the_delay_is_exact_and_no_limit_applies(multiplier):
    assert retry_delay(delay_s=200_000.5, multiplier=multiplier, max_delay_s=60, failed_try=9, **TASK) == 200_000.5


def test_hundreds_of_tries_wait_for_a_day():
    assert retry_delay(delay_s=300, multiplier=10, failed_try=900, **TASK) == MAX_BACKOFF_S


def test_a_limit_of_zero_is_no_limit():
    # Given a task that doubles its delay
    arguments = {"delay_s": 300, "multiplier": 2.0, "failed_try": 3, **TASK}

    # When, Then: a limit of zero does not reduce the delay
    assert retry_delay(max_delay_s=0, **arguments) == retry_delay(max_delay_s=None, **arguments) >= 1200


def test_the_same_logical_date_in_another_time_zone_gives_the_same_delay():
    moved = TASK | {"logical_date": TASK["logical_date"].astimezone(timezone(timedelta(hours=3)))}

    delays = {retry_delay(delay_s=300, multiplier=2, failed_try=1, **task) for task in (TASK, moved)}

    assert len(delays) == 1


def test_instances_of_a_mapped_task_do_not_retry_together():
    delays = {retry_delay(delay_s=300, multiplier=2, failed_try=1, map_index=index, **TASK) for index in range(50)}

    assert len(delays) > 40


@given(
    delay=st.floats(0, 1e6),
    multiplier=st.floats(1.01, 10),
    limit=st.none() | st.integers(1, 200_000),
    failed_try=st.integers(1, 400),
)
def test_a_delay_lies_within_its_limits_and_is_deterministic(delay, multiplier, limit, failed_try):
    arguments = {"delay_s": delay, "multiplier": multiplier, "max_delay_s": limit, "failed_try": failed_try, **TASK}

    seconds = retry_delay(**arguments)

    assert min(1, limit or 1) <= seconds <= min(MAX_BACKOFF_S, limit or MAX_BACKOFF_S)
    assert seconds == retry_delay(**arguments)


def test_the_delay_starts_at_the_end_of_the_failed_try():
    ended = datetime(2024, 1, 1, 12, tzinfo=UTC)

    assert retry_at(ended, 90.5) == datetime(2024, 1, 1, 12, 1, 30, 500_000, tzinfo=UTC)
