"""Commands on the scheduler of a home: status, start, stop."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nbflow.command_arguments import NUMBER, Values, argument
from nbflow.commands.base import Command, Preview, Refused, Result
from nbflow.suggestions import STOP_SCHEDULER

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
    if stopped.on_other_hosts and not stopped.ended:
        remote = stopped.on_other_hosts[0]
        raise Refused(
            f"The scheduler runs on {remote.hostname} (pid {remote.pid}).",
            hint=f"Stop it on that machine with: {STOP_SCHEDULER}",
            suggestions=(STOP_SCHEDULER,),
        )
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


def _stop_preview(context: Context, args: Values) -> Preview:
    from nbflow.services import schedulers

    jobs = schedulers.running_schedulers(context.store, context.settings, context.now())
    local = [job for job in jobs if schedulers.is_local(job)]
    return Preview(text=f"{len(local)} schedulers would be stopped.", items=tuple(map(_row, local)))


def _row(job: Job) -> dict[str, object]:
    return {"pid": job.pid, "hostname": job.hostname}


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
        run=_start,
    ),
    Command(
        name="stop",
        magic="%nbflow stop",
        help="Stop the schedulers of this home on this machine.",
        permission="scheduler.control",
        changes=True,
        arguments=(
            argument("--timeout", type=NUMBER, metavar="SECONDS", help="Seconds to wait until it has stopped."),
        ),
        run=_stop,
        preview=_stop_preview,
    ),
)
