"""What every command must say of itself."""

from __future__ import annotations

import shlex

import pytest

from nbflow.cli.main import GROUPS
from nbflow.cli.main import commands_of as lines_of
from nbflow.cli.main import parser_of as terminal_parser
from nbflow.command_arguments import TERMINAL, Parser
from nbflow.commands import MODULES, all_commands, command_named, commands_of
from nbflow.commands.permissions import PERMISSIONS
from nbflow.errors import NbflowError
from nbflow.notebook import magic_parser

COMMANDS = list(all_commands().values())


@pytest.mark.parametrize("one", COMMANDS, ids=lambda one: one.name)
def test_a_command_has_help_a_permission_and_an_example_that_parses(one):
    assert one.help[0].isupper()
    assert one.help.endswith(".")
    assert one.permission in PERMISSIONS
    assert one.changes == (not one.permission.endswith(".read"))
    values = Parser(one.name, one.arguments, texts=TERMINAL).parse(shlex.split(one.example))
    assert vars(values).keys() == {argument.name for argument in one.arguments}


@pytest.mark.parametrize("one", COMMANDS, ids=lambda one: one.name)
def test_an_argument_says_what_it_is_for(one):
    for argument in one.arguments:
        assert argument.help.endswith((".", ")")), argument.name
    names = [argument.name for argument in one.arguments]
    flags = [flag for argument in one.arguments for flag in argument.flags]
    assert len(names) == len(set(names))
    assert len(flags) == len(set(flags))


def test_arguments_stand_in_the_order_dag_task_run():
    order = ["DAG", "TASK", "RUN"]
    for one in COMMANDS:
        kinds = [
            argument.type.name for argument in one.arguments if argument.positional and argument.type.name in order
        ]
        assert kinds == sorted(kinds, key=order.index), one.name


def test_every_permission_is_needed_by_a_command_of_which_there_is_one():
    needed = {one.permission for one in COMMANDS}
    assert needed <= PERMISSIONS.keys()


def test_a_command_is_found_by_its_name_and_a_wrong_one_names_the_nearest():
    assert command_named("dags pause").magic == "%dag pause"
    with pytest.raises(NbflowError, match=r"Unknown command 'dags puase'\. Did you mean 'dags pause'\?"):
        command_named("dags puase")


def test_a_command_appears_in_the_terminal_by_its_declaration():
    # Given every command that a group of the terminal has
    for group in MODULES.keys() & GROUPS.keys():
        lines = {one.name: one for one in lines_of(group)}
        for one in commands_of(group):
            # Then the terminal has it, with all its arguments
            assert all(argument in lines[one.name].arguments for argument in one.arguments), one.name
            assert terminal_parser(lines[one.name]).format_help().startswith(f"usage: nbflow {one.name} ")


def test_a_command_appears_in_the_notebook_by_its_declaration():
    # Given every command with a verb
    for verb, one in magic_parser.VERBS.items():
        # Then %dag knows it, with all its arguments
        assert f"  {verb} " in magic_parser.help_text()
        assert [argument.name for argument in magic_parser.arguments_of(verb)][: len(one.arguments)] == [
            argument.name for argument in one.arguments
        ]
