"""DAGs that misbehave in every way at once, under one scheduler, beside one that behaves: each costs only itself, and
its owner reads why."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from nbflow.core.snapshot import RunKey
from tests.e2e.conftest import House

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
    "import_eats": ("hoard = bytearray(8 << 30)", "MemoryError"),
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
    "eats": ("hoard = []\nwhile True: hoard.append(bytearray(64 << 20))", "MemoryError"),
    "deaf": (
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\nsignal.signal(signal.SIGALRM, signal.SIG_IGN)\n"
        "note(os.getpid())\nwhile True: signal.pause()",
        "the task ran longer than its execution_timeout of 1 s",
    ),
    "odd": ("return object()", "object"),
    "endless": ("x = []; x.append(x); return x", ""),
    "recurses": ("def f(): f()\nf()", "RecursionError"),
    "hangs_up": ("os.closerange(3, 100)\nsignal.pause()", "closed the connection"),
    "exits_politely": ("sys.exit(5)", "SystemExit"),
}

HARMLESS = {
    "daemons": (
        "told, tell = os.pipe()\n"
        "for _ in range(20):\n    if os.fork() == 0:\n        os.setsid()\n        if os.fork() == 0:\n"
        "            note(os.getpid()); os.write(tell, b'.'); signal.pause()\n        os._exit(0)\n"
        "count = 0\nwhile count < 20: count += len(os.read(told, 20))"
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
class Crowd:
    house: House
    runs: dict[str, RunKey]
    states: dict[str, dict[str, str]]


@pytest.fixture(scope="module")
def crowd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Crowd]:
    """All of them in one scheduler, until every run has ended and every file has been looked at."""
    folder = tmp_path_factory.mktemp("crowd")
    house = House(
        folder / "home",
        folder / "notes",
        CORE__DAGBAG_IMPORT_TIMEOUT="2",
        CORE__TASK_MEMORY_LIMIT="1500",
        LOGGING__MAX_LOG_BYTES_PER_TRY="200000",
    )
    for name, (source, _) in AT_IMPORT.items():
        house.write(f"{name}.py", f"print('a dag')\n{source}\n")
    bodies = {name: body for name, (body, _) in IN_TASK.items()} | HARMLESS
    for name, body in bodies.items():
        lines = "\n".join(f"        {line}" for line in body.split("\n"))
        seconds = 1 if name == "deaf" else 60
        house.write(f"{name}.py", BAD.format(name=name, body=lines, seconds=seconds))
    house.write("good.py", GOOD)
    house.start()
    runs = {name: house.trigger(name) for name in [*bodies, "good"]}
    states = {name: house.end_of(run) for name, run in runs.items()}
    house.until(lambda: len(house.store.import_errors()) == len(AT_IMPORT))
    yield Crowd(house, runs, states)
    house.close()


def test_a_normal_task_is_not_affected(crowd):
    run = crowd.runs["good"]
    story = ["dependencies_met", "dispatched", "started", "succeeded"]

    assert crowd.states["good"] == {f"step{n}": "success" for n in range(6)}
    assert [crowd.house.causes(run, f"step{n}") for n in range(6)] == [story] * 6
    assert crowd.house.schedulers[0].poll() is None


@pytest.mark.parametrize("name", IN_TASK)
def test_the_reason_of_a_failure_is_in_history_and_log(crowd, name):
    run, gist = crowd.runs[name], IN_TASK[name][1]

    assert crowd.states[name] == {"t": "failed"}
    assert gist in crowd.house.error(run, "t")
    assert gist in crowd.house.task_log(run, "t")
    assert crowd.house.causes(run, "t")[:2] == ["dependencies_met", "dispatched"]


@pytest.mark.parametrize("name", AT_IMPORT)
def test_an_import_error_says_why(crowd, name):
    (fault,) = [fault for fault in crowd.house.store.import_errors() if Path(fault.fileloc).stem == name]

    assert AT_IMPORT[name][1] in fault.error
    assert len(fault.error) < 2_000
    assert len(fault.detail) < 100_000


def test_a_flooded_log_is_truncated_with_a_note(crowd):
    log = crowd.house.task_log(crowd.runs["loud"], "t")

    assert crowd.states["loud"] == {"t": "success"}
    assert len(log) < 300_000
    assert "the log is full; further output is dropped" in log[-500:]


def test_their_processes_have_ended(crowd):
    pids = [int(pid) for name in ("daemons", "deaf") for pid in (crowd.house.notes / name).read_text().split()]

    assert crowd.states["daemons"] == {"t": "success"}
    assert len(pids) == 20 + 1
    crowd.house.until(lambda: not [pid for pid in pids if os.path.exists(f"/proc/{pid}")])


def test_no_process_remains_after_the_scheduler_has_stopped(crowd):
    assert (crowd.house.stop(), crowd.house.processes()) == ([0], [])
