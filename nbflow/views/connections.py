"""The connections in the metastore, with masked passwords and extras."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, ClassVar

from nbflow.connections import Connection
from nbflow.store.base import Store
from nbflow.views.base import Query, Row, View

if TYPE_CHECKING:
    from nbflow.config import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionsQuery(Query["ConnectionsView"]):
    NAME: ClassVar[str] = "connections"


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionRow(Row):
    """One connection. ``password`` is ``***`` if there is one; ``extra`` is JSON with ``***`` for each value."""

    conn_id: str
    conn_type: str | None = None
    description: str | None = None
    host: str | None = None
    login: str | None = None
    password: str | None = None
    schema: str | None = None
    port: int | None = None
    extra: str | None = None

    @property
    def id(self) -> str:
        return self.conn_id


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionsView(View):
    """By id."""

    NAME: ClassVar[str] = "connections"

    rows: tuple[ConnectionRow, ...] = ()


def fetch(store: Store, query: ConnectionsQuery, now: datetime, settings: Settings) -> ConnectionsView:
    return ConnectionsView(rows=tuple(connection_row(connection) for connection in store.connections()))


def connection_row(connection: Connection) -> ConnectionRow:
    """The row of a connection with masked secrets."""
    masked = connection.masked()
    return ConnectionRow(
        conn_id=masked.conn_id or "",
        conn_type=masked.conn_type,
        description=masked.description,
        host=masked.host,
        login=masked.login,
        password=masked.password,
        schema=masked.schema,
        port=masked.port,
        extra=masked.extra,
    )
