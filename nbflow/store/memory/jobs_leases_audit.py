"""Processes and their heartbeats (jobs), named leases, the audit log, and waiting for changes."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from nbflow.store.base import ChangeToken, Job
from nbflow.store.json_text import as_stored
from nbflow.store.memory.tables import Tables, locked
from nbflow.store.plan_effects import is_start_or_end, utc


class Jobs(Tables):
    def lock(self, name: str) -> AbstractContextManager[None]:
        return self.locks.held([("name", name)]) if self.shared else nullcontext()

    def end_stalled_transactions(self) -> int:
        return 0

    @locked
    def put_job(self, job: Job) -> None:
        self._jobs[job.job_id] = replace(
            job,
            started_at=utc(job.started_at),
            heartbeat_at=utc(job.heartbeat_at),
            ended_at=job.ended_at and utc(job.ended_at),
            detail=as_stored(job.detail),
        )
        if is_start_or_end(job):
            self._change(nudge=False)

    @locked
    def jobs(self, kind: str | None = None, *, alive_since: datetime | None = None, limit: int = 100) -> list[Job]:
        jobs = [
            job
            for job in self._jobs.values()
            if kind in (None, job.kind)
            and (alive_since is None or (job.ended_at is None and job.heartbeat_at >= alive_since))
        ]
        jobs.sort(key=lambda job: job.job_id)
        jobs.sort(key=lambda job: job.heartbeat_at, reverse=True)
        return jobs[:limit]

    @locked
    def take_singleton(self, name: str, job_id: str, *, lease: timedelta, now: datetime) -> bool:
        current = self._singletons.get(name)
        if current is not None and current[0] != job_id and current[1] >= now:
            return False
        self._singletons[name] = (job_id, utc(now) + lease)
        return True

    @locked
    def release_singleton(self, name: str, job_id: str) -> None:
        if self._singletons.get(name, ("",))[0] == job_id:
            del self._singletons[name]

    @locked
    def audit(self, action: str, *, actor: str, now: datetime, detail: Mapping[str, Any], ok: bool = True) -> None:
        self._write_audit(action, actor, utc(now), detail, ok)

    @locked
    def audit_log(self, *, limit: int = 100) -> list[Mapping[str, Any]]:
        return list(reversed(self._audit[-limit:])) if limit else []

    @locked
    def change_token(self) -> ChangeToken:
        return ChangeToken(foreign_commits=self._counts.commits - self._own_commits, own_commits=self._own_commits)

    def wait_for_change(self, token: ChangeToken, *, timeout: float) -> bool:
        with self._changed:
            return bool(self._changed.wait_for(lambda: self.change_token() != token, timeout))
