"""Timetables, beyond tests/facts: schedules, stored forms, descriptions, errors, custom timetables."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pendulum
import pytest
from dateutil.relativedelta import FR, relativedelta

from nbflow.core.timetables import (
    ContinuousTimetable,
    CronDataIntervalTimetable,
    CronTriggerTimetable,
    CustomTimetableNotLoaded,
    DagRunInfo,
    DataInterval,
    DeltaDataIntervalTimetable,
    DeltaTriggerTimetable,
    EventsTimetable,
    InvalidTimezone,
    MultipleCronTriggerTimetable,
    NullTimetable,
    OnceTimetable,
    RecordedTimetable,
    TimeRestriction,
    Timetable,
    TimetableInvalid,
    cron_clock,
    timetable_from_schedule,
    timetable_from_spec,
)
from nbflow.core.timetables.likely_mistakes import likely_mistakes


def utc(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)


OPEN = TimeRestriction(None, None, False)


# ----------------------------------------------------------------------------------------------- schedules


@pytest.mark.parametrize(
    ("schedule", "data_intervals", "timetable_class"),
    [
        (None, True, NullTimetable),
        ([], True, NullTimetable),
        ("@once", True, OnceTimetable),
        ("@continuous", True, ContinuousTimetable),
        ("@daily", True, CronDataIntervalTimetable),
        ("@daily", False, CronTriggerTimetable),
        (timedelta(hours=1), True, DeltaDataIntervalTimetable),
        (timedelta(hours=1), False, DeltaTriggerTimetable),
        (relativedelta(months=1), True, DeltaDataIntervalTimetable),
        (relativedelta(months=1), False, DeltaTriggerTimetable),
    ],
)
def test_a_schedule_becomes_its_timetable(schedule, data_intervals, timetable_class):
    timetable = timetable_from_schedule(schedule, create_cron_data_intervals=data_intervals)

    assert type(timetable) is timetable_class


def test_a_timetable_is_a_schedule():
    timetable = EventsTimetable([utc(2024, 1, 1)])

    assert timetable_from_schedule(timetable) is timetable


@pytest.mark.parametrize("schedule", [False, True, 0, 86400, 1.5, object(), ["@daily"], {"cron": "@daily"}])
def test_a_value_that_is_not_a_schedule_is_refused(schedule):
    with pytest.raises(ValueError, match="is not a valid schedule"):
        timetable_from_schedule(schedule)


@pytest.mark.parametrize(
    ("cron", "message"),
    [
        ("* * * *", "4 fields, but there must be 5"),
        ("0 24 * * *", "field 2 (hour) '24' is not valid (out of range)"),
        ("0 0 0 * *", "field 3 (day of month) '0'"),
        ("0 0 * 13 *", "field 4 (month) '13'"),
        ("0 0 * * mon#6", "field 5 (day of week) 'mon#6'"),
        ("0 0 * * * 60", "field 6 (second) '60'"),
        ("*/0 * * * *", "field 1 (minute) '*/0'"),
        ("@fortnightly", "unknown preset; the presets are @hourly, @daily"),
        ("R * * * *", "a random field (R) is not supported"),
    ],
)
@pytest.mark.parametrize("make", [CronDataIntervalTimetable, lambda cron: CronTriggerTimetable(cron, timezone="UTC")])
def test_an_invalid_cron_expression_is_refused_at_once_and_the_field_is_named(make, cron, message):
    with pytest.raises(TimetableInvalid) as caught:
        make(cron)

    assert str(caught.value).startswith(f"Cron expression {cron!r}: ")
    assert message in str(caught.value)


@pytest.mark.parametrize("delta", [timedelta(0), timedelta(days=-1), relativedelta(), relativedelta(months=-1)])
@pytest.mark.parametrize("make", [DeltaDataIntervalTimetable, DeltaTriggerTimetable])
def test_a_delta_that_is_not_positive_is_refused(make, delta):
    with pytest.raises(TimetableInvalid, match="must be positive"):
        make(delta)


def test_an_offset_is_not_a_time_zone_name():
    with pytest.raises(InvalidTimezone, match=r"'\+05:30' is not an IANA time zone"):
        timetable_from_schedule("@daily", "+05:30")


@pytest.mark.parametrize(
    ("zone", "first"),
    [
        ("Europe/Berlin", utc(2024, 1, 1, 5)),
        (ZoneInfo("Europe/Berlin"), utc(2024, 1, 1, 5)),
        (pendulum.timezone("Europe/Berlin"), utc(2024, 1, 1, 5)),
        (timezone(timedelta(hours=5, minutes=30)), utc(2024, 1, 1, 0, 30)),
        (pendulum.timezone("UTC"), utc(2024, 1, 1, 6)),
        (None, utc(2024, 1, 1, 6)),
    ],
)
def test_time_zones_of_every_library_are_accepted(zone, first):
    timetable = timetable_from_schedule("0 6 * * *", zone, create_cron_data_intervals=False)
    restriction = TimeRestriction(pendulum.datetime(2024, 1, 1), None, True)

    info = timetable.next_run(None, restriction, utc(2024, 1, 2))

    assert info == DagRunInfo.exact(first)
    assert type(info.run_after) is datetime


# ----------------------------------------------------------------------------------------------- stored forms

ALL_KINDS = [
    NullTimetable(),
    OnceTimetable(),
    ContinuousTimetable(),
    EventsTimetable([utc(2024, 5, 1), utc(2024, 1, 1)], restrict_to_events=True, description="the exams"),
    CronDataIntervalTimetable("0 6 * * 1-5", "Europe/Berlin"),
    CronDataIntervalTimetable("@daily", timezone(timedelta(hours=-3))),
    CronTriggerTimetable("@hourly", timezone="UTC", interval=timedelta(hours=1), run_immediately=timedelta(minutes=5)),
    CronTriggerTimetable("@hourly", timezone="UTC", run_immediately=None),
    MultipleCronTriggerTimetable("0 6 * * *", "30 18 * * *", timezone="Asia/Tokyo", interval=relativedelta(months=1)),
    DeltaDataIntervalTimetable(timedelta(days=1, microseconds=7)),
    DeltaDataIntervalTimetable(relativedelta(months=1, day=31, weekday=FR(-1))),
    DeltaTriggerTimetable(timedelta(hours=8), interval=timedelta(hours=24)),
]


@pytest.mark.parametrize("timetable", ALL_KINDS, ids=repr)
def test_a_timetable_is_restored_from_its_stored_form(timetable):
    stored = json.loads(json.dumps(timetable.to_spec()))

    restored = timetable_from_spec(stored)

    assert (restored, type(restored)) == (timetable, type(timetable))
    assert hash(restored) == hash(timetable)


def test_an_unknown_kind_is_refused_with_the_known_kinds():
    with pytest.raises(TimetableInvalid, match="timetable 'lunar'; known are none, once"):
        timetable_from_spec({"kind": "lunar"})


@pytest.mark.parametrize(
    ("schedule", "description"),
    [
        (None, "only when triggered"),
        ("@daily", "every day at 00:00 Europe/Berlin"),
        ("@Daily", "every day at 00:00 Europe/Berlin"),
        ("@hourly", "every hour at :00"),
        ("*/15 * * * *", "every 15 minutes"),
        ("0 */6 * * *", "every 6 hours"),
        ("0 6 * * 1", "every Monday at 06:00 Europe/Berlin"),
        ("0 6,18 * * mon-fri", "every weekday at 06:00 and 18:00 Europe/Berlin"),
        ("30 2 1,15 * *", "on the 1st and 15th of every month at 02:30 Europe/Berlin"),
        ("0 0 1 jan,jul *", "on the 1st of January and July at 00:00 Europe/Berlin"),
        ("0 0 13 * 5", 'by cron "0 0 13 * 5" Europe/Berlin'),
        (timedelta(days=1), "every day"),
        (timedelta(hours=2, minutes=30), "every 2 hours 30 minutes"),
        (relativedelta(months=1), "every month"),
    ],
)
def test_the_description_of_a_timetable(schedule, description):
    assert timetable_from_schedule(schedule, "Europe/Berlin").describe() == description


# ----------------------------------------------------------------------------------------------------- the current time

DEPENDENT_ON_NOW = [
    CronDataIntervalTimetable("@daily"),
    CronTriggerTimetable("@daily", timezone="UTC"),
    DeltaTriggerTimetable(timedelta(days=1)),
    EventsTimetable([utc(2024, 1, 5)]),
]


@pytest.mark.parametrize("timetable", DEPENDENT_ON_NOW, ids=repr)
def test_a_timetable_that_depends_on_the_current_time_needs_it(timetable):
    with pytest.raises(ValueError, match="depends on the current time"):
        timetable.next_dagrun_info(last_automated_data_interval=None, restriction=OPEN)


def test_an_impossible_date_never_fires():
    timetable = timetable_from_schedule("0 0 30 2 *")

    assert timetable.next_run(None, TimeRestriction(utc(2024, 1, 1), None, True), utc(2024, 6, 1)) is None
    assert timetable.manual_interval(utc(2024, 6, 1)) == DataInterval.exact(utc(2024, 6, 1))


def test_deltas_without_catchup_are_counted_from_the_first_run():
    # Given a run at 00:00:03, because the scheduler was late, and a scheduler that plans again much later
    timetable = DeltaTriggerTimetable(timedelta(hours=1))
    last = DagRunInfo.exact(utc(2024, 1, 1, 0, 0, 3))

    # When
    info = timetable.next_run(last, OPEN, utc(2024, 1, 1, 5, 30))

    # Then the missed triggers are skipped, and the seconds are the same
    assert info == DagRunInfo.exact(utc(2024, 1, 1, 5, 0, 3))


def test_a_late_scheduler_does_not_miss_an_event():
    events = [utc(2024, 1, day) for day in (1, 2, 3, 4)]
    timetable = EventsTimetable(events)

    info = timetable.next_run(DagRunInfo.exact(events[0]), OPEN, utc(2024, 1, 3, 0, 0, 1))

    assert info == DagRunInfo.exact(events[2])


def test_after_a_change_of_the_schedule_no_logical_date_is_repeated_or_earlier():
    # Given a DAG that ran hourly until five, and is daily now
    last = DataInterval(utc(2024, 1, 3, 4), utc(2024, 1, 3, 5))

    info = timetable_from_schedule("@daily").next_run(
        last, TimeRestriction(utc(2024, 1, 1), None, True), utc(2024, 1, 3)
    )

    assert info == DagRunInfo.interval(utc(2024, 1, 3, 5), utc(2024, 1, 4))


def test_continuous_runs_have_contiguous_intervals():
    timetable = ContinuousTimetable()
    restriction = TimeRestriction(utc(2024, 1, 1), None, False)

    first = timetable.next_run(None, restriction, utc(2024, 1, 1, 0, 7))
    second = timetable.next_run(first, restriction, utc(2024, 1, 1, 0, 9))

    assert first == DagRunInfo.interval(utc(2024, 1, 1), utc(2024, 1, 1, 0, 7))
    assert second == DagRunInfo.interval(utc(2024, 1, 1, 0, 7), utc(2024, 1, 1, 0, 9))


# ----------------------------------------------------------------------------------------------- DST changes


@pytest.mark.parametrize(
    ("cron", "zone", "around", "ends"),
    [
        # The three kinds of case in which Airflow's intervals have a gap, or end.
        (
            "*/30 1-3 * * *",
            "Europe/Berlin",
            utc(2024, 3, 31),
            [utc(2024, 3, 31, 0, 30), utc(2024, 3, 31, 1), utc(2024, 3, 31, 1, 30), utc(2024, 3, 31, 23)],
        ),
        (
            "@hourly",
            "Australia/Lord_Howe",
            utc(2024, 10, 5, 14, 30),
            [utc(2024, 10, 5, 15, 30), utc(2024, 10, 5, 16), utc(2024, 10, 5, 17), utc(2024, 10, 5, 18)],
        ),
        (
            "@hourly",
            "Australia/Lord_Howe",
            utc(2024, 4, 6, 14),
            [utc(2024, 4, 6, 15), utc(2024, 4, 6, 15, 30), utc(2024, 4, 6, 16, 30), utc(2024, 4, 6, 17, 30)],
        ),
    ],
)
def test_data_intervals_stay_contiguous_where_airflows_do_not(cron, zone, around, ends):
    timetable = CronDataIntervalTimetable(cron, zone)

    runs = timetable.runs_between(around, around + timedelta(days=1), utc(2025, 1, 1))
    intervals = [info.data_interval for info, _ in zip(runs, ends, strict=False)]

    assert intervals == [DataInterval(start, end) for start, end in zip([around, *ends], ends, strict=False)]


def test_a_run_triggered_in_an_hour_that_dst_skips_has_the_latest_complete_interval():
    timetable = CronDataIntervalTimetable("30 2 * * *", "Europe/Berlin")

    interval = timetable.manual_interval(utc(2024, 3, 31, 1, 15))

    assert interval == DataInterval(utc(2024, 3, 29, 1, 30), utc(2024, 3, 30, 1, 30))


def test_a_day_that_a_country_skipped():
    # Samoa went from 29 December 2011 straight to the 31st.
    clock = cron_clock("0 12 * * *", "Pacific/Apia")

    fires = [clock.next(utc(2011, 12, 28, 23))]
    for _ in range(3):
        fires.append(clock.next(fires[-1]))

    assert fires == [utc(2011, 12, 29, 22), utc(2011, 12, 30, 22), utc(2011, 12, 31, 22), utc(2012, 1, 1, 22)]
    assert [clock.prev(fire) for fire in fires[1:]] == fires[:-1]


# ---------------------------------------------------------------------------------------------------- custom timetables


class EveryOtherDay(Timetable):
    """A custom timetable in Airflow's protocol."""

    def __init__(self, hour: int = 0) -> None:
        self.hour = hour

    def serialize(self):
        return {"hour": self.hour}

    def infer_manual_data_interval(self, *, run_after):
        return DataInterval.exact(run_after)

    def next_dagrun_info(self, *, last_automated_data_interval, restriction):
        start = last_automated_data_interval.end if last_automated_data_interval else restriction.earliest
        return DagRunInfo.interval(start=start, end=start + timedelta(days=2))


class NoMondays(CronDataIntervalTimetable):
    """A subclass that calls super(), which needs the current time."""

    def next_dagrun_info(self, *, last_automated_data_interval, restriction):
        info = super().next_dagrun_info(
            last_automated_data_interval=last_automated_data_interval, restriction=restriction
        )
        if info is not None and info.logical_date.weekday() == 0:
            return super().next_dagrun_info(last_automated_data_interval=info.data_interval, restriction=restriction)
        return info


def test_a_custom_timetable_needs_only_airflows_protocol():
    timetable = timetable_from_schedule(EveryOtherDay())

    runs = list(timetable.runs_between(utc(2024, 1, 1), utc(2024, 1, 5), utc(2025, 1, 1)))

    assert [info.logical_date for info in runs] == [utc(2024, 1, 1), utc(2024, 1, 3), utc(2024, 1, 5)]


def test_super_calls_pass_the_current_time():
    timetable = NoMondays("@daily")

    info = timetable.next_run(None, OPEN, utc(2024, 1, 9, 12))  # a Tuesday: the latest complete day is Monday

    assert info == DagRunInfo.interval(utc(2024, 1, 9), utc(2024, 1, 10))


class MonthEnds(DeltaDataIntervalTimetable):
    """A timetable that uses methods of pendulum's datetimes, as timetables written for Airflow do."""

    def next_dagrun_info(self, *, last_automated_data_interval, restriction):
        start = last_automated_data_interval.end if last_automated_data_interval else restriction.earliest
        return DagRunInfo.interval(start=start, end=start.add(days=1).end_of("month").start_of("day"))

    def infer_manual_data_interval(self, *, run_after):
        return DataInterval.exact(run_after.start_of("month"))


def test_a_custom_timetable_gets_pendulums_datetimes_and_its_results_are_plain_ones():
    timetable = MonthEnds(timedelta(days=31))

    first = timetable.next_run(None, TimeRestriction(utc(2024, 1, 5), None, True), utc(2024, 6, 1))
    second = timetable.next_run(first, TimeRestriction(utc(2024, 1, 5), None, True), utc(2024, 6, 1))

    assert second == DagRunInfo.interval(utc(2024, 1, 31), utc(2024, 2, 29))
    assert {type(moment) for moment in (second.run_after, *second.data_interval)} == {datetime}
    assert timetable.manual_interval(utc(2024, 3, 9)) == DataInterval.exact(utc(2024, 3, 1))


def test_a_subclass_of_nbflows_timetable_is_stored_as_custom():
    spec = NoMondays("@daily").to_spec()

    assert spec == {
        "kind": "custom",
        "class": f"{__name__}.NoMondays",
        "data": {"cron": "@daily", "timezone": "UTC"},
    }


def test_a_custom_timetable_is_stored_by_name_and_never_imported():
    spec = EveryOtherDay(hour=6).to_spec()

    assert spec == {"kind": "custom", "class": f"{__name__}.EveryOtherDay", "data": {"hour": 6}}
    with pytest.raises(CustomTimetableNotLoaded, match="EveryOtherDay is a custom timetable"):
        timetable_from_spec(spec)


def test_a_custom_timetable_is_scheduled_from_a_record_of_its_runs():
    restriction = TimeRestriction(utc(2024, 1, 1), None, True)
    recorded = RecordedTimetable.record(EveryOtherDay(), None, restriction, utc(2024, 1, 1), max_runs=2)

    stored = timetable_from_spec(json.loads(json.dumps(recorded.to_spec())))
    first = stored.next_run(None, restriction, utc(2024, 1, 9))
    second = stored.next_run(first, restriction, utc(2024, 1, 9))
    third = stored.next_run(second, restriction, utc(2024, 1, 9))

    assert [first, second, third] == [
        DagRunInfo.interval(utc(2024, 1, 1), utc(2024, 1, 3)),
        DagRunInfo.interval(utc(2024, 1, 3), utc(2024, 1, 5)),
        None,
    ]
    assert stored.summary == "EveryOtherDay"


# ----------------------------------------------------------------------------------------------- steps, likely slips


@pytest.mark.parametrize(
    "step",
    [
        relativedelta(day=31),
        relativedelta(hour=6),
        relativedelta(weekday=FR),
        relativedelta(year=2030, days=1),
        relativedelta(months=1, days=-30),
        relativedelta(days=2, weekday=FR(-1)),
        relativedelta(hours=1, hour=0),
        relativedelta(minutes=30, minute=0),
    ],
)
def test_a_step_that_stops_at_some_date_is_refused(step):
    for timetable in (DeltaDataIntervalTimetable, DeltaTriggerTimetable):
        with pytest.raises(TimetableInvalid, match="must be positive"):
            timetable(step)


@pytest.mark.parametrize(
    "step",
    [
        relativedelta(months=1, day=31),
        relativedelta(days=1, hour=6),
        relativedelta(hours=1, minute=0),
        relativedelta(days=1, weekday=FR),
        relativedelta(years=1, month=2, day=29),
        relativedelta(months=1, days=-1),
        relativedelta(days=8, weekday=FR(-1)),
    ],
)
def test_a_step_that_is_positive_from_every_date_is_accepted(step):
    # Given a schedule with that step
    timetable = DeltaTriggerTimetable(step)

    # When its runs are followed for years
    moment, dates = utc(2023, 12, 31, 23, 59), []
    for _ in range(2000):
        moment += step
        dates.append(moment)

    # Then each is later than the one before
    assert dates == sorted(set(dates))
    assert timetable.can_be_scheduled


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ("0 0 30 2 *", ["cron expression '0 0 30 2 *' never fires: no date matches it."]),
        (
            "0 0 12 * * *",
            [
                "cron expression '0 0 12 * * *' fires several times a minute: its sixth field is the seconds. If its "
                "first field is meant to be the seconds, write '0 12 * * *'."
            ],
        ),
        (
            pendulum.duration(months=1),
            [
                "duration(months=1) is always 30 days. For calendar months, write relativedelta(months=1) or a cron "
                "expression."
            ],
        ),
        ("0 0 29 2 *", []),
        ("0 12 * * * 30", []),
        (pendulum.duration(days=30), []),
        ("@daily", []),
    ],
)
@pytest.mark.parametrize("intervals", [True, False])
def test_a_schedule_that_is_surely_not_meant_has_a_warning(schedule, expected, intervals):
    timetable = timetable_from_schedule(schedule, create_cron_data_intervals=intervals)
    assert list(likely_mistakes(schedule, timetable)) == expected


@pytest.mark.parametrize("word", ["dayly", "daily", "@dayly", "@Daly"])
def test_a_misspelt_preset_names_the_nearest(word):
    with pytest.raises(TimetableInvalid, match="Did you mean '@daily'"):
        cron_clock(word)
