"""The schedulers of a home: which live, starting one in the background, ending them. One answer for all surfaces.

A scheduler lives while its heartbeat is younger than ``[scheduler] scheduler_health_check_threshold``. One of this host
must really run, too: a killed one has a fresh heartbeat for some seconds yet. Its row in the metastore tells the number
of its process and when that started, so what has the number by now is neither taken for a scheduler nor sent a signal.
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
from typing import TYPE_CHECKING

from nbflow.errors import NbflowError
from nbflow.execution.process_identity import ProcessIdentity, knows_start_times

if TYPE_CHECKING:
    from nbflow.app import App
    from nbflow.config import Settings
    from nbflow.store.base import Job, Store

START_SECONDS = 30.0
"""A cold start takes less than one second on a quiet machine."""
STOP_SECONDS = 15.0
"""Longer than running tasks are given to end, which is ``[core] killed_task_cleanup_time``."""
LOOK_SECONDS = 0.05
_TAIL_LINES = 8


# ------------------------------------------------------------------------------------------------------------ who lives


def living(store: Store, settings: Settings, now: datetime) -> list[Job]:
    """The schedulers that live, the one that was heard of last first."""
    since = now - timedelta(seconds=settings.scheduler.scheduler_health_check_threshold)
    return [job for job in store.jobs("scheduler", alive_since=since) if runs(job)]


def find(app: App) -> Job | None:
    """The living scheduler of a home that was heard of last."""
    return next(iter(living(app.store, app.settings, app.clock.now())), None)


def state_of(job: Job, settings: Settings, now: datetime) -> str:
    """``running``; ``success`` for a process of ours that ended in order, ``failed`` for one that is lost."""
    if job.ended_at is not None:
        return "success"
    since = now - timedelta(seconds=settings.scheduler.scheduler_health_check_threshold)
    return "running" if job.heartbeat_at >= since and runs(job) else "failed"


def runs(job: Job) -> bool:
    """Whether the process of a job runs; of another host's that is taken for granted."""
    _collect()
    return not is_here(job) or _process_of(job).is_running()


def is_here(job: Job) -> bool:
    """Whether a job is a process of this host."""
    return job.hostname == socket.gethostname()


def _process_of(job: Job) -> ProcessIdentity:
    return ProcessIdentity(pid=job.pid, started=job.detail.get("pid_started"))


def text_of(job: Job | None) -> str:
    """``scheduler running (pid 7 on host)``, for the line under a graph."""
    if job is None:
        return "no scheduler running"
    return f"scheduler running (pid {job.pid}{'' if is_here(job) else f' on {job.hostname}'})"


# ------------------------------------------------------------------------------------------------------------- starting


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """The scheduler of a home. ``started``: by the call that returns this."""

    job: Job
    started: bool


def ensure(app: App) -> Found:
    """A living scheduler; where there is none, one is started that ends when it is idle ([scheduler] idle_minutes).
    Raises NbflowError if it does not come up."""
    if (there := find(app)) is not None:
        return Found(job=there, started=False)
    try:
        return Found(job=start(app, idle_options(app.settings)), started=True)
    except NbflowError:  # one that somebody else started meanwhile serves as well, and ours has given way
        if (there := find(app)) is None:
            raise
        return Found(job=there, started=False)


def idle_options(settings: Settings) -> list[str]:
    """What a scheduler is told that was not asked for by name: to end when it is idle."""
    return ["--idle-exit", f"{settings.scheduler.idle_minutes:g}"]


def start(
    app: App,
    options: Sequence[str] = (),
    *,
    log: Path | None = None,
    command: Sequence[str] = (),
    seconds: float = START_SECONDS,
) -> Job:
    """Start ``nbflow scheduler`` with these options as a process that outlives this one, writing to ``log``, and wait
    for its heartbeat. Raises NbflowError, with what it said last, if it does not come up."""
    log = log or log_path(app.settings)
    log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    home = app.settings.home
    with open(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "wb") as out:
        begin = os.fstat(out.fileno()).st_size  # where it is appended to: until then the file's position is its begin
        process = subprocess.Popen(
            command or [sys.executable, "-m", "nbflow", "scheduler", *options],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            cwd=home,
            env={**app.environ, "NBFLOW_HOME": str(home)},
            start_new_session=True,  # our end, and Ctrl-C here, are none of its business
        )
    _children.append(process)
    until = time.monotonic() + seconds
    while time.monotonic() < until and process.poll() is None:
        for job in living(app.store, app.settings, app.clock.now()):
            if job.pid == process.pid and is_here(job):
                return job
        time.sleep(LOOK_SECONDS)
    ended = process.poll()
    what = f"ended at once (exit code {ended})" if ended is not None else f"was not heard of within {seconds:g} s"
    if ended is None:
        process.kill()
        process.wait()
    raise NbflowError(f"The scheduler {what}: {_tail(log, begin)}", hint=f"Its log: {log}")


def log_path(settings: Settings) -> Path:
    """Where a scheduler in the background writes, unless it is told otherwise."""
    return Path(settings.logging.base_log_folder) / "scheduler.log"


#: Schedulers that this process started: asked for their end, so that a dead one is no zombie for as long as we live.
_children: list[subprocess.Popen[bytes]] = []


def _collect() -> None:
    _children[:] = [child for child in _children if child.poll() is None]


_SAID = "nbflow: "
"""Begins the line in which a command says why it ends."""


def _tail(log: Path, begin: int) -> str:
    with contextlib.suppress(OSError), open(log, "rb") as file:
        file.seek(begin)
        lines = file.read().decode(errors="replace").strip().splitlines()
        if lines and lines[-1].startswith(_SAID):
            return lines[-1].removeprefix(_SAID)
        return " / ".join(lines[-_TAIL_LINES:]) or "it said nothing"
    return "it left no log"


# --------------------------------------------------------------------------------------------------------------- ending


@dataclass(frozen=True, slots=True, kw_only=True)
class Stopped:
    """What :func:`stop` did: the schedulers of this host that have ended, and those of others, which it left alone."""

    ended: tuple[Job, ...]
    elsewhere: tuple[Job, ...]


def stop(app: App, *, seconds: float | None = None) -> Stopped:
    """End the living schedulers of this host (SIGTERM) and wait until they have ended, at most ``seconds`` (default:
    a little longer than their tasks are given to end). Raises NbflowError for one that goes on."""
    there = living(app.store, app.settings, app.clock.now())
    here = tuple(job for job in there if is_here(job))
    end(here, app.settings, seconds=seconds)
    return Stopped(ended=here, elsewhere=tuple(job for job in there if job not in here))


def end(jobs: Sequence[Job], settings: Settings, *, seconds: float | None = None) -> None:
    """End these schedulers of this host; see :func:`stop`. One that has ended already is passed over."""
    patience = seconds or settings.core.killed_task_cleanup_time + STOP_SECONDS
    until = time.monotonic() + patience
    for job in jobs:
        if job.detail.get("pid_started") is None and knows_start_times() and _process_of(job).is_running():
            raise NbflowError(
                f"Nothing tells whether process {job.pid} is the scheduler, so it was not stopped.",
                hint=f"If it is: kill {job.pid}",
            )
        try:
            _process_of(job).send(signal.SIGTERM)
        except PermissionError:
            said = f"The scheduler (pid {job.pid}) is another user's."
            raise NbflowError(said, hint="Stop it as that user.") from None
    for job in jobs:
        if not _process_of(job).wait(max(until - time.monotonic(), 0)):
            raise NbflowError(
                f"The scheduler (pid {job.pid}) has not ended within {patience:g} s.",
                hint="Its tasks may take their time.",
            )
    _collect()
