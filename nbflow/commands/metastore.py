"""Commands on the metastore as a whole: its tables, cleaning, archives, Fernet key rotation."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from nbflow.command_arguments import DATE, INTEGER, NAMES, NUMBER, UsageError, Values, argument, switch
from nbflow.commands.base import Audit, Command, Preview, Refused, Result, Row
from nbflow.errors import NbflowError, StoreError, did_you_mean
from nbflow.store.base import PRUNABLE, archived_table
from nbflow.suggested_commands import STOP_SCHEDULER

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from nbflow.commands.context import Context

AIRFLOW_TABLES = {"log": "audit"}
"""Airflow's name of a table -> nbflow's name."""
TABLES_OF_RUNS = (
    "task_instance",
    "task_instance_history",
    "task_event",
    "attempt",
    "callback",
    "callback_request",
    "trigger",
)
"""Tables whose rows are deleted only with their run, by nbflow's and Airflow's names."""


# -------------------------------------------------------------------------------------------------------------- tables


def _init(context: Context, args: Values) -> Result:
    from nbflow.services.db_maintenance import migrate_tables

    migrate_tables(context.store)
    return Result(text=f"{context.store.url} is ready; the home is {context.settings.home}.")


def _migrate(context: Context, args: Values) -> Result:
    from nbflow.services.db_maintenance import migrate_tables

    migrate_tables(context.store)
    return Result(text=f"{context.store.url} is up to date.")


def _refuse_while_scheduler_runs(context: Context, args: Values) -> list[Refused]:
    from nbflow.services.schedulers import running_schedulers

    if not _has_tables(context):
        return []  # without tables there is no scheduler
    return [
        Refused(
            f"A scheduler is running on {context.store.url} (pid {job.pid} on {job.hostname}).",
            hint=f"Stop it first with: {STOP_SCHEDULER}",
            suggestions=(STOP_SCHEDULER,),
        )
        for job in running_schedulers(context.store, context.settings, context.now())
    ]


def _has_tables(context: Context) -> bool:
    """Whether the metastore has the tables of this version."""
    try:
        context.store.check()
    except StoreError:
        return False
    return True


def _refuse_downgrade(context: Context, args: Values) -> list[Refused]:
    if args.to_revision is None:
        raise UsageError("nbflow db downgrade: no revision.", hint="Pass -r REVISION; base removes all tables.")
    return _refuse_while_scheduler_runs(context, args)


def _downgrade_preview(context: Context, args: Values) -> Preview:
    text = f"The tables of {context.store.url} would be downgraded to revision {args.to_revision}."
    return Preview(text=text, items=({"metastore": context.store.url, "revision": args.to_revision},))


def _downgrade_question(context: Context, args: Values, preview: Preview | None) -> str:
    return f"Downgrade the tables of {context.store.url} to revision {args.to_revision}? Newer columns are lost."


def _downgrade(context: Context, args: Values) -> Result:
    from nbflow.services.db_maintenance import downgrade_tables

    downgrade_tables(context.store, args.to_revision)
    return Result(text=f"The tables of {context.store.url} are at revision {args.to_revision}.")


def _reset_preview(context: Context, args: Values) -> Preview:
    """The numbers of rows that would be lost, archives included."""
    text = f"Everything in {context.store.url} would be deleted."
    if not _has_tables(context):
        return Preview(text=text)
    counts = {**context.store.row_counts(), **context.store.archives()}
    return Preview(text=text, items=_rows({table: rows for table, rows in counts.items() if rows}))


def _reset_question(context: Context, args: Values, preview: Preview | None) -> str:
    return f"Delete everything in {context.store.url}?"


def _reset(context: Context, args: Values) -> Result:
    from nbflow.services.db_maintenance import empty

    empty(context.store, recreate=not args.skip_init)
    return Result(text=f"{context.store.url} is empty{'' if args.skip_init else ' and ready'}.")


# ------------------------------------------------------------------------------------------------------------ cleaning


def _delete_rows(context: Context, args: Values, *, dry_run: bool) -> Mapping[str, int]:
    from nbflow.services.db_maintenance import clean

    before = _before(context, args)
    dag_ids, tables = _dag_ids(context, args), _tables(args)
    if args.exclude_dag_ids and not dag_ids:  # all DAGs are excluded, but an empty list would select all DAGs
        tables = [name for name in tables if name in ("job", "audit")]
    return clean(
        context.operations, before, dag_ids=dag_ids, tables=tables, archive=not args.skip_archive, dry_run=dry_run
    )


def _before(context: Context, args: Values) -> datetime:
    before = context.date(args.clean_before_timestamp)
    assert before is not None
    return before


def _dag_ids(context: Context, args: Values) -> list[str]:
    """Ids of the selected DAGs; an empty list selects all DAGs."""
    dag_ids, excluded = args.dag_ids or [], args.exclude_dag_ids or []
    known = {row.dag_id for row in context.store.dags(include_stale=True)}
    for dag_id in (*dag_ids, *excluded):
        context.operations.version(dag_id)
    return [dag_id for dag_id in dag_ids or sorted(known) if dag_id not in excluded] if excluded else dag_ids


def _tables(args: Values) -> Sequence[str]:
    tables = [AIRFLOW_TABLES.get(name, name) for name in args.tables or ()]
    for name in tables:
        if name in TABLES_OF_RUNS:
            raise UsageError(f"Rows of {name} are deleted only with their run.", hint="Pass --tables dag_run.")
        if name not in PRUNABLE:
            raise UsageError(
                f"Table {name!r} cannot be cleaned.{did_you_mean(name, PRUNABLE)}",
                hint=f"Tables: {', '.join(PRUNABLE)}.",
            )
    if tables:
        return tables
    # With selected DAGs, rows that belong to no DAG are not deleted.
    return ("dag_run",) if args.dag_ids or args.exclude_dag_ids else PRUNABLE


def _rows(counts: Mapping[str, int]) -> tuple[Row, ...]:
    return tuple({"table": table, "rows": count} for table, count in sorted(counts.items()))


def _clean_preview(context: Context, args: Values) -> Preview:
    counts = _delete_rows(context, args, dry_run=True)
    return Preview(text=f"{sum(counts.values())} rows would be deleted.", items=_rows(counts))


def _clean_question(context: Context, args: Values, preview: Preview | None) -> str:
    total = sum(item["rows"] for item in preview.items) if preview else 0
    archives = "without archiving them" if args.skip_archive else "and keep them in archives"
    before = _before(context, args).isoformat(timespec="seconds")
    return f"Delete {total} rows from before {before} {archives}?" if total else ""


def _clean(context: Context, args: Values) -> Result:
    counts = _delete_rows(context, args, dry_run=False)
    return Result(text=f"{sum(counts.values())} rows were deleted.", rows=_rows(counts), value=dict(counts))


# ------------------------------------------------------------------------------------------------------------ archives


def selected_archives(context: Context, args: Values) -> Mapping[str, int]:
    """The archives of the selected tables: name -> number of rows."""
    archives = context.store.archives()
    tables = [AIRFLOW_TABLES.get(name, name) for name in args.tables or ()]
    known = {archived_table(name) for name in archives}
    for table in tables:
        if archives and table not in known:
            raise NbflowError(
                f"Table {table!r} has no archive.{did_you_mean(table, known)}",
                hint=f"Tables with archives: {', '.join(sorted(known))}.",
            )
    return {name: count for name, count in archives.items() if not tables or archived_table(name) in tables}


def archive_counts(archives: Mapping[str, int]) -> str:
    """``2 archives with 30 rows``"""
    return f"{len(archives)} archives with {sum(archives.values())} rows"


NO_ARCHIVES = "No archives."


def _archive_rows(archives: Mapping[str, int]) -> tuple[Row, ...]:
    return tuple({"archive": name, "rows": count} for name, count in archives.items())


def _folder(args: Values) -> Path:
    folder = Path(args.output_path).expanduser()
    if not folder.is_dir():
        raise NbflowError(f"There is no folder {args.output_path}.", hint="Pass an existing one with --output-path.")
    return folder


def _export_preview(context: Context, args: Values) -> Preview:
    folder, archives = _folder(args), selected_archives(context, args)
    dropped = " and dropped" if args.drop_archives else ""
    items = tuple({**row, "file": folder / f"{row['archive']}.csv"} for row in _archive_rows(archives))
    return Preview(text=f"{archive_counts(archives)} would be written to {folder}{dropped}.", items=items)


def _export_question(context: Context, args: Values, preview: Preview | None) -> str:
    archives = {item["archive"]: item["rows"] for item in preview.items} if preview else {}
    asks = args.drop_archives and archives
    return f"Write {archive_counts(archives)} to {_folder(args)}, and drop them?" if asks else ""


def _export(context: Context, args: Values) -> Result:
    from nbflow.services.db_maintenance import drop_archives, export_archive

    folder, rows = _folder(args), []
    for name in selected_archives(context, args):
        path = folder / f"{name}.csv"
        rows.append({"archive": name, "rows": export_archive(context.store, name, path), "file": path})
        if args.drop_archives:
            drop_archives(context.operations, [name])
    if not rows:
        return Result(text=NO_ARCHIVES)
    return Result(text=f"{len(rows)} archives were written to {folder}.", rows=tuple(rows), value=rows)


def _drop_preview(context: Context, args: Values) -> Preview:
    archives = selected_archives(context, args)
    return Preview(text=f"{archive_counts(archives)} would be dropped.", items=_archive_rows(archives))


def _drop_question(context: Context, args: Values, preview: Preview | None) -> str:
    archives = {item["archive"]: item["rows"] for item in preview.items} if preview else {}
    return f"Drop {archive_counts(archives)}? Their rows are lost." if archives else ""


def _drop(context: Context, args: Values) -> Result:
    from nbflow.services.db_maintenance import drop_archives

    archives = selected_archives(context, args)
    if not archives:
        return Result(text=NO_ARCHIVES)
    drop_archives(context.operations, list(archives))
    return Result(text=f"{archive_counts(archives)} were dropped.", rows=_archive_rows(archives), value=list(archives))


def _rotate(context: Context, args: Values) -> Result:
    from nbflow.services.db_maintenance import rotate_secrets

    count = rotate_secrets(context.operations)
    return Result(text=f"{count} secrets were re-encrypted with the newest Fernet key.", value=count)


USE_MIGRATION_FILES = switch("-m", "--use-migration-files", help="Ignored: migrations are always used.")
OF_TABLES = argument("-t", "--tables", type=NAMES, help="Only archives of these tables.")

COMMANDS = (
    Command(
        name="db init",
        help="Create the home, its settings file and the tables.",
        permission="metastore.edit",
        changes=True,
        audit=Audit.COMMAND,
        migrates=False,
        run=_init,
    ),
    Command(
        name="db migrate",
        aliases=("db upgrade",),
        help="Create or migrate the tables.",
        permission="metastore.edit",
        changes=True,
        audit=Audit.COMMAND,
        migrates=False,
        arguments=(USE_MIGRATION_FILES,),
        run=_migrate,
    ),
    Command(
        name="db downgrade",
        help="Downgrade the tables.",
        permission="metastore.edit",
        changes=True,
        audit=Audit.COMMAND,
        migrates=False,
        arguments=(
            argument("-r", "--to-revision", metavar="REVISION", help="Target revision; base removes all tables."),
            argument("--from-revision", metavar="REVISION", help="Ignored: the tables store their revision."),
        ),
        example="-r 0003",
        run=_downgrade,
        preview=_downgrade_preview,
        confirmation=_downgrade_question,
        refusals=_refuse_downgrade,
    ),
    Command(
        name="db check",
        help="Check that the metastore is reachable and its tables are up to date.",
        permission="metastore.read",
        migrates=False,
        arguments=(
            argument("--retry", type=INTEGER, default=0, help="Number of retries (default: 0)."),
            argument(
                "--retry-delay",
                type=NUMBER,
                default=1.0,
                metavar="SECONDS",
                help="Seconds between retries (default: 1).",
            ),
        ),
    ),
    Command(
        name="db check-migrations",
        help="Wait until the tables are up to date.",
        permission="metastore.read",
        migrates=False,
        arguments=(
            argument(
                "-t",
                "--migration-wait-timeout",
                type=NUMBER,
                default=60,
                metavar="SECONDS",
                help="Seconds to wait (default: 60).",
            ),
        ),
    ),
    Command(
        name="db reset",
        help="Delete all data of the metastore.",
        permission="metastore.edit",
        changes=True,
        audit=Audit.COMMAND,
        migrates=False,
        arguments=(switch("-s", "--skip-init", help="Do not create the tables again."), USE_MIGRATION_FILES),
        run=_reset,
        preview=_reset_preview,
        confirmation=_reset_question,
        refusals=_refuse_while_scheduler_runs,
    ),
    Command(
        name="db clean",
        help="Delete old runs with all their rows, old jobs and audit entries.",
        epilog="Tables: dag_run (with all rows of a run), xcom, rendered, job, audit. Deleted rows are archived.",
        permission="metastore.edit",
        changes=True,
        arguments=(
            argument("--clean-before-timestamp", required=True, type=DATE, help="Delete rows from before this date."),
            argument("-t", "--tables", type=NAMES, help="Only these tables (default: all; with --dag-ids: dag_run)."),
            argument("--dag-ids", type=NAMES, help="Only rows of these DAGs."),
            argument("--exclude-dag-ids", type=NAMES, help="No rows of these DAGs."),
            switch("--dry-run", help="Only count the rows that would be deleted."),
            switch("--skip-archive", help="Do not keep deleted rows in archives."),
        ),
        example="--clean-before-timestamp 2024-01-01",
        run=_clean,
        preview=_clean_preview,
        confirmation=_clean_question,
    ),
    Command(
        name="db export-archived",
        help="Write the archives that db clean created to files.",
        permission="metastore.edit",
        changes=True,
        arguments=(
            argument(
                "--output-path", required=True, metavar="FOLDER", help="Folder to write to, one file per archive."
            ),
            argument("--export-format", choices=("csv",), default="csv", help="Format of the files (default: csv)."),
            OF_TABLES,
            switch("--drop-archives", help="Drop each archive after it was written."),
        ),
        example="--output-path archives",
        run=_export,
        preview=_export_preview,
        confirmation=_export_question,
    ),
    Command(
        name="db drop-archived",
        help="Drop the archives that db clean created.",
        permission="metastore.edit",
        changes=True,
        arguments=(OF_TABLES,),
        run=_drop,
        preview=_drop_preview,
        confirmation=_drop_question,
    ),
    Command(
        name="db shell",
        help="Open sqlite3 or psql on the metastore.",
        permission="metastore.edit",
        changes=True,
        audit=Audit.NOBODY,
        migrates=False,
    ),
    Command(
        name="rotate-fernet-key",
        help="Re-encrypt stored secrets with the newest Fernet key.",
        permission="metastore.edit",
        changes=True,
        run=_rotate,
    ),
)
