"""The format of log lines, and logging in the process that runs one try."""

from __future__ import annotations

import io
import logging
import re
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from datetime import timedelta

import pytest

from nbflow import DAG
from nbflow.authoring.context import OldNameWarning
from nbflow.execution.task_logging import setup_logging
from nbflow.operators.python import PythonOperator
from tests.running.memory import MemoryRuntime, attempt

LINE = re.compile(r"(?P<time>\S+) (?P<level>[A-Z]+) (?P<logger>\S+) \| (?P<message>.*)")


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    stream = io.StringIO()
    with warnings.catch_warnings():
        setup_logging(stream)
        yield stream
    root.handlers[:] = before
    root.setLevel(level)
    logging.captureWarnings(False)


def test_a_line_names_time_level_and_logger(log: io.StringIO) -> None:
    logging.getLogger("mine").warning("three %s", "rows")
    logging.getLogger("mine").debug("not shown")

    match = LINE.fullmatch(log.getvalue().strip())
    assert match is not None
    assert match.group("level", "logger", "message") == ("WARNING", "mine", "three rows")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00", match["time"])


def test_warnings_of_old_names_are_logged(log: io.StringIO) -> None:
    warnings.warn("'x' is a name of Airflow 2", OldNameWarning, stacklevel=1)

    assert "WARNING py.warnings | " in log.getvalue()
    assert "OldNameWarning: 'x' is a name of Airflow 2" in log.getvalue()


def test_prints_and_lines_of_a_try_keep_their_order() -> None:
    code = (
        "import logging\n"
        "from nbflow import DAG\n"
        "from nbflow.execution.task_runner import run_try\n"
        "from nbflow.authoring.workload import Workload\n"
        "from nbflow.operators.python import PythonOperator\n"
        "from tests.running.memory import MemoryRuntime\n"
        "logging.basicConfig(level='DEBUG')\n"
        "def f():\n"
        "    print('one')\n"
        "    logging.getLogger('lib').info('two')\n"
        "    print('three')\n"
        "with DAG('d') as dag:\n"
        "    PythonOperator(task_id='t', python_callable=f)\n"
        "runtime = MemoryRuntime(environ={})\n"
        "workload = Workload(attempt_id='a', run=runtime.run, task_id='t')\n"
        "run_try(dag, dag.get_task('t'), workload, runtime, own_process=True)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    messages = [line.rpartition("| ")[2] for line in done.stdout.splitlines()]
    assert (messages, done.stderr) == (["one", "two", "three", "Done. Returned value was: None"], "")


def test_a_timer_of_the_caller_continues_after_a_time_limit(dag: DAG, runtime: MemoryRuntime) -> None:
    PythonOperator(task_id="t", python_callable=lambda: None, execution_timeout=timedelta(minutes=5))
    alarms: list[int] = []
    handler = signal.signal(signal.SIGALRM, lambda number, _: alarms.append(number))
    timer = signal.setitimer(signal.ITIMER_REAL, 1000)
    started = time.monotonic()
    try:
        attempt(dag, "t", runtime)
        remaining, _ = signal.getitimer(signal.ITIMER_REAL)
    finally:
        signal.signal(signal.SIGALRM, handler)
        signal.setitimer(
            signal.ITIMER_REAL, max(timer[0] - (time.monotonic() - started), 0) if timer[0] else 0, timer[1]
        )

    assert 990 < remaining <= 1000
    assert alarms == []
