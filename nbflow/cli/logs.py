"""logs: the log of a try of a task, as it was written."""

from __future__ import annotations

from nbflow.cli import output
from nbflow.cli.declaring import declared
from nbflow.cli.invocation import Call


def logs(call: Call) -> int:
    """Print the lines on stdout and say on stderr whose they are. The exit code is 1 if there is no line."""
    from nbflow.views.task_log import TaskLogQuery, find_logged

    args = call.args
    task, which = call.context.task_or_run(args.dag_id, args.task_id, args.run)
    run = call.operations.find_run(args.dag_id, which)
    key = find_logged(call.app.store, run, task)
    query = TaskLogQuery(**run.key._asdict(), **key._asdict(), try_number=args.try_number, search=args.search)
    view = call.fetch(query)
    dropped = f", its last {len(view.lines):,} lines" if view.dropped else ""
    output.say(f"{view.title}{dropped}" if view.lines else f"{view.title}: {view.empty}")
    for line in view.lines:
        print(output.harmless(line.text))
    return 0 if view.lines else 1


COMMANDS = (declared("logs", run=logs, epilog="Exit code 1 if there is no line."),)
