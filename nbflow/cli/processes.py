"""scheduler, standalone, status, stop, jobs: the processes of nbflow."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from nbflow.arguments import FILE, NUMBER, WHOLE, argument, switch
from nbflow.cli import find_dag, output
from nbflow.cli.declaring import OUTPUT, Command, declared
from nbflow.cli.invocation import Call
from nbflow.errors import NbflowError
from nbflow.way_out import START_SCHEDULER, way

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
            output.say(f"Go on with  {way('dags unpause', paused[0])}")
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
    from nbflow.services import schedulers

    args = call.args
    log = Path(args.log_file).absolute() if args.log_file else schedulers.log_path(call.settings)
    options = ["--idle-exit", f"{args.idle_exit:g}"] if args.idle_exit is not None else []
    options += ["--pid", os.path.abspath(args.pid)] if args.pid else []
    job = schedulers.start(call.app, options, log=log)
    print(f"nbflow scheduler runs (pid {job.pid}); its log is {log}.")
    return 0


# ------------------------------------------------------------------------------------------------------------- looking


def status(call: Call) -> int:
    from nbflow.core.states import RunState
    from nbflow.services.schedulers import running_schedulers

    store = call.app.store
    schedulers = running_schedulers(store, call.settings, call.now())
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
        output.say(f"Start one with: {START_SCHEDULER}")
    return 0 if schedulers else 1


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
    from nbflow.views.jobs import JobsQuery

    rows = [row for row in call.fetch(JobsQuery(limit=limit)).rows if state in (None, row.state)]
    call.show([output.fields_of(row, JOB_COLUMNS) for row in rows], empty="There are no jobs.", columns=JOB_COLUMNS)


def check_jobs(call: Call) -> int:
    """Whether exactly one process (or, with --allow-multiple, any number) of a kind is alive."""
    from nbflow.services.schedulers import state_of

    args, now = call.args, call.now()
    kind = _TYPES.get(args.job_type, args.job_type) if args.job_type else None
    host = socket.gethostname() if args.local else args.hostname
    jobs = [job for job in call.app.store.jobs(kind) if host in (None, job.hostname)]
    jobs = [job for job in jobs if state_of(job, call.settings, now) == "running"][: args.limit or None]
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
    declared(
        "scheduler",
        IDLE_EXIT,
        PID,
        switch("-D", "--daemon", help="Start it in the background, and come back when it is there."),
        argument("-l", "--log-file", type=FILE, help="With -D: its log ({home}/logs/scheduler.log)."),
        switch("-s", "--skip-serve-logs", help="Accepted: logs are files, and are not served."),
        run=scheduler,
    ),
    Command(
        name="standalone",
        help="Make the home if need be, run the scheduler, and say what to do next.",
        run=standalone,
        arguments=(IDLE_EXIT, PID),
    ),
    declared("status", OUTPUT, run=status, epilog="Exit code 1 if none runs."),
    declared("stop"),
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
