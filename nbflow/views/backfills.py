"""All backfills, each with its progress."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, ClassVar

from nbflow.core.snapshot import RunKey
from nbflow.core.states import RUN_FINISHED, RunState
from nbflow.store.base import BackfillRow, Store
from nbflow.views.base import Query, Row, View

if TYPE_CHECKING:
    from nbflow.config import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class BackfillsQuery(Query["BackfillsView"]):
    """``active``: only running and paused backfills."""

    NAME: ClassVar[str] = "backfills"

    dag_id: str | None = None
    active: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class BackfillListRow(Row):
    """``state`` is running, paused, completed or cancelled. ``done``: number of its ``runs`` that have ended;
    ``failed``: number of these that failed."""

    backfill_id: int
    dag_id: str
    state: str
    from_date: datetime
    to_date: datetime
    runs: int
    done: int
    failed: int
    created_at: datetime | None = None

    @property
    def id(self) -> str:
        return str(self.backfill_id)


@dataclass(frozen=True, slots=True, kw_only=True)
class BackfillsView(View):
    """Oldest first."""

    NAME: ClassVar[str] = "backfills"

    rows: tuple[BackfillListRow, ...] = ()


def fetch(store: Store, query: BackfillsQuery, now: datetime, settings: Settings) -> BackfillsView:
    backfills = store.backfills(query.dag_id, active=query.active)
    keys = {row.backfill_id: run_keys(row) for row in backfills}
    states = store.run_states([key for row_keys in keys.values() for key in row_keys]) if backfills else {}
    return BackfillsView(rows=tuple(_row(row, keys[row.backfill_id], states) for row in backfills))


def run_keys(row: BackfillRow) -> list[RunKey]:
    """The runs that a backfill creates or runs again."""
    return [RunKey(row.dag_id, entry["run_id"]) for entry in row.entries if entry.get("run_id")]


def _row(row: BackfillRow, keys: list[RunKey], states: Mapping[RunKey, RunState]) -> BackfillListRow:
    run_states = [states[key] for key in keys if key in states]
    return BackfillListRow(
        backfill_id=row.backfill_id,
        dag_id=row.dag_id,
        state=row.state,
        from_date=row.from_date,
        to_date=row.to_date,
        runs=len(keys),
        done=sum(state in RUN_FINISHED for state in run_states),
        failed=sum(state is RunState.FAILED for state in run_states),
        created_at=row.created_at,
    )
