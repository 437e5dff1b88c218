"""Attempts and their leases; triggers of deferred task instances."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from nbflow.core.snapshot import RunKey, TaskKey
from nbflow.core.states import TaskState
from nbflow.store.base import Attempt
from nbflow.store.memory.tables import Tables, locked
from nbflow.store.plan_effects import utc


class Attempts(Tables):
    @locked
    def attempt(self, attempt_id: str) -> Attempt | None:
        return self._attempts.get(attempt_id)

    @locked
    def attempts(self, run: RunKey, key: TaskKey | None = None) -> list[Attempt]:
        attempts = (self._attempts[attempt_id] for attempt_id in self._attempts_of.get(run, ()))
        return [attempt for attempt in attempts if key is None or attempt.key == key]

    def _state_of(self, attempt: Attempt) -> TaskState | None:
        """State of the attempt's task instance; None if the attempt is not the instance's current one."""
        ti = self._instances.get(attempt.run, {}).get(attempt.key)
        return ti.state if ti and ti.attempt_id == attempt.attempt_id else None

    @locked
    def claim(
        self,
        attempt_id: str,
        *,
        owner: str,
        hostname: str,
        lease: timedelta,
        now: datetime,
        log_path: str | None = None,
    ) -> bool:
        attempt = self._attempts.get(attempt_id)
        if attempt is None or attempt.state != "queued" or self._state_of(attempt) is not TaskState.QUEUED:
            return False
        now = utc(now)
        self._put_attempt(
            replace(
                attempt,
                state="running",
                owner=owner,
                hostname=hostname,
                log_path=log_path,
                lease_until=now + lease,
                started_at=now,
            )
        )
        return True

    @locked
    def claim_all(
        self,
        attempt_ids: Sequence[str],
        *,
        owner: str,
        hostname: str,
        lease: timedelta,
        now: datetime,
        log_paths: Mapping[str, str] = {},
    ) -> Set[str]:
        common: Any = {"owner": owner, "hostname": hostname, "lease": lease, "now": now}
        return {
            attempt_id
            for attempt_id in attempt_ids
            if self.claim(attempt_id, **common, log_path=log_paths.get(attempt_id))
        }

    @locked
    def set_process(self, attempt_id: str, *, pid: int, pid_started: float | None) -> None:
        attempt = self._attempts.get(attempt_id)
        if attempt is not None:
            self._attempts[attempt_id] = replace(attempt, pid=pid, pid_started=pid_started)

    @locked
    def heartbeat(self, attempt_ids: Sequence[str], *, owner: str, lease: timedelta, now: datetime) -> list[str]:
        kill: list[str] = []
        for attempt_id in attempt_ids:
            attempt = self._attempts.get(attempt_id)
            if attempt is None or attempt.owner != owner or attempt.state != "running":
                kill.append(attempt_id)
                continue
            self._put_attempt(replace(attempt, lease_until=utc(now) + lease))
            if self._state_of(attempt) not in (TaskState.QUEUED, TaskState.RUNNING):
                kill.append(attempt_id)
        return kill

    @locked
    def current_states(self, attempt_ids: Iterable[str]) -> Mapping[str, TaskState]:
        attempts = (self._attempts[attempt_id] for attempt_id in attempt_ids if attempt_id in self._attempts)
        states = ((attempt.attempt_id, self._state_of(attempt)) for attempt in attempts if attempt.state != "ended")
        return {attempt_id: state for attempt_id, state in states if state is not None}

    @locked
    def expired(self, now: datetime) -> list[Attempt]:
        live = (self._attempts[attempt_id] for attempt_id in self._live_attempts)
        expired = [attempt for attempt in live if attempt.lease_until is not None and attempt.lease_until < now]
        return sorted(expired, key=lambda attempt: (attempt.lease_until, attempt.attempt_id))

    @locked
    def live_attempts(self, owner: str | None = None) -> list[Attempt]:
        live = (self._attempts[attempt_id] for attempt_id in self._live_attempts)
        return sorted(
            (attempt for attempt in live if owner is None or attempt.owner == owner),
            key=lambda attempt: (attempt.queued_at is None, attempt.queued_at, attempt.attempt_id),
        )

    @locked
    def triggers(self) -> list[Mapping[str, Any]]:
        return [self._triggers[trigger_id] for trigger_id in sorted(self._triggers)]
