"""lint: check all DAG files."""

from __future__ import annotations

from nbflow.cli import find_dag
from nbflow.cli.invocation import Call
from nbflow.cli.terminal_command import FORMATS, terminal_command
from nbflow.command_arguments import argument
from nbflow.errors import NbflowError


def lint(call: Call) -> int:
    from nbflow.cli.check_files import check_files, load_files

    selected = call.args.file or [None]
    files = load_files(call, [path for file in selected for path in find_dag.dag_files_of(call, file)])
    if not files:
        raise NbflowError(f"No DAG files in {', '.join(map(str, call.args.file)) or _folder(call)}.")
    return check_files(call, files, call.args.output)


def _folder(call: Call) -> str:
    return str(call.settings.core.dags_folder)


COMMANDS = (
    terminal_command(
        "lint", argument("-o", "--output", choices=FORMATS, help="Output format (default: lines)."), run=lint
    ),
)
