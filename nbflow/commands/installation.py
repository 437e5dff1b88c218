"""Commands on the installation: settings, versions, paths, the list of commands."""

from __future__ import annotations

from nbflow.command_arguments import argument, switch
from nbflow.commands.base import Command
from nbflow.commands.options import HIDE_SENSITIVE, SHOW_VALUES

COMMANDS = (
    Command(
        name="config list",
        help="List options with their values and sources.",
        permission="config.read",
        arguments=(
            argument("--section", metavar="NAME", help="Only this section."),
            switch(
                "--only-set",
                "--exclude-defaults",
                help="Only options with another value than the default.",
                name="only_set",
            ),
            switch("-d", "--include-descriptions", help="Add a description of each option."),
            switch("-s", "--include-sources", help="Ignored: sources are always shown."),
            HIDE_SENSITIVE,
            SHOW_VALUES,
        ),
        example="--section core",
    ),
    Command(
        name="config get-value",
        help="Print the value of an option.",
        permission="config.read",
        arguments=(
            argument("section", help="Section, e.g. core."),
            argument("option", help="Name of the option."),
            SHOW_VALUES,
        ),
        example="core dags_folder",
    ),
    Command(
        name="info",
        help="Show installed versions and paths.",
        permission="config.read",
        arguments=(
            switch("--anonymize", help="Replace the user's home folder by ~."),
            switch("--file-io", help="Ignored: nothing is uploaded."),
        ),
    ),
    Command(name="version", help="Show the version.", permission="config.read"),
    Command(name="cheat-sheet", help="List every command with its help.", permission="config.read"),
)
