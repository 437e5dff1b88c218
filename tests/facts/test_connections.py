"""Connections as Airflow reads and writes them: URIs, JSON and the environment."""

from __future__ import annotations

from typing import Any

import pytest

from nbflow.connections import Connection
from nbflow.secrets_backends import EnvironmentBackend, SecretsChain, get_connection, providing

_FIELDS = ("conn_type", "host", "login", "password", "schema", "port")


def _fields(connection: Connection) -> dict[str, Any]:
    values = {name: getattr(connection, name) for name in _FIELDS}
    return values | {"extra": None if connection.extra is None else connection.extra_dejson}


def _parse_uri(case: dict[str, Any]) -> dict[str, Any]:
    connection = Connection.from_uri(case["uri"])
    uri = connection.get_uri()
    same = _fields(Connection.from_uri(uri)) == _fields(connection)
    return _fields(connection) | {"get_uri": uri, "roundtrip_same": same}


def _parse_uri_as_task_code(case: dict[str, Any]) -> dict[str, Any]:
    connection = Connection.from_uri(case["uri"], literal=True)
    return _fields(connection) | {"get_uri": connection.get_uri()}


def _get_uri(case: dict[str, Any]) -> dict[str, Any]:
    uri = Connection(**case["fields"]).get_uri()
    return {"get_uri": uri, "parsed_back": _fields(Connection.from_uri(uri))}


def _from_json(case: dict[str, Any]) -> dict[str, Any]:
    return _fields(Connection.from_json(case["json"]))


def _env_conn(case: dict[str, Any]) -> dict[str, Any]:
    with providing(SecretsChain([EnvironmentBackend(case["env"])])):
        return _fields(get_connection(case["conn_id"]))


_GROUPS = {"parse_uri": _parse_uri, "get_uri": _get_uri, "from_json": _from_json, "env_conn": _env_conn}


@pytest.mark.facts("connections")
def test_connections(case, check):
    want = dict(check.expected)
    task_code = want.pop("task_sdk", None)
    if task_code is not None:
        check(lambda: _parse_uri_as_task_code(case), want=task_code)
    check(lambda: _GROUPS[case["group"]](case), want=want)
