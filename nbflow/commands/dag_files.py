"""Commands on DAG files: their import errors and loading times. They load the files, which runs the files' code."""

from __future__ import annotations

from nbflow.command_arguments import FILE, argument
from nbflow.commands.base import Command

COMMANDS = (
    Command(
        name="dags check",
        help="List every error of DAG files with its line number; exit code 1 if there are any.",
        permission="dags.read",
        arguments=(
            argument("file", repeated=True, required=True, type=FILE, metavar="FILE", help="DAG files or folders."),
        ),
        example="dags/sales.py",
    ),
    Command(
        name="dags list-import-errors",
        help="List the import errors of DAG files.",
        permission="dags.read",
    ),
    Command(
        name="dags report",
        help="List the loading time and the DAGs of each DAG file.",
        permission="dags.read",
    ),
    Command(
        name="lint",
        help="Check DAG files; exit code 1 if there are errors.",
        permission="dags.read",
        arguments=(
            argument(
                "file", repeated=True, type=FILE, metavar="FILE", help="Files or folders (default: the DAGs folder)."
            ),
        ),
        example="dags/sales.py",
    ),
)
