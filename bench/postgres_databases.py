"""PostgreSQL databases to measure on."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.servers import PostgresServer


@dataclass(frozen=True, slots=True)
class Postgres:
    """A server; each measurement gets a new database on it."""

    server: PostgresServer
    version: str

    @contextmanager
    def database(self) -> Iterator[str]:
        """The URL of a new database, which is dropped afterwards."""
        name = self.server.create_database()
        try:
            yield self.server.url(name)
        finally:
            self.server.drop_database(name)


@contextmanager
def postgres() -> Iterator[Postgres]:
    """The machine's server, else a server that is started for this run. Raises LookupError if neither is possible."""
    import pytest

    from tests.servers import LOCAL_POSTGRES, PostgresServer, _started_postgres

    host, port = LOCAL_POSTGRES
    local = PostgresServer(host=host, port=port, user=os.environ.get("PGUSER", "postgres"))
    with contextlib.ExitStack() as stack:
        server = local
        if not local.answers():
            try:
                server = stack.enter_context(contextmanager(_started_postgres)())
            except pytest.skip.Exception as error:
                raise LookupError(str(error)) from None
        yield Postgres(server, _version(server))


def _version(server: PostgresServer) -> str:
    with server._connect() as connection:
        return str(connection.execute("SHOW server_version").fetchone()[0]).split()[0]
