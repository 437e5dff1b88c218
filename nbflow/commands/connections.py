"""Commands on connections. Passwords and extras are encrypted in the metastore, and hidden unless requested."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from nbflow.command_arguments import CONNECTION, UsageError, Values, argument, switch
from nbflow.commands.base import Audit, Command, Preview, Refused, Result
from nbflow.commands.options import HIDE_SENSITIVE, INPUT_FILE, OUTPUT_FILE, SHOW_VALUES
from nbflow.connections import Connection
from nbflow.errors import NbflowError

if TYPE_CHECKING:
    from nbflow.commands.context import Context

CONN_ID = argument("conn_id", type=CONNECTION, help="Id of the connection.")
FIELDS = ("conn_type", "host", "login", "password", "schema", "port", "extra")
"""Fields of a connection in files and options."""
TEXT_FIELDS = frozenset({"conn_id", "conn_type", "description", "host", "login", "password", "schema", "uri"})


# -------------------------------------------------------------------------------------------------------------- adding


def _refuse_existing(context: Context, args: Values) -> list[Refused]:
    exists = context.store.connection(args.conn_id) is not None
    return [Refused(f"Connection {args.conn_id!r} already exists. Delete it first.")] if exists else []


def _add(context: Context, args: Values) -> Result:
    from nbflow.services.variables_connections_pools import set_connections

    connection = _connection_from_options(args)
    set_connections(context.operations, [connection])
    warnings = () if connection.conn_type else ("The connection has no type; add it again with --conn-type.",)
    text = f"Connection {args.conn_id} was added ({connection.conn_type or 'no type'})."
    return Result(text=text, value=args.conn_id, warnings=warnings)


def _connection_from_options(args: Values) -> Connection:
    """The connection that the options define: a URI, a JSON object, or single fields."""
    values = {name: getattr(args, f"conn_{name.removeprefix('conn_')}") for name in FIELDS}
    fields = {name: value for name, value in values.items() if value is not None}
    if bool(args.conn_uri) + bool(args.conn_json) + bool(fields) != 1:
        raise UsageError("Pass exactly one of --conn-uri, --conn-json, or --conn-type with --conn-host etc.")
    try:
        if args.conn_uri:
            if "://" not in args.conn_uri:
                raise ValueError("a URI begins with the connection type, e.g. postgres://")
            connection = Connection.from_uri(args.conn_uri, args.conn_id)
        elif args.conn_json:
            connection = Connection.from_json(args.conn_json, args.conn_id)
        else:
            connection = Connection(conn_id=args.conn_id, **fields)
    except (TypeError, ValueError) as error:
        raise NbflowError(f"Invalid connection {args.conn_id!r}: {error}") from None
    if args.conn_description is None:
        return connection
    return replace(connection, description=args.conn_description, uri=None)


def _delete(context: Context, args: Values) -> Result:
    from nbflow.services.variables_connections_pools import delete_connection

    delete_connection(context.operations, args.conn_id)
    return Result(text=f"Connection {args.conn_id} was deleted.", value=args.conn_id)


def _delete_preview(context: Context, args: Values) -> Preview:
    exists = context.store.connection(args.conn_id) is not None
    items = ({"conn_id": args.conn_id},) if exists else ()
    return Preview(text=f"Connection {args.conn_id} would be deleted.", items=items)


# --------------------------------------------------------------------------------------------------------------- files


def _import(context: Context, args: Values) -> Result:
    from nbflow.services.variables_connections_pools import set_connections

    connections, selected = _connections_to_import(context, args)
    set_connections(context.operations, selected)
    skipped = [connection.conn_id for connection in connections if connection not in selected]
    warnings = tuple(f"Connection {conn_id} exists and was skipped; --overwrite replaces it." for conn_id in skipped)
    text = f"{len(selected)} of {len(connections)} connections were imported."
    return Result(text=text, value=[connection.conn_id for connection in selected], warnings=warnings)


def _import_preview(context: Context, args: Values) -> Preview:
    _, selected = _connections_to_import(context, args)
    conn_ids = [connection.conn_id for connection in selected]
    text = f"{', '.join(map(str, conn_ids)) or 'No connection'} would be set."
    return Preview(text=text, items=tuple({"conn_id": conn_id} for conn_id in conn_ids))


def _connections_to_import(context: Context, args: Values) -> tuple[list[Connection], list[Connection]]:
    """All connections of the file, and those that would be set."""
    connections = read_connections(args.file)
    existing = {connection.conn_id for connection in context.store.connections()}
    selected = [connection for connection in connections if args.overwrite or connection.conn_id not in existing]
    return connections, selected


def read_connections(file: str) -> list[Connection]:
    """The connections of a file. Raises NbflowError, which names the first invalid connection."""
    from nbflow.commands.json_files import read_json
    from nbflow.yaml_files import read_text, read_yaml

    lines: Mapping[str, int] = {}
    file_format = format_of(file)
    if file_format == "yaml":
        document = read_yaml(file, "connection ids")
        content, lines = document.content, document.lines
    else:
        content = read_json(file) if file_format == "json" else _env_entries(read_text(file))
    return [
        _connection(f"{file}:{lines[conn_id]}" if conn_id in lines else file, conn_id, entry)
        for conn_id, entry in content.items()
    ]


def format_of(file: str) -> str:
    """json, yaml or env, by the file's suffix; json for other suffixes."""
    suffix = file.rpartition(".")[2].lower()
    return {"yml": "yaml"}.get(suffix, suffix) if suffix in ("json", "yaml", "yml", "env") else "json"


def _env_entries(text: str) -> dict[str, Any]:
    lines = (line.strip() for line in text.splitlines())
    pairs = (line.partition("=") for line in lines if line and not line.startswith("#"))
    return {conn_id.strip(): value.strip() for conn_id, _, value in pairs}


def _connection(position: str, conn_id: str, entry: Any) -> Connection:
    try:
        if isinstance(entry, str):
            return (
                Connection.from_json(entry, conn_id) if entry.startswith("{") else Connection.from_uri(entry, conn_id)
            )
        if not isinstance(entry, dict):
            raise TypeError("expected a string or an object")
        for name in sorted(TEXT_FIELDS & entry.keys()):
            if not isinstance(entry[name], str | None):
                raise TypeError(f"{name} must be a string: quote it")
        fields = {("extra" if key == "extra_dejson" else key): value for key, value in entry.items()}
        return Connection.from_json(json.dumps(fields), conn_id)
    except (TypeError, ValueError) as error:
        raise NbflowError(f"{position}: invalid connection {conn_id!r}: {error}") from None


COMMANDS = (
    Command(
        name="connections list",
        magic="%nbflow connections",
        help="List the connections in the metastore; passwords are hidden.",
        permission="connections.read",
        arguments=(argument("--conn-id", type=CONNECTION, metavar="ID", help="Only this connection."),),
    ),
    Command(
        name="connections get",
        help="Show a connection from the environment or the metastore.",
        permission="connections.read",
        arguments=(CONN_ID, SHOW_VALUES, HIDE_SENSITIVE),
        example="shop_db",
    ),
    Command(
        name="connections add",
        help="Add a connection. With '-' the URI, JSON or password is read from standard input.",
        permission="connections.edit",
        changes=True,
        operation="set_connection",
        arguments=(
            CONN_ID,
            argument("--conn-uri", metavar="URI", help="type://login:password@host:port/schema?extra=value."),
            argument("--conn-json", metavar="JSON", help="JSON object with conn_type, host, login etc."),
            argument("--conn-type", metavar="TYPE", help="Type of the connection: postgres, http etc."),
            argument("--conn-description", metavar="TEXT", help="Description."),
            argument("--conn-host", metavar="HOST", help="Host name."),
            argument("--conn-login", metavar="NAME", help="Login name."),
            argument("--conn-password", metavar="TEXT", help="Password."),
            argument("--conn-schema", metavar="NAME", help="Database or schema; its meaning depends on the type."),
            argument("--conn-port", metavar="N", help="Port."),
            argument("--conn-extra", metavar="JSON", help="Additional options: a JSON object."),
        ),
        example="shop_db --conn-uri postgres://ada@db.example/shop",
        run=_add,
        refusals=_refuse_existing,
    ),
    Command(
        name="connections delete",
        help="Delete a connection.",
        permission="connections.edit",
        changes=True,
        operation="delete_connection",
        arguments=(CONN_ID,),
        example="shop_db",
        run=_delete,
        preview=_delete_preview,
    ),
    Command(
        name="connections export",
        help="Write all connections to a file with mode 0600.",
        permission="connections.read",
        arguments=(
            OUTPUT_FILE,
            argument(
                "--file-format",
                "--format",
                choices=("json", "yaml", "env"),
                help="Format of the file (default: by its suffix).",
            ),
            argument(
                "--serialization-format",
                choices=("json", "uri"),
                help="Format of the connections in an env file (default: uri).",
            ),
        ),
        example="connections.yaml",
    ),
    Command(
        name="connections import",
        help="Import connections from a .json, .yaml or .env file.",
        permission="connections.edit",
        changes=True,
        operation="set_connection",
        arguments=(
            INPUT_FILE,
            switch("--overwrite", help="Replace existing connections."),
        ),
        example="connections.yaml",
        run=_import,
        preview=_import_preview,
    ),
    Command(
        name="connections test",
        help="Test a connection with its hook (disabled by default).",
        epilog="For a type without a hook, only the port is tested. Enable with [core] test_connection = Enabled.",
        permission="connections.edit",
        changes=True,
        audit=Audit.COMMAND,
        arguments=(CONN_ID,),
        example="shop_db",
    ),
)
