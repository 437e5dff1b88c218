"""Creating operators: the sources of arguments, and the errors for invalid ones."""

from __future__ import annotations

import subprocess
import sys
from datetime import datetime, timedelta
from typing import Any

import pytest

from nbflow import DAG, BaseOperator, TaskGroup, task
from nbflow.authoring.context import OldNameWarning
from nbflow.errors import (
    AirflowException,
    DuplicateTaskIdFound,
    FailFastDagInvalidTriggerRule,
    InvalidArgument,
    InvalidDag,
    TaskNotFound,
)
from nbflow.operators.empty import EmptyOperator


class Copy(BaseOperator):
    template_fields = ("source", "target")

    def __init__(self, *, source: Any, target: str = "out", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.source, self.target = source, target


class LoudCopy(Copy):
    """An operator with its own argument and a fixed argument of its base."""

    def __init__(self, *, volume: int, **kwargs: Any) -> None:
        super().__init__(target="fixed", retries=7, **kwargs)
        self.volume = volume


class Closed(BaseOperator):
    def __init__(self, *, task_id: str, only: int = 1) -> None:
        super().__init__(task_id=task_id)
        self.only = only


def test_default_args_fill_the_arguments_of_each_level() -> None:
    with DAG("d", default_args={"source": "in", "target": "there", "volume": 3, "retries": 2, "other": 0}):
        copy = Copy(task_id="copy")
        loud = LoudCopy(task_id="loud")
    assert (copy.source, copy.target, copy.retries) == ("in", "there", 2)
    assert (loud.source, loud.target, loud.retries, loud.volume) == ("in", "fixed", 7, 3)


def test_inner_default_args_override_outer_ones() -> None:
    with DAG("d", default_args={"owner": "dag", "retries": 1, "queue": "dag", "pool": "dag"}):
        with TaskGroup("g", default_args={"owner": "g", "retries": 2, "queue": "g"}):
            with TaskGroup("h", default_args={"owner": "h", "retries": 3}):
                task = EmptyOperator(task_id="t", default_args={"owner": "task"}, retries=9)
    assert (task.owner, task.retries, task.queue, task.pool) == ("task", 9, "g", "dag")


def test_a_task_stores_only_the_arguments_that_were_passed() -> None:
    with DAG("d"):
        task = EmptyOperator(task_id="t", retries=3)
    assert set(task.__dict__) == {
        "place", "task_id", "upstream_task_ids", "downstream_task_ids", "dag", "task_group", "retries"
    }  # fmt: skip
    assert (task.retry_delay, task.pool, task.trigger_rule) == (timedelta(minutes=5), "default_pool", "all_success")


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: EmptyOperator(task_id="t", retrys=1), InvalidArgument,
         "EmptyOperator (task 't') has no argument 'retrys'. Did you mean 'retries'?"),
        (lambda: Copy(task_id="t", sorce=1, source=2), InvalidArgument,
         "Copy (task 't') has no argument 'sorce'. Did you mean 'source'?"),
        (lambda: Closed(task_id="t", onli=1), InvalidArgument, "Closed has no argument 'onli'. Did you mean 'only'?"),
        (lambda: Copy(task_id="t"), InvalidArgument, "Copy is missing the argument source."),
        (lambda: LoudCopy(task_id="t", source=1), InvalidArgument, "LoudCopy is missing the argument volume."),
        (
            lambda: Copy(task_id="t", sorce=1),
            InvalidArgument,
            "Copy is missing the argument source. It has no argument 'sorce', which was passed.",
        ),
        (
            lambda: DAG("d", schedule="@daily", schedule_interval="@hourly"),
            InvalidArgument,
            "DAG 'd' has schedule and also its old name schedule_interval. Give schedule only.",
        ),
        (lambda: EmptyOperator(), InvalidArgument, "EmptyOperator is missing the argument task_id."),
        (lambda: EmptyOperator("t"), InvalidArgument,
         "EmptyOperator takes keyword arguments only, but got the positional argument 't'. "
         "Write task_id=..., and so on."),
        (lambda: EmptyOperator(task_id="a b"), InvalidDag,
         "task_id 'a b' may contain only letters, digits, dashes, dots and underscores. For example 'a_b'."),
        (lambda: EmptyOperator(task_id="t", retries="x"), InvalidArgument,
         "retries of task 't' must be a whole number, not str 'x'."),
        (lambda: EmptyOperator(task_id="t", retry_delay="5m"), InvalidArgument,
         "retry_delay of task 't' must be a timedelta or a number of seconds, not str '5m'. "
         "For example retry_delay=timedelta(minutes=5)."),
        (lambda: EmptyOperator(task_id="t", pool_slots=0), InvalidDag,
         "pool_slots of task 't' must be at least 1, got 0."),
        (lambda: EmptyOperator(task_id="t", execution_timeout=5), InvalidDag,
         "execution_timeout of task 't' must be a timedelta, not int 5. "
         "For example execution_timeout=timedelta(hours=1)."),
        (lambda: EmptyOperator(task_id="t", weight_rule="down"), InvalidDag,
         "weight_rule of task 't' must be one of downstream, upstream, absolute, not 'down'."),
        (lambda: EmptyOperator(task_id="t", start_date="2024-01-01"), InvalidArgument,
         "start_date of task 't' must be a datetime, not str '2024-01-01'. "
         "For example pendulum.datetime(2024, 1, 1), or datetime(2024, 1, 1)."),
        (lambda: EmptyOperator(task_id="t", run_as_user="bob"), InvalidDag,
         "task 't' has run_as_user='bob', but nbflow runs every task as the user that runs its scheduler. "
         "Leave out run_as_user; to run as another user, start a scheduler as that user."),
        (lambda: DAG("x", shedule="@daily"), InvalidArgument,
         "DAG 'x' has no argument 'shedule'. Did you mean 'schedule'?"),
        (lambda: DAG("x", owner_links={"ada": "javascript:alert(1)"}), InvalidDag,
         "owner_links of DAG 'x': the link of 'ada' must begin with https:// or mailto:, not 'javascript:alert(1)'."),
        (lambda: DAG("x y"), InvalidDag,
         "dag_id 'x y' may contain only letters, digits, dashes, dots and underscores. For example 'x_y'."),
        (lambda: TaskGroup("a.b"), InvalidDag,
         "group_id 'a.b' may contain only letters, digits, dashes and underscores. For example 'a_b'."),
        (lambda: task.virtualenv(lambda: 1), InvalidDag,
         "@task.virtualenv is not in this release of nbflow. Available are @task and @task.python, @task.branch, "
         "@task.short_circuit, @task.sensor, @task.bash, @task.notebook, @task.run_if, @task.skip_if."),
    ],
)  # fmt: skip
def test_an_error_names_the_problem_the_place_and_what_to_do(make, error, message) -> None:
    with DAG("d"), pytest.raises(error) as caught:
        make()
    assert (type(caught.value), str(caught.value)) == (error, message)


def test_a_refused_value_is_an_airflow_exception_too() -> None:
    with pytest.raises(AirflowException):
        EmptyOperator(task_id="t", retries="x")


def test_an_unknown_decorator_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match=r"There is no @task.brunch. Did you mean 'branch'"):
        task.brunch


def test_a_task_whose_init_raised_is_not_in_the_dag() -> None:
    with DAG("d") as dag:
        with pytest.raises(InvalidArgument):
            EmptyOperator(task_id="t", retrys=1)
        EmptyOperator(task_id="t")
    assert dag.task_ids == ["t"] == list(dag.task_group.children)


def test_a_duplicate_id_names_both_lines() -> None:
    with DAG("d"):
        first = EmptyOperator(task_id="t")
        with pytest.raises(DuplicateTaskIdFound) as caught:
            EmptyOperator(task_id="t")
    line = first.place.line  # type: ignore[union-attr]
    assert str(caught.value) == f"Duplicate task id 't' at line {line + 2} in DAG 'd': first defined at line {line}."


def test_tasks_and_groups_share_one_namespace() -> None:
    with DAG("d"):
        EmptyOperator(task_id="g")
        with pytest.raises(
            DuplicateTaskIdFound, match=r"Duplicate group id 'g' .* first defined at line \d+ as a task"
        ):
            TaskGroup("g")


def test_a_group_can_take_a_suffix() -> None:
    with DAG("d") as dag:
        for _ in range(3):
            with TaskGroup("g", add_suffix_on_collision=True):
                EmptyOperator(task_id="t")
    assert dag.task_ids == ["g.t", "g__1.t", "g__2.t"]


def test_tasks_of_a_group_without_prefix_have_the_prefix_of_the_outer_group() -> None:
    with DAG("d") as dag, TaskGroup("g"), TaskGroup("h", prefix_group_id=False):
        EmptyOperator(task_id="t")
    assert (dag.task_ids, list(dag.task_group_dict)) == (["g.t"], ["g", "g.h"])


def test_a_missing_task_is_named_with_the_nearest() -> None:
    with DAG("d") as dag:
        EmptyOperator(task_id="extract")
    with pytest.raises(TaskNotFound, match=r"DAG 'd' has no task 'extrct'. Did you mean 'extract'\?"):
        dag.get_task("extrct")


def test_fail_fast_refuses_rules_that_wait_for_more_than_success() -> None:
    with DAG("d", fail_fast=True), pytest.raises(FailFastDagInvalidTriggerRule, match="trigger_rule='all_done'"):
        EmptyOperator(task_id="t", trigger_rule="all_done")


def test_a_task_cannot_change_its_dag() -> None:
    task = EmptyOperator(task_id="t", dag=DAG("d"))
    with pytest.raises(InvalidDag, match="belongs to DAG 'd', so it cannot be added to DAG 'e'"):
        DAG("e").add_task(task)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"task_concurrency": 3}, {"max_active_tis_per_dag": 3}),
        ({"trigger_rule": "dummy"}, {"trigger_rule": "always"}),
        ({"trigger_rule": "none_failed_or_skipped"}, {"trigger_rule": "none_failed_min_one_success"}),
        ({"provide_context": True}, {}),
        ({"sla": timedelta(hours=1)}, {"sla": timedelta(hours=1)}),
    ],
)
def test_an_old_argument_of_a_task_works_with_a_warning_at_the_users_line(arguments, expected) -> None:
    with DAG("d"), pytest.warns(OldNameWarning) as caught:
        new_task = EmptyOperator(task_id="t", **arguments)
    assert {name: getattr(new_task, name) for name in expected} == expected
    assert [(warning.filename, warning.lineno) for warning in caught] == [new_task.place]


@pytest.mark.parametrize(
    ("arguments", "name", "expected"),
    [
        ({"schedule_interval": "@daily"}, "schedule", "@daily"),
        ({"timetable": "@daily"}, "schedule", "@daily"),
        ({"concurrency": 3}, "max_active_tasks", 3),
        ({"fail_stop": True}, "fail_fast", True),
        ({"default_view": "graph"}, "schedule", None),
        ({"sla_miss_callback": print}, "schedule", None),
    ],
)
def test_an_old_argument_of_a_dag_works_with_a_warning(arguments, name, expected) -> None:
    with pytest.warns(OldNameWarning, match=f"{next(iter(arguments))} of DAG 'd' is Airflow 2's"):
        dag = DAG("d", **arguments)
    assert getattr(dag, name) == expected


def test_the_warning_of_an_old_argument_is_shown_in_main() -> None:
    program = "from nbflow import DAG\nDAG('d', schedule_interval=None)\n"
    process = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert process.stderr.startswith(
        "<string>:2: OldNameWarning: schedule_interval of DAG 'd' is Airflow 2's; use schedule."
    )


def test_a_callback_that_is_not_callable_is_warned_of() -> None:
    with (
        DAG("d"),
        pytest.warns(UserWarning, match="on_failure_callback of task 't' contains 'x', which is not callable"),
    ):
        EmptyOperator(task_id="t", on_failure_callback="x")


def test_a_result_in_any_argument_sets_an_edge() -> None:
    with DAG("d") as dag:
        a, b, c = (EmptyOperator(task_id=name) for name in "abc")
        copy = Copy(task_id="copy", source=[{"deep": (a.output, {"er": b.output["key"]})}], doc_md="x")
        late = Copy(task_id="late", source=None)
        late.source = c.output
    assert copy.upstream_task_ids == {"a", "b"}
    assert dag.to_spec().tasks["late"].upstream == ("c",)


def test_a_result_outside_of_the_template_fields_is_warned_of() -> None:
    class Blind(BaseOperator):
        def __init__(self, *, value: Any, **kwargs: Any) -> None:
            super().__init__(**kwargs)
            self.value = value

    with DAG("d"):
        a = EmptyOperator(task_id="a")
        with pytest.warns(UserWarning, match="value of task 'b' is the result of another task, but is not in templ"):
            b = Blind(task_id="b", value=[a.output])
    assert b.upstream_task_ids == {"a"}


def test_template_fields_that_are_a_string_are_one_field() -> None:
    with pytest.warns(UserWarning, match=r"template_fields of Careless is the string 'sql'; write \('sql',\)"):

        class Careless(BaseOperator):
            template_fields = "sql"

    assert Careless.template_fields == ("sql",)


def test_a_mixins_arguments_are_the_operators_own() -> None:
    class Loud:
        def __init__(self, *, volume: int, **kwargs: Any) -> None:
            super().__init__(**kwargs)
            self.volume = volume

    class LoudEmpty(Loud, EmptyOperator):
        pass

    with DAG("d", default_args={"volume": 3}):
        new_task = LoudEmpty(task_id="t", retries=1)
        with pytest.raises(
            InvalidArgument, match=r"LoudEmpty \(task 'u'\) has no argument 'volme'. Did you mean 'volume'"
        ):
            LoudEmpty(task_id="u", volme=3)
    assert (new_task.volume, new_task.retries) == (3, 1)


def test_an_operator_that_does_not_call_super_is_refused() -> None:
    class Forgets(BaseOperator):
        def __init__(self, *, task_id: str) -> None:
            self.mine = task_id

    with DAG("d"), pytest.raises(InvalidDag, match=r"Forgets.__init__\(\) must call super"):
        Forgets(task_id="t")


def test_the_zone_of_a_naive_task_date_is_the_dags() -> None:
    with DAG("d", start_date=datetime.fromisoformat("2024-01-01T00:00+02:00")) as dag:
        EmptyOperator(task_id="t", start_date=datetime(2024, 1, 2))
    assert dag.to_spec().tasks["t"].start_date == datetime.fromisoformat("2024-01-01T22:00+00:00")


def test_help_shows_every_argument() -> None:
    from inspect import signature

    shown = list(signature(LoudCopy).parameters)
    assert shown[:4] == ["task_id", "volume", "source", "target"]
    assert {"retries", "pool", "on_failure_callback", "trigger_rule"} <= set(shown)
