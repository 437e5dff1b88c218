"""Backfills: their rows, and the plan that creates their runs."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import Row, insert, select, text, update

from nbflow.core.plan import Plan
from nbflow.core.snapshot import RunKey
from nbflow.store.base import BackfillRow
from nbflow.store.plan_effects import assign_backfill
from nbflow.store.sql import tables as t
from nbflow.store.sql.apply import PlanWriter

_B = t.backfill


class Backfills(PlanWriter):
    def add_backfill(
        self, backfill: BackfillRow, plan: Plan, *, actor: str, expect: Mapping[RunKey, int] | None = None
    ) -> int:
        values = {column.name: getattr(backfill, column.name) for column in _B.c if column.name != "id"}
        values |= {"conf": dict(backfill.conf), "entries": list(backfill.entries)}
        with self._writing(nudge=False) as connection:
            backfill_id: int = connection.execute(insert(_B).returning(_B.c.id), values).scalar_one()
            last = [*self._count_change(), *self._dialect.nudge]
            self._apply(connection, [assign_backfill(plan, backfill_id)], actor, expect, last)
        self._count_own_commit()
        return backfill_id

    def backfill(self, backfill_id: int) -> BackfillRow | None:
        with self._reading() as connection:
            row = connection.execute(select(_B).where(_B.c.id == backfill_id)).first()
        return _as_backfill(row) if row else None

    def backfills(self, dag_id: str | None = None, *, active: bool = False) -> list[BackfillRow]:
        query = select(_B).order_by(_B.c.id)
        if dag_id is not None:
            query = query.where(_B.c.dag_id == dag_id)
        if active:
            query = query.where(text(t.UNFINISHED_BACKFILL))
        with self._reading() as connection:
            return [_as_backfill(row) for row in connection.execute(query)]

    def update_backfill(
        self,
        backfill_id: int,
        *,
        paused: bool | None = None,
        completed_at: datetime | None = None,
        cancelled: bool = False,
    ) -> None:
        values: dict[str, Any] = {}
        if paused is not None:
            values["paused"] = paused
        if completed_at is not None:
            values["completed_at"] = completed_at
        if cancelled:
            values["cancelled"] = True
        if values:
            with self._writing() as connection:
                connection.execute(update(_B).where(_B.c.id == backfill_id).values(values))


def _as_backfill(row: Row[Any]) -> BackfillRow:
    values = dict(row._mapping)
    return BackfillRow(backfill_id=values.pop("id"), **{**values, "entries": tuple(values["entries"])})
