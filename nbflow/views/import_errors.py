"""The import errors of DAG files."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, ClassVar

from nbflow.store.base import Store
from nbflow.views.base import Query, View

if TYPE_CHECKING:
    from nbflow.config import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportErrorsQuery(Query["ImportErrorsView"]):
    NAME: ClassVar[str] = "import_errors"


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportErrorRow:
    """One import error. ``error`` is one line; ``detail`` is the user's part of the traceback."""

    fileloc: str
    error: str
    line: int | None = None
    cell: str | None = None
    detail: str = ""
    at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportErrorsView(View):
    """By file, in the order of the processor's report."""

    NAME: ClassVar[str] = "import_errors"

    rows: tuple[ImportErrorRow, ...] = ()


def fetch(store: Store, query: ImportErrorsQuery, now: datetime, settings: Settings) -> ImportErrorsView:
    return ImportErrorsView(
        rows=tuple(
            ImportErrorRow(
                fileloc=error.fileloc,
                error=error.error,
                line=error.line,
                cell=error.cell,
                detail=error.detail,
                at=error.at,
            )
            for error in store.import_errors()
        )
    )
