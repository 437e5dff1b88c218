"""The line of ``%dag``: parsing, help, completion and the call of a verb.

A verb is a command of :mod:`nbflow.commands`. This module adds the options that only a notebook has, the defaults that
differ, and the verbs that return more than a message: a view or a handle.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from nbflow.command_arguments import (
    NOTEBOOK,
    NUMBER,
    SWITCH,
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
from nbflow.core.run_ids import LAST
from nbflow.errors import did_you_mean
from nbflow.notebook import verbs
from nbflow.notebook.commands import carried_out

VERBS: Mapping[str, Command] = magics("%dag")

# ------------------------------------------------------------------------------------------- what only a notebook has

WAIT = argument("--wait", type=NUMBER, const=0.0, metavar="SECONDS", help="Wait for the end, at most SECONDS.")
OPTIONS: Mapping[str, tuple[Argument, ...]] = {
    "list": (argument("pattern", required=False, default="", metavar="PATTERN", help="Part of an id or a tag."),),
    "run": (WAIT,),
    "backfill": (WAIT,),
    "runs": (argument("-n", "--number", type=WHOLE, default=20, help="Number of runs to show (default: 20)."),),
}
DEFAULTS: Mapping[tuple[str, str], Any] = {("next", "number"): 5}
"""(verb, argument) -> the default in a notebook."""


def _run(args: Values) -> Any:
    handle = verbs.run(args.dag_id, conf=conf_of(args), date=args.logical_date, run_id=args.run_id)
    return _waited(handle, args.wait)


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
    return _waited(handle, args.wait)


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
    which = {"run": args.run, "try_number": args.try_number, "search": args.search}
    return verbs.logs(args.dag_id, args.task_id, **which, follow=args.follow)


def _simulate(args: Values) -> Any:
    dates = {"start": args.start_date, "end": args.end_date}
    return verbs.simulate(args.dag_id, *args.outcomes, days=args.days, **dates, seed=args.seed, trace=args.trace)


def _schedule(args: Values) -> Any:
    return verbs.schedule(args.notebook, cron=args.cron, name=args.name, parameters=conf_of(args))


def _waited(handle: Any, wait: float | None) -> Any:
    if wait is not None:
        _display(handle)
        handle.wait(wait or None)
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
SHOWS = frozenset({"run", "backfill"})
"""Verbs whose result is displayed even if it is assigned to a name: it is live."""


def call(verb: str, args: Values) -> Any:
    """Carry out a verb; returns a value that displays itself. Raises NbflowError."""
    function = CALLS.get(verb)
    return function(args) if function is not None else carried_out(VERBS[verb], args)


# --------------------------------------------------------------------------------------------------------- the line


def arguments_of(verb: str) -> tuple[Argument, ...]:
    """The arguments of a verb in a notebook."""
    own = tuple(
        replace(one, default=DEFAULTS[verb, one.name], required=False) if (verb, one.name) in DEFAULTS else one
        for one in VERBS[verb].arguments
    )
    return (*own, *OPTIONS.get(verb, ()))


def parser_of(verb: str) -> Parser:
    """The parser of one verb."""
    one = VERBS[verb]
    epilog = "\n\n".join(filter(None, [f"Example: {one.magic} {one.example}".rstrip(), one.epilog]))
    return Parser(one.magic, arguments_of(verb), texts=NOTEBOOK, description=one.help, epilog=epilog)


def parse(line: str) -> tuple[str, Values]:
    """Verb and arguments of a line. Raises UsageError, and HelpRequested for ``run?``, ``run --help`` and nothing."""
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
    lines = [f"  {verb:<{width}}  {one.help}" for verb, one in VERBS.items()]
    return "%dag VERB ...\n\n" + "\n".join(lines) + "\n\nHelp on a verb: %dag run?"


# ---------------------------------------------------------------------------------------- completion


@dataclass(frozen=True, slots=True)
class Known:
    """The names that completion offers, each list computed when it is needed."""

    dags: Callable[[], Iterable[str]]
    tasks: Callable[[str], Iterable[str]]
    runs: Callable[[str], Iterable[str]]


def complete(line: str, known: Known) -> list[str]:
    """Completions of the last word of ``line`` (the text after ``%dag``)."""
    words = line.split()
    last = "" if not line or line[-1].isspace() else words.pop()
    if not words:
        return _starting(VERBS, last)
    name, *given = words
    if name not in VERBS:
        return []
    arguments = arguments_of(name)
    before = next((one for one in arguments if given and given[-1] in one.flags), None)
    plain, dag = _places(arguments, given)
    if before is not None and before.type is not SWITCH:
        return _starting(_offers(before, dag, known), last)
    if last.startswith("-"):
        return _starting([one.flag for one in arguments if one.flags and not (one.positional and one.required)], last)
    places = [one for one in arguments if one.positional]
    if not places:
        return []
    place = places[min(len(plain), len(places) - 1)]
    if len(plain) >= len(places) and not place.repeated:
        return []
    return _starting(_offers(place, dag, known), last)


def _places(arguments: Sequence[Argument], given: Sequence[str]) -> tuple[list[str], str]:
    """The positional words so far, and the dag_id among them ("" for none)."""
    flags = {flag: one for one in arguments for flag in one.flags}
    plain: list[str] = []
    skip = False
    for word in given:
        if skip:
            skip = False
        elif word.startswith("-"):
            one = flags.get(word)
            skip = one is not None and one.type is not SWITCH and one.const is None
        else:
            plain.append(word)
    return plain, plain[0] if plain else ""


def _offers(one: Argument, dag: str, known: Known) -> Iterable[str]:
    if one.choices:
        return list(one.choices)
    kinds: Mapping[str, Callable[[], Iterable[str]]] = {
        "dag": known.dags,
        "task": lambda: known.tasks(dag),
        "run": lambda: [LAST, *known.runs(dag)],
    }
    return kinds.get(one.type.completes, list)()


def _starting(words: Iterable[str], start: str) -> list[str]:
    return [word for word in words if word.startswith(start)]
