"""Bash commands, run by a real bash."""

from __future__ import annotations

import logging
import os
import select
import signal
import subprocess
import sys
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from nbflow import DAG, task
from nbflow.core.attempt_events import Failed, SkippedItself, Succeeded
from nbflow.core.states import Cause
from nbflow.operators.bash import BashOperator
from tests.running.memory import MemoryRuntime, attempt


def has_exited(pid: int, seconds: float = 30.0) -> bool:
    """Whether the process exits within ``seconds``. A signalled process takes a moment, since nobody waits for it."""
    try:
        process = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([process], [], [], seconds)[0])
    finally:
        os.close(process)


@pytest.mark.parametrize(
    ("command", "result"),
    [
        ("echo one; echo two", "two"),
        ("true", ""),
        ("echo out; echo err >&2", "err"),
        ("printf 'no newline'", "no newline"),
        ("printf 'caf\\xe9'", "caf\\xe9"),
        ("echo '{{ ds }}'", "2024-01-01"),
        ("echo $AIRFLOW_CTX_DAG_ID $AIRFLOW_CTX_TASK_ID $AIRFLOW_CTX_TRY_NUMBER", "d t 1"),
    ],
)
def test_the_last_line_is_the_result(dag: DAG, runtime: MemoryRuntime, command: str, result: str) -> None:
    BashOperator(task_id="t", bash_command=command)

    assert isinstance(attempt(dag, "t", runtime).event, Succeeded)
    assert runtime.stored() == result


def test_every_line_is_logged(dag: DAG, runtime: MemoryRuntime, caplog: pytest.LogCaptureFixture) -> None:
    BashOperator(task_id="t", bash_command="echo one; echo two >&2")

    with caplog.at_level(logging.INFO):
        attempt(dag, "t", runtime)

    assert [record.getMessage() for record in caplog.records if record.getMessage() in {"one", "two"}] == ["one", "two"]


@pytest.mark.parametrize(
    ("code", "skip_on", "kind"),
    [(0, 99, Succeeded), (1, 99, Failed), (99, 99, SkippedItself), (3, [3, 4], SkippedItself), (99, None, Failed)],
)
def test_exit_codes(dag: DAG, runtime: MemoryRuntime, code: int, skip_on: Any, kind: type) -> None:
    BashOperator(task_id="t", bash_command=f"exit {code}", skip_on_exit_code=skip_on)

    assert type(attempt(dag, "t", runtime).event) is kind


def test_a_failure_names_code_and_last_line(dag: DAG, runtime: MemoryRuntime) -> None:
    BashOperator(task_id="t", bash_command="echo disk full; exit 28")

    event = attempt(dag, "t", runtime).event

    assert isinstance(event, Failed)
    assert event.error == (
        "AirflowException: Bash command failed. The command returned a non-zero exit code 28. Its last line: disk full"
    )


def test_env_replaces_the_environment_or_adds_to_it(
    dag: DAG, runtime: MemoryRuntime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OUTSIDE", "seen")
    BashOperator(task_id="alone", bash_command='echo "$OUTSIDE-$X"', env={"X": "1"})
    BashOperator(task_id="added", bash_command='echo "$OUTSIDE-$X"', env={"X": "1"}, append_env=True)

    for task_id in ("alone", "added"):
        attempt(dag, task_id, runtime)

    assert (runtime.stored("alone"), runtime.stored("added")) == ("-1", "seen-1")


HOSTILE = ["'; touch HACKED; '", '"; touch HACKED; "', "$(touch HACKED)", "`touch HACKED`", "a\nb"]


@pytest.mark.parametrize("value", HOSTILE)
def test_a_hostile_conf_passed_by_env_stays_text(dag: DAG, runtime: MemoryRuntime, tmp_path: Path, value: str) -> None:
    runtime.run = replace(runtime.run, conf={"x": value})
    BashOperator(
        task_id="t",
        bash_command='printf "%s" "$X" > got',
        env={"X": "{{ dag_run.conf.x }}"},
        append_env=True,
        cwd=str(tmp_path),
    )

    attempt(dag, "t", runtime)

    assert (tmp_path / "got").read_text() == value
    assert os.listdir(tmp_path) == ["got"]


def test_cwd_is_a_temporary_folder_or_the_one_passed(dag: DAG, runtime: MemoryRuntime, tmp_path: Path) -> None:
    BashOperator(task_id="new", bash_command="touch here; pwd")
    BashOperator(task_id="passed", bash_command="pwd", cwd=str(tmp_path))
    BashOperator(task_id="missing", bash_command="pwd", cwd=str(tmp_path / "no"))

    for task_id in ("new", "passed"):
        attempt(dag, task_id, runtime)
    event = attempt(dag, "missing", runtime).event

    assert not Path(runtime.stored("new")).exists()
    assert runtime.stored("passed") == str(tmp_path)
    assert isinstance(event, Failed)
    assert "does not exist" in event.error


def test_a_script_file_is_rendered(runtime: MemoryRuntime, tmp_path: Path) -> None:
    (tmp_path / "job.sh").write_text("echo day {{ ds }}\n")
    with DAG("d", template_searchpath=str(tmp_path)) as dag:
        BashOperator(task_id="t", bash_command="job.sh")

    attempt(dag, "t", runtime)

    assert runtime.stored() == "day 2024-01-01"


def test_the_decorator_runs_the_command_that_the_function_returns(dag: DAG, runtime: MemoryRuntime) -> None:
    @task.bash(env={"WHO": "ada"})
    def t(word: str, ds: Any = None) -> str:
        return f"echo {word} {ds} {{{{ ds_nodash }}}} $WHO"

    t("hello")
    attempt(dag, "t", runtime)

    assert runtime.stored() == "hello 2024-01-01 20240101 ada"


def test_the_decorator_refuses_a_return_value_that_is_not_a_command(dag: DAG, runtime: MemoryRuntime) -> None:
    @task.bash
    def t() -> Any:
        return 5

    t()
    event = attempt(dag, "t", runtime).event

    assert isinstance(event, Failed)
    assert event.error.endswith("must return a command, not 5.")


def test_output_processor_converts_the_result(dag: DAG, runtime: MemoryRuntime) -> None:
    import json

    BashOperator(task_id="t", bash_command="""echo '{"a": 1}'""", output_processor=json.loads)

    attempt(dag, "t", runtime)

    assert runtime.stored() == {"a": 1}


def test_a_time_limit_ends_the_command_and_its_children(dag: DAG, runtime: MemoryRuntime, tmp_path: Path) -> None:
    # Given a command whose child brings the time limit forward once it runs: it sends the timer's signal
    command = "sh -c 'echo $$ > pid; kill -ALRM $0; exec sleep 300' $PPID & wait"
    BashOperator(task_id="t", bash_command=command, cwd=str(tmp_path), execution_timeout=timedelta(minutes=10))

    event = attempt(dag, "t", runtime).event

    assert isinstance(event, Failed)
    assert event.cause is Cause.EXECUTION_TIMEOUT
    assert has_exited(int((tmp_path / "pid").read_text()))


def test_a_terminated_task_process_ends_the_command_and_its_children(tmp_path: Path) -> None:
    code = f"""
import os, sys
os.setpgid(0, 0)
from nbflow import DAG
from nbflow.execution.task_runner import run_try
from nbflow.authoring.workload import Workload
from nbflow.operators.bash import BashOperator
from tests.running.memory import MemoryRuntime
with DAG("d") as dag:
    BashOperator(task_id="t", bash_command="sleep 300 & echo $! > pid; echo ready; wait", cwd={str(tmp_path)!r})
runtime = MemoryRuntime(environ={{}})
workload = Workload(attempt_id="a", run=runtime.run, task_id="t")
event = run_try(dag, dag.get_task("t"), workload, runtime, own_process=True).event
print("ENDED", event.cause.value, event.retry, flush=True)
"""
    child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    lines = []
    for line in child.stdout:
        lines.append(line)
        if line.endswith("| ready\n"):
            os.kill(child.pid, signal.SIGTERM)
    assert child.wait(30) == 0
    assert lines[-1] == "ENDED process_died True\n", lines
    assert has_exited(int((tmp_path / "pid").read_text()))
