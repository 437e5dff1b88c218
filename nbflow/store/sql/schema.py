"""Making, upgrading and checking the tables.

``check`` and a ``migrate`` with nothing to do cost one query: Alembic (0.2 s to import) is loaded only to migrate. Each
step is one transaction in both databases, under a lock, so that several processes may start at once: one does the work,
the others find it done.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, inspect, text

from nbflow.errors import StoreError
from nbflow.store.sql.dialects import MIGRATE, MIGRATE_WAYS, Dialect
from nbflow.way_out import way

HEAD = "0004"
"""The revision that this nbflow works with: the newest file in ``migrations/versions`` (tested)."""
VERSION_TABLE = "nbflow_version"
"""A name of our own: next to Airflow's tables Alembic's would be Airflow's."""
_SCRIPTS = Path(__file__).parent.parent / "migrations"


def revision(connection: Connection) -> str | None:
    """The revision of the tables that are there; None where there are none."""
    if not inspect(connection).has_table(VERSION_TABLE):
        return None
    return connection.execute(text(f"SELECT version_num FROM {VERSION_TABLE}")).scalar()


def _known(revision: str) -> bool:
    return any((_SCRIPTS / "versions").glob(f"{revision}_*.py"))


def _refuse_newer(found: str | None, place: str) -> None:
    if found is not None and not _known(found):
        back = way("db downgrade", "-r", "REVISION")
        raise StoreError(
            f"The tables of {place} have revision {found}, which this nbflow does not know.",
            hint=f"A newer nbflow made them: use that one, or take the tables back with it ({back}).",
            ways=(back,),
        )


def check(engine: Engine, place: str) -> None:
    """Raise StoreError unless the tables are there and of revision HEAD."""
    with engine.connect() as connection:
        found = revision(connection)
    _refuse_newer(found, place)
    if found is None:
        raise StoreError(f"{place} has no tables of nbflow.", hint=MIGRATE, ways=MIGRATE_WAYS)
    if found != HEAD:
        raise StoreError(
            f"The tables of {place} have revision {found}, this nbflow needs {HEAD}.", hint=MIGRATE, ways=MIGRATE_WAYS
        )


def migrate(dialect: Dialect, engine: Engine, place: str) -> None:
    """Bring the tables to HEAD. ``place`` stands in errors."""
    dialect.create()
    with engine.connect() as connection:
        found = revision(connection)
    _refuse_newer(found, place)
    if found != HEAD:
        _run(dialect, engine, "upgrade", HEAD)


def downgrade(dialect: Dialect, engine: Engine, target: str, place: str) -> None:
    """Take the tables back. Raises StoreError for a revision that does not exist, and for tables of a newer nbflow."""
    if target != "base" and not _known(target):
        raise StoreError(f"There is no revision {target!r} of the tables.", hint='"base" removes them all.')
    with engine.connect() as connection:
        _refuse_newer(revision(connection), place)
    _run(dialect, engine, "downgrade", target)


def _run(dialect: Dialect, engine: Engine, direction: str, target: str) -> None:
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(_SCRIPTS))
    config.set_main_option("path_separator", "os")
    with engine.connect() as connection:
        dialect.begin(connection, writing=True)
        dialect.lock_name(connection, "migrate")
        config.attributes["connection"] = connection
        deed: Any = getattr(command, direction)
        deed(config, target)
        connection.commit()
