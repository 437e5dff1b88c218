"""SQLite files."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from nbflow.hooks.dbapi import DbApiHook


class SqliteHook(DbApiHook):
    """A SQLite file: the connection's host (or its schema, as in ``sqlite:////path/file.db``), or ``:memory:``.

    ``timeout`` in the extra: seconds to wait for the database lock (default: 30).
    """

    conn_name_attr = "sqlite_conn_id"
    default_conn_name = "sqlite_default"
    conn_type = "sqlite"
    hook_name = "Sqlite"
    placeholder = "?"
    _test_connection_sql = "select count(*) from sqlite_master"  # SQLite executes "select 1" without reading the file

    @property
    def path(self) -> str:
        """The file's path."""
        connection = self.connection
        return self.database or connection.host or connection.schema or ":memory:"

    def get_conn(self) -> sqlite3.Connection:
        """Connect without the driver's implicit transactions, which exclude CREATE and DROP."""
        timeout = float(self.connection.extra_dejson.get("timeout", 30))
        return sqlite3.connect(self.path, timeout=timeout, isolation_level=None)

    def test_connection(self) -> tuple[bool, str]:
        """Whether the connection works, and a message. Does not connect to a missing file, which would create it."""
        if self.path != ":memory:" and not Path(self.path).is_file():
            return (
                False,
                f"File {self.path} does not exist; the first task that connects creates it, if its folder exists",
            )
        return super().test_connection()

    def begin(self, conn: sqlite3.Connection) -> None:
        conn.execute("BEGIN")

    def get_uri(self) -> str:
        return f"sqlite:///{self.path}"

    def split_sql(self, sql: str) -> list[str]:
        """Split like sqlite3's shell: the body of a trigger has semicolons, but is part of one statement."""
        statements: list[str] = []
        statement = ""
        for part in super().split_sql(sql):
            statement += part
            end = "\n;" if "--" in part.rpartition("\n")[2] else ";"  # a semicolon in a comment would not count
            if sqlite3.complete_statement(statement + end):
                statements.append(statement)
                statement = ""
            else:
                statement += f"{end}\n"
        return [*statements, statement.rstrip().removesuffix(";").rstrip()] if statement else statements

    def insert_verb(self, replace: bool) -> str:
        return "INSERT OR REPLACE" if replace else "INSERT"
