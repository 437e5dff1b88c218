"""The declarations of commands are complete and consistent."""

from __future__ import annotations

import shlex
from dataclasses import fields

import pytest

from nbflow.cli.main import GROUPS
from nbflow.cli.main import commands_of as terminal_commands
from nbflow.cli.main import parser_of as terminal_parser
from nbflow.command_arguments import TERMINAL, Parser
from nbflow.commands import MODULES, all_commands, command_named, commands_of, magics
from nbflow.commands.base import Command
from nbflow.commands.permissions import PERMISSIONS
from nbflow.errors import NbflowError
from nbflow.notebook import admin_verbs, dag_line_magic
from nbflow.notebook.magics import MAGICS

COMMANDS = list(all_commands().values())


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_a_command_has_help_a_permission_and_a_valid_example(command):
    assert command.help[0].isupper()
    assert command.help.endswith(".")
    assert command.permission in PERMISSIONS
    assert command.changes == (not command.permission.endswith(".read"))
    values = Parser(command.name, command.arguments, texts=TERMINAL).parse(shlex.split(command.example))
    assert vars(values).keys() == {argument.name for argument in command.arguments}


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_arguments_have_help_and_unique_names_and_flags(command):
    for argument in command.arguments:
        assert argument.help.endswith((".", ")")), argument.name
    names = [argument.name for argument in command.arguments]
    flags = [flag for argument in command.arguments for flag in argument.flags]
    assert len(names) == len(set(names))
    assert len(flags) == len(set(flags))


def test_positional_arguments_have_the_order_dag_task_run():
    order = ["DAG", "TASK", "RUN"]
    for command in COMMANDS:
        types = [
            argument.type.name for argument in command.arguments if argument.positional and argument.type.name in order
        ]
        assert types == sorted(types, key=order.index), command.name


def test_every_required_permission_is_declared():
    required = {command.permission for command in COMMANDS}
    assert required <= PERMISSIONS.keys()


def test_an_unknown_command_is_an_error_that_names_the_nearest():
    assert command_named("dags pause").magic == "%dag pause"
    with pytest.raises(NbflowError, match=r"Unknown command 'dags puase'\. Did you mean 'dags pause'\?"):
        command_named("dags puase")


def test_the_terminal_has_every_declared_command():
    # Given the declared commands of the groups of the terminal
    for group in MODULES.keys() & GROUPS.keys():
        in_terminal = {command.name: command for command in terminal_commands(group)}
        for command in commands_of(group):
            # Then the terminal has them with all arguments
            arguments = in_terminal[command.name].arguments
            assert all(argument in arguments for argument in command.arguments), command.name
            usage = f"usage: nbflow {command.name} "
            assert terminal_parser(in_terminal[command.name]).format_help().startswith(usage)


def test_the_notebook_has_every_declared_verb():
    # Given the declared commands with a verb
    for verb, command in dag_line_magic.VERBS.items():
        # Then %dag has them with all arguments
        assert f"  {verb} " in dag_line_magic.help_text()
        assert [argument.name for argument in dag_line_magic.arguments_of(verb)][: len(command.arguments)] == [
            argument.name for argument in command.arguments
        ]


def test_each_terminal_command_is_a_declared_command_and_the_other_way_round():
    # Given the table of the terminal
    declared = all_commands()
    lines = [line for group in GROUPS for line in terminal_commands(group)]
    # Then each of its commands is the declared one of that name, and no command of a terminal is missing
    assert [line.name for line in lines if declared.get(line.name) is not line.declared] == []
    assert sorted(line.name for line in lines) == sorted(name for name, command in declared.items() if command.terminal)


def test_each_line_magic_is_made_of_declared_commands_and_the_other_way_round():
    # Given the registered line magics
    registered = {f"%{magic.name}" for magic in MAGICS if magic.kind == "line"}
    # Then they are those of the declarations
    assert registered == {command.magic.partition(" ")[0] for command in COMMANDS if command.magic}
    # And each verb that a notebook implements or extends is declared
    extended = {*dag_line_magic.OPTIONS, *(verb for verb, _ in dag_line_magic.DEFAULTS)}
    assert {*dag_line_magic.CALLS, *extended} <= magics("%dag").keys()
    assert admin_verbs.CALLS.keys() <= magics("%nbflow").keys()
    # And a cell magic runs no command: it defines a DAG
    assert [magic.name for magic in MAGICS if magic.kind == "cell"] == ["dag"]


def test_a_command_without_a_function_is_implemented_by_each_of_its_surfaces():
    implemented = {"%dag": dag_line_magic.CALLS.keys(), "%nbflow": admin_verbs.CALLS.keys()}
    missing = [
        command.name
        for command in COMMANDS
        if command.run is None and command.magic
        for magic, _, verb in [command.magic.partition(" ")]
        if verb not in implemented[magic]
    ]
    assert missing == []


@pytest.mark.parametrize(
    "command", [command for command in COMMANDS if not command.changes], ids=lambda command: command.name
)
def test_a_read_only_command_has_nothing_to_preview_confirm_or_refuse(command):
    functions = ("preview", "confirmation", "refusals")
    defaults = {field.name: field.default for field in fields(Command)}
    assert [name for name in functions if getattr(command, name) is not defaults[name]] == []


@pytest.mark.parametrize(
    "command", [command for command in COMMANDS if command.may_ask], ids=lambda command: command.name
)
def test_a_command_that_asks_has_a_preview(command):
    assert command.preview is not next(field.default for field in fields(Command) if field.name == "preview")
