"""scheduler, standalone, status, stop, jobs: the processes of nbflow."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from nbflow.cli import find_dag, output
from nbflow.cli.invocation import Call
from nbflow.cli.terminal_command import OUTPUT, terminal_command
from nbflow.command_arguments import FILE, NUMBER, argument, switch
from nbflow.commands.processes import JOB_TYPES
from nbflow.errors import NbflowError
from nbflow.suggested_commands import START_SCHEDULER, suggest

# ----------------------------------------------------------------------------------------------------------- scheduler


def scheduler(call: Call) -> int:
    if call.args.daemon:
        return _in_background(call)
    _serve(call, on_ready=lambda: None)
    return 0


def standalone(call: Call) -> int:
    from nbflow.config import prepare_home

    prepare_home(call.settings)
    settings = call.settings

    def print_next_steps() -> None:
        dags = call.app.store.dags()
        paused = [row.dag_id for row in dags if row.paused]
        output.note(f"Home        {settings.home}")
        output.note(f"DAG files   {settings.core.dags_folder}: {len(dags)} DAGs, {len(paused)} paused")
        for error in call.app.store.import_errors():
            output.warn(f"{find_dag.position_of(error.fileloc, error.line, error.cell)}: {error.error}")
        if paused:
            output.note(f"Next        {suggest('dags unpause', paused[0])}")
        output.note("Notebooks   %load_ext nbflow\nStop with Ctrl-C.")

    _serve(call, on_ready=print_next_steps)
    return 0


def _serve(call: Call, *, on_ready: Any) -> None:
    from nbflow.cli.inline_runs import level_of, logging_to_stderr
    from nbflow.services.scheduler_process import serve

    args, settings = call.args, call.settings
    with logging_to_stderr(level_of(call)), _pid_file(call) as write_pid:

        def ready() -> None:
            write_pid()
            output.note(f"nbflow scheduler is ready (pid {os.getpid()}, {settings.core.executor}).")
            on_ready()

        serve(call.app, idle_minutes=args.idle_exit, on_ready=ready)
        output.note("nbflow scheduler has stopped.")


@contextlib.contextmanager
def _pid_file(call: Call) -> Iterator[Any]:
    """Yields a function that writes the pid file. The file is removed at the end if it still contains this pid."""
    path = Path(call.args.pid) if call.args.pid else call.settings.home / "scheduler.pid"
    try:
        yield lambda: path.write_text(f"{os.getpid()}\n", encoding="ascii")
    finally:
        with contextlib.suppress(OSError, ValueError):
            if int(path.read_text(encoding="ascii")) == os.getpid():
                path.unlink()


def _in_background(call: Call) -> int:
    """Start a scheduler that outlives this command, and wait until it is ready."""
    from nbflow.services import schedulers

    args = call.args
    log = Path(args.log_file).absolute() if args.log_file else schedulers.log_path(call.settings)
    options = ["--idle-exit", f"{args.idle_exit:g}"] if args.idle_exit is not None else []
    options += ["--pid", os.path.abspath(args.pid)] if args.pid else []
    job = schedulers.start(call.app, options, log=log)
    print(f"Started the scheduler (pid {job.pid}). Log: {log}")
    return 0


# ------------------------------------------------------------------------------------------------------------- looking


STATUS_FIELDS = (
    "metastore",
    "home",
    "dags",
    "import_errors",
    "queued_runs",
    "running_runs",
    "running_tasks",
    "next_run",
)


def status(call: Call) -> int:
    from nbflow.views.status import StatusQuery

    view = call.fetch(StatusQuery())
    first = next(iter(view.schedulers), None)
    scheduler = "not running" if first is None else f"running (pid {first.pid} on {first.hostname})"
    head = {"scheduler": scheduler, "schedulers": len(view.schedulers)}
    call.show_one(head | output.fields_of(view, STATUS_FIELDS))
    for line in view.runs_set_aside:
        output.note(line)
    if first is None:
        output.note(f"Start one with: {START_SCHEDULER}")
    return 1 if first is None else 0


# ---------------------------------------------------------------------------------------------------------------- jobs

JOB_COLUMNS = ("job_id", "job_type", "state", "hostname", "pid", "start_date", "end_date", "latest_heartbeat")


def list_jobs(call: Call) -> None:
    """Print the jobs in the metastore, newest first."""
    from nbflow.views.jobs import JobsQuery

    state, limit = call.args.state, call.args.limit
    rows = [row for row in call.fetch(JobsQuery(limit=limit)).rows if state in (None, row.state)]
    call.show([output.fields_of(row, JOB_COLUMNS) for row in rows], empty="No jobs.", columns=JOB_COLUMNS)


def check_jobs(call: Call) -> int:
    """Check that exactly one matching job is alive, or with ``--allow-multiple`` at least one."""
    from nbflow.services.schedulers import state_of

    args, now = call.args, call.now()
    kind = JOB_TYPES.get(args.job_type, args.job_type) if args.job_type else None
    host = socket.gethostname() if args.local else args.hostname
    jobs = [job for job in call.app.store.jobs(kind) if host in (None, job.hostname)]
    jobs = [job for job in jobs if state_of(job, call.settings, now) == "running"][: args.limit or None]
    if not jobs:
        raise NbflowError("No alive jobs found.")
    if len(jobs) > 1 and not args.allow_multiple:
        raise NbflowError(
            f"Found {len(jobs)} alive jobs. Expected only one.", hint="Pass --allow-multiple to accept several."
        )
    print("Found one alive job." if len(jobs) == 1 else f"Found {len(jobs)} alive jobs.")
    return 0


IDLE_EXIT = argument(
    "--idle-exit",
    type=NUMBER,
    metavar="MINUTES",
    help="Stop after this many idle minutes, unless an unpaused DAG has a schedule.",
)
PID = argument("--pid", type=FILE, help="File for the process id (default: {home}/scheduler.pid).")

COMMANDS = (
    terminal_command(
        "scheduler",
        IDLE_EXIT,
        PID,
        switch("-D", "--daemon", help="Run in the background; return when the scheduler is ready."),
        argument("-l", "--log-file", type=FILE, help="Log file with -D (default: {home}/logs/scheduler.log)."),
        switch("-s", "--skip-serve-logs", help="Ignored: logs are files and are not served."),
        change=scheduler,
        waits=True,
    ),
    terminal_command("standalone", IDLE_EXIT, PID, change=standalone, waits=True),
    terminal_command("status", OUTPUT, run=status, epilog="Exit code 1 if no scheduler is running."),
    terminal_command("stop"),
    terminal_command("jobs list", OUTPUT, run=list_jobs),
    terminal_command("jobs check", run=check_jobs),
)
