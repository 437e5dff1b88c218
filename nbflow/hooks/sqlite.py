"""SQLite files."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from nbflow.hooks.dbapi import DbApiHook


class SqliteHook(DbApiHook):
    """A file: the connection's host (or, as in ``sqlite:////path/file.db``, its schema), or ``:memory:``.

    The extra may hold ``timeout`` (seconds to wait for another writer, default 30).
    """

    conn_name_attr = "sqlite_conn_id"
    default_conn_name = "sqlite_default"
    conn_type = "sqlite"
    hook_name = "Sqlite"
    placeholder = "?"
    _test_connection_sql = "select count(*) from sqlite_master"  # "select 1" is answered without a look at the file

    @property
    def path(self) -> str:
        """The file's path."""
        connection = self.connection
        return self.database or connection.host or connection.schema or ":memory:"

    def get_conn(self) -> sqlite3.Connection:
        """The driver's own transactions are off: they would leave out CREATE and DROP."""
        timeout = float(self.connection.extra_dejson.get("timeout", 30))
        return sqlite3.connect(self.path, timeout=timeout, isolation_level=None)

    def test_connection(self) -> tuple[bool, str]:
        """As of every database; but connecting makes a file, so one that is not there is said to be not there."""
        if self.path != ":memory:" and not Path(self.path).is_file():
            return (
                False,
                f"There is no file {self.path}; the first task that connects makes it, where its folder exists",
            )
        return super().test_connection()

    def begin(self, conn: sqlite3.Connection) -> None:
        conn.execute("BEGIN")

    def get_uri(self) -> str:
        return f"sqlite:///{self.path}"

    def split_sql(self, sql: str) -> list[str]:
        """As sqlite3's own shell does it: a trigger's body holds semicolons and is one statement."""
        found: list[str] = []
        piece = ""
        for part in super().split_sql(sql):
            piece += part
            end = "\n;" if "--" in part.rpartition("\n")[2] else ";"  # a comment would swallow it
            if sqlite3.complete_statement(piece + end):
                found.append(piece)
                piece = ""
            else:
                piece += f"{end}\n"
        return [*found, piece.rstrip().removesuffix(";").rstrip()] if piece else found

    def insert_verb(self, replace: bool) -> str:
        return "INSERT OR REPLACE" if replace else "INSERT"
