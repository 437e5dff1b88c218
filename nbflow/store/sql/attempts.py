"""Attempts and their leases; triggers of deferred task instances."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Row, bindparam, select, text, update

from nbflow.core.snapshot import RunKey, TaskKey
from nbflow.core.states import TaskState
from nbflow.store.base import Attempt
from nbflow.store.json_text import dump_json
from nbflow.store.plan_effects import utc
from nbflow.store.sql import tables as t
from nbflow.store.sql.database import Database
from nbflow.store.sql.rows import ATTEMPT_COLUMNS, as_attempt

_A, _RUN, _TI = t.attempt, t.dag_run, t.task_instance

# Every attempt has a run. The join is an outer join because SQLite's query planner might otherwise scan the runs first.
_ATTEMPTS = select(*ATTEMPT_COLUMNS).join(_RUN, _RUN.c.id == _A.c.run_no, isouter=True)
_BY_ID = _ATTEMPTS.where(_A.c.attempt_id == bindparam("attempt_id"))
_OF_RUN = _ATTEMPTS.where(_RUN.c.dag_id == bindparam("dag_id"), _RUN.c.run_id == bindparam("run_id")).order_by(_A.c.id)
_LIVE = _ATTEMPTS.where(text(f"attempt.{t.LIVE_ATTEMPT}"))
_EXPIRED = _LIVE.where(_A.c.lease_until < bindparam("now", type_=_A.c.lease_until.type)).order_by(
    _A.c.lease_until, _A.c.attempt_id
)
_IS_CURRENT_ATTEMPT = (
    _TI.c.run_no == _A.c.run_no,
    _TI.c.task_id == _A.c.task_id,
    _TI.c.map_index == _A.c.map_index,
    _TI.c.attempt_id == _A.c.attempt_id,
)
_CLAIM = (
    update(_A)
    .where(
        _A.c.attempt_id == bindparam("this"),
        _A.c.state == "queued",
        select(_TI.c.run_no).where(*_IS_CURRENT_ATTEMPT, _TI.c.state == "queued").exists(),
    )
    .values(
        state="running",
        owner=bindparam("owner"),
        hostname=bindparam("hostname"),
        log_path=bindparam("log_path"),
        lease_until=bindparam("lease_until"),
        started_at=bindparam("started_at"),
    )
)
_SET_PROCESS = (
    update(_A)
    .where(_A.c.attempt_id == bindparam("this"))
    .values(pid=bindparam("pid"), pid_started=bindparam("pid_started"))
)
_CURRENT_STATES = """
SELECT a.attempt_id, ti.state
FROM {keys} AS k CROSS JOIN attempt AS a CROSS JOIN task_instance AS ti
WHERE a.attempt_id = k.a AND a.state <> 'ended' AND ti.run_no = a.run_no
  AND ti.task_id = a.task_id AND ti.map_index = a.map_index AND ti.attempt_id = a.attempt_id
"""
_OWNED = """
SELECT r.id, r.attempt_id, ti.state
FROM {keys} AS k CROSS JOIN attempt AS r LEFT JOIN task_instance AS ti ON ti.run_no = r.run_no
  AND ti.task_id = r.task_id AND ti.map_index = r.map_index AND ti.attempt_id = r.attempt_id
WHERE r.attempt_id = k.a AND r.owner = :owner AND r.state = 'running'
ORDER BY r.id{lock}
"""
_RENEW = update(_A).where(_A.c.id == bindparam("row_id")).values(lease_until=bindparam("until"))
_TRIGGERS = (
    select(t.task_trigger, _RUN.c.dag_id, _RUN.c.run_id)
    .join(_RUN, _RUN.c.id == t.task_trigger.c.run_no, isouter=True)
    .order_by(t.task_trigger.c.id)
)

_WORKING = (TaskState.QUEUED, TaskState.RUNNING)


class Attempts(Database):
    def attempt(self, attempt_id: str) -> Attempt | None:
        with self._reading() as connection:
            row = connection.execute(_BY_ID, {"attempt_id": attempt_id}).first()
        return as_attempt(row) if row else None

    def attempts(self, run: RunKey, key: TaskKey | None = None) -> list[Attempt]:
        query = _OF_RUN
        if key is not None:
            query = query.where(_A.c.task_id == key.task_id, _A.c.map_index == key.map_index)
        with self._reading() as connection:
            rows = connection.execute(query, {"dag_id": run.dag_id, "run_id": run.run_id}).all()
        return [as_attempt(row) for row in rows]

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
        values = {"owner": owner, "hostname": hostname, "lease_until": utc(now) + lease, "started_at": now}
        claim = self._compiled("claim", _CLAIM).write([{"this": attempt_id, "log_path": log_path, **values}])
        with self._autocommit() as connection:
            return self._dialect.send(connection, [claim]) == [1]

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
        values = {"owner": owner, "hostname": hostname, "lease_until": utc(now) + lease, "started_at": now}
        ordered = sorted(attempt_ids)
        claim = self._compiled("claim", _CLAIM)
        writes = [
            claim.write([{"this": attempt_id, "log_path": log_paths.get(attempt_id), **values}])
            for attempt_id in ordered
        ]
        if not writes:
            return frozenset()
        with self._autocommit() if len(writes) == 1 else self._writing(nudge=False) as connection:
            rowcounts = self._dialect.send(connection, writes)
        return {attempt_id for attempt_id, count in zip(ordered, rowcounts, strict=True) if count}

    def set_process(self, attempt_id: str, *, pid: int, pid_started: float | None) -> None:
        with self._autocommit() as connection:
            connection.execute(_SET_PROCESS, {"this": attempt_id, "pid": pid, "pid_started": pid_started})

    def heartbeat(self, attempt_ids: Sequence[str], *, owner: str, lease: timedelta, now: datetime) -> list[str]:
        if not attempt_ids:
            return []
        until = utc(now) + lease
        keys = dump_json([[attempt_id] for attempt_id in dict.fromkeys(attempt_ids)])
        with self._writing(nudge=False) as connection:
            owned = connection.execute(self._sql(_OWNED), {"keys": keys, "owner": owner}).all()
            if owned:
                connection.execute(_RENEW, [{"row_id": row.id, "until": until} for row in owned])
        valid = {row.attempt_id for row in owned if row.state in _WORKING}
        return [attempt_id for attempt_id in attempt_ids if attempt_id not in valid]

    def current_states(self, attempt_ids: Iterable[str]) -> Mapping[str, TaskState]:
        keys = dump_json([[attempt_id] for attempt_id in attempt_ids])
        with self._reading() as connection:
            rows = connection.execute(self._sql(_CURRENT_STATES), {"keys": keys}).all()
        return {attempt_id: TaskState(state) for attempt_id, state in rows}

    def expired(self, now: datetime) -> list[Attempt]:
        with self._reading() as connection:
            return [as_attempt(row) for row in connection.execute(_EXPIRED, {"now": now})]

    def live_attempts(self, owner: str | None = None) -> list[Attempt]:
        with self._reading() as connection:
            live = [as_attempt(row) for row in connection.execute(_LIVE)]
        live.sort(key=lambda attempt: (attempt.queued_at is None, attempt.queued_at, attempt.attempt_id))
        return [attempt for attempt in live if owner is None or attempt.owner == owner]

    def triggers(self) -> list[Mapping[str, Any]]:
        with self._reading() as connection:
            return [_as_trigger(row) for row in connection.execute(_TRIGGERS)]


def _as_trigger(row: Row[Any]) -> Mapping[str, Any]:
    return {
        "trigger_id": row.id,
        "attempt_id": row.attempt_id,
        "run": RunKey(row.dag_id, row.run_id),
        "key": TaskKey(row.task_id, row.map_index),
        "trigger": row.trigger,
        "timeout_at": row.timeout_at,
    }
