"""Run ids: run type and ``run_after``, as in ``scheduled__2024-01-02T00:00:00+00:00``.

This is Airflow 3's form; Airflow 2 used the logical date instead of ``run_after``.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

_SEPARATOR = "__"

LAST = "last"
"""Stands for the DAG's newest run wherever a run id is accepted."""
WHICH_RUN = "a run id, a logical date, or last (the run that was created or cleared most recently)"
"""Help text of arguments that take a run."""


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
    """The id of a run. Times keep their UTC offset.

    A run without a logical date needs ``token`` (a few random letters and digits from the caller) to distinguish it
    from others of the same time; raises ValueError without one.
    """
    stem = f"{RunType(run_type)}{_SEPARATOR}{run_after.isoformat()}"
    if logical_date is not None:
        return stem
    if not token:
        raise ValueError("A run without a logical date needs a token that makes its run id unique.")
    return f"{stem}_{token}"


def run_type_of(run_id: str) -> RunType:
    """The run type in an id. An id of another form was chosen by a user: a manual run."""
    prefix, separator, _ = run_id.partition(_SEPARATOR)
    return next((run_type for run_type in RunType if separator and run_type.value == prefix), RunType.MANUAL)
