"""Connections and transactions: the base class of the store's other modules."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

from sqlalchemy import ClauseElement, ColumnElement, Connection, Executable, bindparam, make_url, select, text, update
from sqlalchemy.exc import DBAPIError, StatementError

from nbflow.core.spec import DagSpec
from nbflow.errors import UnstorableValue
from nbflow.store.base import Box, ChangeToken
from nbflow.store.sql import tables as t
from nbflow.store.sql.column_types import UtcDateTime
from nbflow.store.sql.compiled_statements import CompiledStatement, Write
from nbflow.store.sql.dialects import dialect_of
from nbflow.store.version_rows import read_spec

SPEC_CACHE_SIZE = 500
"""Number of DAG specs that a store object caches."""


def new_attempt_id() -> str:
    return uuid4().hex


_COMPILED: dict[tuple[str, str], CompiledStatement] = {}
"""By dialect and name. Compiling takes 0.5 ms per statement, and a process may open many stores: a test suite, or a
notebook that calls ``dag.test()`` repeatedly."""

_SPEC = select(t.dag_version.c.spec).where(
    t.dag_version.c.dag_id == bindparam("dag_id"), t.dag_version.c.digest == bindparam("digest")
)
_COUNT_CHANGE = update(t.history_head).values(other_changes=t.history_head.c.other_changes + 1)


class Database:
    """Opens transactions and translates the driver's errors. The subclasses hold the queries."""

    def __init__(
        self,
        url: str,
        *,
        synchronous: str = "NORMAL",
        lock_timeout: float = 25.0,
        idle_timeout: float = 20.0,
        fernet: Box | None = None,
        new_id: Callable[[], str] | None = None,
    ) -> None:
        self._dialect = dialect_of(url, synchronous, lock_timeout=lock_timeout, idle_timeout=idle_timeout)
        self._engine = self._dialect.engine()
        self._autocommit_engine = self._dialect.autocommit_engine(self._engine)
        self._box = fernet
        self._new_id = new_id or new_attempt_id
        self._specs: dict[tuple[str, str], DagSpec] = {}
        self._texts: dict[str, Executable] = {}
        self._own_commits = 0
        self._own_commits_lock = threading.Lock()
        self._locked = threading.local()
        """Of each thread, as ``connection``: the connection whose open transaction holds a named lock."""
        # without the busy timeout, which open_store adds to the configured URL
        self.url = make_url(url).difference_update_query(["timeout"]).render_as_string(hide_password=True)

    @contextmanager
    def _reading(self, *, one_snapshot: bool = False) -> Iterator[Connection]:
        """A connection for queries. ``one_snapshot``: the queries see the same snapshot in SQLite; in Postgres each
        statement has its own snapshot (READ COMMITTED)."""
        locked: Connection | None = getattr(self._locked, "connection", None)
        if locked is not None:
            with self._translated_errors():
                yield locked
            return
        with self._translated_errors(), self._autocommit_engine.connect() as connection:
            if one_snapshot:
                self._dialect.begin(connection, writing=False)
            yield connection

    @contextmanager
    def _autocommit(self) -> Iterator[Connection]:
        """A connection for one statement that writes and sends no nudge. Autocommit saves Postgres two round trips."""
        with self._translated_errors(), self._autocommit_engine.connect() as connection:
            yield connection

    @contextmanager
    def _writing(self, *, nudge: bool = True, count_change: bool | None = None) -> Iterator[Connection]:
        """A transaction that writes: committed at the end, rolled back by an error. ``nudge``: wake the processes that
        wait for a change. ``count_change``: count it in ``other_changes``, the changes that views show and the history
        does not contain (None: if ``nudge``)."""
        with self._translated_errors(), self._begun() as connection:
            yield connection
            writes = self._count_change() if count_change or (count_change is None and nudge) else []
            self._dialect.commit(connection, [*writes, *self._dialect.nudge] if nudge else writes)
        if nudge:
            self._count_own_commit()

    @contextmanager
    def _begun(self) -> Iterator[Connection]:
        """A connection with a new transaction, or with that of the named lock which this thread holds."""
        locked: Connection | None = getattr(self._locked, "connection", None)
        if locked is not None:
            self._locked.connection = None  # the commit releases the lock
            yield locked
            return
        with self._engine.connect() as connection:
            self._dialect.begin(connection, writing=True)
            yield connection

    def _count_change(self) -> list[Write]:
        """The write that counts a change that the history does not contain. It locks the row of ``history_head``, so it
        must be the last of its transaction."""
        return [self._compiled("count_change", _COUNT_CHANGE).write([{}])]

    @contextmanager
    def _translated_errors(self) -> Iterator[None]:
        try:
            yield
        except DBAPIError as error:
            raise self._dialect.translate(error.orig or error) from error
        except StatementError as error:  # SQLAlchemy's wrapper of an error that a column type raised for a value
            raise (error.orig or error) from None
        except (UnicodeError, OverflowError) as error:  # the driver cannot encode a text or an integer
            raise UnstorableValue(f"The metastore cannot store a value: {error}; nothing was changed.") from error

    def _sql(self, template: str, *columns: ColumnElement[Any], datetimes: tuple[str, ...] = ()) -> Executable:
        """The statement of a template, in which ``{keys}``, ``{lock}`` and ``{skip}`` are the dialect's SQL.

        ``columns`` type the result, ``datetimes`` names the parameters that are datetimes. The statement is cached:
        building it costs more than executing it in SQLite."""
        statement = self._texts.get(template)
        if statement is None:
            sql = template.format(keys=self._dialect.keys, lock=self._dialect.lock_rows, skip=self._dialect.skip_locked)
            clause = text(sql).bindparams(*(bindparam(name, type_=UtcDateTime()) for name in datetimes))
            statement = self._texts[template] = clause.columns(*columns) if columns else clause
        return statement

    def _compiled(self, name: str, statement: ClauseElement, columns: Sequence[str] | None = None) -> CompiledStatement:
        """The statement, compiled once per dialect. ``columns``: those that an INSERT sets."""
        key = (self._engine.dialect.name, name)
        compiled = _COMPILED.get(key)
        if compiled is None:
            compiled = _COMPILED[key] = CompiledStatement(statement, self._engine.dialect, columns)
        return compiled

    def _spec(self, connection: Connection, dag_id: str, digest: str) -> DagSpec:
        """The spec of a version. The cache's key is the digest: version numbers are reused after a DAG was deleted."""
        spec = self._specs.get((dag_id, digest))
        if spec is None:
            stored = connection.execute(_SPEC, {"dag_id": dag_id, "digest": digest}).scalar_one()
            spec = read_spec(dag_id, stored)
            self._cache_spec(dag_id, digest, spec)
        return spec

    def _cache_spec(self, dag_id: str, digest: str, spec: DagSpec) -> None:
        if len(self._specs) >= SPEC_CACHE_SIZE:
            self._specs.clear()
        self._specs[dag_id, digest] = spec

    @property
    def shared(self) -> bool:
        return self._dialect.shared

    @contextmanager
    def lock(self, name: str) -> Iterator[None]:
        if not self.shared:
            yield
            return
        with self._translated_errors(), self._engine.connect() as connection:
            self._dialect.begin(connection, writing=True)
            self._dialect.lock_name(connection, name)
            self._locked.connection = connection
            try:
                yield
            finally:
                self._locked.connection = None
            connection.rollback()  # what was written inside is committed

    def end_stalled_transactions(self) -> int:
        if not self.shared:
            return 0
        with self._autocommit() as connection:
            return self._dialect.end_stalled_transactions(connection)

    def change_token(self) -> ChangeToken:
        return ChangeToken(foreign_commits=self._dialect.foreign_commits(self._engine), own_commits=self._own_commits)

    def wait_for_change(self, token: ChangeToken, *, timeout: float) -> bool:
        deadline = time.monotonic() + timeout
        while self.change_token() == token:
            remaining = deadline - time.monotonic()
            if remaining <= 0:
                return False
            if self._dialect.wait_for_commit(remaining):
                return True
        return True

    def _count_own_commit(self) -> None:
        with self._own_commits_lock:
            self._own_commits += 1

    def close(self) -> None:
        self._dialect.close()
        self._engine.dispose()
