"""The next runs of a schedule, as views show them."""

from __future__ import annotations

from datetime import UTC, datetime

from nbflow.core.due_runs import RunHistory, next_runs
from nbflow.core.spec import DagSpec
from nbflow.core.timetables import DataInterval, timetable_from_schedule

NOW = datetime(2024, 6, 1, 9, tzinfo=UTC)


def day(number: int) -> DataInterval:
    """The interval of a day of June."""
    return DataInterval(datetime(2024, 6, number, tzinfo=UTC), datetime(2024, 6, number + 1, tzinfo=UTC))


YESTERDAY = DataInterval(datetime(2024, 5, 31, tzinfo=UTC), datetime(2024, 6, 1, tzinfo=UTC))


def next_days(history: RunHistory, *, schedule: str | None = "@daily", **options: object) -> list[int]:
    """On which days of June the next three runs start."""
    dag = DagSpec(dag_id="sales", tasks={}, start_date=datetime(2024, 1, 1, tzinfo=UTC), **options)
    timetable = timetable_from_schedule(schedule)
    return [info.run_after.day for info in next_runs(dag, timetable, history, NOW, 3)]


def test_the_next_runs_follow_the_last_one() -> None:
    # Given a daily DAG whose last run covers yesterday, and one that has never run
    # Then the first continues from that run; the other begins with the interval that has just ended
    assert (next_days(RunHistory(last=YESTERDAY)), next_days(RunHistory())) == ([2, 3, 4], [1, 2, 3])
    # And a DAG without a schedule has none
    assert next_days(RunHistory(), schedule=None) == []


def test_dates_that_have_a_backfill_run_are_omitted() -> None:
    # Given backfilled runs directly after the last run, and later
    backfilled = {day(number).start: day(number) for number in (1, 3)}
    # Then the schedule creates the runs between and after them
    assert next_days(RunHistory(last=YESTERDAY, backfilled=backfilled)) == [3, 5, 6]


def test_a_schedule_that_ends_has_no_more_runs() -> None:
    assert next_days(RunHistory(last=YESTERDAY), end_date=datetime(2024, 6, 2, tzinfo=UTC)) == [2, 3]


def test_a_schedule_that_continues_only_when_a_run_ends_has_one_next_run() -> None:
    assert len(next_days(RunHistory(last=YESTERDAY), schedule="@continuous")) == 1
