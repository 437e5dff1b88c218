"""Every contract test runs on each kind of store, empty and migrated."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import create_engine, inspect, text

from nbflow.secret_box import SecretBox, new_key
from nbflow.store import open_store
from nbflow.store.base import ARCHIVE, Store
from nbflow.store.memory import MemoryStore
from nbflow.store.sql.tables import metadata

KINDS = ("memory", "shared-memory", "sqlite", pytest.param("postgres", marks=pytest.mark.postgres))
SHARED_MEMORY = "memory://shared"
"""Only for these tests: several schedulers of one process have no use for a URL."""


@pytest.fixture(scope="session")
def box() -> SecretBox:
    return SecretBox([new_key()])


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated, empty metastore to copy: migrating takes 0.3 s, copying is free."""
    path = tmp_path_factory.mktemp("template") / "empty.db"
    store = open_store(f"sqlite:///{path}")
    store.migrate()
    store.close()
    return path


@pytest.fixture(scope="session")
def migrated_postgres(session_postgres_url: str) -> str:
    store = open_store(session_postgres_url)
    store.migrate()
    store.close()
    return session_postgres_url


def empty(url: str) -> None:
    """Empty all tables of a Postgres store, restart its sequences and drop its archives."""
    engine = create_engine(url)
    with engine.begin() as connection:
        for name in inspect(connection).get_table_names():
            if name.startswith(ARCHIVE):
                connection.execute(text(f'DROP TABLE "{name}"'))
        tables = ", ".join(name for name in metadata.tables if name != "history_head")
        connection.execute(text(f"TRUNCATE {tables} RESTART IDENTITY CASCADE"))
        connection.execute(text("UPDATE history_head SET other_changes = 0, pruned_seq = 0, pruned_at = 0"))
    engine.dispose()


def attempt_ids() -> Callable[[], str]:
    """Attempt ids a1, a2, ...: the same for every store."""
    numbers = itertools.count(1)
    return lambda: f"a{next(numbers)}"


@pytest.fixture
def sqlite_path(sqlite_template: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(sqlite_template, tmp_path / "nbflow.db"))


@pytest.fixture
def sqlite_url(sqlite_path: Path) -> str:
    return f"sqlite:///{sqlite_path}"


@pytest.fixture
def empty_postgres(migrated_postgres: str) -> str:
    empty(migrated_postgres)
    return migrated_postgres


@pytest.fixture(params=KINDS)
def url(request: pytest.FixtureRequest) -> str:
    """URL of an empty store of each kind."""
    if request.param.endswith("memory"):
        return "memory://" if request.param == "memory" else SHARED_MEMORY
    return str(request.getfixturevalue("sqlite_url" if request.param == "sqlite" else "empty_postgres"))


@pytest.fixture
def store(url: str, box: SecretBox) -> Iterator[Store]:
    """An empty store of each kind, whose attempts are called a1, a2, ..."""
    if url == SHARED_MEMORY:
        opened: Store = MemoryStore(new_id=attempt_ids(), shared=True)
    else:
        opened = open_store(url, fernet=box, new_id=attempt_ids())
    yield opened
    opened.close()


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def database_url(request: pytest.FixtureRequest) -> str:
    """URL of an empty store that several threads and processes can open."""
    return str(request.getfixturevalue("sqlite_url" if request.param == "sqlite" else "empty_postgres"))
