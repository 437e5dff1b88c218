"""The base of hooks of SQL databases, for drivers that follow PEP 249 (DB-API 2.0).

A subclass defines ``get_conn``, the placeholder of its driver and, if necessary, how a script is split into statements.
Values are always bound, never written into the SQL. Names of tables and columns cannot be bound: ``quoted`` accepts
only plain names, and quotes them.
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
"""Function of a cursor, after its statement was executed, that returns the result."""

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_$]{0,127}")

_TOKEN = re.compile(
    r"""
      --[^\n]*                                  # a comment to the end of the line
    | /\*.*?(?:\*/|\Z)                          # a comment, up to the first end: see _end_of_comment
    | [eE]'(?:[^'\\]|\\.|'')*(?:'|\Z)           # PostgreSQL's string with escapes: E'it\'s'
    | '(?:[^']|'')*(?:'|\Z)                     # text
    | "(?:[^"]|"")*(?:"|\Z)                     # a quoted name
    | \$(?P<tag>(?:[^\W\d]\w*)?)\$.*?(?:\$(?P=tag)\$|\Z)  # PostgreSQL's quoted text
    | \w[\w$]*                                 # a word: the e of rate'x' and the $ of a$b$c start no string
    | [;()]
    | [^;()'"$/\w-]+
    | .
    """,
    re.VERBOSE | re.DOTALL,
)
_EDGE_OF_COMMENT = re.compile(r"/\*|\*/")
_ROUTINE = re.compile(r"create (?:or replace )?(?:function|procedure) ")
"""The first words of a statement whose body may be between BEGIN and END."""


def fetch_all_handler(cursor: Any) -> list[Any] | None:
    """All rows, as tuples; None for a statement that returns no rows."""
    return [tuple(row) for row in cursor.fetchall()] if cursor.description is not None else None


def fetch_one_handler(cursor: Any) -> tuple[Any, ...] | None:
    """The first row, as a tuple; None if there is no row."""
    row = cursor.fetchone() if cursor.description is not None else None
    return None if row is None else tuple(row)


def _tokens(sql: str, nested_comments: bool) -> Iterator[str]:
    position = 0
    while match := _TOKEN.match(sql, position):
        position = match.end()
        if nested_comments and match.group().startswith("/*"):
            position = _end_of_comment(sql, match.start())
        yield sql[match.start() : position]


def _end_of_comment(sql: str, start: int) -> int:
    depth = 0
    for edge in _EDGE_OF_COMMENT.finditer(sql, start):
        depth += 1 if edge.group() == "/*" else -1
        if not depth:
            return edge.end()
    return len(sql)


class _Nesting:
    """Whether a semicolon ends the current statement. As in psql, it does not between parentheses (CREATE RULE), and
    not in the body of a function or procedure (BEGIN ATOMIC ... END), in which CASE has an END too."""

    def __init__(self) -> None:
        self._parentheses = self._blocks = 0
        self._first_words = ""

    def is_open(self) -> bool:
        return self._parentheses > 0 or self._blocks > 0

    def add(self, token: str) -> None:
        if token in "()":
            self._parentheses = max(0, self._parentheses + (1 if token == "(" else -1))
        elif token[0].isalpha():
            self._add_word(token.lower())

    def _add_word(self, word: str) -> None:
        if len(self._first_words) < 40:
            self._first_words += f"{word} "
        if self._parentheses or not _ROUTINE.match(self._first_words):
            return
        if word == "begin" or (word == "case" and self._blocks):
            self._blocks += 1
        elif word == "end" and self._blocks:
            self._blocks -= 1


def split_statements(sql: str, *, nested_comments: bool = False) -> list[str]:
    """Split a script into its statements. Semicolons in strings, quoted names, comments, parentheses and the bodies of
    functions and procedures do not end a statement. ``nested_comments``: comments contain comments, as in PostgreSQL
    and standard SQL.

    sqlparse 0.6.1 fails the tests of this function: it returns statements for "-- only a comment" and " ; ; ", and
    splits inside the string of "select 'open; b". A column named "begin" makes it split nothing.
    """
    statements: list[str] = []
    tokens: list[str] = []
    has_code, nesting = False, _Nesting()
    for token in _tokens(sql, nested_comments):
        if token == ";" and not nesting.is_open():
            if has_code:
                statements.append("".join(tokens).strip())
            tokens, has_code, nesting = [], False, _Nesting()
            continue
        tokens.append(token)
        nesting.add(token)
        has_code = has_code or not (token.isspace() or token.startswith(("--", "/*")))
    if has_code:
        statements.append("".join(tokens).strip())
    return statements


class DbApiHook(BaseHook):
    """Base of hooks of SQL databases. ``run`` executes statements; ``get_records``, ``get_first`` and ``get_df``
    read."""

    placeholder = "?"
    supports_autocommit = False
    _test_connection_sql = "select 1"

    def __init__(self, conn_id: str | None = None, *, database: str | None = None, **kwargs: Any) -> None:
        conn_id = conn_id or kwargs.pop(self.conn_name_attr, None) or self.default_conn_name
        if kwargs:
            raise TypeError(f"{type(self).__name__} has no argument {', '.join(map(repr, kwargs))}.")
        setattr(self, self.conn_name_attr, conn_id)
        self.conn_id = conn_id
        self.database = database

    @property
    def connection(self) -> Connection:
        """The connection of the database."""
        return self.get_connection(self.conn_id)

    def get_uri(self) -> str:
        """The SQLAlchemy URL. It contains the password: never log it."""
        return self.connection.get_uri()

    @contextmanager
    def _connected(self, autocommit: bool = False) -> Iterator[Any]:
        """Open a connection. Commits at the end of the block, or rolls back after an error."""
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
        """Begin a transaction, if the driver does not do so implicitly."""

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

        Returns the result of ``handler`` for the last statement; for ``return_last=False`` or a list of statements, a
        list with the results of all. Without a handler: None.
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
        """The statements to execute."""
        if not isinstance(sql, str):
            return [statement for text in sql for statement in self.statements(text, split=split)]
        if split:
            return self.split_sql(sql)
        return [sql] if sql.strip() else []

    def split_sql(self, sql: str) -> list[str]:
        """Split a script into statements, by the syntax of this database."""
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
        """Quote the name of a table or column (also ``schema.table``). Raises AirflowException for an invalid name."""
        parts = name.split(".") if isinstance(name, str) else [""]
        if len(parts) > 3 or not all(_NAME.fullmatch(part) for part in parts):
            raise AirflowException(
                f"{name!r} is not a valid name of a table or column: use letters, digits and underscores."
            )
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
        """Insert rows, in batches of ``commit_every`` (0: one transaction). Returns the number of rows.

        ``replace``: replace existing rows with the same key, if the database supports it.
        """
        names = f" ({', '.join(map(self.quoted, target_fields))})" if target_fields else ""
        verb = self.insert_verb(replace)
        count, remaining = 0, iter(rows)
        with self._connected() as conn, closing(conn.cursor()) as cursor:
            while batch := list(islice(remaining, commit_every or 10_000)):
                placeholders = ", ".join([self.placeholder] * len(batch[0]))
                cursor.executemany(f"{verb} INTO {self.quoted(table)}{names} VALUES ({placeholders})", batch)
                count += len(batch)
                if commit_every:
                    conn.commit()
                    self.begin(conn)
        self.log.info("Inserted %s rows into %s", count, table)
        return count

    def insert_verb(self, replace: bool) -> str:
        """``INSERT``, or the database's verb that replaces rows."""
        if replace:
            raise AirflowException(
                f"{type(self).__name__} cannot replace rows.", hint="Delete them first, or use run() with your own SQL."
            )
        return "INSERT"

    def test_connection(self) -> tuple[bool, str]:
        """Whether the connection works, and a message."""
        try:
            self.get_first(self._test_connection_sql)
        except Exception as error:
            return False, f"{type(error).__name__}: {error}"
        return True, "Connection successfully tested"
