"""The schedulers of a home: finding the running ones, starting one in the background, stopping them.

A scheduler is running while its heartbeat is younger than ``[scheduler] scheduler_health_check_threshold``. On this
host its process must run, too: a killed scheduler's heartbeat stays recent for some seconds. Its row in the metastore
has the process id and the start time of the process, so that a later process with the same id is not mistaken for a
scheduler and gets no signal.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from nbflow.errors import NbflowError
from nbflow.execution.process_identity import ProcessIdentity, knows_start_times

if TYPE_CHECKING:
    from nbflow.app import App
    from nbflow.config import Settings
    from nbflow.store.base import Job, Store

START_SECONDS = 30.0
"""Time limit of a start; a cold start takes less than a second on an idle machine."""
STOP_SECONDS = 15.0
"""Time limit of a stop, in addition to ``[core] killed_task_cleanup_time``, the time that running tasks have to end."""
POLL_SECONDS = 0.05
_TAIL_LINES = 8
RUNNING = "running"
"""State of a process whose heartbeat is recent: see :func:`state_of`."""


class HostProcess(Protocol):
    """A process of a home: a job, or its row in a view."""

    @property
    def hostname(self) -> str: ...
    @property
    def pid(self) -> int: ...


# -------------------------------------------------------------------------------------------------------------- finding


def running_schedulers(store: Store, settings: Settings, now: datetime) -> list[Job]:
    """The running schedulers, most recent heartbeat first."""
    since = now - timedelta(seconds=settings.scheduler.scheduler_health_check_threshold)
    return [job for job in store.jobs("scheduler", alive_since=since) if is_process_running(job)]


def find(app: App) -> Job | None:
    """The home's running scheduler with the most recent heartbeat."""
    return next(iter(running_schedulers(app.store, app.settings, app.clock.now())), None)


def state_of(job: Job, settings: Settings, now: datetime) -> str:
    """``running``, ``success`` for a process that ended normally, or ``failed`` for one that died."""
    if job.ended_at is not None:
        return "success"
    since = now - timedelta(seconds=settings.scheduler.scheduler_health_check_threshold)
    return RUNNING if job.heartbeat_at >= since and is_process_running(job) else "failed"


def is_process_running(job: Job) -> bool:
    """Whether the job's process is running; always True for another host."""
    _reap_children()
    return not is_local(job) or _process_of(job).is_running()


def is_local(job: HostProcess) -> bool:
    """Whether the job is a process on this host."""
    return job.hostname == socket.gethostname()


def _process_of(job: Job) -> ProcessIdentity:
    return ProcessIdentity(pid=job.pid, started=job.detail.get("pid_started"))


def describe(job: HostProcess | None) -> str:
    """``scheduler running (pid 7 on host)``, for the line under a graph."""
    if job is None:
        return "no scheduler running"
    return f"scheduler running (pid {job.pid}{'' if is_local(job) else f' on {job.hostname}'})"


# ------------------------------------------------------------------------------------------------------------- starting


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningScheduler:
    """The home's running scheduler. ``started``: whether the call that returns this object started it."""

    job: Job
    started: bool


def ensure(app: App) -> RunningScheduler:
    """Return a running scheduler; without one, start one that exits when it is idle ([scheduler] idle_minutes). Raises
    NbflowError if the start fails."""
    if (running := find(app)) is not None:
        return RunningScheduler(job=running, started=False)
    try:
        return RunningScheduler(job=start(app, idle_options(app.settings)), started=True)
    except NbflowError:  # another process may have started a scheduler at the same time; then this one has exited
        if (running := find(app)) is None:
            raise
        return RunningScheduler(job=running, started=False)


def idle_options(settings: Settings) -> list[str]:
    """Options of a scheduler that is started on demand: it exits when it is idle."""
    return ["--idle-exit", f"{settings.scheduler.idle_minutes:g}"]


def start(
    app: App,
    options: Sequence[str] = (),
    *,
    log: Path | None = None,
    command: Sequence[str] = (),
    seconds: float = START_SECONDS,
) -> Job:
    """Start ``nbflow scheduler`` with these options as a background process that writes to ``log``, and wait for its
    first heartbeat, at most ``seconds``. Raises NbflowError, with the end of its log, if there is none."""
    log = log or log_path(app.settings)
    log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    home = app.settings.home
    with open(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "wb") as log_file:
        log_start = os.fstat(log_file.fileno()).st_size  # O_APPEND leaves the position at 0 until the first write
        process = subprocess.Popen(
            command or [sys.executable, "-m", "nbflow", "scheduler", *options],
            stdin=subprocess.DEVNULL,
            stdout=log_file,
            stderr=subprocess.STDOUT,
            cwd=home,
            env={**app.environ, "NBFLOW_HOME": str(home)},
            start_new_session=True,  # so that it outlives this process and does not get its Ctrl-C
        )
    _children.append(process)
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and process.poll() is None:
        for job in running_schedulers(app.store, app.settings, app.clock.now()):
            if job.pid == process.pid and is_local(job):
                return job
        time.sleep(POLL_SECONDS)
    exit_code = process.poll()
    if exit_code is None:
        failure = f"sent no heartbeat within {seconds:g} s"
        process.kill()
        process.wait()
    else:
        failure = f"ended at once (exit code {exit_code})"
    raise NbflowError(f"The scheduler {failure}: {_log_tail(log, log_start)}", hint=f"Its log: {log}")


def log_path(settings: Settings) -> Path:
    """Default log file of a scheduler in the background."""
    return Path(settings.logging.base_log_folder) / "scheduler.log"


#: Schedulers that this process started. They are polled, so that those that have ended do not stay zombies.
_children: list[subprocess.Popen[bytes]] = []


def _reap_children() -> None:
    _children[:] = [child for child in _children if child.poll() is None]


_ERROR_PREFIX = "nbflow: "
"""Prefix of the line in which a command prints its error."""


def _log_tail(log: Path, start: int) -> str:
    with contextlib.suppress(OSError), open(log, "rb") as file:
        file.seek(start)
        lines = file.read().decode(errors="replace").strip().splitlines()
        if lines and lines[-1].startswith(_ERROR_PREFIX):
            return lines[-1].removeprefix(_ERROR_PREFIX)
        return " / ".join(lines[-_TAIL_LINES:]) or "its log is empty"
    return "it has no log file"


# ------------------------------------------------------------------------------------------------------------- stopping


@dataclass(frozen=True, slots=True, kw_only=True)
class Stopped:
    """The result of :func:`stop`: the schedulers of this host, which it stopped, and those of other hosts, which it
    cannot stop."""

    ended: tuple[Job, ...]
    on_other_hosts: tuple[Job, ...]


def stop(app: App, *, seconds: float | None = None) -> Stopped:
    """Stop the running schedulers of this host (SIGTERM) and wait until they have ended, at most ``seconds`` (default:
    STOP_SECONDS more than ``[core] killed_task_cleanup_time``). Raises NbflowError if one is still running then."""
    running = running_schedulers(app.store, app.settings, app.clock.now())
    local = tuple(job for job in running if is_local(job))
    end(local, app.settings, seconds=seconds)
    return Stopped(ended=local, on_other_hosts=tuple(job for job in running if job not in local))


def end(jobs: Sequence[Job], settings: Settings, *, seconds: float | None = None) -> None:
    """Stop these schedulers of this host, as :func:`stop` does. Schedulers that have already ended are ignored."""
    timeout = seconds or settings.core.killed_task_cleanup_time + STOP_SECONDS
    deadline = time.monotonic() + timeout
    for job in jobs:
        if job.detail.get("pid_started") is None and knows_start_times() and _process_of(job).is_running():
            raise NbflowError(
                f"Cannot verify that process {job.pid} is the scheduler; it was not stopped.",
                hint=f"If it is the scheduler, run: kill {job.pid}",
            )
        try:
            _process_of(job).send(signal.SIGTERM)
        except PermissionError:
            message = f"The scheduler (pid {job.pid}) belongs to another user."
            raise NbflowError(message, hint="Stop it as that user.") from None
    for job in jobs:
        if not _process_of(job).wait(max(deadline - time.monotonic(), 0)):
            raise NbflowError(
                f"The scheduler (pid {job.pid}) did not stop within {timeout:g} s.",
                hint="Its tasks may still be stopping; wait, or try again.",
            )
    _reap_children()
