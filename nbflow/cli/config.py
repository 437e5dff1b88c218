"""config: settings and their sources."""

from __future__ import annotations

from nbflow.cli.command_declarations import OUTPUT, Command
from nbflow.cli.invocation import Call
from nbflow.command_arguments import argument, switch
from nbflow.commands.options import HIDE_SENSITIVE, SHOW_VALUES
from nbflow.config import HIDDEN, SECTIONS, to_text
from nbflow.errors import ConfigError, did_you_mean


def list_options(call: Call) -> None:
    args = call.args
    if args.section is not None and args.section not in SECTIONS:
        raise ConfigError(f"Unknown section [{args.section}].{did_you_mean(args.section, SECTIONS)}")
    rows = [
        {"section": row.section, "option": row.key, "value": row.value, "source": row.source}
        | ({"description": row.doc} if args.include_descriptions else {})
        for row in call.settings.rows(show_secrets=args.show_values)
        if args.section in (None, row.section) and not (args.only_set and row.source == "default")
    ]
    call.show(rows, empty="Every option has its default value.", columns=("section", "option", "value", "source"))


def get_value(call: Call) -> None:
    args = call.args
    value = to_text(call.settings.get(args.section, args.option))
    for row in call.settings.rows():
        if (row.section, row.key) == (args.section, args.option) and row.value == HIDDEN and not args.show_values:
            value = HIDDEN
    print(value)


COMMANDS = (
    Command(
        name="config list",
        help="List options with their values and sources.",
        run=list_options,
        arguments=(
            OUTPUT,
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
    ),
    Command(
        name="config get-value",
        help="Print the value of an option.",
        run=get_value,
        arguments=(
            argument("section", help="Section, e.g. core."),
            argument("option", help="Name of the option."),
            SHOW_VALUES,
        ),
    ),
)
