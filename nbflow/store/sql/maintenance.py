"""The store itself: its tables, and what is deleted from them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import (
    Boolean,
    Column,
    ColumnElement,
    Connection,
    Select,
    Table,
    case,
    column,
    delete,
    func,
    insert,
    inspect,
    select,
    table,
    text,
    update,
)

from nbflow.core.states import RUN_FINISHED
from nbflow.errors import NbflowError
from nbflow.store.base import ARCHIVE, GONE_AFTER, archived_table
from nbflow.store.plan_effects import utc
from nbflow.store.sql import schema
from nbflow.store.sql import tables as t
from nbflow.store.sql.column_types import Moment
from nbflow.store.sql.jobs import Jobs

_RUN = t.dag_run

OF_A_RUN = tuple(
    one.c.run_no for one in (t.task_instance, t.task_event, t.attempt, t.xcom, t.rendered, t.task_trigger, t.callback)
)
"""Where the rows that go with their run hold its number."""
OF_RUNS = (*OF_A_RUN, _RUN.c.id)
"""And the run itself, last: they refer to it."""
OF_A_DAG = (t.dag, t.dag_version, t.dag_task, t.backfill)
"""Tables whose rows go with their DAG."""
CHUNK = 500
"""Runs deleted by one statement: far below any database's limit of parameters. Rows read at once."""


Doomed = tuple[Select[Any], Sequence[Column[Any]]]
"""A query of numbers, and the columns that hold them in the rows that are to go."""


class Upkeep(Jobs):
    def migrate(self) -> None:
        with self._translated():
            schema.migrate(self._dialect, self._engine, self.url)

    def downgrade(self, revision: str) -> None:
        """Take the tables back to an older revision ("base": to none at all)."""
        with self._translated():
            schema.downgrade(self._dialect, self._engine, revision, self.url)

    def check(self) -> None:
        with self._translated():
            schema.check(self._engine, self.url)

    def prune(
        self,
        *,
        before: datetime,
        dag_ids: Sequence[str] = (),
        tables: Sequence[str] = ("dag_run",),
        archive: datetime | None = None,
        dry_run: bool = False,
    ) -> Mapping[str, int]:
        doomed = _all_doomed(before, dag_ids, tables)
        if dry_run:
            with self._reading(whole=True) as connection:
                counts = [_count(connection, query, columns) for query, columns in doomed]
        else:
            with self._writing() as connection:
                remover = _Remover(connection, archive)
                counts = [remover.remove(query, columns) for query, columns in doomed]
                remover.tell_followers()
        return +sum(counts, Counter())

    # --- archives
    def archives(self) -> Mapping[str, int]:
        with self._reading(whole=True) as connection:
            names = sorted(name for name in inspect(connection).get_table_names() if name.startswith(ARCHIVE))
            counts = {name: select(func.count()).select_from(table(name)) for name in names}
            return {name: connection.execute(count).scalar_one() for name, count in counts.items()}

    def archived(self, name: str) -> Iterator[Sequence[Any]]:
        with self._translated(), self._engine.connect() as connection:  # Postgres reads in steps in a transaction only
            self._dialect.begin(connection, writing=False)
            names = [found["name"] for found in inspect(connection).get_columns(name)]
            known = {one.name: one.type for one in t.metadata.tables[archived_table(name)].c}
            # JSON stays the text that it is; a moment's or a truth's form depends on the database.
            types = {one: kind for one, kind in known.items() if isinstance(kind, (Moment, Boolean))}
            columns = [column(one, types.get(one)) for one in names]
            yield names
            query = select(*columns).select_from(table(name)).execution_options(yield_per=CHUNK)
            for row in connection.execute(query):
                yield tuple(row)

    def drop_archives(self, names: Sequence[str]) -> None:
        there = [name for name in self.archives() if name in names]
        with self._writing() as connection:
            for name in there:
                connection.execute(text(f'DROP TABLE "{name}"'))

    def delete_dag(self, dag_id: str, *, actor: str, now: datetime, dry_run: bool = False) -> int:
        runs = select(_RUN.c.id).where(_RUN.c.dag_id == dag_id)
        with self._reading() if dry_run else self._writing() as connection:
            if connection.execute(runs.where(_RUN.c.state == "running").limit(1)).first():
                raise NbflowError(
                    f"DAG {dag_id} has a running run.", hint="Wait for it, or mark it failed, and try again."
                )
            if dry_run:
                others = [select(func.count()).where(one.c.dag_id == dag_id) for one in OF_A_DAG]
                return _count(connection, runs, OF_RUNS).total() + sum(connection.scalar(one) or 0 for one in others)
            remover = _Remover(connection)
            gone = remover.remove(runs, OF_RUNS).total()
            for one in OF_A_DAG:
                gone += connection.execute(delete(one).where(one.c.dag_id == dag_id)).rowcount
            self._write_audit(connection, "delete_dag", actor, now, {"dag_id": dag_id, "rows": gone})
            remover.tell_followers()
        return gone


def _doomed(before: datetime, dag_ids: Sequence[str]) -> Select[Any]:
    """Numbers of the ended runs that may go: never the latest scheduled one, because the schedule goes on from it."""
    order = func.row_number().over(partition_by=_RUN.c.dag_id, order_by=(_RUN.c.sort_date.desc(), _RUN.c.id.desc()))
    # One pass, not a look for each run: of a DAG that is only ever triggered that would be all its runs, each time.
    ranked = (
        select(_RUN.c.id, order.label("place"))
        .where(_RUN.c.run_type == "scheduled", _RUN.c.logical_date.is_not(None))
        .subquery()
    )
    query = select(_RUN.c.id).where(
        _RUN.c.state.in_(sorted(RUN_FINISHED)),
        func.coalesce(_RUN.c.end_date, _RUN.c.run_after) < before,
        _RUN.c.id.not_in(select(ranked.c.id).where(ranked.c.place == 1)),
    )
    return query.where(_RUN.c.dag_id.in_(list(dag_ids))) if dag_ids else query


def _all_doomed(before: datetime, dag_ids: Sequence[str], tables: Sequence[str]) -> list[Doomed]:
    """What goes, by its numbers."""
    of_runs = OF_RUNS if "dag_run" in tables else tuple(one for one in OF_A_RUN if one.table.name in tables)
    old_job = func.coalesce(t.job.c.ended_at < before, t.job.c.heartbeat_at < before - GONE_AFTER)
    of_none = {
        t.job.c.job_id: select(t.job.c.job_id).where(old_job),
        t.audit.c.seq: select(t.audit.c.seq).where(t.audit.c.at < before),
    }
    old = [(query, (number,)) for number, query in of_none.items() if number.table.name in tables]
    return [(_doomed(before, dag_ids), of_runs), *old]


def _count(connection: Connection, doomed: Select[Any], columns: Sequence[Column[Any]]) -> Counter[str]:
    counts = {one: connection.execute(select(func.count()).where(one.in_(doomed))).scalar() for one in columns}
    return Counter({one.table.name: count or 0 for one, count in counts.items()})


class _Remover:
    """Deletes rows; where a moment is given, those of each table go into one that is called after it. SQLite too makes
    tables within a transaction: a row is in one place or in the other."""

    def __init__(self, connection: Connection, archive: datetime | None = None) -> None:
        self._connection = connection
        self._stamp = None if archive is None else f"{utc(archive):%Y%m%d%H%M%S%f}"
        self._made: set[str] = set()
        self._last_event = 0

    def remove(self, doomed: Select[Any], columns: Sequence[Column[Any]]) -> Counter[str]:
        """Delete the rows whose column holds one of the doomed numbers; how many, by table.

        The doomed rows are locked first: between the choice and its end a run may otherwise be cleared and go again.
        """
        numbers = list(self._connection.execute(doomed.with_for_update()).scalars()) if columns else []
        gone: Counter[str] = Counter()
        for start in range(0, len(numbers), CHUNK):
            chunk = numbers[start : start + CHUNK]
            if t.task_event.c.run_no in columns:
                last = select(func.max(t.task_event.c.seq)).where(t.task_event.c.run_no.in_(chunk))
                self._last_event = max(self._last_event, self._connection.execute(last).scalar() or 0)
            for one in columns:
                gone[one.table.name] += self._remove(one.table, one.in_(chunk))
        return gone

    def tell_followers(self) -> None:
        """Note what went of the history, for those who have not seen it. It locks the row that every change of a
        definition counts in, so it comes last."""
        if self._last_event:
            head = t.history_head
            greatest = case((head.c.pruned_seq < self._last_event, self._last_event), else_=head.c.pruned_seq)
            # This transaction will be counted as a change when it commits.
            values = {"pruned_seq": greatest, "pruned_at": head.c.other_changes + 1}
            self._connection.execute(update(head).values(values))

    def _remove(self, doomed: Table, condition: ColumnElement[bool]) -> int:
        rows = select(*doomed.c).where(condition)
        if self._stamp is not None and self._connection.execute(rows.limit(1)).first() is not None:
            names = [one.name for one in doomed.c]
            kept = table(self._archive_of(doomed), *map(column, names))
            self._connection.execute(insert(kept).from_select(names, rows))
        return self._connection.execute(delete(doomed).where(condition)).rowcount

    def _archive_of(self, doomed: Table) -> str:
        name = f"{ARCHIVE}{doomed.name}__{self._stamp}"
        if name not in self._made:
            self._connection.execute(text(f'CREATE TABLE "{name}" AS SELECT * FROM {doomed.name} WHERE 1 = 0'))
            self._made.add(name)
        return name
