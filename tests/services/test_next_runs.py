"""The next runs that commands and views show are those that the scheduler creates."""

from __future__ import annotations

import json
import sqlite3

from nbflow.cli.main import main
from nbflow.services.scheduled_runs import upcoming_runs
from nbflow.views import next_runs

DAILY = """
    from datetime import datetime
    from nbflow import DAG
    from nbflow.operators.empty import EmptyOperator

    with DAG("sales", schedule="@daily", start_date=datetime(2024, 1, 1)):
        EmptyOperator(task_id="t")
"""


def test_commands_views_and_the_scheduler_name_the_same_next_runs(stage, monkeypatch, capsys):
    # Given a DAG of which the scheduler has created a run
    stage.write("sales.py", DAILY)
    stage.process()
    stage.loop_until(lambda: stage.store.latest_run("sales"))
    dag_row = stage.store.dag("sales")
    # When its next runs are shown
    now = stage.app.clock.now()
    upcoming = upcoming_runs(stage.store, stage.store.version("sales").spec, now, 3)
    view = next_runs.fetch(stage.store, next_runs.NextRunsQuery(dag_id="sales", limit=3), now, stage.app.settings)
    monkeypatch.setenv("NBFLOW_HOME", str(stage.home))
    assert main(["dags", "next-execution", "sales", "-n", "3", "-o", "json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    # Then all begin with the run that the scheduler creates next, and are equal
    dates = [info.logical_date for info in upcoming]
    assert (len(dates), upcoming[0].run_after) == (3, dag_row.next_run)
    assert [row.logical_date for row in view.rows] == dates
    assert [item["logical_date"] for item in listed] == [date.isoformat(timespec="microseconds") for date in dates]


def test_a_due_run_is_created_although_a_manual_run_has_its_id(stage) -> None:
    # Given a manual run with the id of the DAG's due run, which older versions of nbflow allowed
    stage.write(
        "d.py",
        """\
        import pendulum
        from nbflow import DAG
        from nbflow.operators.empty import EmptyOperator
        start, end = pendulum.datetime(2000, 1, 1), pendulum.datetime(2001, 6, 1)
        with DAG("d", schedule="@yearly", start_date=start, end_date=end, catchup=True):
            EmptyOperator(task_id="t")
        """,
    )
    stage.process()
    manual = stage.ops.trigger("d", run_id="mine").key
    due_id = "scheduled__2001-01-01T00:00:00+00:00"
    connection = sqlite3.connect(stage.home / "nbflow.db")
    with connection:
        connection.execute("UPDATE dag_run SET run_id = ? WHERE run_id = ?", (due_id, manual.run_id))
    connection.close()

    # When the scheduler creates the due runs
    stage.loop_until(lambda: len(stage.store.runs("d", run_type="scheduled")) == 2)

    # Then each interval has its run
    runs = stage.store.runs("d", run_type="scheduled", newest_first=False)
    assert [run.run_id for run in runs] == [f"{due_id}_1", "scheduled__2002-01-01T00:00:00+00:00"]
