"""variables: list, get, set, delete, import, export. Values are encrypted in the metastore."""

from __future__ import annotations

import json
import sys

from nbflow.arguments import switch
from nbflow.cli import output
from nbflow.cli.declaring import OUTPUT, carried_out, declared
from nbflow.cli.invocation import Call
from nbflow.cli.private_files import write_private_text
from nbflow.commands import command_named
from nbflow.commands.variables import is_described
from nbflow.errors import NbflowError


def list_variables(call: Call) -> None:
    args = call.args
    rows = []
    for key, value, description in call.app.store.variables():
        row = {"key": key, "description": description}
        if args.show_values:
            hidden = args.hide_sensitive and _sensitive(call, key)
            row["value"] = "***" if hidden else value
        rows.append(row)
    columns = ("key", "value", "description") if args.show_values else ("key", "description")
    call.show([{name: row[name] for name in columns} for row in rows], empty="There are no variables.", columns=columns)


def _sensitive(call: Call, key: str) -> bool:
    from nbflow.secrets import is_sensitive_name

    return is_sensitive_name(key, call.settings.core.sensitive_var_conn_names)


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
            raise NbflowError(f"The value of variable {args.key} is not JSON.") from None
    else:
        print(value)


def set_variable(call: Call) -> int:
    args = call.args
    if args.value is None:
        args.value = sys.stdin.read().rstrip("\n")
    code = carried_out(command_named("variables set"), call, note=True)
    if call.environ.get(f"NBFLOW_VAR_{args.key.upper()}") or call.environ.get(f"AIRFLOW_VAR_{args.key.upper()}"):
        output.warn(f"The environment sets {args.key} too, and wins.")
    return code


def export(call: Call) -> None:
    content = {}
    for key, value, description in call.app.store.variables():
        entry = _loaded(value)
        alone = description is None and not is_described(entry)
        content[key] = entry if alone else {"value": entry, "description": description}
    text = json.dumps(content, indent=4) + "\n"
    if write_private_text(call.args.file, text):
        output.say(f"{len(content)} variables were written to {call.args.file}, with their values: guard it.")


def _loaded(value: str) -> object:
    """JSON stays JSON in the file, as in Airflow's; a text that would be read back as another value stays text."""
    try:
        found = json.loads(value)
    except ValueError:
        return value
    return found if isinstance(found, (dict, list)) and json.dumps(found, indent=2) == value else value


COMMANDS = (
    declared(
        "variables list",
        OUTPUT,
        switch("--show-values", help="Show the values too."),
        switch("--hide-sensitive", help="With --show-values: not those whose names say that they are secret."),
        run=list_variables,
    ),
    declared("variables get", run=get),
    declared("variables set", run=set_variable),
    declared("variables delete", note=True),
    declared("variables export", run=export),
    declared("variables import", note=True),
)
