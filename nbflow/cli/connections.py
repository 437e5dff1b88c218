"""connections: list, get, add, delete, import, export, test. Passwords are hidden without ``--show-values``."""

from __future__ import annotations

import json
import sys
from dataclasses import fields
from typing import Any

from nbflow.cli import output
from nbflow.cli.invocation import Call
from nbflow.cli.private_files import write_private_text
from nbflow.cli.terminal_command import OUTPUT, run_and_print, terminal_command
from nbflow.commands import command_named
from nbflow.commands.connections import FIELDS, format_of
from nbflow.commands.options import HIDE_SENSITIVE, SHOW_VALUES
from nbflow.connections import Connection
from nbflow.errors import NbflowError
from nbflow.hooks.connection_types import HOOKS
from nbflow.secrets_masker import MASK

COLUMNS = tuple(field.name for field in fields(Connection))


def list_connections(call: Call) -> None:
    from nbflow.views.connections import ConnectionsQuery

    args = call.args
    connections = call.app.store.connections() if args.show_values else call.fetch(ConnectionsQuery()).rows
    rows = [
        output.fields_of(connection, COLUMNS)
        for connection in connections
        if args.conn_id in (None, connection.conn_id)
    ]
    call.show(rows, empty="No connections in the metastore.", columns=COLUMNS)


def get(call: Call) -> None:
    connection = _find(call)
    call.show([output.fields_of(connection if call.args.show_values else connection.masked(), COLUMNS)])


def _find(call: Call) -> Connection:
    from nbflow.services.variables_connections_pools import connection_not_found

    conn_id = call.args.conn_id
    connection = call.app.secrets.get_connection(conn_id)
    if connection is None:
        raise connection_not_found(call.operations, conn_id)
    return connection


def add(call: Call) -> int:
    """Add a connection. The value "-" is read from standard input, since other users of the machine can see command
    lines."""
    for name in ("conn_uri", "conn_json", "conn_password"):
        if getattr(call.args, name) == "-":
            setattr(call.args, name, sys.stdin.readline().rstrip("\n"))
    return run_and_print(command_named("connections add"), call, to_stderr=True)


# --------------------------------------------------------------------------------------------------------------- files


def export(call: Call) -> None:
    from nbflow.yaml_files import yaml_text

    args = call.args
    file_format = args.file_format or format_of(args.file)
    connections = {connection.conn_id or "": connection for connection in call.app.store.connections()}
    if file_format == "env":
        text = "".join(
            f"{conn_id}={_serialize(connection, args.serialization_format)}\n"
            for conn_id, connection in connections.items()
        )
    else:
        content = {conn_id: _entry(connection) for conn_id, connection in connections.items()}
        text = json.dumps(content, indent=4) + "\n" if file_format == "json" else yaml_text(content)
    if write_private_text(args.file, text):
        output.note(f"{len(connections)} connections were written to {args.file}, which contains their passwords.")


def _entry(connection: Connection) -> dict[str, Any]:
    return {name: getattr(connection, name) for name in (*FIELDS, "description")}


def _serialize(connection: Connection, serialization_format: str | None) -> str:
    return connection.get_uri() if serialization_format != "json" else json.dumps(_entry(connection))


def test(call: Call) -> int:
    """Test a connection with its hook. The exit code is 0 only if the hook can connect."""
    connection = _find(call)
    if call.settings.core.test_connection != "Enabled":
        raise NbflowError(
            "Testing connections is disabled: it gives users of this command access to hosts that nbflow can reach.",
            hint="Enable it: [core] test_connection = Enabled, or NBFLOW__CORE__TEST_CONNECTION=Enabled.",
        )
    works, message = _test_with_hook(call, connection) if connection.conn_type in HOOKS else _probe_port(connection)
    verdict = {True: "works", False: "does not work", None: "is not tested"}[works]
    print(f"{connection.conn_id}: {verdict}: {' '.join(output.printable(message).split())}")
    return 0 if works else 1


def _test_with_hook(call: Call, connection: Connection) -> tuple[bool, str]:
    """Connect with the hook that tasks use."""
    from nbflow.hooks.base import BaseHook

    with call.app.providing_secrets():
        works, message = BaseHook.get_hook(connection.conn_id or "").test_connection()
    return works, message.replace(connection.password, MASK) if connection.password else message


def _probe_port(connection: Connection) -> tuple[bool | None, str]:
    """Test a connection that has no hook: False if its port is closed, otherwise None, since an open port does not
    prove that the login works."""
    import socket

    no_hook = f"the type {connection.conn_type or 'none'!r} has no hook"
    ports = {"http": 80, "https": 443, "mysql": 3306, "ssh": 22, "sftp": 22, "smtp": 25}
    port = connection.port or ports.get(connection.conn_type or "")
    if not connection.host or port is None:
        return None, f"{no_hook}, and the connection has no {'port' if connection.host else 'host'}"
    try:
        with socket.create_connection((connection.host, port), timeout=5):
            return None, f"{connection.host} accepts connections on port {port}, but {no_hook} to test the login"
    except OSError as error:
        return False, f"{connection.host} does not accept connections on port {port}: {error}"


COMMANDS = (
    terminal_command("connections list", SHOW_VALUES, HIDE_SENSITIVE, OUTPUT, run=list_connections),
    terminal_command("connections get", OUTPUT, run=get),
    terminal_command("connections add", run=add),
    terminal_command("connections delete", to_stderr=True),
    terminal_command("connections export", run=export),
    terminal_command("connections import", to_stderr=True),
    terminal_command("connections test", change=test),
)
