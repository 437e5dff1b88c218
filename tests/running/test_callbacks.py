"""Callbacks of a task: which run, with what, and what comes of their own errors."""

from __future__ import annotations

import logging
import sys
from typing import Any

import pytest

from nbflow import DAG
from nbflow.core.events import Succeeded
from nbflow.errors import AirflowFailException, AirflowRescheduleException, AirflowSkipException
from nbflow.operators.python import PythonOperator
from tests.running.memory import MONDAY, MemoryRuntime, attempt

KINDS = ("execute", "success", "failure", "retry", "skipped")


def a_task(function: Any, heard: list[Any]) -> PythonOperator:
    def hear(kind: str) -> Any:
        return lambda context: heard.append((kind, context["ti"].state, context.get("exception")))

    return PythonOperator(
        task_id="t", python_callable=function, retries=1, **{f"on_{kind}_callback": hear(kind) for kind in KINDS}
    )


def raising(error: Exception) -> Any:
    def function() -> None:
        raise error

    return function


BAD, HARD, SKIP = ValueError("bad"), AirflowFailException("no"), AirflowSkipException("not now")


@pytest.mark.parametrize(
    ("function", "try_number", "heard"),
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
    dag: DAG, runtime: MemoryRuntime, function: Any, try_number: int, heard: list[Any]
) -> None:
    calls: list[Any] = []
    a_task(function, calls)

    outcome = attempt(dag, "t", runtime, try_number=try_number, max_tries=1)

    assert calls == [("execute", "running", None), *heard]
    assert outcome.callbacks_run == tuple(kind for kind, _, _ in calls)


def test_a_try_that_goes_on_does_not_start_again(dag: DAG, runtime: MemoryRuntime) -> None:
    calls: list[Any] = []
    a_task(lambda: None, calls)

    outcome = attempt(dag, "t", runtime, continues=True)

    assert outcome.callbacks_run == ("success",)


def test_a_failing_callback_changes_nothing(dag: DAG, runtime: MemoryRuntime, caplog: pytest.LogCaptureFixture) -> None:
    heard: list[str] = []
    PythonOperator(
        task_id="t",
        python_callable=lambda: 1,
        on_success_callback=[lambda context: 1 / 0, sys.exit, lambda context: heard.append(context["ds"])],
    )

    with caplog.at_level(logging.ERROR):
        outcome = attempt(dag, "t", runtime)

    assert isinstance(outcome.event, Succeeded)
    assert heard == ["2024-01-01"]
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
