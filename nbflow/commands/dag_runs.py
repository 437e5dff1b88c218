"""Commands that create a run of a DAG."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nbflow.command_arguments import DATE, Values, argument
from nbflow.commands.base import Audit, Command, Result
from nbflow.commands.options import CONF, DAG_ID, LOGICAL_DATE_HELP, PARAM
from nbflow.commands.run_conf import conf_of
from nbflow.commands.surface_syntax import text_on

if TYPE_CHECKING:
    from nbflow.commands.context import Context
    from nbflow.core.snapshot import Run
    from nbflow.store.base import DagVersion


def _trigger(context: Context, args: Values) -> Result:
    logical_date = context.date(args.logical_date)
    version = context.dags.version(args.dag_id)
    run = context.dags.operations_on(version).trigger(
        version.dag_id,
        run_id=args.run_id,
        logical_date=logical_date,
        conf=conf_of(args),
        version=version.number,
    )
    return Result(
        text=f"Run {run.run_id} of {run.dag_id} is queued.",
        rows=({"dag_id": run.dag_id, "run_id": run.run_id, "logical_date": run.logical_date, "state": run.state},),
        value=run,
        warnings=tuple(_trigger_warnings(context, version, run)),
    )


def _trigger_warnings(context: Context, version: DagVersion, run: Run) -> list[str]:
    """Warnings that the new run does not start now, or that its DAG is stale."""
    reasons = context.operations.why(run.key).values()
    blocking = next((reason for reason in reasons if reason.kind in ("paused", "no_scheduler")), None)
    warnings = [] if blocking is None else [text_on(context.surface, blocking)]
    row = context.store.dag(version.dag_id)
    if row is not None and row.stale and version.origin != "kernel":
        warnings.append(
            f"{version.fileloc} does not define DAG {version.dag_id} anymore: the run uses its last version."
        )
    return warnings


COMMANDS = (
    Command(
        name="dags trigger",
        magic="%dag run",
        help="Create a run of a DAG; a scheduler starts it.",
        permission="runs.create",
        changes=True,
        operation="trigger",
        arguments=(
            DAG_ID,
            PARAM,
            CONF,
            argument(
                "--date",
                "-l",
                "-e",
                "--logical-date",
                "--exec-date",
                name="logical_date",
                type=DATE,
                help=LOGICAL_DATE_HELP,
            ),
            argument("-r", "--run-id", metavar="ID", help="Id of the run (default: derived from the logical date)."),
        ),
        example="sales -p rows=10",
        run=_trigger,
    ),
    Command(
        name="dags test",
        magic="%dag test",
        help="Run a DAG once in this process, so that breakpoints work.",
        permission="runs.create",
        changes=True,
        audit=Audit.COMMAND,
        arguments=(
            DAG_ID,
            argument(
                "logical_date",
                "--date",
                "--exec-date",
                "--execution-date",
                type=DATE,
                required=False,
                metavar="DATE",
                help=LOGICAL_DATE_HELP,
            ),
            PARAM,
            CONF,
        ),
        example="sales --date 2024-01-31",
    ),
)
