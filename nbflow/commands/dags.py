"""Commands on DAGs: list, show, pause, delete, schedule a notebook."""

from __future__ import annotations

import re
from functools import partial
from typing import TYPE_CHECKING

from nbflow.command_arguments import CRON, FILE, PAIR, WHOLE, UsageError, Values, argument
from nbflow.commands.base import Audit, Command, Preview, Result
from nbflow.commands.options import DAG_ID, DAG_ID_IS_REGEX, DAG_ID_OR_FLAG, LAST_RUN, RUN_ID, SHOWN_RUN
from nbflow.errors import NbflowError

if TYPE_CHECKING:
    from nbflow.commands.context import Context


# ------------------------------------------------------------------------------------------------------------- pausing


def _selected_dag_ids(context: Context, args: Values) -> list[str]:
    if args.treat_dag_id_as_regex:
        return dag_ids_matching(context, args.dag_id)
    return [context.dags.version(args.dag_id).dag_id]


def dag_ids_matching(context: Context, regex: str) -> list[str]:
    """The ids that match a regular expression. Raises UsageError for an invalid expression, and NbflowError if no id
    matches."""
    try:
        pattern = re.compile(regex)
    except re.error as error:
        raise UsageError(f"{regex!r} is not a regular expression: {error}.") from None
    dag_ids = [row.dag_id for row in context.store.dags() if pattern.search(row.dag_id)]
    if not dag_ids:
        raise NbflowError(f"No DAG id matches {regex!r}.")
    return dag_ids


def _set_paused(paused: bool, context: Context, args: Values) -> Result:
    rows = [context.dags.scheduled(dag_id) for dag_id in _selected_dag_ids(context, args)]
    changed = [row.dag_id for row in rows if context.operations.set_paused(row.dag_id, paused)]
    state = "paused" if paused else "unpaused"
    dag_ids = [row.dag_id for row in rows]
    if len(dag_ids) == 1:
        text = f"DAG {dag_ids[0]} is {'' if changed else 'already '}{state}."
    else:
        text = f"{len(dag_ids)} DAGs are {state}: {', '.join(dag_ids)}."
    stale = [row.dag_id for row in rows if row.stale and not paused]
    return Result(
        text=text,
        rows=tuple({"dag_id": dag_id, "is_paused": paused} for dag_id in dag_ids),
        value=bool(changed),
        warnings=tuple(f"No file defines DAG {dag_id} anymore: it gets no scheduled runs." for dag_id in stale),
    )


def _paused_preview(paused: bool, context: Context, args: Values) -> Preview:
    rows = [context.dags.scheduled(dag_id) for dag_id in _selected_dag_ids(context, args)]
    changing = [row.dag_id for row in rows if row.paused != paused]
    state = "paused" if paused else "unpaused"
    text = f"{', '.join(changing) or 'No DAG'} would be {state}."
    return Preview(text=text, items=tuple({"dag_id": dag_id, "is_paused": paused} for dag_id in changing))


def _paused_question(verb: str, context: Context, args: Values, preview: Preview | None) -> str:
    """A question only for a regular expression that matches several DAGs, since it may match more than expected."""
    dag_ids = _selected_dag_ids(context, args) if args.treat_dag_id_as_regex else []
    return f"{verb} {len(dag_ids)} DAGs: {', '.join(dag_ids)}?" if len(dag_ids) > 1 else ""


def _pausing(verb: str, *, paused: bool, help: str) -> Command:
    return Command(
        name=f"dags {verb}",
        magic=f"%dag {verb}",
        help=help,
        permission="dags.edit",
        changes=True,
        operation=verb,
        arguments=(DAG_ID, DAG_ID_IS_REGEX),
        example="sales",
        run=partial(_set_paused, paused),
        preview=partial(_paused_preview, paused),
        confirmation=partial(_paused_question, verb.capitalize()),
    )


# ------------------------------------------------------------------------------------------------------------ deleting


def _delete_preview(context: Context, args: Values) -> Preview:
    rows = context.operations.delete_dag(args.dag_id, dry_run=True)
    return Preview(text=f"{rows} rows would be deleted.", items=({"dag_id": args.dag_id, "rows": rows},))


def _delete_question(context: Context, args: Values, preview: Preview | None) -> str:
    return f"Delete DAG {args.dag_id} with all its runs and history?"


def _delete(context: Context, args: Values) -> Result:
    rows = context.operations.delete_dag(args.dag_id)
    text = f"DAG {args.dag_id} was deleted: {rows} rows."
    return Result(text=text, rows=({"dag_id": args.dag_id, "rows": rows},), value=rows)


def _delete_run_question(context: Context, args: Values, preview: Preview | None) -> str:
    key = context.operations.find_run_key(args.dag_id, args.run)
    return f"Delete run {key.run_id!r} of DAG {key.dag_id} with its history?"


def _delete_run_preview(context: Context, args: Values) -> Preview:
    key = context.operations.find_run_key(args.dag_id, args.run)
    return Preview(text=f"Run {key.run_id!r} of DAG {key.dag_id} would be deleted.", items=(key._asdict(),))


def _delete_run(context: Context, args: Values) -> Result:
    key = context.operations.find_run_key(args.dag_id, args.run)
    rows = context.operations.delete_run(key)
    text = f"Run {key.run_id!r} of DAG {key.dag_id} was deleted: {rows} rows."
    return Result(text=text, rows=({**key._asdict(), "rows": rows},), value=rows)


COMMANDS = (
    Command(
        name="dags list",
        magic="%dag list",
        help="List DAGs with their newest runs and their next run.",
        permission="dags.read",
    ),
    Command(
        name="dags details",
        help="Show the properties of a DAG.",
        permission="dags.read",
        arguments=(DAG_ID,),
        example="sales",
    ),
    Command(
        name="dags state",
        help="Show the state of a run.",
        permission="dags.read",
        arguments=(DAG_ID, RUN_ID),
        example="sales last",
    ),
    Command(
        name="dags show",
        magic="%dag show",
        help="Show the graph of a DAG or of one of its runs.",
        permission="dags.read",
        arguments=(DAG_ID, SHOWN_RUN),
        example="sales --run last",
    ),
    Command(
        name="dags list-runs",
        magic="%dag runs",
        help="List the runs of a DAG, newest first.",
        permission="dags.read",
        arguments=(DAG_ID_OR_FLAG,),
        example="sales",
    ),
    Command(
        name="dags next-execution",
        magic="%dag next",
        help="List the next scheduled runs of a DAG.",
        permission="dags.read",
        arguments=(
            DAG_ID,
            argument("number", "-n", "--num-executions", type=WHOLE, default=1, help="Number of runs (default: 1)."),
        ),
        example="sales 10",
    ),
    _pausing("pause", paused=True, help="Pause a DAG: create no scheduled runs and start no queued runs."),
    _pausing("unpause", paused=False, help="Unpause a DAG: create scheduled runs and start queued runs."),
    Command(
        name="dags delete",
        help="Delete a DAG and its history.",
        permission="dags.delete",
        changes=True,
        operation="delete_dag",
        arguments=(DAG_ID,),
        example="sales",
        run=_delete,
        preview=_delete_preview,
        confirmation=_delete_question,
    ),
    Command(
        name="dags delete-run",
        help="Delete a run and its history; its running tasks are killed.",
        permission="dags.delete",
        changes=True,
        arguments=(DAG_ID, RUN_ID),
        operation="delete_run",
        example="sales last",
        run=_delete_run,
        preview=_delete_run_preview,
        confirmation=_delete_run_question,
    ),
    Command(
        name="grid",
        magic="%dag grid",
        terminal=False,
        help="Show the newest runs of a DAG as columns and its tasks as rows.",
        permission="dags.read",
        arguments=(DAG_ID, argument("-n", "--number", type=WHOLE, default=25, help="Number of runs (default: 25).")),
        example="sales",
    ),
    Command(
        name="gantt",
        magic="%dag gantt",
        terminal=False,
        help="Show the tasks of a run on a time axis.",
        permission="dags.read",
        arguments=(DAG_ID, LAST_RUN),
        example="sales",
    ),
    Command(
        name="schedule",
        magic="%dag schedule",
        terminal=False,
        help="Run a notebook on a schedule with papermill.",
        permission="dags.create",
        changes=True,
        audit=Audit.COMMAND,
        arguments=(
            argument("notebook", type=FILE, help="Notebook to run."),
            argument(
                "--cron",
                type=CRON,
                required=True,
                metavar='"0 6 * * *"',
                example='"0 6 * * *"',
                help="Schedule: a cron expression or a preset.",
            ),
            argument("--name", metavar="NAME", help="Id of the DAG (default: the notebook's name)."),
            argument("-p", "--param", type=PAIR, repeated=True, help="A parameter of the notebook; may be repeated."),
        ),
        example='report.ipynb --cron "0 6 * * 1" -p country=DE',
    ),
)
