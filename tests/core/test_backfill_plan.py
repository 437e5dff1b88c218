"""Backfill plans: behaviour that tests/facts does not cover."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nbflow.core.backfill import BackfillEntry, BackfillPlan, ExistingRun, Reprocess, plan_backfill
from nbflow.core.states import RUN_FINISHED, RunState
from nbflow.core.timetables import (
    ContinuousTimetable,
    DagRunInfo,
    NullTimetable,
    RecordedTimetable,
    timetable_from_schedule,
)
from nbflow.errors import (
    AlreadyRunningBackfill,
    BackfillError,
    DagNonPeriodicScheduleException,
    DagNoScheduleException,
    InvalidReprocessBehavior,
    NoBackfillRunsToCreate,
)


def utc(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)


DAILY = timetable_from_schedule("@daily")


def plan(timetable=DAILY, **changes) -> BackfillPlan:
    arguments = {
        "dag_id": "etl",
        "from_date": datetime(2024, 1, 1),
        "to_date": datetime(2024, 1, 2),
        "now": utc(2024, 6, 1),
    }
    return plan_backfill(timetable, **(arguments | changes))


def day(number: int) -> DagRunInfo:
    return DagRunInfo.interval(utc(2024, 1, number), utc(2024, 1, number + 1))


def test_a_plan_holds_every_run_with_its_interval_and_what_happens_to_it():
    # Given a failed manual run on the first day
    failed = ExistingRun(run_id="manual__mine", logical_date=utc(2024, 1, 1), state=RunState.FAILED)

    # When
    planned = plan(existing=[failed], reprocess="failed")

    # Then
    new = BackfillEntry(ordinal=2, info=day(2), run_id="backfill__2024-01-03T00:00:00+00:00")
    assert planned == BackfillPlan(
        entries=(BackfillEntry(ordinal=1, info=day(1), run_id="manual__mine", reset=True), new)
    )


@pytest.mark.parametrize(
    ("changes", "error", "text"),
    [
        (
            {"another_active": True},
            AlreadyRunningBackfill,
            "'etl' is unfinished. Wait until it ends, or cancel it first.",
        ),
        ({"depends_on_past": True}, InvalidReprocessBehavior, "Reprocess failed or completed runs."),
        ({"timetable": NullTimetable()}, DagNoScheduleException, "has no schedule. Trigger its runs"),
        ({"timetable": ContinuousTimetable()}, DagNonPeriodicScheduleException, "continuously"),
        (
            {"timetable": timetable_from_schedule("@yearly"), "from_date": utc(2024, 2, 1), "to_date": utc(2024, 3, 1)},
            NoBackfillRunsToCreate,
            "it runs on the 1st of January at 00:00 UTC",
        ),
        (
            {"timetable": RecordedTimetable({"kind": "custom", "class": "shop.Weekdays", "runs": []})},
            NoBackfillRunsToCreate,
            "Only future runs of a custom timetable are recorded; trigger earlier runs with: nbflow dags trigger etl",
        ),
    ],
)
def test_an_impossible_backfill_is_refused_with_the_way_out(changes, error, text):
    with pytest.raises(error) as caught:
        plan(**changes)

    assert text in str(caught.value)
    assert isinstance(caught.value, BackfillError)


def test_an_unknown_reprocess_behaviour_is_refused():
    with pytest.raises(ValueError, match="everything"):
        plan(reprocess="everything")


def test_a_long_backfill_of_a_fine_schedule_is_planned_at_once():
    planned = plan(timetable_from_schedule(timedelta(minutes=5)), to_date=utc(2024, 1, 31))

    assert len(planned.entries) == 30 * 24 * 12 + 1
    assert len({entry.run_id for entry in planned.entries}) == len(planned.entries)


existing_runs = st.dictionaries(st.integers(1, 9), st.sampled_from(list(RunState)), max_size=6)


@given(
    states=existing_runs,
    reprocess=st.sampled_from(list(Reprocess)),
    backwards=st.booleans(),
    cron=st.sampled_from(["@daily", "0 */8 * * *"]),
    last_day=st.integers(1, 9),
)
@settings(max_examples=100)
def test_no_logical_date_gets_two_runs_and_no_unfinished_run_is_touched(states, reprocess, backwards, cron, last_day):
    timetable = timetable_from_schedule(cron)
    existing = [
        ExistingRun(run_id=f"run_{number}", logical_date=utc(2024, 1, number), state=state)
        for number, state in states.items()
    ]
    by_id = {run.run_id: run for run in existing}
    arguments = {
        "existing": existing,
        "reprocess": reprocess,
        "to_date": utc(2024, 1, last_day),
        "run_backwards": backwards,
    }

    planned = plan(timetable, **arguments)

    dates = [entry.logical_date for entry in planned.entries]
    assert dates == sorted(set(dates), reverse=backwards)
    assert [entry.ordinal for entry in planned.entries] == list(range(1, len(dates) + 1))
    existing_dates = {run.logical_date for run in existing}
    for entry in planned.entries:
        assert (entry.run_id is None) == (entry.not_created_because is not None)
        assert entry.reset == (entry.run_id in by_id)
        if entry.reset:
            assert by_id[entry.run_id].state in RUN_FINISHED
        elif entry.run_id is not None:
            assert entry.logical_date not in existing_dates
    assert plan(timetable, dry_run=True, **arguments) == planned
