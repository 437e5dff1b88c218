"""Processes and their heartbeats (jobs), named leases, and the audit log."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, bindparam, delete, insert, select

from nbflow.store.base import Job
from nbflow.store.plan_effects import is_start_or_end, utc
from nbflow.store.sql import tables as t
from nbflow.store.sql.database import Database
from nbflow.store.sql.upsert import upsert

_JOB, _AUDIT, _SINGLETON = t.job, t.audit, t.singleton

_PUT_JOB = upsert(_JOB)
_TAKE = upsert(_SINGLETON, where="singleton.job_id = excluded.job_id OR singleton.lease_until < :now").bindparams(
    bindparam("now", type_=_SINGLETON.c.lease_until.type)
)


class Jobs(Database):
    def put_job(self, job: Job) -> None:
        values = {column.name: getattr(job, column.name) for column in _JOB.c}
        # A heartbeat is one statement in autocommit; the start or end of a process is a change that views show.
        writing = self._writing(nudge=False, count_change=True) if is_start_or_end(job) else self._autocommit()
        with writing as connection:
            connection.execute(_PUT_JOB, {**values, "detail": dict(job.detail)})

    def jobs(self, kind: str | None = None, *, alive_since: datetime | None = None, limit: int = 100) -> list[Job]:
        query = select(_JOB).order_by(_JOB.c.heartbeat_at.desc(), _JOB.c.job_id).limit(limit)
        if kind is not None:
            query = query.where(_JOB.c.kind == kind)
        if alive_since is not None:
            query = query.where(_JOB.c.heartbeat_at >= alive_since, _JOB.c.ended_at.is_(None))
        with self._reading() as connection:
            return [Job(**row._mapping) for row in connection.execute(query)]

    def take_singleton(self, name: str, job_id: str, *, lease: timedelta, now: datetime) -> bool:
        values = {"name": name, "job_id": job_id, "lease_until": utc(now) + lease, "now": now}
        with self._autocommit() as connection:
            return connection.execute(_TAKE, values).rowcount == 1

    def release_singleton(self, name: str, job_id: str) -> None:
        query = delete(_SINGLETON).where(_SINGLETON.c.name == name, _SINGLETON.c.job_id == job_id)
        with self._autocommit() as connection:
            connection.execute(query)

    def audit(self, action: str, *, actor: str, now: datetime, detail: Mapping[str, Any], ok: bool = True) -> None:
        with self._autocommit() as connection:
            self._write_audit(connection, action, actor, now, detail, ok)

    def _write_audit(
        self, connection: Connection, action: str, actor: str, at: datetime, detail: Mapping[str, Any], ok: bool = True
    ) -> None:
        values = {"at": at, "actor": actor, "action": action, "ok": ok, "detail": dict(detail)}
        connection.execute(insert(_AUDIT), values)

    def audit_log(self, *, limit: int = 100) -> list[Mapping[str, Any]]:
        query = select(_AUDIT).order_by(_AUDIT.c.seq.desc()).limit(limit)
        with self._reading() as connection:
            return [dict(row._mapping) for row in connection.execute(query)]
