"""Commands that create a backfill, and that pause or cancel it."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from nbflow.command_arguments import BACKFILL, DAG, DATE, INTEGER, JSON, UsageError, Values, argument, switch
from nbflow.commands.base import Command, Preview, Refused, Result, Row
from nbflow.commands.options import CONF, DAG_ID, DAG_ID_OR_FLAG, PARAM
from nbflow.commands.run_conf import conf_of

if TYPE_CHECKING:
    from nbflow.commands.context import Context
    from nbflow.core.backfill import BackfillPlan


def backfill_plan(context: Context, args: Values) -> BackfillPlan:
    """The plan of ``backfill create``, which creates exactly its runs."""
    return context.operations.plan_backfill(**_plan_arguments(context, args))


def _plan_arguments(context: Context, args: Values) -> dict[str, Any]:
    start, end = context.date(args.from_date), context.date(args.to_date or args.from_date)
    assert start is not None
    assert end is not None
    version = context.dags.version(args.dag_id)
    return {
        "dag_id": version.dag_id,
        "from_date": start,
        "to_date": end,
        "reprocess": args.reprocess,
        "run_backwards": args.run_backwards,
        "version": version.number,
    }


def _plan_rows(dag_id: str, plan: BackfillPlan) -> tuple[Row, ...]:
    return tuple(
        {"dag_id": dag_id, "run_id": entry.run_id, "logical_date": entry.logical_date} for entry in plan.to_run
    )


def _backfill_preview(context: Context, args: Values) -> Preview:
    plan = backfill_plan(context, args)
    return Preview(text=f"{len(plan.to_run)} runs would be created.", items=_plan_rows(args.dag_id, plan))


def _backfill(context: Context, args: Values) -> Result:
    backfill = context.operations.backfill(
        **_plan_arguments(context, args), max_active_runs=args.max_active_runs, conf=conf_of(args)
    )
    text = f"Backfill {backfill.backfill_id} of DAG {backfill.dag_id} has {len(backfill.plan.to_run)} runs."
    return Result(text=text, rows=_plan_rows(backfill.dag_id, backfill.plan), value=backfill)


def _as_backfill_create(context: Context, args: Values) -> Values:
    """The arguments of Airflow 2's ``dags backfill`` as those of ``backfill create``. A single date is a range of one
    date."""
    from nbflow.core.backfill import Reprocess

    first, last = args.start_date or args.end_date, args.end_date or args.start_date
    if first is None:
        raise UsageError("nbflow dags backfill: no date.", hint="Pass -s DATE, -e DATE or both.")
    reprocess = Reprocess.FAILED if args.rerun_failed_tasks else Reprocess.NONE
    return Values(
        dag_id=args.dag_id,
        from_date=first,
        to_date=last,
        reprocess=Reprocess.COMPLETED if args.reset_dagruns else reprocess,
        run_backwards=args.run_backwards,
        max_active_runs=10,
        conf=args.conf,
        param=args.param,
    )


def airflow_2_backfill_plan(context: Context, args: Values) -> BackfillPlan:
    """The plan of ``dags backfill``, which creates exactly its runs."""
    return backfill_plan(context, _as_backfill_create(context, args))


def _airflow_2_backfill_preview(context: Context, args: Values) -> Preview:
    return _backfill_preview(context, _as_backfill_create(context, args))


def _airflow_2_backfill_question(context: Context, args: Values, preview: Preview | None) -> str:
    if not args.reset_dagruns:
        return ""
    count = sum(entry.reset for entry in airflow_2_backfill_plan(context, args).entries)
    return f"Run {count} finished runs of DAG {args.dag_id} again?" if count else ""


def _airflow_2_backfill(context: Context, args: Values) -> Result:
    return _backfill(context, _as_backfill_create(context, args))


def _refuse_finished_backfill(context: Context, args: Values) -> list[Refused]:
    row = context.operations.find_backfill(args.backfill_id)
    finished = row.state in ("cancelled", "completed")
    return [Refused(f"Backfill {row.backfill_id} is already {row.state}.")] if finished else []


def _pause_backfill(paused: bool, context: Context, args: Values) -> Result:
    context.operations.set_backfill_paused(args.backfill_id, paused)
    text = "is paused: no more of its runs start." if paused else "is unpaused."
    return Result(text=f"Backfill {args.backfill_id} {text}", value="paused" if paused else "running")


def _cancel_backfill(context: Context, args: Values) -> Result:
    rows = _cancel_preview(context, args).items
    count = context.operations.cancel_backfill(args.backfill_id)
    text = f"Backfill {args.backfill_id} was cancelled: {count} runs will not start; running runs will finish."
    return Result(text=text, rows=rows, value="cancelled")


def _cancel_preview(context: Context, args: Values) -> Preview:
    unstarted = context.operations.unstarted_runs(args.backfill_id)
    items = tuple({"dag_id": run.dag_id, "run_id": run.run_id} for run in unstarted)
    return Preview(text=f"{len(items)} runs of backfill {args.backfill_id} would not start.", items=items)


BACKFILL_ID = argument("backfill_id", type=BACKFILL, metavar="BACKFILL", help="Id of the backfill.")
DRY_RUN_HELP = "Only list the runs that would be created."
BACKWARDS_HELP = "Run the newest logical date first."


def _pausing_backfill(verb: str, *, paused: bool, help: str) -> Command:
    return Command(
        name=f"backfill {verb}",
        help=help,
        permission="runs.edit",
        changes=True,
        operation=f"{verb}_backfill",
        arguments=(BACKFILL_ID,),
        example="1",
        run=partial(_pause_backfill, paused),
        refusals=_refuse_finished_backfill,
    )


COMMANDS = (
    Command(
        name="backfill create",
        magic="%dag backfill",
        help="Create the runs of past data intervals; a scheduler starts them.",
        permission="runs.create",
        changes=True,
        operation="backfill",
        arguments=(
            DAG_ID_OR_FLAG,
            argument("from_date", "--from-date", type=DATE, metavar="FROM", help="First logical date."),
            argument(
                "to_date",
                "--to-date",
                type=DATE,
                required=False,
                metavar="TO",
                help="Last logical date, inclusive (default: FROM).",
            ),
            argument(
                "--reprocess",
                "--reprocess-behavior",
                choices=("none", "failed", "completed"),
                default="none",
                help="Existing runs to run again: failed runs, or all finished runs (default: none).",
            ),
            switch("--dry-run", help=DRY_RUN_HELP),
            switch("--backwards", "--run-backwards", name="run_backwards", help=BACKWARDS_HELP),
            argument(
                "--max-active-runs", type=INTEGER, default=10, help="Maximum number of runs at once (default: 10)."
            ),
            PARAM,
            argument("-c", "--conf", "--dag-run-conf", type=JSON, help=CONF.help),
        ),
        example="sales 2024-01-01 2024-01-31 --dry-run",
        run=_backfill,
        preview=_backfill_preview,
    ),
    Command(
        name="dags backfill",
        help="Backfill a range of dates and wait until it ends (the command of Airflow 2).",
        permission="runs.create",
        changes=True,
        operation="backfill",
        arguments=(
            DAG_ID,
            argument("-s", "--start-date", type=DATE, help="First logical date."),
            argument("-e", "--end-date", type=DATE, help="Last logical date, inclusive."),
            PARAM,
            CONF,
            switch("-n", "--dry-run", help=DRY_RUN_HELP),
            switch("--reset-dagruns", help="Also run finished runs again."),
            switch("--rerun-failed-tasks", help="Also run failed runs again."),
            switch("-B", "--run-backwards", help=BACKWARDS_HELP),
        ),
        example="sales -s 2024-01-01 -e 2024-01-31",
        run=_airflow_2_backfill,
        preview=_airflow_2_backfill_preview,
        confirmation=_airflow_2_backfill_question,
    ),
    Command(
        name="backfill list",
        help="List backfills, oldest first.",
        permission="dags.read",
        arguments=(
            argument("dag_id", type=DAG, required=False, metavar="DAG_ID", help="Id of the DAG (default: all DAGs)."),
            switch("--active", help="Only unfinished backfills."),
        ),
        example="sales",
    ),
    _pausing_backfill("pause", paused=True, help="Pause a backfill: start no more of its runs."),
    _pausing_backfill("unpause", paused=False, help="Unpause a backfill."),
    Command(
        name="backfill cancel",
        help="Cancel a backfill: its queued runs never start.",
        permission="runs.edit",
        changes=True,
        operation="cancel_backfill",
        arguments=(BACKFILL_ID,),
        example="1",
        run=_cancel_backfill,
        preview=_cancel_preview,
        refusals=_refuse_finished_backfill,
    ),
)
