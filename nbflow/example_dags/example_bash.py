"""Shell commands. Values from outside are passed as environment variables and quoted in the command: a template in the
command itself would let the user who triggers a run execute any command."""

from datetime import UTC, datetime

from nbflow import DAG
from nbflow.operators.bash import BashOperator

with DAG(
    "example_bash",
    description="BashOperator, with values of the run's conf as data, not as code",
    schedule=None,
    start_date=datetime(2024, 1, 1, tzinfo=UTC),
    tags=["example"],
    doc_md=__doc__,
):
    greet = BashOperator(
        task_id="greet",
        bash_command='printf "hello, %s\\n" "$NAME"',
        env={"NAME": "{{ dag_run.conf.get('name', 'world') }}"},
        append_env=True,
    )
    shout = BashOperator(
        task_id="shout",
        bash_command='printf "%s" "$TEXT" | tr "[:lower:]" "[:upper:]"',
        env={"TEXT": "{{ ti.xcom_pull(task_ids='greet') }}"},
        append_env=True,
    )
    greet >> shout
