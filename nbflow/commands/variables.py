"""Commands on variables. Values are encrypted in the metastore."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from nbflow.command_arguments import VARIABLE, Values, argument, switch
from nbflow.commands.base import Command, Preview, Result
from nbflow.commands.options import INPUT_FILE, OUTPUT_FILE
from nbflow.errors import NbflowError

if TYPE_CHECKING:
    from nbflow.commands.context import Context

KEY = argument("key", type=VARIABLE, help="Key of the variable.")


def _set(context: Context, args: Values) -> Result:
    from nbflow.services.variables_connections_pools import set_variable

    value = args.value
    if args.json:
        try:
            value = json.dumps(json.loads(value), indent=2)
        except ValueError as error:
            raise NbflowError(f"The value is not valid JSON: {error}.") from None
    set_variable(context.operations, args.key, value, description=args.description)
    return Result(text=f"Variable {args.key} was set.", value=args.key)


def _delete(context: Context, args: Values) -> Result:
    from nbflow.services.variables_connections_pools import delete_variable

    delete_variable(context.operations, args.key)
    return Result(text=f"Variable {args.key} was deleted.", value=args.key)


def _delete_preview(context: Context, args: Values) -> Preview:
    items = tuple({"key": key} for key, _, _ in context.store.variables() if key == args.key)
    return Preview(text=f"Variable {args.key} would be deleted.", items=items)


def _import(context: Context, args: Values) -> Result:
    from nbflow.services.variables_connections_pools import set_variables

    content, selected = _variables_to_import(context, args)
    set_variables(context.operations, selected)
    return Result(text=f"{len(selected)} of {len(content)} variables were imported.", value=list(selected))


def _import_preview(context: Context, args: Values) -> Preview:
    _, selected = _variables_to_import(context, args)
    text = f"{', '.join(selected) or 'No variable'} would be set."
    return Preview(text=text, items=tuple({"key": key} for key in selected))


def _variables_to_import(context: Context, args: Values) -> tuple[dict[str, Any], dict[str, tuple[str, str | None]]]:
    """The content of the file, and the variables that would be set: key -> (value, description)."""
    from nbflow.commands.json_files import read_json

    content = read_json(args.file)
    existing = {key for key, _, _ in context.store.variables()}
    conflicts = sorted(existing & content.keys())
    if conflicts and args.action_on_existing_key == "fail":
        raise NbflowError(
            f"Nothing was imported: {', '.join(conflicts)} already exist.", hint="Pass -a overwrite or -a skip."
        )
    skipped = set(conflicts) if args.action_on_existing_key == "skip" else set()
    return content, {key: _value_and_description(entry) for key, entry in content.items() if key not in skipped}


def _value_and_description(entry: Any) -> tuple[str, str | None]:
    value, description = (entry["value"], entry["description"]) if is_described(entry) else (entry, None)
    return value if isinstance(value, str) else json.dumps(value, indent=2), description


def is_described(entry: object) -> bool:
    """Whether an entry of the file has Airflow's format for a value with a description."""
    return isinstance(entry, dict) and entry.keys() == {"value", "description"}


COMMANDS = (
    Command(
        name="variables list",
        magic="%nbflow variables",
        help="List the keys of all variables.",
        permission="variables.read",
    ),
    Command(
        name="variables get",
        help="Print the value of a variable.",
        permission="variables.read",
        arguments=(
            KEY,
            argument("-d", "--default", metavar="TEXT", help="Text to print if the variable does not exist."),
            switch("-j", "--json", help="The value is JSON."),
        ),
        example="region",
    ),
    Command(
        name="variables set",
        help="Set a variable; without VALUE, read it from standard input.",
        permission="variables.edit",
        changes=True,
        operation="set_variable",
        arguments=(
            KEY,
            argument("value", required=False, metavar="VALUE", help="Value of the variable."),
            argument("--description", metavar="TEXT", help="Description."),
            switch("-j", "--json", "--serialize-json", help="The value is JSON."),
        ),
        example="region eu",
        run=_set,
    ),
    Command(
        name="variables delete",
        help="Delete a variable.",
        permission="variables.edit",
        changes=True,
        operation="delete_variable",
        arguments=(KEY,),
        example="region",
        run=_delete,
        preview=_delete_preview,
    ),
    Command(
        name="variables export",
        help="Write all variables to a JSON file with mode 0600.",
        permission="variables.read",
        arguments=(OUTPUT_FILE,),
        example="variables.json",
    ),
    Command(
        name="variables import",
        help="Import variables from a JSON file.",
        permission="variables.edit",
        changes=True,
        operation="set_variable",
        arguments=(
            INPUT_FILE,
            argument(
                "-a",
                "--action-on-existing-key",
                choices=("overwrite", "fail", "skip"),
                default="overwrite",
                help="Action on a key that exists (default: overwrite).",
            ),
        ),
        example="variables.json",
        run=_import,
        preview=_import_preview,
    ),
)
