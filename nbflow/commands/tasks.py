"""Commands on task instances: clear, mark, states, logs, why."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nbflow.command_arguments import DAG, JSON, PATTERN, RUN, TASK, WHOLE, UsageError, Values, argument, switch
from nbflow.commands.base import Audit, Command, Preview, Result, Row
from nbflow.commands.dags import dag_ids_matching
from nbflow.commands.options import (
    CONF,
    DAG_ID,
    END_DATE,
    LAST_RUN,
    MAP_INDEX,
    OPTIONAL_TASK_ID,
    RUN_ID,
    START_DATE,
    TASK_ID,
    TASK_IDS,
)
from nbflow.core.run_ids import WHICH_RUN
from nbflow.core.states import STATE_MEANINGS, RunState, TaskState
from nbflow.errors import TaskNotFound

if TYPE_CHECKING:
    from nbflow.commands.context import Context
    from nbflow.core.snapshot import Run, TaskKey

ALL_RUNS = 1_000_000
"""Limit of runs, for a query that must return all runs."""
CLEARED_RUN = argument("--run", "--run-id", name="run", type=RUN, help=f"Only this run: {WHICH_RUN}.")
ONLY_FAILED = switch("--failed", "-f", "--only-failed", name="only_failed", help="Only failed task instances.")
ONLY_RUNNING = switch("-r", "--only-running", help="Only running task instances.")


# ------------------------------------------------------------------------------------------------------------ clearing


@dataclass(frozen=True, slots=True, kw_only=True)
class ClearedRun:
    """The cleared task instances of a run."""

    run: Run
    task_ids: tuple[str, ...] | None
    """The selected tasks; None: all tasks."""
    keys: tuple[TaskKey, ...]


def _clear_options(args: Values) -> dict[str, Any]:
    """Keyword arguments of ``Operations.clear``; ``dags clear`` has fewer options than ``tasks clear``."""
    keywords = {"upstream": "upstream", "downstream": "downstream", "newest": "newest_version"}
    present = {keyword: getattr(args, name) for name, keyword in keywords.items() if hasattr(args, name)}
    return {**present, "only_failed": args.only_failed, "only_running": args.only_running}


def _runs(context: Context, dag_id: str, args: Values) -> list[Run]:
    context.operations.version(dag_id)
    if args.run:
        return [context.operations.find_run(dag_id, args.run)]
    since, until = (context.date(getattr(args, name, None)) for name in ("start_date", "end_date"))
    return context.store.runs(dag_id, since=since, until=until, limit=ALL_RUNS)


def _clear_plan(context: Context, args: Values) -> list[ClearedRun]:
    """The task instances that would be cleared, by run. Raises TaskNotFound for a task that no run has."""
    requested, regex = getattr(args, "tasks", []), getattr(args, "task_regex", None)
    dag_ids = dag_ids_matching(context, args.dag_id) if getattr(args, "dag_regex", False) else [args.dag_id]
    known: set[str] = set()
    plan: list[ClearedRun] = []
    skipped: list[Run] = []
    for run in (run for dag_id in dag_ids for run in _runs(context, dag_id, args)):
        selected: tuple[str, ...] | None = None
        if requested or regex:
            task_ids = dict.fromkeys(ti.task_id for ti in context.store.instances(run.key))
            known.update(task_ids)
            selected = tuple(_selected_tasks(task_ids, requested, regex))
            if not selected:
                continue
        if not args.run and not context.operations.can_run_again(run):
            skipped.append(run)  # a run that is named is refused with the reason
            continue
        keys = context.operations.clear(run.key, selected, dry_run=True, **_clear_options(args))
        if keys:
            plan.append(ClearedRun(run=run, task_ids=selected, keys=tuple(keys)))
    if skipped and not plan:
        context.operations.clear(skipped[0].key, dry_run=True)  # raises the reason
    if known and (missing := [task_id for task_id in requested if task_id not in known]):
        raise TaskNotFound.among(args.dag_id, missing[0], sorted(known))
    return plan


def _selected_tasks(task_ids: Iterable[str], requested: Sequence[str], regex: str | None) -> Iterator[str]:
    pattern = re.compile(regex or "")
    return (task_id for task_id in task_ids if (not requested or task_id in requested) and pattern.search(task_id))


def _rows(plan: Sequence[ClearedRun]) -> tuple[Row, ...]:
    return tuple(_row(cleared.run, key) for cleared in plan for key in cleared.keys)


def _row(run: Run, key: TaskKey) -> Row:
    return {"dag_id": run.dag_id, "run_id": run.run_id, "task_id": key.task_id, "map_index": key.map_index}


def _clear_preview(context: Context, args: Values) -> Preview:
    rows = _rows(_clear_plan(context, args))
    return Preview(text=f"{_task_instances(rows)} would be cleared." if rows else NOTHING_TO_CLEAR, items=rows)


NOTHING_TO_CLEAR = "No task instance to clear."


def _task_instances(rows: Sequence[Row]) -> str:
    """``1 task instance``, ``3 task instances``."""
    return f"{len(rows)} task instance{'' if len(rows) == 1 else 's'}"


def _was(rows: Sequence[Row]) -> str:
    return "was" if len(rows) == 1 else "were"


def _clear_question(context: Context, args: Values, preview: Preview | None) -> str:
    items = preview.items if preview else ()
    runs = len({(item["dag_id"], item["run_id"]) for item in items})
    return f"Clear {_task_instances(items)} in {runs} {'run' if runs == 1 else 'runs'}?" if items else ""


def _clear(context: Context, args: Values) -> Result:
    runs: list[ClearedRun] = []
    for planned in _clear_plan(context, args):
        keys = context.operations.clear(planned.run.key, planned.task_ids, **_clear_options(args))
        runs.append(ClearedRun(run=planned.run, task_ids=planned.task_ids, keys=tuple(keys)))
    rows = _rows(runs)
    text = f"{_task_instances(rows)} {_was(rows)} cleared." if rows else NOTHING_TO_CLEAR
    return Result(text=text, rows=rows, value=[key for cleared in runs for key in cleared.keys])


def _clear_dag(context: Context, args: Values) -> Result:
    result = _clear(context, args)
    rows = result.rows
    text = f"{_task_instances(rows)} of DAG {args.dag_id} {_was(rows)} cleared." if rows else NOTHING_TO_CLEAR
    return Result(text=text, rows=rows, value=result.value)


# ------------------------------------------------------------------------------------------------------------- marking


def _mark_states(context: Context, args: Values, *, dry_run: bool) -> tuple[Run, list[Row]]:
    """Mark tasks or the run; with ``dry_run``, change nothing. Returns the run, and a row for each changed state of a
    task instance or of the run."""
    from nbflow.core.plan import RunMove

    run = context.operations.find_run(args.dag_id, args.run)
    if args.tasks:
        keys = _keys(context, run, args.tasks)
        plan = context.operations.mark_tasks(run.key, keys, TaskState(args.state), dry_run=dry_run)
    elif args.state == "skipped":
        raise UsageError("A run cannot be marked skipped.", hint="Name the tasks to mark skipped.")
    else:
        plan = context.operations.mark_run(run.key, RunState(args.state), dry_run=dry_run)
    rows = [{**_row(run, move.key), "state": move.target.value} for move in plan.moves]
    runs = [op for op in plan.ops if isinstance(op, RunMove)]
    return run, [*rows, *({"dag_id": run.dag_id, "run_id": run.run_id, "state": op.target.value} for op in runs)]


def _keys(context: Context, run: Run, names: Sequence[str]) -> list[TaskKey]:
    """The task instances with the given names: ``load`` (all instances of a mapped task) or ``load[2]``."""
    tis = context.store.instances(run.key)
    keys: list[TaskKey] = []
    for name in names:
        matches = [ti.key for ti in tis if name in (ti.task_id, str(ti.key))]
        if not matches:
            raise TaskNotFound.among(run.dag_id, name, sorted({ti.task_id for ti in tis}))
        keys += matches
    return keys


def _mark_operation(args: Values) -> str:
    return "mark" if args.tasks else "mark_run"


def _mark_preview(context: Context, args: Values) -> Preview:
    run, rows = _mark_states(context, args, dry_run=True)
    would = "would be marked" if rows else "is already"
    return Preview(text=f"{_subject(args, run)} {would} {args.state}.", items=tuple(rows))


def _subject(args: Values, run: Run) -> str:
    return f"{', '.join(args.tasks)} of run {run.run_id}" if args.tasks else f"Run {run.run_id}"


def _mark_question(context: Context, args: Values, preview: Preview | None) -> str:
    subject, changes = ", ".join(args.tasks) or "the run", len(preview.items) if preview else 0
    return f"Mark {subject} {args.state}, which changes {changes} states?" if changes else ""


def _mark(context: Context, args: Values) -> Result:
    run, rows = _mark_states(context, args, dry_run=False)
    if not rows:
        return Result(text=f"{_subject(args, run)} is already {args.state}.", value=run)
    text = f"{_subject(args, run)} was marked {args.state}."
    return Result(text=text, rows=tuple(rows), value=run)


OPTIONAL_RUN = argument("run", required=False, metavar="RUN", help="Run id or logical date (default: now).")
"""Not of the type RUN: the run need not exist."""

COMMANDS = (
    Command(
        name="tasks list",
        help="List the tasks of a DAG.",
        permission="dags.read",
        arguments=(DAG_ID, switch("-t", "--tree", help="Show the tasks as a tree.")),
        example="sales",
    ),
    Command(
        name="tasks test",
        help="Run a task in this process, without its upstream tasks; nothing is recorded.",
        permission="runs.create",
        changes=True,
        audit=Audit.COMMAND,
        arguments=(
            DAG_ID,
            TASK_ID,
            OPTIONAL_RUN,
            MAP_INDEX,
            argument("-t", "--task-params", "-c", "--conf", name="conf", type=JSON, help=CONF.help),
            switch("-n", "--dry-run", help="Only render the templates."),
            argument("--env-vars", type=JSON, help="Environment variables of the task: a JSON object."),
        ),
        example="sales load",
    ),
    Command(
        name="tasks render",
        help="Show the rendered templates of a task.",
        permission="dags.read",
        arguments=(DAG_ID, TASK_ID, RUN_ID, MAP_INDEX),
        example="sales load last",
    ),
    Command(
        name="tasks state",
        help="Show the state of a task instance.",
        permission="dags.read",
        arguments=(DAG_ID, TASK_ID, RUN_ID, MAP_INDEX),
        example="sales load last",
    ),
    Command(
        name="tasks states-for-dag-run",
        help="List the task instances of a run.",
        permission="dags.read",
        arguments=(DAG_ID, RUN_ID),
        example="sales last",
        epilog="\n".join(f"{state:<18}{meaning}" for state, meaning in STATE_MEANINGS.items()),
    ),
    Command(
        name="tasks failed-deps",
        help="List the unmet dependencies of a task instance.",
        permission="dags.read",
        arguments=(DAG_ID, TASK_ID, RUN_ID, MAP_INDEX),
        example="sales load last",
    ),
    Command(
        name="tasks clear",
        magic="%dag clear",
        help="Clear tasks so that they run again.",
        permission="runs.edit",
        changes=True,
        operation="clear",
        arguments=(
            DAG_ID,
            TASK_IDS,
            CLEARED_RUN,
            switch("-u", "--upstream", help="Include all upstream tasks."),
            switch("-d", "--downstream", help="Include all downstream tasks."),
            ONLY_FAILED,
            ONLY_RUNNING,
            switch("--newest", help="Run the tasks with the newest version of the DAG."),
            switch("--dry-run", help="Only list the task instances that would be cleared."),
            argument("-t", "--task-regex", type=PATTERN, help="Only tasks whose id matches."),
            START_DATE,
            END_DATE,
            switch("-R", "--dag-regex", help="Select every DAG whose id matches dag_id."),
        ),
        example="sales load --downstream",
        run=_clear,
        preview=_clear_preview,
        confirmation=_clear_question,
    ),
    Command(
        name="dags clear",
        help="Clear all tasks of a DAG's runs so that they run again.",
        permission="runs.edit",
        changes=True,
        operation="clear",
        arguments=(DAG_ID, CLEARED_RUN, ONLY_FAILED, ONLY_RUNNING),
        example="sales --only-failed",
        run=_clear_dag,
        preview=_clear_preview,
        confirmation=_clear_question,
    ),
    Command(
        name="tasks mark",
        magic="%dag mark",
        help="Mark tasks of a run, or the run itself, as success, failed or skipped.",
        permission="runs.edit",
        changes=True,
        operation=_mark_operation,
        arguments=(
            DAG_ID,
            argument("tasks", type=TASK, repeated=True, metavar="TASK", help="Ids of the tasks (default: the run)."),
            argument("--run", "--run-id", name="run", type=RUN, help=LAST_RUN.help),
            argument("--state", choices=("success", "failed", "skipped"), required=True, help="New state."),
            switch("--dry-run", help="Only list the states that would change."),
        ),
        example="sales load --state success",
        run=_mark,
        preview=_mark_preview,
        confirmation=_mark_question,
    ),
    Command(
        name="states",
        magic="%dag states",
        terminal=False,
        help="List the task instances of a run; without a DAG id, list the meanings of the states.",
        permission="dags.read",
        arguments=(argument("dag_id", type=DAG, required=False, help=DAG_ID.help), LAST_RUN),
        example="sales",
    ),
    Command(
        name="logs",
        magic="%dag logs",
        help="Show the log of a task (default: the last failed task).",
        permission="dags.read",
        arguments=(
            DAG_ID,
            argument(
                "task_id", type=TASK, required=False, metavar="TASK", help="Id of the task (default: the last failed)."
            ),
            LAST_RUN,
            argument("--try-number", "--try", type=WHOLE, help="Number of the try (default: the last)."),
            argument("--search", default="", metavar="TEXT", help="Only lines that contain this text."),
            switch("-f", "--follow", help="Follow the log until the try ends (default task: a running one)."),
        ),
        example="sales load --search error",
    ),
    Command(
        name="why",
        magic="%dag why",
        help="Explain why the tasks of a run wait or have failed.",
        permission="dags.read",
        arguments=(
            DAG_ID,
            OPTIONAL_TASK_ID,
            LAST_RUN,
            MAP_INDEX,
        ),
        example="sales load",
    ),
)
