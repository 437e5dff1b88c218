"""Airflow's command lines in nbflow's parser: every command and every spelling of every option."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest

from nbflow.cli.invocation import UsageError
from nbflow.cli.main import GROUPS, commands_of, parse, parser_of
from nbflow.cli.terminal_command import TerminalCommand
from nbflow.cli.unavailable import ABSENT, option_reason

Case = dict[str, Any]


@cache
def _commands() -> dict[str, TerminalCommand]:
    commands = [command for group in GROUPS for command in commands_of(group)]
    return {name: command for command in commands for name in (command.name, *command.aliases)}


def _accepted(case: Case) -> dict[str, Any]:
    """The part of the case's command that nbflow's parser accepts."""
    name = " ".join(case["command"])
    if name not in {*_commands(), *GROUPS, ""}:
        return {"refused": _refused(case["command"])}
    if case["subcommands"]:
        names = {*_commands(), *GROUPS, *ABSENT}
        return {"subcommands": [word for word in case["subcommands"] if f"{name} {word}".strip() in names]}
    flags = {flag for action in parser_of(_commands()[name])._actions for flag in action.option_strings}
    return {"flags": [flag for flag in _flags(case) if flag in flags]}


def _refused(words: list[str]) -> bool:
    with pytest.raises(UsageError, match="is not in this release"):
        parse(words)
    return True


def _flags(case: Case) -> list[str]:
    return [flag for argument in case["arguments"] for flag in argument.get("flags", ())]


def _line(case: Case) -> list[str]:
    """A command line with every argument that nbflow has."""
    words, name = list(case["command"]), " ".join(case["command"])
    for argument in case["arguments"]:
        value = "{}" if "--conf" in argument.get("flags", ()) else str(argument.get("choices", ["7"])[0])
        if "positional" in argument:
            words.append(value)
        elif option_reason(name, argument["flags"][-1]) is None:
            words += [argument["flags"][-1], *([value] if argument["takes_value"] else [])]
    return words


def _check(case: Case, check: Any) -> None:
    want = check.expected or ({"subcommands": case["subcommands"]} if case["subcommands"] else {"flags": _flags(case)})
    check(lambda: _accepted(case), want=want)
    if not case["subcommands"] and want != {"refused": True}:
        command, _ = parse(_line(case))
        assert command is _commands()[" ".join(case["command"])]


@pytest.mark.facts("cli_3x")
def test_cli_3x(case, check):
    _check(case, check)


@pytest.mark.facts("cli_2x")
def test_cli_2x(case, check):
    _check(case, check)
