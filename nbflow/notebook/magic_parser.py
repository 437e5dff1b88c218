"""The line behind ``%dag``: one table of verbs with their arguments, for parsing, help and completion.

A new verb is a function in :mod:`nbflow.notebook.functions` and a row here.
"""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn

from nbflow.authoring.params import read_conf
from nbflow.cli.declaring import positive
from nbflow.core.run_ids import LAST, WHICH_RUN
from nbflow.errors import InvalidArgument, NbflowError, ParamValidationError, did_you_mean
from nbflow.notebook import functions
from nbflow.sources.cell_options import read_pair


@dataclass(frozen=True, slots=True)
class Arg:
    """One argument, as argparse takes it. ``kind`` says what completes it: dag, task, run, or a fixed choice."""

    flags: tuple[str, ...]
    help: str
    kind: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)


def _arg(*flags: str, help: str, kind: str = "", **options: Any) -> Arg:
    return Arg(flags, help, kind, options)


DAG = _arg("dag", help="The DAG.", kind="dag")
RUN = _arg("--run", help=f"Which run: {WHICH_RUN} (default: last).", kind="run", metavar="RUN")
CONF = (
    _arg("-p", "--param", help="A value for the run; may be repeated.", action="append", metavar="NAME=VALUE"),
    _arg("--conf", help="Values for the run, as one JSON object.", metavar="JSON"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Verb:
    """One word behind ``%dag``."""

    help: str
    args: Sequence[Arg]
    call: Callable[[argparse.Namespace], Any]
    example: str
    shows: bool = False
    """Its result is displayed at once, also where it is assigned: it goes on while one looks."""


def conf_of(args: argparse.Namespace) -> dict[str, Any]:
    """What ``--conf`` and ``-p`` give."""
    conf: dict[str, Any] = {}
    if getattr(args, "conf", None):
        try:
            conf = read_conf(args.conf)
        except ParamValidationError as error:
            raise InvalidArgument(f"--conf {error}", hint="""Write: --conf '{"day": 1}'""") from None
    for text in args.param or ():
        try:
            conf |= read_pair(text)
        except ValueError:
            raise InvalidArgument(f"{text!r} is no NAME=VALUE.", hint="Write: -p rows=10") from None
    return conf


def _run(args: argparse.Namespace) -> Any:
    handle = functions.run(args.dag, conf=conf_of(args), date=args.date, run_id=args.run_id)
    return _waited(handle, args.wait)


def _backfill(args: argparse.Namespace) -> Any:
    handle = functions.backfill(
        args.dag,
        args.start,
        args.end or args.start,
        reprocess=args.reprocess,
        backwards=args.backwards,
        max_active_runs=args.max_active_runs,
        conf=conf_of(args),
        dry_run=args.dry_run,
    )
    return _waited(handle, args.wait)


def _waited(handle: Any, wait: float | None) -> Any:
    if wait is not None:
        _display(handle)
        handle.wait(wait or None)
    return handle


def _display(value: Any) -> None:
    from IPython.display import display

    display(value)


WAIT = _arg(
    "--wait", help="Wait for the end, at most so many seconds.", nargs="?", type=float, const=0.0, metavar="SECONDS"
)

VERBS: Mapping[str, Verb] = {
    "list": Verb(
        help="Every DAG, with its last runs and what comes next.",
        args=(_arg("pattern", help="Part of an id or a tag.", kind="dag", nargs="?", default=""),),
        call=lambda args: functions.list_dags(args.pattern),
        example="%dag list daily",
    ),
    "show": Verb(
        help="The graph of a DAG, or of one of its runs.",
        args=(
            DAG,
            _arg("--run", help=f"Of a run: {WHICH_RUN}.", kind="run", metavar="RUN"),
        ),
        call=lambda args: functions.show(args.dag, run=args.run),
        example="%dag show sales --run last",
    ),
    "run": Verb(
        help="Start a run now, in processes of its own, and follow it.",
        args=(
            DAG,
            *CONF,
            _arg("--date", help="Its logical date. Default: now.", metavar="DATE"),
            _arg("--run-id", help="Its id. Default: made from the date.", metavar="ID"),
            WAIT,
        ),
        call=_run,
        example="run = %dag run sales -p rows=10",
        shows=True,
    ),
    "test": Verb(
        help="Run a DAG once, here, in this process: breakpoints work.",
        args=(DAG, *CONF, _arg("--date", help="Its logical date. Default: now.", metavar="DATE")),
        call=lambda args: functions.test(args.dag, date=args.date, conf=conf_of(args), watch=True),
        example="%dag test sales --date 2024-01-31",
    ),
    "backfill": Verb(
        help="Run past intervals: shows which, then follows them.",
        args=(
            DAG,
            _arg("start", help="The first logical date."),
            _arg("end", help="The last one (included). Default: the first.", nargs="?"),
            _arg(
                "--reprocess",
                help="Which runs that exist already go again.",
                choices=("none", "failed", "completed"),
                default="none",
            ),
            _arg("--dry-run", help="Only show which runs it would make.", action="store_true"),
            _arg("--backwards", help="The newest interval first.", action="store_true"),
            _arg("--max-active-runs", help="Most runs at once.", type=positive, default=10, metavar="N"),
            *CONF,
            WAIT,
        ),
        call=_backfill,
        example="%dag backfill sales 2024-01-01 2024-01-31 --dry-run",
        shows=True,
    ),
    "clear": Verb(
        help="Let tasks of a run go again.",
        args=(
            DAG,
            _arg("tasks", help="Which tasks. Default: all.", kind="task", nargs="*"),
            RUN,
            _arg("--upstream", help="And all before them.", action="store_true"),
            _arg("--downstream", help="And all after them.", action="store_true"),
            _arg("--failed", help="Only the failed ones.", action="store_true"),
            _arg("--newest", help="With the DAG's newest version.", action="store_true"),
            _arg("--dry-run", help="Only say which.", action="store_true"),
        ),
        call=lambda args: functions.clear(
            args.dag,
            *args.tasks,
            run=args.run,
            upstream=args.upstream,
            downstream=args.downstream,
            failed=args.failed,
            newest=args.newest,
            dry_run=args.dry_run,
        ),
        example="%dag clear sales load --downstream",
    ),
    "runs": Verb(
        help="The newest runs of a DAG.",
        args=(DAG, _arg("-n", "--number", help="How many.", type=positive, default=20, metavar="N")),
        call=lambda args: functions.runs(args.dag, limit=args.number),
        example="%dag runs sales",
    ),
    "states": Verb(
        help="The task instances of a run; without a DAG: what the states mean.",
        args=(_arg("dag", help="The DAG.", kind="dag", nargs="?"), RUN),
        call=lambda args: functions.states(args.dag, run=args.run),
        example="%dag states sales",
    ),
    "logs": Verb(
        help="The log of a task; by default of one that failed.",
        args=(
            DAG,
            _arg("task", help="The task.", kind="task", nargs="?"),
            RUN,
            _arg("--try", help="Which try. Default: the last.", type=positive, dest="try_number", metavar="N"),
            _arg("--search", help="Only lines that hold this word.", default="", metavar="WORD"),
        ),
        call=lambda args: functions.logs(
            args.dag, args.task, run=args.run, try_number=args.try_number, search=args.search
        ),
        example="%dag logs sales load --search error",
    ),
    "why": Verb(
        help="Why a run's tasks wait, or why one ended as it did.",
        args=(DAG, _arg("task", help="The task.", kind="task", nargs="?"), RUN),
        call=lambda args: functions.why(args.dag, args.task, run=args.run),
        example="%dag why sales load",
    ),
    "grid": Verb(
        help="How it has been going: runs as columns, tasks as rows.",
        args=(DAG, _arg("-n", "--number", help="How many runs.", type=positive, default=25, metavar="N")),
        call=lambda args: functions.grid(args.dag, limit=args.number),
        example="%dag grid sales",
    ),
    "gantt": Verb(
        help="Where a run's time went.",
        args=(DAG, RUN),
        call=lambda args: functions.gantt(args.dag, run=args.run),
        example="%dag gantt sales",
    ),
    "next": Verb(
        help="The next runs of the schedule, with their data intervals.",
        args=(DAG, _arg("number", help="How many.", type=positive, nargs="?", default=5)),
        call=lambda args: functions.next_runs(args.dag, args.number),
        example="%dag next sales 10",
    ),
    "simulate": Verb(
        help="Watch the coming days of the schedule, on a simulated clock.",
        args=(
            DAG,
            _arg("--days", help="How many days.", type=float, default=7, metavar="N"),
            _arg("--start", help="From when. Default: now.", metavar="DATE"),
            _arg("--seed", help="Draw outcomes from this seed. Default: [sim] seed.", type=int, metavar="N"),
        ),
        call=lambda args: functions.simulate(args.dag, days=args.days, start=args.start, seed=args.seed),
        example="%dag simulate sales --days 14",
    ),
    "pause": Verb(
        help="Make no new scheduled runs.",
        args=(DAG,),
        call=lambda args: functions.pause(args.dag),
        example="%dag pause sales",
    ),
    "unpause": Verb(
        help="Let the schedule go on.",
        args=(DAG,),
        call=lambda args: functions.unpause(args.dag),
        example="%dag unpause sales",
    ),
    "schedule": Verb(
        help="Let a notebook run on a schedule, by papermill.",
        args=(
            _arg("notebook", help="The notebook.", kind="file"),
            _arg("--cron", help="When: a cron expression or a preset.", required=True, metavar='"0 6 * * *"'),
            _arg("--name", help="The DAG's id. Default: the notebook's name.", metavar="NAME"),
            _arg("-p", "--param", help="A parameter; may be repeated.", action="append", metavar="NAME=VALUE"),
        ),
        call=lambda args: functions.schedule(args.notebook, cron=args.cron, name=args.name, parameters=conf_of(args)),
        example='%dag schedule report.ipynb --cron "0 6 * * 1" -p country=DE',
    ),
}


class _Parser(argparse.ArgumentParser):
    """argparse without its exits."""

    def error(self, message: str) -> NoReturn:
        raise InvalidArgument(f"{self.prog}: {message}.", hint=f"Help: {self.prog}?")

    def print_help(self, file: Any = None) -> None:
        raise HelpWanted(self.prog.removeprefix("%dag "))


class HelpWanted(Exception):
    """Help was asked for; the message is the verb, or empty."""


def parser_of(name: str) -> argparse.ArgumentParser:
    """The parser of one verb."""
    verb = VERBS[name]
    parser = _Parser(prog=f"%dag {name}", description=verb.help, epilog=f"Example: {verb.example}", allow_abbrev=False)
    for arg in verb.args:
        parser.add_argument(*arg.flags, help=arg.help, **arg.options)
    return parser


def parse(line: str) -> tuple[Verb, argparse.Namespace]:
    """Verb and arguments of a line. Raises InvalidArgument, and HelpWanted for ``run?``, ``run --help`` and nothing."""
    try:
        words = shlex.split(line)
    except ValueError as error:
        raise InvalidArgument(f"%dag {line.strip()}: {str(error).lower()}.", hint="Close the quote.") from None
    if not words or words[0] in ("?", "-h", "--help", "help"):
        raise HelpWanted(words[1] if len(words) > 1 and words[1] in VERBS else "")
    name = words[0].rstrip("?")
    if name not in VERBS:
        hint = did_you_mean(name, VERBS).strip() or f"It has: {', '.join(VERBS)}."
        raise InvalidArgument(f"%dag has no verb {name!r}.", hint=hint)
    if words[0].endswith("?") or words[-1] in ("?", "??"):
        raise HelpWanted(name)
    args, left = parser_of(name).parse_known_args(words[1:])
    if left:
        raise _left_over(name, left)
    return VERBS[name], args


def _left_over(name: str, left: Sequence[str]) -> NbflowError:
    option = next((word.partition("=")[0] for word in left if word.startswith("-")), None)
    if option is not None:
        known = [flag for arg in VERBS[name].args for flag in arg.flags if flag.startswith("-")]
        hint = did_you_mean(option, known).strip() or f"Help: %dag {name}?"
        return InvalidArgument(f"%dag {name} has no option {option}.", hint=hint)
    return InvalidArgument(f"%dag {name}: {left[0]!r} is one argument too many.", hint=f"Help: %dag {name}?")


def help_text(name: str = "") -> str:
    """Help of one verb, or of all."""
    if name:
        return parser_of(name).format_help().rstrip()
    width = max(map(len, VERBS))
    lines = [f"  {verb:<{width}}  {VERBS[verb].help}" for verb in VERBS]
    return "%dag VERB ...\n\n" + "\n".join(lines) + "\n\nEach has help: %dag run?"


# ---------------------------------------------------------------------------------------- completion


@dataclass(frozen=True, slots=True)
class Known:
    """What completion may offer; asked for only where it is needed."""

    dags: Callable[[], Iterable[str]]
    tasks: Callable[[str], Iterable[str]]
    runs: Callable[[str], Iterable[str]]


def complete(line: str, known: Known) -> list[str]:
    """Ways to go on with the last word of ``line`` (what stands behind ``%dag``)."""
    words = line.split()
    last = "" if not line or line[-1].isspace() else words.pop()
    if not words:
        return _starting(VERBS, last)
    name, *given = words
    if name not in VERBS:
        return []
    args = VERBS[name].args
    before = next((arg for arg in args if given and given[-1] in arg.flags and arg.flags[0].startswith("-")), None)
    takes_value = before is not None and before.options.get("action") != "store_true"
    plain, dag = _positionals(name, given)
    if before is not None and takes_value:
        return _starting(_offers(before, dag, known), last)
    if last.startswith("-"):
        return _starting([flag for arg in args for flag in arg.flags if flag.startswith("--")], last)
    places = [arg for arg in args if not arg.flags[0].startswith("-")]
    if not places:
        return []
    place = places[min(len(plain), len(places) - 1)]
    if len(plain) >= len(places) and place.options.get("nargs") != "*":
        return []
    return _starting(_offers(place, dag, known), last)


def _positionals(name: str, given: Sequence[str]) -> tuple[list[str], str]:
    """The positional words so far, and the DAG among them."""
    args = {flag: arg for arg in VERBS[name].args for flag in arg.flags}
    plain: list[str] = []
    skip = False
    for word in given:
        if skip:
            skip = False
        elif word.startswith("-"):
            arg = args.get(word)
            skip = arg is not None and arg.options.get("action") != "store_true" and arg.options.get("nargs") is None
        else:
            plain.append(word)
    return plain, plain[0] if plain else ""


def _offers(arg: Arg, dag: str, known: Known) -> Iterable[str]:
    if arg.options.get("choices"):
        return list(arg.options["choices"])
    kinds: Mapping[str, Callable[[], Iterable[str]]] = {
        "dag": known.dags,
        "task": lambda: known.tasks(dag),
        "run": lambda: [LAST, *known.runs(dag)],
    }
    return kinds.get(arg.kind, list)()


def _starting(words: Iterable[str], start: str) -> list[str]:
    return [word for word in words if word.startswith(start)]
