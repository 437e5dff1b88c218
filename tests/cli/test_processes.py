"""Real processes: schedulers, signals, what a command loads."""

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

PATIENCE_SECONDS = 60


class Process:
    """A command in a process of its own, read line by line as it speaks."""

    def __init__(self, *words: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "nbflow", *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        self.lines: queue.Queue[str] = queue.Queue()
        self.said: list[str] = []
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self) -> None:
        for line in self.process.stderr:
            self.lines.put(line.rstrip("\n"))
        self.lines.put("")

    def wait_for(self, text: str) -> str:
        """The line with ``text``, once it is said."""
        while True:
            line = self.lines.get(timeout=PATIENCE_SECONDS)
            self.said.append(line)
            if text in line:
                return line
            assert line or self.process.poll() is None, f"it ended without saying {text!r}: {self.said}"

    def end(self, number: int = signal.SIGTERM) -> int:
        """Send a signal, and wait for its end."""
        self.process.send_signal(number)
        return self.process.wait(PATIENCE_SECONDS)


@pytest.fixture
def start(home: Path) -> Iterator[Callable[..., Process]]:
    """Start commands in processes of their own; none outlives the test."""
    started: list[Process] = []

    def begin(*words: str) -> Process:
        started.append(Process(*words))
        return started[-1]

    yield begin
    for one in started:
        if one.process.poll() is None:
            one.process.kill()
        one.process.wait()
        one.reader.join()
        one.process.stdout.close()
        one.process.stderr.close()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_scheduler_ends_in_order_when_it_is_told_to(nbflow, start, home, number):
    # Given a scheduler that is there
    scheduler = start("scheduler")
    scheduler.wait_for("is ready")
    assert int((home / "scheduler.pid").read_text()) == scheduler.process.pid
    assert nbflow("status").code == 0
    # When it is told to end
    assert scheduler.end(number) == 0
    # Then it says so, and leaves nothing
    scheduler.wait_for("nbflow scheduler has stopped.")
    assert not (home / "scheduler.pid").exists()
    assert nbflow("status").code == 1


def test_a_second_scheduler_is_refused_in_one_line(nbflow, start, home):
    # Given a scheduler
    first = start("scheduler")
    first.wait_for("is ready")
    # When another one is started beside it
    done = nbflow("scheduler")
    # Then it is refused, and the first one goes on
    assert done.code == 1
    assert f"A scheduler already runs on this metastore (pid {first.process.pid} on " in done.err.splitlines()[-1]
    assert int((home / "scheduler.pid").read_text()) == first.process.pid
    assert nbflow("jobs", "check").out == "Found one alive job.\n"


def test_a_scheduler_that_was_killed_counts_as_gone_at_once(nbflow, start):
    scheduler = start("scheduler")
    scheduler.wait_for("is ready")
    scheduler.end(signal.SIGKILL)
    done = nbflow("status", "-o", "json")
    assert (done.json["scheduler"], done.code) == ("not running", 1)
    assert nbflow("jobs", "list", "-o", "json").json[0]["state"] == "failed"
    assert nbflow("db", "reset", "-y").code == 0


def test_the_tables_are_not_taken_from_under_a_scheduler(nbflow, start):
    scheduler = start("scheduler")
    scheduler.wait_for("is ready")
    for words in (("reset",), ("downgrade", "-r", "base")):
        done = nbflow("db", *words, "-y")
        assert "A scheduler is running on sqlite:///" in done.err
        assert f"(pid {scheduler.process.pid} on " in done.err
        assert (done.code, done.out) == (1, "")


def test_stop_ends_the_scheduler(nbflow, start):
    scheduler = start("scheduler")
    scheduler.wait_for("is ready")
    # `stop` waits for the end of a process that is this test's child: somebody must collect it
    waiter = threading.Thread(target=scheduler.process.wait)
    waiter.start()
    done = nbflow("stop")
    waiter.join()
    assert (done.out, done.code) == (f"Stopped: pid {scheduler.process.pid}.\n", 0)
    assert scheduler.process.returncode == 0
    assert nbflow("stop").out == "No scheduler is running on this machine.\n"


def test_a_scheduler_that_nobody_needs_ends_after_its_runs(nbflow, start, in_folder):
    # Given a DAG without a schedule, and a run of it that waits
    in_folder("once.py", SALES.replace('schedule="@daily"', "schedule=None, is_paused_upon_creation=False"))
    nbflow("dags", "trigger", "sales", "-l", "2024-01-05")
    # When a scheduler is started that ends when it is idle
    scheduler = start("scheduler", "--idle-exit", "0")
    # Then it runs the run, and ends
    assert scheduler.process.wait(PATIENCE_SECONDS) == 0
    assert nbflow("dags", "state", "sales", "2024-01-05").out == "success\n"


def test_a_backfill_is_waited_for_while_a_scheduler_runs_it(nbflow, start, in_folder):
    # Given a scheduler that knows the DAG
    in_folder("sales.py", SALES)
    start("scheduler").wait_for("is ready")
    # When three days are backfilled
    done = nbflow(
        "backfill", "create", "--dag-id", "sales", "--from-date", "2024-02-01", "--to-date", "2024-02-03", "--wait",
        "-o", "json",
    )  # fmt: skip
    # Then they have ended when the command does
    assert done.json == {"backfill_id": 1, "dag_id": "sales", "runs": 3, "left_alone": 0, "success": 3, "failed": 0}
    assert done.code == 0
    assert "in this process" not in done.err


def test_a_scheduler_in_the_background(nbflow, home):
    # When a scheduler is started in the background
    done = nbflow("scheduler", "-D", "--idle-exit", "60")
    # Then the command ends once it is there
    assert done.code == 0
    pid = int(done.out.partition("(pid ")[2].partition(")")[0])
    try:
        assert nbflow("status", "-o", "json").json["schedulers"] == 1
        # And a second one is refused with the first one's word
        again = nbflow("scheduler", "-D")
        assert again.code == 1
        assert "A scheduler already runs on this metastore" in again.err
    finally:
        os.kill(pid, signal.SIGTERM)
        os.waitpid(pid, 0)


def test_standalone_says_what_to_do_next(start, in_folder, home):
    in_folder("sales.py", SALES)
    one = start("standalone")
    one.wait_for(f"DAG files   {home}/dags: 1 DAGs, 1 paused")
    one.wait_for("Next        nbflow dags unpause sales")
    assert one.end(signal.SIGINT) == 0


# ------------------------------------------------------------------------------------------------------ what is loaded


def _loaded(*words: str) -> set[str]:
    code = (
        "import sys\nfrom nbflow.cli.main import main\n"
        f"code = main({list(words)!r})\n"
        "print(*sorted(sys.modules), file=sys.stderr)\nsys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stderr.split())


HEAVY = {"sqlalchemy", "alembic", "pendulum", "jinja2", "croniter", "cryptography", "watchfiles"}


@pytest.mark.parametrize("words", [["version"], ["--help"], ["dags", "list", "--help"]])
def test_what_needs_no_metastore_loads_none(words):
    assert _loaded(*words) & {*HEAVY, "nbflow.config", "nbflow.app", "logging"} == set()


def test_listing_dags_loads_nothing_that_runs_them(nbflow):
    nbflow("db", "migrate")
    assert _loaded("dags", "list") & (HEAVY - {"sqlalchemy"}) == set()


def test_a_reader_that_leaves_early_is_no_error(home):
    # Given a listing whose reader reads nothing
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [sys.executable, "-m", "nbflow", "cheat-sheet"], stdout=write, stderr=subprocess.PIPE, text=True, check=False
    )
    os.close(write)
    assert (done.stderr, done.returncode) == ("", 1)


def _in_shell(line: str, *words: str) -> subprocess.CompletedProcess[str]:
    """A command with the redirections of ``line``."""
    shell = ["sh", "-c", f'exec "$0" -m nbflow "$@" {line}', sys.executable, *words]
    return subprocess.run(shell, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&- >&- 2>&-"])
def test_what_is_printed_to_a_closed_stream_lands_in_no_file(nbflow, sales, closed):
    # Given a home, so that the metastore is the first file to be opened
    nbflow("db", "init")
    # When a DAG whose tasks print is tested with closed streams
    done = _in_shell(closed, "dags", "test", "sales", "2024-01-05", "-S", sales, "-o", "json")
    # Then it succeeds, and the metastore holds its run and no prints
    assert done.returncode == 0, done.stderr
    assert nbflow("dags", "state", "sales", "2024-01-05").out == "success\n"
    assert nbflow("db", "check").code == 0


@pytest.mark.parametrize("words", [["--help"], ["cheat-sheet"], ["config", "list", "-o", "json"]])
def test_a_full_disk_behind_stdout_is_no_fault_of_ours(home, words):
    done = _in_shell(">/dev/full", *words)
    assert done.stderr == ("nbflow: OS error: No space left on device. Run it again with -v for the traceback.\n")
    assert done.returncode == 1


def test_exit_codes_reach_the_shell(sales):
    def code(*words: str) -> int:
        return subprocess.run([sys.executable, "-m", "nbflow", *words], capture_output=True, check=False).returncode

    assert [code("version"), code("variables", "get", "x"), code("dgas")] == [0, 1, 2]


def test_the_script_and_the_module_are_one(home):
    script = Path(sys.executable).with_name("nbflow")
    words = ["status", "-o", "json"]
    first = subprocess.run([script, *words], capture_output=True, text=True, check=False)
    second = subprocess.run([sys.executable, "-m", "nbflow", *words], capture_output=True, text=True, check=False)
    assert json.loads(first.stdout) == json.loads(second.stdout)
    assert first.returncode == second.returncode == 1


# ------------------------------------------------------------------------------------------------------------------ lab

FAKE_JUPYTER = """
import os, sys
print("jupyter was told", *sys.argv[1:], os.environ["NBFLOW_HOME"])
sys.exit(3)
"""


def test_lab_starts_jupyterlab_and_ends_the_scheduler_with_it(nbflow, home, tmp_path, monkeypatch):
    # Given a JupyterLab that ends at once
    (tmp_path / "fake").mkdir()
    (tmp_path / "fake" / "jupyter.py").write_text(FAKE_JUPYTER)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "fake"))
    # When the lab is started
    done = subprocess.run(
        [sys.executable, "-m", "nbflow", "lab", "--no-browser", "--port", "1234", "--", "--debug"],
        capture_output=True,
        text=True,
        check=False,
    )
    # Then it was told what to do, its exit code is the command's, and no scheduler is left
    assert done.stdout == f"jupyter was told lab --no-browser --port=1234 --debug {home}\n"
    assert done.returncode == 3
    assert nbflow("status").code == 1


# ------------------------------------------------------------------------------------------------------------ accidents


def test_a_test_that_is_told_to_end_leaves_no_run_behind(nbflow, start, dag_file):
    # Given a test whose task runs for ever
    path = dag_file(
        "endless.py",
        """
        from nbflow import DAG, task

        with DAG("endless", schedule=None):
            @task
            def wait():
                import signal
                print("it has begun", flush=True)
                while True:
                    signal.pause()
            wait()
        """,
    )
    test = start("dags", "test", "endless", "2024-01-05", "-S", path)
    test.wait_for("it has begun")
    # When it is told to end
    assert test.end(signal.SIGTERM) == 130
    # Then its run has ended too
    test.wait_for("nbflow: Interrupted.")
    assert nbflow("dags", "state", "endless", "2024-01-05").out == "failed\n"


def test_text_that_the_terminal_cannot_show_is_escaped(nbflow, home):
    nbflow("pools", "set", "café", "1")
    environ = {**os.environ, "PYTHONIOENCODING": "ascii"}

    def out(form: str) -> str:
        words = [sys.executable, "-m", "nbflow", "pools", "get", "café", "-o", form]
        return subprocess.run(words, capture_output=True, text=True, check=True, env=environ).stdout

    assert "caf\\xe9" in out("table")
    assert json.loads(out("json"))[0]["pool"] == "café"


def test_the_databases_shell_is_opened_with_its_address(nbflow, home, tmp_path, monkeypatch):
    # Given a sqlite3 that says what it was told
    nbflow("db", "migrate")
    program = tmp_path / "bin" / "sqlite3"
    program.parent.mkdir()
    program.write_text('#!/bin/sh\necho "told $*"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent), prepend=os.pathsep)
    done = subprocess.run([sys.executable, "-m", "nbflow", "db", "shell"], capture_output=True, text=True, check=True)
    assert done.stdout == f"told {home}/nbflow.db\n"


def test_a_password_reaches_psql_by_the_environment_alone(home, tmp_path, monkeypatch):
    program = tmp_path / "bin" / "psql"
    program.parent.mkdir()
    program.write_text('#!/bin/sh\necho "told $* $PGPASSWORD"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent), prepend=os.pathsep)
    monkeypatch.setenv("NBFLOW__DATABASE__SQL_ALCHEMY_CONN", "postgresql+psycopg://ada:hush@db.example:5433/shop")
    done = subprocess.run([sys.executable, "-m", "nbflow", "db", "shell"], capture_output=True, text=True, check=True)
    assert done.stdout == "told -d shop -h db.example -p 5433 -U ada hush\n"
