"""Making the runs that are due: the timetable's answer (:func:`nbflow.core.due_runs.plan_due_runs`), turned into rows.

A DAG is asked when its ``next_run_after`` has come. One that is held back by ``max_active_runs`` is not asked again
until the number of its unfinished runs or its version is another, so that a long catch-up costs nothing while it waits.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from datetime import datetime, timedelta

from nbflow.config import Settings
from nbflow.core.due_runs import DueRuns, RunHistory, next_runs, plan_due_runs
from nbflow.core.plan import earliest
from nbflow.core.run_ids import RunType
from nbflow.core.scheduler_loop import ActiveRuns
from nbflow.core.snapshot import Run, Snapshot
from nbflow.core.spec import DagSpec
from nbflow.core.states import RunState
from nbflow.core.timetables import DagRunInfo, DataInterval, timetable_from_spec
from nbflow.errors import DagRunAlreadyExists, NbflowError, StalePlan, StoreError
from nbflow.store.base import DagRow, DagVersion, Store

log = logging.getLogger(__name__)

AHEAD = timedelta(hours=1)
"""How far it is looked ahead for the next DAG that is due. The scheduler wakes much oftener of its own."""
MOST_BACKFILLED = 100_000
"""Runs of backfills after the last scheduled run that are looked at: more than a century of days."""
RECHECK = timedelta(hours=1)
"""A DAG whose timetable cannot be asked is tried again so much later; a new version of it is tried at once."""


class RunMaker:
    """Makes scheduled runs in a store."""

    def __init__(self, store: Store, settings: Settings, *, actor: str) -> None:
        self.store, self.settings, self.actor = store, settings, actor
        self.held: dict[str, tuple[int, int]] = {}
        """DAGs that max_active_runs holds back -> their version and the number of their unfinished runs then. Runs end
        by other hands too (a user marks one), so it is the number that tells, and not our own decisions."""

    def next_due(self, now: datetime) -> datetime | None:
        """When a DAG is due next. One that is due already and held back is due again only by an event."""
        if not self.settings.scheduler.use_job_schedule:
            return None
        at = self.store.next_due()
        if at is None or at > now:
            return at
        # Behind the one that is held back, others come due.
        soon = [row.next_run_after for row in self.store.due_dags(now + AHEAD)]
        return earliest(*(at for at in soon if at is not None and at > now))

    def make_due(self, active: ActiveRuns, now: datetime) -> list[Run]:
        """Make every run that is due and allowed; returns them."""
        if not self.settings.scheduler.use_job_schedule:
            return []
        made: list[Run] = []
        for row in self.store.due_dags(now):
            if row.dag_id in self.held and self.held[row.dag_id] == (row.version, len(_unfinished(row, active))):
                continue
            self.held.pop(row.dag_id, None)
            version = self.store.version(row.dag_id)
            if version is not None:
                made += self._make(row, version, active, now)
        return made

    def pause_after_failures(self, ended: Iterable[Snapshot], now: datetime) -> None:
        """Pause DAGs whose latest runs all failed, as many as their ``max_consecutive_failed_dag_runs`` says."""
        for snapshot in ended:
            dag_id, most = snapshot.run.dag_id, snapshot.dag.max_consecutive_failed_dag_runs
            if most <= 0:
                continue
            latest = self.store.runs(dag_id, limit=most)
            if len(latest) == most and all(run.state is RunState.FAILED for run in latest):
                log.warning("DAG %s is paused: its last %d runs failed (max_consecutive_failed_dag_runs)", dag_id, most)
                self.store.set_paused(dag_id, True, actor=self.actor, now=now)

    def _make(self, row: DagRow, version: DagVersion, active: ActiveRuns, now: datetime) -> list[Run]:
        try:
            due = self._ask(row, version, active, now)
        except StoreError:
            raise
        except Exception as fault:  # whatever is wrong with one DAG's timetable must not keep the others waiting
            known = isinstance(fault, NbflowError)
            log.warning("DAG %s is not scheduled: %s", row.dag_id, fault, exc_info=None if known else fault)
            self.store.set_next_run(row.dag_id, run_after=now + RECHECK)
            return []
        if due.plan:
            try:
                self.store.apply([due.plan], actor=self.actor)
            except (DagRunAlreadyExists, StalePlan) as raced:
                log.info("runs of %s were made by another: %s", row.dag_id, raced)
                return []  # asked again at the next turn, with those runs in sight
        if due.wait is not None:
            self.held[row.dag_id] = (row.version, len(_unfinished(row, active)) + len(due.runs))
        after = due.next
        self.store.set_next_run(
            row.dag_id,
            run_after=after.run_after if after else None,
            logical_date=after.logical_date if after else None,
            interval=(after.data_interval.start, after.data_interval.end) if after else None,
        )
        return list(due.runs)

    def _ask(self, row: DagRow, version: DagVersion, active: ActiveRuns, now: datetime) -> DueRuns:
        announced = None
        if row.next_interval is not None and row.next_run_after is not None:
            announced = DagRunInfo(row.next_run_after, DataInterval(*row.next_interval))
        return plan_due_runs(
            version.spec,
            timetable_from_spec(version.spec.schedule),
            run_history(self.store, row.dag_id, active_runs=len(_unfinished(row, active))),
            now,
            version=version.number,
            announced=announced,
        )


def run_history(store: Store, dag_id: str, *, active_runs: int = 0) -> RunHistory:
    """What a DAG's existing runs mean for those to come."""
    latest = store.latest_run(dag_id)
    last = None
    if latest is not None and latest.data_interval_start is not None and latest.data_interval_end is not None:
        last = DataInterval(latest.data_interval_start, latest.data_interval_end)
    backfilled = store.runs(dag_id, run_type=RunType.BACKFILL, since=last and last.start, limit=MOST_BACKFILLED)
    taken = {
        run.logical_date: DataInterval(run.data_interval_start, run.data_interval_end)
        for run in backfilled
        if run.logical_date and run.data_interval_start and run.data_interval_end
    }
    return RunHistory(last=last, backfilled=taken, active_runs=active_runs)


def runs_to_come(store: Store, dag: DagSpec, now: datetime, limit: int) -> tuple[DagRunInfo, ...]:
    """The next runs that the schedule of a DAG makes, by what the scheduler itself goes by. ``dag``: a spec that the
    metastore need not have, such as one of a file."""
    return next_runs(dag, timetable_from_spec(dag.schedule), run_history(store, dag.dag_id), now, limit)


def _unfinished(row: DagRow, active: ActiveRuns) -> list[Run]:
    """Runs of the DAG that count against its max_active_runs."""
    runs = (snapshot.run for snapshot in active.snapshots.values())
    return [run for run in runs if run.dag_id == row.dag_id and run.backfill_id is None]
