"""Triggering a run of another DAG, and waiting for it."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from nbflow import DAG
from nbflow.core.attempt_events import Failed, Rescheduled, SkippedItself, Succeeded
from nbflow.core.states import RunState
from nbflow.operators.trigger_dagrun import TriggerDagRunOperator
from tests.running.memory import MONDAY, MemoryRuntime, attempt


@pytest.fixture
def runtime() -> MemoryRuntime:
    runtime = MemoryRuntime(environ={})
    runtime.known_dags.add("other")
    return runtime


def test_it_triggers_a_run_with_rendered_arguments_and_pushes_its_id(dag: DAG, runtime: MemoryRuntime) -> None:
    TriggerDagRunOperator(
        task_id="t",
        trigger_dag_id="other",
        trigger_run_id="from_{{ ds }}",
        logical_date="{{ logical_date }}",
        conf={"day": "{{ ds }}"},
    )

    assert isinstance(attempt(dag, "t", runtime).event, Succeeded)

    run = runtime.runs[-1]
    assert (run.run_id, run.logical_date, run.conf) == ("from_2024-01-01", MONDAY, {"day": "2024-01-01"})
    assert runtime.stored("t", "trigger_run_id") == "from_2024-01-01"


@pytest.mark.parametrize(("skip", "end"), [(False, Failed), (True, SkippedItself)])
def test_a_run_that_exists_already(dag: DAG, runtime: MemoryRuntime, skip: bool, end: type) -> None:
    runtime.runs.append(replace(runtime.run, dag_id="other", run_id="r"))
    TriggerDagRunOperator(task_id="t", trigger_dag_id="other", trigger_run_id="r", skip_when_already_exists=skip)

    assert type(attempt(dag, "t", runtime).event) is end


def test_reset_clears_the_existing_run(dag: DAG, runtime: MemoryRuntime) -> None:
    runtime.runs.append(replace(runtime.run, dag_id="other", run_id="r"))
    TriggerDagRunOperator(task_id="t", trigger_dag_id="other", trigger_run_id="r", reset_dag_run=True)

    assert isinstance(attempt(dag, "t", runtime).event, Succeeded)


@pytest.mark.parametrize("arguments", [{"trigger_dag_id": "nope"}, {"trigger_dag_id": "other", "logical_date": "soon"}])
def test_an_invalid_dag_id_or_date_fails_the_task(dag: DAG, runtime: MemoryRuntime, arguments: Any) -> None:
    TriggerDagRunOperator(task_id="t", **arguments)

    assert isinstance(attempt(dag, "t", runtime).event, Failed)


@pytest.mark.parametrize(("state", "end"), [(RunState.SUCCESS, Succeeded), (RunState.FAILED, Failed)])
def test_waiting_reschedules_the_task_until_the_run_has_ended(
    dag: DAG, runtime: MemoryRuntime, state: RunState, end: type
) -> None:
    TriggerDagRunOperator(task_id="t", trigger_dag_id="other", wait_for_completion=True, poke_interval=30)

    first = attempt(dag, "t", runtime).event
    second = attempt(dag, "t", runtime, continues=True, reschedules=1).event
    runtime.runs[-1] = replace(runtime.runs[-1], state=state)
    last = attempt(dag, "t", runtime, continues=True, reschedules=2).event

    assert isinstance(first, Rescheduled)
    assert first.until == runtime.now() + timedelta(seconds=30)
    assert [type(second), type(last)] == [Rescheduled, end]
    assert len([run for run in runtime.runs if run.dag_id == "other"]) == 1
