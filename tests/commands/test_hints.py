"""Every command that nbflow suggests is one that its parsers take, in the terminal's words and in a notebook's."""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Iterator
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import nbflow
from nbflow.cli.main import GROUPS
from nbflow.cli.main import commands_of as lines_of
from nbflow.cli.main import parse as parse_terminal
from nbflow.command_arguments import Parser
from nbflow.commands import MODULES, all_commands, magics
from nbflow.commands.surface_syntax import Surface, invocation, text_on
from nbflow.core.wait_reasons import WaitReason
from nbflow.errors import NbflowError
from nbflow.notebook import magic_parser
from nbflow.notebook.error_display import red_line
from nbflow.sources.cell_options import ARGUMENTS
from nbflow.suggestions import SEE_DAGS, SuggestedCommand, suggest

ROOT = Path(nbflow.__file__).parent
MAKERS = {"suggest": 0, "invocation": 0, "_typed": 0, "spell": 0}
"""Functions whose first argument is the name of a command; the other arguments are its arguments."""
NO_HINTS = ("nbflow/cli/unavailable.py",)
"""Names of missing commands stand in this module; the commands that it offers instead are checked."""


class Hint(NamedTuple):
    place: str
    name: str
    words: tuple[str, ...]
    notebook_only: bool


def _trees() -> Iterator[tuple[str, ast.Module]]:
    for path in sorted(ROOT.rglob("*.py")):
        if "example_dags" not in path.parts and "migrations" not in path.parts:
            yield str(path.relative_to(ROOT.parent)), ast.parse(path.read_text(encoding="utf-8"))


def _text(node: ast.expr) -> str | None:
    """A string; in an f-string, a word in place of each value."""
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else None
    if isinstance(node, ast.JoinedStr):
        parts = [part.value if isinstance(part, ast.Constant) else "X" for part in node.values]
        return "".join(map(str, parts))
    return None


# --------------------------------------------------------------------------------------------------- suggested commands


def _made() -> list[Hint]:
    found = []
    for place, tree in _trees():
        for node in ast.walk(tree):
            if not isinstance(node, ast.Call) or not node.args:
                continue
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            name = _text(node.args[0]) if called in MAKERS else None
            if name is None or name.split()[0] not in {*GROUPS, *MODULES}:
                continue
            rest = [arg for arg in node.args[1:] if not _is_surface(arg)]
            words = tuple(_text(arg) or _sample(name, index) for index, arg in enumerate(rest))
            alone = called == "_typed" or any(_is_surface(arg) for arg in node.args)
            found.append(Hint(f"{place}:{node.lineno}", name, words, alone))
    return found


def _is_surface(node: ast.expr) -> bool:
    return isinstance(node, ast.Name | ast.Attribute) and ast.unparse(node).split(".")[-1] in (
        "HERE",
        "NOTEBOOK",
        "surface",
    )


def _sample(name: str, index: int) -> str:
    """A value for a word that is known at run time only."""
    return (
        "7"
        if (name, index) in {("backfill cancel", 0), ("backfill unpause", 0), ("quiz", 1), ("pools set", 1)}
        else "X"
    )


MADE = _made()


def _as_typed(words: tuple[str, ...]) -> list[str]:
    return ["7" if word in ("NUMBER", "N", "SLOTS") else word for word in words]


def test_there_are_hints_to_check():
    assert {"dags list", "dags unpause", "scheduler", "why", "db migrate", "pools set"} <= {hint.name for hint in MADE}
    assert len(MADE) > 40


@pytest.mark.parametrize("hint", MADE, ids=lambda hint: f"{hint.name} at {hint.place}")
def test_a_way_is_a_line_that_its_surface_takes(hint):
    # Given what a hint names, as it is typed
    words = _as_typed(hint.words)
    known = all_commands().get(hint.name)
    # Then a terminal takes it, if it is told there and has the command
    if not hint.notebook_only and (known is None or known.terminal):
        parse_terminal([*hint.name.split(), *words])
    # And so does the notebook, by its magic
    if known is not None and known.magic:
        assert _takes(invocation(hint.name, Surface.NOTEBOOK, *words))


def _takes(line: str) -> bool:
    """Whether a notebook's parsers take a line. Raises what they say against it."""
    magic, *words = shlex.split(line)
    if magic == "%dag":
        magic_parser.parse(line.removeprefix("%dag "))
        return True
    table = magics(magic)
    verb, rest = ("", words) if "" in table else (words[0], words[1:])
    Parser(magic, table[verb].arguments, texts=magic_parser.NOTEBOOK).parse(rest)
    return True


# -------------------------------------------------------------------------------------------------- those in plain text


_NAMED = re.compile(r"(?<![\w/.@-])(nbflow|%nbflow|%%dag|%dag|%lab|%quiz) +([^\n`\"]*)")


def _plain() -> list[tuple[str, str, list[str]]]:
    """(place, nbflow or the magic, what stands behind it) in texts that are no docstrings."""
    found = []
    for place, tree in _trees():
        documented = {
            id(node.body[0].value)
            for node in ast.walk(tree)
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
            and node.body
            and isinstance(node.body[0], ast.Expr)
        }
        inner = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
        for node in ast.walk(tree):
            if id(node) in documented | inner or not isinstance(node, ast.Constant | ast.JoinedStr):
                continue
            for head, rest in _NAMED.findall(_text(node) or ""):
                found.append((f"{place}:{node.lineno}", head, rest.split()))
    return found


PLAIN = _plain()
_NAMES = {"%dag": lambda: magics("%dag"), "%nbflow": lambda: magics("%nbflow"), "nbflow": lambda: GROUPS}


@pytest.mark.parametrize(("place", "head", "words"), PLAIN, ids=lambda value: str(value)[:60])
def test_a_command_that_a_text_names_is_there_with_its_options(place, head, words):
    first = words[0].strip(".,:;()?'") if words else ""
    # Given a text that names a command, or says something of nbflow or of a magic: it misspells none, ...
    if head in _NAMES and re.fullmatch(r"[a-z][a-z-]*", first) and first not in _NAMES[head]():
        assert first in PROSE or get_close_matches(first, _NAMES[head](), cutoff=0.8) == [], place
        return
    if head == "nbflow" and first in GROUPS and len(words) > 1 and not place.startswith(NO_HINTS):
        seconds = {one.name.partition(" ")[2] for one in lines_of(first)} - {""}
        assert not seconds or words[1].strip(".,:;()?'") in seconds, place
    # ... and every option behind it is one of its own
    options = {word.strip(".,:;()?'").removesuffix("X") for word in words if re.match(r"--[a-z]", word)}
    assert options <= {"--help"} | _options(head, first, words), place


PROSE = {"starts"}
"""Words behind nbflow's name that look like a command of its."""


def _options(head: str, first: str, words: list[str]) -> set[str]:
    if head == "%%dag":
        return {flag for argument in ARGUMENTS for flag in argument.flags}
    if head == "%dag" and first in magic_parser.VERBS:
        return {flag for argument in magic_parser.arguments_of(first) for flag in argument.flags}
    if head == "nbflow" and first in GROUPS:
        second = f"{first} {words[1].strip('.,:;()')}" if len(words) > 1 else ""
        lines = {one.name: one for one in lines_of(first)}
        one = lines.get(second) or lines.get(first)
        return {flag for argument in one.arguments for flag in argument.flags} if one else set()
    return set()


def test_options_that_cards_name_are_there():
    # Given every option that a text of the cards and of the notebook names on its own
    known = {flag for verb in magic_parser.VERBS for one in magic_parser.arguments_of(verb) for flag in one.flags}
    known |= {flag for one in ARGUMENTS for flag in one.flags} | {"--help"}
    named: dict[str, str] = {}
    for place, tree in _trees():
        if place.startswith(("nbflow/ui/", "nbflow/notebook/", "nbflow/views/", "nbflow/teach/")):
            for node in ast.walk(tree):
                for option in (
                    re.findall(r"(?<![\w-])--[a-z][a-z-]+", _text(node) or "") if isinstance(node, ast.expr) else ()
                ):
                    named.setdefault(option, f"{place}:{node.lineno}")
    # Then a magic has it
    assert {option: place for option, place in named.items() if option not in known and not _is_css(option)} == {}


def _is_css(option: str) -> bool:
    """Custom properties of styles look alike."""
    return option.startswith(("--nf-", "--jp-", "--vscode-"))


# ------------------------------------------------------------------------------------------------------- how it is told


@pytest.mark.parametrize(
    ("suggestions", "terminal", "notebook"),
    [
        ((suggest("dags unpause", "sales"),), "Do: nbflow dags unpause sales", "Do: %dag unpause sales"),
        (
            SEE_DAGS,
            "Do: nbflow dags list, nbflow dags list-import-errors",
            "Do: %dag list, !nbflow dags list-import-errors",
        ),
        ((suggest("db migrate"),), "Do: nbflow db migrate", "Do: !nbflow db migrate"),
        (
            (suggest("scheduler"), suggest("stop")),
            "Do: nbflow scheduler, nbflow stop",
            "Do: %nbflow start, %nbflow stop",
        ),
        ((suggest("labs", "x", "1"),), "Do: nbflow labs x 1", "Do: %lab x 1"),
        ((suggest("dags unpause", "a b;c"),), "Do: nbflow dags unpause 'a b;c'", "Do: %dag unpause 'a b;c'"),
    ],
)
def test_an_error_and_a_reason_are_told_in_the_words_of_the_surface(suggestions, terminal, notebook):
    # Given an error and a reason that name commands
    text = f"Do: {', '.join(map(str, suggestions))}"
    for said in (
        NbflowError(hint=text, suggestions=suggestions),
        WaitReason(kind="slot", text=text, suggestions=suggestions),
    ):
        # Then each surface has its own words
        assert (text_on(Surface.TERMINAL, said), text_on(Surface.NOTEBOOK, said)) == (terminal, notebook)
    # And a notebook's red line does so by itself
    assert notebook in red_line(NbflowError("No.", hint=text, suggestions=suggestions))[0]


def test_a_command_of_the_terminal_is_one_of_its_groups():
    assert {one.name for one in all_commands().values() if one.terminal != (one.name.split()[0] in GROUPS)} == set()


def test_a_way_spells_itself_as_a_shell_reads_it():
    one: Any = SuggestedCommand("dags trigger", ("sales", "-p", "name=a b"))
    assert shlex.split(str(one)) == ["nbflow", "dags", "trigger", "sales", "-p", "name=a b"]
