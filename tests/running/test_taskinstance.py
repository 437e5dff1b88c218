"""``ti`` and ``dag_run`` in task code."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, timedelta
from typing import Any

import pendulum

from nbflow import DAG, Param
from nbflow.authoring.taskinstance import TaskInstance
from nbflow.core.attempt_events import Failed
from nbflow.core.snapshot import Run
from nbflow.core.states import RunState
from nbflow.operators.python import PythonOperator
from tests.running.memory import MONDAY, MemoryRuntime, a_run, attempt


def ti_of(dag: DAG, runtime: MemoryRuntime, **work: Any) -> TaskInstance:
    """The ``ti`` of a try."""
    tis: list[TaskInstance] = []
    PythonOperator(task_id="t", python_callable=lambda ti: tis.append(ti))
    attempt(dag, "t", runtime, **work)
    return tis[0]


def test_attributes_of_a_task_instance_that_need_no_request(dag: DAG, runtime: MemoryRuntime) -> None:
    ti = ti_of(dag, runtime, try_number=2, max_tries=3, map_index=-1, log_path="/logs/x.log")

    assert (ti.dag_id, ti.task_id, ti.run_id) == ("d", "t", runtime.run.run_id)
    assert (ti.try_number, ti.max_tries, ti.map_index, ti.operator) == (2, 3, -1, "PythonOperator")
    assert ti.log_filepath == "/logs/x.log"
    assert ti.log_url == ("/dags/d/runs/scheduled__2024-01-01T00%3A00%3A00%2B00%3A00/tasks/t?map_index=-1&try_number=2")
    assert repr(ti) == f"<TaskInstance d.t @ {runtime.run.run_id}, try 2>"


def test_a_resumed_try_keeps_its_first_start(dag: DAG, runtime: MemoryRuntime) -> None:
    ti = ti_of(dag, runtime, continues=True, first_start=MONDAY)

    assert ti.start_date == MONDAY
    assert isinstance(ti.start_date, pendulum.DateTime)


def test_dag_run_in_task_code(dag: DAG, runtime: MemoryRuntime) -> None:
    berlin = pendulum.timezone("Europe/Berlin")
    runtime.run = replace(runtime.run, logical_date=MONDAY.astimezone(berlin), run_type="manual", conf={"a": 1})
    run = ti_of(dag, runtime).dag_run

    assert isinstance(run.logical_date, pendulum.DateTime)
    assert (str(run.logical_date), run.logical_date.tzinfo.name) == ("2024-01-01 00:00:00+00:00", "UTC")
    assert (run.execution_date, run.external_trigger, run.state, run.conf) == (MONDAY, True, "running", {"a": 1})
    run.conf["a"] = 2
    assert runtime.run.conf == {"a": 1}


def test_neighbours_in_the_schedule(runtime: MemoryRuntime) -> None:
    def neighbours(schedule: Any, run: Run) -> Any:
        with DAG("d", schedule=schedule) as dag:
            ti = ti_of(dag, MemoryRuntime(run, environ={}))
        dates = (ti.previous_logical_date, ti.next_logical_date)
        return tuple(date and date.astimezone(UTC) for date in dates)

    day, hour = timedelta(days=1), timedelta(hours=1)
    hourly = a_run(MONDAY, data_interval_end=MONDAY + hour)
    assert neighbours("@daily", a_run(MONDAY)) == (MONDAY - day, MONDAY + day)
    assert neighbours("@hourly", hourly) == (MONDAY - hour, MONDAY + hour)
    assert neighbours(hour, hourly) == (MONDAY - hour, MONDAY + hour)
    assert neighbours("@daily", a_run(MONDAY, run_type="manual")) == (MONDAY, MONDAY)


def test_an_invalid_param_fails_the_task_that_reads_it(runtime: MemoryRuntime) -> None:
    runtime.run = replace(runtime.run, conf={"n": "many"})
    with DAG("d", params={"n": Param(1, type="integer")}) as dag:
        PythonOperator(task_id="t", python_callable=lambda params: params["n"])

    event = attempt(dag, "t", runtime).event

    assert isinstance(event, Failed)
    assert event.error.startswith("ParamValidationError: Param 'n'")


def test_the_previous_success_is_requested_once(dag: DAG, runtime: MemoryRuntime) -> None:
    before = a_run(MONDAY - timedelta(days=1), state=RunState.SUCCESS)
    runtime.runs = [before, runtime.run]
    ti = ti_of(dag, runtime)

    assert ti.get_previous_dagrun().run_id == before.run_id  # type: ignore[union-attr]
    runtime.runs = []
    assert ti.previous_start_date_success == before.start_date
