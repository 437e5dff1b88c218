"""SQLite only: the file's mode, locks, a full disk; and no secrets in the file."""

from __future__ import annotations

import os
import sqlite3
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import get_ident
from typing import Any

import pytest
from sqlalchemy import event
from sqlalchemy.pool import QueuePool

from nbflow.connections import Connection
from nbflow.core.snapshot import RunKey
from nbflow.errors import ConfigError, SecretsError, StaleAttempt, StoreBusy, StoreError
from nbflow.secret_box import SecretBox, new_key
from nbflow.store import open_store
from nbflow.store.sql import SqlStore
from tests.store.worlds import T0, a_run, add, after, begin, everything, plan, register, scheduled, started_run

SECRETS = ("hunter2-password", "ada-login", "token-in-extra", "value-of-variable")


@pytest.fixture
def store(sqlite_url: str, box: SecretBox) -> SqlStore:
    opened = open_store(f"{sqlite_url}?timeout=0.05", fernet=box)
    assert isinstance(opened, SqlStore)
    return opened


# ------------------------------------------------------------------------------------------------------------- secrets


def _plant(store: SqlStore) -> None:
    db = Connection("db", "postgres", host="db.example", login=SECRETS[1], password=SECRETS[0], extra={"t": SECRETS[2]})
    store.set_connection(db, actor="ada", now=T0)
    store.set_variable("plain_name", SECRETS[3], actor="ada", now=T0)


def test_the_files_contain_no_secrets(store: SqlStore, sqlite_path: Path) -> None:
    _plant(store)

    written = b"".join(path.read_bytes() for path in sqlite_path.parent.glob(sqlite_path.name + "*"))

    assert b"plain_name" in written
    assert b"db.example" in written
    assert [secret for secret in SECRETS if secret.encode() in written] == []


def test_without_a_key_secrets_are_neither_read_nor_written(store: SqlStore, sqlite_url: str) -> None:
    _plant(store)
    keyless = open_store(sqlite_url)

    for call in (
        lambda: keyless.set_variable("x", "1", actor="ada", now=T0),
        lambda: keyless.variable("plain_name"),
        lambda: keyless.set_connection(Connection("x"), actor="ada", now=T0),
        lambda: keyless.connection("db"),
        lambda: keyless.variables(),
    ):
        with pytest.raises(SecretsError, match="without a Fernet key"):
            call()
    assert [key for key, _, _ in store.variables()] == ["plain_name"]


def test_another_key_does_not_decrypt(store: SqlStore, sqlite_url: str) -> None:
    _plant(store)

    with pytest.raises(SecretsError, match="cannot be decrypted"):
        open_store(sqlite_url, fernet=SecretBox([new_key()])).variable("plain_name")


def test_rotation_moves_every_secret_to_the_newest_key(sqlite_url: str) -> None:
    old, new = new_key(), new_key()
    first = open_store(sqlite_url, fernet=SecretBox([old]))
    assert isinstance(first, SqlStore)
    _plant(first)
    before = first.connections()

    moved = open_store(sqlite_url, fernet=SecretBox([new, old])).rotate_secrets()

    rotated = open_store(sqlite_url, fernet=SecretBox([new]))
    assert (moved, rotated.variable("plain_name"), rotated.connections()) == (2, SECRETS[3], before)


def test_an_error_shows_no_values(store: SqlStore) -> None:
    register(store)
    with pytest.raises(StaleAttempt) as refused:
        store.xcom_push("none", "k", SECRETS[0], now=T0)
    with pytest.raises(ValueError, match="no time zone") as naive:
        store.audit("x", actor="ada", now=after(0).replace(tzinfo=None), detail={"a": SECRETS[0]})

    assert SECRETS[0] not in f"{refused.value!r} {naive.value!r}"


# ---------------------------------------------------------------------------------------------------------- the file


def test_only_the_owner_can_read_the_files(tmp_path: Path) -> None:
    path = tmp_path / "home" / "nbflow.db"
    old = os.umask(0)
    try:
        store = open_store(f"sqlite:///{path}")
        store.migrate()
        register(store)
    finally:
        os.umask(old)

    modes = {file.name: oct(stat.S_IMODE(file.stat().st_mode)) for file in (path.parent, *path.parent.iterdir())}
    assert modes == {"home": "0o700", "nbflow.db": "0o600", "nbflow.db-wal": "0o600", "nbflow.db-shm": "0o600"}


def test_connections_have_the_pragmas(sqlite_url: str) -> None:
    store = open_store(sqlite_url, synchronous="full")
    assert isinstance(store, SqlStore)

    with store._engine.connect() as connection:
        values = [
            connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        ]

    assert values == ["wal", 2, 1, 10_000]


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("sqlite://", "needs a file"),
        ("sqlite:///:memory:", "memory://"),
        ("mysql://x/y", "no metastore for mysql:// URLs"),
        ("sqlite:///a.db?timeout=soon", "timeout"),
    ],
)
def test_an_invalid_url_is_refused(url: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        open_store(url)


def test_an_unknown_synchronous_is_refused(sqlite_url: str) -> None:
    with pytest.raises(ConfigError, match="OFF, NORMAL, FULL, EXTRA"):
        open_store(sqlite_url, synchronous="SOMETIMES")


def test_a_read_does_not_create_a_missing_file(tmp_path: Path) -> None:
    store = open_store(f"sqlite:///{tmp_path}/none.db")

    with pytest.raises(StoreError, match="no metastore at"):
        store.check()
    with pytest.raises(StoreError, match="no metastore at"):
        store.change_token()
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_not_a_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.db").write_text("not a database at all, but long enough to be taken for one" * 20)

    with pytest.raises(StoreError, match="not an SQLite database"):
        open_store(f"sqlite:///{tmp_path}/notes.db").check()


# -------------------------------------------------------------------------------------------------- locks and disks


def test_a_locked_database_is_an_error_that_changes_nothing(store: SqlStore, sqlite_path: Path) -> None:
    register(store)
    run = started_run(store)
    before = everything(store, run)
    other = sqlite3.connect(sqlite_path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")

    with pytest.raises(StoreBusy, match=r"was locked for 0\.05 s; nothing was changed"):
        store.apply([plan(scheduled(run, "extract"))], actor="x")
    read_meanwhile = everything(store, run)
    other.execute("ROLLBACK")
    other.close()

    assert read_meanwhile == before
    store.apply([plan(scheduled(run, "extract"))], actor="x")


def test_a_full_disk_is_an_error_that_changes_nothing(store: SqlStore) -> None:
    register(store)
    run = started_run(store)
    attempt = begin(store, run, "extract")
    before = everything(store, run)

    @event.listens_for(store._engine, "begin")
    def fill(connection: object) -> None:
        connection.exec_driver_sql("PRAGMA max_page_count = 1")  # type: ignore[attr-defined]

    with pytest.raises(StoreError, match=r"disk of .* is full; nothing was changed"):
        store.xcom_push(attempt, "k", "1" * 1_000_000, now=T0)
    with pytest.raises(StoreError, match="full"):
        store.apply([plan(scheduled(run, "load"))], actor="x" * 100_000)

    assert everything(store, run) == before


def test_a_read_only_file_is_an_error_that_names_it(store: SqlStore, sqlite_path: Path) -> None:
    register(store)

    @event.listens_for(store._engine, "begin")
    def protect(connection: object) -> None:
        connection.exec_driver_sql("PRAGMA query_only = ON")  # type: ignore[attr-defined]

    with pytest.raises(StoreError, match=f"{sqlite_path}.*readonly"):
        started_run(store, a_run())
    assert store.run(RunKey("sales", "r1")) is None


def test_a_token_shows_a_commit_of_another_store(store: SqlStore, sqlite_url: str) -> None:
    # Given a token, and another store of the same metastore
    register(store)
    token = store.change_token()
    other = open_store(sqlite_url)

    # When both stores commit
    started_run(other)
    store.apply([add(a_run("r2", day=1))], actor="x")

    # Then the token differs from the token after one own commit
    assert store.change_token() != token.after_own_commit
    other.close()


def test_a_connection_is_never_used_by_two_threads_at_once(store: SqlStore) -> None:
    # Given the only connection of the pool, which both threads have watched, and a thread in a transaction
    register(store)
    used_by: set[int] = set()
    with ThreadPoolExecutor(1) as other_thread:
        token, other_token = store.change_token(), other_thread.submit(store.change_token).result(timeout=50)
        with store._writing(nudge=False) as connection:
            raw: Any = connection.connection.driver_connection
            raw.set_trace_callback(lambda sql: used_by.add(get_ident()))

            # When the other thread asks for its token
            busy_token = other_thread.submit(store.change_token).result(timeout=50)
            connection.exec_driver_sql("SELECT 1")

        # Then it watches another connection, whose token cannot equal one of the first
        assert used_by == {get_ident()}
        assert busy_token != other_token
        assert other_thread.submit(store.change_token).result(timeout=50) == busy_token

    # and the first thread's token, of a connection that has not changed since, is still the same
    assert store.change_token() == token


def test_a_second_store_in_a_process_does_not_take_the_locks_of_the_first(sqlite_url: str) -> None:
    # Given a file that this process has open twice
    first = open_store(sqlite_url)
    register(first)
    second = open_store(sqlite_url)
    second.migrate()
    # When a process opens and closes the file, and another one writes to it and keeps it open
    code = (
        "import sys\nfrom datetime import UTC, datetime\nfrom nbflow.store import open_store\n"
        "from nbflow.store.base import Pool\nstore, at = open_store(sys.argv[1]), datetime(2024, 1, 1, tzinfo=UTC)\n"
        "store.set_pool(Pool(name=sys.argv[2], slots=1), actor='other', now=at)\nprint('written', flush=True)\n"
        "sys.stdin.read()\nstore.close()\n"
    )
    command = [sys.executable, "-c", code, sqlite_url]
    subprocess.run([*command, "one"], check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    with subprocess.Popen([*command, "two"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "written\n"
        pools = [[pool.name for pool in store.pools()] for store in (first, second)]
        other.communicate()
    # Then both stores read what was written: no process deleted the write-ahead log while it was in use
    assert pools == [["default_pool", "one", "two"]] * 2
    first.close()
    second.close()


def test_an_interrupt_while_a_connection_is_returned_is_not_logged_as_its_error(
    sqlite_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    # Given a store that Ctrl-C interrupts while a connection returns to its pool
    store = open_store(sqlite_url)
    store.migrate()
    interrupts = [KeyboardInterrupt()]

    def interrupt(*_: object) -> None:
        if interrupts:
            raise interrupts.pop()

    event.listen(QueuePool, "reset", interrupt)
    # When it is read
    try:
        with pytest.raises(KeyboardInterrupt):
            store.pools()
    finally:
        event.remove(QueuePool, "reset", interrupt)
    # Then the interrupt is raised and nothing is logged
    assert caplog.text == ""
    store.close()
