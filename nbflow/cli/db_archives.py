"""db clean, and the archives of what it deleted: export-archived, drop-archived."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

from nbflow.arguments import DATE, NAMES, argument, switch
from nbflow.cli import output
from nbflow.cli.declaring import OUTPUT, YES, Command
from nbflow.cli.invocation import Call, UsageError
from nbflow.errors import NbflowError, did_you_mean

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


def clean(call: Call) -> int:
    args, store = call.args, call.app.store
    before = call.date(args.clean_before_timestamp)
    assert before is not None
    dag_ids, tables = _dag_ids(call), _tables(call)
    if args.exclude_dag_ids and not dag_ids:  # every DAG is spared; no DAG named would be all of them
        tables = [name for name in tables if name in ("job", "audit")]
    prune = partial(store.prune, before=before, dag_ids=dag_ids, tables=tables)
    counts = prune(dry_run=True)
    rows = [{"table": table, "rows": count} for table, count in sorted(counts.items())]
    if args.dry_run or not rows:
        call.show(rows, empty="Nothing to delete.", columns=("table", "rows"))
        return 0
    kept = "They are not kept." if args.skip_archive else "They are kept in archives."
    total, when = sum(counts.values()), output.iso(before, timespec="seconds")
    if not call.sure(f"Delete {total} rows of what ended before {when}? {kept}"):
        return 1
    now = call.now()
    done = prune(archive=None if args.skip_archive else now)
    detail = {"before": before.isoformat(), "rows": sum(done.values()), "archived": not args.skip_archive}
    store.audit("db_clean", actor=call.actor, now=now, detail=detail)
    call.show([{"table": table, "rows": count} for table, count in sorted(done.items())], columns=("table", "rows"))
    if done and not args.skip_archive:
        output.say(
            "They are kept: nbflow db export-archived writes them to files, nbflow db drop-archived deletes them."
        )
    return 0


def _dag_ids(call: Call) -> list[str]:
    """Of which DAGs; none: of all."""
    dag_ids, spared = call.args.dag_ids or [], call.args.exclude_dag_ids or []
    known = {run.dag_id for run in call.app.store.dags(include_stale=True)}
    for name in (*dag_ids, *spared):
        call.operations.version(name)
    return [name for name in dag_ids or sorted(known) if name not in spared] if spared else dag_ids


def _tables(call: Call) -> Sequence[str]:
    from nbflow.store.base import PRUNABLE

    asked = [AIRFLOWS.get(name, name) for name in call.args.tables or ()]
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
    return ("dag_run",) if call.args.dag_ids or call.args.exclude_dag_ids else PRUNABLE


# ------------------------------------------------------------------------------------------------------------ archives


def export(call: Call) -> int:
    args, store = call.args, call.app.store
    folder = Path(args.output_path).expanduser()
    if not folder.is_dir():
        raise NbflowError(f"There is no folder {args.output_path}.", hint="--output-path names one that is there.")
    chosen = _chosen(call)
    if not chosen:
        output.say(NONE)
        return 0
    if args.drop_archives and not call.sure(f"Write {_these(chosen)} to {folder}, and drop them?"):
        return 1
    rows = []
    for name in chosen:
        path = folder / f"{name}.csv"
        rows.append({"archive": name, "rows": _write_csv(path, store.archived(name)), "file": path})
        if args.drop_archives:
            store.drop_archives([name])
    call.show(rows)
    return 0


def drop(call: Call) -> int:
    chosen = _chosen(call)
    if not chosen:
        output.say(NONE)
        return 0
    if not call.sure(f"Drop {_these(chosen)}? What they hold is lost."):
        return 1
    call.app.store.drop_archives(list(chosen))
    call.app.store.audit("db_drop_archived", actor=call.actor, now=call.now(), detail={"archives": list(chosen)})
    call.show([{"archive": name, "rows": count} for name, count in chosen.items()])
    return 0


NONE = "There are no such archives."


def _these(chosen: Mapping[str, int]) -> str:
    return f"{len(chosen)} archives with {sum(chosen.values())} rows"


def _chosen(call: Call) -> Mapping[str, int]:
    """The archives of the tables that were asked for, with the number of their rows."""
    from nbflow.store.base import archived_table

    found = call.app.store.archives()
    asked = [AIRFLOWS.get(name, name) for name in call.args.tables or ()]
    known = {archived_table(name) for name in found}
    for name in asked:
        if found and name not in known:
            raise NbflowError(
                f"There is no archive of {name!r}.{did_you_mean(name, known)}",
                hint=f"There are some of: {', '.join(sorted(known))}.",
            )
    return {name: count for name, count in found.items() if not asked or archived_table(name) in asked}


def _write_csv(path: Path, lines: Iterator[Sequence[Any]]) -> int:
    """Write the file whole or not at all, for its owner's eyes alone: it holds what runs were given. Returns its number
    of rows."""
    beside = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        handle = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(handle, "w", encoding="utf-8", newline="") as file:
                writer, count = csv.writer(file), -1
                for line in lines:
                    writer.writerow([_csv_cell(value) for value in line])
                    count += 1
            os.replace(beside, path)
        except BaseException:
            beside.unlink(missing_ok=True)
            raise
    except OSError as fault:
        raise NbflowError(f"{path} cannot be written: {fault.strerror}.") from None
    return count


def _csv_cell(value: Any) -> Any:
    return output.iso(value) if isinstance(value, datetime) else value


_OF_TABLES = argument("-t", "--tables", type=NAMES, help="Only the archives of these tables.")

ARCHIVE_COMMANDS = (
    Command(
        name="db clean",
        help="Delete what is over since long: runs with all that hangs on them, and more.",
        more="tables: dag_run (with all of a run), xcom, rendered, job, audit. What is deleted is kept in archives.",
        run=clean,
        arguments=(
            argument("--clean-before-timestamp", required=True, type=DATE, help="What ended before this."),
            argument("-t", "--tables", type=NAMES, help="Only these tables (all; with named DAGs dag_run)."),
            argument("--dag-ids", type=NAMES, help="Only of these DAGs."),
            argument("--exclude-dag-ids", type=NAMES, help="Not of these DAGs."),
            switch("--dry-run", help="Only count."),
            switch("--skip-archive", help="Do not keep what is deleted."),
            YES,
            OUTPUT,
        ),
    ),
    Command(
        name="db export-archived",
        help="Write what db clean has kept to files.",
        run=export,
        arguments=(
            argument("--output-path", required=True, metavar="FOLDER", help="Where: a file an archive."),
            argument("--export-format", choices=("csv",), default="csv", help="Form of the files (csv)."),
            _OF_TABLES,
            switch("--drop-archives", help="Delete each archive once it is written."),
            YES,
            OUTPUT,
        ),
    ),
    Command(
        name="db drop-archived", help="Delete what db clean has kept.", run=drop, arguments=(_OF_TABLES, YES, OUTPUT)
    ),
)
