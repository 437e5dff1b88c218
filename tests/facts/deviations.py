"""Where nbflow differs from the observed Airflow on purpose: the kind of case, and why.

A deviation is a rule on the fields of a case, never a list of ids: cases that nobody has seen yet are judged by the
same rule. ``instead`` (where it can be said) gives the answer that nbflow is held to in Airflow's place; without it
the case is not run. Deviations are counted apart from what passed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

Case = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Deviation:
    """One kind of case that nbflow answers differently."""

    table: str
    kind: str
    """A short name, printed with the count."""
    reason: str
    applies: Callable[[Case], bool]
    instead: Callable[[Case], Any] | None = None
    """case -> what nbflow must answer; None: the case is not run."""


def _empty_and_later(case: Case) -> bool:
    """A cron schedule's interval that is empty and lies after the trigger (EventsTimetable may mean the next event)."""
    interval = case["expected"]
    if not isinstance(case["schedule"], str) or not isinstance(interval, dict) or "data_interval_end" not in interval:
        return False
    start, end = (datetime.fromisoformat(interval[f"data_interval_{name}"]) for name in ("start", "end"))
    return start == end > datetime.fromisoformat(case["run_after"])


deviations: tuple[Deviation, ...] = (
    Deviation(
        table="timetables",
        kind="DST anomaly of Airflow",
        reason="Around a change of the clocks Airflow's data intervals leave a gap, or the schedule stops with an "
        "internal error (the table marks both). nbflow's intervals stay contiguous and the schedule goes on.",
        applies=lambda case: bool(case.get("anomaly")),
    ),
    Deviation(
        table="manual_intervals",
        kind="empty interval in the future",
        reason="Triggered within the hour that the clocks skip, Airflow takes the fire time that was moved behind the "
        "gap for a past one and returns an empty interval that lies after the trigger. nbflow returns the last "
        "interval that is complete.",
        applies=_empty_and_later,
    ),
)


def deviation_for(table: str, case: Case) -> Deviation | None:
    """The first deviation whose rule fits the case, or None."""
    return next((rule for rule in deviations if rule.table == table and rule.applies(case)), None)
