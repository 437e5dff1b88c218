"""The scheduler that a notebook starts: a process of its own, which outlives the kernel and ends when it is idle.

Whether one lives is read from its heartbeat in the metastore, whoever started it. A scheduler of this machine that was
killed has a fresh heartbeat for some seconds yet, so its process is looked at, too.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from nbflow.errors import NbflowError
from nbflow.services.why import SCHEDULER_ALIVE

if TYPE_CHECKING:
    from nbflow.app import App
    from nbflow.store.base import Job

T = TypeVar("T")

START_SECONDS = 30.0
"""A cold start takes less than one second on a quiet machine."""
STOP_SECONDS = 90.0
"""Longer than running tasks are given to end ([core] killed_task_cleanup_time)."""
LOOK_SECONDS = 0.05
_TAIL_LINES = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class SchedulerStatus:
    """The scheduler of a home, or that there is none."""

    job: Job | None = None
    started: bool = False
    """It was started just now, by this call."""

    @property
    def text(self) -> str:
        """For the line under a graph."""
        if self.job is None:
            return "no scheduler running"
        where = "" if self.job.hostname == socket.gethostname() else f" on {self.job.hostname}"
        return f"scheduler running (pid {self.job.pid}{where})"


def find(app: App) -> SchedulerStatus:
    """The living scheduler of the home."""
    for job in app.store.jobs("scheduler", alive_since=app.clock.now() - SCHEDULER_ALIVE):
        if job.hostname != socket.gethostname() or _lives(job.pid):
            return SchedulerStatus(job=job)
    return SchedulerStatus()


def ensure(app: App) -> SchedulerStatus:
    """The living scheduler; where there is none, one is started. Raises NbflowError, with the end of its log, if it
    does not come up."""
    there = find(app)
    return there if there.job is not None else start(app)


def start(app: App, *, command: Sequence[str] = (), seconds: float = START_SECONDS) -> SchedulerStatus:
    """Start a scheduler and wait for its heartbeat."""
    log = log_path(app)
    log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    home = app.settings.home
    command = command or command_of(app)
    with open(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "wb") as out:
        begin = os.fstat(out.fileno()).st_size  # where it is appended to: until then the file's position is its begin
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            cwd=home,
            env={**app.environ, "NBFLOW_HOME": str(home)},
            start_new_session=True,  # the kernel's end, and Ctrl-C in it, are none of its business
        )
    _children.append(process)

    def beats() -> SchedulerStatus | None:
        there = find(app)
        return there if there.job is not None else None

    found = _until(seconds, beats, lambda: process.poll() is not None)
    found = found or beats()  # one that somebody else started meanwhile serves as well, and ours has given way
    if found is not None:
        return SchedulerStatus(job=found.job, started=found.job is not None and found.job.pid == process.pid)
    ended = process.poll()
    what = f"ended at once (exit code {ended})" if ended is not None else f"was not heard of within {seconds:g} s"
    if ended is None:
        process.kill()
    raise NbflowError(f"The scheduler {what}: {_tail(log, begin)}", hint=f"Its log: {log}")


def command_of(app: App) -> list[str]:
    """The command of a scheduler that a notebook starts: it ends when it is idle."""
    idle_minutes = app.settings.scheduler.idle_minutes
    return [sys.executable, "-m", "nbflow", "scheduler", "--idle-exit", f"{idle_minutes:g}"]


def stop(app: App, *, seconds: float = STOP_SECONDS) -> SchedulerStatus:
    """End the living scheduler of this machine; returns the one that was ended (without a job: there was none)."""
    there = find(app)
    job = there.job
    if job is None:
        return there
    if job.hostname != socket.gethostname():
        raise NbflowError(f"The scheduler runs on {job.hostname} (pid {job.pid}).", hint="Stop it there: nbflow stop.")
    with contextlib.suppress(ProcessLookupError):
        os.kill(job.pid, signal.SIGTERM)
    if _until(seconds, lambda: None if _lives(job.pid) else True, lambda: False) is None:
        raise NbflowError(
            f"The scheduler (pid {job.pid}) has not ended within {seconds:g} s.", hint="Its tasks may take their time."
        )
    return there


def log_path(app: App) -> Path:
    """Where a scheduler that a notebook started writes."""
    return Path(app.settings.logging.base_log_folder) / "scheduler.log"


_SAID = "nbflow: "
"""Begins the line in which a command says why it ends."""

#: Schedulers that this process started: asked for their end, so that a dead one is no zombie that seems to live.
_children: list[subprocess.Popen[bytes]] = []


def _lives(pid: int) -> bool:
    for child in _children:
        if child.pid == pid and child.poll() is not None:
            return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    with contextlib.suppress(OSError):  # a child of somebody who does not ask for its end
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return True


def _until(seconds: float, ask: Callable[[], T | None], give_up: Callable[[], bool]) -> T | None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        answer = ask()
        if answer is not None or give_up():
            return answer
        time.sleep(LOOK_SECONDS)
    return None


def _tail(log: Path, begin: int) -> str:
    with contextlib.suppress(OSError), open(log, "rb") as file:
        file.seek(begin)
        lines = file.read().decode(errors="replace").strip().splitlines()
        if lines and lines[-1].startswith(_SAID):
            return lines[-1].removeprefix(_SAID)
        return " / ".join(lines[-_TAIL_LINES:]) or "it said nothing"
    return "it left no log"
