"""`nbflow logs -f` with a real scheduler: lines are printed while the task is still running."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.cli.test_processes import TIMEOUT_SECONDS, start  # noqa: F401

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

    def poke():
        import os
        print("poke")
        return os.path.exists({gate!r})

    with DAG("gated", schedule=None, is_paused_upon_creation=False):
        PythonSensor(task_id="load", python_callable=poke, mode="reschedule", poke_interval=1, timeout=300)
"""


class Follower:
    """A process of `nbflow logs ... -f`, whose output is read line by line."""

    def __init__(self, *words: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "nbflow", "logs", *words, "-f"],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env={name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"},
            # A shell starts its background jobs with SIGINT ignored, and so all their children.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )  # fmt: skip
        self.title = self.process.stderr.readline()
        self.lines: list[str] = []

    def until(self, text: str) -> str:
        """Wait for a line that starts with ``text``, and return it."""
        for line in self.process.stdout:
            self.lines.append(line)
            if line.startswith(text):
                return line.rstrip("\n")
        raise AssertionError(f"it ended without {text!r}: {self.lines} {self.process.stderr.read()}")

    def end(self) -> tuple[int, str]:
        """Wait for the end; returns the exit code, and stderr without the title."""
        self.lines += self.process.stdout
        return self.process.wait(TIMEOUT_SECONDS), self.process.stderr.read()

    @property
    def prints(self) -> list[str]:
        """The lines that the task printed, without the lines of nbflow."""
        return [line.rstrip("\n") for line in self.lines if not line.startswith(("***", "20"))]


@pytest.fixture
def follow() -> Iterator[Callable[..., Follower]]:
    """Start followers, which are killed at the end of the test."""
    followers: list[Follower] = []

    def start_follower(*words: str) -> Follower:
        followers.append(Follower(*words))
        return followers[-1]

    yield start_follower
    for follower in followers:
        follower.process.kill()
        follower.process.communicate()


@pytest.fixture
def gate(tmp_path: Path) -> Path:
    """A named pipe that a task opens for reading, which blocks until the test opens it for writing."""
    path = tmp_path / "gate"
    os.mkfifo(path)
    return path


@pytest.fixture
def gated(nbflow, in_folder, gate) -> str:
    """A queued run of a task that prints a line, waits at the gate, and prints another line. No scheduler is
    running."""
    in_folder("gated.py", DAG.format(gate=str(gate)))
    nbflow("variables", "set", "db_password", "hush")
    nbflow("dags", "trigger", "gated", "-l", "2024-01-05")
    return "manual__2024-01-05T00:00:00+00:00"


def test_a_log_is_followed_from_before_the_try_starts_until_it_ends(nbflow, start, follow, gated, gate):  # noqa: F811
    # Given a follower of a task that waits for a scheduler
    follower = follow("gated", "load")
    assert follower.title.startswith(
        f"load of {gated}, try 1: No scheduler is running. Start one with: nbflow scheduler."
    )
    # When the task starts, then its first lines are printed while it waits, with control characters escaped and secrets
    # masked
    start("scheduler")
    assert follower.until("first") == "first \\x1b[2J ***"
    assert follower.prints[1:] == ["first \\x1b[2J ***"]
    # And the other lines are printed when it continues, and the follower ends
    gate.write_text("")
    assert follower.end() == (0, "")
    assert follower.prints[1:] == ["first \\x1b[2J ***", "last"]
    # And the lines are those of the log
    log = nbflow("logs", "gated", "load")
    assert (log.code, log.out.splitlines()[: len(follower.lines)]) == (0, "".join(follower.lines).splitlines())
    # And `-o json` prints them as objects
    rows = nbflow("logs", "gated", "-o", "json").json
    assert [row for row in rows if row["message"] == "last"] == [
        {"at": None, "level": "INFO", "source": "", "message": "last"}
    ]
    # And the log of an ended try is printed at once
    second = follow("gated", "--search", "LAST")
    assert (second.title, second.end(), second.prints) == (f"load of {gated}, try 1\n", (0, ""), ["last"])


def test_a_closed_pipe_ends_the_follower_without_new_lines(start, gated, gate):  # noqa: F811
    # Given a waiting task, when a reader closes the pipe after one line of its log
    start("scheduler")
    line = '"$0" -m nbflow logs gated load -f --search first | head -1'
    result = subprocess.run(
        ["sh", "-c", line, sys.executable], capture_output=True, text=True, check=False, timeout=TIMEOUT_SECONDS
    )
    # Then both processes end without an error while the task still waits
    assert result.stdout == "first \\x1b[2J ***\n"
    assert result.stderr.startswith(f"load of {gated}, try 1")
    assert len(result.stderr.splitlines()) == 1
    gate.write_text("")


def test_a_follower_ends_when_the_process_of_the_try_is_killed(nbflow, start, follow, gated):  # noqa: F811
    # Given a waiting task with two followers, of which one was started without a task id
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
    # Given a sensor in reschedule mode
    file = tmp_path / "file"
    in_folder("gated.py", SENSOR.format(gate=str(file)))
    nbflow("dags", "trigger", "gated", "-l", "2024-01-05")
    follower = follow("gated", "load")
    start("scheduler")
    # When it pokes twice without success, and then the file exists
    for _ in range(2):
        follower.until("poke")
    assert follower.prints == ["poke"] * 2
    file.touch()
    # Then the prints of all pokes are in one log, and the follower ends with the try
    assert follower.end() == (0, "")
    assert len(follower.prints) > 2
    assert set(follower.prints) == {"poke"}
    assert nbflow("tasks", "state", "gated", "load", "last").out == "success\n"


def test_an_interrupt_ends_a_follower_without_an_error(follow, gated):
    follower = follow("gated", "load")
    follower.process.send_signal(signal.SIGINT)
    assert follower.end() == (130, "")


def test_the_logs_of_a_waiting_task_print_why_it_waits(nbflow, gated):
    result = nbflow("logs", "gated", "load")
    assert (result.code, result.out) == (1, "")
    assert result.err.startswith(f"load of {gated}, try 1: The log is empty so far. No scheduler is running. ")


def test_a_log_that_cannot_be_followed_is_an_error_of_one_line(nbflow, gated):
    assert (nbflow("logs", "gated", "-f").err, nbflow("logs", "gated", "laod", "-f").err) == (
        f"nbflow: No task of run {gated} has started yet. See: nbflow why gated.\n",
        "nbflow: DAG 'gated' has no task or run 'laod'. Did you mean task 'load'?\n",
    )
    result = nbflow("logs", "gated", "load", "-f", "-o", "json")
    assert (result.code, result.err) == (2, "nbflow logs: --follow prints text only. Omit -f or -o.\n")
