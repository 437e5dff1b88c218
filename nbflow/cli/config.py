"""config: settings and their sources."""

from __future__ import annotations

from nbflow.cli.invocation import Call
from nbflow.cli.terminal_command import OUTPUT, terminal_command
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
    terminal_command("config list", OUTPUT, run=list_options),
    terminal_command("config get-value", run=get_value),
)
