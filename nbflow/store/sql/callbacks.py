"""Callback requests: stored with the transition that causes them, executed afterwards."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import bindparam, delete, select, update

from nbflow.core.snapshot import RunKey
from nbflow.store.base import PendingCallback
from nbflow.store.plan_effects import utc
from nbflow.store.sql import tables as t
from nbflow.store.sql.database import Database
from nbflow.store.sql.rows import task_key

_CB = t.callback

_UNCLAIMED = """
SELECT r.id, r.kind, r.version, r.at, r.reason, r.task_id, r.map_index, dag_run.dag_id, dag_run.run_id
FROM callback AS r CROSS JOIN dag_run
WHERE dag_run.id = r.run_no AND (r.lease_until IS NULL OR r.lease_until < :now)
ORDER BY r.id LIMIT :limit{skip}
"""
_ANY = select(_CB.c.id).limit(1)
_CLAIM = update(_CB).where(_CB.c.id == bindparam("this")).values(owner=bindparam("by"), lease_until=bindparam("until"))


class Callbacks(Database):
    def claim_callbacks(self, *, owner: str, lease: timedelta, now: datetime, limit: int = 50) -> list[PendingCallback]:
        columns = (_CB.c.id, _CB.c.kind, _CB.c.version, _CB.c.at, _CB.c.reason, _CB.c.task_id, _CB.c.map_index)
        query = self._sql(_UNCLAIMED, *columns, t.dag_run.c.dag_id, t.dag_run.c.run_id, datetimes=("now",))
        with self._reading() as connection:  # usually there is none: then do not wait for the write lock
            if connection.execute(_ANY).first() is None:
                return []
        with self._writing(nudge=False) as connection:
            rows = connection.execute(query, {"now": now, "limit": limit}).all()
            if rows:
                until = utc(now) + lease
                connection.execute(_CLAIM, [{"this": row.id, "by": owner, "until": until} for row in rows])
        return [
            PendingCallback(
                callback_id=row.id,
                run=RunKey(row.dag_id, row.run_id),
                key=task_key(row.task_id, row.map_index),
                kind=row.kind,
                version=row.version,
                at=row.at,
                reason=row.reason,
            )
            for row in rows
        ]

    def finish_callback(self, callback_id: int, *, error: str | None, now: datetime) -> None:
        with self._autocommit() as connection:
            connection.execute(delete(_CB).where(_CB.c.id == callback_id))
