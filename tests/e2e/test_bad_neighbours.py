"""DAGs with failures of every kind and a correct DAG under one scheduler: each failure affects only its DAG, and its
reason is in the history and the log."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from nbflow.core.snapshot import RunKey
from tests.e2e.conftest import Deployment

GOOD = """
with DAG("good", schedule=None):
    @task
    def step(n): return n + 1
    value = 0
    for n in range(6):
        value = step.override(task_id=f"step{n}")(value)
"""

AT_IMPORT = {
    "import_hangs": ("while True: signal.pause()", "took longer than 2 s"),
    "import_exits": ("os._exit(3)", "exit code 3"),
    "import_allocates": ("blocks = bytearray(8 << 30)", "MemoryError"),
    "import_forks": (
        "for _ in range(5):\n    if os.fork() == 0:\n        os.setsid(); signal.pause()\nraise ValueError('forked')",
        "ValueError: forked",
    ),
    "import_floods": (
        "for _ in range(200): print('y' * 1_000_000)\nraise ValueError('flooded')",
        "ValueError: flooded",
    ),
}

IN_TASK = {
    "exits": ("os._exit(7)", "the task's process died: exit code 7"),
    "killed": ("os.kill(os.getpid(), signal.SIGKILL)", "the task's process died: killed by SIGKILL"),
    "allocates": ("blocks = []\nwhile True: blocks.append(bytearray(64 << 20))", "MemoryError"),
    "ignores_signals": (
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\nsignal.signal(signal.SIGALRM, signal.SIG_IGN)\n"
        "note(os.getpid())\nwhile True: signal.pause()",
        "the task ran longer than its execution_timeout of 1 s",
    ),
    "returns_an_object": ("return object()", "object"),
    "returns_a_cycle": ("x = []; x.append(x); return x", ""),
    "recurses": ("def f(): f()\nf()", "RecursionError"),
    "closes_its_connection": ("os.closerange(3, 100)\nsignal.pause()", "closed the connection"),
    "calls_sys_exit": ("sys.exit(5)", "SystemExit"),
}

HARMLESS = {
    "daemons": (
        "reader, writer = os.pipe()\n"
        "for _ in range(20):\n    if os.fork() == 0:\n        os.setsid()\n        if os.fork() == 0:\n"
        "            note(os.getpid()); os.write(writer, b'.'); signal.pause()\n        os._exit(0)\n"
        "count = 0\nwhile count < 20: count += len(os.read(reader, 20))"
    ),
    "loud": "for _ in range(100): print('z' * 1_000_000)",
}

BAD = """
def note(pid):
    with open(NOTES / {name!r}, "a") as file: file.write(f"{{pid}}\\n")

with DAG({name!r}, schedule=None):
    @task(execution_timeout=timedelta(seconds={seconds}))
    def t():
{body}
    t()
"""


@dataclass
class ManyDags:
    deployment: Deployment
    runs: dict[str, RunKey]
    states: dict[str, dict[str, str]]


@pytest.fixture(scope="module")
def many_dags(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ManyDags]:
    """All these DAGs in one scheduler, after every run has ended and every file has been parsed."""
    folder = tmp_path_factory.mktemp("many_dags")
    deployment = Deployment(
        folder / "home",
        folder / "notes",
        CORE__DAGBAG_IMPORT_TIMEOUT="2",
        CORE__TASK_MEMORY_LIMIT="1500",
        LOGGING__MAX_LOG_BYTES_PER_TRY="200000",
    )
    for name, (source, _) in AT_IMPORT.items():
        deployment.write(f"{name}.py", f"print('a dag')\n{source}\n")
    bodies = {name: body for name, (body, _) in IN_TASK.items()} | HARMLESS
    for name, body in bodies.items():
        lines = "\n".join(f"        {line}" for line in body.split("\n"))
        seconds = 1 if name == "ignores_signals" else 60
        deployment.write(f"{name}.py", BAD.format(name=name, body=lines, seconds=seconds))
    deployment.write("good.py", GOOD)
    deployment.start()
    runs = {name: deployment.trigger(name) for name in [*bodies, "good"]}
    states = {name: deployment.end_of(run) for name, run in runs.items()}
    deployment.until(lambda: len(deployment.store.import_errors()) == len(AT_IMPORT))
    yield ManyDags(deployment, runs, states)
    deployment.close()


def test_a_normal_task_is_not_affected(many_dags):
    run = many_dags.runs["good"]
    history = ["dependencies_met", "dispatched", "started", "succeeded"]

    assert many_dags.states["good"] == {f"step{n}": "success" for n in range(6)}
    assert [many_dags.deployment.causes(run, f"step{n}") for n in range(6)] == [history] * 6
    assert many_dags.deployment.schedulers[0].poll() is None


@pytest.mark.parametrize("name", IN_TASK)
def test_the_reason_of_a_failure_is_in_history_and_log(many_dags, name):
    run, text = many_dags.runs[name], IN_TASK[name][1]

    assert many_dags.states[name] == {"t": "failed"}
    assert text in many_dags.deployment.error(run, "t")
    assert text in many_dags.deployment.task_log(run, "t")
    assert many_dags.deployment.causes(run, "t")[:2] == ["dependencies_met", "dispatched"]


@pytest.mark.parametrize("name", AT_IMPORT)
def test_an_import_error_has_the_reason(many_dags, name):
    (error,) = [error for error in many_dags.deployment.store.import_errors() if Path(error.fileloc).stem == name]

    assert AT_IMPORT[name][1] in error.error
    assert len(error.error) < 2_000
    assert len(error.detail) < 100_000


def test_a_flooded_log_is_truncated_with_a_note(many_dags):
    log = many_dags.deployment.task_log(many_dags.runs["loud"], "t")

    assert many_dags.states["loud"] == {"t": "success"}
    assert len(log) < 300_000
    assert "the log is full; further output is dropped" in log[-500:]


def test_their_processes_have_ended(many_dags):
    pids = [
        int(pid)
        for name in ("daemons", "ignores_signals")
        for pid in (many_dags.deployment.notes / name).read_text().split()
    ]

    assert many_dags.states["daemons"] == {"t": "success"}
    assert len(pids) == 20 + 1
    many_dags.deployment.until(lambda: not [pid for pid in pids if os.path.exists(f"/proc/{pid}")])


def test_no_process_remains_after_the_scheduler_has_stopped(many_dags):
    assert (many_dags.deployment.stop(), many_dags.deployment.processes()) == ([0], [])
