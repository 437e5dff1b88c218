"""Tasks and their instances: clearing and marking them, their logs, states, and why they wait."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nbflow.arguments import DAG, DATE, INTEGER, PATTERN, RUN, TASK, WHOLE, UsageError, Values, argument, switch
from nbflow.commands.base import Command, Preview, Result, Row
from nbflow.commands.dags import DAG_ID, RUN_ID, matching
from nbflow.core.run_ids import WHICH_RUN
from nbflow.errors import TaskNotFound, did_you_mean

if TYPE_CHECKING:
    from nbflow.commands.context import Context
    from nbflow.core.snapshot import Run, TaskKey

ALL = 1_000_000
"""Every run: what is cleared by a date is cleared whole."""
TASK_ID = argument("task_id", type=TASK, required=False, metavar="TASK", help="Id of the task (default: all).")
TASKS = argument("tasks", type=TASK, repeated=True, metavar="TASK", help="Which tasks (default: all).")
ONE_RUN = argument("--run", "--run-id", name="run", type=RUN, help=f"Which run: {WHICH_RUN}.")
ONLY = (
    switch("--failed", "-f", "--only-failed", name="only_failed", help="Only those that failed."),
    switch("-r", "--only-running", help="Only those that run."),
)


# ------------------------------------------------------------------------------------------------------------ clearing


@dataclass(frozen=True, slots=True, kw_only=True)
class Cleared:
    """What is cleared of one run."""

    run: Run
    tasks: tuple[str, ...] | None
    """None: all of them."""
    keys: tuple[TaskKey, ...]


def _options(args: Values) -> dict[str, Any]:
    """What of ``tasks clear`` and ``dags clear`` the operation takes."""
    flags = {"upstream": "upstream", "downstream": "downstream", "newest": "newest_version"}
    given = {name: getattr(args, flag) for flag, name in flags.items() if hasattr(args, flag)}
    return {**given, "only_failed": args.only_failed, "only_running": args.only_running}


def _runs(context: Context, dag_id: str, args: Values) -> list[Run]:
    context.operations.version(dag_id)
    if args.run:
        return [context.operations.find_run(dag_id, args.run)]
    since, until = (context.date(getattr(args, name, None)) for name in ("start_date", "end_date"))
    return context.store.runs(dag_id, since=since, until=until, limit=ALL)


def _plan(context: Context, args: Values) -> list[Cleared]:
    """What would be cleared, run by run. Raises TaskNotFound for a task that no run has."""
    wanted, pattern = getattr(args, "tasks", []), getattr(args, "task_regex", None)
    dag_ids = matching(context, args.dag_id) if getattr(args, "dag_regex", False) else [args.dag_id]
    seen: set[str] = set()
    plan: list[Cleared] = []
    for run in (run for dag_id in dag_ids for run in _runs(context, dag_id, args)):
        names: tuple[str, ...] | None = None
        if wanted or pattern:
            there = dict.fromkeys(one.task_id for one in context.store.instances(run.key))
            seen.update(there)
            names = tuple(_named(there, wanted, pattern))
            if not names:
                continue
        keys = context.operations.clear(run.key, names, dry_run=True, **_options(args))
        if keys:
            plan.append(Cleared(run=run, tasks=names, keys=tuple(keys)))
    if seen and (missing := [name for name in wanted if name not in seen]):
        raise _no_task(args.dag_id, missing[0], seen)
    return plan


def _named(there: Sequence[str] | dict[str, None], wanted: Sequence[str], pattern: str | None) -> Iterator[str]:
    found = re.compile(pattern or "")
    return (name for name in there if (not wanted or name in wanted) and found.search(name))


def _no_task(dag_id: str, name: str, known: set[str]) -> TaskNotFound:
    hint = did_you_mean(name, known).strip() or f"It has: {', '.join(sorted(known)[:8])}."
    return TaskNotFound(f"DAG {dag_id!r} has no task {name!r}.", hint=hint)


def _rows(plan: Sequence[Cleared]) -> tuple[Row, ...]:
    return tuple(_row(one.run, key) for one in plan for key in one.keys)


def _row(run: Run, key: TaskKey) -> Row:
    return {"dag_id": run.dag_id, "run_id": run.run_id, "task_id": key.task_id, "map_index": key.map_index}


def _clear_preview(context: Context, args: Values) -> Preview:
    rows = _rows(_plan(context, args))
    return Preview(text=f"{len(rows)} task instances would be cleared." if rows else NOTHING, items=rows)


NOTHING = "Nothing to clear."


def _clear_question(context: Context, args: Values, preview: Preview | None) -> str:
    items = preview.items if preview else ()
    runs = len({(item["dag_id"], item["run_id"]) for item in items})
    return f"Clear {len(items)} task instances in {runs} runs?" if items else ""


def _clear(context: Context, args: Values) -> Result:
    cleared: list[Cleared] = []
    for one in _plan(context, args):
        keys = context.operations.clear(one.run.key, one.tasks, **_options(args))
        cleared.append(Cleared(run=one.run, tasks=one.tasks, keys=tuple(keys)))
    rows = _rows(cleared)
    text = f"{len(rows)} task instances were cleared." if rows else NOTHING
    return Result(text=text, rows=rows, value=[key for one in cleared for key in one.keys])


def _clear_dag(context: Context, args: Values) -> Result:
    done = _clear(context, args)
    of_dag = f"{len(done.rows)} task instances of {args.dag_id} were cleared." if done.rows else NOTHING
    return Result(text=of_dag, rows=done.rows, value=done.value)


# ------------------------------------------------------------------------------------------------------------- marking


def _marked(context: Context, args: Values, *, dry_run: bool) -> tuple[Run, list[Row]]:
    """Mark, or find out what would be: the run, and its task instances (and itself, without a task) with new states."""
    from nbflow.core.plan import RunMove
    from nbflow.core.states import RunState, TaskState

    run = context.operations.find_run(args.dag_id, args.run)
    if args.tasks:
        keys = _keys(context, run, args.tasks)
        plan = context.operations.mark_tasks(run.key, keys, TaskState(args.state), dry_run=dry_run)
    elif args.state == "skipped":
        raise UsageError("A run cannot be marked skipped.", hint="Name the tasks to skip.")
    else:
        plan = context.operations.mark_run(run.key, RunState(args.state), dry_run=dry_run)
    rows = [{**_row(run, move.key), "state": move.target.value} for move in plan.moves]
    runs = [op for op in plan.ops if isinstance(op, RunMove)]
    return run, [*rows, *({"dag_id": run.dag_id, "run_id": run.run_id, "state": op.target.value} for op in runs)]


def _keys(context: Context, run: Run, names: Sequence[str]) -> list[TaskKey]:
    """Instances by ``load`` (all of a mapped task) or ``load[2]``."""
    instances = context.store.instances(run.key)
    keys: list[TaskKey] = []
    for name in names:
        found = [one.key for one in instances if name in (one.task_id, str(one.key))]
        if not found:
            raise _no_task(run.dag_id, name, {one.task_id for one in instances})
        keys += found
    return keys


def _mark_preview(context: Context, args: Values) -> Preview:
    run, rows = _marked(context, args, dry_run=True)
    return Preview(text=f"{_what(args)} of {run.run_id} would be marked {args.state}.", items=tuple(rows))


def _what(args: Values) -> str:
    return ", ".join(args.tasks) or "The run"


def _mark_question(context: Context, args: Values, preview: Preview | None) -> str:
    what, changes = ", ".join(args.tasks) or "the run", len(preview.items) if preview else 0
    return f"Mark {what} {args.state}, which changes {changes} states?" if changes else ""


def _mark(context: Context, args: Values) -> Result:
    run, rows = _marked(context, args, dry_run=False)
    if not rows:
        return Result(text=f"{_what(args)} of {run.run_id} is {args.state} already.", value=run)
    text = f"{_what(args)} of {run.run_id} was marked {args.state}."
    return Result(text=text, rows=tuple(rows), value=run)


COMMANDS = (
    Command(
        name="tasks clear",
        magic="%dag clear",
        help="Clear tasks so that they run again.",
        permission="runs.edit",
        changes=True,
        arguments=(
            DAG_ID,
            TASKS,
            ONE_RUN,
            switch("-u", "--upstream", help="And all tasks before them."),
            switch("-d", "--downstream", help="And all tasks after them."),
            *ONLY,
            switch("--newest", help="Run them with the newest version of the DAG."),
            switch("--dry-run", help="Only list what would be cleared."),
            argument("-t", "--task-regex", type=PATTERN, help="Only tasks whose id matches."),
            argument("-s", "--start-date", type=DATE, help="Only runs from this logical date on."),
            argument("-e", "--end-date", type=DATE, help="Only runs up to this logical date."),
            switch("-R", "--dag-regex", help="The DAG id is a pattern."),
        ),
        example="sales load --downstream",
        run=_clear,
        preview=_clear_preview,
        confirmation=_clear_question,
    ),
    Command(
        name="dags clear",
        help="Clear all tasks of runs so that they run again.",
        permission="runs.edit",
        changes=True,
        arguments=(DAG_ID, ONE_RUN, *ONLY),
        example="sales --only-failed",
        run=_clear_dag,
        preview=_clear_preview,
        confirmation=_clear_question,
    ),
    Command(
        name="tasks mark",
        magic="%dag mark",
        help="Mark tasks of a run, or the run itself, success, failed or skipped.",
        permission="runs.edit",
        changes=True,
        arguments=(
            DAG_ID,
            argument("tasks", type=TASK, repeated=True, metavar="TASK", help="Which tasks (default: the run itself)."),
            argument("--run", "--run-id", name="run", type=RUN, help=f"Which run: {WHICH_RUN} (default: last)."),
            argument("--state", choices=("success", "failed", "skipped"), required=True, help="The new state."),
            switch("--dry-run", help="Only list what would change."),
        ),
        example="sales load --state success",
        run=_mark,
        preview=_mark_preview,
        confirmation=_mark_question,
    ),
    Command(
        name="states",
        magic="%dag states",
        help="The task instances of a run; without a DAG: what the states mean.",
        permission="dags.read",
        arguments=(argument("dag_id", type=DAG, required=False, help="Id of the DAG."), RUN_ID),
        example="sales",
    ),
    Command(
        name="logs",
        magic="%dag logs",
        help="The log of a task; by default of one that failed.",
        permission="dags.read",
        arguments=(
            DAG_ID,
            TASK_ID,
            RUN_ID,
            argument("--try-number", "--try", type=WHOLE, help="Which try (default: the last)."),
            argument("--search", default="", metavar="WORD", help="Only lines that hold this word."),
            switch("-f", "--follow", help="Follow the log until the try has ended; by default of the task that runs."),
        ),
        example="sales load --search error",
    ),
    Command(
        name="why",
        magic="%dag why",
        help="Why a run's tasks wait, or why one ended as it did.",
        permission="dags.read",
        arguments=(
            DAG_ID,
            TASK_ID,
            RUN_ID,
            argument("--map-index", type=INTEGER, default=-1, help="Which instance of a mapped task."),
        ),
        example="sales load",
    ),
)
