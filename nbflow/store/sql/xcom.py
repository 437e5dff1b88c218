"""XComs and rendered templates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, and_, bindparam, or_, select

from nbflow.core.identifiers import XCOM_KEY, check_id
from nbflow.core.snapshot import RunKey, TaskKey
from nbflow.errors import StaleAttempt
from nbflow.store.plan_effects import utc
from nbflow.store.sql import tables as t
from nbflow.store.sql.database import Database
from nbflow.store.sql.upsert import upsert

_RUN, _XCOM, _RENDERED = t.dag_run, t.xcom, t.rendered

_CURRENT = """
SELECT r.run_no, r.task_id, r.map_index
FROM attempt AS a CROSS JOIN task_instance AS r
WHERE a.attempt_id = :attempt_id AND a.state <> 'ended'
  AND r.run_no = a.run_no AND r.task_id = a.task_id AND r.map_index = a.map_index AND r.attempt_id = a.attempt_id
{lock}"""
_PUT_XCOM = upsert(_XCOM)
_PUT_RENDERED = upsert(_RENDERED)
_RUN_NO = select(_RUN.c.id, _RUN.c.logical_date).where(
    _RUN.c.dag_id == bindparam("dag_id"), _RUN.c.run_id == bindparam("run_id")
)
_OF_INSTANCES = (
    select(_XCOM.c.task_id, _XCOM.c.map_index, _XCOM.c.value)
    .where(
        _XCOM.c.run_no == bindparam("run_no"), _XCOM.c.task_id == bindparam("task_id"), _XCOM.c.key == bindparam("key")
    )
    .order_by(_XCOM.c.map_index)
)
_RUNS_BEFORE = (
    select(_RUN.c.id)
    .where(
        _RUN.c.dag_id == bindparam("dag_id"),
        _RUN.c.sort_date < bindparam("at", type_=_RUN.c.sort_date.type),
        _RUN.c.logical_date.is_not(None),
    )
    .order_by(_RUN.c.sort_date.desc(), _RUN.c.id.desc())
    .limit(1)
)


class XComs(Database):
    def _current(self, connection: Connection, attempt_id: str) -> dict[str, Any]:
        """The key columns of the instance whose current attempt this is. In Postgres the row is locked until the
        commit. Raises StaleAttempt."""
        row = connection.execute(self._sql(_CURRENT), {"attempt_id": attempt_id}).first()
        if row is None:
            raise StaleAttempt(f"Attempt {attempt_id} is not current any more; its write was rejected.")
        return dict(row._mapping)

    def xcom_push(self, attempt_id: str, key: str, value: str, *, now: datetime) -> None:
        check_id(key, XCOM_KEY)
        with self._writing(nudge=False) as connection:
            ti = self._current(connection, attempt_id)
            connection.execute(_PUT_XCOM, {**ti, "key": key, "value": value, "attempt_id": attempt_id, "at": utc(now)})

    def xcom_get(
        self, run: RunKey, task_ids: Sequence[str], key: str, *, map_index: int | None = None, prior_dates: bool = False
    ) -> list[tuple[TaskKey, str]]:
        query = _OF_INSTANCES if map_index is None else _OF_INSTANCES.where(_XCOM.c.map_index == map_index)
        values: list[tuple[TaskKey, str]] = []
        with self._reading(one_snapshot=True) as connection:
            run_row = connection.execute(_RUN_NO, {"dag_id": run.dag_id, "run_id": run.run_id}).first()
            if run_row is None:
                return []
            for task_id in task_ids:
                xcom = {"task_id": task_id, "key": key}
                rows = connection.execute(query, {"run_no": run_row.id, **xcom}).all()
                if not rows and prior_dates and run_row.logical_date is not None:
                    rows = self._prior(connection, run.dag_id, run_row.logical_date, xcom, map_index, query)
                values += [(TaskKey(row.task_id, row.map_index), row.value) for row in rows]
        return values

    def _prior(
        self,
        connection: Connection,
        dag_id: str,
        at: datetime,
        xcom: dict[str, str],
        map_index: int | None,
        query: Any,
    ) -> Sequence[Any]:
        has_xcom = and_(
            _XCOM.c.run_no == _RUN.c.id,
            _XCOM.c.task_id == bindparam("task_id"),
            _XCOM.c.key == bindparam("key"),
            or_(bindparam("any_index") == 1, _XCOM.c.map_index == bindparam("map_index")),
        )
        index = {"any_index": int(map_index is None), "map_index": -1 if map_index is None else map_index}
        latest = _RUNS_BEFORE.where(select(_XCOM.c.run_no).where(has_xcom).exists())
        run_no = connection.execute(latest, {"dag_id": dag_id, "at": at, **xcom, **index}).scalar()
        return connection.execute(query, {"run_no": run_no, **xcom}).all() if run_no is not None else []

    def xcoms(self, run: RunKey, key: TaskKey | None = None) -> list[tuple[TaskKey, str, str]]:
        query = (
            select(_XCOM.c.task_id, _XCOM.c.map_index, _XCOM.c.key, _XCOM.c.value)
            .join(_RUN, _RUN.c.id == _XCOM.c.run_no)
            .where(_RUN.c.dag_id == run.dag_id, _RUN.c.run_id == run.run_id)
            .order_by(_XCOM.c.task_id, _XCOM.c.map_index, _XCOM.c.key)
        )
        if key is not None:
            query = query.where(_XCOM.c.task_id == key.task_id, _XCOM.c.map_index == key.map_index)
        with self._reading() as connection:
            rows = connection.execute(query)
            return [(TaskKey(task_id, index), xcom_key, value) for task_id, index, xcom_key, value in rows]

    def put_rendered(self, attempt_id: str, fields: Mapping[str, Any]) -> None:
        with self._writing(nudge=False) as connection:
            ti = self._current(connection, attempt_id)
            connection.execute(_PUT_RENDERED, {**ti, "fields": dict(fields)})

    def rendered(self, run: RunKey, key: TaskKey) -> Mapping[str, Any] | None:
        query = (
            select(_RENDERED.c.fields)
            .join(_RUN, _RUN.c.id == _RENDERED.c.run_no)
            .where(
                _RUN.c.dag_id == run.dag_id,
                _RUN.c.run_id == run.run_id,
                _RENDERED.c.task_id == key.task_id,
                _RENDERED.c.map_index == key.map_index,
            )
        )
        with self._reading() as connection:
            fields: Mapping[str, Any] | None = connection.execute(query).scalar()
        return fields
