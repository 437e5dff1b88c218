"""Sensors: pokes, timeouts and their outcomes; each sensor with real files and states."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from nbflow import DAG, task
from nbflow.connections import Connection
from nbflow.core.attempt_events import Failed, Rescheduled, SkippedItself, Succeeded
from nbflow.core.snapshot import Run
from nbflow.core.states import Cause, RunState
from nbflow.errors import AirflowFailException, AirflowSkipException, InvalidArgument
from nbflow.sensors.base import BaseSensorOperator, PokeReturnValue
from nbflow.sensors.external_task import ExternalTaskMarker, ExternalTaskSensor
from nbflow.sensors.filesystem import FileSensor
from nbflow.sensors.python import PythonSensor
from nbflow.sensors.time_delta import TimeDeltaSensor
from tests.running.memory import MONDAY, MemoryRuntime, a_run, attempt

DAY = timedelta(days=1)
NOW = MONDAY + DAY


def returning(*results: Any) -> Any:
    """A function that returns these results one after another, then the last one for ever; exceptions are raised."""
    remaining = list(results)

    def function() -> Any:
        result = remaining.pop(0) if len(remaining) > 1 else remaining[0]
        if isinstance(result, Exception):
            raise result
        return result

    return function


def outcome(event: Any) -> Any:
    return (type(event), event.cause, event.retry) if isinstance(event, Failed) else type(event)


RAISED, FINAL = (Failed, Cause.RAISED, True), (Failed, Cause.RAISED, False)


@pytest.mark.parametrize(
    ("results", "arguments", "end"),
    [
        ([True], {}, Succeeded),
        ([False, 0, "yes"], {}, Succeeded),
        ([False], {"timeout": 0}, FINAL),
        ([False], {"timeout": 0, "soft_fail": True}, SkippedItself),
        ([False], {"timeout": 0, "never_fail": True}, FINAL),
        ([ValueError("x")], {}, RAISED),
        ([ValueError("x")], {"soft_fail": True}, RAISED),
        ([ValueError("x"), True], {"silent_fail": True}, Succeeded),
        ([ValueError("x")], {"silent_fail": True, "timeout": 0}, FINAL),
        ([ValueError("x")], {"never_fail": True}, SkippedItself),
        ([AirflowSkipException("x")], {}, SkippedItself),
        ([AirflowSkipException("x")], {"silent_fail": True}, SkippedItself),
        ([AirflowFailException("x")], {}, (Failed, Cause.FAILED_HARD, False)),
        ([AirflowFailException("x")], {"soft_fail": True}, SkippedItself),
    ],
)
def test_the_outcome_of_a_sensor(dag: DAG, runtime: MemoryRuntime, results: Any, arguments: Any, end: Any) -> None:
    PythonSensor(task_id="s", python_callable=returning(*results), poke_interval=0, **arguments)

    assert outcome(attempt(dag, "s", runtime).event) == end


def test_a_poke_return_value_has_the_result(dag: DAG, runtime: MemoryRuntime) -> None:
    @task.sensor(poke_interval=0)
    def s() -> PokeReturnValue:
        return results()

    results = returning(PokeReturnValue(False, "no"), PokeReturnValue(True, {"rows": 3}))
    s()
    attempt(dag, "s", runtime)

    assert runtime.stored("s") == {"rows": 3}


def test_reschedule_mode_releases_the_slot_and_times_out_from_the_first_start(dag: DAG, runtime: MemoryRuntime) -> None:
    PythonSensor(task_id="s", python_callable=returning(False), mode="reschedule", poke_interval=60, timeout=300)

    events = []
    for pokes in range(7):
        runtime.clock = NOW + timedelta(seconds=60 * pokes)
        resumed = {"continues": True, "first_start": NOW, "reschedules": pokes} if pokes else {}
        events.append(attempt(dag, "s", runtime, **resumed).event)

    untils = [event.until - NOW for event in events if isinstance(event, Rescheduled)]
    assert untils == [timedelta(seconds=60 * n) for n in range(1, 7)]
    assert outcome(events[-1]) == FINAL


def test_reschedule_mode_is_part_of_the_spec(dag: DAG) -> None:
    PythonSensor(task_id="s", python_callable=print, mode="reschedule")
    PythonSensor(task_id="p", python_callable=print)

    spec = dag.to_spec()

    assert [(task.is_sensor, task.reschedules) for task in (spec.tasks["s"], spec.tasks["p"])] == [
        (True, True),
        (True, False),
    ]


def test_backoff_doubles_up_to_max_wait_and_is_the_same_each_time(dag: DAG) -> None:
    def delays(**arguments: Any) -> list[float]:
        sensor = BaseSensorOperator(task_id="s", dag=DAG("other"), exponential_backoff=True, **arguments)
        return [sensor.delay_after(pokes, "identity") for pokes in range(1, 6)]

    unlimited, limited = delays(poke_interval=10), delays(poke_interval=10, max_wait=50)

    assert all(10 * 2**n <= delay <= 2 * 10 * 2**n for n, delay in enumerate(unlimited))
    assert unlimited == delays(poke_interval=timedelta(seconds=10))
    assert limited == [min(delay, 50) for delay in unlimited]
    assert max(delays(poke_interval=1e9, timeout=100)) == 100


@pytest.mark.parametrize(
    "arguments",
    [
        {"mode": "sometimes"},
        {"poke_interval": -1},
        {"timeout": "long"},
        {"poke_interval": True},
        {"soft_fail": True, "never_fail": True},
    ],
)
def test_invalid_arguments_are_refused(dag: DAG, arguments: Any) -> None:
    with pytest.raises(InvalidArgument):
        PythonSensor(task_id="s", python_callable=print, **arguments)


# ------------------------------------------------------------------------------------------------------------ file


def finds_file(dag: DAG, runtime: MemoryRuntime, **arguments: Any) -> bool:
    FileSensor(task_id="s", mode="reschedule", **arguments)
    event = attempt(dag, "s", runtime).event
    assert not isinstance(event, Failed), event.error
    return isinstance(event, Succeeded)


@pytest.mark.parametrize(
    ("filepath", "exists"),
    [
        ("a.csv", True),
        ("b.csv", False),
        ("*.csv", True),
        ("full", True),
        ("empty", False),
        ("full/*/x.txt", True),
        ("a_{{ ds }}.txt", True),
    ],
)
def test_a_file_sensor(dag: DAG, runtime: MemoryRuntime, tmp_path: Path, filepath: str, exists: bool) -> None:
    (tmp_path / "full" / "deep").mkdir(parents=True)
    (tmp_path / "empty" / "deep").mkdir(parents=True)
    for name in ("a.csv", "full/deep/x.txt", "a_2024-01-01.txt"):
        (tmp_path / name).touch()

    assert finds_file(dag, runtime, filepath=str(tmp_path / filepath)) is exists


def test_the_path_of_a_file_sensor_is_relative_to_its_connections_folder(
    dag: DAG, runtime: MemoryRuntime, tmp_path: Path
) -> None:
    (tmp_path / "a.csv").touch()
    runtime.connections["here"] = Connection(conn_id="here", conn_type="fs", extra={"path": str(tmp_path)})  # type: ignore[arg-type]

    assert finds_file(dag, runtime, filepath="a.csv", fs_conn_id="here") is True


def test_a_recursive_file_sensor(dag: DAG, runtime: MemoryRuntime, tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "x.csv").touch()

    assert finds_file(dag, runtime, filepath=str(tmp_path / "**" / "*.csv"), recursive=True) is True


# ------------------------------------------------------------------------------------------------------ time delta


@pytest.mark.parametrize(("now", "is_done"), [(NOW, False), (NOW + timedelta(hours=2), True), (NOW + DAY, True)])
def test_a_time_delta_sensor_waits_after_the_interval(dag: DAG, now: Any, is_done: bool) -> None:
    runtime = MemoryRuntime(now=now)
    TimeDeltaSensor(task_id="s", delta=timedelta(hours=2), mode="reschedule")

    assert isinstance(attempt(dag, "s", runtime).event, Succeeded) is is_done


# --------------------------------------------------------------------------------------------------- external task


def external(dag: DAG, runtime: MemoryRuntime, **arguments: Any) -> Any:
    ExternalTaskSensor(task_id="s", external_dag_id="other", mode="reschedule", **arguments)
    return type(attempt(dag, "s", runtime).event)


def other_run(date: Any, state: RunState) -> Run:
    return replace(a_run(date), dag_id="other", state=state)


@pytest.mark.parametrize(
    ("state", "arguments", "end"),
    [
        (None, {}, Rescheduled),
        (RunState.RUNNING, {}, Rescheduled),
        (RunState.SUCCESS, {}, Succeeded),
        (RunState.FAILED, {}, Rescheduled),
        (RunState.FAILED, {"failed_states": ["failed"]}, Failed),
        (RunState.FAILED, {"failed_states": ["failed"], "soft_fail": True}, SkippedItself),
        (RunState.FAILED, {"skipped_states": ["failed"]}, SkippedItself),
        (RunState.FAILED, {"allowed_states": ["success", "failed"]}, Succeeded),
    ],
)
def test_waiting_for_a_run(dag: DAG, runtime: MemoryRuntime, state: Any, arguments: Any, end: type) -> None:
    if state is not None:
        runtime.runs.append(other_run(MONDAY, state))

    assert external(dag, runtime, **arguments) is end


@pytest.mark.parametrize(
    ("states", "ids", "end"),
    [
        ({}, ["x"], Rescheduled),
        ({"x": "success"}, ["x"], Succeeded),
        ({"x": "success"}, ["x", "y"], Rescheduled),
        ({"x": "success", "y": "running"}, ["x", "y"], Rescheduled),
        ({"x": "success", "y": "success"}, ["x", "y"], Succeeded),
        ({"x": "failed", "y": "running"}, ["x", "y"], Failed),
    ],
)
def test_waiting_for_tasks(dag: DAG, runtime: MemoryRuntime, states: Any, ids: Any, end: type) -> None:
    runtime.states = {("other", task_id, MONDAY): state for task_id, state in states.items()}

    assert external(dag, runtime, external_task_ids=ids, failed_states=["failed"]) is end


@pytest.mark.parametrize(
    "arguments",
    [
        {"execution_delta": DAY},
        {"execution_date_fn": lambda date: date - DAY},
        {"execution_date_fn": lambda date, ds: date - DAY if ds == "2024-01-01" else None},
        {"execution_date_fn": lambda date, **context: context["logical_date"] - DAY},
        {"execution_date_fn": lambda date: [date - DAY, date - 2 * DAY]},
    ],
)
def test_the_logical_date_selects_the_run(dag: DAG, runtime: MemoryRuntime, arguments: Any) -> None:
    runtime.runs += [other_run(MONDAY - DAY, RunState.SUCCESS), other_run(MONDAY - 2 * DAY, RunState.SUCCESS)]

    assert external(dag, runtime, **arguments) is Succeeded


@pytest.mark.parametrize(
    "arguments",
    [
        {"external_task_id": "a", "external_task_ids": ["b"]},
        {"external_task_ids": ["b", "b"]},
        {"execution_delta": DAY, "execution_date_fn": print},
        {"allowed_states": ["done"]},
        {"failed_states": ["skipped"]},
        {"allowed_states": ["success"], "failed_states": ["success"]},
    ],
)
def test_contradictions_are_refused(dag: DAG, arguments: Any) -> None:
    with pytest.raises(InvalidArgument):
        ExternalTaskSensor(task_id="s", external_dag_id="other", **arguments)


def test_a_marker_names_the_task_that_waits(dag: DAG, runtime: MemoryRuntime) -> None:
    ExternalTaskMarker(task_id="m", external_dag_id="other", external_task_id="s")

    assert isinstance(attempt(dag, "m", runtime).event, Succeeded)
    assert runtime.rendered == {"logical_date": "2024-01-01T00:00:00+00:00"}
