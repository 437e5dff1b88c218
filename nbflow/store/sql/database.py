"""Connections and transactions: the base that the store's other modules stand on."""

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
from nbflow.store import Box
from nbflow.store.base import ChangeToken
from nbflow.store.sql import tables as t
from nbflow.store.sql.apply_statements import Hot, Write
from nbflow.store.sql.column_types import Moment
from nbflow.store.sql.dialects import dialect_of

SPECS_KEPT = 500
"""How many DAG versions a store object holds in memory."""


def new_attempt_id() -> str:
    return uuid4().hex


_COMPILED: dict[tuple[str, str], Hot] = {}
"""By dialect and name. Compiling takes 0.5 ms a statement, and a process may open many stores: a test suite, a notebook
that tests its DAG again and again."""

_SPEC = select(t.dag_version.c.spec).where(
    t.dag_version.c.dag_id == bindparam("dag_id"), t.dag_version.c.digest == bindparam("digest")
)
_COUNT_CHANGE = update(t.history_head).values(other_changes=t.history_head.c.other_changes + 1)


class Database:
    """Opens transactions, and turns the driver's errors into ours. Its subclasses hold the queries."""

    def __init__(
        self,
        url: str,
        *,
        synchronous: str = "NORMAL",
        fernet: Box | None = None,
        new_id: Callable[[], str] | None = None,
    ) -> None:
        self._dialect = dialect_of(url, synchronous)
        self._engine = self._dialect.engine()
        self._single = self._dialect.single(self._engine)
        self._box = fernet
        self._new_id = new_id or new_attempt_id
        self._specs: dict[tuple[str, str], DagSpec] = {}
        self._texts: dict[str, Executable] = {}
        self._own = 0
        self._counting = threading.Lock()
        self.url = make_url(url).render_as_string(hide_password=True)

    @contextmanager
    def _reading(self, *, whole: bool = False) -> Iterator[Connection]:
        """For queries. ``whole``: several of them, which in SQLite see one moment (in Postgres each sees its own, as
        READ COMMITTED has it anyway)."""
        with self._translated(), self._single.connect() as connection:
            if whole:
                self._dialect.begin(connection, writing=False)
            yield connection

    @contextmanager
    def _once(self) -> Iterator[Connection]:
        """For one statement that writes and wakes nobody: its own transaction, which spares Postgres two waits."""
        with self._translated(), self._single.connect() as connection:
            yield connection

    @contextmanager
    def _writing(self, *, nudge: bool = True, shown: bool | None = None) -> Iterator[Connection]:
        """A transaction that writes: committed at the end, undone by an error. ``nudge``: wake who waits. ``shown``:
        count it among the changes that views show and the history does not tell (None: if it wakes who waits)."""
        with self._translated(), self._engine.connect() as connection:
            self._dialect.begin(connection, writing=True)
            yield connection
            counted = self._counted() if shown or (shown is None and nudge) else []
            self._dialect.commit(connection, [*counted, *self._dialect.nudge] if nudge else counted)
        if nudge:
            self._count_own()

    def _counted(self) -> list[Write]:
        """Counts a change that the history does not tell. It locks the row of ``history_head``, so it comes last."""
        return [self._hot("count_change", _COUNT_CHANGE).write([{}])]

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except DBAPIError as error:
            raise self._dialect.translate(error.orig or error) from error
        except StatementError as error:  # a value that its column type refused: our own error, wrapped
            raise (error.orig or error) from None

    def _sql(self, template: str, *columns: ColumnElement[Any], moments: tuple[str, ...] = ()) -> Executable:
        """The statement of a template, in which ``{keys}``, ``{lock}`` and ``{skip}`` are the dialect's. ``columns``
        type its rows, ``moments`` names the parameters that are times. It is built once: building it costs more than
        SQLite's answer."""
        found = self._texts.get(template)
        if found is None:
            sql = template.format(keys=self._dialect.keys, lock=self._dialect.lock_rows, skip=self._dialect.skip_locked)
            clause = text(sql).bindparams(*(bindparam(name, type_=Moment()) for name in moments))
            found = self._texts[template] = clause.columns(*columns) if columns else clause
        return found

    def _hot(self, name: str, statement: ClauseElement, columns: Sequence[str] | None = None) -> Hot:
        """The statement, compiled once for all stores of the kind. ``columns``: those that an INSERT is given."""
        key = (self._engine.dialect.name, name)
        made = _COMPILED.get(key)
        if made is None:
            made = _COMPILED[key] = Hot(statement, self._engine.dialect, columns)
        return made

    def _spec(self, connection: Connection, dag_id: str, digest: str) -> DagSpec:
        """The spec of a version, by its digest: numbers are given again after a DAG was deleted."""
        found = self._specs.get((dag_id, digest))
        if found is None:
            raw = connection.execute(_SPEC, {"dag_id": dag_id, "digest": digest}).scalar_one()
            found = DagSpec.from_dict(raw)
            self._keep_spec(dag_id, digest, found)
        return found

    def _keep_spec(self, dag_id: str, digest: str, spec: DagSpec) -> None:
        if len(self._specs) >= SPECS_KEPT:
            self._specs.clear()
        self._specs[dag_id, digest] = spec

    @property
    def shared(self) -> bool:
        return self._dialect.shared

    @contextmanager
    def exclusively(self, name: str) -> Iterator[None]:
        if not self.shared:
            yield
            return
        with self._translated(), self._engine.connect() as connection:
            self._dialect.lock_name(connection, name)
            yield
            connection.commit()

    def change_token(self) -> ChangeToken:
        return ChangeToken(others=self._dialect.others(self._engine), own=self._own)

    def wait_for_change(self, token: ChangeToken, *, timeout: float) -> bool:
        until = time.monotonic() + timeout
        while self.change_token() == token:
            left = until - time.monotonic()
            if left <= 0:
                return False
            if self._dialect.wait(left):
                return True
        return True

    def _count_own(self) -> None:
        with self._counting:
            self._own += 1

    def close(self) -> None:
        self._dialect.close()
        self._engine.dispose()
