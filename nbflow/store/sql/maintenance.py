"""Migrations, pruning, archives, and the deletion of DAGs."""

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
    or_,
    select,
    table,
    text,
    update,
)

from nbflow.core.snapshot import RunKey
from nbflow.core.states import RUN_FINISHED
from nbflow.errors import NbflowError
from nbflow.store.base import ARCHIVE, DEAD_AFTER, archived_table
from nbflow.store.plan_effects import utc
from nbflow.store.sql import schema
from nbflow.store.sql import tables as t
from nbflow.store.sql.column_types import UtcDateTime
from nbflow.store.sql.jobs_leases_audit import Jobs

_RUN = t.dag_run

RUN_NO_COLUMNS = tuple(
    table.c.run_no
    for table in (t.task_instance, t.task_event, t.attempt, t.xcom, t.rendered, t.task_trigger, t.callback)
)
"""The columns that refer to a run, in the tables whose rows are deleted with it."""
RUN_COLUMNS = (*RUN_NO_COLUMNS, _RUN.c.id)
"""The run's row comes last, because the others refer to it."""
DAG_TABLES = (t.dag, t.dag_version, t.dag_task, t.backfill)
"""Tables whose rows are deleted with their DAG."""
CHUNK = 500
"""Number of runs that one statement deletes (far below any database's limit of parameters), and of rows that are
fetched at once."""


Deletion = tuple[Select[Any], Sequence[Column[Any]]]
"""A query of ids, and the columns that contain them in the rows to delete."""


class Maintenance(Jobs):
    def migrate(self) -> None:
        with self._translated_errors():
            schema.migrate(self._dialect, self._engine, self.url)

    def downgrade(self, revision: str) -> None:
        """Downgrade the tables to an older revision ("base": remove them)."""
        with self._translated_errors():
            schema.downgrade(self._dialect, self._engine, revision, self.url)

    def check(self) -> None:
        with self._translated_errors():
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
        deletions = _deletions(before, dag_ids, tables)
        if dry_run:
            with self._reading(one_snapshot=True) as connection:
                counts = [_count(connection, query, columns) for query, columns in deletions]
        else:
            with self._writing() as connection:
                deleter = _Deleter(connection, archive)
                counts = [deleter.delete(query, columns) for query, columns in deletions]
                deleter.update_history_head()
        return +sum(counts, Counter())

    # --- archives
    def archives(self) -> Mapping[str, int]:
        with self._reading(one_snapshot=True) as connection:
            names = sorted(name for name in inspect(connection).get_table_names() if name.startswith(ARCHIVE))
            counts = {name: select(func.count()).select_from(table(name)) for name in names}
            return {name: connection.execute(count).scalar_one() for name, count in counts.items()}

    def archived(self, name: str) -> Iterator[Sequence[Any]]:
        with self._translated_errors(), self._engine.connect() as connection:
            self._dialect.begin(connection, writing=False)  # yield_per needs a transaction in Postgres
            names = [info["name"] for info in inspect(connection).get_columns(name)]
            all_types = {column.name: column.type for column in t.metadata.tables[archived_table(name)].c}
            # JSON is already text; the stored form of datetimes and booleans depends on the database.
            types = {name: kind for name, kind in all_types.items() if isinstance(kind, (UtcDateTime, Boolean))}
            columns = [column(name, types.get(name)) for name in names]
            yield names
            query = select(*columns).select_from(table(name)).execution_options(yield_per=CHUNK)
            for row in connection.execute(query):
                yield tuple(row)

    def drop_archives(self, names: Sequence[str]) -> None:
        existing = [name for name in self.archives() if name in names]
        with self._writing() as connection:
            for name in existing:
                connection.execute(text(f'DROP TABLE "{name}"'))

    def delete_dag(self, dag_id: str, *, actor: str, now: datetime, dry_run: bool = False) -> int:
        runs = select(_RUN.c.id).where(_RUN.c.dag_id == dag_id)
        with self._reading() if dry_run else self._writing() as connection:
            if connection.execute(runs.where(_RUN.c.state == "running").limit(1)).first():
                raise NbflowError(
                    f"DAG {dag_id} has a running run.", hint="Wait until it ends, or mark it failed, and try again."
                )
            if dry_run:
                queries = [select(func.count()).where(table.c.dag_id == dag_id) for table in DAG_TABLES]
                rows_of_runs = _count(connection, runs, RUN_COLUMNS).total()
                return rows_of_runs + sum(connection.scalar(query) or 0 for query in queries)
            deleter = _Deleter(connection)
            count = deleter.delete(runs, RUN_COLUMNS).total()
            for table in DAG_TABLES:
                count += connection.execute(delete(table).where(table.c.dag_id == dag_id)).rowcount
            self._write_audit(connection, "delete_dag", actor, now, {"dag_id": dag_id, "rows": count})
            deleter.update_history_head()
        return count

    def delete_run(self, run: RunKey, *, actor: str, now: datetime) -> int:
        query = select(_RUN.c.id).where(_RUN.c.dag_id == run.dag_id, _RUN.c.run_id == run.run_id)
        with self._writing() as connection:
            deleter = _Deleter(connection)
            count = deleter.delete(query, RUN_COLUMNS).total()
            self._write_audit(
                connection, "delete_run", actor, now, {"dag_id": run.dag_id, "run_id": run.run_id}, count > 0
            )
            deleter.update_history_head()
        return count


def _prunable_runs(before: datetime, dag_ids: Sequence[str]) -> Select[Any]:
    """Ids of the finished runs to delete. A DAG's latest scheduled run is not deleted: its schedule continues from that
    run. The runs of backfills after it are not deleted either: the schedule would run their intervals again."""
    order = func.row_number().over(partition_by=_RUN.c.dag_id, order_by=(_RUN.c.sort_date.desc(), _RUN.c.id.desc()))
    # One window function, not a subquery per run, which would scan all runs of a DAG that has only manual runs.
    ranked = (
        select(_RUN.c.id, order.label("rank"))
        .where(_RUN.c.run_type == "scheduled", _RUN.c.logical_date.is_not(None))
        .subquery()
    )
    last = (
        select(_RUN.c.dag_id, func.max(_RUN.c.sort_date).label("at"))
        .where(_RUN.c.run_type == "scheduled", _RUN.c.logical_date.is_not(None))
        .group_by(_RUN.c.dag_id)
        .subquery()
    )
    counts_as_scheduled = (
        select(_RUN.c.id)
        .join(last, last.c.dag_id == _RUN.c.dag_id, isouter=True)
        .where(
            _RUN.c.run_type == "backfill",
            _RUN.c.logical_date.is_not(None),
            or_(last.c.at.is_(None), _RUN.c.sort_date > last.c.at),
        )
    )
    query = select(_RUN.c.id).where(
        _RUN.c.state.in_(sorted(RUN_FINISHED)),
        func.coalesce(_RUN.c.end_date, _RUN.c.run_after) < before,
        _RUN.c.id.not_in(select(ranked.c.id).where(ranked.c.rank == 1)),
        _RUN.c.id.not_in(counts_as_scheduled),
    )
    return query.where(_RUN.c.dag_id.in_(list(dag_ids))) if dag_ids else query


def _deletions(before: datetime, dag_ids: Sequence[str], tables: Sequence[str]) -> list[Deletion]:
    """The deletions of ``prune``."""
    if "dag_run" in tables:
        run_columns = RUN_COLUMNS
    else:
        run_columns = tuple(column for column in RUN_NO_COLUMNS if column.table.name in tables)
    is_old_job = func.coalesce(t.job.c.ended_at < before, t.job.c.heartbeat_at < before - DEAD_AFTER)
    without_run = {
        t.job.c.job_id: select(t.job.c.job_id).where(is_old_job),
        t.audit.c.seq: select(t.audit.c.seq).where(t.audit.c.at < before),
    }
    deletions = [(query, (key,)) for key, query in without_run.items() if key.table.name in tables]
    return [(_prunable_runs(before, dag_ids), run_columns), *deletions]


def _count(connection: Connection, ids: Select[Any], columns: Sequence[Column[Any]]) -> Counter[str]:
    counts = {column: connection.execute(select(func.count()).where(column.in_(ids))).scalar() for column in columns}
    return Counter({column.table.name: count or 0 for column, count in counts.items()})


class _Deleter:
    """Deletes rows. With ``archive``, first copies the rows of each table into an archive table named after that time,
    in the same transaction: a row is in exactly one of the two tables (SQLite's DDL is transactional too)."""

    def __init__(self, connection: Connection, archive: datetime | None = None) -> None:
        self._connection = connection
        self._timestamp = None if archive is None else f"{utc(archive):%Y%m%d%H%M%S%f}"
        self._created: set[str] = set()
        self._last_event = 0

    def delete(self, query: Select[Any], columns: Sequence[Column[Any]]) -> Counter[str]:
        """Delete the rows whose column contains one of the query's ids; returns the number of rows by table.

        The selected rows are locked first: otherwise a run could be cleared and run again before it is deleted.
        """
        ids = list(self._connection.execute(query.with_for_update()).scalars()) if columns else []
        deleted: Counter[str] = Counter()
        for start in range(0, len(ids), CHUNK):
            chunk = ids[start : start + CHUNK]
            if t.task_event.c.run_no in columns:
                last = select(func.max(t.task_event.c.seq)).where(t.task_event.c.run_no.in_(chunk))
                self._last_event = max(self._last_event, self._connection.execute(last).scalar() or 0)
            for key in columns:
                deleted[key.table.name] += self._delete(key.table, key.in_(chunk))
        return deleted

    def update_history_head(self) -> None:
        """Record the last deleted event, so that cursors before it become stale. Call it last: it locks the row in
        which other transactions count their changes."""
        if self._last_event:
            head = t.history_head
            greatest = case((head.c.pruned_seq < self._last_event, self._last_event), else_=head.c.pruned_seq)
            # This transaction will be counted as a change when it commits.
            values = {"pruned_seq": greatest, "pruned_at": head.c.other_changes + 1}
            self._connection.execute(update(head).values(values))

    def _delete(self, source: Table, condition: ColumnElement[bool]) -> int:
        rows = select(*source.c).where(condition)
        if self._timestamp is not None and self._connection.execute(rows.limit(1)).first() is not None:
            names = [column.name for column in source.c]
            archive = table(self._archive_of(source), *map(column, names))
            self._connection.execute(insert(archive).from_select(names, rows))
        return self._connection.execute(delete(source).where(condition)).rowcount

    def _archive_of(self, source: Table) -> str:
        name = f"{ARCHIVE}{source.name}__{self._timestamp}"
        if name not in self._created:
            self._connection.execute(text(f'CREATE TABLE "{name}" AS SELECT * FROM {source.name} WHERE 1 = 0'))
            self._created.add(name)
        return name
