"""The schedulers of a home: found by heartbeat and process, started once, ended by name and birth; for all surfaces."""

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
from nbflow.notebook.commands import function_of
from nbflow.notebook.session import end_session
from nbflow.services import schedulers
from nbflow.store.base import DagVersion, Job
from tests.store.worlds import spec

PATIENCE_SECONDS = 60
SLEEPER = [sys.executable, "-c", "import signal; print('there', flush=True); signal.pause()"]


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
    """A process that is none of nbflow's."""
    with subprocess.Popen(SLEEPER, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"there\n"
        yield process
        process.kill()


def job(app: App, **changed: Any) -> Job:
    now = app.clock.now()
    known = Job(job_id="s", kind="scheduler", hostname="elsewhere", pid=1, started_at=now, heartbeat_at=now)
    return replace(known, **changed)


def here(app: App, pid: int, **changed: Any) -> Job:
    """A fresh heartbeat of a process of this host."""
    detail = {"pid_started": process_started(pid)}
    return job(app, **{"hostname": socket.gethostname(), "pid": pid, "detail": detail, **changed})


def until(app: App, what: str, ask: Callable[[], Any]) -> Any:
    """The first true answer; asked anew when the metastore has changed."""
    while True:
        token = app.store.change_token()
        if answer := ask():
            return answer
        assert app.store.wait_for_change(token, timeout=PATIENCE_SECONDS), f"not within {PATIENCE_SECONDS} s: {what}"


# --------------------------------------------------------------------------------------------------- started and found


def test_one_scheduler_is_started_and_found_again(app: App) -> None:
    # Given a home without one
    assert schedulers.describe(schedulers.find(app)) == "no scheduler running"
    # When one is asked for twice
    first, second = schedulers.ensure(app), schedulers.ensure(app)
    # Then the same one serves both
    assert (first.started, second.started) == (True, False)
    assert first.job.pid == second.job.pid
    assert schedulers.describe(second.job) == f"scheduler running (pid {first.job.pid})"
    # And it can be stopped, once
    assert [one.pid for one in schedulers.stop(app).ended] == [first.job.pid]
    assert schedulers.find(app) is None
    assert schedulers.stop(app) == schedulers.Stopped(ended=(), on_other_hosts=())


def test_a_scheduler_of_another_host_counts_as_running_while_its_heartbeat_is_recent(app: App) -> None:
    # Given heartbeats of another machine
    app.store.put_job(job(app))
    assert schedulers.describe(schedulers.find(app)) == "scheduler running (pid 1 on elsewhere)"
    # Then an old one does not count
    app.store.put_job(job(app, heartbeat_at=app.clock.now() - timedelta(minutes=5)))
    assert schedulers.find(app) is None


def test_a_killed_scheduler_of_this_host_does_not_count_as_running(app: App) -> None:
    # Given a fresh heartbeat of a process that is no more
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    app.store.put_job(job(app, hostname=socket.gethostname(), pid=gone.pid))
    # Then nobody is found
    assert schedulers.find(app) is None


def test_a_killed_scheduler_that_is_a_zombie_does_not_count_as_running(app: App) -> None:
    # Given a scheduler of a parent that never waits for it, killed
    command = [sys.executable, "-m", "nbflow", "scheduler"]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL, start_new_session=True) as child:
        until(app, "it is there", lambda: schedulers.find(app))
        child.kill()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # it has ended, and is still listed
        # When another one is asked for
        found = schedulers.ensure(app)
        # Then it starts
        assert found.started
        assert found.job.pid != child.pid


def test_a_process_with_a_reused_pid_is_not_a_scheduler(app: App, bystander: subprocess.Popen[bytes]) -> None:
    # Given the row of a scheduler whose number another process has now
    app.store.put_job(here(app, bystander.pid, detail={"pid_started": 1.0}))
    # Then it does not count
    assert schedulers.find(app) is None


def test_the_error_shows_only_new_lines_of_the_log(app: App) -> None:
    # Given the log of an earlier scheduler
    log = schedulers.log_path(app.settings)
    log.parent.mkdir(parents=True, exist_ok=True)
    log.write_text("of the day before\n")
    # When one that is started says why it ends, after a line or two of its own
    code = "print('a start', flush=True); import sys; sys.exit('nbflow: there is no room.')"
    with pytest.raises(NbflowError) as fault:
        schedulers.start(app, command=[sys.executable, "-c", code])
    # Then that is the whole reason
    assert str(fault.value).startswith("The scheduler ended at once (exit code 1): there is no room. Its log: ")
    code = code.replace("nbflow: there is no room.", "no room")
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
    # Given a home in which that is not at all
    shutil.copytree(new_home, home)
    with App.open(home=home, environ={**os.environ, "NBFLOW__SCHEDULER__IDLE_MINUTES": "0"}) as app:
        # When one is asked for that has nothing to do
        ensured = schedulers.ensure(app)
        assert ensured.started
        # Then it ends by itself
        started = ProcessIdentity(pid=ensured.job.pid, started=ensured.job.detail["pid_started"])
        assert started.wait(PATIENCE_SECONDS)
        assert "nbflow scheduler has stopped." in schedulers.log_path(app.settings).read_text()
        assert schedulers.find(app) is None


# ------------------------------------------------------------------------------------------------ ended, and none other


def test_a_process_with_a_reused_pid_gets_no_signal(app: App, bystander: subprocess.Popen[bytes]) -> None:
    # Given what looked like a scheduler a moment ago, and another process that has its number now
    stale = here(app, bystander.pid, detail={"pid_started": 1.0})
    app.store.put_job(stale)
    # When it is stopped, by either surface and by whoever still holds the row
    assert schedulers.stop(app).ended == ()
    assert main(["stop"]) == 0
    assert function_of("stop")().data is None
    schedulers.end([stale], app.settings)
    # Then the other process lives
    assert bystander.poll() is None


def test_a_process_without_a_stored_start_time_is_not_killed(app: App, bystander: subprocess.Popen[bytes]) -> None:
    # Given a row without the start of its process
    app.store.put_job(here(app, bystander.pid, detail={}))
    # Then the one who asks is told what can be done
    with pytest.raises(NbflowError, match=rf"Cannot verify that process {bystander.pid} is the scheduler.*kill"):
        schedulers.stop(app)
    assert bystander.poll() is None


def test_a_scheduler_of_another_host_gets_no_signal(app: App, bystander: subprocess.Popen[bytes]) -> None:
    # Given a living scheduler of another host, whose number is that of a process here
    other = here(app, bystander.pid, hostname="elsewhere")
    app.store.put_job(other)
    # When it is to be stopped
    assert schedulers.stop(app).on_other_hosts == (other,)
    with pytest.raises(NbflowError, match="runs on elsewhere"):
        function_of("stop")()
    assert main(["stop"]) == 1
    # Then the process here lives
    assert bystander.poll() is None


def test_the_process_itself_gets_the_signal(app: App, bystander: subprocess.Popen[bytes]) -> None:
    # Given a row whose process started when it says
    app.store.put_job(here(app, bystander.pid))
    # When it is stopped, then that process ends by the signal
    assert [one.pid for one in schedulers.stop(app).ended] == [bystander.pid]
    assert bystander.wait() == -signal.SIGTERM


def test_a_scheduler_that_does_not_end_is_an_error(app: App) -> None:
    # Given a process that does not care about the signal
    code = "import signal; signal.signal(15, signal.SIG_IGN); print('there', flush=True); signal.pause()"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as deaf:
        assert deaf.stdout is not None
        assert deaf.stdout.readline() == b"there\n"
        one = here(app, deaf.pid)
        # Then who stops it is told after the time that it was given
        with pytest.raises(NbflowError, match=rf"pid {deaf.pid}\) has not ended within 0.1 s"):
            schedulers.end([one], app.settings, seconds=0.1)
        deaf.kill()


@pytest.mark.parametrize("handles", [True, False], ids=["by pidfd", "by number"])
def test_a_process_is_signalled_and_waited_for_with_and_without_handles(
    bystander: subprocess.Popen[bytes], handles: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a system with handles on processes, or without
    if not handles:
        monkeypatch.delattr(os, "pidfd_open")
    mine = ProcessIdentity(pid=bystander.pid, started=process_started(bystander.pid))
    other = ProcessIdentity(pid=bystander.pid, started=1.0)
    # Then only the one that started then gets the signal
    assert (mine.is_running(), other.is_running(), mine.wait(0)) == (True, False, False)
    assert (other.send(signal.SIGTERM), other.wait(0)) == (False, True)
    assert bystander.poll() is None
    assert mine.send(signal.SIGTERM)
    # And its end is seen, whether or not its parent has asked for it
    assert mine.wait(PATIENCE_SECONDS)
    assert (mine.is_running(), mine.send(signal.SIGTERM)) == (False, False)


# ----------------------------------------------------------------------------------------------- one answer for all


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


ASK: dict[str, Callable[[App], bool]] = {"command": _by_command, "magic": _by_magic, "why": _by_why}


@pytest.mark.parametrize("who", ASK)
@pytest.mark.parametrize(("threshold", "lives"), [("", False), ("300", True), ("5", False)])
def test_the_health_check_threshold_applies_everywhere(
    home: Path, new_home: Path, monkeypatch: pytest.MonkeyPatch, who: str, threshold: str, lives: bool
) -> None:
    # Given a scheduler that was heard of a minute ago, and how long that counts (30 s unless it is set)
    shutil.copytree(new_home, home)
    if threshold:
        monkeypatch.setenv("NBFLOW__SCHEDULER__SCHEDULER_HEALTH_CHECK_THRESHOLD", threshold)
    with App.open(home=home) as app:
        app.store.put_job(job(app, heartbeat_at=app.clock.now() - timedelta(minutes=1)))
        # Then all answer alike
        assert ASK[who](app) is lives
    end_session()


@pytest.mark.parametrize("who", ASK)
def test_a_killed_scheduler_is_not_running_for_any_surface(app: App, who: str) -> None:
    # Given a scheduler that all see
    started = schedulers.ensure(app).job
    assert ASK[who](app)
    # When it is killed
    os.kill(started.pid, signal.SIGKILL)
    ProcessIdentity(pid=started.pid, started=started.detail["pid_started"]).wait(PATIENCE_SECONDS)
    # Then nobody takes its heartbeat for a living one
    assert not ASK[who](app)
