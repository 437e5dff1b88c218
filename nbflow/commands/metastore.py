"""What changes the metastore as a whole, beside its tables: cleaning it, and the key of its secrets."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nbflow.arguments import DATE, NAMES, UsageError, Values, argument, switch
from nbflow.commands.base import Command, Preview, Result, Row
from nbflow.errors import NbflowError, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from nbflow.commands.context import Context

AIRFLOWS = {"log": "audit"}
"""Airflow's names of tables."""
OF_A_RUN = (
    "task_instance",
    "task_instance_history",
    "task_event",
    "attempt",
    "callback",
    "callback_request",
    "trigger",
)
"""Tables, in our words and Airflow's, whose rows go with their run or not at all."""


# ------------------------------------------------------------------------------------------------------------ cleaning


def _clean_now(context: Context, args: Values, *, dry_run: bool) -> Mapping[str, int]:
    from nbflow.services.maintenance import clean

    before = _before(context, args)
    dag_ids, tables = _dag_ids(context, args), _tables(args)
    if args.exclude_dag_ids and not dag_ids:  # every DAG is spared; no DAG named would be all of them
        tables = [name for name in tables if name in ("job", "audit")]
    return clean(
        context.operations, before, dag_ids=dag_ids, tables=tables, archive=not args.skip_archive, dry_run=dry_run
    )


def _before(context: Context, args: Values) -> datetime:
    before = context.date(args.clean_before_timestamp)
    assert before is not None
    return before


def _dag_ids(context: Context, args: Values) -> list[str]:
    """Of which DAGs; none: of all."""
    dag_ids, spared = args.dag_ids or [], args.exclude_dag_ids or []
    known = {run.dag_id for run in context.store.dags(include_stale=True)}
    for name in (*dag_ids, *spared):
        context.operations.version(name)
    return [name for name in dag_ids or sorted(known) if name not in spared] if spared else dag_ids


def _tables(args: Values) -> Sequence[str]:
    from nbflow.store.base import PRUNABLE

    asked = [AIRFLOWS.get(name, name) for name in args.tables or ()]
    for name in asked:
        if name in OF_A_RUN:
            raise UsageError(
                f"Rows of {name} go with their run, which could not explain itself without them.",
                hint="Say --tables dag_run.",
            )
        if name not in PRUNABLE:
            raise UsageError(
                f"There is nothing called {name!r} to clean.{did_you_mean(name, PRUNABLE)}",
                hint=f"There are: {', '.join(PRUNABLE)}.",
            )
    if asked:
        return asked
    # What belongs to no DAG is left alone where DAGs are named.
    return ("dag_run",) if args.dag_ids or args.exclude_dag_ids else PRUNABLE


def _rows(counts: Mapping[str, int]) -> tuple[Row, ...]:
    return tuple({"table": table, "rows": count} for table, count in sorted(counts.items()))


def _clean_preview(context: Context, args: Values) -> Preview:
    counts = _clean_now(context, args, dry_run=True)
    return Preview(text=f"{sum(counts.values())} rows would be deleted.", items=_rows(counts))


def _clean_question(context: Context, args: Values, preview: Preview | None) -> str:
    total = sum(item["rows"] for item in preview.items) if preview else 0
    kept = "They are not kept." if args.skip_archive else "They are kept in archives."
    when = _before(context, args).isoformat(timespec="seconds")
    return f"Delete {total} rows of what ended before {when}? {kept}" if total else ""


def _clean(context: Context, args: Values) -> Result:
    counts = _clean_now(context, args, dry_run=False)
    return Result(text=f"{sum(counts.values())} rows were deleted.", rows=_rows(counts), value=dict(counts))


# ------------------------------------------------------------------------------------------------------------ archives


def chosen_archives(context: Context, args: Values) -> Mapping[str, int]:
    """The archives of the tables that were asked for, with the number of their rows."""
    from nbflow.store.base import archived_table

    found = context.store.archives()
    asked = [AIRFLOWS.get(name, name) for name in args.tables or ()]
    known = {archived_table(name) for name in found}
    for name in asked:
        if found and name not in known:
            raise NbflowError(
                f"There is no archive of {name!r}.{did_you_mean(name, known)}",
                hint=f"There are some of: {', '.join(sorted(known))}.",
            )
    return {name: count for name, count in found.items() if not asked or archived_table(name) in asked}


def these(chosen: Mapping[str, int]) -> str:
    """In words."""
    return f"{len(chosen)} archives with {sum(chosen.values())} rows"


NO_ARCHIVES = "There are no such archives."


def _archive_rows(chosen: Mapping[str, int]) -> tuple[Row, ...]:
    return tuple({"archive": name, "rows": count} for name, count in chosen.items())


def _drop_preview(context: Context, args: Values) -> Preview:
    chosen = chosen_archives(context, args)
    return Preview(text=f"{these(chosen)} would be dropped.", items=_archive_rows(chosen))


def _drop_question(context: Context, args: Values, preview: Preview | None) -> str:
    chosen = {item["archive"]: item["rows"] for item in preview.items} if preview else {}
    return f"Drop {these(chosen)}? What they hold is lost." if chosen else ""


def _drop(context: Context, args: Values) -> Result:
    from nbflow.services.maintenance import drop_archives

    chosen = chosen_archives(context, args)
    if not chosen:
        return Result(text=NO_ARCHIVES)
    drop_archives(context.operations, list(chosen))
    return Result(text=f"{these(chosen)} were dropped.", rows=_archive_rows(chosen), value=list(chosen))


def _rotate(context: Context, args: Values) -> Result:
    from nbflow.services.maintenance import rotate_secrets

    count = rotate_secrets(context.operations)
    return Result(text=f"{count} secrets are encrypted with the newest key.", value=count)


OF_TABLES = argument("-t", "--tables", type=NAMES, help="Only the archives of these tables.")

COMMANDS = (
    Command(
        name="db clean",
        help="Delete what is over since long: runs with all that hangs on them, and more.",
        more="tables: dag_run (with all of a run), xcom, rendered, job, audit. What is deleted is kept in archives.",
        permission="metastore.edit",
        changes=True,
        arguments=(
            argument("--clean-before-timestamp", required=True, type=DATE, help="What ended before this."),
            argument("-t", "--tables", type=NAMES, help="Only these tables (all; with named DAGs dag_run)."),
            argument("--dag-ids", type=NAMES, help="Only of these DAGs."),
            argument("--exclude-dag-ids", type=NAMES, help="Not of these DAGs."),
            switch("--dry-run", help="Only count."),
            switch("--skip-archive", help="Do not keep what is deleted."),
        ),
        example="--clean-before-timestamp 2024-01-01",
        run=_clean,
        preview=_clean_preview,
        confirmation=_clean_question,
    ),
    Command(
        name="db drop-archived",
        help="Delete what db clean has kept.",
        permission="metastore.edit",
        changes=True,
        arguments=(OF_TABLES,),
        run=_drop,
        preview=_drop_preview,
        confirmation=_drop_question,
    ),
    Command(
        name="rotate-fernet-key",
        help="Encrypt stored secrets with the newest key.",
        permission="metastore.edit",
        changes=True,
        run=_rotate,
    ),
)
