"""What makes runs of a DAG, and what changes those that are there."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from nbflow.arguments import BACKFILL, DAG, DATE, INTEGER, JSON, UsageError, Values, argument, switch
from nbflow.commands.base import Command, Preview, Result, Row
from nbflow.commands.conf import conf_of
from nbflow.commands.dags import CONF, DAG_ID, PARAM
from nbflow.commands.way_out import told

if TYPE_CHECKING:
    from nbflow.commands.context import Context
    from nbflow.core.backfill import BackfillPlan
    from nbflow.core.snapshot import Run
    from nbflow.store.base import DagVersion

# ------------------------------------------------------------------------------------------------------------- trigger


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
        warnings=tuple(_held_up(context, version, run)),
    )


def _held_up(context: Context, version: DagVersion, run: Run) -> list[str]:
    """What keeps a new run from starting."""
    waits = context.operations.why(run.key).values()
    held = next((wait for wait in waits if wait.kind in ("paused", "no_scheduler")), None)
    warnings = [] if held is None else [told(held, context.surface)]
    row = context.store.dag(version.dag_id)
    if row is not None and row.stale and version.origin != "kernel":
        warnings.append(
            f"{version.fileloc} does not define DAG {version.dag_id} any more: the run takes what it last said."
        )
    return warnings


# ------------------------------------------------------------------------------------------------------------ backfill


def planned(context: Context, args: Values) -> BackfillPlan:
    """Exactly the runs that ``backfill create`` makes."""
    asked = _asked(context, args)
    return context.operations.plan_backfill(**asked)


def _asked(context: Context, args: Values) -> dict[str, Any]:
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


def _entries(dag_id: str, plan: BackfillPlan) -> tuple[Row, ...]:
    return tuple(
        {"dag_id": dag_id, "run_id": entry.run_id, "logical_date": entry.logical_date} for entry in plan.to_run
    )


def _backfill_preview(context: Context, args: Values) -> Preview:
    plan = planned(context, args)
    return Preview(text=f"{len(plan.to_run)} runs would be made.", items=_entries(args.dag_id, plan))


def _backfill(context: Context, args: Values) -> Result:
    made = context.operations.backfill(
        **_asked(context, args), max_active_runs=args.max_active_runs, conf=conf_of(args)
    )
    text = f"Backfill {made.backfill_id} of {made.dag_id} has {len(made.plan.to_run)} runs."
    return Result(text=text, rows=_entries(made.dag_id, made.plan), value=made)


def _as_create(context: Context, args: Values) -> Values:
    """Airflow 2's ``dags backfill`` in the words of ``backfill create``. One date alone is a range of that date."""
    from nbflow.core.backfill import Reprocess

    first, last = args.start_date or args.end_date, args.end_date or args.start_date
    if first is None:
        raise UsageError("nbflow dags backfill: which dates?", hint="Say -s DATE, or -e DATE, or both.")
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


def planned_old(context: Context, args: Values) -> BackfillPlan:
    """Exactly the runs that ``dags backfill`` makes."""
    return planned(context, _as_create(context, args))


def _old_preview(context: Context, args: Values) -> Preview:
    return _backfill_preview(context, _as_create(context, args))


def _old_question(context: Context, args: Values, preview: Preview | None) -> str:
    if not args.reset_dagruns:
        return ""
    again = sum(entry.reset for entry in planned_old(context, args).entries)
    return f"Run {again} finished runs of {args.dag_id} again?" if again else ""


def _old_backfill(context: Context, args: Values) -> Result:
    return _backfill(context, _as_create(context, args))


def _over(context: Context, args: Values) -> list[str]:
    row = context.operations.find_backfill(args.backfill_id)
    over = row.state in ("cancelled", "completed")
    return [f"Backfill {row.backfill_id} is {row.state} already."] if over else []


def _pause_backfill(paused: bool, context: Context, args: Values) -> Result:
    context.operations.set_backfill_paused(args.backfill_id, paused)
    text = "is paused: it starts no more runs." if paused else "goes on."
    return Result(text=f"Backfill {args.backfill_id} {text}", value="paused" if paused else "running")


def _cancel_backfill(context: Context, args: Values) -> Result:
    count = context.operations.cancel_backfill(args.backfill_id)
    text = f"Backfill {args.backfill_id} was cancelled: {count} runs will not start; those that run come to their end."
    return Result(text=text, value="cancelled")


def _cancel_preview(context: Context, args: Values) -> Preview:
    waiting = context.operations.unstarted_runs(args.backfill_id)
    items = tuple({"dag_id": run.dag_id, "run_id": run.run_id} for run in waiting)
    return Preview(text=f"{len(items)} runs of backfill {args.backfill_id} would not start.", items=items)


NUMBER = argument("backfill_id", type=BACKFILL, metavar="BACKFILL", help="Number of the backfill.")

COMMANDS = (
    Command(
        name="dags trigger",
        magic="%dag run",
        help="Start a run now; a scheduler runs it.",
        permission="runs.create",
        changes=True,
        arguments=(
            DAG_ID,
            *CONF,
            argument(
                "--date",
                "-l",
                "-e",
                "--logical-date",
                "--exec-date",
                name="logical_date",
                type=DATE,
                help="Its logical date (default: now).",
            ),
            argument("-r", "--run-id", metavar="ID", help="Its id (default: made from the date)."),
        ),
        example="sales -p rows=10",
        run=_trigger,
    ),
    Command(
        name="dags test",
        magic="%dag test",
        help="Run a DAG once, here, in this process: breakpoints work.",
        permission="runs.create",
        changes=True,
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
                help="Its logical date (default: now).",
            ),
            *CONF,
        ),
        example="sales --date 2024-01-31",
    ),
    Command(
        name="backfill create",
        magic="%dag backfill",
        help="Make the runs of past intervals; a scheduler runs them.",
        permission="runs.create",
        changes=True,
        arguments=(
            argument("dag_id", "-d", "--dag-id", type=DAG, metavar="DAG_ID", help="Id of the DAG."),
            argument("from_date", "--from-date", type=DATE, metavar="FROM", help="First logical date."),
            argument(
                "to_date",
                "--to-date",
                type=DATE,
                required=False,
                metavar="TO",
                help="Last logical date, included (default: the first).",
            ),
            argument(
                "--reprocess",
                "--reprocess-behavior",
                choices=("none", "failed", "completed"),
                default="none",
                help="Which finished runs to run again (default: none).",
            ),
            switch("--dry-run", help="Only show the runs that it would make."),
            switch("--backwards", "--run-backwards", name="run_backwards", help="Newest first."),
            argument("--max-active-runs", type=INTEGER, default=10, help="Most runs at once (default: 10)."),
            PARAM,
            argument("-c", "--conf", "--dag-run-conf", type=JSON, help="Values for the runs: a JSON object."),
        ),
        example="sales 2024-01-01 2024-01-31 --dry-run",
        run=_backfill,
        preview=_backfill_preview,
    ),
    Command(
        name="dags backfill",
        help="Run a range of dates and wait for their end (Airflow 2's spelling of backfill create).",
        permission="runs.create",
        changes=True,
        arguments=(
            DAG_ID,
            argument("-s", "--start-date", type=DATE, help="First logical date."),
            argument("-e", "--end-date", type=DATE, help="Last logical date."),
            *CONF,
            switch("-n", "--dry-run", help="Only show the runs that it would make."),
            switch("--reset-dagruns", help="Run finished runs again too."),
            switch("--rerun-failed-tasks", help="Run failed runs again too."),
            switch("-B", "--run-backwards", help="Newest first."),
        ),
        example="sales -s 2024-01-01 -e 2024-01-31",
        run=_old_backfill,
        preview=_old_preview,
        confirmation=_old_question,
    ),
    Command(
        name="backfill list",
        help="The backfills there were.",
        permission="dags.read",
        arguments=(
            argument("dag_id", type=DAG, required=False, metavar="DAG_ID", help="Only of this DAG."),
            switch("--active", help="Only those that are not over."),
        ),
        example="sales",
    ),
    Command(
        name="backfill pause",
        help="Start no more runs of a backfill for now.",
        permission="runs.edit",
        changes=True,
        arguments=(NUMBER,),
        example="1",
        run=partial(_pause_backfill, True),
        refusals=_over,
    ),
    Command(
        name="backfill unpause",
        help="Go on with a paused backfill.",
        permission="runs.edit",
        changes=True,
        arguments=(NUMBER,),
        example="1",
        run=partial(_pause_backfill, False),
        refusals=_over,
    ),
    Command(
        name="backfill cancel",
        help="Start no more runs of a backfill, for good.",
        permission="runs.edit",
        changes=True,
        arguments=(NUMBER,),
        example="1",
        run=_cancel_backfill,
        preview=_cancel_preview,
        refusals=_over,
    ),
)
