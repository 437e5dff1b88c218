"""``render_template_as_native_obj``: templates render to Python values, by the DAG's argument or a task's own."""

from __future__ import annotations

from typing import Any

import pytest

from nbflow.app import App
from nbflow.authoring.dag import DAG
from nbflow.core.spec import DagSpec
from nbflow.operators.python import PythonOperator
from nbflow.services.dag_test import run_test

TEXT, LIST = "'[1, 2]'", "[1, 2]"


@pytest.mark.parametrize(
    ("of_dag", "of_task", "rendered"),
    [(False, None, TEXT), (True, None, LIST), (True, False, TEXT), (False, True, LIST)],
)
def test_a_template_renders_to_a_value_if_the_task_or_its_dag_says_so(
    memory_app: App, of_dag: bool, of_task: bool | None, rendered: str
) -> None:
    # Given a DAG and a task with or without the argument
    own: dict[str, Any] = {} if of_task is None else {"render_template_as_native_obj": of_task}
    with DAG("native", schedule=None, render_template_as_native_obj=of_dag) as dag:
        PythonOperator(
            task_id="show", python_callable=repr, op_args=["{{ [1, params.last] }}"], params={"last": 2}, **own
        )
    # When it runs
    run = run_test(dag, app=memory_app)
    # Then the function gets a value or its text
    assert [text for _, name, text in memory_app.store.xcoms(run.key) if name == "return_value"] == [f'"{rendered}"']


def test_a_spec_of_an_earlier_nbflow_which_had_the_argument_is_read() -> None:
    spec = DagSpec(dag_id="native")

    assert DagSpec.from_dict({**spec.to_dict(), "render_native": True}) == spec
