"""The system clock, which waits, and the virtual clock, which jumps."""

from __future__ import annotations

import datetime as dt
import threading

import pytest

from nbflow.clock import Clock, ClockWait, SystemClock, VirtualClock
from nbflow.errors import NbflowError

START = dt.datetime(2024, 1, 1, tzinfo=dt.UTC)
HOUR = dt.timedelta(hours=1)


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock(START)


def test_waiting_advances_the_virtual_clock(clock):
    # When it waits for an hour
    woken = clock.wait(threading.Event(), START + HOUR)
    # Then the hour has passed, and the event did not end the wait
    assert (woken, clock.now(), clock.monotonic()) == (False, START + HOUR, 3600.0)


def test_an_event_that_is_set_ends_the_wait_before_time_passes(clock):
    event = threading.Event()
    event.set()
    assert (clock.wait(event, START + HOUR), clock.now()) == (True, START)


def test_a_time_in_the_past_does_not_move_the_clock_back(clock):
    clock.wait(threading.Event(), START - HOUR)
    assert (clock.now(), clock.monotonic()) == (START, 0.0)


def test_waits_are_recorded(clock):
    event = threading.Event()
    clock.wait(event, START + HOUR)
    event.set()
    clock.wait(event, None)
    assert clock.waits == [ClockWait(START, START + HOUR, False), ClockWait(START + HOUR, None, True)]


def test_a_wait_that_nothing_can_end_is_an_error(clock):
    with pytest.raises(NbflowError, match=r"cannot advance from 2024-01-01T00:00:00\+00:00"):
        clock.wait(threading.Event(), None)


def test_setting_back_the_wall_clock_does_not_change_the_monotonic_one(clock):
    clock.advance(HOUR)
    clock.set_wall(START - HOUR)
    clock.advance(HOUR)
    assert (clock.now(), clock.monotonic()) == (START, 7200.0)


def test_times_of_another_time_zone_become_utc(clock):
    berlin = dt.timezone(HOUR)
    clock.advance_to(dt.datetime(2024, 1, 1, 3, tzinfo=berlin))
    assert (clock.now(), clock.now().tzinfo) == (START + 2 * HOUR, dt.UTC)


def test_a_naive_time_is_refused(clock):
    with pytest.raises(NbflowError, match="has no time zone"):
        clock.advance_to(dt.datetime(2024, 1, 1))


def test_the_system_clock_is_aware_utc_and_waits_until_the_given_time():
    clock: Clock = SystemClock()
    started = clock.now()
    until = started + dt.timedelta(milliseconds=20)
    assert clock.wait(threading.Event(), until) is False
    assert started.tzinfo is dt.UTC
    assert clock.now() >= until


def test_the_system_clock_is_woken_by_another_thread():
    clock, event = SystemClock(), threading.Event()
    waiting = threading.Thread(target=event.set)
    waiting.start()
    assert clock.wait(event, None) is True
    waiting.join()


def test_the_system_clock_checks_the_event_even_if_the_time_has_passed():
    clock, event = SystemClock(), threading.Event()
    event.set()
    assert clock.wait(event, clock.now() - HOUR) is True
