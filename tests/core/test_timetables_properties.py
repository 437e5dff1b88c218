"""Cron across DST changes, compared with an oracle that tries every minute; properties of every timetable."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import pairwise
from zoneinfo import ZoneInfo

from croniter import croniter
from dateutil.relativedelta import relativedelta
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from nbflow.core.timetables import (
    CronDataIntervalTimetable,
    CronTriggerTimetable,
    DagRunInfo,
    DeltaDataIntervalTimetable,
    DeltaTriggerTimetable,
    MultipleCronTriggerTimetable,
    TimeRestriction,
    cron,
    cron_clock,
)

ZONES = ["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Africa/Casablanca", "Asia/Kathmandu"]

# DST changes in those zones, and other times.
CHANGES = [
    datetime(2024, 3, 31, 1, tzinfo=UTC),
    datetime(2024, 10, 27, 1, tzinfo=UTC),
    datetime(2024, 3, 10, 7, tzinfo=UTC),
    datetime(2024, 11, 3, 6, tzinfo=UTC),
    datetime(2024, 4, 6, 15, tzinfo=UTC),
    datetime(2024, 10, 5, 15, 30, tzinfo=UTC),
    datetime(2024, 3, 10, 2, tzinfo=UTC),
    datetime(2024, 7, 15, 12, tzinfo=UTC),
]


def field(low: int, high: int, *, star: int = 1) -> st.SearchStrategy[str]:
    numbers = st.integers(low, high)
    lists = st.lists(numbers, min_size=1, max_size=3, unique=True).map(lambda ns: ",".join(map(str, sorted(ns))))
    steps = st.integers(2, max(2, (high - low) // 2)).map(lambda n: f"*/{n}")
    return st.one_of([st.just("*")] * star + [lists, steps])


crons = st.builds(
    lambda *fields: " ".join(fields),
    field(0, 59),
    field(0, 23, star=2),
    st.one_of(st.just("*"), st.just("*"), field(1, 28)),
    st.just("*"),
    st.one_of(st.just("*"), st.just("*"), field(0, 6)),
)
zones = st.sampled_from(ZONES)
moments = st.builds(
    lambda change, minutes, seconds: change + timedelta(minutes=minutes, seconds=seconds),
    st.sampled_from(CHANGES),
    st.integers(-40 * 60, 40 * 60),
    st.sampled_from([0, 0, 0, 17]),
)


def wall(instant: datetime, zone: ZoneInfo) -> datetime:
    return instant.astimezone(zone).replace(tzinfo=None)


def matches(expression: str, minute: datetime) -> bool:
    """Cron's rule: each field contains the value; of two restricted day fields one is enough."""
    fields = (minute.minute, minute.hour, minute.day, minute.month, minute.isoweekday() % 7)
    expanded = expanded_fields(expression)
    fits = [values == ["*"] or value in values for value, values in zip(fields, expanded, strict=True)]
    days_restricted = expanded[2] != ["*"] and expanded[4] != ["*"]
    return all((fits[0], fits[1], fits[3])) and (fits[2] or fits[4] if days_restricted else fits[2] and fits[4])


@cache
def expanded_fields(expression: str) -> list[list[int | str]]:
    return croniter.expand(expression)[0]


def fires_by_trying_every_minute(expression: str, zone: ZoneInfo, start: datetime, end: datetime) -> set[datetime]:
    """Rules 1 to 3 of nbflow.core.timetables.cron, by brute force."""
    fires = set()
    minute = wall(start, zone).replace(second=0) - timedelta(hours=3)
    while minute <= wall(end, zone) + timedelta(hours=3):
        if matches(expression, minute):
            first, second = (minute.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1))
            fires.add(max(first, second) if wall(first, zone) == minute else first)
        minute += timedelta(minutes=1)
    return {fire for fire in fires if start < fire <= end}


@given(expression=crons, zone=zones, start=moments)
@settings(max_examples=60, deadline=None)
def test_a_cron_schedule_fires_at_the_instants_of_its_wall_times(expression, zone, start):
    assume(expression.split()[1] != "*")
    clock, end = cron_clock(expression, zone), start + timedelta(hours=9)

    fires, fire = set(), clock.next(start)
    while fire is not None and fire <= end:
        fires.add(fire)
        fire = clock.next(fire)

    assert fires == fires_by_trying_every_minute(expression, ZoneInfo(zone), start, end)


@given(minute=field(0, 59), zone=zones, start=moments)
@settings(max_examples=100, deadline=None)
def test_an_hourly_schedule_never_pauses_for_more_than_an_hour(minute, zone, start):
    clock = cron_clock(f"{minute} * * * *", zone)

    fires = [clock.next(start)]
    while fires[-1] < start + timedelta(hours=9):
        fires.append(clock.next(fires[-1]))

    assert [(a, b) for a, b in pairwise(fires) if not timedelta(0) < b - a <= timedelta(hours=1)] == []


@given(expression=crons, zone=zones, moment=moments)
@settings(max_examples=300, deadline=None)
def test_next_and_prev_are_inverse_to_each_other(expression, zone, moment):
    clock = cron_clock(expression, zone)

    after, before = clock.next(moment), clock.prev(moment)

    assert before < moment < after
    assert clock.prev(after) == (moment if clock.ceil(moment) == moment else before)
    assert clock.next(before) == (moment if clock.floor(moment) == moment else after)
    assert (clock.ceil(after), clock.floor(after)) == (after, after)


steps = st.one_of(
    st.integers(1, 60 * 48).map(lambda n: timedelta(minutes=n)),
    st.integers(1, 14).map(lambda n: relativedelta(months=n)),
    st.builds(lambda d, h: relativedelta(days=d, hours=h), st.integers(0, 3), st.integers(1, 30)),
)
interval_timetables = st.one_of(
    st.builds(CronDataIntervalTimetable, crons, zones),
    st.builds(DeltaDataIntervalTimetable, steps),
)
trigger_timetables = st.one_of(
    st.builds(lambda cron, zone: CronTriggerTimetable(cron, timezone=zone), crons, zones),
    st.builds(lambda a, b, zone: MultipleCronTriggerTimetable(a, b, timezone=zone), crons, crons, zones),
    st.builds(DeltaTriggerTimetable, steps),
)


def runs_of(timetable, restriction, now, max_runs=12) -> list[DagRunInfo]:
    runs, info = [], timetable.next_run(None, restriction, now)
    while info is not None and len(runs) < max_runs:
        runs.append(info)
        info = timetable.next_run(info, restriction, now)
    return runs


@given(timetable=interval_timetables, start=moments)
@settings(max_examples=200, deadline=None)
def test_data_intervals_are_contiguous(timetable, start):
    runs = runs_of(timetable, TimeRestriction(start, None, True), start)

    assert runs[0].logical_date >= start
    for run in runs:
        assert run.run_after == run.data_interval.end > run.data_interval.start
        assert {moment.tzinfo for moment in (run.run_after, *run.data_interval)} == {UTC}
    assert [run.data_interval.end for run in runs[:-1]] == [run.data_interval.start for run in runs[1:]]


@given(timetable=st.one_of(interval_timetables, trigger_timetables), start=moments, hours=st.integers(0, 72))
@settings(max_examples=60, deadline=None)
def test_without_catchup_the_latest_due_run_is_first_and_the_others_are_in_the_future(timetable, start, hours):
    now = start + timedelta(hours=hours)
    everything = runs_of(timetable, TimeRestriction(start, None, True), now, max_runs=400)
    due = [run for run in everything if run.run_after <= now]
    fixed_grid = not isinstance(timetable, DeltaDataIntervalTimetable | DeltaTriggerTimetable)

    runs = runs_of(timetable, TimeRestriction(start, None, False), now, max_runs=3)

    assert runs[1].run_after > now
    if fixed_grid and len(due) < len(everything):
        assert runs == everything[max(0, len(due) - 1) :][:3]


@given(timetable=st.one_of(interval_timetables, trigger_timetables), start=moments, catchup=st.booleans())
@settings(max_examples=100, deadline=None)
def test_equal_arguments_give_equal_results(timetable, start, catchup):
    restriction, now = TimeRestriction(start, None, catchup), start + timedelta(days=3)

    first = runs_of(timetable, restriction, now)
    for cached in (cron._next_fire, cron._prev_fire, cron._find_offset_change, cron._fires_around):
        cached.cache_clear()
    second = runs_of(timetable, restriction, now)

    assert first == second
    assert [a for a, b in pairwise(first) if not a.run_after < b.run_after] == []
