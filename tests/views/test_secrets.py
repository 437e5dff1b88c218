"""No view holds a secret: its JSON is saved in notebooks and sent to browsers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from nbflow.config import Settings
from nbflow.connections import Connection
from nbflow.store import open_store
from nbflow.store.base import Store
from nbflow.views import fetch
from nbflow.views.base import Query
from nbflow.views.connections import ConnectionsQuery
from tests.store.worlds import T0, after
from tests.views.test_follow import _steps
from tests.views.test_statements import MAX_STATEMENTS

SHOP = Connection(
    conn_id="shop",
    conn_type="postgres",
    host="db",
    login="ada",
    password="hush",
    extra='{"token": "hush", "n": "hush"}',
)


def _store_with_secrets() -> Store:
    store = open_store("memory://")
    for _ in _steps(store):
        pass
    for key in ("api_key", "region"):
        store.set_variable(key, "hush", description="for the shop", actor="user", now=T0)
    store.set_connection(SHOP, actor="user", now=T0)
    return store


@pytest.mark.parametrize("name", MAX_STATEMENTS)
def test_a_view_has_no_value_of_a_variable_and_no_password(name: str, tmp_path: Path) -> None:
    store, settings = _store_with_secrets(), Settings.load({}, tmp_path)
    query: Query[Any] = MAX_STATEMENTS[name][0]

    assert "hush" not in json.dumps(fetch(store, query, after(60), settings).to_json())


def test_a_connection_says_which_secrets_it_has(tmp_path: Path) -> None:
    view = fetch(_store_with_secrets(), ConnectionsQuery(), after(60), Settings.load({}, tmp_path))

    assert view.to_json()["rows"] == [
        {
            "id": "shop", "conn_id": "shop", "conn_type": "postgres", "description": None, "host": "db",
            "login": "ada", "password": "***", "schema": None, "port": None, "extra": '{"token": "***", "n": "***"}',
        }
    ]  # fmt: skip
