"""Metastores to measure on: an address for as long as a row needs it."""

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
    """A server on which each measurement has a database of its own."""

    server: PostgresServer
    version: str

    @contextmanager
    def database(self) -> Iterator[str]:
        name = self.server.create_database()
        try:
            yield self.server.url(name)
        finally:
            self.server.drop_database(name)


@contextmanager
def postgres() -> Iterator[Postgres]:
    """The machine's own server, else one that is started for this run. Raises LookupError if there is neither."""
    import pytest

    from tests.servers import LOCAL_POSTGRES, PostgresServer, _started_postgres

    host, port = LOCAL_POSTGRES
    local = PostgresServer(host=host, port=port, user=os.environ.get("PGUSER", "postgres"))
    with contextlib.ExitStack() as stack:
        server = local
        if not local.answers():
            try:
                server = stack.enter_context(contextmanager(_started_postgres)())
            except pytest.skip.Exception as missing:
                raise LookupError(str(missing)) from None
        yield Postgres(server, _version(server))


def _version(server: PostgresServer) -> str:
    with server._connect() as connection:
        return str(connection.execute("SHOW server_version").fetchone()[0]).split()[0]
