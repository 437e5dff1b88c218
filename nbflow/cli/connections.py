"""connections: list, get, add, delete, import, export, test. Passwords are encrypted in the metastore, and are shown
only when they are asked for."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from nbflow.arguments import argument, switch
from nbflow.cli import output
from nbflow.cli.declaring import OUTPUT, Command
from nbflow.cli.invocation import Call, UsageError
from nbflow.cli.private_files import write_private_text
from nbflow.connections import Connection
from nbflow.errors import ConnectionNotFound, NbflowError, did_you_mean
from nbflow.hooks import HOOKS

CONN_ID = argument("conn_id", help="Id of the connection.")
SHOW_VALUES = switch("--show-values", help="Show passwords and extras.")
HIDE = switch("--hide-sensitive", help="Accepted: they are hidden unless --show-values is given.")
HIDDEN = "***"
_TEXTS = frozenset({"conn_id", "conn_type", "description", "host", "login", "password", "schema", "uri"})
_PARTS = ("conn_type", "host", "login", "password", "schema", "port", "extra")


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
    conn_id = call.args.conn_id
    found = call.app.secrets.get_connection(conn_id)
    if found is None:
        raise _unknown(call, conn_id)
    return found


def _unknown(call: Call, conn_id: str) -> ConnectionNotFound:
    known = [one.conn_id for one in call.app.store.connections() if one.conn_id]
    return ConnectionNotFound(
        f"There is no connection {conn_id!r}.{did_you_mean(conn_id, known)}", hint="See: nbflow connections list."
    )


def add(call: Call) -> None:
    args = call.args
    made = _made(call)
    if call.app.store.connection(args.conn_id) is not None:
        raise NbflowError(f"There is a connection {args.conn_id!r} already.", hint="Delete it first.")
    call.app.store.set_connection(made, actor=call.actor, now=call.now())
    output.say(f"Connection {args.conn_id} was added ({made.conn_type or 'no type'}).")
    if not made.conn_type:
        output.warn("It has no type: give one with --conn-type.")


def _made(call: Call) -> Connection:
    """The connection that the options spell: a URI, a JSON object, or its parts."""
    args = call.args
    parts = {name: getattr(args, f"conn_{name.removeprefix('conn_')}") for name in _PARTS}
    given = {name: value for name, value in parts.items() if value is not None}
    ways = [way for way, value in (("--conn-uri", args.conn_uri), ("--conn-json", args.conn_json)) if value]
    if len(ways) + bool(given) != 1:
        raise UsageError("Say either --conn-uri, or --conn-json, or --conn-type with --conn-host and so on.")
    try:
        if args.conn_uri:
            uri = _typed(args.conn_uri)
            if "://" not in uri:
                raise ValueError("a URI begins with its type, as postgres://")
            made = Connection.from_uri(uri, args.conn_id)
        elif args.conn_json:
            made = Connection.from_json(_typed(args.conn_json), args.conn_id)
        else:
            if "password" in given:
                given["password"] = _typed(given["password"])
            made = Connection(conn_id=args.conn_id, **given)
    except (TypeError, ValueError) as fault:
        raise NbflowError(f"Connection {args.conn_id} cannot be read: {fault}") from None
    if args.conn_description is not None:
        from dataclasses import replace

        made = replace(made, description=args.conn_description, uri=None)
    return made


def _typed(text: str) -> str:
    """ "-" stands for a line on standard input: what stands on the command line, others on the machine can see."""
    return sys.stdin.readline().rstrip("\n") if text == "-" else text


def delete(call: Call) -> None:
    conn_id = call.args.conn_id
    if not call.app.store.delete_connection(conn_id, actor=call.actor, now=call.now()):
        raise _unknown(call, conn_id)
    output.say(f"Connection {conn_id} was deleted.")


# --------------------------------------------------------------------------------------------------------------- files


def export(call: Call) -> None:
    from nbflow.cli.yaml_files import yaml_text

    args = call.args
    form = args.file_format or args.format or _form_of(args.file)
    known = {one.conn_id or "": one for one in call.app.store.connections()}
    if form == "env":
        text = "".join(f"{conn_id}={_serialised(one, args.serialization_format)}\n" for conn_id, one in known.items())
    else:
        content = {conn_id: _entry(one) for conn_id, one in known.items()}
        text = json.dumps(content, indent=4) + "\n" if form == "json" else yaml_text(content)
    if write_private_text(args.file, text):
        output.say(f"{len(known)} connections were written to {args.file}, with their passwords: guard it.")


def _form_of(file: str) -> str:
    suffix = file.rpartition(".")[2].lower()
    return {"yml": "yaml"}.get(suffix, suffix) if suffix in ("json", "yaml", "yml", "env") else "json"


def _entry(one: Connection) -> dict[str, Any]:
    return {name: getattr(one, name) for name in (*_PARTS, "description")}


def _serialised(one: Connection, form: str | None) -> str:
    return one.get_uri() if form != "json" else json.dumps(_entry(one))


def import_connections(call: Call) -> None:
    args = call.args
    found = _read(args.file)
    now, store = call.now(), call.app.store
    done = 0
    for one in found:
        if store.connection(one.conn_id or "") is not None and not args.overwrite:
            output.warn(f"Connection {one.conn_id} exists and was left alone; --overwrite replaces it.")
            continue
        store.set_connection(one, actor=call.actor, now=now)
        done += 1
    output.say(f"{done} of {len(found)} connections were imported.")


def _read(file: str) -> list[Connection]:
    """The connections in a file: whole, or an error that names the one that cannot be read."""
    from nbflow.cli.pools import read_json
    from nbflow.cli.yaml_files import read_text, read_yaml

    lines: Mapping[str, int] = {}
    form = _form_of(file)
    if form == "yaml":
        found = read_yaml(file, "connection ids")
        content, lines = found.content, found.lines
    else:
        content = read_json(file) if form == "json" else _env_entries(read_text(file))
    return [
        _connection(f"{file}:{lines[conn_id]}" if conn_id in lines else file, conn_id, entry)
        for conn_id, entry in content.items()
    ]


def _env_entries(text: str) -> dict[str, Any]:
    lines = (line.strip() for line in text.splitlines())
    pairs = (line.partition("=") for line in lines if line and not line.startswith("#"))
    return {conn_id.strip(): value.strip() for conn_id, _, value in pairs}


def _connection(place: str, conn_id: str, entry: Any) -> Connection:
    try:
        if isinstance(entry, str):
            return (
                Connection.from_json(entry, conn_id) if entry.startswith("{") else Connection.from_uri(entry, conn_id)
            )
        if not isinstance(entry, dict):
            raise TypeError("it is neither text nor an object")
        for name in sorted(_TEXTS & entry.keys()):
            if not isinstance(entry[name], str | None):
                raise TypeError(f"{name} must be text: write it in quotes")
        kept = {("extra" if key == "extra_dejson" else key): value for key, value in entry.items()}
        return Connection.from_json(json.dumps(kept), conn_id)
    except (TypeError, ValueError) as fault:
        raise NbflowError(f"{place}: connection {conn_id!r} cannot be read: {fault}") from None


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
    Command(
        name="connections list",
        help="The connections in the metastore; passwords are hidden.",
        run=list_connections,
        arguments=(OUTPUT, argument("--conn-id", metavar="ID", help="Only this one."), SHOW_VALUES, HIDE),
    ),
    Command(
        name="connections get",
        help="One connection, from the environment or the metastore.",
        run=get,
        arguments=(CONN_ID, OUTPUT, SHOW_VALUES, HIDE),
    ),
    Command(
        name="connections add",
        help="Add a connection. '-' for a URI, JSON or password reads it from standard input.",
        run=add,
        arguments=(
            CONN_ID,
            argument("--conn-uri", metavar="URI", help="type://login:password@host:port/schema?extra=..."),
            argument("--conn-json", metavar="JSON", help="An object with conn_type, host, login, ..."),
            argument("--conn-type", metavar="TYPE", help="postgres, http, ..."),
            argument("--conn-description", metavar="TEXT", help="What it is for."),
            argument("--conn-host", metavar="HOST", help="Where it leads."),
            argument("--conn-login", metavar="NAME", help="Who logs in."),
            argument("--conn-password", metavar="TEXT", help="With which password."),
            argument("--conn-schema", metavar="NAME", help="Database, or what the type means by schema."),
            argument("--conn-port", metavar="N", help="Port."),
            argument("--conn-extra", metavar="JSON", help="A JSON object of more options."),
        ),
    ),
    Command(name="connections delete", help="Delete a connection.", run=delete, arguments=(CONN_ID,)),
    Command(
        name="connections export",
        help="Write all connections to a file that only you can read ('-': stdout).",
        run=export,
        arguments=(
            argument("file"),
            argument("--file-format", choices=("json", "yaml", "env"), help="Form of the file (by its name)."),
            argument("--format", choices=("json", "yaml", "env"), help="The same."),
            argument("--serialization-format", choices=("json", "uri"), help="Of connections in an env file (uri)."),
        ),
    ),
    Command(
        name="connections import",
        help="Read connections from a .json, .yaml or .env file.",
        run=import_connections,
        arguments=(argument("file"), switch("--overwrite", help="Replace those that exist.")),
    ),
    Command(
        name="connections test",
        help="Whether a connection works: its hook tries it (off by default).",
        more="Of a type that has no hook only the port is tried. Allowed by [core] test_connection = Enabled.",
        run=test,
        arguments=(CONN_ID,),
    ),
)
