"""Every command that nbflow suggests is valid for the parsers of the terminal and of notebooks."""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Iterator
from dataclasses import is_dataclass
from difflib import get_close_matches
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import nbflow
from nbflow.cli.main import GROUPS
from nbflow.cli.main import commands_of as terminal_commands
from nbflow.cli.main import parse as parse_terminal
from nbflow.command_arguments import Parser
from nbflow.commands import MODULES, all_commands, command_named, magics
from nbflow.commands.surface_syntax import Surface, invocation, text_on
from nbflow.core.wait_reasons import WaitReason
from nbflow.errors import NbflowError
from nbflow.notebook import dag_line_magic
from nbflow.notebook.error_display import red_line
from nbflow.sources.cell_options import ARGUMENTS
from nbflow.suggested_commands import SEE_DAGS, SuggestedCommand, suggest
from nbflow.views import NAMES as VIEW_NAMES
from nbflow.views.base import View

ROOT = Path(nbflow.__file__).parent
SUGGESTING = {"suggest", "invocation", "_magic", "spell"}
"""Functions whose first argument is the name of a command; the other arguments are its arguments."""
NOTEBOOK_ONLY = {"_magic"}
"""Those of them that return the syntax of notebooks."""
NO_HINTS = ("nbflow/cli/unavailable.py",)
"""This module contains names of unavailable commands. The commands that it suggests instead are checked."""


class Hint(NamedTuple):
    position: str
    name: str
    words: tuple[str, ...]
    notebook_only: bool


def _trees() -> Iterator[tuple[str, ast.Module]]:
    for path in sorted(ROOT.rglob("*.py")):
        if "example_dags" not in path.parts and "migrations" not in path.parts:
            yield str(path.relative_to(ROOT.parent)), ast.parse(path.read_text(encoding="utf-8"))


def _text(node: ast.expr) -> str | None:
    """The text of a string; in an f-string, with "X" in place of each value."""
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else None
    if isinstance(node, ast.JoinedStr):
        parts = [part.value if isinstance(part, ast.Constant) else "X" for part in node.values]
        return "".join(map(str, parts))
    return None


# --------------------------------------------------------------------------------------------------- suggested commands


def _suggested() -> list[Hint]:
    hints = []
    for path, tree in _trees():
        for node in ast.walk(tree):
            if not isinstance(node, ast.Call) or not node.args:
                continue
            function = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            name = _text(node.args[0]) if function in SUGGESTING else None
            if name is None or name.split()[0] not in {*GROUPS, *MODULES}:
                continue
            rest = [arg for arg in node.args[1:] if not _is_surface(arg)]
            words = tuple(_text(arg) or _sample(name, index) for index, arg in enumerate(rest))
            notebook_only = function in NOTEBOOK_ONLY or any(_is_surface(arg) for arg in node.args)
            hints.append(Hint(f"{path}:{node.lineno}", name, words, notebook_only))
    return hints


def _is_surface(node: ast.expr) -> bool:
    return isinstance(node, ast.Name | ast.Attribute) and ast.unparse(node).split(".")[-1] in (
        "HERE",
        "NOTEBOOK",
        "surface",
    )


def _sample(name: str, index: int) -> str:
    """An example of a word that is known only at run time."""
    return (
        "7"
        if (name, index) in {("backfill cancel", 0), ("backfill unpause", 0), ("quiz", 1), ("pools set", 1)}
        else "X"
    )


SUGGESTED = _suggested()


def _without_placeholders(words: tuple[str, ...]) -> list[str]:
    return ["7" if word in ("NUMBER", "N", "SLOTS") else word for word in words]


def test_there_are_hints_to_check():
    assert {"dags list", "dags unpause", "scheduler", "why", "db migrate", "pools set"} <= {
        hint.name for hint in SUGGESTED
    }
    assert len(SUGGESTED) > 40


@pytest.mark.parametrize("hint", SUGGESTED, ids=lambda hint: f"{hint.name} at {hint.position}")
def test_a_suggested_command_is_valid_on_its_surfaces(hint):
    # Given a suggested command with its arguments
    words = _without_placeholders(hint.words)
    command = command_named(hint.name)
    # Then the parser of the terminal accepts it, if it is suggested there and the terminal has the command
    if not hint.notebook_only and command.terminal:
        parse_terminal([*hint.name.split(), *words])
    # And the parser of its magic accepts it
    if command.magic:
        _parse_magic(invocation(hint.name, Surface.NOTEBOOK, *words))


def _parse_magic(line: str) -> None:
    """Parse the line of a magic. Raises UsageError."""
    magic, *words = shlex.split(line)
    if magic == "%dag":
        dag_line_magic.parse(line.removeprefix("%dag "))
        return
    commands = magics(magic)
    verb, rest = ("", words) if "" in commands else (words[0], words[1:])
    Parser(magic, commands[verb].arguments, texts=dag_line_magic.NOTEBOOK).parse(rest)


# --------------------------------------------------------------------------------------------------- commands in texts


_COMMAND_IN_TEXT = re.compile(r"(?<![\w/.@-])(nbflow|%nbflow|%%dag|%dag|%lab|%quiz) +([^\n`\"]*)")


def _in_texts() -> list[tuple[str, str, list[str]]]:
    """(position, "nbflow" or the magic, words after it) of the commands in all strings except docstrings."""
    commands = []
    for path, tree in _trees():
        docstrings = {
            id(node.body[0].value)
            for node in ast.walk(tree)
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
            and node.body
            and isinstance(node.body[0], ast.Expr)
        }
        inner = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
        for node in ast.walk(tree):
            if id(node) in docstrings | inner or not isinstance(node, ast.Constant | ast.JoinedStr):
                continue
            for head, rest in _COMMAND_IN_TEXT.findall(_text(node) or ""):
                commands.append((f"{path}:{node.lineno}", head, rest.split()))
    return commands


IN_TEXTS = _in_texts()
_NAMES = {"%dag": lambda: magics("%dag"), "%nbflow": lambda: magics("%nbflow"), "nbflow": lambda: GROUPS}


@pytest.mark.parametrize(("position", "head", "words"), IN_TEXTS, ids=lambda value: str(value)[:60])
def test_a_command_in_a_text_exists_and_has_the_options(position, head, words):
    first = words[0].strip(".,:;()?'") if words else ""
    # Given a text with a command, or a sentence about nbflow or a magic, then the command is not misspelled
    if head in _NAMES and re.fullmatch(r"[a-z][a-z-]*", first) and first not in _NAMES[head]():
        assert first in PROSE or get_close_matches(first, _NAMES[head](), cutoff=0.8) == [], position
        return
    if head == "nbflow" and first in GROUPS and len(words) > 1 and not position.startswith(NO_HINTS):
        subcommands = {command.name.partition(" ")[2] for command in terminal_commands(first)} - {""}
        assert not subcommands or words[1].strip(".,:;()?'") in subcommands, position
    # And the command has every option
    options = {word.strip(".,:;()?'").removesuffix("X") for word in words if re.match(r"--[a-z]", word)}
    assert options <= {"--help"} | _options(head, first, words), position


PROSE = {"starts"}
"""Words after "nbflow" in sentences that resemble a command."""


def _options(head: str, first: str, words: list[str]) -> set[str]:
    if head == "%%dag":
        return {flag for argument in ARGUMENTS for flag in argument.flags}
    if head == "%dag" and first in dag_line_magic.VERBS:
        return {flag for argument in dag_line_magic.arguments_of(first) for flag in argument.flags}
    if head == "nbflow" and first in GROUPS:
        name = f"{first} {words[1].strip('.,:;()')}" if len(words) > 1 else ""
        commands = {command.name: command for command in terminal_commands(first)}
        command = commands.get(name) or commands.get(first)
        return {flag for argument in command.arguments for flag in argument.flags} if command else set()
    return set()


def test_options_in_texts_of_the_notebook_exist():
    # Given every option in a text of the notebook
    flags = {flag for verb in dag_line_magic.VERBS for arg in dag_line_magic.arguments_of(verb) for flag in arg.flags}
    flags |= {flag for argument in ARGUMENTS for flag in argument.flags} | {"--help"}
    options: dict[str, str] = {}
    for path, tree in _trees():
        if path.startswith(("nbflow/ui/", "nbflow/notebook/", "nbflow/views/", "nbflow/teach/")):
            for node in ast.walk(tree):
                for option in (
                    re.findall(r"(?<![\w-])--[a-z][a-z-]+", _text(node) or "") if isinstance(node, ast.expr) else ()
                ):
                    options.setdefault(option, f"{path}:{node.lineno}")
    # Then a magic has it
    unknown = {option: at for option, at in options.items() if option not in flags and not _is_css(option)}
    assert unknown == {}


def _is_css(option: str) -> bool:
    """Whether it is a custom property of CSS instead of an option."""
    return option.startswith(("--nf-", "--jp-", "--vscode-"))


# ------------------------------------------------------------------------------------------------------------ surfaces


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
def test_suggested_commands_of_errors_and_wait_reasons_have_the_syntax_of_the_surface(suggestions, terminal, notebook):
    # Given an error and a wait reason with suggested commands
    text = f"Do: {', '.join(map(str, suggestions))}"
    for message in (
        NbflowError(hint=text, suggestions=suggestions),
        WaitReason(kind="slot", text=text, suggestions=suggestions),
    ):
        # Then each surface shows them in its syntax
        assert (text_on(Surface.TERMINAL, message), text_on(Surface.NOTEBOOK, message)) == (terminal, notebook)
    # And the error line of a notebook has the syntax of notebooks
    assert notebook in red_line(NbflowError("No.", hint=text, suggestions=suggestions))[0]


def test_every_terminal_command_belongs_to_a_group():
    commands = all_commands().values()
    assert [command.name for command in commands if command.terminal != (command.name.split()[0] in GROUPS)] == []


def test_a_suggested_command_is_quoted_for_a_shell():
    suggested: Any = SuggestedCommand("dags trigger", ("sales", "-p", "name=a b"))
    assert shlex.split(str(suggested)) == ["nbflow", "dags", "trigger", "sales", "-p", "name=a b"]


# ------------------------------------------------------------------------------------------- views that name commands


@pytest.mark.parametrize("name", VIEW_NAMES)
def test_a_view_whose_texts_name_commands_spells_them_for_a_surface(name):
    # Given the values of a view
    values = [value for value in vars(import_module(f"nbflow.views.{name}")).values() if is_dataclass(value)]
    [view] = [kind for kind in values if issubclass(kind, View) and name == kind.NAME]
    holds_suggestions = any(
        "tuple[SuggestedCommand" in str(annotation) for kind in values for annotation in kind.__annotations__.values()
    )
    # Then it can spell commands if one of them names some
    assert (view.spelled is not View.spelled) == holds_suggestions


def test_what_a_notebook_shows_and_returns_names_magics_and_a_terminal_prints_its_own(nbflow, magic, app, sales):
    # Given a run that waits because its DAG is paused
    run = app.operations().trigger(sales, version=1)
    # When a notebook is asked why, in each way
    handle = magic(f"show {sales} --run last")
    answers = [
        magic(f"why {sales}"),
        magic(f"why {sales} extract"),
        magic(f"states {sales}"),
        handle.why(),
        handle.tasks,
    ]
    told = [str(answer.data) for answer in answers] + [str(answer.bundle) for answer in answers]
    told.append(str(handle._details("extract")))
    with pytest.raises(NbflowError) as timeout:
        handle.wait(0.01)
    told.append(str(timeout.value))
    # Then its values, pictures and errors name the magic
    assert [text for text in told if "%dag unpause sales" not in text or "nbflow dags unpause" in text] == []
    # And a terminal prints its own command
    [row] = {row["reason"] for row in nbflow("why", sales, run.run_id, "-o", "json").json}
    assert "nbflow dags unpause sales" in row


# ----------------------------------------------------------------------------------------- texts that contain a command

CONSTANTS = ("START_SCHEDULER", "STOP_SCHEDULER", "SEE_DAGS")
SURFACES_WITH_A_SPELLING = ("nbflow/cli/", "nbflow/notebook/")
"""A surface spells the commands in its own texts."""


def _unlisted_suggestions() -> Iterator[str]:
    """Calls with a text that contains a suggested command, and without ``suggestions``."""
    for place, tree in _trees():
        if place.startswith(SURFACES_WITH_A_SPELLING):
            continue
        for function in (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)):
            assigned = sorted(
                (node for node in ast.walk(function) if isinstance(node, ast.Assign)), key=lambda node: node.lineno
            )
            made = {ast.unparse(node.targets[0]) for node in assigned if ast.unparse(node.value).startswith("suggest(")}
            for call in (node for node in ast.walk(function) if isinstance(node, ast.Call)):
                # Of a name that is assigned in several branches, the last one before the call
                texts = {ast.unparse(node.targets[0]): node.value for node in assigned if node.lineno < call.lineno}
                values = [*call.args, *(keyword.value for keyword in call.keywords)]
                values = [texts.get(value.id, value) if isinstance(value, ast.Name) else value for value in values]
                if any(_has_suggestion(value, made) for value in values) and "suggestions" not in {
                    keyword.arg for keyword in call.keywords
                }:
                    yield f"{place}:{call.lineno}"


def _has_suggestion(node: ast.expr, made: set[str]) -> bool:
    """Whether a text is built from one of ``made``, or of the constants."""
    parts = [part for part in ast.walk(node) if isinstance(part, ast.FormattedValue)]
    return any(ast.unparse(part.value).partition("[")[0] in {*made, *CONSTANTS} for part in parts)


def test_a_text_that_contains_a_command_lists_it_as_a_suggestion():
    # Otherwise a notebook could not spell it
    assert list(_unlisted_suggestions()) == []
