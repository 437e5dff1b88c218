"""backfill: the runs of past intervals. ``backfill create`` leaves them to the scheduler, as in Airflow 3;
``dags backfill``, Airflow 2's command, waits for their end, and runs them itself where no scheduler is there."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import TYPE_CHECKING, Any

from nbflow.arguments import DAG, INTEGER, argument, switch
from nbflow.cli import find_dag, output
from nbflow.cli.declaring import CONF, DAG_ID, END, OUTPUT, START, SUBDIR_ONLY, YES, Command, declared
from nbflow.cli.invocation import Call, UsageError
from nbflow.commands.conf import conf_of
from nbflow.errors import NbflowError

if TYPE_CHECKING:
    from nbflow.core.backfill import BackfillEntry, BackfillPlan, Reprocess
    from nbflow.core.snapshot import Run, RunKey
    from nbflow.store.base import BackfillRow

PLAN_COLUMNS = ("ordinal", "logical_date", "data_interval_start", "data_interval_end", "run_id", "action")


def create(call: Call) -> int:
    args = call.args
    start, end = call.date(args.from_date), call.date(args.to_date or args.from_date)
    assert start is not None
    assert end is not None
    find_dag.stored(call, args.dag_id, None)
    if args.dry_run:
        plan = call.operations.plan_backfill(
            args.dag_id, start, end, reprocess=args.reprocess, run_backwards=args.run_backwards
        )
        _show_plan(call, plan)
        return 0
    made = call.operations.backfill(
        args.dag_id,
        start,
        end,
        reprocess=args.reprocess,
        run_backwards=args.run_backwards,
        max_active_runs=args.max_active_runs,
        conf=conf_of(args),
    )
    assert made.backfill_id is not None
    if not args.wait:
        call.show_one(_made_row(call, made.backfill_id, made.plan))
        if not _scheduler_alive(call):
            output.warn("No scheduler is running. Start one with: nbflow scheduler")
        return 0
    return _await(call, made.backfill_id, made.plan)


def old_backfill(call: Call) -> int:
    args = call.args
    start, end = _range(call)
    stored = find_dag.stored(call, args.dag_id, args.subdir)
    version = stored.number if args.subdir else None
    reprocess = _reprocess(call)
    if args.dry_run:
        plan = call.operations.plan_backfill(
            args.dag_id, start, end, reprocess=reprocess, run_backwards=args.run_backwards, version=version
        )
        _show_plan(call, plan)
        return 0
    if reprocess == "completed" and not _sure_to_reset(call, start, end, reprocess):
        return 1
    made = call.operations.backfill(
        args.dag_id,
        start,
        end,
        reprocess=reprocess,
        run_backwards=args.run_backwards,
        conf=args.conf,
        version=version,
    )
    assert made.backfill_id is not None
    return _await(call, made.backfill_id, made.plan)


def _range(call: Call) -> tuple[datetime, datetime]:
    """As in Airflow 2, one date alone is a range of that date."""
    start, end = call.date(call.args.start_date), call.date(call.args.end_date)
    first, last = start or end, end or start
    if first is None or last is None:
        raise UsageError("nbflow dags backfill: which dates?", hint="Say -s DATE, or -e DATE, or both.")
    return first, last


def _reprocess(call: Call) -> Reprocess:
    from nbflow.core.backfill import Reprocess

    args = call.args
    if args.reset_dagruns:
        return Reprocess.COMPLETED
    return Reprocess.FAILED if args.rerun_failed_tasks else Reprocess.NONE


def _sure_to_reset(call: Call, start: datetime, end: datetime, reprocess: Reprocess) -> bool:
    plan = call.operations.plan_backfill(call.args.dag_id, start, end, reprocess=reprocess)
    again = sum(entry.reset for entry in plan.entries)
    return again == 0 or call.sure(f"Run {again} finished runs of {call.args.dag_id} again?")


# --------------------------------------------------------------------------------------------------------- its progress


def _await(call: Call, backfill_id: int, plan: BackfillPlan) -> int:
    """Wait for the runs of a backfill; 0 if all of them succeeded."""
    from nbflow.cli.progress import Progress
    from nbflow.cli.run_here import drive, follow, level_of, logging_to_stderr, results_only
    from nbflow.core.snapshot import RunKey

    keys = [RunKey(call.args.dag_id, entry.run_id) for entry in plan.to_run if entry.run_id is not None]
    try:
        if _scheduler_alive(call):
            with Progress(len(keys), "runs") as progress:
                runs = follow(call.app, keys, progress, lambda: _scheduler_alive(call))
        else:
            output.say("No scheduler is running: the runs go in this process.")
            level = level_of(call) if call.args.verbose else "WARNING"
            with results_only(), Progress(len(keys), "runs") as progress, logging_to_stderr(level, progress.log):
                runs = drive(call.app, keys, progress)
    except KeyboardInterrupt:
        output.say(f"The runs stay. Cancel what has not begun with: nbflow backfill cancel {backfill_id}")
        raise
    _finish(call, backfill_id, keys, runs)
    call.show_one(_made_row(call, backfill_id, plan, runs))
    return 0 if all(run.state == "success" for run in runs) else 1


def _finish(call: Call, backfill_id: int, keys: list[RunKey], runs: Iterable[Run]) -> None:
    for run in runs:
        if run.state == "failed":
            output.warn(f"{run.run_id} failed. See: nbflow tasks states-for-dag-run {run.dag_id} {run.run_id}")


def _scheduler_alive(call: Call) -> bool:
    from nbflow.services.schedulers import find

    return find(call.app) is not None


def _made_row(call: Call, backfill_id: int, plan: BackfillPlan, runs: Iterable[Run] | None = None) -> dict[str, Any]:
    row: dict[str, Any] = {
        "backfill_id": backfill_id,
        "dag_id": call.args.dag_id,
        "runs": len(plan.to_run),
        "left_alone": len(plan.entries) - len(plan.to_run),
    }
    if runs is not None:
        states = [run.state.value for run in runs]
        row |= {word: states.count(word) for word in ("success", "failed")}
    return row


def _show_plan(call: Call, plan: BackfillPlan) -> None:
    call.show(
        [_entry_row(entry) for entry in plan.entries],
        empty="No run: the DAG has no interval in this range that is over.",
        columns=PLAN_COLUMNS,
    )


def _entry_row(entry: BackfillEntry) -> dict[str, Any]:
    action = "run again" if entry.reset else "create"
    return {
        "ordinal": entry.ordinal,
        "logical_date": entry.logical_date,
        "data_interval_start": entry.info.data_interval.start,
        "data_interval_end": entry.info.data_interval.end,
        "run_id": entry.run_id,
        "action": action if entry.not_created_because is None else f"leave alone: {entry.not_created_because}",
    }


# ----------------------------------------------------------------------------------------------------- those that exist

LIST_COLUMNS = ("backfill_id", "dag_id", "state", "from_date", "to_date", "runs", "done", "failed", "created_at")


def list_backfills(call: Call) -> None:
    from nbflow.views.backfills import BackfillsQuery

    view = call.fetch(BackfillsQuery(dag_id=call.args.dag_id, active=call.args.active))
    rows = [output.fields_of(row, LIST_COLUMNS) for row in view.rows]
    call.show(rows, empty="There are no backfills.", columns=LIST_COLUMNS)


def cancel(call: Call) -> None:
    row = _active(call)
    count = call.operations.cancel_backfill(row.backfill_id)
    print(f"Backfill {row.backfill_id} was cancelled: {count} runs will not start; those that run come to their end.")


def pause(call: Call) -> None:
    row = _active(call)
    call.app.store.update_backfill(row.backfill_id, paused=True)
    print(f"Backfill {row.backfill_id} is paused: it starts no more runs.")


def unpause(call: Call) -> None:
    row = _active(call)
    call.app.store.update_backfill(row.backfill_id, paused=False)
    print(f"Backfill {row.backfill_id} goes on.")


def _active(call: Call) -> BackfillRow:
    number = call.args.backfill_id
    row = call.app.store.backfill(number)
    if row is None:
        raise NbflowError(f"There is no backfill {number}.", hint="See: nbflow backfill list.")
    if row.cancelled or row.completed_at is not None:
        from nbflow.views.backfills import state_of

        raise NbflowError(f"Backfill {number} is {state_of(row)} already.")
    return row


NUMBER = argument("backfill_id", type=INTEGER, metavar="BACKFILL", help="Number of the backfill.")

COMMANDS = (
    declared(
        "backfill create",
        switch("--wait", help="Wait for their end; exit code 0 if all succeeded."),
        OUTPUT,
        run=create,
    ),
    Command(
        name="backfill list",
        help="The backfills there were.",
        run=list_backfills,
        arguments=(
            argument("dag_id", required=False, type=DAG, metavar="DAG_ID", help="Only of this DAG."),
            switch("--active", help="Only those that are not over."),
            OUTPUT,
        ),
    ),
    Command(
        name="backfill cancel", help="Start no more runs of a backfill, for good.", run=cancel, arguments=(NUMBER,)
    ),
    Command(name="backfill pause", help="Start no more runs of a backfill for now.", run=pause, arguments=(NUMBER,)),
    Command(name="backfill unpause", help="Go on with a paused backfill.", run=unpause, arguments=(NUMBER,)),
)

DAGS_BACKFILL = Command(
    name="dags backfill",
    help="Run a range of dates and wait for their end (Airflow 2's spelling of backfill create).",
    run=old_backfill,
    arguments=(
        DAG_ID,
        START,
        END,
        CONF,
        switch("-n", "--dry-run", help="Only show the runs that it would make."),
        switch("--reset-dagruns", help="Run finished runs again too."),
        switch("--rerun-failed-tasks", help="Run failed runs again too."),
        switch("-B", "--run-backwards", help="Newest first."),
        switch("--continue-on-failures", help="Accepted: a failed run never holds up the others."),
        switch("-I", "--ignore-first-depends-on-past", help="Accepted: the first run has no past."),
        switch("-x", "--donot-pickle", help="Accepted: nothing is pickled."),
        switch("-l", "--local", help="Accepted: without a scheduler the runs go here."),
        SUBDIR_ONLY,
        YES,
        OUTPUT,
    ),
)
