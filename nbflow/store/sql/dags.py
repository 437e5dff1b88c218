"""DAGs, their versions, and import errors."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from sqlalchemy import Row, bindparam, delete, func, insert, select, text, update

from nbflow.errors import UnreadableRow
from nbflow.store.base import DagImportError, DagLimits, DagRow, DagVersion
from nbflow.store.json_text import clean_text, dump_json
from nbflow.store.plan_effects import utc
from nbflow.store.sql import tables as t
from nbflow.store.sql.jobs_leases_audit import Jobs
from nbflow.store.sql.upsert import upsert
from nbflow.store.value_checks import check_spec
from nbflow.store.version_rows import dag_row, read_spec, unscheduled_row, update_stored, with_digest

_DAG, _VERSION, _ERROR = t.dag, t.dag_version, t.import_error

_HAS_ERRORS = select(_ERROR.c.id).where(_ERROR.c.fileloc == _DAG.c.fileloc).exists()
_DAGS = select(_DAG, _HAS_ERRORS.label("has_import_errors"))
_BY_ID = _DAGS.where(_DAG.c.dag_id == bindparam("this"))
_DUE = (
    _DAGS.where(text(t.SCHEDULABLE), _DAG.c.next_run_after <= bindparam("now", type_=_DAG.c.next_run_after.type))
).order_by(_DAG.c.next_run_after, _DAG.c.dag_id)
_NEXT_DUE = select(_DAG.c.next_run_after).where(text(t.SCHEDULABLE)).order_by(_DAG.c.next_run_after).limit(1)
_NEXT_DUE_AFTER = _NEXT_DUE.where(_DAG.c.next_run_after > bindparam("after", type_=_DAG.c.next_run_after.type))
_VERSIONS = select(_VERSION).where(_VERSION.c.dag_id == bindparam("this")).order_by(_VERSION.c.number)
_FOLLOWED = _VERSIONS.where(
    _VERSION.c.number
    == func.coalesce(
        select(_DAG.c.version).where(_DAG.c.dag_id == bindparam("this")).scalar_subquery(),
        select(func.max(_VERSION.c.number)).where(_VERSION.c.dag_id == bindparam("this")).scalar_subquery(),
    )
)
_UNSCHEDULED = f"""
SELECT {", ".join(f"v.{column.name}" for column in _VERSION.c)}
FROM {{keys}} AS k CROSS JOIN dag_version AS v
WHERE v.dag_id = k.a AND v.number = (SELECT max(number) FROM dag_version WHERE dag_id = k.a)
AND NOT EXISTS (SELECT 1 FROM dag WHERE dag_id = k.a)
ORDER BY v.dag_id
"""
_LIMITS = """
SELECT v.dag_id, v.digest, d.paused
FROM {keys} AS k CROSS JOIN dag_version AS v LEFT JOIN dag AS d ON d.dag_id = v.dag_id
WHERE v.dag_id = k.a AND v.number = COALESCE(d.version, (SELECT max(number) FROM dag_version WHERE dag_id = k.a))
"""
_PUT_DAG = upsert(_DAG)
_SET_NEXT = (
    update(_DAG)
    .where(_DAG.c.dag_id == bindparam("this"))
    .values(
        {
            name: bindparam(name)
            for name in ("next_run_after", "next_logical_date", "next_interval_start", "next_interval_end")
        }
    )
)


class Dags(Jobs):
    def register(self, version: DagVersion, *, now: datetime, paused: bool, activate: bool = True) -> DagVersion:
        now = utc(now)
        check_spec(version.spec)
        parsed = with_digest(version)
        dag_id = version.dag_id
        if parsed.spec.schedule.get("kind") != "custom":  # the stored version may hold more runs of a custom timetable
            self._cache_spec(dag_id, parsed.digest, parsed.spec)
        with self._writing() as connection:
            self._dialect.lock_name(connection, f"dag {dag_id}")
            query = _VERSIONS.where(_VERSION.c.digest == parsed.digest)
            row = connection.execute(query, {"this": dag_id}).first()
            if row is None:
                highest = select(func.max(_VERSION.c.number)).where(_VERSION.c.dag_id == dag_id)
                stored = replace(parsed, number=(connection.execute(highest).scalar() or 0) + 1, created_at=now)
                connection.execute(insert(_VERSION), _version_values(stored))
            else:
                stored = self._as_version(row)
                if activate:
                    before, stored = stored, update_stored(stored, parsed)
                    values: dict[str, Any] = {"origin": stored.origin, "fileloc": stored.fileloc, "cell": stored.cell}
                    if stored.spec != before.spec:
                        values["spec"] = stored.spec.to_dict()
                    this = (_VERSION.c.dag_id == dag_id, _VERSION.c.number == stored.number)
                    connection.execute(update(_VERSION).where(*this).values(values))
            if activate:
                old = connection.execute(_BY_ID, {"this": dag_id}).first()
                dag = dag_row(stored, _as_dag(old) if old else None, paused=paused, now=now)
                connection.execute(_PUT_DAG, _dag_values(dag))
        return stored

    def _as_version(self, row: Row[Any]) -> DagVersion:
        spec = self._specs.get((row.dag_id, row.digest))
        # The stored runs of a custom timetable change under the same digest, possibly written by another process.
        if spec is None or ("runs" in spec.schedule and spec.schedule != row.spec["schedule"]):
            spec = read_spec(row.dag_id, row.spec)
        values = dict(row._mapping)
        return DagVersion(**{**values, "spec": spec})

    def version(self, dag_id: str, number: int | None = None) -> DagVersion | None:
        query = _FOLLOWED if number is None else _VERSIONS.where(_VERSION.c.number == number)
        with self._reading() as connection:
            row = connection.execute(query, {"this": dag_id}).first()
        return self._as_version(row) if row else None

    def versions(self, dag_id: str) -> list[DagVersion]:
        with self._reading() as connection:
            return [self._as_version(row) for row in connection.execute(_VERSIONS, {"this": dag_id})]

    def dag(self, dag_id: str) -> DagRow | None:
        with self._reading() as connection:
            row = connection.execute(_BY_ID, {"this": dag_id}).first()
        return _as_dag(row) if row else None

    def dags(self, *, include_stale: bool = False) -> list[DagRow]:
        query = _DAGS.order_by(_DAG.c.dag_id)
        with self._reading() as connection:
            rows = connection.execute(query if include_stale else query.where(~_DAG.c.stale)).all()
        return [_as_dag(row) for row in rows]

    def dag_limits(self, dag_ids: Iterable[str]) -> Mapping[str, DagLimits]:
        keys = dump_json([[dag_id] for dag_id in dag_ids])
        with self._reading() as connection:
            rows = connection.execute(self._sql(_LIMITS), {"keys": keys}).all()
            limits = {}
            for row in rows:
                with contextlib.suppress(UnreadableRow):  # the creation of its runs logs it
                    spec = self._spec(connection, row.dag_id, row.digest)
                    limits[row.dag_id] = DagLimits(bool(row.paused), spec.max_active_runs)
        return limits

    def unscheduled_dags(self, dag_ids: Iterable[str]) -> list[DagRow]:
        keys = dump_json([[dag_id] for dag_id in dict.fromkeys(dag_ids)])
        with self._reading() as connection:
            rows = connection.execute(self._sql(_UNSCHEDULED, *_VERSION.c), {"keys": keys}).all()
        return [unscheduled_row(self._as_version(row)) for row in rows]

    def set_paused(self, dag_id: str, paused: bool, *, actor: str, now: datetime) -> bool:
        with self._writing() as connection:
            query = update(_DAG).where(_DAG.c.dag_id == dag_id).values(paused=paused)
            exists = connection.execute(query).rowcount == 1
            if exists:
                self._write_audit(connection, "pause" if paused else "unpause", actor, now, {"dag_id": dag_id})
        return exists

    def set_stale(self, dag_ids: Iterable[str], stale: bool, *, now: datetime) -> None:
        rows = [{"this": dag_id, "is_stale": stale, "at": utc(now)} for dag_id in dag_ids]
        if not rows:
            return
        values: dict[str, Any] = {"stale": bindparam("is_stale"), "last_parsed_at": bindparam("at")}
        with self._writing() as connection:
            connection.execute(update(_DAG).where(_DAG.c.dag_id == bindparam("this")).values(values), rows)

    def set_next_run(
        self,
        dag_id: str,
        *,
        run_after: datetime | None,
        logical_date: datetime | None = None,
        interval: tuple[datetime, datetime] | None = None,
    ) -> None:
        start, end = interval or (None, None)
        times = {"next_run_after": run_after, "next_logical_date": logical_date}
        with self._writing(nudge=False, count_change=True) as connection:
            connection.execute(
                _SET_NEXT, {"this": dag_id, **times, "next_interval_start": start, "next_interval_end": end}
            )

    def due_dags(self, now: datetime) -> list[DagRow]:
        with self._reading() as connection:
            return [_as_dag(row) for row in connection.execute(_DUE, {"now": now})]

    def next_due(self, *, after: datetime | None = None) -> datetime | None:
        query, values = (_NEXT_DUE, {}) if after is None else (_NEXT_DUE_AFTER, {"after": after})
        with self._reading() as connection:
            due: datetime | None = connection.execute(query, values).scalar()
        return due

    def put_import_errors(self, fileloc: str, errors: Sequence[DagImportError], *, now: datetime) -> None:
        with self._writing() as connection:
            connection.execute(delete(_ERROR).where(_ERROR.c.fileloc == fileloc))
            if errors:
                connection.execute(insert(_ERROR), [_error_values(fileloc, error, utc(now)) for error in errors])

    def import_errors(self) -> list[DagImportError]:
        names = ("fileloc", "line", "error", "detail", "cell", "at")
        query = select(*(_ERROR.c[name] for name in names)).order_by(_ERROR.c.fileloc, _ERROR.c.id)
        with self._reading() as connection:
            return [DagImportError(**row._mapping) for row in connection.execute(query)]


def _as_dag(row: Row[Any]) -> DagRow:
    values = dict(row._mapping)
    start, end = values.pop("next_interval_start"), values.pop("next_interval_end")
    values["tags"], values["owners"] = tuple(values["tags"]), tuple(values["owners"])
    values["has_import_errors"] = bool(values["has_import_errors"])
    return DagRow(**values, next_interval=(start, end) if start is not None else None)


def _dag_values(row: DagRow) -> dict[str, Any]:
    start, end = row.next_interval or (None, None)
    special: dict[str, Any] = {"next_interval_start": start, "next_interval_end": end}
    special |= {"tags": list(row.tags), "owners": list(row.owners)}
    return {column.name: special.get(column.name, getattr(row, column.name, None)) for column in _DAG.c}


def _version_values(version: DagVersion) -> dict[str, Any]:
    values = {column.name: getattr(version, column.name) for column in _VERSION.c}
    return {**values, "spec": version.spec.to_dict(), "files": dict(version.files)}


def _error_values(fileloc: str, error: DagImportError, now: datetime) -> dict[str, Any]:
    return {
        "fileloc": fileloc,
        "line": error.line,
        "error": clean_text(error.error),
        "detail": clean_text(error.detail),
        "cell": error.cell,
        "at": error.at or now,
    }
