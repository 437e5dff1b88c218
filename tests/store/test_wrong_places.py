"""Paths and URLs that cannot be a metastore: the error is one line, and no file is changed."""

from __future__ import annotations

import psycopg
import pytest
from sqlalchemy import make_url

from nbflow.errors import ConfigError, StoreError
from nbflow.store import open_store
from nbflow.store.sql.dialects import PostgresDialect


def test_a_file_of_another_kind_is_refused_and_not_changed(tmp_path):
    path = tmp_path / "notes.db"
    path.write_bytes(b"these are notes, not a database. " * 100)
    before = path.read_bytes()
    store = open_store(f"sqlite:///{path}")

    for call in (store.migrate, store.check, store.dags):
        with pytest.raises(StoreError, match="is not an SQLite database"):
            call()

    store.close()
    assert path.read_bytes() == before


def test_a_path_where_no_file_can_be_created_is_named(tmp_path):
    (tmp_path / "file").touch()
    store = open_store(f"sqlite:///{tmp_path}/file/nbflow.db")

    with pytest.raises(StoreError, match=r"file/nbflow\.db cannot be created: "):
        store.migrate()
    store.close()


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://ada:hunter@2@db/nbflow",
        "postgresql://ada:hunter@2:x@db/nbflow",
        "postgresql://ada:hunter2@db:port/nbflow",
        "postgresql:hunter2",
    ],
)
def test_the_error_of_an_unreadable_url_shows_no_part_of_the_password(url):
    with pytest.raises(
        ConfigError, match=r"URL cannot be read\. Write .* in a user or password write %40 for @"
    ) as failed:
        open_store(url)
    assert "hunter" not in str(failed.value)
    assert "2" not in str(failed.value).replace("5432", "").replace("%2F", "")


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("", "The metastore's URL is no URL. Use sqlite:////path/nbflow.db or postgresql://user@host/db."),
        ("nbflow.db", "The metastore's URL is no URL. Use sqlite:"),
        ("mysql://ada:hunter2@db/nbflow", "nbflow has no metastore for mysql:// URLs. Use sqlite:"),
    ],
)
def test_another_kind_of_url_is_refused(url, message):
    with pytest.raises(ConfigError) as failed:
        open_store(url)
    assert str(failed.value).startswith(message)


@pytest.mark.parametrize(
    ("message", "error"),
    [
        (
            'connection failed: connection to server at "::1", port 5432 failed: FATAL:  password authentication '
            'failed for user "ada"\nmultiple lines',
            'refuses the login: password authentication failed for user "ada". Check the database\'s name, the user',
        ),
        (
            'connection failed: connection to server at "::1", port 5432 failed: FATAL:  the database system is '
            "starting up",
            "does not respond: the database system is starting up. Wait until the server has started.",
        ),
        (
            'connection failed: connection to server at "::1", port 5432 failed: server does not support SSL, but SSL '
            "was required",
            "server does not support SSL, but SSL was required. Check sslmode in [database] sql_alchemy_conn.",
        ),
        ("connection timeout expired", "does not respond: connection timeout expired. Is the server running?"),
        ("consuming input failed: SSL SYSCALL error: EOF detected", "EOF detected. Is the server running?"),
    ],
)
def test_the_hint_fits_the_reason_of_a_failed_connection(message, error):
    dialect = PostgresDialect(make_url("postgresql://ada:hunter2@db/nbflow"), lock_timeout=1, idle_timeout=1)

    translated = str(dialect.translate(psycopg.OperationalError(message)))

    assert error in translated
    assert "\n" not in translated
