"""Values of ``ti.xcom_pull`` and of XCom arguments, in all forms."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from nbflow import DAG, task
from nbflow.core.attempt_events import Failed
from nbflow.operators.python import PythonOperator
from tests.running.memory import MemoryRuntime, attempt


def stored(runtime: MemoryRuntime) -> None:
    """Stored XComs of the tasks a (plain), n (pushed None) and m (mapped: 0, 2)."""
    for task_id, index, key, value in [
        ("a", -1, "return_value", 7),
        ("a", -1, "k", "v"),
        ("n", -1, "return_value", None),
        ("m", 2, "return_value", "two"),
        ("m", 0, "return_value", "zero"),
        ("one", 0, "return_value", 4),
    ]:
        runtime.task_id, runtime.map_index = task_id, index
        runtime.xcom_push(key, value)


@pytest.mark.parametrize(
    ("call", "value"),
    [
        ({"task_ids": "a"}, 7),
        ({"task_ids": ["a"]}, [7]),
        ({"task_ids": ("a",)}, [7]),
        ({"task_ids": "a", "key": "k"}, "v"),
        ({"task_ids": "a", "key": "zz"}, None),
        ({"task_ids": "a", "key": "zz", "default": 5}, None),
        ({"task_ids": "a", "key": "zz", "default": 5, "map_indexes": -1}, 5),
        ({"task_ids": "n"}, None),
        ({"task_ids": "nope"}, None),
        ({"task_ids": ["a", "nope", "a"]}, [7, None, 7]),
        ({}, None),
        ({"key": "k"}, None),
        ({"task_ids": "m"}, ["zero", "two"]),
        ({"task_ids": "one"}, 4),
        ({"task_ids": ["one"]}, [4]),
        ({"task_ids": ["m", "a"]}, ["zero", "two", 7]),
        ({"task_ids": ["a", "m"]}, [7, "zero", "two"]),
        ({"task_ids": "m", "map_indexes": 2}, "two"),
        ({"task_ids": "m", "map_indexes": None}, None),
        ({"task_ids": "m", "map_indexes": None, "default": 5}, 5),
        ({"task_ids": "m", "map_indexes": [2, 1, 0]}, ["two", None, "zero"]),
        ({"task_ids": "a", "dag_id": "other"}, None),
        ({"task_ids": "a", "run_id": "other"}, None),
    ],
)
def test_xcom_pull(dag: DAG, runtime: MemoryRuntime, call: dict[str, Any], value: Any) -> None:
    stored(runtime)
    values: list[Any] = []
    PythonOperator(task_id="t", python_callable=lambda ti: values.append(ti.xcom_pull(**call)))

    attempt(dag, "t", runtime)

    assert values == [value]


def test_prior_dates_give_the_latest_value_up_to_this_run(dag: DAG, runtime: MemoryRuntime) -> None:
    first = runtime.run
    stored(runtime)
    second = replace(first, run_id="r2", logical_date=first.logical_date + timedelta(days=1))
    runtime.runs, runtime.run = [first, second], second

    @task
    def t(ti: Any = None) -> list[Any]:
        return [ti.xcom_pull(task_ids="a"), ti.xcom_pull(task_ids="a", include_prior_dates=True)]

    t()
    attempt(dag, "t", runtime)

    assert runtime.stored() == [None, 7]


def test_a_pushed_xcom_can_be_pulled_at_once(dag: DAG, runtime: MemoryRuntime) -> None:
    @task
    def t(ti: Any = None) -> Any:
        ti.xcom_push("k", {"a": 1})
        return ti.xcom_pull(key="k")

    t()
    attempt(dag, "t", runtime)

    assert (runtime.stored("t", "k"), runtime.stored()) == ({"a": 1}, {"a": 1})


def test_an_argument_of_a_mapped_task_is_a_lazy_list_that_can_be_returned(dag: DAG, runtime: MemoryRuntime) -> None:
    values: list[Any] = []

    @task
    def m(x: int) -> int:
        return x * 10

    @task
    def t(xs: Any) -> Any:
        values.extend([isinstance(xs, list), len(xs), xs[1]])
        return {"all": xs}

    t(m.expand(x=[1, 2]))
    for index in (0, 1):
        attempt(dag, "m", runtime, map_index=index)
    attempt(dag, "t", runtime)

    assert (values, runtime.stored()) == ([False, 2, 20], {"all": [10, 20]})


def test_an_argument_whose_key_was_not_pushed_fails(dag: DAG, runtime: MemoryRuntime) -> None:
    @task
    def a() -> Any:
        return {"p": 1}

    @task
    def t(x: Any) -> None:
        pass

    t(a()["p"])
    attempt(dag, "a", runtime)
    event = attempt(dag, "t", runtime).event

    assert isinstance(event, Failed)
    assert event.error.startswith("XComNotFound: Task 'a' did not push the XCom 'p'")


def test_an_argument_of_a_task_that_returned_nothing_is_none(dag: DAG, runtime: MemoryRuntime) -> None:
    @task
    def a() -> None:
        pass

    @task
    def t(x: Any) -> list[Any]:
        return [x]

    t(a())
    attempt(dag, "t", runtime)

    assert runtime.stored() == [None]
