"""``%dag`` lines: parsing, help, completion, and the call of a verb.

A verb is a command of :mod:`nbflow.commands`. This module adds the options and defaults that only a notebook has, and
the verbs that return more than a message: a view or a handle.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from nbflow.command_arguments import (
    NOTEBOOK,
    NUMBER,
    WHOLE,
    Argument,
    HelpRequested,
    Parser,
    Values,
    argument,
    split_line,
)
from nbflow.commands import magics
from nbflow.commands.base import Command
from nbflow.commands.run_conf import conf_of
from nbflow.errors import did_you_mean
from nbflow.notebook import verbs
from nbflow.notebook.commands import execute

VERBS: Mapping[str, Command] = magics("%dag")

# ------------------------------------------------------------------------------------------ options of a notebook only

WAIT = argument("--wait", type=NUMBER, const=0.0, metavar="SECONDS", help="Wait for the end, for at most SECONDS.")
OPTIONS: Mapping[str, tuple[Argument, ...]] = {
    "list": (argument("pattern", required=False, default="", metavar="PATTERN", help="Part of a DAG id or a tag."),),
    "run": (WAIT,),
    "backfill": (WAIT,),
    "runs": (argument("-n", "--number", type=WHOLE, default=20, help="Number of runs to show (default: 20)."),),
}
DEFAULTS: Mapping[tuple[str, str], Any] = {("next", "number"): 5}
"""(verb, argument) -> default in a notebook."""


def _run(args: Values) -> Any:
    handle = verbs.run(args.dag_id, conf=conf_of(args), date=args.logical_date, run_id=args.run_id)
    return _wait(handle, args.wait)


def _backfill(args: Values) -> Any:
    handle = verbs.backfill(
        args.dag_id,
        args.from_date,
        args.to_date or args.from_date,
        reprocess=args.reprocess,
        backwards=args.run_backwards,
        max_active_runs=args.max_active_runs,
        conf=conf_of(args),
        dry_run=args.dry_run,
    )
    return _wait(handle, args.wait)


def _clear(args: Values) -> Any:
    return verbs.clear(
        args.dag_id,
        *args.tasks,
        run=args.run,
        upstream=args.upstream,
        downstream=args.downstream,
        failed=args.only_failed,
        newest=args.newest,
        dry_run=args.dry_run,
    )


def _logs(args: Values) -> Any:
    return verbs.logs(
        args.dag_id,
        args.task_id,
        run=args.run,
        try_number=args.try_number,
        search=args.search,
        follow=args.follow,
    )


def _simulate(args: Values) -> Any:
    dates = {"start": args.start_date, "end": args.end_date}
    return verbs.simulate(args.dag_id, *args.outcomes, days=args.days, **dates, seed=args.seed, trace=args.trace)


def _schedule(args: Values) -> Any:
    return verbs.schedule(args.notebook, cron=args.cron, name=args.name, parameters=conf_of(args))


def _wait(handle: Any, seconds: float | None) -> Any:
    """Display the handle and wait for its end; 0: without a time limit, None: do not wait."""
    if seconds is not None:
        _display(handle)
        handle.wait(seconds or None)
    return handle


def _display(value: Any) -> None:
    from IPython.display import display

    display(value)


CALLS: Mapping[str, Callable[[Values], Any]] = {
    "list": lambda args: verbs.list_dags(args.pattern),
    "show": lambda args: verbs.show(args.dag_id, run=args.run),
    "run": _run,
    "test": lambda args: verbs.test(args.dag_id, date=args.logical_date, conf=conf_of(args), watch=True),
    "backfill": _backfill,
    "clear": _clear,
    "runs": lambda args: verbs.runs(args.dag_id, limit=args.number),
    "states": lambda args: verbs.states(args.dag_id, run=args.run),
    "logs": _logs,
    "why": lambda args: verbs.why(args.dag_id, args.task_id, run=args.run),
    "grid": lambda args: verbs.grid(args.dag_id, limit=args.number),
    "gantt": lambda args: verbs.gantt(args.dag_id, run=args.run),
    "next": lambda args: verbs.next_runs(args.dag_id, args.number),
    "simulate": _simulate,
    "schedule": _schedule,
}
"""Verbs that return more than a message."""
LIVE_VERBS = frozenset({"run", "backfill"})
"""Verbs whose result is a live output, which is displayed even if the result is assigned to a name."""


def call(verb: str, args: Values) -> Any:
    """Execute a verb; returns a value that displays itself. Raises NbflowError."""
    function = CALLS.get(verb)
    return function(args) if function is not None else execute(VERBS[verb], args)


# --------------------------------------------------------------------------------------------------------- the line


def arguments_of(verb: str) -> tuple[Argument, ...]:
    """The arguments of a verb in a notebook."""
    arguments = tuple(
        replace(argument, default=DEFAULTS[verb, argument.name], required=False)
        if (verb, argument.name) in DEFAULTS
        else argument
        for argument in VERBS[verb].arguments
    )
    return (*arguments, *OPTIONS.get(verb, ()))


def parser_of(verb: str) -> Parser:
    """The parser of one verb."""
    command = VERBS[verb]
    epilog = "\n\n".join(filter(None, [f"Example: {command.magic} {command.example}".rstrip(), command.epilog]))
    return Parser(command.magic, arguments_of(verb), texts=NOTEBOOK, description=command.help, epilog=epilog)


def parse(line: str) -> tuple[str, Values]:
    """The verb and its arguments in a line. Raises UsageError; and HelpRequested for ``run?``, ``run --help`` or an
    empty line."""
    words = split_line("%dag", line, NOTEBOOK)
    if not words or words[0] in ("?", "-h", "--help", "help"):
        raise HelpRequested(help_text(words[1] if len(words) > 1 and words[1] in VERBS else ""))
    name = words[0].rstrip("?")
    if name not in VERBS:
        hint = did_you_mean(name, VERBS).strip() or f"The verbs are: {', '.join(VERBS)}."
        raise NOTEBOOK.error(f"%dag has no verb {name!r}.", hint=hint)
    if words[0].endswith("?") or words[-1] in ("?", "??"):
        raise HelpRequested(help_text(name))
    return name, parser_of(name).parse(words[1:])


def help_text(name: str = "") -> str:
    """The help of one verb, or the list of all verbs."""
    if name:
        return parser_of(name).format_help().rstrip()
    width = max(map(len, VERBS))
    lines = [f"  {verb:<{width}}  {command.help}" for verb, command in VERBS.items()]
    return "%dag VERB ...\n\n" + "\n".join(lines) + "\n\nHelp on a verb: %dag run?"
