"""The machine-readable contract: the exact output that scripts read."""

from __future__ import annotations

import re

import pytest

from nbflow.core.snapshot import RunKey
from tests.cli.conftest import BROKEN, FAILING

STAMP = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}\+00:00"


def test_dags_test_prints_one_object(nbflow, sales):
    # When the DAG of a file is tested for a date
    result = nbflow("dags", "test", "sales", "2024-01-05", "-S", sales, "-o", "json")
    # Then stdout is the run as one object
    assert result.json == {
        "dag_id": "sales",
        "run_id": "manual__2024-01-05T00:00:00+00:00",
        "logical_date": "2024-01-05T00:00:00.000000+00:00",
        "state": "success",
        "task_instances": [
            {"task_id": "double", "map_index": 0, "state": "success", "try_number": 1},
            {"task_id": "double", "map_index": 1, "state": "success", "try_number": 1},
            {"task_id": "extract", "map_index": -1, "state": "success", "try_number": 1},
            {"task_id": "load", "map_index": -1, "state": "success", "try_number": 1},
        ],
    }
    # And prints of tasks and the log are on stderr
    assert "extracting 2024-01-05" in result.err
    assert "loaded 6" in result.err
    assert "INFO nbflow.task" in result.err
    assert result.code == 0


def test_the_exit_code_of_dags_test_is_1_if_the_run_fails(nbflow, dag_file):
    result = nbflow("dags", "test", "failing", "-S", dag_file("failing.py", FAILING), "-o", "json")
    assert result.code == 1
    assert result.json["state"] == "failed"
    assert result.json["task_instances"] == [
        {"task_id": "after", "map_index": -1, "state": "upstream_failed", "try_number": 0},
        {"task_id": "wrong", "map_index": -1, "state": "failed", "try_number": 1},
    ]
    assert "ValueError: no such customer" in result.err


def test_options_and_positional_arguments_may_be_mixed(nbflow, sales):
    result = nbflow("dags", "test", "-S", sales, "sales", "-o", "json", "2024-01-05")
    assert result.json["logical_date"] == "2024-01-05T00:00:00.000000+00:00"


@pytest.mark.parametrize("option", ["--exec-date", "--execution-date"])
def test_dags_test_accepts_the_date_options_of_airflow_2(nbflow, sales, option):
    result = nbflow("dags", "test", "sales", option, "2024-01-05", "-S", sales, "-o", "json")
    assert result.json["run_id"] == "manual__2024-01-05T00:00:00+00:00"


def test_dags_test_stores_the_conf_of_the_run(nbflow, sales, app):
    run_id = nbflow("dags", "test", "sales", "-S", sales, "-c", '{"rate": 3}', "-o", "json").json["run_id"]
    assert app.store.run(RunKey("sales", run_id)).conf == {"rate": 3}


def test_the_state_of_a_task_without_a_state_is_null(nbflow, sales):
    nbflow("dags", "trigger", "sales", "-S", sales, "-l", "2024-01-05")
    result = nbflow("tasks", "states-for-dag-run", "sales", "manual__2024-01-05T00:00:00+00:00", "-o", "json")
    assert result.json[1] == {
        "dag_id": "sales",
        "run_id": "manual__2024-01-05T00:00:00+00:00",
        "logical_date": "2024-01-05T00:00:00.000000+00:00",
        "task_id": "extract",
        "map_index": -1,
        "state": None,
        "try_number": 0,
        "start_date": None,
        "end_date": None,
    }


def test_states_of_an_ended_run(nbflow, sales):
    nbflow("dags", "test", "sales", "2024-01-05", "-S", sales)
    rows = nbflow("tasks", "states-for-dag-run", "sales", "2024-01-05", "-o", "json").json
    assert [(row["task_id"], row["map_index"], row["state"]) for row in rows] == [
        ("double", 0, "success"),
        ("double", 1, "success"),
        ("extract", -1, "success"),
        ("load", -1, "success"),
    ]
    assert all(re.fullmatch(STAMP, row[name]) for row in rows for name in ("start_date", "end_date"))


def test_dags_trigger_prints_the_run_as_list_runs_does(nbflow, sales):
    # When a run is triggered
    triggered = nbflow("dags", "trigger", "sales", "-S", sales, "-l", "2024-01-05", "-o", "json")
    # Then its object is that of list-runs
    assert triggered.json == {
        "dag_id": "sales",
        "run_id": "manual__2024-01-05T00:00:00+00:00",
        "run_type": "manual",
        "state": "queued",
        "logical_date": "2024-01-05T00:00:00.000000+00:00",
        "data_interval_start": "2024-01-04T00:00:00.000000+00:00",
        "data_interval_end": "2024-01-05T00:00:00.000000+00:00",
        "start_date": None,
        "end_date": None,
    }
    assert nbflow("dags", "list-runs", "-d", "sales", "-o", "json").json == [triggered.json]
    # And a warning says that no scheduler is running
    assert "No scheduler is running" in triggered.err


def test_list_runs_selects_by_state_and_date(nbflow, sales):
    for day in ("2024-01-05", "2024-01-06", "2024-01-07"):
        nbflow("dags", "trigger", "sales", "-S", sales, "-l", day)
    nbflow("dags", "test", "sales", "2024-01-08", "-S", sales)

    def days(*words: str) -> list[str]:
        return [row["logical_date"][:10] for row in nbflow("dags", "list-runs", "sales", "-o", "json", *words).json]

    assert days() == ["2024-01-08", "2024-01-07", "2024-01-06", "2024-01-05"]
    assert days("--state", "success") == ["2024-01-08"]
    assert days("-s", "2024-01-06", "-e", "2024-01-07") == ["2024-01-07", "2024-01-06"]


def test_list_import_errors(nbflow, dag_file):
    path = dag_file("broken.py", BROKEN)
    rows = nbflow("dags", "list-import-errors", "-S", path, "-o", "json").json
    assert [(row["filepath"], row["line"], row["error"].partition(":")[0]) for row in rows] == [
        (path, 4, "AirflowTimetableInvalid")
    ]
    assert list(rows[0]) == ["filepath", "line", "error"]


@pytest.mark.parametrize("listing", [["dags", "list-import-errors"], ["dags", "list"], ["variables", "list"]])
def test_a_listing_without_rows_is_an_empty_array(nbflow, listing):
    assert nbflow(*listing, "-o", "json").json == []
