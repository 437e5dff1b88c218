"""Backfills of a custom timetable, which is called in a subprocess."""

from __future__ import annotations

import os
from datetime import UTC, datetime

import pytest

from nbflow.errors import NbflowError, NoBackfillRunsToCreate

CUSTOM_TIMETABLE = """
    from datetime import datetime, timedelta, timezone
    from nbflow import DAG
    from nbflow.core.timetables import DagRunInfo, Timetable
    from nbflow.operators.empty import EmptyOperator

    class Workdays(Timetable):
        "A run for each day from Monday to Friday."

        def next_dagrun_info(self, *, last_automated_data_interval, restriction):
            last = last_automated_data_interval
            start = last.end if last else restriction.earliest
            {before}
            while start.weekday() > 4:
                start += timedelta(days=1)
            if restriction.latest is not None and start > restriction.latest:
                return None
            return DagRunInfo.interval(start, start + timedelta(days=1))

    with DAG("custom", schedule=Workdays(), start_date=datetime(2020, 1, 1, tzinfo=timezone.utc),
             is_paused_upon_creation=True):
        EmptyOperator(task_id="t")
"""
MONDAY, NEXT_MONDAY = datetime(2024, 1, 1, tzinfo=UTC), datetime(2024, 1, 8, tzinfo=UTC)


def write_dag(stage, before: str = "pass") -> None:
    stage.write("custom.py", CUSTOM_TIMETABLE.format(before=before))
    stage.process()
    assert stage.store.import_errors() == []


def days(plan) -> list[str]:
    return [f"{entry.logical_date:%a %d}" for entry in plan.entries]


def test_the_runs_of_a_range_without_recorded_runs_are_computed(stage):
    # Given a timetable of which some runs are recorded
    write_dag(stage)
    recorded = stage.store.version("custom").spec.schedule["runs"]
    assert not [run for run in recorded if MONDAY <= datetime.fromisoformat(run[1]) <= NEXT_MONDAY]

    # When a backfill covers a week without recorded runs
    preview = stage.ops.plan_backfill("custom", MONDAY, NEXT_MONDAY)
    backfill = stage.ops.backfill("custom", MONDAY, NEXT_MONDAY)

    # Then it has the days that the class returns, each with its interval, and nothing else has changed
    assert days(preview) == days(backfill.plan) == ["Mon 01", "Tue 02", "Wed 03", "Thu 04", "Fri 05", "Mon 08"]
    runs = stage.loop_until(lambda: [r for r in stage.store.runs("custom") if r.state.value == "success"][5:])
    assert len(runs) == 1
    assert {(run.data_interval_end - run.data_interval_start).days for run in stage.store.runs("custom")} == {1}
    assert stage.store.version("custom").spec.schedule["runs"] == recorded
    assert len(stage.store.versions("custom")) == 1


def test_the_error_of_a_range_without_runs_does_not_mention_recorded_runs(stage):
    write_dag(stage)
    saturday, sunday = datetime(2024, 1, 6, tzinfo=UTC), datetime(2024, 1, 7, tzinfo=UTC)

    with pytest.raises(NoBackfillRunsToCreate) as refused:
        stage.ops.backfill("custom", saturday, sunday)

    assert "recorded" not in str(refused.value)
    assert stage.store.backfills() == []


@pytest.mark.parametrize(
    ("before", "message"),
    [
        ("if start.year == 2024: raise ValueError('no calendar of 2024')", "ValueError: no calendar of 2024"),
        ("if start.year == 2024: import os; os._exit(3)", "exit code 3"),
    ],
)
def test_the_error_of_a_timetable_is_reported_and_nothing_is_created(stage, before, message):
    write_dag(stage, before)

    with pytest.raises(NbflowError, match=f"The timetable of DAG 'custom' cannot compute its runs .*{message}"):
        stage.ops.backfill("custom", MONDAY, NEXT_MONDAY)

    assert (stage.store.runs("custom"), stage.store.backfills()) == ([], [])


def test_a_timetable_that_hangs_is_killed_after_dagbag_import_timeout(make_stage):
    stage = make_stage(CORE__DAGBAG_IMPORT_TIMEOUT="2")
    write_dag(stage, "if start.year == 2024:\n                while True: pass")

    with pytest.raises(NbflowError, match="it took longer than 2 s"):
        stage.ops.plan_backfill("custom", MONDAY, NEXT_MONDAY)


def test_the_timetable_is_called_in_another_process(stage):
    write_dag(stage, f"assert __import__('os').getpid() != {os.getpid()}")
    assert len(stage.ops.plan_backfill("custom", MONDAY, NEXT_MONDAY).entries) == 6


def test_a_range_with_too_many_runs_is_refused(stage):
    write_dag(stage)
    with pytest.raises(NbflowError, match="there are more than 10,000"):
        stage.ops.plan_backfill("custom", datetime(1960, 1, 1, tzinfo=UTC), datetime(2024, 1, 1, tzinfo=UTC))


@pytest.mark.parametrize("raised", ["ValueError('no calendar')", "SystemExit(3)", "ZeroDivisionError()"])
def test_a_timetable_that_raises_is_an_import_error_with_its_line(stage, raised) -> None:
    # Given a file with a DAG whose timetable raises, and another DAG
    path = stage.write(
        "d.py",
        f"""\
        from nbflow import DAG
        from nbflow.operators.empty import EmptyOperator
        from nbflow.core.timetables import Timetable

        class Broken(Timetable):
            def next_dagrun_info(self, *, last_automated_data_interval, restriction):
                raise {raised}

        with DAG("broken", schedule=Broken()):
            EmptyOperator(task_id="t")
        with DAG("good", schedule=None):
            EmptyOperator(task_id="t")
        """,
    )

    # When it is parsed
    stage.process()

    # Then the error has the line and the class, and the other DAG is registered
    (error,) = stage.store.import_errors()
    assert (error.fileloc, error.line) == (str(path), 7)
    assert error.error.startswith("AirflowTimetableInvalid: The timetable Broken of DAG 'broken' raised ")
    assert [row.dag_id for row in stage.store.dags()] == ["good"]
