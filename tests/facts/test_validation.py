"""DAG definitions that are wrong, or seem to be: refused with Airflow's class of error, or accepted.

A case with ``input`` is built from it by :data:`BUILDERS`; a case without ``input`` is a small program, found by its id
in :data:`PROGRAMS` or made by the pattern of its id in :data:`PATTERNS`. A case whose id is in neither is not run.
"""

from __future__ import annotations

import ast
import datetime as dt
import re
import warnings
from collections.abc import Callable, Mapping
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from dateutil.relativedelta import relativedelta

from nbflow import DAG, BaseOperator, Param, TaskGroup, task, task_group
from nbflow import dag as dag_decorator
from nbflow.operators.bash import BashOperator
from nbflow.operators.empty import EmptyOperator
from nbflow.operators.python import PythonOperator

DAY = dt.datetime(2024, 1, 1, tzinfo=dt.UTC)

EQUIVALENT = {"AttributeError": "InvalidArgument"}
"""Airflow fails on a value of the wrong type at the first method that it lacks; nbflow checks the type."""


@pytest.mark.facts("validation")
def test_a_definition_is_refused_or_accepted_as_in_airflow(case, check):
    build = program_of(case["id"]) if not case["input"] else None
    if case["input"]:
        builder = BUILDERS.get(frozenset(case["input"]))
        build = (lambda: builder(**case["input"])) if builder else None
    if build is None:
        pytest.skip("no program with this id")
    want = check.expected
    if "raises" in want:
        want = {"raises": EQUIVALENT.get(want["raises"], want["raises"])}
    check(lambda: accepted(build), want=want)


def accepted(build: Callable[[], DAG]) -> dict[str, bool]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        build().validate()
    return {"ok": True}


# ------------------------------------------------------------------------------------------------ cases that are data


def new_dag(**kwargs: Any) -> DAG:
    return DAG("d", **{"schedule": None, "start_date": DAY, **kwargs})


def from_edges(edges: list[str]) -> DAG:
    with new_dag() as dag:
        tasks = {name: EmptyOperator(task_id=name) for name in dict.fromkeys("".join(edges))}
        for up, down in edges:
            tasks[up] >> tasks[down]
    return dag


def from_task_id(task_id: Any) -> DAG:
    with new_dag() as dag:
        EmptyOperator(task_id=text(task_id))
    return dag


def from_dag_id(dag_id: Any) -> DAG:
    return DAG(text(dag_id), schedule=None, start_date=DAY)


def from_group_id(group_id: Any) -> DAG:
    with new_dag() as dag, TaskGroup(text(group_id)):
        EmptyOperator(task_id="t")
    return dag


def from_ids(tasks: list[str] = (), groups: list[str] = ()) -> DAG:  # type: ignore[assignment]
    with new_dag() as dag:
        for task_id in tasks:
            EmptyOperator(task_id=task_id)
        for group_id in groups:
            with TaskGroup(group_id):
                EmptyOperator(task_id="t")
    return dag


def from_start_date(start_date: str) -> DAG:
    moment, _, zone = start_date.partition(" ")
    date = dt.datetime.fromisoformat(moment)
    if zone and zone != "naive":
        date = date.replace(tzinfo=ZoneInfo(zone))
    return new_dag(start_date=date, schedule="@daily")


def from_schedule(schedule: Any) -> DAG:
    with new_dag(schedule=value(schedule)) as dag:
        EmptyOperator(task_id="t")
    return dag


def from_task_kwargs(task_kwargs: Mapping[str, Any]) -> DAG:
    with new_dag() as dag:
        EmptyOperator(task_id="t", **{name: value(raw) for name, raw in task_kwargs.items()})
    return dag


BUILDERS: dict[frozenset[str], Callable[..., DAG]] = {
    frozenset({"edges"}): from_edges,
    frozenset({"task_id"}): from_task_id,
    frozenset({"dag_id"}): from_dag_id,
    frozenset({"group_id"}): from_group_id,
    frozenset({"tasks"}): from_ids,
    frozenset({"groups"}): from_ids,
    frozenset({"tasks", "groups"}): from_ids,
    frozenset({"start_date"}): from_start_date,
    frozenset({"schedule"}): from_schedule,
    frozenset({"task_kwargs"}): from_task_kwargs,
}
"""keys of ``input`` -> how the DAG is built from it"""


def text(raw: Any) -> Any:
    """``x*250`` stands for 250 times x."""
    if isinstance(raw, str) and raw[1:2] == "*" and raw[2:].isdecimal():
        return raw[0] * int(raw[2:])
    return raw


def value(raw: Any) -> Any:
    """The value of a ``repr`` in the table: a list, a timedelta, a datetime. Other values are returned unchanged."""
    if not isinstance(raw, str) or not raw.startswith(("datetime.", "relativedelta(", "[", "{", "(")):
        return raw
    try:
        tree = ast.parse(raw, mode="eval").body
        return call_value(tree) if isinstance(tree, ast.Call) else ast.literal_eval(tree)
    except (SyntaxError, ValueError):
        return raw


def call_value(call: ast.Call) -> Any:
    classes: dict[str, Any] = {f"datetime.{cls.__name__}": cls for cls in (dt.timedelta, dt.datetime, dt.date)}
    classes["relativedelta"] = relativedelta
    cls = classes.get(ast.unparse(call.func))
    if cls is None:
        raise ValueError(ast.unparse(call))
    return cls(
        *map(ast.literal_eval, call.args),
        **{
            str(keyword.arg): dt.UTC if keyword.arg == "tzinfo" else ast.literal_eval(keyword.value)
            for keyword in call.keywords
        },
    )


# ---------------------------------------------------------------------------------------------- cases that are programs


def program(case_id: str) -> Callable[[Callable[[], DAG]], Callable[[], DAG]]:
    def register(build: Callable[[], DAG]) -> Callable[[], DAG]:
        PROGRAMS[case_id] = build
        return build

    return register


PROGRAMS: dict[str, Callable[[], DAG]] = {}


@program("same task added to two DAGs")
def _() -> DAG:
    operator = EmptyOperator(task_id="t", dag=new_dag())
    other = DAG("e", schedule=None, start_date=DAY)
    other.add_task(operator)
    return other


@program("edge between a task with DAG and one without")
def _() -> DAG:
    dag = new_dag()
    EmptyOperator(task_id="a", dag=dag) >> EmptyOperator(task_id="b")
    assert dag.task_ids == ["a", "b"]
    return dag


@program("list >> list")
def _() -> DAG:
    with new_dag() as dag:
        a, b, c, e = (EmptyOperator(task_id=name) for name in "abce")
        [a, b] >> [c, e]  # type: ignore[operator]
    return dag


def _dag_with_one_task(**kwargs: Any) -> Callable[[], DAG]:
    def build() -> DAG:
        with DAG("d", **kwargs) as dag:
            EmptyOperator(task_id="t")
        return dag

    return build


PROGRAMS |= {
    "missing start_date, schedule None": _dag_with_one_task(schedule=None),
    "missing start_date, schedule @daily": _dag_with_one_task(schedule="@daily"),
    "missing start_date, schedule @daily, catchup True": _dag_with_one_task(schedule="@daily", catchup=True),
    "start_date as string": _dag_with_one_task(schedule="@daily", start_date="2024-01-01"),
    "start_date as date": _dag_with_one_task(schedule="@daily", start_date=dt.date(2024, 1, 1)),
    "end_date before start_date": _dag_with_one_task(
        schedule="@daily", start_date=DAY, end_date=DAY - dt.timedelta(days=9)
    ),
    "unknown DAG argument": _dag_with_one_task(foo=1),
    "schedule_interval argument": _dag_with_one_task(schedule_interval="@daily", start_date=DAY),
    "max_active_runs zero": _dag_with_one_task(max_active_runs=0),
    "max_active_runs negative": _dag_with_one_task(max_active_runs=-1),
    "max_active_runs string": _dag_with_one_task(max_active_runs="2"),
    "@continuous with max_active_runs 2": _dag_with_one_task(schedule="@continuous", start_date=DAY, max_active_runs=2),
    "tag longer than 100 characters": _dag_with_one_task(tags=["x" * 101]),
    "tags as string": _dag_with_one_task(tags="abc"),
    "DAG param default violates its schema, scheduled": _dag_with_one_task(
        schedule="@daily", start_date=DAY, params={"x": Param("text", type="integer")}
    ),
    "DAG param without default, scheduled": _dag_with_one_task(
        schedule="@daily", start_date=DAY, params={"x": Param(type="integer")}
    ),
}


@program("context manager left without tasks")
def _() -> DAG:
    with new_dag() as dag:
        pass
    return dag


@program("missing DAG start_date but task has one, schedule @daily")
def _() -> DAG:
    with DAG("d", schedule="@daily") as dag:
        EmptyOperator(task_id="t", start_date=DAY)
    return dag


@program("positional operator argument")
def _() -> DAG:
    with new_dag() as dag:
        EmptyOperator("t")  # type: ignore[call-arg]
    return dag


@program("missing task_id")
def _() -> DAG:
    with new_dag() as dag:
        EmptyOperator()  # type: ignore[call-arg]
    return dag


@program("PythonOperator without python_callable")
def _() -> DAG:
    with new_dag() as dag:
        PythonOperator(task_id="t")  # type: ignore[call-arg]
    return dag


@program("get unknown task")
def _() -> DAG:
    dag = _dag_with_one_task(schedule=None)()
    dag.get_task("nope")
    return dag


def _expanded_over(items: Any) -> Callable[[], DAG]:
    def build() -> DAG:
        with new_dag() as dag:
            identity().expand(x=items)
        return dag

    return build


def identity() -> Any:
    @task
    def f(x: Any) -> Any:
        return x

    return f


PROGRAMS |= {"expand with a plain int": _expanded_over(5), "expand with a string": _expanded_over("abc")}


@program("call a task with an unknown argument")
def _() -> DAG:
    with new_dag() as dag:
        identity()(y=1)
    return dag


@program("partial without expand")
def _() -> DAG:
    with new_dag() as dag:
        PythonOperator.partial(task_id="t", python_callable=print)
    return dag


@program("trigger_rule always in a mapped task group")
def _() -> DAG:
    with new_dag() as dag:

        @task_group
        def g(x: Any) -> None:
            EmptyOperator(task_id="a") >> EmptyOperator(task_id="t", trigger_rule="always")

        g.expand(x=[1, 2])
    return dag


@program("teardown directly followed by teardown's setup (cycle)")
def _() -> DAG:
    with new_dag() as dag:
        a, b = EmptyOperator(task_id="a"), EmptyOperator(task_id="b")
        b.as_teardown(setups=a)
        b >> a
    return dag


@program("setup and work with incompatible trigger rule (setup's downstream must be all_success?)")
def _() -> DAG:
    with new_dag() as dag:
        EmptyOperator(task_id="s").as_setup() >> EmptyOperator(task_id="w", trigger_rule="all_done")
    return dag


@program("dag decorator function default argument becomes a param")
def _() -> DAG:
    @dag_decorator(schedule="@daily", start_date=DAY)
    def d(x: int = 3) -> None:
        EmptyOperator(task_id="t")

    dag = d()
    assert dag.params["x"] == 3
    return dag


@program("task group with unknown upstream object")
def _() -> DAG:
    with new_dag() as dag:
        with TaskGroup("g") as group:
            EmptyOperator(task_id="t")
        group >> 5
    return dag


@program("XComArg used as a condition / iterated")
def _() -> DAG:
    with new_dag() as dag:
        result = identity()(x=1)
        if result:
            list(result)
    return dag


@program("template field not in constructor / unknown template variable is only found at run time")
def _() -> DAG:
    class Templated(BaseOperator):
        template_fields = ("text",)

        def __init__(self, *, text: str, **kwargs: Any) -> None:
            super().__init__(**kwargs)
            self.text = text

    with new_dag() as dag:
        Templated(task_id="t", text="{{ nobody_knows_this }}")
    return dag


@program("bash_command ending in .sh that does not exist")
def _() -> DAG:
    with new_dag() as dag:
        BashOperator(task_id="t", bash_command="there_is_no_such_file.sh")
    return dag


@program("setup task without teardown")
def _() -> DAG:
    with new_dag() as dag:
        EmptyOperator(task_id="s").as_setup() >> EmptyOperator(task_id="w")
    return dag


@program("teardown without setup")
def _() -> DAG:
    with new_dag() as dag:
        EmptyOperator(task_id="w") >> EmptyOperator(task_id="t").as_teardown()
    return dag


@program("edge between tasks of two DAGs")
@program("edge between tasks of different DAGs")
def _() -> DAG:
    dag, other = new_dag(), DAG("e", schedule=None, start_date=DAY)
    EmptyOperator(task_id="a", dag=dag) >> EmptyOperator(task_id="b", dag=other)
    return dag


@program("edge between two tasks without DAG")
@program("edge between tasks without DAG")
def _() -> DAG:
    EmptyOperator(task_id="a") >> EmptyOperator(task_id="b")
    return new_dag()


@program("same task added to a DAG twice")
@program("same task added twice to the same DAG")
def _() -> DAG:
    dag = new_dag()
    dag.add_task(EmptyOperator(task_id="t", dag=dag))
    return dag


@program("call a task without a required argument")
@program("call a task with a missing argument")
def _() -> DAG:
    with new_dag() as dag:
        identity()()
    return dag


@program("expand without arguments")
def _() -> DAG:
    with new_dag() as dag:
        identity().expand()
    return dag


@program("expand with an unknown argument")
def _() -> DAG:
    with new_dag() as dag:
        identity().expand(y=[1])
    return dag


@program("partial with an unknown argument")
def _() -> DAG:
    with new_dag() as dag:
        identity().partial(y=1).expand(x=[1])
    return dag


@program("same argument in partial and expand")
def _() -> DAG:
    with new_dag() as dag:
        identity().partial(x=1).expand(x=[1])
    return dag


@program("task group without tasks")
@program("empty task group")
def _() -> DAG:
    with new_dag() as dag, TaskGroup("g"):
        pass
    return dag


@program("BashOperator without bash_command")
def _() -> DAG:
    with new_dag() as dag:
        BashOperator(task_id="t")  # type: ignore[call-arg]
    return dag


@program("PythonOperator with a python_callable that is not callable")
@program("python_callable not callable")
def _() -> DAG:
    with new_dag() as dag:
        PythonOperator(task_id="t", python_callable=5)  # type: ignore[arg-type]
    return dag


@program("missing dag_id")
def _() -> DAG:
    return DAG(schedule=None)  # type: ignore[call-arg]


@program("fail_fast with a trigger rule other than all_success")
@program("fail_fast with trigger rule all_done")
def _() -> DAG:
    with new_dag(fail_fast=True) as dag:
        EmptyOperator(task_id="t", trigger_rule="all_done")
    return dag


# ------------------------------------------------------------------------------- cases whose id describes the program

SAMPLES: dict[str, Any] = {
    "zero": 0,
    "negative": -1,
    "None": None,
    "string": "x",
    "number": 5,
    "int": 5,
    "float": 1.5,
    "list": [1, 2],
    "tuple": (1, 2),
    "dict": {"a": 1},
    "set": {1, 2},
    "date": dt.date(2024, 1, 1),
    "timedelta": dt.timedelta(days=1),
}
"""word for a type in an id -> a value of that type"""

_KIND = f"(?P<kind>{'|'.join(SAMPLES)})"
_ARGUMENTS = "(?:max_active_(?:runs|tasks)|max_consecutive_failed_dag_runs|dagrun_timeout|description|dag_display_name)"


def _without_start(schedule: str, catchup: str | None) -> Callable[[], DAG]:
    options = {} if catchup is None else {"catchup": catchup == "True"}
    return _dag_with_one_task(schedule=None if schedule == "None" else schedule, **options)


def _date_of_kind(name: str, kind: str) -> Callable[[], DAG]:
    sample = "2024-01-01" if kind == "string" else SAMPLES[kind]
    return _dag_with_one_task(**{"schedule": "@daily", "start_date": DAY, name: sample})


def _end_date(where: str) -> Callable[[], DAG]:
    days = {"before": -9, "equals": 0, "equal to": 0, "after": 9}[where]
    return _dag_with_one_task(schedule="@daily", start_date=DAY, end_date=DAY + dt.timedelta(days=days))


def _param(error: str, schedule: str | None) -> Callable[[], DAG]:
    param = Param(type="integer") if error == "without default" else Param("text", type="integer")
    dag_schedule = None if schedule in (None, "schedule None", "not scheduled", "unscheduled") else "@daily"
    return _dag_with_one_task(schedule=dag_schedule, start_date=DAY, params={"x": param})


def _tags_of_kind(kind: str) -> Callable[[], DAG]:
    sample = SAMPLES[kind]
    return _dag_with_one_task(tags=type(sample)("ab") if kind in {"list", "tuple", "set"} else sample)


PATTERNS: dict[str, Callable[..., Callable[[], DAG]]] = {
    r"missing start_date, schedule (?P<schedule>@?\w+)(?:, catchup (?P<catchup>True|False))?": _without_start,
    rf"(?P<name>{_ARGUMENTS}) {_KIND}": lambda name, kind: _dag_with_one_task(schedule=None, **{name: SAMPLES[kind]}),
    rf"(?P<name>start_date|end_date) as {_KIND}": _date_of_kind,
    r"end_date (?P<where>before|equals|equal to|after) start_date": _end_date,
    r"@continuous with max_active_runs (?P<number>\d+)": lambda number: _dag_with_one_task(
        schedule="@continuous", start_date=DAY, max_active_runs=int(number)
    ),
    r"tag (?P<more>longer than|of|with) (?P<size>\d+) characters": lambda more, size: _dag_with_one_task(
        tags=["x" * (int(size) + (more == "longer than"))]
    ),
    rf"tags as {_KIND}": _tags_of_kind,
    rf"expand with (?:an? )?(?P<how>plain |empty )?{_KIND}": lambda how, kind: _expanded_over(
        type(SAMPLES[kind])() if how == "empty " else SAMPLES[kind]
    ),
    r"DAG param (?P<error>without default|default violates its schema)(?:, (?P<schedule>.+))?": _param,
}
"""pattern of an id -> function that makes its program from the named groups; :data:`PROGRAMS` comes first"""


def program_of(case_id: str) -> Callable[[], DAG] | None:
    if case_id in PROGRAMS:
        return PROGRAMS[case_id]
    for pattern, make in PATTERNS.items():
        match = re.fullmatch(pattern, case_id)
        if match:
            return make(**match.groupdict())
    return None


def test_ids_of_a_known_pattern_are_rebuilt_and_others_are_not():
    for case_id in ("missing start_date, schedule @once, catchup True", "tags as list", "max_active_tasks string"):
        assert program_of(case_id) is not None
    assert program_of("an unknown id") is None
