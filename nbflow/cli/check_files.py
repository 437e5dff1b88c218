"""Checks of DAG files: import errors with their lines, and loading times."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from nbflow.cli import find_dag, output
from nbflow.cli.command_declarations import BUNDLE, FORMATS, LOCAL, OUTPUT, SUBDIR, Command
from nbflow.cli.invocation import Call
from nbflow.command_arguments import FILE, argument

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
        find_dag.note_unread_files(call)
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
    """Print every error of the files, with its line; warnings go to stderr."""
    args = call.args
    files = [path for place in args.file for path in find_dag.files_of(call, place)]
    return check_files(call, load_files(call, files), args.output)


def load_files(call: Call, paths: Sequence[str]) -> list[Loaded]:
    """Load the files, with a progress bar on a terminal."""
    from nbflow.cli.progress import Progress

    found: list[Loaded] = []
    with Progress(len(paths) if len(paths) > 1 else 0, "files", stays=False) as progress:
        for path in paths:
            progress.at(len(found), sum(bool(loaded.import_errors) for loaded in found))
            found.append(find_dag.load(call, path))
    return found


def check_files(call: Call, files: Iterable[Loaded], form: str | None) -> int:
    """Print the errors of the files. The exit code is 1 if there are any."""
    rows: list[dict[str, Any]] = []
    for loaded in files:
        mine = _error_rows(loaded)
        if not mine and not loaded.dags:
            mine = [{"filepath": loaded.path, "line": None, "error": "the file defines no DAG"}]
        rows += mine
        for warning in loaded.warnings:
            output.warn(f"{loaded.path}: {warning}")
        if form is None:
            _print_check(call, loaded, mine)
    if form is not None:
        call.show(rows, empty="No errors.", columns=ERROR_COLUMNS)
    return 1 if rows else 0


def _print_check(call: Call, loaded: Loaded, rows: list[dict[str, Any]]) -> None:
    lines = find_dag.error_lines(loaded.path, loaded.import_errors)
    for line in lines or [f"{row['filepath']}: {row['error']}" for row in rows]:
        print(output.harmless(line))
    if not rows:
        names = ", ".join(dag.dag_id for dag in loaded.dags)
        print(output.harmless(f"{loaded.path}: {names}: no errors"))
    if call.args.verbose:
        for error in loaded.import_errors:
            output.note(error.detail)


def report(call: Call) -> None:
    import time

    rows: list[dict[str, Any]] = []
    for path in find_dag.files_of(call, call.args.subdir):
        began = time.perf_counter()
        loaded = find_dag.load(call, path)
        rows.append(
            {
                "file": path,
                "seconds": round(time.perf_counter() - began, 4),
                "dag_num": len(loaded.dags),
                "task_num": sum(len(spec.tasks) for spec in loaded.specs.values()),
                "dags": ", ".join(loaded.specs),
                "errors": len(loaded.import_errors),
            }
        )
    rows.sort(key=lambda row: -row["seconds"])  # the slowest first
    call.show(rows, empty="No DAG files.", columns=REPORT_COLUMNS)


COMMANDS = (
    Command(
        name="dags check",
        help="List every error of DAG files, with its line; exit code 1 if there are any.",
        run=check,
        arguments=(
            argument("file", repeated=True, required=True, type=FILE, metavar="FILE", help="DAG files or folders."),
            argument("-o", "--output", choices=FORMATS, help="Output format (default: lines)."),
        ),
    ),
    Command(
        name="dags list-import-errors",
        help="List the import errors of DAG files.",
        run=list_import_errors,
        arguments=(OUTPUT, LOCAL, SUBDIR, BUNDLE),
    ),
    Command(
        name="dags report",
        help="List the loading time and the DAGs of each DAG file.",
        run=report,
        arguments=(OUTPUT, SUBDIR, BUNDLE),
    ),
)
