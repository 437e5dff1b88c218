"""backfill: create, list, pause, cancel; and ``dags backfill``.

``backfill create`` leaves the runs to the scheduler, as in Airflow 3. ``dags backfill``, Airflow 2's command, waits
until the runs have ended, and executes them in this process if no scheduler is running.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from nbflow.cli import output
from nbflow.cli.invocation import Call
from nbflow.cli.terminal_command import OUTPUT, SUBDIR_ONLY, YES, run_and_print, terminal_command
from nbflow.command_arguments import switch
from nbflow.commands import command_named
from nbflow.commands.backfills import airflow_2_backfill_plan, backfill_plan
from nbflow.commands.base import Result
from nbflow.suggested_commands import START_SCHEDULER, suggest

if TYPE_CHECKING:
    from nbflow.core.backfill import BackfillEntry, BackfillPlan
    from nbflow.core.snapshot import Run

PLAN_COLUMNS = ("ordinal", "logical_date", "data_interval_start", "data_interval_end", "run_id", "action")


def create(call: Call) -> int:
    if call.args.dry_run:
        return _show_plan(call, backfill_plan(call.context, call.args))
    return run_and_print(command_named("backfill create"), call, show=_show_created)


def _show_created(call: Call, result: Result) -> int:
    backfill = result.value
    if call.args.wait:
        return _wait(call, backfill.backfill_id, backfill.plan)
    call.show_one(_backfill_row(call, backfill.backfill_id, backfill.plan))
    if not _is_scheduler_running(call):
        output.warn(f"No scheduler is running. Start one with: {START_SCHEDULER}")
    return 0


def airflow_2_backfill(call: Call) -> int:
    if call.args.dry_run:
        return _show_plan(call, airflow_2_backfill_plan(call.context, call.args))
    return run_and_print(
        command_named("dags backfill"),
        call,
        show=lambda call, result: _wait(call, result.value.backfill_id, result.value.plan),
    )


# --------------------------------------------------------------------------------------------------------- progress


def _wait(call: Call, backfill_id: int, plan: BackfillPlan) -> int:
    """Wait until the runs of a backfill have ended. The exit code is 0 if all of them succeeded."""
    from nbflow.cli.inline_runs import execute_runs, level_of, logging_to_stderr, stdout_to_stderr, wait_for_runs
    from nbflow.cli.progress import Progress
    from nbflow.core.snapshot import RunKey

    keys = [RunKey(call.args.dag_id, entry.run_id) for entry in plan.to_run if entry.run_id is not None]
    try:
        if _is_scheduler_running(call):
            with Progress(len(keys), "runs") as progress:
                runs = wait_for_runs(call.app, keys, progress, lambda: _is_scheduler_running(call))
        else:
            output.note("No scheduler is running: the runs are executed in this process.")
            level = level_of(call) if call.args.verbose else "WARNING"
            with stdout_to_stderr(), Progress(len(keys), "runs") as progress, logging_to_stderr(level, progress.log):
                runs = execute_runs(call.app, keys, progress)
    except KeyboardInterrupt:
        cancel = suggest("backfill cancel", str(backfill_id))
        output.note(f"The runs are still in the metastore. Cancel the queued runs with: {cancel}")
        raise
    _warn_of_failures(runs)
    call.show_one(_backfill_row(call, backfill_id, plan, runs))
    return 0 if all(run.state == "success" for run in runs) else 1


def _warn_of_failures(runs: Iterable[Run]) -> None:
    for run in runs:
        if run.state == "failed":
            output.warn(f"{run.run_id} failed. See: {suggest('tasks states-for-dag-run', run.dag_id, run.run_id)}")


def _is_scheduler_running(call: Call) -> bool:
    from nbflow.services.schedulers import find

    return find(call.app) is not None


def _backfill_row(
    call: Call, backfill_id: int, plan: BackfillPlan, runs: Iterable[Run] | None = None
) -> dict[str, Any]:
    row: dict[str, Any] = {
        "backfill_id": backfill_id,
        "dag_id": call.args.dag_id,
        "runs": len(plan.to_run),
        "left_alone": len(plan.entries) - len(plan.to_run),
    }
    if runs is not None:
        states = [run.state.value for run in runs]
        row |= {state: states.count(state) for state in ("success", "failed")}
    return row


def _show_plan(call: Call, plan: BackfillPlan) -> int:
    call.show(
        [_entry_row(entry) for entry in plan.entries],
        empty="No runs: the DAG has no finished data interval in this range.",
        columns=PLAN_COLUMNS,
    )
    return 0


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


# ------------------------------------------------------------------------------------------------------------- listing

LIST_COLUMNS = ("backfill_id", "dag_id", "state", "from_date", "to_date", "runs", "done", "failed", "created_at")


def list_backfills(call: Call) -> None:
    from nbflow.views.backfills import BackfillsQuery

    view = call.fetch(BackfillsQuery(dag_id=call.args.dag_id, active=call.args.active))
    rows = [output.fields_of(row, LIST_COLUMNS) for row in view.rows]
    call.show(rows, empty="No backfills.", columns=LIST_COLUMNS)


COMMANDS = (
    terminal_command(
        "backfill create",
        switch("--wait", help="Wait until the runs have ended; exit code 1 if any failed."),
        OUTPUT,
        run=create,
    ),
    terminal_command("backfill list", OUTPUT, run=list_backfills),
    terminal_command("backfill cancel"),
    terminal_command("backfill pause"),
    terminal_command("backfill unpause"),
)

DAGS_BACKFILL = terminal_command(
    "dags backfill",
    switch("--continue-on-failures", help="Ignored: a failed run never stops the others."),
    switch("-I", "--ignore-first-depends-on-past", help="Ignored: depends_on_past never blocks the first run."),
    switch("-x", "--donot-pickle", help="Ignored: DAGs are not pickled."),
    switch("-l", "--local", help="Ignored: without a scheduler, the runs are executed in this process."),
    SUBDIR_ONLY,
    YES,
    OUTPUT,
    run=airflow_2_backfill,
)
