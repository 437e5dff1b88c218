"""Templates rendered in a running task, compared with Airflow's results."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest

from nbflow import DAG
from nbflow.authoring.operator import BaseOperator
from nbflow.core.attempt_events import Failed
from nbflow.core.snapshot import Run
from nbflow.core.states import RunState
from tests.running.memory import MemoryRuntime, attempt


class Render(BaseOperator):
    """Stores its rendered template in ``result``."""

    template_fields = ("template",)

    def __init__(self, *, template: Any, result: dict[str, Any], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.template, self.result = template, result

    def execute(self, context: Any) -> None:
        self.result["value"] = self.template


def the_dag(table: dict[str, Any], case: dict[str, Any]) -> DAG:
    """The DAG that the head of the table describes."""
    return DAG(
        case["id"].split("|")[0],
        schedule=table["dag"]["schedule"],
        start_date=datetime.fromisoformat(table["dag"]["start_date"]),
        params=table["dag"]["params"],
        default_args=table["dag"]["default_args"],
        user_defined_macros={"my_macro": lambda n: n * 2},
        user_defined_filters={"my_filter": lambda n: f"<{n}>"},
        render_template_as_native_obj=case["native"],
    )


def the_runs(table: dict[str, Any], dag_id: str, until: str) -> list[Run]:
    """The runs up to ``until``, in the order in which they ran; all but the last have succeeded."""
    runs = []
    for head in table["contexts"]:
        dates = {
            name: datetime.fromisoformat(head[name]) for name in head if name.endswith(("_date", "_start", "_end"))
        }
        run_after = datetime.fromisoformat(head["run_after"])
        is_last = head["context"] == until
        runs.append(
            Run(
                dag_id=dag_id,
                run_id=head["run_id_generated"],
                run_type=head["run_type"],
                state=RunState.RUNNING if is_last else RunState.SUCCESS,
                run_after=run_after,
                start_date=run_after,
                end_date=None if is_last else run_after + timedelta(minutes=1),
                conf=head["conf"],
                **dates,
            )
        )
        if is_last:
            return runs
    raise AssertionError(f"the table has no context {until}")


@pytest.mark.facts("macros")
@pytest.mark.filterwarnings("ignore::nbflow.authoring.context.OldNameWarning")
def test_macros(case: dict[str, Any], check: Any, table: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in table["env"].items():
        monkeypatch.setenv(name, value)
    dag = the_dag(table, case)
    result: dict[str, Any] = {}
    task = Render(
        task_id=table["dag"]["task_id"],
        template=case["template"],
        result=result,
        on_failure_callback=lambda context: result.update(exception=context["exception"]),
        dag=dag,
    )
    runs = the_runs(table, dag.dag_id, case["context"])
    runtime = MemoryRuntime(runs[-1])
    runtime.runs = runs
    runtime.task_id = task.task_id

    def rendered() -> dict[str, Any]:
        outcome = attempt(dag, task.task_id, runtime)
        if isinstance(outcome.event, Failed):
            raise result["exception"]
        value = result["value"]
        plain = value is None or isinstance(value, str | int | float | list | dict)
        return {"value": value if plain else repr(value), "type": type(value).__name__}

    check(rendered)
