"""The scheduler of a home: whether it runs, starting it, stopping it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nbflow.arguments import NUMBER, Values, argument
from nbflow.commands.base import Command, Preview, Refused, Result
from nbflow.way_out import way

if TYPE_CHECKING:
    from nbflow.commands.context import Context
    from nbflow.store.base import Job


def _start(context: Context, args: Values) -> Result:
    from nbflow.services import schedulers

    found = schedulers.ensure(context.app)
    said = "Started: " if found.started else "There is one already: "
    return Result(text=f"{said}{schedulers.describe(found.job)}.", value=found.job)


def _stop(context: Context, args: Values) -> Result:
    from nbflow.services import schedulers

    stopped = schedulers.stop(context.app, seconds=args.timeout)
    if stopped.on_other_hosts and not stopped.ended:
        other, stop = stopped.on_other_hosts[0], way("stop")
        raise Refused(
            f"The scheduler runs on {other.hostname} (pid {other.pid}).", hint=f"Stop it there: {stop}", ways=(stop,)
        )
    pids = ", ".join(f"pid {job.pid}" for job in stopped.ended)
    return Result(
        text=f"Stopped: {pids}." if pids else "No scheduler is running on this machine.",
        rows=tuple(map(_row, stopped.ended)),
        value=next(iter(stopped.ended), None),
        warnings=tuple(
            f"A scheduler runs on {job.hostname} (pid {job.pid}): stop it there." for job in stopped.on_other_hosts
        ),
    )


def _stop_preview(context: Context, args: Values) -> Preview:
    from nbflow.services import schedulers

    running = schedulers.running_schedulers(context.store, context.settings, context.now())
    local = [job for job in running if schedulers.is_local(job)]
    return Preview(text=f"{len(local)} schedulers would be stopped.", items=tuple(map(_row, local)))


def _row(job: Job) -> dict[str, object]:
    return {"pid": job.pid, "hostname": job.hostname}


COMMANDS = (
    Command(
        name="status",
        magic="%nbflow status",
        help="Whether a scheduler runs, and what there is to do.",
        permission="dags.read",
    ),
    Command(
        name="scheduler",
        magic="%nbflow start",
        help="Run the scheduler, its executor and the reading of DAG files.",
        permission="scheduler.control",
        changes=True,
        run=_start,
    ),
    Command(
        name="stop",
        magic="%nbflow stop",
        help="Stop the scheduler of this home, on this machine.",
        permission="scheduler.control",
        changes=True,
        arguments=(argument("--timeout", type=NUMBER, metavar="SECONDS", help="How long to wait for its end."),),
        run=_stop,
        preview=_stop_preview,
    ),
)
