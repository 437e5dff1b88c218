"""The pools, each with its occupied slots."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, ClassVar

from nbflow.store.base import Store
from nbflow.views.base import Query, Row, View

if TYPE_CHECKING:
    from nbflow.config import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolsQuery(Query["PoolsView"]):
    NAME: ClassVar[str] = "pools"


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolRow(Row):
    """One pool. ``slots``: -1 means no limit. ``taken``: occupied slots."""

    pool: str
    slots: int
    description: str = ""
    include_deferred: bool = False
    taken: int = 0

    @property
    def id(self) -> str:
        return self.pool


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolsView(View):
    """By name."""

    NAME: ClassVar[str] = "pools"

    rows: tuple[PoolRow, ...] = ()


def fetch(store: Store, query: PoolsQuery, now: datetime, settings: Settings) -> PoolsView:
    taken = store.usage().pools
    return PoolsView(
        rows=tuple(
            PoolRow(
                pool=pool.name,
                slots=pool.slots,
                description=pool.description,
                include_deferred=pool.include_deferred,
                taken=taken.get(pool.name, 0),
            )
            for pool in store.pools()
        )
    )
