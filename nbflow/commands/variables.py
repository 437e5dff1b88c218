"""Variables: their values are encrypted in the metastore."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from nbflow.arguments import FILE, VARIABLE, Values, argument, switch
from nbflow.commands.base import Command, Preview, Result
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
        except ValueError as fault:
            raise NbflowError(f"The value is not JSON: {fault}.") from None
    set_variable(context.operations, args.key, value, description=args.description)
    return Result(text=f"Variable {args.key} was set.", value=args.key)


def _delete(context: Context, args: Values) -> Result:
    from nbflow.services.variables_connections_pools import delete_variable

    delete_variable(context.operations, args.key)
    return Result(text=f"Variable {args.key} was deleted.", value=args.key)


def _delete_preview(context: Context, args: Values) -> Preview:
    there = [{"key": key} for key, _, _ in context.store.variables() if key == args.key]
    return Preview(text=f"Variable {args.key} would be deleted.", items=tuple(there))


def _import(context: Context, args: Values) -> Result:
    from nbflow.services.variables_connections_pools import set_variables

    content, chosen = _read(context, args)
    set_variables(context.operations, chosen)
    return Result(text=f"{len(chosen)} of {len(content)} variables were imported.", value=list(chosen))


def _import_preview(context: Context, args: Values) -> Preview:
    _, chosen = _read(context, args)
    names = ", ".join(chosen) or "no variable"
    return Preview(text=f"It would set {names}.", items=tuple({"key": key} for key in chosen))


def _read(context: Context, args: Values) -> tuple[dict[str, Any], dict[str, tuple[str, str | None]]]:
    """All of a file, and what of it would be set: key -> (value, description)."""
    from nbflow.commands.files import read_json

    content = read_json(args.file)
    there = {key for key, _, _ in context.store.variables()}
    clash = sorted(there & content.keys())
    if clash and args.action_on_existing_key == "fail":
        raise NbflowError(
            f"Nothing was imported: {', '.join(clash)} exist already.", hint="Say -a overwrite, or -a skip."
        )
    kept = {key: entry for key, entry in content.items() if key not in there or args.action_on_existing_key != "skip"}
    return content, {key: _value_of(entry) for key, entry in kept.items()}


def _value_of(entry: Any) -> tuple[str, str | None]:
    value, description = (entry["value"], entry["description"]) if is_described(entry) else (entry, None)
    return value if isinstance(value, str) else json.dumps(value, indent=2), description


def is_described(entry: object) -> bool:
    """A value with its description, as Airflow's files have it."""
    return isinstance(entry, dict) and entry.keys() == {"value", "description"}


COMMANDS = (
    Command(name="variables list", help="The keys of all variables.", permission="variables.read"),
    Command(
        name="variables get",
        help="Print the value of a variable.",
        permission="variables.read",
        arguments=(
            KEY,
            argument("-d", "--default", metavar="TEXT", help="What to print if there is none."),
            switch("-j", "--json", help="The value is JSON."),
        ),
        example="region",
    ),
    Command(
        name="variables set",
        help="Set a variable; without a value it is read from standard input.",
        permission="variables.edit",
        changes=True,
        arguments=(
            KEY,
            argument("value", required=False, help="Its value."),
            argument("--description", metavar="TEXT", help="What it is for."),
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
        arguments=(KEY,),
        example="region",
        run=_delete,
        preview=_delete_preview,
    ),
    Command(
        name="variables export",
        help="Write all variables to a JSON file that only you can read ('-': stdout).",
        permission="variables.read",
        arguments=(argument("file", type=FILE, help="The file."),),
        example="variables.json",
    ),
    Command(
        name="variables import",
        help="Read variables from a JSON file.",
        permission="variables.edit",
        changes=True,
        arguments=(
            argument("file", type=FILE, help="The file."),
            argument(
                "-a",
                "--action-on-existing-key",
                choices=("overwrite", "fail", "skip"),
                default="overwrite",
                help="What to do with a key that exists (default: overwrite).",
            ),
        ),
        example="variables.json",
        run=_import,
        preview=_import_preview,
    ),
)
