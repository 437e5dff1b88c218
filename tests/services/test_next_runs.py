"""What is told of a DAG's next runs is what its scheduler makes next."""

from __future__ import annotations

import json

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
    # Given a DAG that the scheduler has made a run of
    stage.write("sales.py", DAILY)
    stage.process()
    stage.loop_until(lambda: stage.store.latest_run("sales"))
    row = stage.store.dag("sales")
    # When its next runs are asked for
    now = stage.app.clock.now()
    coming = upcoming_runs(stage.store, stage.store.version("sales").spec, now, 3)
    view = next_runs.fetch(stage.store, next_runs.NextRunsQuery(dag_id="sales", limit=3), now, stage.app.settings)
    monkeypatch.setenv("NBFLOW_HOME", str(stage.home))
    assert main(["dags", "next-execution", "sales", "-n", "3", "-o", "json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    # Then all begin with the one that the scheduler is about to make, and go on alike
    dates = [info.logical_date for info in coming]
    assert (len(dates), coming[0].run_after) == (3, row.next_run)
    assert [one.logical_date for one in view.rows] == dates
    assert [one["logical_date"] for one in listed] == [date.isoformat(timespec="microseconds") for date in dates]
