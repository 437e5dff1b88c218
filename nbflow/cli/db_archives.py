"""db clean, and the archives of what it deleted: export-archived, drop-archived."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from nbflow.arguments import argument, switch
from nbflow.cli import output
from nbflow.cli.declaring import OUTPUT, YES, Command, carried_out, declared
from nbflow.cli.invocation import Call
from nbflow.commands import command_named
from nbflow.commands.base import Result
from nbflow.commands.metastore import NO_ARCHIVES, OF_TABLES, archive_counts, selected_archives
from nbflow.errors import NbflowError
from nbflow.way_out import way

COLUMNS = ("table", "rows")
NOTHING = "Nothing to delete."


def clean(call: Call) -> int:
    one = command_named("db clean")
    if call.args.dry_run:
        preview = one.preview(call.context, call.args)
        assert preview is not None
        call.show(preview.items, empty=NOTHING, columns=COLUMNS)
        return 0
    return carried_out(one, call, show=_show_cleaned)


def _show_cleaned(call: Call, done: Result) -> None:
    call.show(done.rows, empty=NOTHING, columns=COLUMNS)
    if done.rows and not call.args.skip_archive:
        export, drop = way("db export-archived", "--output-path", "FOLDER"), way("db drop-archived")
        output.say(f"They are kept: {export} writes them to files, {drop} deletes them.")


# ------------------------------------------------------------------------------------------------------------ archives


def export(call: Call) -> int:
    from nbflow.services.maintenance import drop_archives

    args, store = call.args, call.app.store
    folder = Path(args.output_path).expanduser()
    if not folder.is_dir():
        raise NbflowError(f"There is no folder {args.output_path}.", hint="--output-path names one that is there.")
    chosen = selected_archives(call.context, args)
    if not chosen:
        output.say(NO_ARCHIVES)
        return 0
    if args.drop_archives and not call.sure(f"Write {archive_counts(chosen)} to {folder}, and drop them?"):
        return 1
    rows = []
    for name in chosen:
        path = folder / f"{name}.csv"
        rows.append({"archive": name, "rows": _write_csv(path, store.archived(name)), "file": path})
        if args.drop_archives:
            drop_archives(call.operations, [name])
    call.show(rows)
    return 0


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


ARCHIVE_COMMANDS = (
    declared("db clean", YES, OUTPUT, run=clean),
    Command(
        name="db export-archived",
        help="Write what db clean has kept to files.",
        run=export,
        arguments=(
            argument("--output-path", required=True, metavar="FOLDER", help="Where: a file an archive."),
            argument("--export-format", choices=("csv",), default="csv", help="Form of the files (csv)."),
            OF_TABLES,
            switch("--drop-archives", help="Delete each archive once it is written."),
            YES,
            OUTPUT,
        ),
    ),
    declared("db drop-archived", YES, OUTPUT),
)
