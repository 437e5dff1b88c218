"""scheduler, standalone, status, stop, jobs: the processes of nbflow."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nbflow.arguments import FILE, NUMBER, WHOLE, argument, switch
from nbflow.cli import find_dag, output
from nbflow.cli.declaring import OUTPUT, Command
from nbflow.cli.invocation import Call
from nbflow.errors import NbflowError

if TYPE_CHECKING:
    from nbflow.store.base import Job, Store

START_SECONDS = 30
"""How long a scheduler in the background may take until it is there."""

# ------------------------------------------------------------------------------------------------------------- running


def scheduler(call: Call) -> int:
    if call.args.daemon:
        return _in_background(call)
    _serve(call, hello=lambda: None)
    return 0


def standalone(call: Call) -> int:
    from nbflow.config import prepare_home

    prepare_home(call.settings)
    settings = call.settings

    def hello() -> None:
        dags = call.app.store.dags()
        paused = [row.dag_id for row in dags if row.paused]
        output.say(f"Home        {settings.home}")
        output.say(f"DAG files   {settings.core.dags_folder}: {len(dags)} DAGs, {len(paused)} of them paused")
        for fault in call.app.store.import_errors():
            output.warn(f"{find_dag.place_of(fault.fileloc, fault.line, fault.cell)}: {fault.error}")
        if paused:
            output.say(f"Go on with  nbflow dags unpause {paused[0]}")
        output.say("In a notebook: %load_ext nbflow. End with Ctrl-C.")

    _serve(call, hello=hello)
    return 0


def _serve(call: Call, *, hello: Any) -> None:
    from nbflow.cli.run_here import level_of, logging_to_stderr
    from nbflow.services.scheduler_daemon import serve

    args, settings = call.args, call.settings
    with logging_to_stderr(level_of(call)), _pid_file(call) as write_pid:

        def ready() -> None:
            write_pid()
            output.say(f"nbflow scheduler is ready (pid {os.getpid()}, {settings.core.executor}).")
            hello()

        serve(call.app, idle_minutes=args.idle_exit, on_ready=ready)
        output.say("nbflow scheduler has ended.")


@contextlib.contextmanager
def _pid_file(call: Call) -> Iterator[Any]:
    """Yields what writes the pid file; it is removed at the end, if it is still this process's."""
    path = Path(call.args.pid) if call.args.pid else call.settings.home / "scheduler.pid"
    try:
        yield lambda: path.write_text(f"{os.getpid()}\n", encoding="ascii")
    finally:
        with contextlib.suppress(OSError, ValueError):
            if int(path.read_text(encoding="ascii")) == os.getpid():
                path.unlink()


def _in_background(call: Call) -> int:
    """Start a scheduler that outlives this command, and wait until it is there."""
    log = Path(call.args.log_file) if call.args.log_file else call.settings.logging.base_log_folder / "scheduler.log"
    there = {job.job_id for job in alive(call)}
    child = start_scheduler(call, log, idle_exit=call.args.idle_exit)
    until = time.monotonic() + START_SECONDS
    while time.monotonic() < until:
        if child.poll() is not None:
            lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines() or ["it said nothing"]
            raise NbflowError(lines[-1].removeprefix("nbflow: "), hint=f"Its log: {log}")
        mine = [job for job in alive(call) if job.job_id not in there and job.pid == child.pid]
        if mine:
            print(f"nbflow scheduler runs (pid {child.pid}); its log is {log}.")
            return 0
        call.app.store.wait_for_change(call.app.store.change_token(), timeout=0.1)
    raise NbflowError(f"The scheduler (pid {child.pid}) gave no sign of life.", hint=f"Its log: {log}")


def start_scheduler(call: Call, log: Path, *, idle_exit: float | None = None) -> subprocess.Popen[bytes]:
    """A scheduler of this home in a session of its own, writing to ``log``."""
    log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    words = [sys.executable, "-m", "nbflow", "scheduler"]
    words += ["--idle-exit", f"{idle_exit:g}"] if idle_exit is not None else []
    environ = {**call.environ, "NBFLOW_HOME": str(call.settings.home)}
    with open(log, "ab") as file:
        return subprocess.Popen(
            words, stdin=subprocess.DEVNULL, stdout=file, stderr=file, env=environ, start_new_session=True
        )


# ------------------------------------------------------------------------------------------------------------- looking


def alive(call: Call, store: Store | None = None) -> list[Job]:
    """Schedulers that were heard of lately and whose process, where it can be seen, still runs. ``store``: of another
    one than the App's, which is migrated as it is opened."""
    jobs = (store or call.app.store).jobs("scheduler", alive_since=find_dag.alive_since(call))
    return [job for job in jobs if job.hostname != socket.gethostname() or runs(job.pid)]


def runs(pid: int) -> bool:
    """Whether a process of this number runs on this machine."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def status(call: Call) -> int:
    from nbflow.core.states import RunState

    store = call.app.store
    schedulers = alive(call)
    active = store.active_runs()
    row = {
        "scheduler": f"running (pid {schedulers[0].pid} on {schedulers[0].hostname})" if schedulers else "not running",
        "schedulers": len(schedulers),
        "metastore": store.url,
        "home": call.settings.home,
        "dags": len(store.dags()),
        "import_errors": len(store.import_errors()),
        "queued_runs": sum(run.state is RunState.QUEUED for run in active),
        "running_runs": sum(run.state is RunState.RUNNING for run in active),
        "running_tasks": store.usage().total,
        "next_run": store.next_due(),
    }
    call.show_one(row)
    if not schedulers:
        output.say("Start one with: nbflow scheduler")
    return 0 if schedulers else 1


def stop(call: Call) -> int:
    """End the schedulers of this machine: SIGTERM, and wait until they have ended."""
    jobs = alive(call)
    here = [job for job in jobs if job.hostname == socket.gethostname()]
    for job in jobs:
        if job not in here:
            output.warn(f"A scheduler runs on {job.hostname} (pid {job.pid}): stop it there.")
    if not here:
        print("No scheduler is running on this machine.")
        return 1 if jobs else 0
    for job in here:
        if not _is_ours(job.pid):
            raise NbflowError(f"Process {job.pid} is not a scheduler any more; nothing was stopped.")
        with contextlib.suppress(ProcessLookupError):
            os.kill(job.pid, signal.SIGTERM)
    patience = call.args.timeout or call.settings.core.killed_task_cleanup_time + 10
    until = time.monotonic() + patience
    left = [job for job in here if runs(job.pid)]
    while left and time.monotonic() < until:
        call.app.store.wait_for_change(call.app.store.change_token(), timeout=0.1)
        left = [job for job in left if runs(job.pid) and _is_ours(job.pid)]
    if left:
        raise NbflowError(f"The scheduler (pid {left[0].pid}) has not ended within {patience:g} s.")
    print(f"Stopped: {', '.join(f'pid {job.pid}' for job in here)}.")
    return 0


def _is_ours(pid: int) -> bool:
    """Where the system tells what a process runs: that it is nbflow, and has not ended yet. A number may be taken by
    another process a moment after ours died."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return not Path("/proc/self").exists()
    return b"nbflow" in words


# ---------------------------------------------------------------------------------------------------------------- jobs

JOB_COLUMNS = ("job_id", "job_type", "state", "hostname", "pid", "start_date", "end_date", "latest_heartbeat")
_TYPES = {
    "SchedulerJob": "scheduler",
    "DagProcessorJob": "scheduler",
    "BackfillJob": "scheduler",
    "TriggererJob": "triggerer",
    "LocalTaskJob": "worker",
}
"""Airflow's name -> ours: DAG files and backfills are the affair of the scheduler's process."""


def list_jobs(call: Call) -> None:
    show_jobs(call, state=call.args.state, limit=call.args.limit)


def show_jobs(call: Call, *, state: str | None, limit: int) -> None:
    """Print the processes that the metastore knows, newest first."""
    since = find_dag.alive_since(call)
    rows = [
        {
            "job_id": job.job_id,
            "job_type": job.kind,
            "state": _state_of(job, since),
            "hostname": job.hostname,
            "pid": job.pid,
            "start_date": job.started_at,
            "end_date": job.ended_at,
            "latest_heartbeat": job.heartbeat_at,
        }
        for job in call.app.store.jobs(limit=limit)
    ]
    call.show([row for row in rows if state in (None, row["state"])], empty="There are no jobs.", columns=JOB_COLUMNS)


def _state_of(job: Job, since: Any) -> str:
    if job.ended_at is not None:
        return "success"
    lost = job.heartbeat_at < since or (job.hostname == socket.gethostname() and not runs(job.pid))
    return "failed" if lost else "running"


def check_jobs(call: Call) -> int:
    """Whether exactly one process (or, with --allow-multiple, any number) of a kind is alive."""
    args = call.args
    kind = _TYPES.get(args.job_type, args.job_type) if args.job_type else None
    host = socket.gethostname() if args.local else args.hostname
    since = find_dag.alive_since(call)
    jobs = [job for job in call.app.store.jobs(kind, alive_since=since) if host in (None, job.hostname)]
    jobs = [job for job in jobs if _state_of(job, since) == "running"][: args.limit or None]
    if not jobs:
        raise NbflowError("No alive jobs found.")
    if len(jobs) > 1 and not args.allow_multiple:
        raise NbflowError(f"Found {len(jobs)} alive jobs. Expected only one.", hint="Say --allow-multiple if meant.")
    print("Found one alive job." if len(jobs) == 1 else f"Found {len(jobs)} alive jobs.")
    return 0


IDLE_EXIT = argument(
    "--idle-exit",
    type=NUMBER,
    metavar="MINUTES",
    help="End after so many idle minutes, if no unpaused DAG has a schedule.",
)
PID = argument("--pid", type=FILE, help="Where to write the process id ({home}/scheduler.pid).")

COMMANDS = (
    Command(
        name="scheduler",
        help="Run the scheduler, its executor and the reading of DAG files, until SIGTERM or Ctrl-C.",
        run=scheduler,
        arguments=(
            IDLE_EXIT,
            PID,
            switch("-D", "--daemon", help="Start it in the background, and come back when it is there."),
            argument("-l", "--log-file", type=FILE, help="With -D: its log ({home}/logs/scheduler.log)."),
            switch("-s", "--skip-serve-logs", help="Accepted: logs are files, and are not served."),
        ),
    ),
    Command(
        name="standalone",
        help="Make the home if need be, run the scheduler, and say what to do next.",
        run=standalone,
        arguments=(IDLE_EXIT, PID),
    ),
    Command(
        name="status",
        help="Whether a scheduler runs, and what there is to do; exit code 1 if none runs.",
        run=status,
        arguments=(OUTPUT,),
    ),
    Command(
        name="stop",
        help="End the scheduler of this home, on this machine.",
        run=stop,
        arguments=(argument("--timeout", type=NUMBER, metavar="SECONDS", help="How long to wait for its end."),),
    ),
    Command(
        name="jobs list",
        help="The processes of nbflow.",
        run=list_jobs,
        arguments=(
            OUTPUT,
            argument(
                "--state", choices=("running", "success", "failed"), help="Only those that run, ended, or were lost."
            ),
            argument("--limit", type=WHOLE, default=100, help="At most so many (100)."),
        ),
    ),
    Command(
        name="jobs check",
        help="Whether a process of nbflow is alive; exit code 1 if none is.",
        run=check_jobs,
        arguments=(
            argument("--job-type", choices=(*_TYPES, *sorted(set(_TYPES.values()))), help="Only of this kind."),
            argument("--hostname", metavar="NAME", help="Only on this machine."),
            switch("--local", help="Only on this very machine."),
            switch("--allow-multiple", help="More than one is fine too."),
            argument("--limit", type=WHOLE, help="Look at so many."),
        ),
    ),
)
