"""Postgres only: lost connections, refused logins, notifications and named locks."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from threading import Event
from uuid import uuid4

import psycopg
import pytest
from sqlalchemy import make_url

from nbflow.errors import StoreBusy, StoreError
from nbflow.store import open_store
from nbflow.store.base import Pool, Store
from tests.servers import PostgresServer
from tests.store.worlds import LEASE, T0, a_run, add, plan, register, scheduled, started_run

pytestmark = pytest.mark.postgres


@pytest.fixture
def store(empty_postgres: str) -> Iterator[Store]:
    opened = open_store(empty_postgres)
    yield opened
    opened.close()


def _end_all_connections(server: PostgresServer, url: str) -> None:
    name = url.rpartition("/")[2]
    # With a timeout: without one, it only sends a signal, and the connection may still serve a statement.
    server.execute(f"SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE datname = '{name}'")


def test_a_lost_connection_costs_one_call_and_no_data(
    store: Store, empty_postgres: str, postgres_server: PostgresServer
) -> None:
    register(store)
    run = started_run(store)
    token = store.change_token()
    _end_all_connections(postgres_server, empty_postgres)

    with pytest.raises(StoreError, match="does not respond"):
        store.apply([plan(scheduled(run, "extract"))], actor="x")
    with pytest.raises(StoreError, match="does not respond"):
        store.wait_for_change(token, timeout=30)

    store.apply([plan(scheduled(run, "extract"))], actor="x", expect={run: 1})
    assert store.wait_for_change(token, timeout=30)
    assert len(store.events()) == 3


@pytest.mark.parametrize(
    ("prepare", "user", "message"),
    [
        ("DROP ROLE IF EXISTS {role}", "{role}", 'refuses the login: role "{role}" does not exist. Check the'),
        ("CREATE ROLE {role}", "{role}", 'refuses the login: role "{role}" is not permitted to log in. Check the'),
        (
            "CREATE ROLE {role} LOGIN CONNECTION LIMIT 0",
            "{role}",
            'has no free connection: too many connections for role "{role}". Close other connections',
        ),
        (
            "CREATE ROLE {role} LOGIN",
            "{role}",
            "refuses the user a right: permission denied for schema public; nothing was changed. The user needs",
        ),
        (
            "ALTER DATABASE {database} SET default_transaction_read_only = on",
            "postgres",
            "can only be read: cannot execute CREATE TABLE in a read-only transaction; nothing was changed. Use the",
        ),
        (
            "ALTER DATABASE {database} ALLOW_CONNECTIONS false",
            "postgres",
            'refuses the login: database "{database}" is not currently accepting connections. Check the',
        ),
    ],
)
def test_a_server_that_refuses_says_so(
    postgres_server: PostgresServer, postgres_url: str, prepare: str, user: str, message: str
) -> None:
    # Given a user or database that cannot be used
    database, role = make_url(postgres_url).database or "", f"role_{uuid4().hex}"
    postgres_server.execute(prepare.format(role=role, database=database))
    store = open_store(replace(postgres_server, user=user.format(role=role)).url(database))
    try:
        # When the tables are created, then the error is the server's reason with a hint, not that it is down
        with pytest.raises(StoreError, match=re.escape(message.format(role=role, database=database))):
            store.migrate()
    finally:
        store.close()
        postgres_server.execute(f"DROP ROLE IF EXISTS {role}")


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("no_such_database", 'refuses the login: database "no_such_database" does not exist. Check the database'),
        ("x?nonsense=1", 'is wrong: invalid connection option "nonsense". Correct [database] sql_alchemy_conn.'),
        ("x?sslmode=perhaps", 'is wrong: invalid sslmode value: "perhaps". Correct [database] sql_alchemy_conn.'),
        ("x?port=99999", 'is wrong: invalid port number: "99999". Correct [database] sql_alchemy_conn.'),
        (
            "x?host=no-such-host.invalid",
            "does not respond: failed to resolve host 'no-such-host.invalid'",
        ),
    ],
)
def test_the_error_of_a_wrong_url_says_what_is_wrong(postgres_url: str, url: str, message: str) -> None:
    address = make_url(postgres_url)
    wrong = make_url(f"postgresql:///{url}")
    merged = address.set(database=wrong.database).update_query_dict(wrong.query)
    if "host" in wrong.query:
        merged = merged.set(host=None)
    store = open_store(merged.render_as_string(hide_password=False))

    with pytest.raises(StoreError, match=re.escape(message)):
        store.check()


@pytest.mark.parametrize("encoding", ["SQL_ASCII", "LATIN1"])
def test_a_database_that_cannot_store_every_text_is_refused(postgres_server: PostgresServer, encoding: str) -> None:
    name = f"nbflow_test_{encoding.lower()}_{os.getpid()}"
    postgres_server.execute(
        f"CREATE DATABASE {name} ENCODING '{encoding}' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0"
    )
    store = open_store(postgres_server.url(name))
    try:
        for ask in (store.migrate, store.check, store.pools):
            with pytest.raises(StoreError, match=rf"{name}\S* has the encoding {encoding}; nbflow needs UTF8\. Create"):
                ask()
    finally:
        store.close()
        postgres_server.drop_database(name)


def test_the_encoding_of_other_clients_has_no_effect(empty_postgres: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGCLIENTENCODING", "SQL_ASCII")
    store = open_store(empty_postgres)

    store.set_pool(Pool(name="größe", slots=1), actor="ada", now=T0)

    assert store.change_token() == store.change_token()
    assert "größe" in [pool.name for pool in store.pools()]
    store.close()


def test_an_unreachable_server_is_named_without_password() -> None:
    store = open_store("postgresql://ada:hunter2@127.0.0.1:1/none")

    with pytest.raises(StoreError, match=r"ada:\*\*\*@127.0.0.1:1/none does not respond") as failed:
        store.check()

    assert "hunter2" not in str(failed.value) + store.url
    with pytest.raises(StoreError, match="does not respond"):
        store.change_token()


def test_a_waiting_store_is_notified_by_other_stores(store: Store, empty_postgres: str) -> None:
    register(store)
    token = store.change_token()
    other = open_store(empty_postgres)

    started_run(other, a_run())

    assert store.wait_for_change(token, timeout=30)
    other.close()


def test_one_change_wakes_all_waiting_threads(store: Store, empty_postgres: str) -> None:
    # Given two threads that wait for a change, with a longer timeout than the test's
    register(store)
    token, other = store.change_token(), open_store(empty_postgres)
    with ThreadPoolExecutor(2) as pool:
        waiting = [pool.submit(store.wait_for_change, token, timeout=100) for _ in range(2)]
        while not store._dialect._is_listening:  # type: ignore[attr-defined]
            pass

        # When another store commits once
        other.apply([add(a_run())], actor="x")

        # Then both return
        assert [future.result(timeout=50) for future in waiting] == [True, True]
    other.close()


def test_change_token_does_not_block_while_another_thread_waits(store: Store) -> None:
    register(store)
    token = store.change_token()
    with ThreadPoolExecutor(2) as pool:
        waiting = pool.submit(store.wait_for_change, token, timeout=100)
        while not store._dialect._is_listening:  # type: ignore[attr-defined]
            pass

        assert pool.submit(store.change_token).result(timeout=50) == token

        store.apply([add(a_run())], actor="x")
        assert waiting.result(timeout=50)


def test_a_named_lock_excludes_other_stores_until_it_is_released(store: Store, empty_postgres: str) -> None:
    other = open_store(empty_postgres)
    inside, order = Event(), []

    def follow() -> None:
        inside.wait(30)
        with other.lock("dispatch"):
            order.append("second")

    with ThreadPoolExecutor(1) as pool, store.lock("dispatch"):
        following = pool.submit(follow)
        inside.set()
        with other.lock("something else"):
            order.append("first")
        with pytest.raises(TimeoutError):
            following.result(timeout=0.2)
        order.append("left")
    following.result(timeout=30)

    assert order == ["first", "left", "second"]
    assert store.shared
    other.close()


def test_a_token_shows_a_commit_of_another_store(store: Store, empty_postgres: str) -> None:
    # Given a token, and another store of the same metastore
    register(store)
    token = store.change_token()
    other = open_store(empty_postgres)

    # When both stores commit
    started_run(other)
    store.apply([add(a_run("r2", day=1))], actor="x")

    # Then the token differs from the token after one own commit
    assert store.change_token() != token.after_own_commit
    other.close()


# --- transactions that stand still


def test_a_transaction_that_stands_still_is_rolled_back_and_cannot_commit(store: Store, empty_postgres: str) -> None:
    # Given a process that stands still while it holds a lock
    register(store)
    run = started_run(store)
    stalls = open_store(empty_postgres, idle_timeout=0.2)
    with stalls.lock("dispatch"):
        stalls.usage()

        # When another one has got the lock and committed
        with store.lock("dispatch"):
            store.apply([plan(scheduled(run, "extract"))], actor="other")

        # Then the first cannot commit what it has decided
        with pytest.raises(StoreBusy, match="stood still; nothing was changed"):
            stalls.apply([plan(scheduled(run, "load"))], actor="stalls")
    assert [event.actor for event in store.events(run=run)][-1] == "other"
    stalls.close()


def test_who_waits_too_long_for_a_lock_gets_an_error(store: Store, empty_postgres: str) -> None:
    waits = open_store(empty_postgres, lock_timeout=0.2)
    with store.lock("dispatch"), pytest.raises(StoreBusy, match="lock timeout"), waits.lock("dispatch"):
        pass
    waits.close()


def test_runs_that_another_transaction_has_locked_are_not_waited_for(store: Store) -> None:
    # Given two runs, of which one is leased and one is free, both locked by a transaction
    register(store)
    leased, free, unlocked = [started_run(store, a_run(f"r{n}", n)) for n in range(3)]
    store.lease_runs("s1", [leased], lease=LEASE, now=T0)
    with store._engine.begin() as connection:  # type: ignore[attr-defined]
        connection.exec_driver_sql("SELECT id FROM dag_run WHERE run_id <> 'r2' FOR UPDATE")

        # Then the leased one stays leased although its lease cannot be renewed, and the free one is left
        keys, later = [leased, free, unlocked], T0 + LEASE / 2
        assert store.lease_runs("s1", keys, lease=LEASE, now=later) == [leased, unlocked]


def test_a_process_that_stands_still_in_a_pipeline_loses_its_locks(store: Store, empty_postgres: str) -> None:
    # Given a process that stands still after the first statement of a pipeline, for which the server has no timeout
    driver = psycopg.connect(empty_postgres.replace("+psycopg", ""), application_name="nbflow")
    pipeline = driver.pipeline()
    pipeline.__enter__()
    driver.execute("SELECT pg_advisory_xact_lock(hashtextextended('nbflow:dispatch', 0))")

    # When another one looks for such processes until it has found it
    other = open_store(empty_postgres, idle_timeout=0.2)
    while not other.end_stalled_transactions():
        pass

    # Then the lock is free, and the process has lost its connection
    with store.lock("dispatch"):
        pass
    with pytest.raises(psycopg.OperationalError):
        pipeline.__exit__(None, None, None)
    other.close()
