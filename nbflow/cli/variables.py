"""variables: list, get, set, delete, import, export. Values are encrypted in the metastore."""

from __future__ import annotations

import json
import sys

from nbflow.arguments import argument, switch
from nbflow.cli import output
from nbflow.cli.declaring import OUTPUT, Command
from nbflow.cli.invocation import Call
from nbflow.cli.private_files import write_private_text
from nbflow.errors import NbflowError, VariableNotFound, did_you_mean

KEY = argument("key", help="Key of the variable.")


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
    args = call.args
    value = call.app.secrets.get_variable(args.key)
    if value is None:
        if args.default is not None:
            print(args.default)
            return
        keys = [key for key, _, _ in call.app.store.variables()]
        raise VariableNotFound(
            f"Variable {args.key} does not exist.{did_you_mean(args.key, keys)}", hint="See: nbflow variables list."
        )
    if args.json:
        try:
            output.write_json(json.loads(value))
        except ValueError:
            raise NbflowError(f"The value of variable {args.key} is not JSON.") from None
    else:
        print(value)


def set_variable(call: Call) -> None:
    args = call.args
    value = sys.stdin.read().rstrip("\n") if args.value is None else args.value
    if args.json:
        try:
            value = json.dumps(json.loads(value), indent=2)
        except ValueError as fault:
            raise NbflowError(f"The value is not JSON: {fault}.") from None
    call.app.store.set_variable(args.key, value, description=args.description, actor=call.actor, now=call.now())
    output.say(f"Variable {args.key} was set.")
    if call.environ.get(f"NBFLOW_VAR_{args.key.upper()}") or call.environ.get(f"AIRFLOW_VAR_{args.key.upper()}"):
        output.warn(f"The environment sets {args.key} too, and wins.")


def delete(call: Call) -> None:
    key = call.args.key
    if not call.app.store.delete_variable(key, actor=call.actor, now=call.now()):
        keys = [known for known, _, _ in call.app.store.variables()]
        raise VariableNotFound(f"Variable {key} does not exist.{did_you_mean(key, keys)}")
    output.say(f"Variable {key} was deleted.")


def export(call: Call) -> None:
    content = {}
    for key, value, description in call.app.store.variables():
        entry = _loaded(value)
        alone = description is None and not _is_described(entry)
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


def _is_described(entry: object) -> bool:
    """A value with its description, as Airflow's files have it."""
    return isinstance(entry, dict) and entry.keys() == {"value", "description"}


def import_variables(call: Call) -> int:
    from nbflow.cli.pools import read_json

    args = call.args
    content = read_json(args.file)
    there = {key for key, _, _ in call.app.store.variables()}
    clash = sorted(there & content.keys())
    if clash and args.action_on_existing_key == "fail":
        raise NbflowError(
            f"Nothing was imported: {', '.join(clash)} exist already.", hint="Say -a overwrite, or -a skip."
        )
    count = 0
    for key, entry in content.items():
        if key in there and args.action_on_existing_key == "skip":
            continue
        value, description = (entry["value"], entry["description"]) if _is_described(entry) else (entry, None)
        text = value if isinstance(value, str) else json.dumps(value, indent=2)
        call.app.store.set_variable(key, text, description=description, actor=call.actor, now=call.now())
        count += 1
    output.say(f"{count} of {len(content)} variables were imported.")
    return 0


COMMANDS = (
    Command(
        name="variables list",
        help="The keys of all variables.",
        run=list_variables,
        arguments=(
            OUTPUT,
            switch("--show-values", help="Show the values too."),
            switch("--hide-sensitive", help="With --show-values: not those whose names say that they are secret."),
        ),
    ),
    Command(
        name="variables get",
        help="Print the value of a variable.",
        run=get,
        arguments=(
            KEY,
            argument("-d", "--default", metavar="TEXT", help="What to print if there is none."),
            switch("-j", "--json", help="The value is JSON."),
        ),
    ),
    Command(
        name="variables set",
        help="Set a variable; without a value it is read from standard input.",
        run=set_variable,
        arguments=(
            KEY,
            argument("value", required=False, help="Its value."),
            argument("--description", metavar="TEXT", help="What it is for."),
            switch("-j", "--json", "--serialize-json", help="The value is JSON."),
        ),
    ),
    Command(name="variables delete", help="Delete a variable.", run=delete, arguments=(KEY,)),
    Command(
        name="variables export",
        help="Write all variables to a JSON file that only you can read ('-': stdout).",
        run=export,
        arguments=(argument("file"),),
    ),
    Command(
        name="variables import",
        help="Read variables from a JSON file.",
        run=import_variables,
        arguments=(
            argument("file"),
            argument(
                "-a",
                "--action-on-existing-key",
                choices=("overwrite", "fail", "skip"),
                default="overwrite",
                help="What to do with a key that exists (overwrite).",
            ),
        ),
    ),
)
