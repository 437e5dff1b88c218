"""A shell command. What comes from outside goes in as an environment variable and is quoted there: a template put
straight into the command would let whoever triggers the run write shell."""

from datetime import UTC, datetime

from nbflow import DAG
from nbflow.operators.bash import BashOperator

with DAG(
    "example_bash",
    description="BashOperator, with what a run was triggered with as data and never as code",
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
