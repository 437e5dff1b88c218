"""Creating, upgrading and checking the tables.

``check``, and ``migrate`` of an up-to-date store, cost one query: Alembic (0.2 s to import) is loaded only to migrate.
A migration is one transaction in both databases, under a lock, so that several processes may start at once: one of them
migrates, and the others have nothing to do.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, inspect, text

from nbflow.errors import StoreError
from nbflow.store.sql.dialects import MIGRATE, Dialect
from nbflow.suggested_commands import suggest

HEAD = "0004"
"""The revision that this version of nbflow needs: the newest file in ``migrations/versions`` (tested)."""
VERSION_TABLE = "nbflow_version"
"""Not Alembic's default name: in a database that Airflow uses too, that table belongs to Airflow."""
_SCRIPTS = Path(__file__).parent.parent / "migrations"


def revision(connection: Connection) -> str | None:
    """The revision of the existing tables; None without tables."""
    if not inspect(connection).has_table(VERSION_TABLE):
        return None
    return connection.execute(text(f"SELECT version_num FROM {VERSION_TABLE}")).scalar()


def _known(revision: str) -> bool:
    return any((_SCRIPTS / "versions").glob(f"{revision}_*.py"))


def _refuse_newer(current: str | None, url: str) -> None:
    if current is not None and not _known(current):
        back = suggest("db downgrade", "-r", "REVISION")
        raise StoreError(
            f"The tables of {url} have revision {current}, which this version of nbflow does not know.",
            hint=f"A newer nbflow created them: use that version, or downgrade them with it ({back}).",
            suggestions=(back,),
        )


def check(engine: Engine, url: str) -> None:
    """Raise StoreError unless the tables exist and have revision HEAD. ``url`` (without password) is for errors."""
    with engine.connect() as connection:
        current = revision(connection)
    _refuse_newer(current, url)
    if current is None:
        raise StoreError(f"{url} has no nbflow tables.", **MIGRATE)
    if current != HEAD:
        raise StoreError(
            f"The tables of {url} have revision {current}; this version of nbflow needs {HEAD}.", **MIGRATE
        )


def migrate(dialect: Dialect, engine: Engine, url: str) -> None:
    """Create the database (SQLite) and the tables, or upgrade the tables to HEAD. ``url`` is for errors."""
    dialect.create_database()
    with engine.connect() as connection:
        current = revision(connection)
    _refuse_newer(current, url)
    if current != HEAD:
        _run(dialect, engine, "upgrade", HEAD)


def downgrade(dialect: Dialect, engine: Engine, target: str, url: str) -> None:
    """Downgrade the tables. Raises StoreError for an unknown revision, and for tables of a newer nbflow."""
    if target != "base" and not _known(target):
        raise StoreError(f"The tables have no revision {target!r}.", hint='"base" removes all tables.')
    with engine.connect() as connection:
        _refuse_newer(revision(connection), url)
    _run(dialect, engine, "downgrade", target)


def _run(dialect: Dialect, engine: Engine, direction: str, target: str) -> None:
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(_SCRIPTS))
    config.set_main_option("path_separator", "os")
    with engine.connect() as connection:
        dialect.begin(connection, writing=True)
        dialect.lift_timeouts(connection)
        dialect.lock_name(connection, "migrate")
        config.attributes["connection"] = connection
        run_command: Any = getattr(command, direction)
        run_command(config, target)
        connection.commit()
