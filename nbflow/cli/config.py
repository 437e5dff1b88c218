"""config: settings and where they come from."""

from __future__ import annotations

from nbflow.arguments import argument, switch
from nbflow.cli.declaring import OUTPUT, Command
from nbflow.cli.invocation import Call
from nbflow.config import HIDDEN, SECTIONS, to_text
from nbflow.errors import ConfigError, did_you_mean


def list_options(call: Call) -> None:
    args = call.args
    if args.section is not None and args.section not in SECTIONS:
        raise ConfigError(f"There is no section [{args.section}].{did_you_mean(args.section, SECTIONS)}")
    rows = [
        {"section": row.section, "option": row.key, "value": row.value, "source": row.source}
        | ({"description": row.doc} if args.include_descriptions else {})
        for row in call.settings.rows(show_secrets=args.show_values)
        if args.section in (None, row.section) and not (args.only_set and row.source == "default")
    ]
    call.show(rows, empty="Every option has its default.", columns=("section", "option", "value", "source"))


def get_value(call: Call) -> None:
    args = call.args
    value = to_text(call.settings.get(args.section, args.option))
    for row in call.settings.rows():
        if (row.section, row.key) == (args.section, args.option) and row.value == HIDDEN and not args.show_values:
            value = HIDDEN
    print(value)


SHOW_VALUES = switch("--show-values", help="Show sensitive values too.")

COMMANDS = (
    Command(
        name="config list",
        help="Every option, its value and where that came from.",
        run=list_options,
        arguments=(
            OUTPUT,
            argument("--section", metavar="NAME", help="Only this section."),
            switch("--only-set", "--exclude-defaults", help="Only what is not at its default.", name="only_set"),
            switch("-d", "--include-descriptions", help="With what each option is for."),
            switch("-s", "--include-sources", help="Accepted: sources are always shown."),
            switch("--hide-sensitive", help="Accepted: they are hidden unless --show-values is given."),
            SHOW_VALUES,
        ),
    ),
    Command(
        name="config get-value",
        help="Print the value of one option.",
        run=get_value,
        arguments=(
            argument("section", help="Its section, like core."),
            argument("option", help="Its name."),
            SHOW_VALUES,
        ),
    ),
)
