"""Terminal commands: a declared command, the options that only a terminal has, and the function that runs it.

:mod:`nbflow.commands` declares every command. A terminal adds the output format, DAG files to load, ``--yes``, and
filters of listings.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache, partial
from typing import TYPE_CHECKING

from nbflow.cli import output
from nbflow.command_arguments import FILE, Argument, Values, argument, switch
from nbflow.commands import command_named, commands_of
from nbflow.commands.base import Command, Preview, Result, run_command

if TYPE_CHECKING:
    from nbflow.cli.invocation import Call
    from nbflow.commands.context import Context

Run = Callable[["Call"], "int | None"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TerminalCommand:
    """The terminal form of a declared command. ``run`` returns the exit code, None for 0."""

    declared: Command
    run: Run
    options: tuple[Argument, ...] = ()
    """Options that only a terminal has."""
    note: str = ""
    """Replaces the command's epilog."""
    waits: bool = False
    """Wait for a metastore that does not respond."""

    @property
    def name(self) -> str:
        """All its words, e.g. "dags list"."""
        return self.declared.name

    @property
    def aliases(self) -> tuple[str, ...]:
        """Alternative names: "db upgrade"."""
        return self.declared.aliases

    @property
    def help(self) -> str:
        return self.declared.help

    @property
    def arguments(self) -> tuple[Argument, ...]:
        return (*self.declared.arguments, *self.options)

    @property
    def epilog(self) -> str:
        """Text below the options in the help."""
        return self.note or self.declared.epilog


FORMATS = ("table", "json", "yaml", "plain")
OUTPUT = argument("-o", "--output", choices=FORMATS, default="table", help="Output format (default: table).")
SUBDIR = argument(
    "-S",
    "--subdir",
    "-f",
    "--dagfile-path",
    type=FILE,
    help="Load the DAG from this file or folder; no scheduler is needed.",
)
SUBDIR_ONLY = argument("-S", "--subdir", type=FILE, help=SUBDIR.help)
"""For commands in which ``-f`` is another option."""
LOCAL = switch("-l", "--local", help="Load the DAG files instead of reading the metastore.")
BUNDLE = argument("-B", "--bundle-name", repeated=True, help="Ignored: nbflow has a single DAGs folder.")
YES = switch("-y", "--yes", help="Do not ask for confirmation.")


# ------------------------------------------------------------------------------------------------ commands of nbflow


Show = Callable[["Call", Result], "int | None"]
"""Prints a result; returns the exit code, None for 0."""


def terminal_command(
    name: str,
    *options: Argument,
    run: Run | None = None,
    change: Run | None = None,
    show: Show | None = None,
    to_stderr: bool = False,
    epilog: str = "",
    waits: bool = False,
) -> TerminalCommand:
    """The terminal form of a command of :mod:`nbflow.commands`, with additional ``options``. ``run`` fetches a view, or
    prepares arguments and calls :func:`run_and_print`. ``change`` makes the change itself, instead of the command's own
    function. ``show`` prints the result instead of the default."""
    command = command_named(name)
    if change is not None:
        run = partial(_run_change, command, change)
    run = run or partial(run_and_print, command, show=show, to_stderr=to_stderr)
    return TerminalCommand(declared=command, run=run, options=options, note=epilog, waits=waits)


def _run_change(command: Command, change: Run, call: Call) -> int:
    """Make a change with the terminal's own function; like every other one it may be refused and is audited."""
    if getattr(call.args, "dry_run", False):
        return change(call) or 0

    def run(context: Context, args: Values) -> Result:
        code = change(call) or 0
        return Result(text="", value=code, ok=code == 0)

    result = run_command(command, call.context, call.args, run=run)
    assert result is not None
    return int(result.value)


def run_and_print(command: Command, call: Call, *, show: Show | None = None, to_stderr: bool = False) -> int:
    """Run a command and print the rows of its result to stdout in the output format, or its text if it has no rows.
    ``to_stderr`` prints the text to stderr, since it is not a result for scripts. With ``--dry-run``, only the preview
    is printed."""
    if getattr(call.args, "dry_run", False):
        return _print_preview(call, command.preview(call.context, call.args))

    def confirm(question: str, preview: Preview | None) -> bool:
        _note_items(preview)
        return call.confirm(question)

    result = run_command(command, call.context, call.args, confirm=confirm)
    if result is None:
        return 1
    code = 0 if result.ok else 1
    if show is not None:
        code = show(call, result) or code
    elif result.rows and hasattr(call.args, "output"):
        call.show(result.rows)
    elif to_stderr:
        output.note(result.text)
    else:
        print(output.printable(result.text))
    for warning in result.warnings:
        output.warn(warning)
    return code


def _print_preview(call: Call, preview: Preview | None) -> int:
    assert preview is not None
    if hasattr(call.args, "output"):
        call.show(preview.items)
    else:
        _note_items(preview)
        print(output.printable(preview.text))
    return 0


def _note_items(preview: Preview | None) -> None:
    """Print the task instances that the command changes to stderr, one line per run."""
    runs: dict[str, list[str]] = {}
    for item in preview.items if preview else ():
        if "task_id" in item:
            name = item["task_id"] if item["map_index"] < 0 else f"{item['task_id']}[{item['map_index']}]"
            runs.setdefault(f"{item['dag_id']} {item['run_id']}", []).append(name)
    for run, names in runs.items():
        output.note(f"{run}: {', '.join(names)}")


def generated_commands(group: str, defined: Iterable[TerminalCommand]) -> list[TerminalCommand]:
    """Terminal commands for the declared commands of a group that are not ``defined`` in nbflow.cli."""
    names = {command.name for command in defined}
    missing = [command for command in commands_of(group) if command.run is not None and command.name not in names]
    return [_generate(command) for command in missing]


@cache
def _generate(command: Command) -> TerminalCommand:
    return terminal_command(command.name, OUTPUT, *([YES] if command.may_ask else []))
