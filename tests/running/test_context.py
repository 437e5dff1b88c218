"""The context: by name, as keyword arguments, from get_current_context, and in templates."""

from __future__ import annotations

import threading
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from nbflow import DAG, Variable, get_current_context, task
from nbflow.authoring.context import OLD_NAMES, OldNameWarning
from nbflow.authoring.templating import literal, render
from nbflow.connections import Connection
from nbflow.core.attempt_events import Failed
from nbflow.core.snapshot import Run
from nbflow.core.states import RunState
from nbflow.errors import AirflowException
from nbflow.operators.python import PythonOperator
from nbflow.secrets_masker import Masker
from tests.running.memory import MONDAY, MemoryRuntime, a_run, attempt


def result(dag: DAG, runtime: MemoryRuntime, function: Any, **kwargs: Any) -> Any:
    """The value that the function returns as a task, without JSON serialisation."""
    results: list[Any] = []
    PythonOperator(task_id="t", python_callable=function, post_execute=lambda _, value: results.append(value), **kwargs)
    event = attempt(dag, "t", runtime).event
    assert not isinstance(event, Failed), event.error
    return results[0]


def test_a_function_gets_the_context_values_that_its_parameters_name(dag: DAG, runtime: MemoryRuntime) -> None:
    assert result(dag, runtime, lambda x, ds, *, ti: (x, ds, ti.task_id), op_args=[1]) == (1, "2024-01-01", "t")


def test_explicit_arguments_win_over_the_context(dag: DAG, runtime: MemoryRuntime) -> None:
    assert result(dag, runtime, lambda ds, run_id: (ds, run_id), op_args=["mine"], op_kwargs={"run_id": 1}) == (
        "mine",
        1,
    )


def test_a_functions_defaults_stay(dag: DAG, runtime: MemoryRuntime) -> None:
    def function(reason: str = "mine", conf: str = "mine too", test_mode: Any = None) -> Any:
        return reason, conf, test_mode

    with pytest.warns(OldNameWarning, match="'test_mode'"):
        assert result(dag, runtime, function) == ("mine", "mine too", False)


def test_a_function_with_kwargs_gets_everything(dag: DAG, runtime: MemoryRuntime) -> None:
    def function(x: int, **context: Any) -> Any:
        return x, context["ds"], isinstance(context, dict), {"ti", "params", "next_ds", "var"} <= context.keys()

    assert result(dag, runtime, function, op_kwargs={"x": 2}) == (2, "2024-01-01", True, True)


def test_old_names_among_kwargs_work_and_warn_when_used(dag: DAG, runtime: MemoryRuntime) -> None:
    def function(**kwargs: Any) -> Any:
        date = kwargs["execution_date"]
        return [isinstance(date, datetime), f"{date:%d.%m.%Y}", date - timedelta(days=1) < date, str(kwargs["next_ds"])]

    with pytest.warns(OldNameWarning, match="'execution_date' is a name of Airflow 2.*use logical_date"):
        assert result(dag, runtime, function) == [True, "01.01.2024", True, "2024-01-02"]


@pytest.mark.filterwarnings("ignore::nbflow.authoring.context.OldNameWarning")
def test_values_from_kwargs_can_be_returned_and_pushed(dag: DAG, runtime: MemoryRuntime) -> None:
    @task
    def t(**kwargs: Any) -> Any:
        kwargs["ti"].xcom_push("k", [kwargs["next_ds"]])
        return {"date": kwargs["execution_date"], "before": kwargs["prev_start_date_success"]}

    t()
    attempt(dag, "t", runtime)

    assert (runtime.stored("t", "k"), runtime.stored()) == (["2024-01-02"], {"date": MONDAY, "before": None})


def test_every_old_name_has_a_value_and_a_warning(dag: DAG, runtime: MemoryRuntime) -> None:
    def function(ti: Any) -> list[str]:
        context, missing = ti.get_template_context(), []
        for name in OLD_NAMES:
            with pytest.warns(OldNameWarning, match=f"'{name}'"):
                context[name]
        return missing

    assert result(dag, runtime, function) == []


def test_the_context_requests_only_values_that_are_used(dag: DAG, runtime: MemoryRuntime) -> None:
    requests: list[str] = []

    class Watched(MemoryRuntime):
        def previous_success(self) -> Run | None:
            requests.append("previous_success")
            return None

    watched = Watched(environ={})
    result(dag, watched, lambda **context: context["ds"])
    assert requests == []


def test_previous_success(dag: DAG, runtime: MemoryRuntime) -> None:
    before = a_run(MONDAY - timedelta(days=1), state=RunState.SUCCESS)
    runtime.runs = [before, runtime.run]

    def function(prev_data_interval_start_success: Any, prev_data_interval_end_success: Any) -> Any:
        return prev_data_interval_start_success, prev_data_interval_end_success

    assert result(dag, runtime, function) == (before.data_interval_start, before.data_interval_end)


def test_a_run_without_a_logical_date_has_no_ds(dag: DAG, runtime: MemoryRuntime) -> None:
    runtime.run = replace(runtime.run, logical_date=None, data_interval_start=None, data_interval_end=None)

    def function(ti: Any) -> Any:
        context = ti.get_template_context()
        return {name: name in context for name in ("ds", "ts", "logical_date", "next_ds", "run_id")}, context.get("ds")

    missing = dict.fromkeys(("ds", "ts", "logical_date", "next_ds"), False)
    assert result(dag, runtime, function) == ({**missing, "run_id": True}, None)


def test_get_current_context_inside_and_in_threads(dag: DAG, runtime: MemoryRuntime) -> None:
    def function() -> Any:
        values = [get_current_context()["ds"]]
        thread = threading.Thread(target=lambda: values.append(get_current_context()["ti"].task_id))
        thread.start()
        thread.join()
        return values

    assert result(dag, runtime, function) == ["2024-01-01", "t"]
    with pytest.raises(AirflowException, match="no task is running"):
        get_current_context()


def test_params_are_the_dags_overridden_by_task_and_conf(runtime: MemoryRuntime) -> None:
    runtime.run = replace(runtime.run, conf={"c": 3, "extra": 4})
    with DAG("d", params={"a": 1, "b": 1, "c": 1}) as dag:
        pass

    for _ in range(2):
        with dag:
            dag.task_dict.clear()
            dag._ids.clear()
            assert dict(result(dag, runtime, lambda params: params, params={"b": 2})) == {
                "a": 1,
                "b": 2,
                "c": 3,
                "extra": 4,
            }
    assert dict(dag.params) == {"a": 1, "b": 1, "c": 1}, "a run's conf stays in the run"


def test_conf_is_never_a_template(dag: DAG, runtime: MemoryRuntime) -> None:
    runtime.run = replace(runtime.run, conf={"x": "{{ conn.db.password }}", "file": "secret.sql"})

    assert result(dag, runtime, lambda x: x, op_kwargs={"x": "<{{ dag_run.conf.x }}>"}) == "<{{ conn.db.password }}>"


@pytest.mark.parametrize(
    "template",
    [
        "{{ ''.__class__.__mro__ }}",
        "{{ macros.json.codecs }}",
        "{{ macros.datetime.__subclasses__() }}",
        "{{ macros.uuid.os.environ }}",
        "{{ macros.time.__loader__ }}",
        "{{ macros.import_module('os') }}",
        "{{ task.python_callable.__globals__ }}",
        "{{ ti.xcom_pull.__func__ }}",
        "{{ macros.dateutil.zoneinfo.tarfile }}",
        "{{ macros.datetime.now.__self__ }}",
        "{{ ().__class__.__bases__ }}",
        "{{ cycler.__init__.__globals__ }}",
        "{{ lipsum.__globals__ }}",
        "{{ '{0.__class__}'.format(ti) }}",
        "{{ namespace.__init__.__globals__ }}",
        "{{ dag.__class__.__init__.__globals__ }}",
        "{{ ds | attr('__class__') }}",
        "{{ ds['__class__'] }}",
        "{{ self._TemplateReference__context.__class__ }}",
        "{% set x = ds.__class__ %}{{ x }}",
    ],
)
@pytest.mark.parametrize("native", [False, True])
def test_templates_stay_in_the_sandbox(runtime: MemoryRuntime, template: str, native: bool) -> None:
    with DAG("d", render_template_as_native_obj=native) as dag:
        PythonOperator(task_id="t", python_callable=lambda x: x, op_args=[template])

    event = attempt(dag, "t", runtime).event

    assert isinstance(event, Failed)
    assert event.error.startswith(("SecurityError", "UndefinedError")), event.error


def test_a_path_is_not_an_xcom_although_it_has_a_method_resolve(dag: DAG, runtime: MemoryRuntime) -> None:
    assert result(dag, runtime, lambda x: str(x), op_kwargs={"x": Path("no/such/file")}) == "no/such/file"


def test_template_files_are_found_beside_the_dag_and_on_its_search_path(runtime: MemoryRuntime, tmp_path: Path) -> None:
    (tmp_path / "q.sql").write_text("select '{{ ds }}'\n{% include 'part.sql' %}")
    (tmp_path / "part.sql").write_text("-- {{ params.who }}")
    with DAG("d", template_searchpath=str(tmp_path), params={"who": "ada"}) as dag:
        rendered = result(
            dag,
            runtime,
            lambda templates_dict: templates_dict["q"],
            templates_dict={"q": "q.sql"},
            templates_exts=[".sql"],
        )

    assert rendered == "select '2024-01-01'\n-- ada"


@pytest.mark.parametrize("name", ["missing.sql", "../secret.sql", "/etc/passwd.sql"])
def test_a_template_file_that_is_not_on_the_path_is_named(runtime: MemoryRuntime, tmp_path: Path, name: str) -> None:
    (tmp_path / "dags").mkdir()
    (tmp_path / "secret.sql").write_text("x")
    with DAG("d", template_searchpath=str(tmp_path / "dags")) as dag:
        PythonOperator(task_id="t", python_callable=print, templates_dict={"q": name}, templates_exts=[".sql"])

    event = attempt(dag, "t", runtime).event

    assert isinstance(event, Failed)
    assert event.error.startswith(f"AirflowException: Template file {name} was not found in ")


def test_a_literal_is_not_a_template(dag: DAG, runtime: MemoryRuntime) -> None:
    assert result(dag, runtime, lambda x: x, op_args=[literal("{{ ds }}")]) == "{{ ds }}"


def test_nested_objects_with_template_fields_are_rendered_as_copies() -> None:
    class Inner:
        template_fields = ("text", "me")

        def __init__(self) -> None:
            self.text, self.me = "{{ x }}", self

    inner = Inner()
    rendered = render({"a": [inner]}, {"x": 1})["a"][0]

    assert (rendered.text, inner.text) == ("1", "{{ x }}")


def test_rendered_fields_are_stored_without_secrets(dag: DAG, runtime: MemoryRuntime) -> None:
    from nbflow.authoring.workload import Workload
    from nbflow.execution.task_runner import run_try

    runtime.connections["db"] = Connection(conn_id="db", conn_type="postgres", login="u", password="correct-horse")
    PythonOperator(
        task_id="t",
        python_callable=lambda *args, **kwargs: None,
        op_args=["{{ ds }}", "postgres://u:{{ conn.db.password }}@h", "x" * 5000 + "{{ ds }}"],
        op_kwargs={"plain": "as it is"},
        templates_dict={"password": "{{ 'hunter2' }}"},
    )

    runtime.masker = Masker()
    run_try(dag, dag.get_task("t"), Workload(attempt_id="a", run=runtime.run, task_id="t"), runtime)

    assert runtime.rendered is not None
    assert runtime.rendered.keys() == {"op_args", "templates_dict"}
    assert runtime.rendered["templates_dict"] == {"password": "***"}
    assert runtime.rendered["op_args"].startswith('["2024-01-01", "postgres://u:***@h", "xxx')
    assert runtime.rendered["op_args"].endswith("characters)")


def test_variables_and_connections_come_from_the_runtime(dag: DAG, runtime: MemoryRuntime) -> None:
    runtime.variables["v"] = '{"k": 1}'

    @task
    def t(var: Any = None, conn: Any = None) -> Any:
        Variable.set("w", "new")
        return [Variable.get("v"), var.json.v, var.value.get("nope", 3), Variable.get("w"), conn.get("nope")]

    t()
    attempt(dag, "t", runtime)

    assert runtime.stored() == ['{"k": 1}', {"k": 1}, 3, "new", None]
