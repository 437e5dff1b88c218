"""Connections. Passwords and extras are encrypted in the metastore, and are shown only when they are asked for."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from nbflow.arguments import CONNECTION, FILE, UsageError, Values, argument, switch
from nbflow.commands.base import Command, Preview, Result
from nbflow.errors import NbflowError

if TYPE_CHECKING:
    from nbflow.commands.context import Context
    from nbflow.connections import Connection

CONN_ID = argument("conn_id", type=CONNECTION, help="Id of the connection.")
PARTS = ("conn_type", "host", "login", "password", "schema", "port", "extra")
"""What a connection is made of, in files."""
TEXTS = frozenset({"conn_id", "conn_type", "description", "host", "login", "password", "schema", "uri"})
SHOW_VALUES = switch("--show-values", help="Show passwords and extras.")
HIDE = switch("--hide-sensitive", help="Accepted: they are hidden unless --show-values is given.")


# -------------------------------------------------------------------------------------------------------------- adding


def _there_already(context: Context, args: Values) -> list[str]:
    there = context.store.connection(args.conn_id) is not None
    return [f"There is a connection {args.conn_id!r} already. Delete it first."] if there else []


def _add(context: Context, args: Values) -> Result:
    from nbflow.services.variables_connections_pools import set_connections

    made = _made(args)
    set_connections(context.operations, [made])
    warnings = () if made.conn_type else ("It has no type: give one with --conn-type.",)
    text = f"Connection {args.conn_id} was added ({made.conn_type or 'no type'})."
    return Result(text=text, value=args.conn_id, warnings=warnings)


def _made(args: Values) -> Connection:
    """The connection that the options spell: a URI, a JSON object, or its parts."""
    from nbflow.connections import Connection

    parts = {name: getattr(args, f"conn_{name.removeprefix('conn_')}") for name in PARTS}
    given = {name: value for name, value in parts.items() if value is not None}
    ways = [way for way, value in (("--conn-uri", args.conn_uri), ("--conn-json", args.conn_json)) if value]
    if len(ways) + bool(given) != 1:
        raise UsageError("Say either --conn-uri, or --conn-json, or --conn-type with --conn-host and so on.")
    try:
        if args.conn_uri:
            if "://" not in args.conn_uri:
                raise ValueError("a URI begins with its type, as postgres://")
            made = Connection.from_uri(args.conn_uri, args.conn_id)
        elif args.conn_json:
            made = Connection.from_json(args.conn_json, args.conn_id)
        else:
            made = Connection(conn_id=args.conn_id, **given)
    except (TypeError, ValueError) as fault:
        raise NbflowError(f"Connection {args.conn_id} cannot be read: {fault}") from None
    return made if args.conn_description is None else replace(made, description=args.conn_description, uri=None)


def _delete(context: Context, args: Values) -> Result:
    from nbflow.services.variables_connections_pools import delete_connection

    delete_connection(context.operations, args.conn_id)
    return Result(text=f"Connection {args.conn_id} was deleted.", value=args.conn_id)


def _delete_preview(context: Context, args: Values) -> Preview:
    there = context.store.connection(args.conn_id) is not None
    items = ({"conn_id": args.conn_id},) if there else ()
    return Preview(text=f"Connection {args.conn_id} would be deleted.", items=items)


# --------------------------------------------------------------------------------------------------------------- files


def _import(context: Context, args: Values) -> Result:
    from nbflow.services.variables_connections_pools import set_connections

    found, chosen = _chosen(context, args)
    set_connections(context.operations, chosen)
    left = [one.conn_id for one in found if one not in chosen]
    warnings = tuple(f"Connection {conn_id} exists and was left alone; --overwrite replaces it." for conn_id in left)
    text = f"{len(chosen)} of {len(found)} connections were imported."
    return Result(text=text, value=[one.conn_id for one in chosen], warnings=warnings)


def _import_preview(context: Context, args: Values) -> Preview:
    _, chosen = _chosen(context, args)
    names = ", ".join(str(one.conn_id) for one in chosen) or "no connection"
    return Preview(text=f"It would set {names}.", items=tuple({"conn_id": one.conn_id} for one in chosen))


def _chosen(context: Context, args: Values) -> tuple[list[Connection], list[Connection]]:
    """All of a file, and what of it would be set."""
    found = read_connections(args.file)
    there = {one.conn_id for one in context.store.connections()}
    return found, [one for one in found if args.overwrite or one.conn_id not in there]


def read_connections(file: str) -> list[Connection]:
    """The connections in a file: whole, or an error that names the one that cannot be read."""
    from nbflow.commands.files import read_json
    from nbflow.yaml_files import read_text, read_yaml

    lines: Mapping[str, int] = {}
    form = form_of(file)
    if form == "yaml":
        found = read_yaml(file, "connection ids")
        content, lines = found.content, found.lines
    else:
        content = read_json(file) if form == "json" else _env_entries(read_text(file))
    return [
        _connection(f"{file}:{lines[conn_id]}" if conn_id in lines else file, conn_id, entry)
        for conn_id, entry in content.items()
    ]


def form_of(file: str) -> str:
    """json, yaml or env, by a file's name."""
    suffix = file.rpartition(".")[2].lower()
    return {"yml": "yaml"}.get(suffix, suffix) if suffix in ("json", "yaml", "yml", "env") else "json"


def _env_entries(text: str) -> dict[str, Any]:
    lines = (line.strip() for line in text.splitlines())
    pairs = (line.partition("=") for line in lines if line and not line.startswith("#"))
    return {conn_id.strip(): value.strip() for conn_id, _, value in pairs}


def _connection(place: str, conn_id: str, entry: Any) -> Connection:
    from nbflow.connections import Connection

    try:
        if isinstance(entry, str):
            return (
                Connection.from_json(entry, conn_id) if entry.startswith("{") else Connection.from_uri(entry, conn_id)
            )
        if not isinstance(entry, dict):
            raise TypeError("it is neither text nor an object")
        for name in sorted(TEXTS & entry.keys()):
            if not isinstance(entry[name], str | None):
                raise TypeError(f"{name} must be a string: quote it")
        kept = {("extra" if key == "extra_dejson" else key): value for key, value in entry.items()}
        return Connection.from_json(json.dumps(kept), conn_id)
    except (TypeError, ValueError) as fault:
        raise NbflowError(f"{place}: connection {conn_id!r} cannot be read: {fault}") from None


COMMANDS = (
    Command(
        name="connections list",
        help="The connections in the metastore; passwords are hidden.",
        permission="connections.read",
        arguments=(argument("--conn-id", type=CONNECTION, metavar="ID", help="Only this one."), SHOW_VALUES, HIDE),
    ),
    Command(
        name="connections get",
        help="One connection, from the environment or the metastore.",
        permission="connections.read",
        arguments=(CONN_ID, SHOW_VALUES, HIDE),
        example="shop_db",
    ),
    Command(
        name="connections add",
        help="Add a connection. '-' for a URI, JSON or password reads it from standard input.",
        permission="connections.edit",
        changes=True,
        arguments=(
            CONN_ID,
            argument("--conn-uri", metavar="URI", help="type://login:password@host:port/schema?extra=...."),
            argument("--conn-json", metavar="JSON", help="An object with conn_type, host, login and so on."),
            argument("--conn-type", metavar="TYPE", help="postgres, http and so on."),
            argument("--conn-description", metavar="TEXT", help="What it is for."),
            argument("--conn-host", metavar="HOST", help="Where it leads."),
            argument("--conn-login", metavar="NAME", help="Who logs in."),
            argument("--conn-password", metavar="TEXT", help="With which password."),
            argument("--conn-schema", metavar="NAME", help="Database, or what the type means by schema."),
            argument("--conn-port", metavar="N", help="Port."),
            argument("--conn-extra", metavar="JSON", help="A JSON object of more options."),
        ),
        example="shop_db --conn-uri postgres://ada@db.example/shop",
        run=_add,
        refusals=_there_already,
    ),
    Command(
        name="connections delete",
        help="Delete a connection.",
        permission="connections.edit",
        changes=True,
        arguments=(CONN_ID,),
        example="shop_db",
        run=_delete,
        preview=_delete_preview,
    ),
    Command(
        name="connections export",
        help="Write all connections to a file that only you can read ('-': stdout).",
        permission="connections.read",
        arguments=(
            argument("file", type=FILE, help="The file."),
            argument(
                "--file-format", "--format", choices=("json", "yaml", "env"), help="Form of the file (by its name)."
            ),
            argument("--serialization-format", choices=("json", "uri"), help="Of connections in an env file (uri)."),
        ),
        example="connections.yaml",
    ),
    Command(
        name="connections import",
        help="Read connections from a .json, .yaml or .env file.",
        permission="connections.edit",
        changes=True,
        arguments=(
            argument("file", type=FILE, help="The file."),
            switch("--overwrite", help="Replace those that exist."),
        ),
        example="connections.yaml",
        run=_import,
        preview=_import_preview,
    ),
    Command(
        name="connections test",
        help="Whether a connection works: its hook tries it (off by default).",
        more="Of a type that has no hook only the port is tried. Allowed by [core] test_connection = Enabled.",
        permission="connections.edit",
        changes=True,
        arguments=(CONN_ID,),
        example="shop_db",
    ),
)
