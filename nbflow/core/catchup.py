"""Which runs a timetable requires now.

:func:`plan_new_runs` computes, from a timetable, the DAG's last scheduled run and the current time, the runs to create
and the time of the next change. Runs are created in order when they are due (``run_after``), while fewer than
``max_active_runs`` are unfinished. With catchup off, the timetable skips all missed runs except the latest. If a due
run is not created, the result holds the reason.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from .timetables import DagRunInfo, DataInterval, TimeRestriction, Timetable
from .wait_reasons import WaitReason


def require_start_date(start: datetime | None, catchup: bool) -> None:
    """Raise ValueError for a DAG with catchup and without a start date."""
    if catchup and start is None:
        raise ValueError("start_date is required when catchup=True: give the DAG a start_date, or leave catchup off.")


@dataclass(frozen=True, slots=True, kw_only=True)
class NewRuns:
    """Result of :func:`plan_new_runs`."""

    runs: tuple[DagRunInfo, ...] = ()
    """Runs to create now, in this order."""
    next: DagRunInfo | None = None
    """The first run that is not created now, due or not. The caller stores it, see ``announced``."""
    wake_at: datetime | None = None
    """When to plan again. None: only an event changes the result (a run ends, the DAG is edited), or nothing does."""
    wait: WaitReason | None = None
    """Why ``next`` is due and not created."""


def plan_new_runs(
    timetable: Timetable,
    *,
    start: datetime | None,
    end: datetime | None,
    catchup: bool,
    last: DataInterval | None,
    active_runs: int,
    max_active_runs: int,
    paused: bool,
    now: datetime,
    announced: DagRunInfo | None = None,
) -> NewRuns:
    """The runs to create at ``now``.

    ``last`` is the interval of the latest scheduled run (not manual, not of a backfill). ``active_runs`` is the number
    of unfinished runs, without those of backfills. ``announced`` is the ``next`` of an earlier result: if the timetable
    no longer returns a time that has just passed (EventsTimetable without catchup, before its first run), the announced
    run is created all the same.
    """
    restriction = TimeRestriction(start, end, catchup)
    info = timetable.next_run(last, restriction, now)
    # Not while paused: a run that is missed then is not created later, and the result's `next` replaces it.
    if announced is not None and not paused and _was_missed(announced, info, last, restriction, now):
        info = announced
    if paused:
        due = info is not None and info.run_after <= now
        return NewRuns(next=info, wait=WaitReason(kind="paused", text="The DAG is paused.") if due else None)

    limit = min(max_active_runs, timetable.active_runs_limit or max_active_runs)
    runs: list[DagRunInfo] = []
    while info is not None and info.run_after <= now and active_runs + len(runs) < limit:
        runs.append(info)
        info = timetable.next_run(info, restriction, now)
    if info is None:
        return NewRuns(runs=tuple(runs))
    if info.run_after > now:
        return NewRuns(runs=tuple(runs), next=info, wake_at=info.run_after)
    active = active_runs + len(runs)
    wait = WaitReason(
        kind="max_active_runs",
        text=f"max_active_runs={limit} is reached: {active} {'run is' if active == 1 else 'runs are'} unfinished.",
        detail={"limit": limit, "active": active},
    )
    return NewRuns(runs=tuple(runs), next=info, wait=wait)


def _was_missed(
    announced: DagRunInfo,
    info: DagRunInfo | None,
    last: DataInterval | None,
    restriction: TimeRestriction,
    now: datetime,
) -> bool:
    """Whether an announced run is due and was missed: it was not created, no newer run is due, and the DAG's dates
    allow it."""
    superseded = info is not None and info.run_after <= now
    created = last is not None and announced.data_interval <= last
    allowed = restriction.allows(announced.logical_date) and (
        restriction.earliest is None or announced.run_after >= restriction.earliest
    )
    return announced.run_after <= now and not superseded and not created and allowed
