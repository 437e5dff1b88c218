"""Run ids: what kind of run it is, and when it became due: ``scheduled__2024-01-02T00:00:00+00:00``.

Airflow 3's form, which names ``run_after``; Airflow 2 named the logical date.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

_SEPARATOR = "__"

LAST = "last"
"""Names the newest run of a DAG wherever a run is named."""
WHICH_RUN = "a run id, a logical date, or last: the run that was made (or cleared to run again) last"
"""For the help of whatever takes a run."""


class RunType(StrEnum):
    """Why a run exists."""

    SCHEDULED = "scheduled"
    MANUAL = "manual"
    BACKFILL = "backfill"
    OPERATOR_TRIGGERED = "operator_triggered"
    ASSET_MATERIALIZATION = "asset_materialization"


def make_run_id(
    run_type: str | RunType, *, logical_date: datetime | None, run_after: datetime, token: str | None = None
) -> str:
    """The id of a run. Times appear with the offset they come with.

    A run without a logical date is told from others of the same moment by ``token`` (a few letters and digits, drawn by
    the caller, since nothing here is random); raises ValueError without one.
    """
    stem = f"{RunType(run_type)}{_SEPARATOR}{run_after.isoformat()}"
    if logical_date is not None:
        return stem
    if not token:
        raise ValueError("A run without a logical date needs a token that makes its run id unique.")
    return f"{stem}_{token}"


def run_type_of(run_id: str) -> RunType:
    """The type that an id was made for. An id of another form was given by hand: a manual run."""
    prefix, separator, _ = run_id.partition(_SEPARATOR)
    return next((kind for kind in RunType if separator and kind.value == prefix), RunType.MANUAL)
