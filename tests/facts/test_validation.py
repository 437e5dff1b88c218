"""DAG definitions that are wrong, or look as if they were: refused with Airflow's kind of error, or accepted.

A case with ``input`` is built from it by :data:`SHAPES`; one without is a small program, found by its id in
:data:`PROGRAMS`. An id that stands in neither is counted as not run.
"""

from __future__ import annotations

import ast
import datetime as dt
import inspect
import re
import warnings
from collections.abc import Callable, Mapping
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from dateutil.relativedelta import relativedelta

from nbflow import DAG, BaseOperator, Param, TaskGroup, dag, task, task_group
from nbflow.operators.bash import BashOperator
from nbflow.operators.empty import EmptyOperator
from nbflow.operators.python import PythonOperator

DAY = dt.datetime(2024, 1, 1, tzinfo=dt.UTC)

EQUIVALENT = {"AttributeError": "InvalidArgument"}
"""Airflow meets a value of the wrong type by chance, at the first method that it lacks; nbflow checks the type."""


@pytest.mark.facts("validation")
def test_a_definition_is_refused_or_accepted_as_in_airflow(case, check):
    build = (PROGRAMS.get(case["id"]) or of_a_family(case["id"])) if not case["input"] else None
    if case["input"]:
        shape = SHAPES.get(frozenset(case["input"]))
        build = (lambda: shape(**case["input"])) if shape else None
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
    with new_dag() as made:
        tasks = {name: EmptyOperator(task_id=name) for name in dict.fromkeys("".join(edges))}
        for up, down in edges:
            tasks[up] >> tasks[down]
    return made


def from_task_id(task_id: Any) -> DAG:
    with new_dag() as made:
        EmptyOperator(task_id=text(task_id))
    return made


def from_dag_id(dag_id: Any) -> DAG:
    return DAG(text(dag_id), schedule=None, start_date=DAY)


def from_group_id(group_id: Any) -> DAG:
    with new_dag() as made, TaskGroup(text(group_id)):
        EmptyOperator(task_id="t")
    return made


def from_ids(tasks: list[str] = (), groups: list[str] = ()) -> DAG:  # type: ignore[assignment]
    with new_dag() as made:
        for task_id in tasks:
            EmptyOperator(task_id=task_id)
        for group_id in groups:
            with TaskGroup(group_id):
                EmptyOperator(task_id="t")
    return made


def from_start_date(start_date: str) -> DAG:
    moment, _, zone = start_date.partition(" ")
    found = dt.datetime.fromisoformat(moment)
    if zone and zone != "naive":
        found = found.replace(tzinfo=ZoneInfo(zone))
    return new_dag(start_date=found, schedule="@daily")


def from_schedule(schedule: Any) -> DAG:
    with new_dag(schedule=value(schedule)) as made:
        EmptyOperator(task_id="t")
    return made


def from_task_kwargs(task_kwargs: Mapping[str, Any]) -> DAG:
    with new_dag() as made:
        EmptyOperator(task_id="t", **{name: value(one) for name, one in task_kwargs.items()})
    return made


SHAPES: dict[frozenset[str], Callable[..., DAG]] = {
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
    """What the table holds as its ``repr``: a list, a timedelta, a datetime. Anything else is itself."""
    if not isinstance(raw, str) or not raw.startswith(("datetime.", "relativedelta(", "[", "{", "(")):
        return raw
    try:
        tree = ast.parse(raw, mode="eval").body
        return made_by(tree) if isinstance(tree, ast.Call) else ast.literal_eval(tree)
    except (SyntaxError, ValueError):
        return raw


def made_by(call: ast.Call) -> Any:
    kinds: dict[str, Any] = {f"datetime.{kind.__name__}": kind for kind in (dt.timedelta, dt.datetime, dt.date)}
    kinds["relativedelta"] = relativedelta
    kind = kinds.get(ast.unparse(call.func))
    if kind is None:
        raise ValueError(ast.unparse(call))
    return kind(
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

OF_A_DAG = frozenset(inspect.signature(DAG).parameters) - {"dag_id"}
"""the arguments of a DAG by name"""

SAMPLES: dict[str, Any] = {
    "zero": 0,
    "negative": -1,
    "float": 1.5,
    "number": 5,
    "string": "abc",
    "None": None,
    "list": ["a", "b"],
    "dict": {"k": 1},
    "tuple": ("a", "b"),
    "set": {"a", "b"},
    "date": dt.date(2024, 1, 1),
    "empty list": [],
    "empty dict": {},
}
"""the words that ids use for a value -> the value"""


def of_a_family(case_id: str) -> Callable[[], DAG] | None:
    """The program of an id that says all there is to say: ``max_active_tasks zero``, ``end_date as date``, ``expand
    with a dict``, ``missing start_date, schedule @hourly, catchup True``, ``tag of 100 characters``."""
    words = "|".join(SAMPLES)
    if found := re.fullmatch(rf"(\w+?)(?: as(?: an?)?)? ({words})", case_id):
        name, word = found.groups()
        if name not in OF_A_DAG:  # it may be an operator's: a DAG that refused the name would prove nothing
            return None
        return _dag_of_one(**{"schedule": None, "start_date": DAY, name: SAMPLES[word]})
    if found := re.fullmatch(rf"expand with (?:an? )?(?:plain )?({words})", case_id):
        return _expanded_over(SAMPLES[found[1]])
    if found := re.fullmatch(r"missing start_date, schedule (.+?)(?:, catchup (True|False))?", case_id):
        options = {"schedule": None if found[1] == "None" else found[1]}
        return _dag_of_one(**options, **({"catchup": found[2] == "True"} if found[2] else {}))
    if found := re.fullmatch(r"tag (of|longer than) (\d+) characters", case_id):
        return _dag_of_one(schedule=None, tags=["x" * (int(found[2]) + (found[1] != "of"))])
    if found := re.fullmatch(r"@continuous with max_active_runs (\d+)", case_id):
        return _dag_of_one(schedule="@continuous", start_date=DAY, max_active_runs=int(found[1]))
    return None


@program("same task added to two DAGs")
def _() -> DAG:
    one = EmptyOperator(task_id="t", dag=new_dag())
    other = DAG("e", schedule=None, start_date=DAY)
    other.add_task(one)
    return other


@program("edge between a task with DAG and one without")
def _() -> DAG:
    made = new_dag()
    EmptyOperator(task_id="a", dag=made) >> EmptyOperator(task_id="b")
    assert made.task_ids == ["a", "b"]
    return made


@program("list >> list")
def _() -> DAG:
    with new_dag() as made:
        a, b, c, e = (EmptyOperator(task_id=name) for name in "abce")
        [a, b] >> [c, e]  # type: ignore[operator]
    return made


def _dag_of_one(**kwargs: Any) -> Callable[[], DAG]:
    def build() -> DAG:
        with DAG("d", **kwargs) as made:
            EmptyOperator(task_id="t")
        return made

    return build


PROGRAMS |= {
    "missing start_date, schedule None": _dag_of_one(schedule=None),
    "missing start_date, schedule @daily": _dag_of_one(schedule="@daily"),
    "missing start_date, schedule @daily, catchup True": _dag_of_one(schedule="@daily", catchup=True),
    "start_date as string": _dag_of_one(schedule="@daily", start_date="2024-01-01"),
    "start_date as date": _dag_of_one(schedule="@daily", start_date=dt.date(2024, 1, 1)),
    "end_date before start_date": _dag_of_one(schedule="@daily", start_date=DAY, end_date=DAY - dt.timedelta(days=9)),
    "unknown DAG argument": _dag_of_one(foo=1),
    "schedule_interval argument": _dag_of_one(schedule_interval="@daily", start_date=DAY),
    "max_active_runs zero": _dag_of_one(max_active_runs=0),
    "max_active_runs negative": _dag_of_one(max_active_runs=-1),
    "max_active_runs string": _dag_of_one(max_active_runs="2"),
    "@continuous with max_active_runs 2": _dag_of_one(schedule="@continuous", start_date=DAY, max_active_runs=2),
    "tag longer than 100 characters": _dag_of_one(tags=["x" * 101]),
    "tags as string": _dag_of_one(tags="abc"),
    "DAG param default violates its schema, scheduled": _dag_of_one(
        schedule="@daily", start_date=DAY, params={"x": Param("text", type="integer")}
    ),
    "DAG param without default, scheduled": _dag_of_one(
        schedule="@daily", start_date=DAY, params={"x": Param(type="integer")}
    ),
}


@program("context manager left without tasks")
def _() -> DAG:
    with new_dag() as made:
        pass
    return made


@program("missing DAG start_date but task has one, schedule @daily")
def _() -> DAG:
    with DAG("d", schedule="@daily") as made:
        EmptyOperator(task_id="t", start_date=DAY)
    return made


@program("positional operator argument")
def _() -> DAG:
    with new_dag() as made:
        EmptyOperator("t")  # type: ignore[call-arg]
    return made


@program("missing task_id")
def _() -> DAG:
    with new_dag() as made:
        EmptyOperator()  # type: ignore[call-arg]
    return made


@program("PythonOperator without python_callable")
def _() -> DAG:
    with new_dag() as made:
        PythonOperator(task_id="t")  # type: ignore[call-arg]
    return made


@program("get unknown task")
def _() -> DAG:
    made = _dag_of_one(schedule=None)()
    made.get_task("nope")
    return made


def _expanded_over(items: Any) -> Callable[[], DAG]:
    def build() -> DAG:
        with new_dag() as made:
            identity().expand(x=items)
        return made

    return build


def identity() -> Any:
    @task
    def f(x: Any) -> Any:
        return x

    return f


PROGRAMS |= {"expand with a plain int": _expanded_over(5), "expand with a string": _expanded_over("abc")}


@program("call a task with an unknown argument")
def _() -> DAG:
    with new_dag() as made:
        identity()(y=1)
    return made


@program("partial without expand")
def _() -> DAG:
    with new_dag() as made:
        PythonOperator.partial(task_id="t", python_callable=print)
    return made


@program("trigger_rule always in a mapped task group")
def _() -> DAG:
    with new_dag() as made:

        @task_group
        def g(x: Any) -> None:
            EmptyOperator(task_id="a") >> EmptyOperator(task_id="t", trigger_rule="always")

        g.expand(x=[1, 2])
    return made


@program("teardown directly followed by teardown's setup (cycle)")
def _() -> DAG:
    with new_dag() as made:
        a, b = EmptyOperator(task_id="a"), EmptyOperator(task_id="b")
        b.as_teardown(setups=a)
        b >> a
    return made


@program("setup and work with incompatible trigger rule (setup's downstream must be all_success?)")
def _() -> DAG:
    with new_dag() as made:
        EmptyOperator(task_id="s").as_setup() >> EmptyOperator(task_id="w", trigger_rule="all_done")
    return made


@program("dag decorator function default argument becomes a param")
def _() -> DAG:
    @dag(schedule="@daily", start_date=DAY)
    def d(x: int = 3) -> None:
        EmptyOperator(task_id="t")

    made = d()
    assert made.params["x"] == 3
    return made


@program("task group with unknown upstream object")
def _() -> DAG:
    with new_dag() as made:
        with TaskGroup("g") as group:
            EmptyOperator(task_id="t")
        group >> 5
    return made


@program("XComArg used as a condition / iterated")
def _() -> DAG:
    with new_dag() as made:
        result = identity()(x=1)
        if result:
            list(result)
    return made


@program("template field not in constructor / unknown template variable is only found at run time")
def _() -> DAG:
    class Templated(BaseOperator):
        template_fields = ("text",)

        def __init__(self, *, text: str, **kwargs: Any) -> None:
            super().__init__(**kwargs)
            self.text = text

    with new_dag() as made:
        Templated(task_id="t", text="{{ nobody_knows_this }}")
    return made


@program("bash_command ending in .sh that does not exist")
def _() -> DAG:
    with new_dag() as made:
        BashOperator(task_id="t", bash_command="there_is_no_such_file.sh")
    return made
