"""The store itself: its tables, and what is deleted from them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, ScalarSelect, Select, and_, delete, func, or_, select

from nbflow.core.states import RUN_FINISHED
from nbflow.errors import NbflowError
from nbflow.store.sql import schema
from nbflow.store.sql import tables as t
from nbflow.store.sql.jobs import Jobs

_RUN = t.dag_run

OF_A_RUN = (t.task_instance, t.task_event, t.attempt, t.xcom, t.rendered, t.task_trigger, t.callback)
"""Tables whose rows go with their run."""


class Upkeep(Jobs):
    def migrate(self) -> None:
        with self._translated():
            schema.migrate(self._dialect, self._engine)

    def downgrade(self, revision: str) -> None:
        """Take the tables back to an older revision ("base": to none at all)."""
        with self._translated():
            schema.downgrade(self._dialect, self._engine, revision)

    def check(self) -> None:
        with self._translated():
            schema.check(self._engine, self.url)

    def prune(self, *, before: datetime, dag_ids: Sequence[str] = (), dry_run: bool = False) -> Mapping[str, int]:
        doomed = _doomed(before, dag_ids)
        if dry_run:
            with self._reading(whole=True) as connection:
                return +Counter({table.name: _count(connection, table, doomed) for table in (*OF_A_RUN, _RUN)})
        with self._writing() as connection:
            return +Counter(self._delete_runs(connection, doomed))

    def _delete_runs(self, connection: Connection, doomed: Select[Any]) -> dict[str, int]:
        numbers = list(connection.execute(doomed).scalars())
        gone: dict[str, int] = {}
        for start in range(0, len(numbers), CHUNK):
            chunk = numbers[start : start + CHUNK]
            for table in (*OF_A_RUN, _RUN):
                column = table.c.id if table is _RUN else table.c.run_no
                count = connection.execute(delete(table).where(column.in_(chunk))).rowcount
                gone[table.name] = gone.get(table.name, 0) + count
        return gone

    def delete_dag(self, dag_id: str, *, actor: str, now: datetime) -> int:
        runs = select(_RUN.c.id).where(_RUN.c.dag_id == dag_id)
        with self._writing() as connection:
            if connection.execute(runs.where(_RUN.c.state == "running").limit(1)).first():
                raise NbflowError(
                    f"DAG {dag_id} has a running run.", hint="Wait for it, or mark it failed, and try again."
                )
            gone = sum(self._delete_runs(connection, runs).values())
            for table in (t.dag, t.dag_version, t.dag_task, t.backfill):
                gone += connection.execute(delete(table).where(table.c.dag_id == dag_id)).rowcount
            self._write_audit(connection, "delete_dag", actor, now, {"dag_id": dag_id, "rows": gone})
        return gone


CHUNK = 500
"""Runs deleted by one statement: far below any database's limit of parameters."""


def _doomed(before: datetime, dag_ids: Sequence[str]) -> Select[Any]:
    """Numbers of the ended runs that may go: never the latest scheduled one, because the schedule goes on from it."""
    later = _RUN.alias("later")
    newest: ScalarSelect[Any] = (
        select(later.c.id)
        .where(later.c.dag_id == _RUN.c.dag_id, later.c.run_type == "scheduled", later.c.logical_date.is_not(None))
        .order_by(later.c.sort_date.desc(), later.c.id.desc())
        .limit(1)
        .scalar_subquery()
    )
    query = select(_RUN.c.id).where(
        _RUN.c.state.in_(sorted(RUN_FINISHED)),
        func.coalesce(_RUN.c.end_date, _RUN.c.run_after) < before,
        or_(newest.is_(None), and_(newest.is_not(None), _RUN.c.id != newest)),
    )
    return query.where(_RUN.c.dag_id.in_(list(dag_ids))) if dag_ids else query


def _count(connection: Connection, table: Any, doomed: Select[Any]) -> int:
    column = table.c.id if table is _RUN else table.c.run_no
    return connection.execute(select(func.count()).where(column.in_(doomed))).scalar() or 0
