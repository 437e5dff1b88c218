"""A branch chooses one of two paths. The join runs after either, because its trigger rule allows skipped tasks."""

from datetime import UTC, datetime

from nbflow import DAG, Label, task
from nbflow.operators.empty import EmptyOperator

with DAG(
    "example_branching",
    description="A branch with two paths, and a join that runs after either",
    schedule="@daily",
    start_date=datetime(2024, 1, 1, tzinfo=UTC),
    tags=["example"],
    doc_md=__doc__,
):

    @task.branch
    def is_weekend(logical_date):
        return "rest" if logical_date.isoweekday() > 5 else "work"

    work = EmptyOperator(task_id="work")
    rest = EmptyOperator(task_id="rest")
    join = EmptyOperator(task_id="join", trigger_rule="none_failed_min_one_success")

    day = is_weekend()
    day >> Label("Monday to Friday") >> work >> join
    day >> Label("weekend") >> rest >> join
