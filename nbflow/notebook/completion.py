"""Tab in a cell: the words that may follow on a line of nbflow's magics and of ``!nbflow``.

* The type of an argument declares what completes it (``Type.completes``). :data:`NAMES` is the table of the names.
* Completion creates no home and raises no error: without a metastore it offers no names from it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence

from IPython.core.completer import CompletionContext, SimpleCompletion, SimpleMatcherResult, context_matcher

from nbflow.command_arguments import SWITCH, Argument
from nbflow.commands import all_commands, magics
from nbflow.commands.learning import names_of
from nbflow.core.run_ids import LAST
from nbflow.errors import NbflowError
from nbflow.notebook.magic_parser import arguments_of
from nbflow.notebook.session import Session, session
from nbflow.sources.cell_options import OPTIONS, SHARED

NEWEST_RUNS = 20
"""Number of runs that are offered."""

NAMES: Mapping[str, Callable[[Session, str], Iterable[str]]] = {
    "dag": lambda here, dag: sorted({row.dag_id for row in here.app.store.dags()} | here.dags.keys()),
    "task": lambda here, dag: here.version(dag).spec.tasks,
    "run": lambda here, dag: [LAST, *(run.run_id for run in here.app.store.runs(dag, limit=NEWEST_RUNS))],
    "variable": lambda here, dag: [key for key, _, _ in here.app.store.variables()],
    "connection": lambda here, dag: [row.conn_id for row in here.app.store.connections() if row.conn_id],
    "pool": lambda here, dag: [pool.name for pool in here.app.store.pools()],
    "backfill": lambda here, dag: [str(row.backfill_id) for row in here.app.store.backfills()],
}
"""``Type.completes`` -> the names in the metastore; the argument ``dag`` is the dag_id on the line, or ""."""
CONTENT: Mapping[str, str] = {"lab": "labs", "quiz": "quiz"}
"""``Type.completes`` -> the command that knows the names."""


def _names(kind: str, dag: str) -> list[str]:
    if kind in CONTENT:
        return names_of(CONTENT[kind])
    if kind not in NAMES:
        return []
    here = session()
    try:
        return list(NAMES[kind](here, dag)) if here.has_metastore() else []
    except (NbflowError, OSError):
        return []


# ------------------------------------------------------------------------------------------------------------ arguments


def complete_arguments(arguments: Sequence[Argument], given: Sequence[str], last: str) -> list[str]:
    """Completions of the word ``last`` after the words ``given`` of a command with these arguments."""
    before = next((argument for argument in arguments if given and given[-1] in argument.flags), None)
    words = _positional_words(arguments, given)
    dag = words[0] if words else ""
    if before is not None and before.type is not SWITCH:
        return _starting(_values(before, dag), last)
    if last.startswith("-"):
        options = [one for one in arguments if one.flags and not (one.positional and one.required)]
        return _starting([option.flag for option in options], last)
    places = [argument for argument in arguments if argument.positional]
    if not places or (len(words) >= len(places) and not places[-1].repeated):
        return []
    return _starting(_values(places[min(len(words), len(places) - 1)], dag), last)


def _positional_words(arguments: Sequence[Argument], given: Sequence[str]) -> list[str]:
    """The words that are neither options nor their values."""
    by_flag = {flag: argument for argument in arguments for flag in argument.flags}
    words: list[str] = []
    is_value = False
    for word in given:
        if is_value:
            is_value = False
        elif word.startswith("-"):
            option = by_flag.get(word)
            is_value = option is not None and option.type is not SWITCH and option.const is None
        else:
            words.append(word)
    return words


def _values(argument: Argument, dag: str) -> Iterable[str]:
    return argument.choices or _names(argument.type.completes, dag)


def _starting(words: Iterable[str], start: str) -> list[str]:
    return [word for word in words if word.startswith(start)]


# ---------------------------------------------------------------------------------------------------------------- lines


def complete_magic(magic: str, text: str) -> list[str]:
    """Completions of the last word of ``text``, which follows a line magic."""
    given, last = _split(text)
    commands = magics(magic)
    if "" in commands:
        return complete_arguments(commands[""].arguments, given, last)
    if not given:
        return _starting(commands, last)
    if given[0] not in commands:
        return []
    arguments = arguments_of(given[0]) if magic == "%dag" else commands[given[0]].arguments
    return complete_arguments(arguments, given[1:], last)


def complete_command(text: str) -> list[str]:
    """Completions of the last word of ``text``, which follows ``!nbflow``."""
    given, last = _split(text)
    commands = {tuple(name.split()): command for name, command in all_commands().items() if command.terminal}
    for count in (2, 1):
        if (command := commands.get(tuple(given[:count]))) is not None:
            return complete_arguments(command.arguments, given[count:], last)
    following = {name[len(given)] for name in commands if name[: len(given)] == tuple(given)}
    return _starting(sorted(following), last)


def _split(text: str) -> tuple[list[str], str]:
    """The words of a line, and the last one, which is being typed ("" after a space)."""
    words = text.split()
    return (words[:-1], words[-1]) if words and not text[-1].isspace() else (words, "")


def _cell_options(text: str) -> list[str]:
    return _starting([*OPTIONS, SHARED], _split(text)[1])


_LINES: Sequence[tuple[re.Pattern[str], Callable[[str], list[str]]]] = [
    (re.compile(r"%%dag\s+(.*)"), _cell_options),
    *(
        (re.compile(rf"(?:.*=\s*)?{magic}\s+(.*)"), lambda text, magic=magic: complete_magic(magic, text))
        for magic in ("%dag", "%nbflow", "%quiz", "%lab")
    ),
    (re.compile(r"(?:.*=\s*)?!\s*nbflow\s+(.*)"), complete_command),
]
"""(pattern of the line, completions of its last word)."""


@context_matcher()
def complete(context: CompletionContext) -> SimpleMatcherResult:
    """Complete such a line. If there are completions, they suppress those of IPython: Python names are no arguments of
    a magic."""
    before = context.line_with_cursor[: context.cursor_position]
    for pattern, complete_line in _LINES:
        found = pattern.fullmatch(before.lstrip())
        if found is not None:
            cut = len(_split(before)[1]) - len(context.token)  # the token may begin in the middle of the argument
            offers = [SimpleCompletion(word[cut:]) for word in complete_line(found[1])]
            return {"completions": offers, "suppress": True}
    return {"completions": []}
