"""Callback requests: stored with the transition that causes them, executed afterwards."""

from __future__ import annotations

from datetime import datetime, timedelta

from nbflow.store.base import PendingCallback
from nbflow.store.memory.tables import Tables, locked
from nbflow.store.plan_effects import utc


class Callbacks(Tables):
    @locked
    def claim_callbacks(self, *, owner: str, lease: timedelta, now: datetime, limit: int = 50) -> list[PendingCallback]:
        claimed: list[PendingCallback] = []
        for callback_id in sorted(self._callbacks):
            current = self._callback_leases.get(callback_id)
            if len(claimed) < limit and (current is None or current[1] < now):
                self._callback_leases[callback_id] = (owner, utc(now) + lease)
                claimed.append(self._callbacks[callback_id])
        return claimed

    @locked
    def finish_callback(self, callback_id: int, *, error: str | None, now: datetime) -> None:
        utc(now)
        self._callbacks.pop(callback_id, None)
        self._callback_leases.pop(callback_id, None)
