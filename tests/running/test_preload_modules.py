"""Modules that a fork server imports before it forks."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    ("body", "loaded"),
    [
        ("task(task_id='t')(lambda x: x)(1)", []),
        ("task(task_id='t')(lambda ti: 1)()", []),
        ("task(task_id='t')(lambda ds: 1)()", ["pendulum"]),
        ("task(task_id='t')(lambda **context: 1)()", ["pendulum"]),
        ("task(task_id='t')(lambda x: x)('{{ ds }}')", ["jinja2", "pendulum"]),
        ("BashOperator(task_id='t', bash_command='echo')", []),
        ("BashOperator(task_id='t', bash_command='job.sh')", ["jinja2", "pendulum"]),
        ("BashOperator(task_id='t', bash_command='echo', env={'A': ['{{ ds }}']})", ["jinja2", "pendulum"]),
        ("BashOperator.partial(task_id='t', env={'A': '{{ ds }}'}).expand(bash_command=['a'])", ["jinja2", "pendulum"]),
        ("BashOperator.partial(task_id='t').expand(bash_command=['a', '{{ ds }}'])", ["jinja2", "pendulum"]),
    ],
)
def test_only_what_the_tasks_will_need_is_imported(body: str, loaded: list[str]) -> None:
    code = (
        "import sys\n"
        "from nbflow import DAG, task\n"
        "from nbflow.execution.task_runner import preload_modules\n"
        "from nbflow.operators.bash import BashOperator\n"
        f"with DAG('d') as dag:\n    {body}\n"
        "preload_modules(dag)\n"
        "print([name for name in ('jinja2', 'pendulum') if name in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == f"{loaded}\n"
