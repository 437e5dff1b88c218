"""Creating the scheduled runs that are due, from the plans of :func:`nbflow.core.due_runs.plan_due_runs`.

A DAG's timetable is evaluated when its ``next_run_after`` has come. A DAG that has reached ``max_active_runs`` is not
evaluated again until the number of its unfinished runs or its version changes, so that a long catch-up costs nothing
while it waits.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime, timedelta

from nbflow.config import Settings
from nbflow.core.due_runs import DueRuns, RunHistory, next_runs, plan_due_runs
from nbflow.core.plan import merged
from nbflow.core.run_changes import new_run
from nbflow.core.run_ids import RunType
from nbflow.core.snapshot import Run, Snapshot
from nbflow.core.spec import DagSpec
from nbflow.core.states import RunState
from nbflow.core.timetables import DagRunInfo, DataInterval, timetable_from_spec
from nbflow.errors import DagRunAlreadyExists, NbflowError, StalePlan, StoreError
from nbflow.store.base import DagRow, DagVersion, Store

log = logging.getLogger(__name__)

MAX_BACKFILLED = 100_000
"""Maximum number of backfill runs that are read after the last scheduled run: daily runs of more than two centuries."""
RECHECK = timedelta(hours=1)
"""Delay after which a timetable that failed is evaluated again; a new version is evaluated at once."""


class RunCreator:
    """Creates scheduled runs in a store."""

    def __init__(self, store: Store, settings: Settings, *, actor: str) -> None:
        self.store, self.settings, self.actor = store, settings, actor
        self.held: dict[str, tuple[int, int]] = {}
        """DAGs that have reached max_active_runs -> their version and number of unfinished runs at that time. The
        number is compared, because runs also end by other causes than this scheduler's decisions (a user marks one)."""

    def next_due(self, now: datetime) -> datetime | None:
        """Time at which a DAG is due next, without DAGs that are due already and wait for max_active_runs."""
        if not self.settings.scheduler.use_job_schedule:
            return None
        at = self.store.next_due()
        if at is None or at > now:
            return at
        return self.store.next_due(after=now)  # the earliest DAG waits for max_active_runs; others come due after it

    def create_due_runs(self, active: Iterable[Run], now: datetime) -> list[Run]:
        """Create every run that is due and allowed; returns them. ``active``: the unfinished runs, as far as they are
        known."""
        if not self.settings.scheduler.use_job_schedule:
            return []
        created: list[Run] = []
        active = list(active)
        for row in self.store.due_dags(now):
            if row.dag_id in self.held and self.held[row.dag_id] == (row.version, _unfinished(row.dag_id, active)):
                continue
            self.held.pop(row.dag_id, None)
            created += self._create(row, now)
        return created

    def pause_after_failures(self, ended: Iterable[Snapshot], now: datetime) -> None:
        """Pause DAGs whose latest ``max_consecutive_failed_dag_runs`` runs have all failed."""
        for snapshot in ended:
            dag_id, limit = snapshot.run.dag_id, snapshot.dag.max_consecutive_failed_dag_runs
            if limit <= 0:
                continue
            latest = self.store.runs(dag_id, limit=limit)
            if len(latest) == limit and all(run.state is RunState.FAILED for run in latest):
                log.warning(
                    "DAG %s is paused: its last %d runs failed (max_consecutive_failed_dag_runs).", dag_id, limit
                )
                self.store.set_paused(dag_id, True, actor=self.actor, now=now)

    def _create(self, row: DagRow, now: datetime) -> list[Run]:
        """Create the due runs of one DAG. The lock lets one scheduler count and create its runs at a time."""
        try:
            version = self.store.version(row.dag_id)
            if version is None:
                return []
            with self.store.lock(f"create runs of {row.dag_id}"):
                unfinished = _unfinished(row.dag_id, self.store.active_runs(row.dag_id))
                due = self._with_free_ids(self._plan(row, version, unfinished, now), version, now)
                if due.plan:
                    self.store.apply([due.plan], actor=self.actor)
        except (StoreError, AssertionError):
            raise
        except (DagRunAlreadyExists, StalePlan) as error:
            log.info("Another process has created runs of DAG %s: %s", row.dag_id, error)
            return []  # planned again in the next loop, with those runs
        except Exception as error:  # an error of one DAG's timetable, spec or values must not stop the others
            expected = isinstance(error, NbflowError)
            log.warning("DAG %s cannot be scheduled: %s", row.dag_id, error, exc_info=None if expected else error)
            self.store.set_next_run(row.dag_id, run_after=now + RECHECK)
            return []
        if due.wait is not None:
            self.held[row.dag_id] = (row.version, unfinished + len(due.runs))
        following = due.next
        self.store.set_next_run(
            row.dag_id,
            run_after=following.run_after if following else None,
            logical_date=following.logical_date if following else None,
            interval=(following.data_interval.start, following.data_interval.end) if following else None,
        )
        return list(due.runs)

    def _with_free_ids(self, due: DueRuns, version: DagVersion, now: datetime) -> DueRuns:
        """The due runs without the ids that manual runs have (of a metastore of an older nbflow, which allowed that):
        otherwise they would never be created."""
        keys = [run.key for run in due.runs]
        taken = self.store.run_states(keys) if keys else {}
        if not taken:
            return due
        runs = []
        for run in due.runs:
            other = self.store.run(run.key) if run.key in taken else None
            is_manual = other is not None and other.run_type == RunType.MANUAL
            runs.append(replace(run, run_id=f"{run.run_id}_{version.number}") if is_manual else run)
        return replace(due, runs=tuple(runs), plan=merged(new_run(version.spec, run, now) for run in runs))

    def _plan(self, row: DagRow, version: DagVersion, unfinished: int, now: datetime) -> DueRuns:
        announced = None
        if row.next_interval is not None and row.next_run_after is not None:
            announced = DagRunInfo(row.next_run_after, DataInterval(*row.next_interval))
        return plan_due_runs(
            version.spec,
            timetable_from_spec(version.spec.schedule),
            run_history(self.store, row.dag_id, active_runs=unfinished),
            now,
            version=version.number,
            announced=announced,
        )


def run_history(store: Store, dag_id: str, *, active_runs: int = 0) -> RunHistory:
    """The existing runs of a DAG that determine its next runs."""
    latest = store.latest_run(dag_id)
    last = None
    if latest is not None and latest.data_interval_start is not None and latest.data_interval_end is not None:
        last = DataInterval(latest.data_interval_start, latest.data_interval_end)
    backfilled = store.runs(dag_id, run_type=RunType.BACKFILL, since=last and last.start, limit=MAX_BACKFILLED)
    intervals = {
        run.logical_date: DataInterval(run.data_interval_start, run.data_interval_end)
        for run in backfilled
        if run.logical_date and run.data_interval_start and run.data_interval_end
    }
    return RunHistory(last=last, backfilled=intervals, active_runs=active_runs)


def upcoming_runs(store: Store, dag: DagSpec, now: datetime, limit: int) -> tuple[DagRunInfo, ...]:
    """The next scheduled runs of a DAG, computed as the scheduler does. ``dag`` need not be stored in the metastore."""
    return next_runs(dag, timetable_from_spec(dag.schedule), run_history(store, dag.dag_id), now, limit)


def _unfinished(dag_id: str, runs: Iterable[Run]) -> int:
    """Number of unfinished runs of the DAG that count towards its max_active_runs."""
    return sum(run.dag_id == dag_id and run.backfill_id is None and not run.is_inline for run in runs)
