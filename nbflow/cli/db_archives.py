"""db clean, export-archived, drop-archived."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from nbflow.cli import output
from nbflow.cli.command_declarations import OUTPUT, YES, Command, run_and_print, terminal_command
from nbflow.cli.invocation import Call
from nbflow.command_arguments import argument, switch
from nbflow.commands import command_named
from nbflow.commands.base import Result
from nbflow.commands.metastore import NO_ARCHIVES, OF_TABLES, archive_counts, selected_archives
from nbflow.errors import NbflowError
from nbflow.suggestions import suggest

COLUMNS = ("table", "rows")
NO_ROWS = "No rows to delete."


def clean(call: Call) -> int:
    command = command_named("db clean")
    if call.args.dry_run:
        preview = command.preview(call.context, call.args)
        assert preview is not None
        call.show(preview.items, empty=NO_ROWS, columns=COLUMNS)
        return 0
    return run_and_print(command, call, show=_show_cleaned)


def _show_cleaned(call: Call, result: Result) -> None:
    call.show(result.rows, empty=NO_ROWS, columns=COLUMNS)
    if result.rows and not call.args.skip_archive:
        export, drop = suggest("db export-archived", "--output-path", "FOLDER"), suggest("db drop-archived")
        output.note(f"The rows are archived. Write them to files with: {export}. Delete them with: {drop}")


# ------------------------------------------------------------------------------------------------------------ archives


def export(call: Call) -> int:
    from nbflow.services.db_maintenance import drop_archives

    args, store = call.args, call.app.store
    folder = Path(args.output_path).expanduser()
    if not folder.is_dir():
        raise NbflowError(f"There is no folder {args.output_path}.", hint="Pass an existing one with --output-path.")
    archives = selected_archives(call.context, args)
    if not archives:
        output.note(NO_ARCHIVES)
        return 0
    if args.drop_archives and not call.confirm(f"Write {archive_counts(archives)} to {folder}, and drop them?"):
        return 1
    rows = []
    for name in archives:
        path = folder / f"{name}.csv"
        rows.append({"archive": name, "rows": _write_csv(path, store.archived(name)), "file": path})
        if args.drop_archives:
            drop_archives(call.operations, [name])
    call.show(rows)
    return 0


def _write_csv(path: Path, lines: Iterator[Sequence[Any]]) -> int:
    """Write the file atomically with mode 0600, since it contains the conf of runs. ``lines``: the heading and the
    rows. Returns the number of rows."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(handle, "w", encoding="utf-8", newline="") as file:
                writer, count = csv.writer(file), -1
                for line in lines:
                    writer.writerow([_csv_cell(value) for value in line])
                    count += 1
            os.replace(temporary, path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise NbflowError(f"Cannot write {path}: {error.strerror}.") from None
    return count


def _csv_cell(value: Any) -> Any:
    return output.iso(value) if isinstance(value, datetime) else value


ARCHIVE_COMMANDS = (
    terminal_command("db clean", YES, OUTPUT, run=clean),
    Command(
        name="db export-archived",
        help="Write the archives that db clean created to files.",
        run=export,
        arguments=(
            argument(
                "--output-path", required=True, metavar="FOLDER", help="Folder to write to, one file per archive."
            ),
            argument("--export-format", choices=("csv",), default="csv", help="Format of the files (default: csv)."),
            OF_TABLES,
            switch("--drop-archives", help="Drop each archive after it was written."),
            YES,
            OUTPUT,
        ),
    ),
    terminal_command("db drop-archived", YES, OUTPUT),
)
