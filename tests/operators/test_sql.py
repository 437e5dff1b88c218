"""SQL on real databases: SQLite files, and a PostgreSQL server if there is one."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from nbflow import DAG
from nbflow.connections import Connection
from nbflow.core.attempt_events import Failed, Succeeded
from nbflow.errors import AirflowException, ConnectionNotFound
from nbflow.hooks.base import BaseHook
from nbflow.hooks.dbapi import DbApiHook, split_statements
from nbflow.hooks.postgres import PostgresHook
from nbflow.hooks.sqlite import SqliteHook
from nbflow.operators.sql import PostgresOperator, SQLExecuteQueryOperator, SqliteOperator
from nbflow.secrets_backends import providing
from tests.operators.test_bash import HOSTILE
from tests.running.memory import MemoryRuntime, attempt
from tests.servers import PostgresServer

FIRST = ["create table t (id integer primary key, name text)", "insert into t values (1, 'a'), (2, 'b')"]


@pytest.fixture
def sqlite(runtime: MemoryRuntime, tmp_path: Path) -> Path:
    path = tmp_path / "data.db"
    with sqlite3.connect(path) as conn:
        for statement in FIRST:
            conn.execute(statement)
    runtime.connections["db"] = Connection(conn_id="db", conn_type="sqlite", host=str(path))
    return path


@pytest.fixture
def postgres(runtime: MemoryRuntime, postgres_server: PostgresServer) -> Iterator[str]:
    name = postgres_server.create_database()
    runtime.connections["db"] = Connection(
        conn_id="db",
        conn_type="postgres",
        host=postgres_server.host,
        port=postgres_server.port,
        login=postgres_server.user,
        schema=name,
    )
    yield name
    postgres_server.drop_database(name)


def rows(path: Path, sql: str = "select * from t order by 1") -> list[Any]:
    with sqlite3.connect(path) as conn:
        return conn.execute(sql).fetchall()


def executed(dag: DAG, runtime: MemoryRuntime, **arguments: Any) -> Any:
    SQLExecuteQueryOperator(task_id="q", conn_id="db", **arguments)
    event = attempt(dag, "q", runtime).event
    assert isinstance(event, Succeeded), event
    return runtime.stored("q")


# -------------------------------------------------------------------------------------------------------- statements

ATOMIC = (
    "CREATE OR REPLACE FUNCTION sign_of(n int) RETURNS text LANGUAGE sql BEGIN ATOMIC"
    " SELECT 1; /* END; */ SELECT CASE WHEN n < 0 THEN '-; end' ELSE (CASE n WHEN 0 THEN '0' ELSE '+' END) END; END"
)
"""A function of standard SQL, whose body is not quoted."""


@pytest.mark.parametrize(
    ("script", "statements"),
    [
        ("select 1", ["select 1"]),
        ("select 1;", ["select 1"]),
        ("a; b ;\n c", ["a", "b", "c"]),
        ("select ';' ; b", ["select ';'", "b"]),
        ("select 'it''s; here'; b", ["select 'it''s; here'", "b"]),
        ('select ";" ; b', ['select ";"', "b"]),
        ("a -- c; d\n; b", ["a -- c; d", "b"]),
        ("a /* ; */ ; b", ["a /* ; */", "b"]),
        ("do $$ x; y $$; b", ["do $$ x; y $$", "b"]),
        ("do $f$ x; $$ y $f$; b", ["do $f$ x; $$ y $f$", "b"]),
        ("-- only a comment", []),
        (" ; ; ", []),
        ("select 1 - 2 / 3; b", ["select 1 - 2 / 3", "b"]),
        ("select 'open; b", ["select 'open; b"]),
        (r"select E'it\'s; here'; b", [r"select E'it\'s; here'", "b"]),
        (r"select e'\\'; b", [r"select e'\\'", "b"]),
        (r"select rate'\'; b", [r"select rate'\'", "b"]),
        ("select a$b$c; select $b$; b", ["select a$b$c", "select $b$; b"]),
        ("select $1; b", ["select $1", "b"]),
        ("create function f() as $$ begin a; b; end $$; c", ["create function f() as $$ begin a; b; end $$", "c"]),
        ("a; -- the end;", ["a"]),
        ("a -- the end;", ["a -- the end;"]),
        ("/* a; */ b; c /* open; d", ["/* a; */ b", "c /* open; d"]),
        ("do $f1$ x; $f1$; b", ["do $f1$ x; $f1$", "b"]),
        ("a (b; c); d", ["a (b; c)", "d"]),
        ("a); b", ["a)", "b"]),
        ("a (';('); b", ["a (';(')", "b"]),
        (f"{ATOMIC}; b", [ATOMIC, "b"]),
        ("begin; a; end; begin; b; commit", ["begin", "a", "end", "begin", "b", "commit"]),
        ("create table f (a int); begin; b; end", ["create table f (a int)", "begin", "b", "end"]),
        ("/* a /* b; */ c; */ d", ["/* a /* b; */ c", "*/ d"]),
    ],
)
def test_a_script_is_split_into_statements(script: str, statements: list[str]) -> None:
    assert split_statements(script) == statements


@pytest.mark.parametrize(
    ("script", "statements"),
    [
        ("/* a /* b; */ c; */ d; e", ["/* a /* b; */ c; */ d", "e"]),
        ("/*/* a; */*/ /* */ /* b; */; d", ["d"]),
        ("a /* /* ; */ open; b", ["a /* /* ; */ open; b"]),
        (f"{ATOMIC}; b", [ATOMIC, "b"]),
    ],
)
def test_comments_of_a_postgres_script_contain_comments(script: str, statements: list[str]) -> None:
    assert PostgresHook().split_sql(script) == statements


def test_a_sqlite_trigger_is_one_statement() -> None:
    trigger = "create trigger g after insert on t begin delete from t where id = 0; delete from t where id = 9; end"

    assert SqliteHook().split_sql(f"{trigger}; select 1") == [trigger.replace("; ", ";\n"), "select 1"]


@pytest.mark.parametrize(
    ("script", "statements"),
    [
        ("select 1 -- a; b\n; select 2", ["select 1 -- a; b", "select 2"]),
        ("select 1 -- the end", ["select 1 -- the end"]),
        ("select 1; select 2 /* a; b */", ["select 1", "select 2 /* a; b */"]),
        ("select 'open; b", ["select 'open; b"]),
    ],
)
def test_a_comment_of_a_sqlite_script_does_not_end_a_statement(script: str, statements: list[str]) -> None:
    assert SqliteHook().split_sql(script) == statements


def test_a_sqlite_trigger_with_comments_works(dag: DAG, runtime: MemoryRuntime, sqlite: Path) -> None:
    # Given a script that creates a trigger with CASE ... END and comments with semicolons, and inserts rows
    script = """
        create temp trigger odd after insert on t begin -- begins; here
            delete from t where id = case when new.id % 2 then new.id end; -- odd; goes
            /* end; */
        end;
        insert into t values (3, 'c'), (4, 'd') -- the end;
    """
    # When it runs
    executed(dag, runtime, sql=script, split_statements=True)
    # Then the trigger was executed
    assert rows(sqlite) == [(1, "a"), (2, "b"), (4, "d")]


# ------------------------------------------------------------------------------------------------------------ SQLite


def test_all_rows_are_the_result(dag: DAG, runtime: MemoryRuntime, sqlite: Path) -> None:
    assert executed(dag, runtime, sql="select * from t order by id") == [(1, "a"), (2, "b")]


def test_parameters_are_bound(dag: DAG, runtime: MemoryRuntime, sqlite: Path) -> None:
    assert executed(dag, runtime, sql="select name from t where id = :id", parameters={"id": "{{ 1 + 1 }}"}) == [("b",)]


@pytest.mark.parametrize("value", ["'; drop table t; --", *HOSTILE])
def test_a_hostile_conf_passed_as_parameter_stays_text(
    dag: DAG, runtime: MemoryRuntime, sqlite: Path, value: str
) -> None:
    runtime.run = replace(runtime.run, conf={"x": value})

    executed(dag, runtime, sql="insert into t values (3, ?)", parameters=["{{ dag_run.conf.x }}"])

    assert rows(sqlite) == [(1, "a"), (2, "b"), (3, value)]


@pytest.mark.parametrize(
    ("arguments", "result"),
    [
        ({"sql": "select 1; select 2"}, [(2,)]),
        ({"sql": "select 1; select 2", "return_last": False}, [[(1,)], [(2,)]]),
        ({"sql": ["select 1", "select 2"]}, [[(1,)], [(2,)]]),
        ({"sql": "select 1", "handler": None}, None),
        ({"sql": "select 1; select 2", "handler": lambda cursor: cursor.fetchone()[0] * 10}, 20),
        ({"sql": "select 7", "output_processor": lambda result, _: {"n": result[0][0]}}, {"n": 7}),
        ({"sql": "delete from t"}, None),
    ],
)
def test_several_statements_and_handlers(
    dag: DAG, runtime: MemoryRuntime, sqlite: Path, arguments: Any, result: Any
) -> None:
    assert executed(dag, runtime, **arguments) == result


def test_a_failing_statement_rolls_back_those_before_it(dag: DAG, runtime: MemoryRuntime, sqlite: Path) -> None:
    SQLExecuteQueryOperator(
        task_id="q", conn_id="db", sql="create table u (x); insert into t values (3, 'c'); insert into nope values (1)"
    )

    event = attempt(dag, "q", runtime).event

    assert isinstance(event, Failed)
    assert event.error == "OperationalError: no such table: nope"
    assert rows(sqlite) == [(1, "a"), (2, "b")]
    assert rows(sqlite, "select name from sqlite_master") == [("t",)]


def test_autocommit_commits_each_statement(dag: DAG, runtime: MemoryRuntime, sqlite: Path) -> None:
    SQLExecuteQueryOperator(
        task_id="q", conn_id="db", autocommit=True, sql="insert into t values (3, 'c'); insert into nope values (1)"
    )

    attempt(dag, "q", runtime)

    assert rows(sqlite) == [(1, "a"), (2, "b"), (3, "c")]


def test_a_sql_file_is_rendered(runtime: MemoryRuntime, sqlite: Path, tmp_path: Path) -> None:
    (tmp_path / "q.sql").write_text("select '{{ ds }}'")
    with DAG("d", template_searchpath=str(tmp_path)) as dag:
        assert executed(dag, runtime, sql="q.sql") == [("2024-01-01",)]


def test_operators_with_old_names_take_their_old_argument(dag: DAG, runtime: MemoryRuntime, sqlite: Path) -> None:
    SqliteOperator(task_id="q", sql="select 1", sqlite_conn_id="db")

    attempt(dag, "q", runtime)

    assert (runtime.stored("q"), PostgresOperator(task_id="p", sql="x").conn_id) == ([(1,)], "postgres_default")


@pytest.mark.parametrize(
    ("connection", "error"),
    [
        (None, "ConnectionNotFound: The conn_id `db` isn't defined."),
        (
            Connection(conn_id="db", conn_type="sqlit"),
            "AirflowException: Connection db has the type 'sqlit', which has no hook",
        ),
    ],
)
def test_a_connection_without_a_hook_is_named(dag: DAG, runtime: MemoryRuntime, connection: Any, error: str) -> None:
    if connection is not None:
        runtime.connections["db"] = connection
    SQLExecuteQueryOperator(task_id="q", conn_id="db", sql="select 1")

    event = attempt(dag, "q", runtime).event

    assert isinstance(event, Failed)
    assert event.error.startswith(error)


def test_reading_by_the_hook(runtime: MemoryRuntime, sqlite: Path) -> None:
    with providing(runtime):
        hook = BaseHook.get_hook("db")
        assert isinstance(hook, SqliteHook)
        assert hook.get_records("select id from t where id > ?", [0]) == [(1,), (2,)]
        assert hook.get_first("select name from t where id = 2") == ("b",)
        assert hook.get_first("select name from t where id = 9") is None
        assert hook.get_df("select * from t").to_dict("list") == {"id": [1, 2], "name": ["a", "b"]}
        assert hook.test_connection() == (True, "Connection successfully tested")


def test_rows_are_inserted_in_batches_or_replace_existing_rows(runtime: MemoryRuntime, sqlite: Path) -> None:
    with providing(runtime):
        hook = SqliteHook("db")
        assert hook.insert_rows("t", ((n, str(n)) for n in range(3, 8)), ["id", "name"], commit_every=2) == 5
        assert hook.insert_rows("t", [(1, "new")], replace=True) == 1

    assert rows(sqlite) == [(1, "new"), (2, "b"), *((n, str(n)) for n in range(3, 8))]


@pytest.mark.parametrize("name", ['t"; drop table t; --', "t t", "", "a.b.c.d", "1t", "t;", "t\n"])
def test_an_invalid_name_of_a_table_or_column_is_refused(runtime: MemoryRuntime, sqlite: Path, name: str) -> None:
    with providing(runtime):
        with pytest.raises(AirflowException, match="not a valid name of a table"):
            SqliteHook("db").insert_rows(name, [(1,)])
        with pytest.raises(AirflowException, match="not a valid name of a table"):
            SqliteHook("db").insert_rows("t", [(1,)], [name])


def test_the_error_of_a_hook_without_its_connection_says_how_to_add_one(runtime: MemoryRuntime) -> None:
    with providing(runtime), pytest.raises(ConnectionNotFound, match="nbflow connections add nope"):
        DbApiHook("nope").connection


# --------------------------------------------------------------------------------------------------------- Postgres


@pytest.mark.postgres
def test_postgres_types_are_stored_as_xcom(dag: DAG, runtime: MemoryRuntime, postgres: str) -> None:
    sql = "select %(day)s::date, 1.50, 'é', array[1, 2], null"

    result = executed(dag, runtime, sql=sql, parameters={"day": "{{ ds }}"})

    assert result == [(date(2024, 1, 1), Decimal("1.50"), "é", [1, 2], None)]


@pytest.mark.postgres
def test_a_postgres_script_is_split_where_the_server_splits_it(dag: DAG, runtime: MemoryRuntime, postgres: str) -> None:
    # Given a script with each place where a semicolon ends no statement
    script = f"""
        create table t (id int, name text);  -- created; now
        {ATOMIC};
        CREATE PROCEDURE fill() BEGIN ATOMIC INSERT INTO t VALUES (1, 'a;'); INSERT INTO t VALUES (2, $a1$b;$a1$); END;
        create view v as select * from t;
        create rule r as on delete to v do instead (insert into t values (9, 'gone'); delete from t where id = old.id);
        /* a comment /* in; a comment */ ; */
        call fill();
        delete from v where id = 1;
        select id, name, sign_of(id - 2) from t order by id
    """
    # When it runs, the server accepts each statement, and the body of each was kept whole
    assert executed(dag, runtime, sql=script, split_statements=True) == [(2, "b;", "0"), (9, "gone", "+")]


@pytest.mark.postgres
def test_postgres_rolls_back_a_failing_script(dag: DAG, runtime: MemoryRuntime, postgres: str) -> None:
    SQLExecuteQueryOperator(task_id="q", conn_id="db", sql="create table t (x int); insert into nope values (1)")

    event = attempt(dag, "q", runtime).event

    assert isinstance(event, Failed)
    with providing(runtime):
        assert PostgresHook("db").get_first("select to_regclass('t')") == (None,)


@pytest.mark.postgres
def test_postgres_inserts_and_copies_rows(runtime: MemoryRuntime, postgres: str) -> None:
    with providing(runtime):
        hook = PostgresHook(postgres_conn_id="db")
        hook.run("create table t (id int, name text)")
        assert hook.insert_rows("t", [(1, "a"), (2, "b")], ["id", "name"], commit_every=1) == 2
        assert hook.copy_rows("public.t", ((n, f"x\t{n}") for n in (3, 4))) == 2
        assert hook.get_records("select * from t order by id") == [(1, "a"), (2, "b"), (3, "x\t3"), (4, "x\t4")]
