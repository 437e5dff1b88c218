"""Which runs the schedule makes now, as one plan: a timetable's answer joined with what the DAG has already.

Each due interval gets exactly one run that is not manual. Where a backfill has made that run before its time came, the
schedule passes on to the next interval instead of waiting for ever on one that can not be made twice.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from itertools import takewhile

from nbflow.core.actions import new_run
from nbflow.core.new_runs import plan_new_runs
from nbflow.core.plan import Plan, merged
from nbflow.core.reasons import WaitReason
from nbflow.core.run_ids import RunType, make_run_id
from nbflow.core.snapshot import Run
from nbflow.core.spec import DagSpec
from nbflow.core.timetables import DagRunInfo, DataInterval, TimeRestriction, Timetable


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """What the question needs to know of a DAG's runs."""

    last: DataInterval | None = None
    """Interval of the latest *scheduled* run."""
    taken: Mapping[datetime, DataInterval] = field(default_factory=dict)
    """Logical dates after that one which have a run of a backfill, with its interval. It may be longer or shorter than
    the schedule's: the backfill may have been made before the schedule was changed."""
    active_runs: int = 0
    """Unfinished runs, those of backfills left out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Due:
    """What :func:`plan_due` answers."""

    plan: Plan = field(default_factory=Plan)
    made: tuple[Run, ...] = ()
    next: DagRunInfo | None = None
    wake_at: datetime | None = None
    """When to ask again. None: the schedule has ended, or only the end of a run changes the answer (see ``wait``)."""
    wait: WaitReason | None = None


def plan_due(
    dag: DagSpec,
    timetable: Timetable,
    history: History,
    now: datetime,
    *,
    version: int,
    paused: bool = False,
    announced: DagRunInfo | None = None,
) -> Due:
    """The runs that ``dag`` gets at ``now``, under its newest version. ``announced``: the last answer's ``next``."""
    answer = plan_new_runs(
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
    free = list(takewhile(lambda info: info.logical_date not in history.taken, answer.runs))
    runs = [scheduled_run(dag, info, version) for info in free]
    plan = merged(new_run(dag, run, now) for run in runs)
    if len(free) < len(answer.runs):  # the next look goes on after the run that is there already
        return Due(plan=plan, made=tuple(runs), next=answer.runs[len(free)], wake_at=now)
    return Due(plan=plan, made=tuple(runs), next=answer.next, wake_at=answer.wake_at, wait=answer.wait)


def _last(dag: DagSpec, timetable: Timetable, history: History, now: datetime) -> DataInterval | None:
    """The interval to go on from: that of the last scheduled run, and past those that a backfill has taken since."""
    last, restriction = history.last, TimeRestriction(dag.start_date, dag.end_date, dag.catchup)
    for _ in history.taken:
        info = timetable.next_run(last, restriction, now)
        if info is None or info.run_after > now or info.logical_date not in history.taken:
            break
        last = history.taken[info.logical_date]
    return last


def scheduled_run(dag: DagSpec, info: DagRunInfo, version: int) -> Run:
    """The run that a timetable asks for."""
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
