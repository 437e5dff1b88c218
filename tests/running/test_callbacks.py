"""Callbacks of a task: which run, with which context, and what their errors do."""

from __future__ import annotations

import logging
import sys
from typing import Any

import pytest

from nbflow import DAG
from nbflow.core.attempt_events import Succeeded
from nbflow.errors import AirflowFailException, AirflowRescheduleException, AirflowSkipException
from nbflow.operators.python import PythonOperator
from tests.running.memory import MONDAY, MemoryRuntime, attempt

KINDS = ("execute", "success", "failure", "retry", "skipped")


def a_task(function: Any, calls: list[Any]) -> PythonOperator:
    def record(kind: str) -> Any:
        return lambda context: calls.append((kind, context["ti"].state, context.get("exception")))

    return PythonOperator(
        task_id="t", python_callable=function, retries=1, **{f"on_{kind}_callback": record(kind) for kind in KINDS}
    )


def raising(error: Exception) -> Any:
    def function() -> None:
        raise error

    return function


BAD, HARD, SKIP = ValueError("bad"), AirflowFailException("no"), AirflowSkipException("not now")


@pytest.mark.parametrize(
    ("function", "try_number", "expected"),
    [
        (lambda: 1, 1, [("success", "success", None)]),
        (raising(BAD), 1, [("retry", "up_for_retry", BAD)]),
        (raising(BAD), 2, [("failure", "failed", BAD)]),
        (raising(HARD), 1, [("failure", "failed", HARD)]),
        (raising(SKIP), 1, [("skipped", "skipped", SKIP)]),
        (raising(AirflowRescheduleException(MONDAY)), 1, []),
    ],
)
def test_the_callback_of_the_outcome_runs(
    dag: DAG, runtime: MemoryRuntime, function: Any, try_number: int, expected: list[Any]
) -> None:
    calls: list[Any] = []
    a_task(function, calls)

    outcome = attempt(dag, "t", runtime, try_number=try_number, max_tries=1)

    assert calls == [("execute", "running", None), *expected]
    assert outcome.callbacks_run == tuple(kind for kind, _, _ in calls)


def test_a_resumed_try_does_not_run_on_execute_callback(dag: DAG, runtime: MemoryRuntime) -> None:
    calls: list[Any] = []
    a_task(lambda: None, calls)

    outcome = attempt(dag, "t", runtime, continues=True)

    assert outcome.callbacks_run == ("success",)


def test_a_failing_callback_changes_nothing(dag: DAG, runtime: MemoryRuntime, caplog: pytest.LogCaptureFixture) -> None:
    dates: list[str] = []
    PythonOperator(
        task_id="t",
        python_callable=lambda: 1,
        on_success_callback=[lambda context: 1 / 0, sys.exit, lambda context: dates.append(context["ds"])],
    )

    with caplog.at_level(logging.ERROR):
        outcome = attempt(dag, "t", runtime)

    assert isinstance(outcome.event, Succeeded)
    assert dates == ["2024-01-01"]
    assert "on_success_callback <lambda> failed: division by zero" in caplog.text


def test_pre_and_post_execute_surround_execute(dag: DAG, runtime: MemoryRuntime) -> None:
    order: list[Any] = []
    PythonOperator(
        task_id="t",
        python_callable=lambda: order.append("execute") or 5,
        pre_execute=lambda context: order.append("pre"),
        post_execute=lambda context, result: order.append(("post", result)),
    )

    attempt(dag, "t", runtime)

    assert order == ["pre", "execute", ("post", 5)]
