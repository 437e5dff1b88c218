"""A branch chooses one of two paths; the join runs whichever was taken: its trigger rule allows skipped ones."""

from datetime import UTC, datetime

from nbflow import DAG, Label, task
from nbflow.operators.empty import EmptyOperator

with DAG(
    "example_branching",
    description="One path of two, and a join that does not mind",
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
