"""Commands as real processes: schedulers, signals, imported modules."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.cli.conftest import SALES

TIMEOUT_SECONDS = 60


class Process:
    """A command in a subprocess, whose stderr is read line by line."""

    def __init__(self, *words: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "nbflow", *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        self.lines: queue.Queue[str] = queue.Queue()
        self.read_lines: list[str] = []
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self) -> None:
        for line in self.process.stderr:
            self.lines.put(line.rstrip("\n"))
        self.lines.put("")

    def wait_for(self, text: str) -> str:
        """Wait for a line that contains ``text``, and return it."""
        while True:
            line = self.lines.get(timeout=TIMEOUT_SECONDS)
            self.read_lines.append(line)
            if text in line:
                return line
            assert line or self.process.poll() is None, f"it ended without printing {text!r}: {self.read_lines}"

    def end(self, number: int = signal.SIGTERM) -> int:
        """Send a signal, and wait for the end; returns the exit code."""
        self.process.send_signal(number)
        return self.process.wait(TIMEOUT_SECONDS)


@pytest.fixture
def start(home: Path) -> Iterator[Callable[..., Process]]:
    """Start commands in subprocesses, which are killed at the end of the test."""
    processes: list[Process] = []

    def start_process(*words: str) -> Process:
        processes.append(Process(*words))
        return processes[-1]

    yield start_process
    for command in processes:
        if command.process.poll() is None:
            command.process.kill()
        command.process.wait()
        command.reader.join()
        command.process.stdout.close()
        command.process.stderr.close()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_scheduler_stops_cleanly_on_a_signal(nbflow, start, home, number):
    # Given a running scheduler
    scheduler = start("scheduler")
    scheduler.wait_for("is ready")
    assert int((home / "scheduler.pid").read_text()) == scheduler.process.pid
    assert nbflow("status").code == 0
    # When it gets the signal
    assert scheduler.end(number) == 0
    # Then it prints that it has stopped, and removes its pid file
    scheduler.wait_for("nbflow scheduler has stopped.")
    assert not (home / "scheduler.pid").exists()
    assert nbflow("status").code == 1


def test_a_second_scheduler_is_an_error_of_one_line(nbflow, start, home):
    # Given a running scheduler
    first = start("scheduler")
    first.wait_for("is ready")
    # When a second scheduler is started
    result = nbflow("scheduler")
    # Then it fails, and the first is still running
    assert result.code == 1
    assert f"A scheduler already runs on this metastore (pid {first.process.pid} on " in result.err.splitlines()[-1]
    assert int((home / "scheduler.pid").read_text()) == first.process.pid
    assert nbflow("jobs", "check").out == "Found one alive job.\n"


def test_a_killed_scheduler_is_not_running_before_its_heartbeat_expires(nbflow, start):
    scheduler = start("scheduler")
    scheduler.wait_for("is ready")
    scheduler.end(signal.SIGKILL)
    result = nbflow("status", "-o", "json")
    assert (result.json["scheduler"], result.code) == ("not running", 1)
    assert nbflow("jobs", "list", "-o", "json").json[0]["state"] == "failed"
    assert nbflow("db", "reset", "-y").code == 0


def test_reset_and_downgrade_fail_while_a_scheduler_is_running(nbflow, start):
    scheduler = start("scheduler")
    scheduler.wait_for("is ready")
    for words in (("reset",), ("downgrade", "-r", "base")):
        result = nbflow("db", *words, "-y")
        assert "A scheduler is running on sqlite:///" in result.err
        assert f"(pid {scheduler.process.pid} on " in result.err
        assert (result.code, result.out) == (1, "")


def test_stop_ends_the_scheduler(nbflow, start):
    scheduler = start("scheduler")
    scheduler.wait_for("is ready")
    # `stop` waits for the end of the process, which is a child of this test and must be reaped here.
    waiter = threading.Thread(target=scheduler.process.wait)
    waiter.start()
    result = nbflow("stop")
    waiter.join()
    assert (result.out, result.code) == (f"Stopped: pid {scheduler.process.pid}.\n", 0)
    assert scheduler.process.returncode == 0
    assert nbflow("stop").out == "No scheduler is running on this machine.\n"


def test_a_scheduler_with_idle_exit_stops_after_the_queued_runs(nbflow, start, in_folder):
    # Given a DAG without a schedule, and a queued run
    in_folder("once.py", SALES.replace('schedule="@daily"', "schedule=None, is_paused_upon_creation=False"))
    nbflow("dags", "trigger", "sales", "-l", "2024-01-05")
    # When a scheduler is started with --idle-exit
    scheduler = start("scheduler", "--idle-exit", "0")
    # Then it executes the run, and stops
    assert scheduler.process.wait(TIMEOUT_SECONDS) == 0
    assert nbflow("dags", "state", "sales", "2024-01-05").out == "success\n"


def test_backfill_create_waits_while_a_scheduler_executes_the_runs(nbflow, start, in_folder):
    # Given a running scheduler and a DAG file
    in_folder("sales.py", SALES)
    start("scheduler").wait_for("is ready")
    # When three days are backfilled
    result = nbflow(
        "backfill", "create", "--dag-id", "sales", "--from-date", "2024-02-01", "--to-date", "2024-02-03", "--wait",
        "-o", "json",
    )  # fmt: skip
    # Then the runs have ended when the command ends
    assert result.json == {"backfill_id": 1, "dag_id": "sales", "runs": 3, "left_alone": 0, "success": 3, "failed": 0}
    assert result.code == 0
    assert "in this process" not in result.err


def test_a_scheduler_in_the_background(nbflow, home):
    # When a scheduler is started in the background
    result = nbflow("scheduler", "-D", "--idle-exit", "60")
    # Then the command ends when the scheduler is ready
    assert result.code == 0
    pid = int(result.out.partition("(pid ")[2].partition(")")[0])
    try:
        assert nbflow("status", "-o", "json").json["schedulers"] == 1
        # And a second scheduler fails
        second = nbflow("scheduler", "-D")
        assert second.code == 1
        assert "A scheduler already runs on this metastore" in second.err
    finally:
        os.kill(pid, signal.SIGTERM)
        os.waitpid(pid, 0)


def test_standalone_prints_next_steps(start, in_folder, home):
    in_folder("sales.py", SALES)
    standalone = start("standalone")
    standalone.wait_for(f"DAG files   {home}/dags: 1 DAGs, 1 paused")
    standalone.wait_for("Next        nbflow dags unpause sales")
    assert standalone.end(signal.SIGINT) == 0


# ---------------------------------------------------------------------------------------------------- imported modules


def _imported_modules(*words: str) -> set[str]:
    code = (
        "import sys\nfrom nbflow.cli.main import main\n"
        f"code = main({list(words)!r})\n"
        "print(*sorted(sys.modules), file=sys.stderr)\nsys.exit(code)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(result.stderr.split())


HEAVY = {"sqlalchemy", "alembic", "pendulum", "jinja2", "croniter", "cryptography", "watchfiles"}


@pytest.mark.parametrize("words", [["version"], ["--help"], ["dags", "list", "--help"]])
def test_commands_without_a_metastore_import_no_heavy_modules(words):
    assert _imported_modules(*words) & {*HEAVY, "nbflow.config", "nbflow.app", "logging"} == set()


def test_dags_list_imports_no_modules_for_running_tasks(nbflow):
    nbflow("db", "migrate")
    assert _imported_modules("dags", "list") & (HEAVY - {"sqlalchemy"}) == set()


def test_a_closed_pipe_prints_no_error(home):
    # Given a listing whose reader has closed the pipe
    read, write = os.pipe()
    os.close(read)
    result = subprocess.run(
        [sys.executable, "-m", "nbflow", "cheat-sheet"], stdout=write, stderr=subprocess.PIPE, text=True, check=False
    )
    os.close(write)
    assert (result.stderr, result.returncode) == ("", 1)


def _in_shell(line: str, *words: str) -> subprocess.CompletedProcess[str]:
    """Run a command with the redirections ``line``."""
    shell = ["sh", "-c", f'exec "$0" -m nbflow "$@" {line}', sys.executable, *words]
    return subprocess.run(shell, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&- >&- 2>&-"])
def test_prints_to_a_closed_stream_are_not_written_to_another_file(nbflow, sales, closed):
    # Given a home, so that the metastore is the first file that is opened
    nbflow("db", "init")
    # When a DAG whose tasks print is tested with closed streams
    result = _in_shell(closed, "dags", "test", "sales", "2024-01-05", "-S", sales, "-o", "json")
    # Then it succeeds, and the metastore is not damaged by the prints
    assert result.returncode == 0, result.stderr
    assert nbflow("dags", "state", "sales", "2024-01-05").out == "success\n"
    assert nbflow("db", "check").code == 0


@pytest.mark.parametrize("words", [["--help"], ["cheat-sheet"], ["config", "list", "-o", "json"]])
def test_a_full_disk_is_an_os_error_not_an_internal_error(home, words):
    result = _in_shell(">/dev/full", *words)
    assert result.stderr == ("nbflow: OS error: No space left on device. Run it again with -v for the traceback.\n")
    assert result.returncode == 1


def test_exit_codes_of_the_process(sales):
    def code(*words: str) -> int:
        return subprocess.run([sys.executable, "-m", "nbflow", *words], capture_output=True, check=False).returncode

    assert [code("version"), code("variables", "get", "x"), code("dgas")] == [0, 1, 2]


def test_the_script_and_the_module_are_the_same_command(home):
    script = Path(sys.executable).with_name("nbflow")
    words = ["status", "-o", "json"]
    first = subprocess.run([script, *words], capture_output=True, text=True, check=False)
    second = subprocess.run([sys.executable, "-m", "nbflow", *words], capture_output=True, text=True, check=False)
    assert json.loads(first.stdout) == json.loads(second.stdout)
    assert first.returncode == second.returncode == 1


# ------------------------------------------------------------------------------------------------------------------ lab

FAKE_JUPYTER = """
import os, sys
print("arguments:", *sys.argv[1:], os.environ["NBFLOW_HOME"])
sys.exit(3)
"""


def test_lab_starts_jupyterlab_and_ends_the_scheduler_with_it(nbflow, home, tmp_path, monkeypatch):
    # Given a JupyterLab that ends at once
    (tmp_path / "fake").mkdir()
    (tmp_path / "fake" / "jupyter.py").write_text(FAKE_JUPYTER)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "fake"))
    # When the lab is started
    result = subprocess.run(
        [sys.executable, "-m", "nbflow", "lab", "--no-browser", "--port", "1234", "--", "--debug"],
        capture_output=True,
        text=True,
        check=False,
    )
    # Then it got the options, its exit code is that of the command, and no scheduler is running
    assert result.stdout == f"arguments: lab --no-browser --port=1234 --debug {home}\n"
    assert result.returncode == 3
    assert nbflow("status").code == 1


# ------------------------------------------------------------------------------------------------ signals and encodings


def test_a_terminated_dag_test_leaves_no_running_run(nbflow, start, dag_file):
    # Given a DAG test whose task does not end
    path = dag_file(
        "endless.py",
        """
        from nbflow import DAG, task

        with DAG("endless", schedule=None):
            @task
            def wait():
                import signal
                print("task has started", flush=True)
                while True:
                    signal.pause()
            wait()
        """,
    )
    test = start("dags", "test", "endless", "2024-01-05", "-S", path)
    test.wait_for("task has started")
    # When it is terminated
    assert test.end(signal.SIGTERM) == 130
    # Then its run has failed
    test.wait_for("nbflow: Interrupted.")
    assert nbflow("dags", "state", "endless", "2024-01-05").out == "failed\n"


def test_characters_that_stdout_cannot_encode_are_escaped(nbflow, home):
    nbflow("pools", "set", "café", "1")
    environ = {**os.environ, "PYTHONIOENCODING": "ascii"}

    def out(output_format: str) -> str:
        words = [sys.executable, "-m", "nbflow", "pools", "get", "café", "-o", output_format]
        return subprocess.run(words, capture_output=True, text=True, check=True, env=environ).stdout

    assert "caf\\xe9" in out("table")
    assert json.loads(out("json"))[0]["pool"] == "café"


def test_db_shell_opens_sqlite3_with_the_path_of_the_database(nbflow, home, tmp_path, monkeypatch):
    # Given a sqlite3 that prints its arguments
    nbflow("db", "migrate")
    program = tmp_path / "bin" / "sqlite3"
    program.parent.mkdir()
    program.write_text('#!/bin/sh\necho "arguments: $*"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent), prepend=os.pathsep)
    result = subprocess.run([sys.executable, "-m", "nbflow", "db", "shell"], capture_output=True, text=True, check=True)
    assert result.stdout == f"arguments: {home}/nbflow.db\n"


def test_db_shell_passes_the_password_to_psql_only_in_the_environment(home, tmp_path, monkeypatch):
    program = tmp_path / "bin" / "psql"
    program.parent.mkdir()
    program.write_text('#!/bin/sh\necho "arguments: $* password: $PGPASSWORD"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent), prepend=os.pathsep)
    monkeypatch.setenv("NBFLOW__DATABASE__SQL_ALCHEMY_CONN", "postgresql+psycopg://ada:hush@db.example:5433/shop")
    result = subprocess.run([sys.executable, "-m", "nbflow", "db", "shell"], capture_output=True, text=True, check=True)
    assert result.stdout == "arguments: -d shop -h db.example -p 5433 -U ada password: hush\n"
