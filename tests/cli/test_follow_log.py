"""`nbflow logs -f` beside a real scheduler: what was written is printed before the task goes on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.cli.test_processes import PATIENCE_SECONDS, start  # noqa: F401

DAG = """
    from nbflow import DAG, Variable, task

    with DAG("gated", schedule=None, is_paused_upon_creation=False):
        @task
        def load():
            import os
            print("pid", os.getpid())
            print("first \\x1b[2J", Variable.get("db_password"))
            open({gate!r}).close()
            print("last")

        load()
"""
SENSOR = """
    from nbflow import DAG
    from nbflow.sensors.python import PythonSensor

    def look():
        import os
        print("looks")
        return os.path.exists({gate!r})

    with DAG("gated", schedule=None, is_paused_upon_creation=False):
        PythonSensor(task_id="load", python_callable=look, mode="reschedule", poke_interval=1, timeout=300)
"""


class Follower:
    """`nbflow logs ... -f`, read line by line."""

    def __init__(self, *words: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "nbflow", "logs", *words, "-f"],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env={name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"},
        )  # fmt: skip
        self.title = self.process.stderr.readline()
        self.lines: list[str] = []

    def until(self, text: str) -> str:
        """The line that begins with ``text``, once it is printed."""
        for line in self.process.stdout:
            self.lines.append(line)
            if line.startswith(text):
                return line.rstrip("\n")
        raise AssertionError(f"it ended without {text!r}: {self.lines} {self.process.stderr.read()}")

    def end(self) -> tuple[int, str]:
        """Read to the end: the exit code, and what was said beside the title."""
        self.lines += self.process.stdout
        return self.process.wait(PATIENCE_SECONDS), self.process.stderr.read()

    @property
    def prints(self) -> list[str]:
        """What the task printed, without the lines of nbflow."""
        return [line.rstrip("\n") for line in self.lines if not line.startswith(("***", "20"))]


@pytest.fixture
def follow() -> Iterator[Callable[..., Follower]]:
    """Start followers; none outlives the test."""
    started: list[Follower] = []

    def begin(*words: str) -> Follower:
        started.append(Follower(*words))
        return started[-1]

    yield begin
    for one in started:
        one.process.kill()
        one.process.communicate()


@pytest.fixture
def gate(tmp_path: Path) -> Path:
    """A pipe that a task opens to read, so that it waits until somebody opens it to write."""
    path = tmp_path / "gate"
    os.mkfifo(path)
    return path


@pytest.fixture
def gated(nbflow, in_folder, gate) -> str:
    """A run of a task that prints a line, waits for the gate, and prints another one. No scheduler runs."""
    in_folder("gated.py", DAG.format(gate=str(gate)))
    nbflow("variables", "set", "db_password", "hush")
    nbflow("dags", "trigger", "gated", "-l", "2024-01-05")
    return "manual__2024-01-05T00:00:00+00:00"


def test_a_log_is_followed_from_before_its_try_begins_to_its_end(nbflow, start, follow, gated, gate):  # noqa: F811
    # Given a follower of a task that waits for a scheduler
    follower = follow("gated", "load")
    assert follower.title.startswith(
        f"load of {gated}, try 1: No scheduler is running. Start one with: nbflow scheduler."
    )
    # When the task begins, its first lines come before it goes on: harmless, and without secrets
    start("scheduler")
    assert follower.until("first") == "first \\x1b[2J ***"
    assert follower.prints[1:] == ["first \\x1b[2J ***"]
    # And the others come when it goes on; then the follower ends
    gate.write_text("")
    assert follower.end() == (0, "")
    assert follower.prints[1:] == ["first \\x1b[2J ***", "last"]
    # And what was followed is the log
    whole = nbflow("logs", "gated", "load")
    assert (whole.code, whole.out.splitlines()[: len(follower.lines)]) == (0, "".join(follower.lines).splitlines())
    # Also as objects
    rows = nbflow("logs", "gated", "-o", "json").json
    assert [row for row in rows if row["message"] == "last"] == [
        {"at": None, "level": "INFO", "source": "", "message": "last"}
    ]
    # And of a try that has ended all is printed at once
    again = follow("gated", "--search", "LAST")
    assert (again.title, again.end(), again.prints) == (f"load of {gated}, try 1\n", (0, ""), ["last"])


def test_a_reader_that_leaves_ends_the_follower_though_nothing_more_is_printed(start, gated, gate):  # noqa: F811
    # Given a task that waits, when somebody reads the one line of its log that a search finds
    start("scheduler")
    line = '"$0" -m nbflow logs gated load -f --search first | head -1'
    done = subprocess.run(
        ["sh", "-c", line, sys.executable], capture_output=True, text=True, check=False, timeout=PATIENCE_SECONDS
    )
    # Then both have ended, quietly, before the task goes on
    assert done.stdout == "first \\x1b[2J ***\n"
    assert done.stderr.startswith(f"load of {gated}, try 1")
    assert len(done.stderr.splitlines()) == 1
    gate.write_text("")


def test_a_try_whose_process_is_killed_ends_its_follower(nbflow, start, follow, gated):  # noqa: F811
    # Given a task that waits, which a follower that names no task has found
    start("scheduler")
    follower = follow("gated", "load")
    pid = int(follower.until("pid").split()[1])
    other = follow("gated")
    assert (other.title, other.until("pid")) == (f"load of {gated}, try 1\n", f"pid {pid}")
    follower.until("first")
    # When its process is killed
    os.kill(pid, signal.SIGKILL)
    # Then the followers end
    assert [follower.end(), other.end()] == [(0, "")] * 2
    assert follower.prints[1:] == ["first \\x1b[2J ***"]
    assert nbflow("tasks", "state", "gated", "load", gated).out == "failed\n"


def test_a_sensor_is_followed_over_its_reschedules(nbflow, start, follow, in_folder, tmp_path):  # noqa: F811
    # Given a sensor that gives its slot back between two looks
    file = tmp_path / "there"
    in_folder("gated.py", SENSOR.format(gate=str(file)))
    nbflow("dags", "trigger", "gated", "-l", "2024-01-05")
    follower = follow("gated", "load")
    start("scheduler")
    # When it finds nothing twice, and then what it looks for
    for _ in range(2):
        follower.until("looks")
    assert follower.prints == ["looks"] * 2
    file.touch()
    # Then all its looks are in one log, and the follower ends with it
    assert follower.end() == (0, "")
    assert len(follower.prints) > 2
    assert set(follower.prints) == {"looks"}
    assert nbflow("tasks", "state", "gated", "load", "last").out == "success\n"


def test_an_interrupt_ends_a_follower_quietly(follow, gated):
    follower = follow("gated", "load")
    follower.process.send_signal(signal.SIGINT)
    assert follower.end() == (130, "")


def test_a_task_that_waits_says_why_it_has_no_log(nbflow, gated):
    done = nbflow("logs", "gated", "load")
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith(f"load of {gated}, try 1: The log is empty so far. No scheduler is running. ")


def test_what_cannot_be_followed_is_refused_in_one_line(nbflow, gated):
    assert (nbflow("logs", "gated", "-f").err, nbflow("logs", "gated", "laod", "-f").err) == (
        f"nbflow: No task of run {gated} has started yet. See: nbflow why gated.\n",
        "nbflow: DAG 'gated' has no task or run 'laod'. Did you mean task 'load'?\n",
    )
    done = nbflow("logs", "gated", "load", "-f", "-o", "json")
    assert (done.code, done.err) == (2, "nbflow logs: --follow prints text only. Omit -f or -o.\n")
