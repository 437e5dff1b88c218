"""logs: the log of a try of a task, as it was written, or as it is being written."""

from __future__ import annotations

import contextlib
import select
import sys
from functools import partial
from typing import TYPE_CHECKING

from nbflow.arguments import argument
from nbflow.cli import output
from nbflow.cli.declaring import declared
from nbflow.cli.invocation import Call, UsageError

if TYPE_CHECKING:
    from nbflow.core.snapshot import Run, TaskKey

COLUMNS = ("at", "level", "source", "message")
INTERRUPTED = 130


def logs(call: Call) -> int:
    """Print the lines on stdout and say on stderr whose they are. The exit code is 1 if there is no line; of a log that
    is followed it is 0."""
    from nbflow.views.task_log import TaskLogQuery, find_logged, has_no_logs

    args = call.args
    if args.follow and args.output != "text":
        raise UsageError("nbflow logs: a log that is followed is printed as text.", hint="Leave out -f or -o.")
    task, which = call.context.task_or_run(args.dag_id, args.task_id, args.run)
    run = call.operations.find_run(args.dag_id, which)
    if args.follow and not has_no_logs(run):
        try:
            return _follow(call, run, task)
        except KeyboardInterrupt:  # the usual way to stop following is no failure to be told
            return INTERRUPTED
    key = find_logged(call.app.store, run, task)
    query = TaskLogQuery(**run.key._asdict(), **key._asdict(), try_number=args.try_number, search=args.search)
    view = call.fetch(query)
    if view.lines:
        output.say(f"{view.title}, its last {len(view.lines):,} lines" if view.dropped else view.title)
    else:
        output.say(f"{view.title}: {view.empty} {_why(call, run, key)}".rstrip())
    if args.output == "text":
        for line in view.lines:
            print(output.harmless(line.text))
    else:
        call.show([output.fields_of(line, COLUMNS) for line in view.lines], columns=COLUMNS)
    return 0 if view.lines else 1


def _follow(call: Call, run: Run, task: str | None) -> int:
    from nbflow.live.feed import Feed
    from nbflow.live.log_follower import follow_lines
    from nbflow.views import fetch
    from nbflow.views.lookups import version_of
    from nbflow.views.task_log import title_of
    from nbflow.views.task_try import find_followed
    from nbflow.views.values import zone_of

    app = call.app
    query = find_followed(app.store, run, task, call.args.try_number)
    title, why = title_of(run.run_id, query.key, query.try_number), _why(call, run, query.key)
    output.say(f"{title}: {why}" if why else title)
    zone = zone_of(version_of(app.store, run.dag_id, run.version).spec)
    feed = Feed(app.store, app.clock, partial(fetch, settings=call.settings))
    with contextlib.closing(feed):
        for line in follow_lines(feed, query, zone, search=call.args.search, on_look=_check_reader):
            print(output.harmless(line.text), flush=True)
    return 0


def _why(call: Call, run: Run, key: TaskKey) -> str:
    """What the task waits for before it runs; empty if it runs or has ended."""
    from nbflow.views.why_task import WhyTaskQuery

    view = call.fetch(WhyTaskQuery(**run.key._asdict(), **key._asdict()))
    return view.headline if view.kind and view.state != "running" else ""


def _check_reader() -> None:
    """Raises BrokenPipeError where nobody reads stdout any more: of a task that prints nothing no print would tell."""
    try:
        number = sys.stdout.fileno()
    except (OSError, ValueError):  # a stdout that is no file
        return
    poll = select.poll()
    poll.register(number, 0)  # errors are told unasked
    if poll.poll(0):
        raise BrokenPipeError


OUTPUT = argument(
    "-o", "--output", choices=("text", "json", "yaml", "plain"), default="text", help="Form of the lines (text)."
)
COMMANDS = (declared("logs", OUTPUT, run=logs, epilog="Exit code 1 if there is no line."),)
