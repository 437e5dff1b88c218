"""PostgreSQL, by psycopg 3."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import closing
from typing import Any

from nbflow.errors import MissingExtra
from nbflow.hooks.dbapi import DbApiHook, split_statements

_OPTIONS = frozenset(
    {"sslmode", "sslcert", "sslkey", "sslrootcert", "sslcrl", "application_name", "connect_timeout", "options"}
    | {"keepalives", "keepalives_idle", "keepalives_interval", "keepalives_count", "target_session_attrs"}
)
"""Keys of the extra that are passed to libpq."""


CONNECT_SECONDS = 30
"""Default of ``connect_timeout``; libpq's default is to wait for minutes."""


class PostgresHook(DbApiHook):
    """A database of a PostgreSQL server; ``database`` overrides the connection's schema."""

    conn_name_attr = "postgres_conn_id"
    default_conn_name = "postgres_default"
    conn_type = "postgres"
    hook_name = "Postgres"
    placeholder = "%s"
    supports_autocommit = True

    def get_conn(self) -> Any:
        try:
            import psycopg
        except ImportError:
            raise MissingExtra("PostgresHook", "psycopg", "postgres") from None
        connection = self.connection
        extra = connection.extra_dejson
        return psycopg.connect(
            host=connection.host or None,
            port=connection.port,
            user=connection.login or None,
            password=connection.password or None,
            dbname=self.database or connection.schema or None,
            **{"connect_timeout": CONNECT_SECONDS, **{key: extra[key] for key in extra if key in _OPTIONS}},
        )

    def get_uri(self) -> str:
        """The SQLAlchemy URL for psycopg 3."""
        uri = self.connection.get_uri()
        return uri.replace("postgres://", "postgresql+psycopg://", 1)

    def split_sql(self, sql: str) -> list[str]:
        return split_statements(sql, nested_comments=True)

    def copy_rows(self, table: str, rows: Iterable[Sequence[Any]], target_fields: Sequence[str] | None = None) -> int:
        """Insert many rows by COPY, in one transaction. Returns the number of rows."""
        names = f" ({', '.join(map(self.quoted, target_fields))})" if target_fields else ""
        count = 0
        with self._connected() as conn, closing(conn.cursor()) as cursor:
            with cursor.copy(f"COPY {self.quoted(table)}{names} FROM STDIN") as copy:
                for row in rows:
                    copy.write_row(row)
                    count += 1
        return count
