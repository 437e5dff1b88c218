"""The variables in the metastore, without their values, since any value may be a secret."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, ClassVar

from nbflow.store.base import Store
from nbflow.views.base import Query, Row, View

if TYPE_CHECKING:
    from nbflow.config import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class VariablesQuery(Query["VariablesView"]):
    NAME: ClassVar[str] = "variables"


@dataclass(frozen=True, slots=True, kw_only=True)
class VariableRow(Row):
    key: str
    description: str | None = None

    @property
    def id(self) -> str:
        return self.key


@dataclass(frozen=True, slots=True, kw_only=True)
class VariablesView(View):
    """By key."""

    NAME: ClassVar[str] = "variables"

    rows: tuple[VariableRow, ...] = ()


def fetch(store: Store, query: VariablesQuery, now: datetime, settings: Settings) -> VariablesView:
    return VariablesView(
        rows=tuple(VariableRow(key=key, description=description) for key, _, description in store.variables())
    )
