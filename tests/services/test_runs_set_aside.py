"""Runs that cannot be read or changed are set aside with their reason, and the other runs go on."""

from __future__ import annotations

import json
import logging
import sqlite3
from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from nbflow.cli import main as cli
from nbflow.core.snapshot import RunKey
from nbflow.core.states import RunState

DAG_FILE = """\
from nbflow import DAG
from nbflow.operators.empty import EmptyOperator
for name in ("good", "bad"):
    with DAG(name, schedule=None):
        EmptyOperator(task_id="t")
"""
DATE = datetime(2024, 1, 1, tzinfo=UTC)


def execute(stage, sql: str, *values: object) -> None:
    """Change the metastore as neither nbflow nor its constraints would."""
    connection = sqlite3.connect(stage.home / "nbflow.db")
    with connection:
        connection.execute("PRAGMA ignore_check_constraints=ON")
        connection.execute(sql, values)
    connection.close()
    stage.store._specs.clear()  # as in a process that has not read the spec before


FAULTS: dict[str, Callable[..., None]] = {
    "NUL in the run id": lambda stage: execute(stage, "UPDATE dag_run SET run_id = ? WHERE dag_id = 'bad'", "a\0b"),
    "spec of a newer version": lambda stage: execute(
        stage, "UPDATE dag_version SET spec = ? WHERE dag_id = 'bad'", json.dumps({"unknown": 1})
    ),
    "spec that is no JSON": lambda stage: execute(stage, "UPDATE dag_version SET spec = '{' WHERE dag_id = 'bad'"),
    "date that is no date": lambda stage: execute(
        stage, "UPDATE dag_run SET data_interval_start = 'yesterday' WHERE dag_id = 'bad'"
    ),
    "state that does not exist": lambda stage: execute(
        stage, "UPDATE task_instance SET state = 'lost' WHERE run_no = (SELECT id FROM dag_run WHERE dag_id = 'bad')"
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_run_that_cannot_be_scheduled_does_not_stop_the_others(stage, capsys, caplog, fault: str) -> None:
    # Given an active run with the fault
    stage.write("d.py", DAG_FILE)
    stage.process()
    stage.ops.trigger("bad", logical_date=DATE)
    FAULTS[fault](stage)

    # When the scheduler starts, and a run of another DAG is triggered
    good = stage.ops.trigger("good").key
    caplog.set_level(logging.ERROR)
    assert stage.run_to_end(good) == {"t": "success"}

    # Then the bad run is set aside with its reason, which is logged once
    stage.loop_until(lambda: stage.scheduler.set_aside.as_detail() and stage.scheduler.next_heartbeat is not None)
    second = stage.ops.trigger("good").key
    assert stage.run_to_end(second) == {"t": "success"}
    assert [record.message.count("is set aside") for record in caplog.records] == [1]

    # And the listings show it with the command that deletes it, which works
    def nbflow(*words: str) -> tuple[int, str]:
        code = cli.main([*words], environ={**stage.environ, "NBFLOW_HOME": str(stage.home)})
        captured = capsys.readouterr()
        return code, captured.out + captured.err

    code, status = nbflow("status")
    (line,) = [line for line in status.splitlines() if "set the run aside" in line]
    command = line.rpartition("To delete the run: nbflow ")[2].split()
    assert command[:3] == ["dags", "delete-run", "bad"]
    deleted = nbflow(*command, "-y")
    assert (deleted[0], "was deleted" in deleted[1]) == (0, True), deleted
    assert [run.dag_id for run in stage.store.active_runs()] == []

    # And the scheduler forgets it
    third = stage.ops.trigger("good").key
    stage.run_to_end(third)
    assert not stage.scheduler.set_aside.as_detail()


def test_why_and_list_runs_show_a_run_that_is_set_aside(stage, capsys) -> None:
    # Given a run whose spec cannot be read, set aside
    stage.write("d.py", DAG_FILE)
    stage.process()
    bad = stage.ops.trigger("bad", logical_date=DATE).key
    FAULTS["spec that is no JSON"](stage)
    stage.loop_until(lambda: stage.scheduler.set_aside.as_detail() and stage.scheduler.next_heartbeat is not None)

    # When a user asks why, and lists the runs
    environ = {**stage.environ, "NBFLOW_HOME": str(stage.home)}
    outputs = []
    for words in (["why", "bad", bad.run_id], ["dags", "list-runs", "bad"]):
        cli.main(words, environ=environ)
        captured = capsys.readouterr()
        outputs.append(captured.out + captured.err)

    # Then both name the reason
    assert all("set the run aside" in output for output in outputs), outputs


def test_a_run_that_is_mended_goes_on(stage) -> None:
    # Given a run that is set aside because its spec cannot be read
    stage.write("d.py", DAG_FILE)
    stage.process()
    bad = stage.ops.trigger("bad", logical_date=DATE).key
    spec = sqlite3.connect(stage.home / "nbflow.db").execute("SELECT spec FROM dag_version WHERE dag_id = 'bad'")
    (text,) = spec.fetchone()
    FAULTS["spec that is no JSON"](stage)
    stage.loop_until(lambda: bad in stage.scheduler.set_aside)

    # When the spec is repaired, and the run is changed
    execute(stage, "UPDATE dag_version SET spec = ? WHERE dag_id = 'bad'", text)
    execute(stage, "UPDATE dag_run SET revision = revision + 1 WHERE dag_id = 'bad'")

    # Then the run goes on
    stage.loop_until(lambda: stage.store.run(RunKey(*bad)).state is RunState.SUCCESS)
