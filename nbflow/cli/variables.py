"""variables: list, get, set, delete, import, export."""

from __future__ import annotations

import json
import sys
from typing import Any

from nbflow.cli import output
from nbflow.cli.invocation import Call
from nbflow.cli.private_files import write_private_text
from nbflow.cli.terminal_command import OUTPUT, run_and_print, terminal_command
from nbflow.command_arguments import switch
from nbflow.commands import command_named
from nbflow.commands.variables import is_described
from nbflow.errors import NbflowError


def list_variables(call: Call) -> None:
    from nbflow.views.variables import VariablesQuery

    columns = ("key", "value", "description") if call.args.show_values else ("key", "description")
    if call.args.show_values:
        rows = _rows_with_values(call)
    else:
        rows = [output.fields_of(row, columns) for row in call.fetch(VariablesQuery()).rows]
    call.show(rows, empty="No variables.", columns=columns)


def _rows_with_values(call: Call) -> list[dict[str, Any]]:
    from nbflow.secrets_masker import MASK, is_sensitive_name

    more = call.settings.core.sensitive_var_conn_names
    return [
        {
            "key": key,
            "value": MASK if call.args.hide_sensitive and is_sensitive_name(key, more) else value,
            "description": description,
        }
        for key, value, description in call.app.store.variables()
    ]


def get(call: Call) -> None:
    from nbflow.services.variables_connections_pools import variable_not_found

    args = call.args
    value = call.app.secrets.get_variable(args.key)
    if value is None:
        if args.default is not None:
            print(args.default)
            return
        raise variable_not_found(call.operations, args.key)
    if args.json:
        try:
            output.write_json(json.loads(value))
        except ValueError:
            raise NbflowError(f"The value of variable {args.key} is not valid JSON.") from None
    else:
        print(value)


def set_variable(call: Call) -> int:
    args = call.args
    if args.value is None:
        args.value = sys.stdin.read().rstrip("\n")
    code = run_and_print(command_named("variables set"), call, to_stderr=True)
    if call.environ.get(f"NBFLOW_VAR_{args.key.upper()}") or call.environ.get(f"AIRFLOW_VAR_{args.key.upper()}"):
        output.warn(f"An environment variable overrides variable {args.key}.")
    return code


def export(call: Call) -> None:
    content = {}
    for key, value, description in call.app.store.variables():
        entry = _decode(value)
        is_plain = description is None and not is_described(entry)
        content[key] = entry if is_plain else {"value": entry, "description": description}
    text = json.dumps(content, indent=4) + "\n"
    if write_private_text(call.args.file, text):
        output.note(f"{len(content)} variables were written to {call.args.file}, which may contain secrets.")


def _decode(value: str) -> object:
    """Decode a JSON value for the exported file, as Airflow does, unless an import would then change its text."""
    try:
        decoded = json.loads(value)
    except ValueError:
        return value
    return decoded if isinstance(decoded, (dict, list)) and json.dumps(decoded, indent=2) == value else value


COMMANDS = (
    terminal_command(
        "variables list",
        OUTPUT,
        switch("--show-values", help="Show the values."),
        switch("--hide-sensitive", help="With --show-values: hide values of variables with sensitive names."),
        run=list_variables,
    ),
    terminal_command("variables get", run=get),
    terminal_command("variables set", run=set_variable),
    terminal_command("variables delete", to_stderr=True),
    terminal_command("variables export", run=export),
    terminal_command("variables import", to_stderr=True),
)
