"""The scheduler that a notebook starts: found by its heartbeat, started once, stopped on request."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from nbflow.app import App
from nbflow.errors import NbflowError
from nbflow.notebook import scheduler_process
from nbflow.store.base import Job
from tests.notebook.conftest import until


@pytest.fixture
def app(own_home: Path) -> Iterator[App]:
    with App.open(home=own_home) as opened:
        yield opened


def job(app: App, **changed: object) -> Job:
    now = app.clock.now()
    known = Job(job_id="s", kind="scheduler", hostname="elsewhere", pid=1, started_at=now, heartbeat_at=now)
    return replace(known, **changed)  # type: ignore[arg-type]


def test_one_scheduler_is_started_and_found_again(app: App) -> None:
    # Given a home without one
    assert scheduler_process.find(app).text == "no scheduler running"
    # When one is asked for twice
    first, second = scheduler_process.ensure(app), scheduler_process.ensure(app)
    # Then the same one serves both
    assert (first.started, second.started) == (True, False)
    assert first.job is not None
    assert second.job is not None
    assert first.job.pid == second.job.pid
    assert second.text == f"scheduler running (pid {first.job.pid})"
    # And it can be stopped, once
    assert scheduler_process.stop(app).job is not None
    assert scheduler_process.find(app).job is None
    assert scheduler_process.stop(app).job is None


def test_a_scheduler_of_another_machine_counts_while_it_is_heard_of(app: App) -> None:
    # Given heartbeats of another machine, one of them old
    app.store.put_job(job(app))
    assert scheduler_process.find(app).text == "scheduler running (pid 1 on elsewhere)"
    # Then it cannot be stopped from here, and an old one does not count
    with pytest.raises(NbflowError, match="runs on elsewhere"):
        scheduler_process.stop(app)
    app.store.put_job(job(app, heartbeat_at=app.clock.now() - timedelta(minutes=5)))
    assert scheduler_process.find(app).job is None


def test_a_killed_scheduler_of_this_machine_does_not_count(app: App) -> None:
    # Given a fresh heartbeat of a process that is no more
    import socket

    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    app.store.put_job(job(app, hostname=socket.gethostname(), pid=gone.pid))
    # Then nobody is found
    assert scheduler_process.find(app).job is None


def test_a_killed_scheduler_whose_parent_does_not_ask_for_its_end_gives_way(app: App) -> None:
    # Given a scheduler of a parent that never waits for it (JupyterLab's, under `nbflow lab`), killed
    command = [sys.executable, "-m", "nbflow", "scheduler"]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL, start_new_session=True) as child:
        until("it is there", lambda: scheduler_process.find(app).job)
        child.kill()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # it has ended, and is still listed
        # When another one is asked for
        found = scheduler_process.ensure(app)
        # Then it starts
        assert found.started
        assert found.job is not None
        assert found.job.pid != child.pid


def test_of_a_log_that_goes_on_only_what_is_new_is_told(app: App) -> None:
    # Given the log of an earlier scheduler
    log = scheduler_process.log_path(app)
    log.parent.mkdir(parents=True, exist_ok=True)
    log.write_text("of the day before\n")
    # When one that is started says why it ends, after a line or two of its own
    code = "print('a start', flush=True); import sys; sys.exit('nbflow: there is no room.')"
    with pytest.raises(NbflowError) as fault:
        scheduler_process.start(app, command=[sys.executable, "-c", code])
    # Then that is the whole reason
    assert str(fault.value).startswith("The scheduler ended at once (exit code 1): there is no room. Its log: ")
    code = code.replace("nbflow: there is no room.", "no room")
    with pytest.raises(NbflowError, match=r"exit code 1\): a start / no room Its log"):
        scheduler_process.start(app, command=[sys.executable, "-c", code])


@pytest.mark.parametrize(
    ("code", "seconds", "said"),
    [
        ("import sys; sys.exit('no room')", 30, r"The scheduler ended at once \(exit code 1\): no room"),
        ("import time; time.sleep(60)", 0.5, r"The scheduler was not heard of within 0.5 s: it said nothing"),
    ],
)
def test_one_that_does_not_come_up_says_why(app: App, code: str, seconds: float, said: str) -> None:
    # Given a scheduler that cannot start
    with pytest.raises(NbflowError, match=said) as fault:
        scheduler_process.start(app, command=[sys.executable, "-c", code], seconds=seconds)
    # Then the error leads to its log
    assert str(scheduler_process.log_path(app)) in str(fault.value)


def test_a_scheduler_lives_idle_for_as_long_as_the_setting_says(own_home: Path) -> None:
    # Given a home in which that is not at all
    with App.open(home=own_home, environ={**os.environ, "NBFLOW__SCHEDULER__IDLE_MINUTES": "0"}) as app:
        # When a notebook starts its scheduler, which has nothing to do
        started = scheduler_process.start(app).job
        assert started is not None
        # Then it ends by itself
        log = scheduler_process.log_path(app)
        until("the scheduler ends", lambda: "nbflow scheduler has ended." in log.read_text())
        assert scheduler_process.find(app).job is None
