"""db clean, export-archived, drop-archived."""

from __future__ import annotations

from nbflow.cli import output
from nbflow.cli.invocation import Call
from nbflow.cli.terminal_command import OUTPUT, YES, run_and_print, terminal_command
from nbflow.commands import command_named
from nbflow.commands.base import Result
from nbflow.suggested_commands import suggest

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


ARCHIVE_COMMANDS = (
    terminal_command("db clean", YES, OUTPUT, run=clean),
    terminal_command("db export-archived", YES, OUTPUT, to_stderr=True),
    terminal_command("db drop-archived", YES, OUTPUT),
)
