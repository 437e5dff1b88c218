"""The schedulers of a home: found by heartbeat and process, started once, stopped by pid and start time; all
surfaces."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from nbflow.app import App
from nbflow.cli.main import main
from nbflow.core.snapshot import RunKey
from nbflow.errors import NbflowError
from nbflow.execution.process_identity import ProcessIdentity, process_started
from nbflow.notebook.admin_verbs import status
from nbflow.notebook.commands import command_function
from nbflow.notebook.session import end_session
from nbflow.services import schedulers
from nbflow.store.base import DagVersion, Job
from tests.store.worlds import spec

TIMEOUT_SECONDS = 60
SLEEPER = [sys.executable, "-c", "import signal; print('ready', flush=True); signal.pause()"]


@pytest.fixture
def app(home: Path, new_home: Path) -> Iterator[App]:
    shutil.copytree(new_home, home)
    end_session()
    with App.open(home=home) as opened:
        yield opened
        schedulers.stop(opened)
    end_session()


@pytest.fixture
def bystander() -> Iterator[subprocess.Popen[bytes]]:
    """A process that does not belong to nbflow."""
    with subprocess.Popen(SLEEPER, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        yield process
        process.kill()


def job(app: App, **changed: Any) -> Job:
    now = app.clock.now()
    template = Job(job_id="s", kind="scheduler", hostname="other-host", pid=1, started_at=now, heartbeat_at=now)
    return replace(template, **changed)


def local_job(app: App, pid: int, **changed: Any) -> Job:
    """A recent heartbeat of a process on this host."""
    detail = {"pid_started": process_started(pid)}
    return job(app, **{"hostname": socket.gethostname(), "pid": pid, "detail": detail, **changed})


def until(app: App, condition: str, check: Callable[[], Any]) -> Any:
    """Call ``check`` after each change of the metastore until it returns a true value; returns that."""
    while True:
        token = app.store.change_token()
        if value := check():
            return value
        assert app.store.wait_for_change(token, timeout=TIMEOUT_SECONDS), f"not within {TIMEOUT_SECONDS} s: {condition}"


# --------------------------------------------------------------------------------------------------- started and found


def test_one_scheduler_is_started_and_found_again(app: App) -> None:
    # Given a home without a scheduler
    assert schedulers.describe(schedulers.find(app)) == "no scheduler running"
    # When one is requested twice
    first, second = schedulers.ensure(app), schedulers.ensure(app)
    # Then both calls return the same one
    assert (first.started, second.started) == (True, False)
    assert first.job.pid == second.job.pid
    assert schedulers.describe(second.job) == f"scheduler running (pid {first.job.pid})"
    # And it can be stopped, once
    assert [job.pid for job in schedulers.stop(app).ended] == [first.job.pid]
    assert schedulers.find(app) is None
    assert schedulers.stop(app) == schedulers.Stopped(ended=(), on_other_hosts=())


def test_a_scheduler_of_another_host_counts_as_running_while_its_heartbeat_is_recent(app: App) -> None:
    # Given heartbeats of another machine
    app.store.put_job(job(app))
    assert schedulers.describe(schedulers.find(app)) == "scheduler running (pid 1 on other-host)"
    # Then an old one does not count
    app.store.put_job(job(app, heartbeat_at=app.clock.now() - timedelta(minutes=5)))
    assert schedulers.find(app) is None


def test_a_killed_scheduler_of_this_host_does_not_count_as_running(app: App) -> None:
    # Given a recent heartbeat of a process that has exited
    exited = subprocess.Popen([sys.executable, "-c", ""])
    exited.wait()
    app.store.put_job(job(app, hostname=socket.gethostname(), pid=exited.pid))
    # Then no scheduler is found
    assert schedulers.find(app) is None


def test_a_killed_scheduler_that_is_a_zombie_does_not_count_as_running(app: App) -> None:
    # Given a killed scheduler whose parent does not wait for it
    command = [sys.executable, "-m", "nbflow", "scheduler"]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL, start_new_session=True) as child:
        until(app, "the scheduler runs", lambda: schedulers.find(app))
        child.kill()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # it has ended, and is a zombie
        # When a scheduler is requested
        found = schedulers.ensure(app)
        # Then a new one starts
        assert found.started
        assert found.job.pid != child.pid


def test_a_process_with_a_reused_pid_is_not_a_scheduler(app: App, bystander: subprocess.Popen[bytes]) -> None:
    # Given the row of a scheduler whose pid another process has now
    app.store.put_job(local_job(app, bystander.pid, detail={"pid_started": 1.0}))
    # Then it does not count
    assert schedulers.find(app) is None


def test_the_error_shows_only_new_lines_of_the_log(app: App) -> None:
    # Given the log of an earlier scheduler
    log = schedulers.log_path(app.settings)
    log.parent.mkdir(parents=True, exist_ok=True)
    log.write_text("an earlier line\n")
    # When a new scheduler logs a line and then the error with which it ends
    code = "print('a start', flush=True); import sys; sys.exit('nbflow: the disk is full.')"
    with pytest.raises(NbflowError) as error:
        schedulers.start(app, command=[sys.executable, "-c", code])
    # Then the error has only that reason
    assert str(error.value).startswith("The scheduler ended at once (exit code 1): the disk is full. Its log: ")
    code = code.replace("nbflow: the disk is full.", "no room")
    with pytest.raises(NbflowError, match=r"exit code 1\): a start / no room Its log"):
        schedulers.start(app, command=[sys.executable, "-c", code])


@pytest.mark.parametrize(
    ("code", "seconds", "message"),
    [
        ("import sys; sys.exit('no room')", 30, r"The scheduler ended at once \(exit code 1\): no room"),
        ("import signal; signal.pause()", 0.5, r"The scheduler sent no heartbeat within 0.5 s: its log is empty"),
    ],
)
def test_the_error_of_a_failed_start_says_why(app: App, code: str, seconds: float, message: str) -> None:
    # Given a scheduler that cannot start
    with pytest.raises(NbflowError, match=message) as error:
        schedulers.start(app, command=[sys.executable, "-c", code], seconds=seconds)
    # Then the error leads to its log
    assert str(schedulers.log_path(app.settings)) in str(error.value)


def test_an_idle_scheduler_exits_after_idle_minutes(home: Path, new_home: Path) -> None:
    # Given a home with idle_minutes = 0
    shutil.copytree(new_home, home)
    with App.open(home=home, environ={**os.environ, "NBFLOW__SCHEDULER__IDLE_MINUTES": "0"}) as app:
        # When a scheduler without work is started
        ensured = schedulers.ensure(app)
        assert ensured.started
        # Then it exits
        started = ProcessIdentity(pid=ensured.job.pid, started=ensured.job.detail["pid_started"])
        assert started.wait(TIMEOUT_SECONDS)
        assert "nbflow scheduler has stopped." in schedulers.log_path(app.settings).read_text()
        assert schedulers.find(app) is None


# ------------------------------------------------------------------------------------------------ stopped, and no other
# process


def test_a_process_with_a_reused_pid_gets_no_signal(app: App, bystander: subprocess.Popen[bytes]) -> None:
    # Given the row of a scheduler whose pid another process has now
    stale = local_job(app, bystander.pid, detail={"pid_started": 1.0})
    app.store.put_job(stale)
    # When it is stopped, by each surface and by a caller with the old row
    assert schedulers.stop(app).ended == ()
    assert main(["stop"]) == 0
    assert command_function("stop")().data is None
    schedulers.end([stale], app.settings)
    # Then the other process still runs
    assert bystander.poll() is None


def test_a_process_without_a_stored_start_time_is_not_killed(app: App, bystander: subprocess.Popen[bytes]) -> None:
    # Given a row without the start time of its process
    app.store.put_job(local_job(app, bystander.pid, detail={}))
    # Then the error says what to do
    with pytest.raises(NbflowError, match=rf"Cannot verify that process {bystander.pid} is the scheduler.*kill"):
        schedulers.stop(app)
    assert bystander.poll() is None


def test_a_scheduler_of_another_host_gets_no_signal(app: App, bystander: subprocess.Popen[bytes]) -> None:
    # Given a running scheduler of another host, with the pid of a process on this host
    other = local_job(app, bystander.pid, hostname="other-host")
    app.store.put_job(other)
    # When it is stopped
    assert schedulers.stop(app).on_other_hosts == (other,)
    with pytest.raises(NbflowError, match="runs on other-host"):
        command_function("stop")()
    assert main(["stop"]) == 1
    # Then the process on this host still runs
    assert bystander.poll() is None


def test_the_process_itself_gets_the_signal(app: App, bystander: subprocess.Popen[bytes]) -> None:
    # Given a row with the start time of its process
    app.store.put_job(local_job(app, bystander.pid))
    # When it is stopped, then that process is ended by the signal
    assert [job.pid for job in schedulers.stop(app).ended] == [bystander.pid]
    assert bystander.wait() == -signal.SIGTERM


def test_a_scheduler_that_does_not_end_is_an_error(app: App) -> None:
    # Given a process that ignores the signal
    code = "import signal; signal.signal(15, signal.SIG_IGN); print('ready', flush=True); signal.pause()"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        job = local_job(app, process.pid)
        # Then stopping it raises an error after the time limit
        with pytest.raises(NbflowError, match=rf"pid {process.pid}\) did not stop within 0.1 s"):
            schedulers.end([job], app.settings, seconds=0.1)
        process.kill()


@pytest.mark.parametrize("has_pidfds", [True, False], ids=["by pidfd", "by number"])
def test_a_process_is_signalled_and_waited_for_with_and_without_pidfds(
    bystander: subprocess.Popen[bytes], has_pidfds: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a system with or without pidfds
    if not has_pidfds:
        monkeypatch.delattr(os, "pidfd_open")
    same = ProcessIdentity(pid=bystander.pid, started=process_started(bystander.pid))
    other = ProcessIdentity(pid=bystander.pid, started=1.0)
    # Then only the process with that start time gets the signal
    assert (same.is_running(), other.is_running(), same.wait(0)) == (True, False, False)
    assert (other.send(signal.SIGTERM), other.wait(0)) == (False, True)
    assert bystander.poll() is None
    assert same.send(signal.SIGTERM)
    # And its end is detected, whether or not its parent has waited for it
    assert same.wait(TIMEOUT_SECONDS)
    assert (same.is_running(), same.send(signal.SIGTERM)) == (False, False)


# ----------------------------------------------------------------------------------------------- one result for all
# surfaces


def _by_command(_: App) -> bool:
    return main(["status"]) == 0


def _by_magic(_: App) -> bool:
    return status().data.schedulers != ()


def _by_why(app: App) -> bool:
    operations = app.operations()
    run = operations.find_run("sales").key if app.store.runs("sales") else _a_run(app)
    return "no_scheduler" not in {wait.kind for wait in operations.why(run).values()}


def _a_run(app: App) -> RunKey:
    now: datetime = app.clock.now()
    version = DagVersion(dag_id="sales", spec=spec(), fileloc="/dags/sales.py", files={"sales.py": "# sales"})
    app.store.register(version, now=now, paused=False)
    return app.operations().trigger("sales").key


CHECKS: dict[str, Callable[[App], bool]] = {"command": _by_command, "magic": _by_magic, "why": _by_why}


@pytest.mark.parametrize("surface", CHECKS)
@pytest.mark.parametrize(("threshold", "lives"), [("", False), ("300", True), ("5", False)])
def test_the_health_check_threshold_applies_everywhere(
    home: Path, new_home: Path, monkeypatch: pytest.MonkeyPatch, surface: str, threshold: str, lives: bool
) -> None:
    # Given a scheduler with a heartbeat a minute ago, and a threshold (default 30 s)
    shutil.copytree(new_home, home)
    if threshold:
        monkeypatch.setenv("NBFLOW__SCHEDULER__SCHEDULER_HEALTH_CHECK_THRESHOLD", threshold)
    with App.open(home=home) as app:
        app.store.put_job(job(app, heartbeat_at=app.clock.now() - timedelta(minutes=1)))
        # Then all surfaces give the same result
        assert CHECKS[surface](app) is lives
    end_session()


@pytest.mark.parametrize("surface", CHECKS)
def test_a_killed_scheduler_is_not_running_for_any_surface(app: App, surface: str) -> None:
    # Given a scheduler that all surfaces find
    started = schedulers.ensure(app).job
    assert CHECKS[surface](app)
    # When it is killed
    os.kill(started.pid, signal.SIGKILL)
    ProcessIdentity(pid=started.pid, started=started.detail["pid_started"]).wait(TIMEOUT_SECONDS)
    # Then no surface counts it as running
    assert not CHECKS[surface](app)
