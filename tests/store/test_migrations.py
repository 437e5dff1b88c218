"""Creating, upgrading, downgrading and checking the tables."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, create_engine, inspect, text
from sqlalchemy.exc import DBAPIError, IntegrityError

from nbflow.errors import StoreError
from nbflow.store import open_store
from nbflow.store.base import Store
from nbflow.store.sql import schema
from nbflow.store.sql.tables import whole_metadata
from tests.store.test_races import _run_at_once
from tests.store.worlds import a_run, register, spec, started_run


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def bare_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """URL of a store without tables."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/new/folder/nbflow.db"
    new: Callable[[], str] = request.getfixturevalue("new_postgres_url")
    return new()


def _engine(url: str) -> Engine:
    return create_engine(url)


def test_the_migrations_create_the_tables_of_the_metadata(bare_url: str) -> None:
    open_store(bare_url).migrate()

    engine = _engine(bare_url)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"version_table": schema.VERSION_TABLE})
        assert compare_metadata(context, whole_metadata()) == []
    engine.dispose()


def test_the_head_is_the_newest_migration() -> None:
    scripts = ScriptDirectory(str(Path(schema.__file__).parent.parent / "migrations"))

    assert scripts.get_current_head() == schema.HEAD


def test_up_down_and_up_again(bare_url: str) -> None:
    store = open_store(bare_url)

    store.migrate()
    store.migrate()
    store.downgrade("base")
    remaining = inspect(_engine(bare_url)).get_table_names()
    store.migrate()
    store.check()

    assert remaining == [schema.VERSION_TABLE]
    register(store)
    assert store.run(started_run(store, a_run())) is not None


def test_migration_sets_the_time_zone_of_an_existing_dag_from_its_spec(bare_url: str) -> None:
    store = open_store(bare_url)
    store.migrate()
    register(store, spec(timezone="Asia/Tokyo"))
    register(store, spec(dag_id="plain"))

    store.downgrade("0002")
    store.migrate()

    assert [(row.dag_id, row.timezone) for row in store.dags()] == [("plain", "UTC"), ("sales", "Asia/Tokyo")]


def test_processes_may_migrate_at_once(bare_url: str) -> None:
    printed = _run_at_once(*[("migrate", bare_url)] * 3)

    assert printed == [["done"]] * 3


def test_the_error_of_a_store_without_tables_names_the_command_that_creates_them(bare_url: str) -> None:
    store = open_store(bare_url)

    with pytest.raises(StoreError, match="nbflow db migrate"):
        store.check()
    with pytest.raises(StoreError, match="nbflow db migrate"):
        store.active_runs()


def _set_revision(url: str, revision: str) -> None:
    engine = _engine(url)
    with engine.begin() as connection:
        connection.execute(text(f"UPDATE {schema.VERSION_TABLE} SET version_num = '{revision}'"))
    engine.dispose()


def test_tables_of_a_newer_nbflow_are_not_touched(bare_url: str) -> None:
    store = open_store(bare_url)
    store.migrate()
    _set_revision(bare_url, "9999")

    for call in (store.check, store.migrate, lambda: store.downgrade("base")):
        with pytest.raises(StoreError, match=r"revision 9999.*newer nbflow") as refused:
            call()
        assert f"The tables of {store.url} have" in str(refused.value)  # type: ignore[attr-defined]


def test_a_revision_that_does_not_exist_is_refused(bare_url: str) -> None:
    with pytest.raises(StoreError, match="no revision '0000'"):
        open_store(bare_url).downgrade("0000")


# ------------------------------------------------------------------------------------------ constraints of the database


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE task_instance SET state = 'lost'",
        "UPDATE dag_run SET state = 'lost'",
        "UPDATE dag_run SET run_type = 'odd'",
        "UPDATE attempt SET state = 'odd'",
        "UPDATE dag_run SET logical_date = (SELECT min(logical_date) FROM dag_run)",
        "UPDATE dag_run SET run_id = 'r1'",
        "DELETE FROM dag_version",
    ],
)
def test_the_database_enforces_the_invariants(database_url: str, statement: str) -> None:
    store = open_store(database_url)
    _two_runs(store)

    with pytest.raises(IntegrityError), store._engine.begin() as connection:  # type: ignore[attr-defined]
        connection.execute(text(statement))


def test_history_is_append_only(database_url: str) -> None:
    store = open_store(database_url)
    _two_runs(store)

    with (
        pytest.raises(DBAPIError, match="append-only"),
        store._engine.begin() as connection,  # type: ignore[attr-defined]
    ):
        connection.execute(text("UPDATE task_event SET cause = 'another'"))


def _two_runs(store: Store) -> None:
    from tests.store.worlds import dispatch

    register(store)
    dispatch(store, started_run(store), "extract")
    started_run(store, a_run("r2", 1))


def test_importing_the_tables_does_not_import_the_postgres_dialect() -> None:
    # When a process imports the store, like every command
    code = "import sys, nbflow.store.sql; print('sqlalchemy.dialects.postgresql' in sys.modules)"
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout

    # Then the Postgres dialect is not imported
    assert output == "False\n"
