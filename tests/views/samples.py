"""A DAG with a task group, a mapped task and an edge label, and the current time of these tests."""

from __future__ import annotations

from datetime import UTC, datetime

from nbflow.authoring.dag import DAG
from nbflow.authoring.edges import Label
from nbflow.authoring.task_decorators import task
from nbflow.authoring.taskgroup import TaskGroup
from nbflow.core.spec import DagSpec

NOW = datetime(2024, 6, 1, 12, tzinfo=UTC)


def spec() -> DagSpec:
    with DAG("sales", schedule="@daily", start_date=datetime(2024, 1, 1, tzinfo=UTC)) as dag:
        first = task(lambda: [1, 2], task_id="first")()
        with TaskGroup("inner"):
            each = task(lambda row: row, task_id="each").expand(row=first)
        last = task(lambda: None, task_id="last")()
        each >> Label("all done") >> last
    return dag.to_spec()
