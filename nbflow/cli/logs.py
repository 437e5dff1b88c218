"""logs: show or follow the log of a task's try."""

from __future__ import annotations

import contextlib
import select
import sys
from functools import partial
from typing import TYPE_CHECKING

from nbflow.cli import output
from nbflow.cli.invocation import Call, UsageError
from nbflow.cli.terminal_command import terminal_command
from nbflow.command_arguments import argument

if TYPE_CHECKING:
    from nbflow.core.snapshot import Run, TaskKey

COLUMNS = ("at", "level", "source", "message")
INTERRUPTED = 130


def logs(call: Call) -> int:
    """Print the lines to stdout, and a heading with the task instance to stderr. The exit code is 1 if there are no
    lines, but 0 with ``--follow``."""
    from nbflow.views.task_log import TaskLogQuery, find_logged, has_no_logs

    args = call.args
    if args.follow and args.output != "text":
        raise UsageError("nbflow logs: --follow prints text only.", hint="Omit -f or -o.")
    task, run_id = call.context.task_or_run(args.dag_id, args.task_id, args.run)
    run = call.operations.find_run(args.dag_id, run_id)
    if args.follow and not has_no_logs(run):
        try:
            return _follow(call, run, task)
        except KeyboardInterrupt:  # the usual way to stop following a log, so it is not printed as an error
            return INTERRUPTED
    key = find_logged(call.app.store, run, task)
    query = TaskLogQuery(**run.key._asdict(), **key._asdict(), try_number=args.try_number, search=args.search)
    view = call.fetch(query)
    if view.lines:
        output.note(f"{view.title}, last {len(view.lines):,} lines" if view.dropped else view.title)
    else:
        output.note(f"{view.title}: {view.empty} {_wait_reason(call, run, key)}".rstrip())
    if args.output == "text":
        for line in view.lines:
            print(output.printable(line.text))
    else:
        call.show([output.fields_of(line, COLUMNS) for line in view.lines], columns=COLUMNS)
    return 0 if view.lines else 1


def _follow(call: Call, run: Run, task: str | None) -> int:
    from nbflow.live.feed import Feed
    from nbflow.live.log_follower import follow_lines
    from nbflow.views import fetch
    from nbflow.views.lookups import version_of
    from nbflow.views.shared import zone_of
    from nbflow.views.task_log import log_title
    from nbflow.views.task_try import find_followed

    app = call.app
    query = find_followed(app.store, run, task, call.args.try_number)
    title, reason = log_title(run.run_id, query.key, query.try_number), _wait_reason(call, run, query.key)
    output.note(f"{title}: {reason}" if reason else title)
    zone = zone_of(version_of(app.store, run.dag_id, run.version).spec)
    feed = Feed(app.store, app.clock, partial(fetch, settings=call.settings))
    with contextlib.closing(feed):
        for line in follow_lines(feed, query, zone, search=call.args.search, on_poll=_check_reader):
            print(output.printable(line.text), flush=True)
    return 0


def _wait_reason(call: Call, run: Run, key: TaskKey) -> str:
    """Why the task waits; "" if it runs or has ended."""
    from nbflow.views.why_task import WhyTaskQuery

    view = call.fetch(WhyTaskQuery(**run.key._asdict(), **key._asdict()))
    return view.headline if view.kind and view.state != "running" else ""


def _check_reader() -> None:
    """Raise BrokenPipeError if the reader of stdout has closed the pipe. Without new lines, no ``print`` raises it."""
    try:
        number = sys.stdout.fileno()
    except (OSError, ValueError):  # stdout is not a file
        return
    poll = select.poll()
    poll.register(number, 0)  # with an empty event mask, poll reports only errors and hang-ups
    if poll.poll(0):
        raise BrokenPipeError


OUTPUT = argument(
    "-o", "--output", choices=("text", "json", "yaml", "plain"), default="text", help="Output format (default: text)."
)
COMMANDS = (terminal_command("logs", OUTPUT, run=logs, epilog="Exit code 1 if there are no lines."),)
