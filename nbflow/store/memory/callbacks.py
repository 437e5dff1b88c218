"""Callback intents: stored with the transition that caused them, carried out afterwards."""

from __future__ import annotations

from datetime import datetime, timedelta

from nbflow.store.base import PendingCallback
from nbflow.store.memory.tables import Tables, locked
from nbflow.store.plan_effects import utc


class Callbacks(Tables):
    @locked
    def claim_callbacks(self, *, owner: str, lease: timedelta, now: datetime, limit: int = 50) -> list[PendingCallback]:
        claimed: list[PendingCallback] = []
        for number in sorted(self._callbacks):
            holder = self._callback_leases.get(number)
            if len(claimed) < limit and (holder is None or holder[1] < now):
                self._callback_leases[number] = (owner, utc(now) + lease)
                claimed.append(self._callbacks[number])
        return claimed

    @locked
    def finish_callback(self, callback_id: int, *, error: str | None, now: datetime) -> None:
        utc(now)
        self._callbacks.pop(callback_id, None)
        self._callback_leases.pop(callback_id, None)
