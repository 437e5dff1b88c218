"""Tab completion in a cell, for lines of nbflow's magics and of ``!nbflow``.

* The type of an argument declares the kind of its completions (``Type.completes``). :data:`NAMES` maps kinds to names.
* Completion creates no home and raises no error. Without a metastore it offers no names of the metastore.
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
from nbflow.notebook.dag_line_magic import arguments_of
from nbflow.notebook.session import Session, current_session
from nbflow.sources.cell_options import OPTIONS, SHARED

NEWEST_RUNS = 20
"""Number of runs that are offered as completions."""

NAMES: Mapping[str, Callable[[Session, str], Iterable[str]]] = {
    "dag": lambda session, dag: sorted({row.dag_id for row in session.app.store.dags()} | session.dags.keys()),
    "task": lambda session, dag: session.version(dag).spec.tasks,
    "run": lambda session, dag: [LAST, *(run.run_id for run in session.app.store.runs(dag, limit=NEWEST_RUNS))],
    "variable": lambda session, dag: [key for key, _, _ in session.app.store.variables()],
    "connection": lambda session, dag: [row.conn_id for row in session.app.store.connections() if row.conn_id],
    "pool": lambda session, dag: [pool.name for pool in session.app.store.pools()],
    "backfill": lambda session, dag: [str(row.backfill_id) for row in session.app.store.backfills()],
}
"""``Type.completes`` -> names in the metastore; ``dag`` is the dag_id on the line, or ""."""
CONTENT: Mapping[str, str] = {"lab": "labs", "quiz": "quiz"}
"""``Type.completes`` -> the command that provides the names."""


def _names(kind: str, dag: str) -> list[str]:
    if kind in CONTENT:
        return names_of(CONTENT[kind])
    if kind not in NAMES:
        return []
    session = current_session()
    try:
        return list(NAMES[kind](session, dag)) if session.has_metastore() else []
    except (NbflowError, OSError):
        return []


# ------------------------------------------------------------------------------------------------------------ arguments


def complete_arguments(arguments: Sequence[Argument], words: Sequence[str], prefix: str) -> list[str]:
    """Completions of ``prefix``, the word after the complete ``words`` of a command with these arguments."""
    option = next((argument for argument in arguments if words and words[-1] in argument.flags), None)
    positional_words = _positional_words(arguments, words)
    dag = positional_words[0] if positional_words else ""
    if option is not None and option.type is not SWITCH:
        return _with_prefix(_values(option, dag), prefix)
    if prefix.startswith("-"):
        options = [
            argument for argument in arguments if argument.flags and not (argument.positional and argument.required)
        ]
        return _with_prefix([option.flag for option in options], prefix)
    positional = [argument for argument in arguments if argument.positional]
    number = len(positional_words)
    if not positional or (number >= len(positional) and not positional[-1].repeated):
        return []
    return _with_prefix(_values(positional[min(number, len(positional) - 1)], dag), prefix)


def _positional_words(arguments: Sequence[Argument], words: Sequence[str]) -> list[str]:
    """The words that are neither options nor values of options."""
    by_flag = {flag: argument for argument in arguments for flag in argument.flags}
    positional: list[str] = []
    is_value = False
    for word in words:
        if is_value:
            is_value = False
        elif word.startswith("-"):
            option = by_flag.get(word)
            is_value = option is not None and option.type is not SWITCH and option.const is None
        else:
            positional.append(word)
    return positional


def _values(argument: Argument, dag: str) -> Iterable[str]:
    return argument.choices or _names(argument.type.completes, dag)


def _with_prefix(words: Iterable[str], prefix: str) -> list[str]:
    return [word for word in words if word.startswith(prefix)]


# ---------------------------------------------------------------------------------------------------------------- lines


def complete_magic(magic: str, text: str) -> list[str]:
    """Completions of the last word of ``text``, the text after a line magic."""
    words, prefix = _split(text)
    commands = magics(magic)
    if "" in commands:
        return complete_arguments(commands[""].arguments, words, prefix)
    if not words:
        return _with_prefix(commands, prefix)
    if words[0] not in commands:
        return []
    arguments = arguments_of(words[0]) if magic == "%dag" else commands[words[0]].arguments
    return complete_arguments(arguments, words[1:], prefix)


def complete_command(text: str) -> list[str]:
    """Completions of the last word of ``text``, the text after ``!nbflow``."""
    words, prefix = _split(text)
    commands = {tuple(name.split()): command for name, command in all_commands().items() if command.terminal}
    for count in (2, 1):
        if (command := commands.get(tuple(words[:count]))) is not None:
            return complete_arguments(command.arguments, words[count:], prefix)
    next_words = {name[len(words)] for name in commands if name[: len(words)] == tuple(words)}
    return _with_prefix(sorted(next_words), prefix)


def _split(text: str) -> tuple[list[str], str]:
    """The complete words of a line, and the incomplete last word ("" after a space)."""
    words = text.split()
    return (words[:-1], words[-1]) if words and not text[-1].isspace() else (words, "")


def _cell_options(text: str) -> list[str]:
    return _with_prefix([*OPTIONS, SHARED], _split(text)[1])


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
    """Complete a line of nbflow. Completions of IPython are suppressed, since Python names are not arguments of these
    lines."""
    line = context.line_with_cursor[: context.cursor_position]
    for pattern, complete_line in _LINES:
        match = pattern.fullmatch(line.lstrip())
        if match is not None:
            # IPython's token may start in the middle of the argument; a completion replaces only the token.
            cut = len(_split(line)[1]) - len(context.token)
            completions = [SimpleCompletion(word[cut:]) for word in complete_line(match[1])]
            return {"completions": completions, "suppress": True}
    return {"completions": []}
