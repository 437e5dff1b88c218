"""Branches, short circuits and lengths for mapping: what a success does to the tasks after it."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from nbflow import DAG, TaskGroup, chain, task
from nbflow.core.attempt_events import Failed, Succeeded
from nbflow.operators.base import BaseBranchOperator
from nbflow.operators.empty import EmptyOperator
from nbflow.operators.latest_only import LatestOnlyOperator
from nbflow.operators.python import BranchPythonOperator, PythonOperator, ShortCircuitOperator
from tests.running.memory import MONDAY, MemoryRuntime, attempt

DAY = timedelta(days=1)


def downstream_fields(event: Any) -> Any:
    """The fields of a success about the tasks after it, or the failure's error."""
    return (event.follow, event.skip, event.length) if isinstance(event, Succeeded) else event.error


def branching(choice: Any) -> None:
    b = BranchPythonOperator(task_id="b", python_callable=lambda: choice)
    with TaskGroup("g"):
        x, y = EmptyOperator(task_id="x"), EmptyOperator(task_id="y")
        x >> y
    b >> [EmptyOperator(task_id="c"), EmptyOperator(task_id="d"), x]


@pytest.mark.parametrize(
    ("choice", "followed"),
    [
        ("c", ("c",)),
        (["c", "d"], ("c", "d")),
        (("d",), ("d",)),
        (None, ()),
        ([], ()),
        ("g", ("g.x",)),
        (["g.x", "c"], ("g.x", "c")),
    ],
)
def test_a_branch_names_the_tasks_to_follow(dag: DAG, runtime: MemoryRuntime, choice: Any, followed: Any) -> None:
    branching(choice)

    assert downstream_fields(attempt(dag, "b", runtime).event) == (followed, "none", None)
    assert runtime.rows == {}, "a branch that skips something has no result, as in Airflow"


@pytest.mark.parametrize(
    ("choice", "error"),
    [
        (["nope"], "AirflowException: b chose 'nope', which is neither a task nor a group of d."),
        ("cc", "AirflowException: b chose 'cc', which is neither a task nor a group of d."),
        (5, "AirflowException: b chose 5: a branch returns a task id, a list of task ids or None."),
        ([1], "AirflowException: b chose [1]: a branch returns a task id, a list of task ids or None."),
        ({"c": 1}, "AirflowException: b chose {'c': 1}: a branch returns a task id, a list of task ids or None."),
    ],
)
def test_a_branch_that_chooses_an_unknown_task_fails(dag: DAG, runtime: MemoryRuntime, choice: Any, error: str) -> None:
    branching(choice)

    assert downstream_fields(attempt(dag, "b", runtime).event).startswith(error)


def test_a_branch_that_skips_nothing_stores_its_result(dag: DAG, runtime: MemoryRuntime) -> None:
    branching(["c", "d", "g"])

    attempt(dag, "b", runtime)

    assert runtime.stored("b") == ["c", "d", "g"]


def test_a_task_downstream_of_a_followed_task_is_not_skipped(dag: DAG, runtime: MemoryRuntime) -> None:
    b = BranchPythonOperator(task_id="b", python_callable=lambda: "c")
    c, j = EmptyOperator(task_id="c"), EmptyOperator(task_id="j")
    chain(b, c, j)
    b >> j

    attempt(dag, "b", runtime)

    assert runtime.stored("b") == "c", "nothing is skipped, so the result is stored"


def test_a_custom_operator_may_branch(dag: DAG, runtime: MemoryRuntime) -> None:
    class Odd(BaseBranchOperator):
        def choose_branch(self, context: Any) -> Any:
            return {"c"}

    Odd(task_id="b") >> [EmptyOperator(task_id="c"), EmptyOperator(task_id="d")]

    assert downstream_fields(attempt(dag, "b", runtime).event) == (("c",), "none", None)


@pytest.mark.parametrize(
    ("result", "ignore", "skip", "stored"),
    [
        (True, True, "none", True),
        ("x", True, "none", "x"),
        (False, True, "all", None),
        (0, True, "all", None),
        ([], False, "direct", None),
    ],
)
def test_a_short_circuit(dag: DAG, runtime: MemoryRuntime, result: Any, ignore: bool, skip: str, stored: Any) -> None:
    s = ShortCircuitOperator(task_id="s", python_callable=lambda: result, ignore_downstream_trigger_rules=ignore)
    s >> EmptyOperator(task_id="a")

    assert downstream_fields(attempt(dag, "s", runtime).event) == (None, skip, None)
    assert runtime.stored("s") == stored


def test_a_short_circuit_without_downstream_tasks_stores_its_result(dag: DAG, runtime: MemoryRuntime) -> None:
    @task.short_circuit
    def s() -> bool:
        return False

    s()
    attempt(dag, "s", runtime)

    assert runtime.stored("s") is False


@pytest.mark.parametrize(
    ("run_type", "now", "follow"),
    [
        ("scheduled", MONDAY + DAY * 1.5, ("a",)),
        ("scheduled", MONDAY + DAY * 2, ("a",)),
        ("scheduled", MONDAY + DAY * 2.1, ()),
        ("scheduled", MONDAY + DAY * 30, ()),
        ("manual", MONDAY + DAY * 30, ("a",)),
    ],
)
def test_latest_only(dag: DAG, run_type: str, now: Any, follow: Any) -> None:
    runtime = MemoryRuntime(now=now)
    runtime.run = replace(runtime.run, run_type=run_type)
    LatestOnlyOperator(task_id="l") >> EmptyOperator(task_id="a")

    assert downstream_fields(attempt(dag, "l", runtime).event) == (follow, "none", None)


def test_latest_only_of_a_schedule_without_intervals(dag: DAG, runtime: MemoryRuntime) -> None:
    LatestOnlyOperator(task_id="l") >> EmptyOperator(task_id="a")
    end = runtime.run.data_interval_end
    assert end is not None
    runtime.intervals[end] = (end + DAY, end + DAY)

    runtime.clock = end + DAY * 0.5
    assert downstream_fields(attempt(dag, "l", runtime).event) == (("a",), "none", None)
    runtime.clock = end + DAY
    assert downstream_fields(attempt(dag, "l", runtime).event) == ((), "none", None)


NO_LIST = "UnmappableXComTypePushed: Tasks are mapped over what p returns, so it must be a list or a dict"
TOO_LONG = (
    "UnmappableXComLengthPushed: p returned 1025 items, and tasks are mapped over them; [core] max_map_length is 1024."
)


@pytest.mark.parametrize(
    ("result", "length"),
    [
        ([1, 2], 2),
        ((), 0),
        ({"a": 1}, 1),
        (None, f"{NO_LIST}, not NoneType."),
        ("ab", f"{NO_LIST}, not str."),
        ([0] * 1025, TOO_LONG),
    ],
)
def test_a_result_that_tasks_are_mapped_over_must_have_a_length(
    dag: DAG, runtime: MemoryRuntime, result: Any, length: Any
) -> None:
    p = PythonOperator(task_id="p", python_callable=lambda: result)
    PythonOperator.partial(task_id="m", python_callable=print).expand(op_args=p.output.map(lambda item: [item]))

    event = attempt(dag, "p", runtime).event

    if isinstance(event, Failed):
        assert (event.error, runtime.rows) == (length, {})
    else:
        assert event.length == length


def test_a_mapped_instance_has_length_one_if_it_returned_a_value(dag: DAG, runtime: MemoryRuntime) -> None:
    @task
    def double(x: int) -> int | None:
        return x * 2 or None

    @task
    def show(x: int) -> int:
        return x

    show.expand(x=double.expand(x=[0, 4]))

    events = [attempt(dag, "double", runtime, map_index=index).event for index in (0, 1)]
    show_event = attempt(dag, "show", runtime, map_index=0).event

    assert [event.length for event in (*events, show_event)] == [0, 1, None]  # type: ignore[union-attr]
    assert runtime.stored("show", map_index=0) == 8


def test_a_mapped_instance_whose_item_is_dropped_is_skipped(dag: DAG, runtime: MemoryRuntime) -> None:
    from nbflow.core.attempt_events import SkippedItself
    from nbflow.errors import AirflowSkipException

    def keep(x: int) -> int:
        if x == 2:
            raise AirflowSkipException("not 2")
        return x

    @task
    def p() -> list[int]:
        return [1, 2]

    @task
    def m(x: int) -> int:
        return x

    m.expand(x=p().map(keep))
    attempt(dag, "p", runtime)

    events = [type(attempt(dag, "m", runtime, map_index=index).event) for index in (0, 1)]

    assert events == [Succeeded, SkippedItself]


def test_a_value_from_an_xcom_is_never_a_template(dag: DAG, runtime: MemoryRuntime) -> None:
    @task
    def p() -> list[str]:
        return ["{{ ds }}"]

    @task
    def m(x: str) -> str:
        return x

    @task
    def n(x: list[str]) -> str:
        return x[0]

    m.expand(x=p())
    n(p.override(task_id="q")())
    for task_id in ("p", "q", "n"):
        attempt(dag, task_id, runtime)
    attempt(dag, "m", runtime, map_index=0)

    assert (runtime.stored("m", map_index=0), runtime.stored("n")) == ("{{ ds }}", "{{ ds }}")


@pytest.mark.parametrize(("weekday", "skipped"), [(0, False), (3, True)])
def test_run_if_and_skip_if_use_the_context(dag: DAG, runtime: MemoryRuntime, weekday: int, skipped: bool) -> None:
    from nbflow.core.attempt_events import SkippedItself

    @task.run_if(lambda context: (context["logical_date"].weekday() == weekday, "another day"))
    @task
    def t() -> int:
        return 1

    @task.skip_if(lambda context: context["logical_date"].weekday() != weekday)
    @task.bash
    def b() -> str:
        return "true"

    t()
    b()

    events = [attempt(dag, task_id, runtime).event for task_id in ("t", "b")]

    assert [isinstance(event, SkippedItself) for event in events] == [skipped, skipped]
    assert not skipped or events[0].message == "another day"  # type: ignore[union-attr]
