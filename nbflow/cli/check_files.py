"""Checks of DAG files: import errors with their line numbers, and loading times."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from nbflow.cli import find_dag, output
from nbflow.cli.invocation import Call
from nbflow.cli.terminal_command import BUNDLE, FORMATS, LOCAL, OUTPUT, SUBDIR, terminal_command
from nbflow.command_arguments import argument

if TYPE_CHECKING:
    from nbflow.sources.loading import Loaded

ERROR_COLUMNS = ("filepath", "line", "error")
REPORT_COLUMNS = ("file", "seconds", "dag_num", "task_num", "dags", "errors")


def list_import_errors(call: Call) -> None:
    from nbflow.views.import_errors import ImportErrorsQuery

    args = call.args
    if args.local or args.subdir:
        rows = [row for loaded in find_dag.load_all(call, args.subdir) for row in _error_rows(loaded)]
    else:
        rows = [
            {"filepath": row.fileloc, "line": row.line, "error": f"{row.cell}: {row.error}" if row.cell else row.error}
            for row in call.fetch(ImportErrorsQuery()).rows
        ]
        find_dag.note_unparsed_files(call)
    call.show(rows, empty="No import errors.", columns=ERROR_COLUMNS)


def _error_rows(loaded: Loaded) -> list[dict[str, Any]]:
    return [
        {
            "filepath": loaded.path,
            "line": error.line,
            "error": f"{error.cell}: {error.message}" if error.cell else error.message,
        }
        for error in loaded.import_errors
    ]


def check(call: Call) -> int:
    """Print every error of the files, with its line number; warnings go to stderr."""
    args = call.args
    files = [path for file in args.file for path in find_dag.files_of(call, file)]
    return check_files(call, load_files(call, files), args.output)


def load_files(call: Call, paths: Sequence[str]) -> list[Loaded]:
    """Load the files, with a progress bar on a terminal."""
    from nbflow.cli.progress import Progress

    files: list[Loaded] = []
    with Progress(len(paths) if len(paths) > 1 else 0, "files", transient=True) as progress:
        for path in paths:
            progress.update(len(files), sum(bool(loaded.import_errors) for loaded in files))
            files.append(find_dag.load(call, path))
    return files


def check_files(call: Call, files: Iterable[Loaded], output_format: str | None) -> int:
    """Print the errors of the files, without a format as lines. The exit code is 1 if there are any errors."""
    rows: list[dict[str, Any]] = []
    for loaded in files:
        file_rows = _error_rows(loaded)
        if not file_rows and not loaded.dags:
            file_rows = [{"filepath": loaded.path, "line": None, "error": "the file defines no DAG"}]
        rows += file_rows
        for warning in loaded.warnings:
            output.warn(f"{loaded.path}: {warning}")
        if output_format is None:
            _print_check(call, loaded, file_rows)
    if output_format is not None:
        call.show(rows, empty="No errors.", columns=ERROR_COLUMNS)
    return 1 if rows else 0


def _print_check(call: Call, loaded: Loaded, rows: list[dict[str, Any]]) -> None:
    lines = find_dag.error_lines(loaded.path, loaded.import_errors)
    for line in lines or [f"{row['filepath']}: {row['error']}" for row in rows]:
        print(output.printable(line))
    if not rows:
        names = ", ".join(dag.dag_id for dag in loaded.dags)
        print(output.printable(f"{loaded.path}: {names}: no errors"))
    if call.args.verbose:
        for error in loaded.import_errors:
            output.note(error.detail)


def report(call: Call) -> None:
    import time

    rows: list[dict[str, Any]] = []
    for path in find_dag.files_of(call, call.args.subdir):
        start = time.perf_counter()
        loaded = find_dag.load(call, path)
        rows.append(
            {
                "file": path,
                "seconds": round(time.perf_counter() - start, 4),
                "dag_num": len(loaded.dags),
                "task_num": sum(len(spec.tasks) for spec in loaded.specs.values()),
                "dags": ", ".join(loaded.specs),
                "errors": len(loaded.import_errors),
            }
        )
    rows.sort(key=lambda row: -row["seconds"])
    call.show(rows, empty="No DAG files.", columns=REPORT_COLUMNS)


COMMANDS = (
    terminal_command(
        "dags check",
        argument("-o", "--output", choices=FORMATS, help="Output format (default: lines)."),
        run=check,
    ),
    terminal_command("dags list-import-errors", OUTPUT, LOCAL, SUBDIR, BUNDLE, run=list_import_errors),
    terminal_command("dags report", OUTPUT, SUBDIR, BUNDLE, run=report),
)
