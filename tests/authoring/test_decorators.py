"""``@task`` and the other task decorators, ``@dag``, ``@task_group``, ``@setup`` and ``@teardown``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypedDict

import pytest

from nbflow import DAG, Param, dag, setup, task, task_group, teardown
from nbflow.authoring.current_dag import collect_dags
from nbflow.authoring.dag import registered_dags
from nbflow.errors import AirflowSkipException, InvalidArgument, InvalidDag
from nbflow.operators.bash import DecoratedBashOperator
from nbflow.operators.empty import EmptyOperator
from nbflow.operators.python import (
    DecoratedBranchPythonOperator,
    DecoratedPythonOperator,
    DecoratedShortCircuitOperator,
)


class Outputs(TypedDict):
    a: int


@task
def double(x: int, ti: Any = None) -> int:
    """Twice."""
    return x * 2


def test_a_parameter_named_as_a_context_key_that_is_passed_by_position_says_so():
    with DAG("d", schedule=None):

        @task
        def t(start_date, end_date):
            pass

        with pytest.raises(InvalidArgument) as caught:
            t("2023-01-01", "2023-01-31")
        t(start_date="2023-01-01", end_date="2023-01-31")
    assert str(caught.value).endswith(
        "start_date is a key of the context, which fills it: pass the arguments by keyword (start_date=...), or rename "
        "the parameter."
    )


def test_a_call_adds_a_task_with_the_function_and_its_arguments() -> None:
    with DAG("d") as dag_object:
        result = double(21)
    op: Any = dag_object.get_task("double")
    assert (op.python_callable, op.op_args, op.op_kwargs) == (double.function, (21,), {})
    assert (op.doc_md, op.operator_name, result.operator) == ("Twice.", "@task", op)


def test_each_call_adds_another_task() -> None:
    with DAG("d") as dag_object:
        double(double(double(1)))
    assert {t.task_id: t.upstream_task_ids for t in dag_object.tasks} == {
        "double": set(),
        "double__1": {"double"},
        "double__2": {"double__1"},
    }


def test_override_changes_one_call() -> None:
    with DAG("d") as dag_object:
        double.override(task_id="other", retries=3)(1)
        double(1)
    assert {t.task_id: t.retries for t in dag_object.tasks} == {"other": 3, "double": 0}


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: double(y=1), "<@task double>: missing a required argument: 'x'"),
        (lambda: double(1, y=1), "<@task double>: got an unexpected keyword argument 'y'"),
        (lambda: double(1, xx=1), "got an unexpected keyword argument 'xx'. Did you mean 'x'"),
        (lambda: double(), "missing a required argument: 'x'"),
        (lambda: double.expand(y=[1]), r"<@task double>.expand\(\) has no argument 'y'"),
        (lambda: double.partial(y=1), r"<@task double>.partial\(\) has no argument 'y'"),
        (lambda: double.partial(x=1).expand(x=[1]), "which partial.. has already"),
        (lambda: double.override(retrys=1), "@task has no argument 'retrys'. Did you mean 'retries'"),
        (lambda: task(retrys=1)(print), "@task has no argument 'retrys'"),
        (lambda: task(task(lambda: 1)), "@task decorates a function, not"),
        (lambda: task(5), "@task decorates a function, not 5"),
        (lambda: setup(task_group(lambda: 1)), "@task decorates a function, not"),
        (lambda: task("name"), "takes keyword arguments: task_id='name'"),
    ],
)
def test_wrong_calls_are_refused_where_they_are_written(call, message) -> None:
    with DAG("d"), pytest.raises(InvalidArgument, match=message):
        call()


def test_arguments_filled_from_the_context_are_optional() -> None:
    @task
    def f(ds: str, x: int, ti: Any, logical_date: Any = None) -> None: ...

    with DAG("d") as dag_object:
        f(x=1)
    assert dag_object.get_task("f").op_kwargs == {"x": 1}


def test_a_parameter_filled_from_the_context_has_no_other_default_than_none() -> None:
    @task
    def f(ds: str = "2024-01-01") -> None: ...

    with DAG("d"), pytest.raises(InvalidDag, match="ds of <@task f> is filled from the context"):
        f()


@pytest.mark.parametrize(
    ("returns", "expected"),
    [
        (dict, True),
        (dict[str, int], True),
        (Mapping[str, Any], True),
        (Outputs, True),
        ("dict[str, int]", True),
        ("Outputs", True),
        (list, False),
        (None, False),
        ("NobodyKnowsThis", False),
        ("dict | None", False),
    ],
)
def test_a_function_that_returns_a_dict_has_several_outputs(returns, expected) -> None:
    def f() -> Any: ...

    f.__annotations__["return"] = returns
    with DAG("d") as dag_object:
        task(f)()
        task(task_id="explicit", multiple_outputs=False)(f)()
    assert [t.multiple_outputs for t in dag_object.tasks] == [expected, False]


def test_each_decorator_has_its_operator() -> None:
    def f() -> Any: ...

    with DAG("d") as dag_object:
        for name in ("python", "branch", "short_circuit", "bash"):
            getattr(task, name)(task_id=name)(f)()
    assert [type(t) for t in dag_object.tasks] == [
        DecoratedPythonOperator,
        DecoratedBranchPythonOperator,
        DecoratedShortCircuitOperator,
        DecoratedBashOperator,
    ]


def test_a_mapped_function_gets_its_arguments_by_name() -> None:
    @task
    def add(x: int, y: int = 0) -> int:
        return x + y

    with DAG("d") as dag_object:
        add.partial(y=5).expand(x=[1, 2])
    mapped: Any = dag_object.get_task("add")
    assert (mapped.partial_kwargs["op_kwargs"], mapped.expand_input.length(), mapped.into) == (
        {"y": 5},
        ("lit", 2),
        "op_kwargs",
    )


@pytest.mark.parametrize(
    ("decorate", "result", "skips"),
    [
        (task.run_if, True, None),
        (task.run_if, False, "skipped by condition"),
        (task.run_if, (False, "not today"), "not today"),
        (task.skip_if, False, None),
        (task.skip_if, True, "skipped by condition"),
    ],
)
def test_a_condition_skips_before_the_task_runs(decorate, result, skips) -> None:
    def condition(context: Any) -> Any:
        assert context == {"ds": "x"}
        return result

    with DAG("d") as dag_object:
        decorate(condition)(double)(1)
    op: Any = dag_object.get_task("double")
    if skips is None:
        op.pre_execute({"ds": "x"})
    else:
        with pytest.raises(AirflowSkipException, match=skips):
            op.pre_execute({"ds": "x"})


def test_conditions_can_be_combined() -> None:
    with DAG("d") as dag_object:
        task.run_if(lambda c: True)(task.skip_if(lambda c: True, "inner")(double))(1)
    with pytest.raises(AirflowSkipException, match="inner"):
        dag_object.get_task("double").pre_execute({})


def test_a_condition_above_a_plain_function_is_refused() -> None:
    with pytest.raises(InvalidArgument, match=r"@task.run_if decorates a @task, not <function .* on the line before"):
        task.run_if(lambda c: True)(lambda: 1)


def test_setup_and_teardown_mark_their_tasks() -> None:
    @setup
    def s() -> None: ...

    @teardown(on_failure_fail_dagrun=True)
    @task(retries=2)
    def t() -> None: ...

    with DAG("d") as dag_object:
        with t().as_teardown(setups=s()):
            double(1)
    spec = dag_object.to_spec()
    teardown_spec = spec.tasks["t"]
    assert (
        teardown_spec.upstream,
        teardown_spec.setups,
        teardown_spec.retries,
        teardown_spec.on_failure_fail_dagrun,
    ) == (
        ("double", "s"),
        ("s",),
        2,
        True,
    )
    assert spec.tasks["double"].upstream == ("s",)


def test_a_dag_function_returns_a_dag_with_its_arguments_as_params() -> None:
    @dag(schedule="@daily", tags=["x"])
    def sales(day: str = "today", limit: Any = Param(3, minimum=1)) -> None:
        """All about sales."""
        double(limit)

    dag_object = sales(day="monday")
    assert (dag_object.dag_id, dag_object.doc_md, dag_object.tags, dict(dag_object.params)) == (
        "sales",
        "All about sales.",
        ("x",),
        {"day": "monday", "limit": 3},
    )
    limit = dag_object.get_task("double").op_args[0]
    assert limit.resolve({"params": {"limit": 9}}) == 9


def test_a_group_function_adds_a_group_and_returns_its_result() -> None:
    @task_group(tooltip="twice")
    def g(x: int) -> Any:
        return double(double(x))

    with DAG("d") as dag_object:
        start, end = EmptyOperator(task_id="start"), EmptyOperator(task_id="end")
        start >> g(1) >> end
        g.override(group_id="h")(2)
    assert {t.task_id: t.upstream_task_ids for t in dag_object.tasks} == {
        "start": set(),
        "g.double": set(),
        "g.double__1": {"g.double", "start"},
        "end": {"g.double__1"},
        "h.double": set(),
        "h.double__1": {"h.double"},
    }


def test_a_group_function_that_returns_none_returns_the_group() -> None:
    @task_group
    def g() -> None:
        double(1)
        double(2)

    with DAG("d") as dag_object:
        EmptyOperator(task_id="start") >> g()
    assert {t.task_id: t.upstream_task_ids for t in dag_object.tasks if t.task_id != "start"} == {
        "g.double": {"start"},
        "g.double__1": {"start"},
    }


def test_a_file_registers_the_dags_in_its_globals_and_those_used_in_a_with() -> None:
    with collect_dags() as created:
        in_globals = DAG("in_globals")
        with DAG("entered"):
            pass
        with DAG("private", auto_register=False):
            pass
        DAG("dropped")
    dags = registered_dags({"x": in_globals, "again": in_globals}, created)
    assert [dag.dag_id for dag in dags] == ["in_globals", "entered"]


def test_a_dag_function_that_is_never_called_is_warned_of() -> None:
    @dag
    def forgotten() -> None: ...

    with pytest.warns(UserWarning, match=r"forgotten is a @dag function that is never called.*forgotten\(\)") as warned:
        assert registered_dags({"forgotten": forgotten}, []) == []
    assert (warned[0].filename, warned[0].lineno) == (__file__, forgotten.function.__code__.co_firstlineno)


def test_a_function_passed_in_place_of_its_result_is_refused() -> None:
    with DAG("d"), pytest.raises(InvalidArgument, match=r"got the function <@task double> itself.*Call it: double\(\)"):
        double(double)
