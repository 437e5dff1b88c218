"""DAGs: listing, showing, pausing, and what makes runs of them."""

from __future__ import annotations

import re
from functools import partial
from typing import TYPE_CHECKING

from nbflow.arguments import (
    CRON,
    DAG,
    DATE,
    FILE,
    INTEGER,
    JSON,
    NUMBER,
    PAIR,
    RUN,
    WHOLE,
    UsageError,
    Values,
    argument,
    switch,
)
from nbflow.commands.base import Command, Preview, Result
from nbflow.core.run_ids import WHICH_RUN
from nbflow.errors import NbflowError

if TYPE_CHECKING:
    from nbflow.commands.context import Context

DAG_ID = argument("dag_id", type=DAG, help="Id of the DAG.")
RUN_ID = argument(
    "run", "--run", type=RUN, required=False, metavar="RUN", help=f"Which run: {WHICH_RUN} (default: last)."
)
PARAM = argument("-p", "--param", type=PAIR, repeated=True, help="A value for the run; may be repeated.")
CONF = (
    PARAM,
    argument("-c", "--conf", type=JSON, help="Values for the run: a JSON object."),
)
PATTERN = switch("--treat-dag-id-as-regex", help="Every DAG whose id matches.")


# ------------------------------------------------------------------------------------------------------------- pausing


def _chosen(context: Context, args: Values) -> list[str]:
    """The DAGs that are meant: the one that is named, or those whose ids match."""
    if args.treat_dag_id_as_regex:
        return matching(context, args.dag_id)
    return [context.dags.version(args.dag_id).dag_id]


def matching(context: Context, text: str) -> list[str]:
    """DAGs whose ids match a pattern. Raises NbflowError if there are none, UsageError if it is no pattern."""
    try:
        pattern = re.compile(text)
    except re.error as fault:
        raise UsageError(f"{text!r} is not a regular expression: {fault}.") from None
    found = [row.dag_id for row in context.store.dags() if pattern.search(row.dag_id)]
    if not found:
        raise NbflowError(f"No DAG's id matches {text!r}.")
    return found


def _set_paused(paused: bool, context: Context, args: Values) -> Result:
    rows = [context.dags.scheduled(dag_id) for dag_id in _chosen(context, args)]
    changed = [row.dag_id for row in rows if context.operations.set_paused(row.dag_id, paused)]
    word = "paused" if paused else "unpaused"
    names = [row.dag_id for row in rows]
    text = f"{names[0]} is {word}{'' if changed else ' already'}." if len(names) == 1 else _counted(names, word)
    gone = [row.dag_id for row in rows if row.stale and not paused]
    return Result(
        text=text,
        rows=tuple({"dag_id": dag_id, "is_paused": paused} for dag_id in names),
        value=bool(changed),
        warnings=tuple(f"No file defines DAG {dag_id} any more: nothing is scheduled." for dag_id in gone),
    )


def _counted(names: list[str], word: str) -> str:
    return f"{len(names)} DAGs are {word}: {', '.join(names)}."


def _paused_preview(paused: bool, context: Context, args: Values) -> Preview:
    rows = [context.dags.scheduled(dag_id) for dag_id in _chosen(context, args)]
    moved = [row.dag_id for row in rows if row.paused != paused]
    word = "paused" if paused else "unpaused"
    text = f"{', '.join(moved) or 'No DAG'} would be {word}."
    return Preview(text=text, items=tuple({"dag_id": dag_id, "is_paused": paused} for dag_id in moved))


def _paused_question(word: str, context: Context, args: Values, preview: Preview | None) -> str:
    """One DAG that is named is meant; a pattern may match more than one thinks."""
    names = _chosen(context, args) if args.treat_dag_id_as_regex else []
    return f"{word} {len(names)} DAGs: {', '.join(names)}?" if len(names) > 1 else ""


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


COMMANDS = (
    Command(
        name="dags list",
        magic="%dag list",
        help="Every DAG, with its last runs and what comes next.",
        permission="dags.read",
    ),
    Command(
        name="dags show",
        magic="%dag show",
        help="The graph of a DAG, or of one of its runs.",
        permission="dags.read",
        arguments=(
            DAG_ID,
            argument(
                "run", "--run", type=RUN, required=False, metavar="RUN", help=f"With the states of a run: {WHICH_RUN}."
            ),
        ),
        example="sales --run last",
    ),
    Command(
        name="dags list-runs",
        magic="%dag runs",
        help="The runs of a DAG, newest first.",
        permission="dags.read",
        arguments=(argument("dag_id", "-d", "--dag-id", type=DAG, metavar="DAG_ID", help="Id of the DAG."),),
        example="sales",
    ),
    Command(
        name="dags next-execution",
        magic="%dag next",
        help="The next runs of the schedule.",
        permission="dags.read",
        arguments=(
            DAG_ID,
            argument("number", "-n", "--num-executions", type=WHOLE, default=1, help="How many (default: 1)."),
        ),
        example="sales 10",
    ),
    Command(
        name="dags pause",
        magic="%dag pause",
        help="Make no new scheduled runs of a DAG, and start no waiting ones.",
        permission="dags.edit",
        changes=True,
        arguments=(DAG_ID, PATTERN),
        example="sales",
        run=partial(_set_paused, True),
        preview=partial(_paused_preview, True),
        confirmation=partial(_paused_question, "Pause"),
    ),
    Command(
        name="dags unpause",
        magic="%dag unpause",
        help="Schedule a DAG again.",
        permission="dags.edit",
        changes=True,
        arguments=(DAG_ID, PATTERN),
        example="sales",
        run=partial(_set_paused, False),
        preview=partial(_paused_preview, False),
        confirmation=partial(_paused_question, "Unpause"),
    ),
    Command(
        name="dags delete",
        help="Delete a DAG and its history.",
        permission="dags.delete",
        changes=True,
        arguments=(DAG_ID,),
        example="sales",
        run=_delete,
        preview=_delete_preview,
        confirmation=_delete_question,
    ),
    Command(
        name="grid",
        magic="%dag grid",
        terminal=False,
        help="The newest runs of a DAG as columns, its tasks as rows.",
        permission="dags.read",
        arguments=(DAG_ID, argument("-n", "--number", type=WHOLE, default=25, help="How many runs (default: 25).")),
        example="sales",
    ),
    Command(
        name="gantt",
        magic="%dag gantt",
        terminal=False,
        help="Where a run's time went.",
        permission="dags.read",
        arguments=(DAG_ID, RUN_ID),
        example="sales",
    ),
    Command(
        name="simulate",
        magic="%dag simulate",
        help="Simulate days of scheduling in seconds. No task's code is run.",
        permission="dags.read",
        arguments=(
            DAG_ID,
            argument("--days", type=NUMBER, default=7.0, help="Days to simulate (default: 7)."),
            argument(
                "-s", "--start", "--start-date", name="start_date", type=DATE, help="The first day (default: now)."
            ),
            argument("--seed", type=INTEGER, help="Draw outcomes from this seed (default: [sim] seed)."),
        ),
        example="sales --days 14",
    ),
    Command(
        name="schedule",
        magic="%dag schedule",
        terminal=False,
        help="Run a notebook on a schedule, by papermill.",
        permission="dags.create",
        changes=True,
        arguments=(
            argument("notebook", type=FILE, help="The notebook."),
            argument(
                "--cron",
                type=CRON,
                required=True,
                metavar='"0 6 * * *"',
                example='"0 6 * * *"',
                help="When: a cron expression or a preset.",
            ),
            argument("--name", metavar="NAME", help="The DAG's id (default: the notebook's name)."),
            argument("-p", "--param", type=PAIR, repeated=True, help="A parameter; may be repeated."),
        ),
        example='report.ipynb --cron "0 6 * * 1" -p country=DE',
    ),
)
