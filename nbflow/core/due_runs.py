"""The plan for a DAG's due runs: the runs that its timetable requires, without those that exist already.

Each due interval gets exactly one run that is not manual. If a backfill has created that run before it was due, the
schedule continues with the next interval.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from itertools import takewhile

from nbflow.core.catchup import plan_new_runs
from nbflow.core.plan import Plan, merged
from nbflow.core.run_changes import new_run
from nbflow.core.run_ids import RunType, make_run_id
from nbflow.core.snapshot import Run
from nbflow.core.spec import DagSpec
from nbflow.core.timetables import DagRunInfo, DataInterval, TimeRestriction, Timetable
from nbflow.core.wait_reasons import WaitReason


@dataclass(frozen=True, slots=True, kw_only=True)
class RunHistory:
    """A DAG's existing runs, as far as its due runs depend on them."""

    last: DataInterval | None = None
    """Interval of the latest *scheduled* run."""
    backfilled: Mapping[datetime, DataInterval] = field(default_factory=dict)
    """Logical dates after ``last`` that have a run of a backfill -> its interval. The interval may differ from the
    schedule's, if the schedule was changed after the backfill."""
    active_runs: int = 0
    """Number of unfinished runs, without those of backfills."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DueRuns:
    """Result of :func:`plan_due_runs`."""

    plan: Plan = field(default_factory=Plan)
    runs: tuple[Run, ...] = ()
    """The runs that the plan creates."""
    next: DagRunInfo | None = None
    """The first run that is not created now."""
    wake_at: datetime | None = None
    """When to plan again. None: the schedule has ended, or only the end of a run changes the result (see ``wait``)."""
    wait: WaitReason | None = None


def plan_due_runs(
    dag: DagSpec,
    timetable: Timetable,
    history: RunHistory,
    now: datetime,
    *,
    version: int,
    paused: bool = False,
    announced: DagRunInfo | None = None,
) -> DueRuns:
    """The runs to create for ``dag`` at ``now``, with DAG version ``version``. ``announced``: the last result's
    ``next``."""
    new_runs = plan_new_runs(
        timetable,
        start=dag.start_date,
        end=dag.end_date,
        catchup=dag.catchup,
        last=_last(dag, timetable, history, now),
        active_runs=history.active_runs,
        max_active_runs=dag.max_active_runs,
        paused=paused,
        now=now,
        announced=announced,
    )
    missing = list(takewhile(lambda info: info.logical_date not in history.backfilled, new_runs.runs))
    runs = [scheduled_run(dag, info, version) for info in missing]
    plan = merged(new_run(dag, run, now) for run in runs)
    if len(missing) < len(new_runs.runs):  # the next call continues after the backfill's run
        return DueRuns(plan=plan, runs=tuple(runs), next=new_runs.runs[len(missing)], wake_at=now)
    return DueRuns(plan=plan, runs=tuple(runs), next=new_runs.next, wake_at=new_runs.wake_at, wait=new_runs.wait)


def _last(dag: DagSpec, timetable: Timetable, history: RunHistory, now: datetime) -> DataInterval | None:
    """The interval to continue from: that of the last scheduled run, or of backfilled runs that follow it directly."""
    last, restriction = history.last, TimeRestriction(dag.start_date, dag.end_date, dag.catchup)
    for _ in history.backfilled:
        info = timetable.next_run(last, restriction, now)
        if info is None or info.run_after > now or info.logical_date not in history.backfilled:
            break
        last = history.backfilled[info.logical_date]
    return last


def next_runs(
    dag: DagSpec, timetable: Timetable, history: RunHistory, now: datetime, limit: int
) -> tuple[DagRunInfo, ...]:
    """The next ``limit`` runs that the schedule creates after ``now``, including those that are due. Intervals that
    already have a run are omitted. Returns fewer runs if the schedule ends, or if it continues only after a run has
    ended (@continuous)."""
    if not timetable.can_be_scheduled:
        return ()
    upcoming: list[DagRunInfo] = []
    restriction = TimeRestriction(dag.start_date, dag.end_date, dag.catchup)
    last: DagRunInfo | DataInterval | None = _last(dag, timetable, history, now)
    while len(upcoming) < limit:
        info = timetable.next_run(last, restriction, now)
        if info is None or (isinstance(last, DagRunInfo) and info.run_after <= last.run_after):
            break
        last = info
        if info.logical_date not in history.backfilled:
            upcoming.append(info)
    return tuple(upcoming)


def scheduled_run(dag: DagSpec, info: DagRunInfo, version: int) -> Run:
    """The scheduled run for a timetable's ``info``."""
    start, end = info.data_interval
    return Run(
        dag_id=dag.dag_id,
        run_id=make_run_id(RunType.SCHEDULED, logical_date=info.logical_date, run_after=info.run_after),
        run_type=RunType.SCHEDULED.value,
        logical_date=info.logical_date,
        data_interval_start=start,
        data_interval_end=end,
        run_after=info.run_after,
        version=version,
    )
