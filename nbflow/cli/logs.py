"""logs: the log of a task's try."""

from __future__ import annotations

from nbflow.cli import output
from nbflow.cli.declaring import terminal_command
from nbflow.cli.invocation import Call


def logs(call: Call) -> int:
    """Print the lines to stdout and their task instance to stderr. The exit code is 1 without lines."""
    from nbflow.views.task_log import TaskLogQuery, find_logged

    args = call.args
    task, run_id = call.context.task_or_run(args.dag_id, args.task_id, args.run)
    run = call.operations.find_run(args.dag_id, run_id)
    key = find_logged(call.app.store, run, task)
    query = TaskLogQuery(**run.key._asdict(), **key._asdict(), try_number=args.try_number, search=args.search)
    view = call.fetch(query)
    dropped = f", its last {len(view.lines):,} lines" if view.dropped else ""
    output.note(f"{view.title}{dropped}" if view.lines else f"{view.title}: {view.empty}")
    for line in view.lines:
        print(output.harmless(line.text))
    return 0 if view.lines else 1


COMMANDS = (terminal_command("logs", run=logs, epilog="Exit code 1 if there are no lines."),)
