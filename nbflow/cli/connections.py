"""connections: list, get, add, delete, import, export, test. Passwords are encrypted in the metastore, and are shown
only when they are asked for."""

from __future__ import annotations

import json
import sys
from dataclasses import fields
from typing import Any

from nbflow.cli import output
from nbflow.cli.declaring import OUTPUT, carried_out, declared
from nbflow.cli.invocation import Call
from nbflow.cli.private_files import write_private_text
from nbflow.commands import command_named
from nbflow.commands.connections import FIELDS, format_of
from nbflow.connections import Connection
from nbflow.errors import NbflowError
from nbflow.hooks import HOOKS

HIDDEN = "***"


def _row(one: Connection, *, show_values: bool) -> dict[str, Any]:
    row = {spec.name: getattr(one, spec.name) for spec in fields(Connection)}
    if not show_values:
        row["password"] = HIDDEN if one.password else None
        row["extra"] = json.dumps(dict.fromkeys(one.extra_dejson, HIDDEN)) if one.extra else None
    return row


def list_connections(call: Call) -> None:
    args = call.args
    rows = [
        _row(one, show_values=args.show_values)
        for one in call.app.store.connections()
        if args.conn_id in (None, one.conn_id)
    ]
    columns = tuple(spec.name for spec in fields(Connection))
    call.show(rows, empty="There are no connections in the metastore.", columns=columns)


def get(call: Call) -> None:
    call.show([_row(_find(call), show_values=call.args.show_values)])


def _find(call: Call) -> Connection:
    from nbflow.services.variables_connections_pools import connection_not_found

    conn_id = call.args.conn_id
    found = call.app.secrets.get_connection(conn_id)
    if found is None:
        raise connection_not_found(call.operations, conn_id)
    return found


def add(call: Call) -> int:
    """ "-" stands for a line on standard input: what stands on the command line, others on the machine can see."""
    for name in ("conn_uri", "conn_json", "conn_password"):
        if getattr(call.args, name) == "-":
            setattr(call.args, name, sys.stdin.readline().rstrip("\n"))
    return carried_out(command_named("connections add"), call, note=True)


# --------------------------------------------------------------------------------------------------------------- files


def export(call: Call) -> None:
    from nbflow.yaml_files import yaml_text

    args = call.args
    form = args.file_format or format_of(args.file)
    known = {one.conn_id or "": one for one in call.app.store.connections()}
    if form == "env":
        text = "".join(f"{conn_id}={_serialised(one, args.serialization_format)}\n" for conn_id, one in known.items())
    else:
        content = {conn_id: _entry(one) for conn_id, one in known.items()}
        text = json.dumps(content, indent=4) + "\n" if form == "json" else yaml_text(content)
    if write_private_text(args.file, text):
        output.say(f"{len(known)} connections were written to {args.file}, with their passwords: guard it.")


def _entry(one: Connection) -> dict[str, Any]:
    return {name: getattr(one, name) for name in (*FIELDS, "description")}


def _serialised(one: Connection, form: str | None) -> str:
    return one.get_uri() if form != "json" else json.dumps(_entry(one))


def test(call: Call) -> int:
    """Ask the hook of the connection whether it can connect; 0 only if it could. Off unless a setting allows it."""
    one = _find(call)
    if call.settings.core.test_connection != "Enabled":
        raise NbflowError(
            "Testing connections is off: it would let whoever may run this command reach what nbflow can reach.",
            hint="Allow it: [core] test_connection = Enabled, or NBFLOW__CORE__TEST_CONNECTION=Enabled.",
        )
    ok, text = _ask_hook(call, one) if one.conn_type in HOOKS else _knock(one)
    verdict = {True: "works", False: "does not work", None: "is not known to work"}[ok]
    print(f"{one.conn_id}: {verdict}: {' '.join(output.harmless(text).split())}")
    return 0 if ok else 1


def _ask_hook(call: Call, one: Connection) -> tuple[bool, str]:
    """What tasks will find: the same hook logs in with the same connection."""
    from nbflow.hooks.base import BaseHook

    with call.app.answering():
        ok, text = BaseHook.get_hook(one.conn_id or "").test_connection()
    return ok, text.replace(one.password, HIDDEN) if one.password else text


def _knock(one: Connection) -> tuple[bool | None, str]:
    """Without a hook only whether somebody is there: no proof that the connection works, so not True."""
    import socket

    untried = f"there is no hook for the type {one.conn_type or 'none'!r} to try it"
    ports = {"http": 80, "https": 443, "mysql": 3306, "ssh": 22, "sftp": 22, "smtp": 25}
    port = one.port or ports.get(one.conn_type or "")
    if not one.host or port is None:
        return None, f"{untried}, and it names no {'port' if one.host else 'host'} to reach"
    try:
        with socket.create_connection((one.host, port), timeout=5):
            return None, f"{one.host} answers at port {port}; more was not tried, as {untried}"
    except OSError as fault:
        return False, f"{one.host} does not answer at port {port}: {fault}"


COMMANDS = (
    declared("connections list", OUTPUT, run=list_connections),
    declared("connections get", OUTPUT, run=get),
    declared("connections add", run=add),
    declared("connections delete", note=True),
    declared("connections export", run=export),
    declared("connections import", note=True),
    declared("connections test", run=test),
)
