"""The writes of ``apply``, without SQLAlchemy's cost per row.

SQLAlchemy compiles a statement once, but then spends about 5 µs on the parameters of every row, as much as SQLite
needs to write it; and on Postgres each statement waits for its answer. So the statements of ``apply`` are written in
Core like all others, compiled once for each kind of database, and handed to the driver with plain rows: SQLite runs
them one after the other, Postgres gets them in one pipeline (see ``Dialect.send``). Measured: from none to success in
batches of 200, SQLite 0.27 -> 0.22 ms a task; one outcome, SQLite 0.62 -> 0.40 ms, Postgres 10 waits for the server
-> 5.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import ClauseElement
from sqlalchemy import Dialect as SqlDialect


class Write(NamedTuple):
    """A statement for the driver, and its rows of parameters (at least one)."""

    sql: str
    rows: Sequence[Any]
    exact: bool = False
    """Each row must hit one row of the table: the guard did not hold otherwise."""


class Hot:
    """A Core statement, compiled for one dialect."""

    def __init__(self, statement: ClauseElement, dialect: SqlDialect, columns: Sequence[str] | None = None) -> None:
        compiled = statement.compile(dialect=dialect, column_keys=list(columns) if columns else None)
        self.sql = str(compiled)
        self._positional = dialect.positional
        names: Sequence[str] = compiled.positiontup if dialect.positional else list(compiled.binds)  # type: ignore[attr-defined]
        self._parameters = [self._parameter(name, compiled.binds[name], dialect) for name in names]  # type: ignore[attr-defined]

    @staticmethod
    def _parameter(name: str, bind: Any, dialect: SqlDialect) -> tuple[str, Callable[[Any], Any] | None, Any]:
        """Its name, how its values become the driver's, and the value that is always the same (None: the row's)."""
        convert = bind.type.dialect_impl(dialect).bind_processor(dialect)
        fixed = None if bind.required else bind.value
        return name, convert, convert(fixed) if convert and fixed is not None else fixed

    def write(self, rows: Sequence[Mapping[str, Any]], *, exact: bool = False) -> Write:
        """The statement for these rows; each names every parameter that has no fixed value."""
        made: list[Any] = []
        for row in rows:
            values = [
                row.get(name, fixed) if convert is None else (convert(row[name]) if name in row else fixed)
                for name, convert, fixed in self._parameters
            ]
            if self._positional:
                made.append(tuple(values))
            else:
                made.append({name: value for (name, *_), value in zip(self._parameters, values, strict=True)})
        return Write(self.sql, made, exact)
