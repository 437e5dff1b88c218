"""New runs: which are created now, when to plan again, and why a due run is not created."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nbflow.core.catchup import NewRuns, plan_new_runs, require_start_date
from nbflow.core.timetables import (
    ContinuousTimetable,
    DagRunInfo,
    EventsTimetable,
    NullTimetable,
    timetable_from_schedule,
)
from nbflow.core.wait_reasons import WaitReason


def utc(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)


DAILY = timetable_from_schedule("@daily")
DAY_1, DAY_2, DAY_3, DAY_4 = (DagRunInfo.interval(utc(2024, 1, day), utc(2024, 1, day + 1)) for day in (1, 2, 3, 4))


def plan(timetable=DAILY, **changes) -> NewRuns:
    arguments = {
        "start": utc(2024, 1, 1),
        "end": None,
        "catchup": True,
        "last": None,
        "active_runs": 0,
        "max_active_runs": 16,
        "paused": False,
        "now": utc(2024, 1, 4),
    }
    return plan_new_runs(timetable, **(arguments | changes))


def test_with_catchup_every_missed_run_is_created():
    assert plan() == NewRuns(runs=(DAY_1, DAY_2, DAY_3), next=DAY_4, wake_at=utc(2024, 1, 5))


def test_without_catchup_only_the_latest_missed_run_is_created():
    assert plan(catchup=False) == NewRuns(runs=(DAY_3,), next=DAY_4, wake_at=utc(2024, 1, 5))


def test_new_runs_follow_the_last_one():
    assert plan(last=DAY_2.data_interval) == NewRuns(runs=(DAY_3,), next=DAY_4, wake_at=utc(2024, 1, 5))


def test_a_due_run_beyond_the_limit_is_not_created_and_has_the_reason():
    wait = WaitReason(
        kind="max_active_runs",
        text="max_active_runs=2 is reached: 2 runs are unfinished.",
        detail={"limit": 2, "active": 2},
    )

    assert plan(active_runs=1, max_active_runs=2) == NewRuns(runs=(DAY_1,), next=DAY_2, wait=wait)


def test_a_dag_at_its_limit_with_no_due_run_waits_for_the_next_date():
    planned = plan(last=DAY_3.data_interval, active_runs=16)

    assert planned == NewRuns(next=DAY_4, wake_at=utc(2024, 1, 5))


def test_a_paused_dag_gets_no_run_and_has_the_reason():
    assert plan(paused=True) == NewRuns(next=DAY_1, wait=WaitReason(kind="paused", text="The DAG is paused."))


def test_a_paused_dag_without_a_due_run_has_no_reason():
    assert plan(paused=True, last=DAY_3.data_interval) == NewRuns(next=DAY_4)


@pytest.mark.parametrize("timetable", [NullTimetable(), EventsTimetable([utc(2023, 1, 1)])])
def test_a_schedule_with_no_more_runs_never_wakes(timetable):
    assert plan(timetable) == NewRuns()


def test_no_run_is_created_after_the_end_date():
    assert plan(end=utc(2024, 1, 2)) == NewRuns(runs=(DAY_1, DAY_2))


def test_continuous_runs_come_one_at_a_time():
    first = DagRunInfo.interval(utc(2024, 1, 1), utc(2024, 1, 4))

    planned = plan(ContinuousTimetable())

    assert (planned.runs, planned.wake_at, planned.wait.text) == (
        (first,),
        None,
        "max_active_runs=1 is reached: 1 run is unfinished.",
    )


def test_an_announced_event_is_created_by_a_scheduler_that_plans_slightly_late():
    # Given a DAG without catchup, and its first event announced
    timetable = EventsTimetable([utc(2024, 1, 4), utc(2024, 2, 1)])
    announced = plan(timetable, catchup=False, now=utc(2024, 1, 3)).next

    # When the scheduler plans again three milliseconds after the event
    late = utc(2024, 1, 4) + timedelta(milliseconds=3)
    planned = plan(timetable, catchup=False, now=late, announced=announced)

    # Then its run is created, and the scheduler wakes for the next one
    assert planned.runs == (DagRunInfo.exact(utc(2024, 1, 4)),)
    assert planned.wake_at == utc(2024, 2, 1)


def test_a_run_announced_before_a_pause_is_not_created_after_it():
    timetable = EventsTimetable([utc(2024, 1, 4), utc(2024, 2, 1)])
    announced = plan(timetable, catchup=False, now=utc(2024, 1, 3)).next

    during = plan(timetable, catchup=False, now=utc(2024, 1, 9), paused=True, announced=announced)
    after = plan(timetable, catchup=False, now=utc(2024, 1, 10), announced=during.next)

    assert after == NewRuns(next=DagRunInfo.exact(utc(2024, 2, 1)), wake_at=utc(2024, 2, 1))


def test_an_announced_run_that_is_older_than_a_due_one_is_dropped():
    assert plan(catchup=False, announced=DAY_1).runs == (DAY_3,)


def test_an_announced_run_is_created_once():
    event = DagRunInfo.exact(utc(2024, 1, 4))

    assert (
        plan(EventsTimetable([utc(2024, 1, 4)]), catchup=False, last=event.data_interval, announced=event) == NewRuns()
    )


@given(
    cron=st.sampled_from(["@hourly", "*/20 * * * *", "0 0,7 * * *", "@daily", "30 2 * * *"]),
    data_intervals=st.booleans(),
    catchup=st.booleans(),
    pauses=st.lists(st.integers(1, 1000), min_size=1, max_size=8),
    limit=st.integers(1, 5),
)
@settings(max_examples=150, deadline=None)
def test_no_run_is_created_early_twice_or_out_of_order_whenever_the_scheduler_plans(
    cron, data_intervals, catchup, pauses, limit
):
    # Given a scheduler that plans at irregular times, each time with all earlier runs finished
    timetable = timetable_from_schedule(cron, "Europe/Berlin", create_cron_data_intervals=data_intervals)
    now, last, created = utc(2024, 3, 30), None, []

    for minutes in pauses:
        now += timedelta(minutes=minutes)
        planned = plan(timetable, start=utc(2024, 3, 30), catchup=catchup, last=last, max_active_runs=limit, now=now)
        assert len(planned.runs) <= limit
        assert all(run.run_after <= now for run in planned.runs)
        assert planned.wake_at is None or planned.wake_at > now
        assert (planned.wait is not None) == (planned.next.run_after <= now)
        created += planned.runs
        last = created[-1].data_interval if created else None

    # Then the runs are in strict order, and with catchup none is missing
    dates = [run.logical_date for run in created]
    assert dates == sorted(set(dates))
    if catchup:
        everything = [run for run in timetable.runs_between(utc(2024, 3, 30), now, now) if run.run_after <= now]
        assert created == everything[: len(created)]


def test_catching_up_needs_a_start_date():
    require_start_date(None, catchup=False)
    require_start_date(utc(2024, 1, 1), catchup=True)
    with pytest.raises(ValueError, match="start_date is required when catchup=True"):
        require_start_date(None, catchup=True)
