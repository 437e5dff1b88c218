"""Backfills: their rows, and the plan that creates their runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime

from nbflow.core.plan import Plan
from nbflow.core.snapshot import RunKey
from nbflow.store.base import BackfillRow
from nbflow.store.json_text import as_stored
from nbflow.store.memory.runs_and_task_instances import Runs
from nbflow.store.memory.tables import locked
from nbflow.store.plan_effects import assign_backfill, touched_runs, utc


class Backfills(Runs):
    def add_backfill(
        self, backfill: BackfillRow, plan: Plan, *, actor: str, expect: Mapping[RunKey, int] | None = None
    ) -> int:
        with self._rows_locked({*touched_runs([plan]), *(expect or ())}):
            return self._add_backfill(backfill, plan, actor, expect)

    @locked
    def _add_backfill(self, backfill: BackfillRow, plan: Plan, actor: str, expect: Mapping[RunKey, int] | None) -> int:
        backfill_id = self._counters["backfill"] + 1
        row = replace(
            backfill,
            backfill_id=backfill_id,
            from_date=utc(backfill.from_date),
            to_date=utc(backfill.to_date),
            conf=as_stored(backfill.conf),
            entries=tuple(as_stored(list(backfill.entries))),
        )
        self._apply([assign_backfill(plan, backfill_id)], actor, expect)
        self._backfills[self._next("backfill")] = row
        self._change(nudge=False)  # _apply() has sent the nudge
        return backfill_id

    @locked
    def backfill(self, backfill_id: int) -> BackfillRow | None:
        return self._backfills.get(backfill_id)

    @locked
    def backfills(self, dag_id: str | None = None, *, active: bool = False) -> list[BackfillRow]:
        return [
            row
            for _, row in sorted(self._backfills.items())
            if dag_id in (None, row.dag_id) and not (active and row.completed_at is not None)
        ]

    @locked
    def update_backfill(
        self,
        backfill_id: int,
        *,
        paused: bool | None = None,
        completed_at: datetime | None = None,
        cancelled: bool = False,
    ) -> None:
        row = self._backfills.get(backfill_id)
        if row is None:
            return
        self._backfills[backfill_id] = replace(
            row,
            paused=row.paused if paused is None else paused,
            completed_at=utc(completed_at) if completed_at else row.completed_at,
            cancelled=row.cancelled or cancelled,
        )
        self._change()
