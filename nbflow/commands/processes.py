"""Commands on the processes of a home: schedulers, JupyterLab with a scheduler, jobs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nbflow.command_arguments import INTEGER, NUMBER, WHOLE, Values, argument, switch
from nbflow.commands.base import Audit, Command, Preview, Refused, Result
from nbflow.suggested_commands import STOP_SCHEDULER

if TYPE_CHECKING:
    from nbflow.commands.context import Context
    from nbflow.store.base import Job


def _start(context: Context, args: Values) -> Result:
    from nbflow.services import schedulers

    scheduler = schedulers.ensure(context.app)
    prefix = "Started" if scheduler.started else "Already running"
    return Result(text=f"{prefix}: {schedulers.describe(scheduler.job)}.", value=scheduler.job)


def _stop(context: Context, args: Values) -> Result:
    from nbflow.services import schedulers

    stopped = schedulers.stop(context.app, seconds=args.timeout)
    pids = ", ".join(f"pid {job.pid}" for job in stopped.ended)
    return Result(
        text=f"Stopped: {pids}." if pids else "No scheduler is running on this machine.",
        rows=tuple(map(_row, stopped.ended)),
        value=next(iter(stopped.ended), None),
        warnings=tuple(
            f"Another scheduler runs on {job.hostname} (pid {job.pid}): stop it on that machine."
            for job in stopped.on_other_hosts
        ),
    )


def _refuse_other_host(context: Context, args: Values) -> list[Refused]:
    local, other = _running(context)
    if local or not other:
        return []
    return [
        Refused(
            f"The scheduler runs on {other[0].hostname} (pid {other[0].pid}).",
            hint=f"Stop it on that machine with: {STOP_SCHEDULER}",
            suggestions=(STOP_SCHEDULER,),
        )
    ]


def _running(context: Context) -> tuple[list[Job], list[Job]]:
    """The running schedulers of this host, and those of other hosts."""
    from nbflow.services import schedulers

    jobs = schedulers.running_schedulers(context.store, context.settings, context.now())
    local = [job for job in jobs if schedulers.is_local(job)]
    return local, [job for job in jobs if job not in local]


def _stop_preview(context: Context, args: Values) -> Preview:
    local, _ = _running(context)
    return Preview(text=f"{len(local)} schedulers would be stopped.", items=tuple(map(_row, local)))


def _row(job: Job) -> dict[str, object]:
    return {"pid": job.pid, "hostname": job.hostname}


JOB_TYPES = {
    "SchedulerJob": "scheduler",
    "DagProcessorJob": "scheduler",
    "BackfillJob": "scheduler",
    "TriggererJob": "triggerer",
    "LocalTaskJob": "worker",
}
"""Airflow's job type -> nbflow's job type. The scheduler process also parses DAG files and runs backfills."""


def _listing_jobs(name: str) -> Command:
    return Command(
        name=name,
        help="List the processes of nbflow, newest first.",
        permission="jobs.read",
        arguments=(
            argument(
                "--state",
                choices=("running", "success", "failed"),
                help="Only jobs in this state; failed: the heartbeat stopped.",
            ),
            argument("--limit", type=WHOLE, default=100, help="Maximum number of jobs (default: 100)."),
        ),
        example="--state running",
    )


COMMANDS = (
    Command(
        name="status",
        magic="%nbflow status",
        help="Show whether a scheduler is running, and the active runs.",
        permission="dags.read",
    ),
    Command(
        name="scheduler",
        magic="%nbflow start",
        help="Run the scheduler: it parses DAG files, schedules runs and executes tasks.",
        permission="scheduler.control",
        changes=True,
        audit=Audit.NOBODY,
        run=_start,
    ),
    Command(
        name="stop",
        magic="%nbflow stop",
        help="Stop the schedulers of this home on this machine.",
        permission="scheduler.control",
        changes=True,
        audit=Audit.COMMAND,
        arguments=(
            argument("--timeout", type=NUMBER, metavar="SECONDS", help="Seconds to wait until it has stopped."),
        ),
        run=_stop,
        preview=_stop_preview,
        refusals=_refuse_other_host,
    ),
    Command(
        name="standalone",
        help="Create the home if needed, run the scheduler, and show next steps.",
        permission="scheduler.control",
        changes=True,
        audit=Audit.NOBODY,
    ),
    Command(
        name="lab",
        help="Run JupyterLab and a scheduler; the scheduler stops with JupyterLab.",
        permission="scheduler.control",
        changes=True,
        audit=Audit.NOBODY,
        arguments=(
            argument("--port", type=INTEGER, help="Port of JupyterLab (default: 8888)."),
            switch("--no-browser", help="Do not open a browser."),
            argument("jupyter", repeated=True, metavar="-- ARGUMENT", help="Arguments passed to JupyterLab."),
        ),
    ),
    _listing_jobs("jobs list"),
    _listing_jobs("dags list-jobs"),
    Command(
        name="jobs check",
        help="Check that a process of nbflow is alive; exit code 1 if none is.",
        permission="jobs.read",
        arguments=(
            argument(
                "--job-type", choices=(*JOB_TYPES, *sorted(set(JOB_TYPES.values()))), help="Only jobs of this type."
            ),
            argument("--hostname", metavar="NAME", help="Only jobs on this host."),
            switch("--local", help="Only jobs on the local host."),
            switch("--allow-multiple", help="Accept more than one live job."),
            argument("--limit", type=WHOLE, help="Maximum number of jobs to count."),
        ),
        example="--job-type SchedulerJob --local",
    ),
)
