"""Which runs a DAG gets now.

:func:`plan_new_runs` is the scheduler's question at every pass: a DAG, the last run that came by itself, the present ->
the runs to make, and when to ask again. A run is made when it is due (``run_after``), in order, and only while fewer
than ``max_active_runs`` are unfinished; with catchup off the missed ones but the latest are left out (which is the
timetable's doing). Each answer carries its reason when something due is held back.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from .reasons import WaitReason
from .timetables import DagRunInfo, DataInterval, TimeRestriction, Timetable


def require_start_date(start: datetime | None, catchup: bool) -> None:
    """Raise ValueError for a DAG that must catch up, and does not say from when."""
    if catchup and start is None:
        raise ValueError("start_date is required when catchup=True: give the DAG a start_date, or leave catchup off.")


@dataclass(frozen=True, slots=True, kw_only=True)
class NewRuns:
    """What :func:`plan_new_runs` answers."""

    runs: tuple[DagRunInfo, ...] = ()
    """To be made now, in this order."""
    next: DagRunInfo | None = None
    """The first run that is not made now, due or not; worth storing, see ``announced``."""
    wake_at: datetime | None = None
    """When the answer changes by itself. None: only an event changes it (a run ends, the DAG is edited), or nothing."""
    wait: WaitReason | None = None
    """Why ``next`` is not made although it is due."""


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
    """The runs that are to be made at ``now``.

    ``last`` is the interval of the latest run that came by itself (scheduled, not manual and not of a backfill).
    ``active_runs`` counts the unfinished runs, those of backfills left out. ``announced`` is an earlier answer's
    ``next``: where the timetable, asked late, no longer names a moment that has just passed (EventsTimetable without
    catchup, before its first run), the announced run is made all the same.
    """
    restriction = TimeRestriction(start, end, catchup)
    info = timetable.next_run(last, restriction, now)
    # Not while paused: what passes then is not made up for, and the answer's `next` replaces the announcement.
    if announced is not None and not paused and _was_missed(announced, info, last, restriction, now):
        info = announced
    if paused:
        due = info is not None and info.run_after <= now
        return NewRuns(next=info, wait=WaitReason(kind="paused", text="the DAG is paused") if due else None)

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
        text=f"max_active_runs={limit} is reached: {active} {'run is' if active == 1 else 'runs are'} unfinished",
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
    """Whether an announced run came due unseen: nothing newer is due, it was not made, and the DAG still allows it."""
    superseded = info is not None and info.run_after <= now
    made = last is not None and announced.data_interval <= last
    allowed = restriction.allows(announced.logical_date) and (
        restriction.earliest is None or announced.run_after >= restriction.earliest
    )
    return announced.run_after <= now and not superseded and not made and allowed
