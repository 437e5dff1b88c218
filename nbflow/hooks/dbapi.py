"""What hooks of SQL databases share: everything that PEP 249 (DB-API 2.0) says is the same.

A subclass gives ``get_conn``, the placeholder of its driver and, where it differs, how statements are told apart.
Values are always bound, never written into the SQL. Names of tables and columns cannot be bound: ``quoted`` lets
through only what is plainly a name, and quotes it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from itertools import islice
from typing import Any

from nbflow.connections import Connection
from nbflow.errors import AirflowException, MissingExtra
from nbflow.hooks.base import BaseHook

Handler = Callable[[Any], Any]
"""Takes a cursor after its statement ran, and gives the result."""

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_$]{0,127}")

_TOKEN = re.compile(
    r"""
      --[^\n]*                                  # a comment to the end of the line
    | /\*.*?(?:\*/|\Z)                          # a comment
    | [eE]'(?:[^'\\]|\\.|'')*(?:'|\Z)           # PostgreSQL's string with escapes: E'it\'s'
    | '(?:[^']|'')*(?:'|\Z)                     # text
    | "(?:[^"]|"")*(?:"|\Z)                     # a quoted name
    | \$(?P<tag>[A-Za-z_]*)\$.*?(?:\$(?P=tag)\$|\Z)  # PostgreSQL's quoted text
    | \w[\w$]*                                 # a word: the e of rate'x' and the $ of a$b$c start no string
    | ;
    | [^;'"$/\w-]+
    | .
    """,
    re.VERBOSE | re.DOTALL,
)


def fetch_all_handler(cursor: Any) -> list[Any] | None:
    """All rows, as tuples; None for a statement that gives none."""
    return [tuple(row) for row in cursor.fetchall()] if cursor.description is not None else None


def fetch_one_handler(cursor: Any) -> tuple[Any, ...] | None:
    """The first row; None if there is none."""
    row = cursor.fetchone() if cursor.description is not None else None
    return None if row is None else tuple(row)


def split_statements(sql: str) -> list[str]:
    """Split a script into its statements. Semicolons in strings, quoted names and comments end none.

    sqlparse 0.6.1 fails the tests of this function: it returns statements for "-- only a comment" and " ; ; ", and
    splits inside the string of "select 'open; b". A column named "begin" makes it split nothing.
    """
    found: list[str] = []
    piece: list[str] = []
    holds_code = False
    for match in _TOKEN.finditer(sql):
        token = match.group()
        if token == ";":
            if holds_code:
                found.append("".join(piece).strip())
            piece, holds_code = [], False
            continue
        piece.append(token)
        holds_code = holds_code or not (token.isspace() or token.startswith(("--", "/*")))
    if holds_code:
        found.append("".join(piece).strip())
    return found


class DbApiHook(BaseHook):
    """Base of hooks of SQL databases. ``run`` executes; ``get_records`` and its relatives read."""

    placeholder = "?"
    supports_autocommit = False
    _test_connection_sql = "select 1"

    def __init__(self, conn_id: str | None = None, *, database: str | None = None, **given: Any) -> None:
        conn_id = conn_id or given.pop(self.conn_name_attr, None) or self.default_conn_name
        if given:
            raise TypeError(f"{type(self).__name__} has no argument {', '.join(map(repr, given))}.")
        setattr(self, self.conn_name_attr, conn_id)
        self.conn_id = conn_id
        self.database = database

    @property
    def connection(self) -> Connection:
        """Where the database is."""
        return self.get_connection(self.conn_id)

    def get_uri(self) -> str:
        """The SQLAlchemy address. It holds the password: never log it."""
        return self.connection.get_uri()

    @contextmanager
    def _connected(self, autocommit: bool = False) -> Iterator[Any]:
        """A connection whose work is committed at the end, and rolled back where an error ends it."""
        with closing(self.get_conn()) as conn:
            if self.supports_autocommit:
                self.set_autocommit(conn, autocommit)
            if not autocommit:
                self.begin(conn)
            try:
                yield conn
            except BaseException:
                if not autocommit:
                    conn.rollback()
                raise
            if not autocommit:
                conn.commit()

    def begin(self, conn: Any) -> None:
        """Open a transaction, where the driver does not do so by itself."""

    def set_autocommit(self, conn: Any, autocommit: bool) -> None:
        conn.autocommit = autocommit

    def run(
        self,
        sql: str | Iterable[str],
        autocommit: bool = False,
        parameters: Sequence[Any] | Mapping[str, Any] | None = None,
        handler: Handler | None = None,
        split_statements: bool = False,
        return_last: bool = True,
    ) -> Any:
        """Execute one or several statements, with ``parameters`` bound to each, in one transaction.

        Returns what ``handler`` makes of the cursor: of the last statement of a text, or, with ``return_last`` False or
        a list of statements, of each. None without a handler.
        """
        statements = self.statements(sql, split=split_statements)
        if not statements:
            raise AirflowException("There is no SQL statement to execute.")
        results: list[Any] = []
        with self._connected(autocommit) as conn, closing(conn.cursor()) as cursor:
            for statement in statements:
                self.log.info("Running statement: %s%s", statement, ", with parameters" if parameters else "")
                cursor.execute(statement, *(() if parameters is None else (parameters,)))
                if handler is not None:
                    results.append(handler(cursor))
                if cursor.rowcount >= 0:
                    self.log.info("Rows affected: %s", cursor.rowcount)
        if handler is None:
            return None
        return results[-1] if isinstance(sql, str) and (return_last or not split_statements) else results

    def statements(self, sql: str | Iterable[str], *, split: bool) -> list[str]:
        """The statements to execute one by one."""
        if not isinstance(sql, str):
            return [statement for one in sql for statement in self.statements(one, split=split)]
        if split:
            return self.split_sql(sql)
        return [sql] if sql.strip() else []

    def split_sql(self, sql: str) -> list[str]:
        """The statements of a script, as this database reads it."""
        return split_statements(sql)

    # --- reading

    def get_records(self, sql: str, parameters: Any = None) -> list[Any]:
        """All rows."""
        return self.run(sql, parameters=parameters, handler=fetch_all_handler) or []

    def get_first(self, sql: str, parameters: Any = None) -> Any:
        """The first row, or None."""
        return self.run(sql, parameters=parameters, handler=fetch_one_handler)

    def get_df(self, sql: str, parameters: Any = None) -> Any:
        """All rows as a pandas DataFrame."""
        try:
            import pandas
        except ImportError:
            raise MissingExtra("get_df", "pandas", "lab") from None

        def to_frame(cursor: Any) -> Any:
            names = [column[0] for column in cursor.description]
            return pandas.DataFrame.from_records(cursor.fetchall(), columns=names)

        return self.run(sql, parameters=parameters, handler=to_frame)

    get_pandas_df = get_df

    # --- writing

    def quoted(self, name: str) -> str:
        """A table's or column's name (``schema.table`` too), quoted. Raises AirflowException for anything else."""
        parts = name.split(".") if isinstance(name, str) else [""]
        if len(parts) > 3 or not all(_NAME.fullmatch(part) for part in parts):
            raise AirflowException(f"{name!r} is no name of a table or column: letters, digits and underscores only.")
        return ".".join(f'"{part}"' for part in parts)

    def insert_rows(
        self,
        table: str,
        rows: Iterable[Sequence[Any]],
        target_fields: Sequence[str] | None = None,
        commit_every: int = 1000,
        replace: bool = False,
        *,
        executemany: bool = True,
    ) -> int:
        """Insert rows, in batches of ``commit_every`` (0: one transaction); returns how many.

        ``replace`` puts a row in the place of the one with the same key, where the database can.
        """
        names = f" ({', '.join(map(self.quoted, target_fields))})" if target_fields else ""
        verb = self.insert_verb(replace)
        count, left = 0, iter(rows)
        with self._connected() as conn, closing(conn.cursor()) as cursor:
            while batch := list(islice(left, commit_every or 10_000)):
                marks = ", ".join([self.placeholder] * len(batch[0]))
                cursor.executemany(f"{verb} INTO {self.quoted(table)}{names} VALUES ({marks})", batch)
                count += len(batch)
                if commit_every:
                    conn.commit()
                    self.begin(conn)
        self.log.info("Inserted %s rows into %s", count, table)
        return count

    def insert_verb(self, replace: bool) -> str:
        """``INSERT``, or what replaces."""
        if replace:
            raise AirflowException(f"{type(self).__name__} cannot replace rows: delete them first, or write the SQL.")
        return "INSERT"

    def test_connection(self) -> tuple[bool, str]:
        """Whether the database answers, and a message for people."""
        try:
            self.get_first(self._test_connection_sql)
        except Exception as error:
            return False, f"{type(error).__name__}: {error}"
        return True, "Connection successfully tested"
