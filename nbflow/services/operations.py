"""The operations of users and tasks: trigger, clear, mark, pause, backfill, why.

An operation reads a snapshot, lets the core compute a plan and applies it; if another process has changed the run, it
starts again with a new snapshot. Commands, magics and web handlers parse their input, make one call here and show the
result.
"""

from __future__ import annotations

import shlex
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from nbflow.authoring.params import conf_as_json, params_of_run
from nbflow.clock import Clock
from nbflow.config import Settings
from nbflow.core import run_changes
from nbflow.core.backfill import BackfillEntry, BackfillPlan, ExistingRun, Reprocess, plan_backfill
from nbflow.core.identifiers import check_run_id
from nbflow.core.plan import ChangeVersion, Op, Plan, RunMove, advance, merged
from nbflow.core.run_ids import LAST, RunType, make_run_id
from nbflow.core.snapshot import INLINE, Run, RunKey, Snapshot, TaskKey
from nbflow.core.spec import DagSpec
from nbflow.core.states import RUN_FINISHED, Cause, RunCause, RunState, TaskState
from nbflow.core.timetables import RecordedTimetable, Timetable, as_utc, timetable_from_spec
from nbflow.core.wait_reasons import WaitReason
from nbflow.errors import (
    DagNotFound,
    DagRunAlreadyExists,
    DagRunNotFound,
    NbflowError,
    StalePlan,
    TaskInstanceNotFound,
)
from nbflow.services.date_parsing import parse_date
from nbflow.services.schedulers import is_process_running, running_schedulers
from nbflow.services.why import explain_run, explain_task
from nbflow.store.base import BackfillRow, DagVersion, Store
from nbflow.suggested_commands import SEE_DAGS, nearest, suggest

if TYPE_CHECKING:
    from nbflow.services.custom_timetable_runs import TimetableClient

APPLY_ATTEMPTS = 20
"""Maximum number of attempts while other processes change the same run: each stale plan means that the plan of another
process was applied."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Backfill:
    """A planned or created backfill. ``backfill_id`` is None for a dry run."""

    dag_id: str
    plan: BackfillPlan
    backfill_id: int | None = None


class Operations:
    """All operations. The history and the audit log record them under ``actor``."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        settings: Settings,
        *,
        actor: str = "user",
        timetable_client: Callable[[], TimetableClient] | None = None,
    ) -> None:
        """``timetable_client`` returns the client that evaluates custom timetables; without it, only their recorded
        runs are available."""
        self.store, self.clock, self.settings, self.actor, self.timetable_client = (
            store,
            clock,
            settings,
            actor,
            timetable_client,
        )

    # --- finding

    def version(self, dag_id: str, number: int | None = None) -> DagVersion:
        """A version of a DAG; by default the scheduled or newest version. Raises DagNotFound with the nearest name."""
        version = self.store.version(dag_id, number)
        if version is None:
            known = [row.dag_id for row in self.store.dags(include_stale=True)]
            missing = f"DAG {dag_id!r}" if number is None else f"version {number} of DAG {dag_id!r}"
            raise DagNotFound(f"There is no {missing}.", **nearest(dag_id, known, *SEE_DAGS))
        return version

    def check_exists(self, dag_id: str) -> None:
        """Raise DagNotFound with the nearest name unless the DAG exists. Its spec may be unreadable."""
        if self.store.dag(dag_id) is None:
            self.version(dag_id)

    def find_run(self, dag_id: str, which: str | datetime | None = None) -> Run:
        """A run by its run id or logical date; by default (or with "last") the newest run: the one that was created or
        cleared last, even if its logical date is in the past. Raises DagNotFound, DagRunNotFound."""
        self.check_exists(dag_id)
        if which is None:
            runs = self._newest_runs(dag_id)
        elif isinstance(which, datetime):
            runs = self.store.runs(dag_id, since=which, until=which, limit=1)
        else:
            run = self.store.run(RunKey(dag_id, which))
            runs = [run] if run is not None else self._runs_by_text(dag_id, which)
        if not runs:
            raise self._no_run(dag_id, which)
        return runs[0]

    def find_run_key(self, dag_id: str, which: str) -> RunKey:
        """Like :meth:`find_run` for a run that cannot be read: reads neither the row of the run whose id is given nor
        the DAG's spec. Raises DagRunNotFound."""
        key = RunKey(dag_id, which)
        if key in self.store.run_states([key]):
            return key
        runs = self._runs_by_text(dag_id, which)
        if not runs:
            raise DagRunNotFound(f"DAG {dag_id!r} has no run {which!r}.")
        return runs[0].key

    def _newest_runs(self, dag_id: str) -> list[Run]:
        return [*self.store.newest_runs([dag_id]).values()]

    def _runs_by_text(self, dag_id: str, text: str) -> list[Run]:
        if text == LAST:
            return self._newest_runs(dag_id)
        try:
            moment = parse_date(text)
        except ValueError:
            return []
        return self.store.runs(dag_id, since=moment, until=moment, limit=1)

    def _no_run(self, dag_id: str, which: str | datetime | None) -> DagRunNotFound:
        known = ", ".join(run.run_id for run in self.store.runs(dag_id, limit=3))
        missing = "no run yet" if not known or which in (None, LAST) else f"no run {which}"
        if known:
            return DagRunNotFound(f"DAG {dag_id!r} has {missing}.", hint=f"Its newest runs: {known}.")
        trigger = suggest("dags trigger", dag_id)
        return DagRunNotFound(
            f"DAG {dag_id!r} has {missing}.", hint=f"Start one with: {trigger}", suggestions=(trigger,)
        )

    def snapshot(self, run: RunKey) -> Snapshot:
        """The current snapshot of a run. Raises DagRunNotFound."""
        snapshot = self.store.snapshot(run)
        if snapshot is None:
            raise DagRunNotFound(f"DAG {run.dag_id!r} has no run {run.run_id!r}.")
        return snapshot

    def timetable(self, spec: DagSpec) -> Timetable:
        """The timetable of a stored DAG."""
        return timetable_from_spec(spec.schedule)

    # --- runs

    def trigger(
        self,
        dag_id: str,
        *,
        run_id: str | None = None,
        logical_date: datetime | None = None,
        conf: Mapping[str, Any] | None = None,
        run_type: str = RunType.MANUAL,
        version: int | None = None,
        note: str | None = None,
    ) -> Run:
        """Create a run. Its logical date is now by default; its data interval is the timetable's for a manual run.

        Raises DagNotFound, DagRunAlreadyExists, ParamValidationError, or NbflowError for a date in the future.
        """
        dag_version = self.version(dag_id, version)
        now = self.clock.now()
        if logical_date is not None and logical_date > now and not self.settings.scheduler.allow_trigger_in_future:
            raise NbflowError(
                f"The logical date {logical_date.isoformat()} is in the future.",
                hint="To allow it, set [scheduler] allow_trigger_in_future = true.",
            )
        values = check_conf(dag_version.spec, conf or {})
        moment = logical_date or now
        interval = self.timetable(dag_version.spec).manual_interval(moment)
        if run_id is None:
            run_id = make_run_id(run_type, logical_date=moment, run_after=moment, token=uuid.uuid4().hex[:8])
        check_run_id(run_id, run_type)
        if self.store.run(RunKey(dag_id, run_id)) is not None:
            raise DagRunAlreadyExists(
                f"DAG {dag_id!r} already has a run {run_id!r}.", hint="Use another run id, or clear that run."
            )
        run = Run(
            dag_id=dag_id,
            run_id=run_id,
            run_type=str(run_type),
            logical_date=moment,
            data_interval_start=interval.start,
            data_interval_end=interval.end,
            run_after=moment,
            conf=dict(values),
            version=dag_version.number,
            triggered_by=self.actor,
        )
        self.store.apply([run_changes.new_run(dag_version.spec, run, now)], actor=self.actor)
        self._audit("trigger", dag_id=dag_id, run_id=run_id)
        stored = self.store.run(run.key)
        assert stored is not None
        return stored

    def trigger_or_reset(
        self,
        dag_id: str,
        *,
        run_id: str | None = None,
        logical_date: datetime | None = None,
        conf: Mapping[str, Any] | None = None,
        reset: bool = False,
    ) -> Run:
        """Trigger a run for a task of another DAG. With ``reset``, a run that exists is cleared so that it runs
        again."""
        moment = logical_date or self.clock.now()
        run_id = run_id or make_run_id(RunType.MANUAL, logical_date=moment, run_after=moment)
        check_run_id(run_id, RunType.MANUAL)
        existing = self.store.run(RunKey(dag_id, run_id)) if reset else None
        if existing is None:
            return self.trigger(dag_id, run_id=run_id, logical_date=moment, conf=conf)
        self.clear(existing.key)
        return self.find_run(dag_id, run_id)

    def clear(
        self,
        run: RunKey,
        task_ids: Iterable[str] | None = None,
        *,
        upstream: bool = False,
        downstream: bool = False,
        only_failed: bool = False,
        only_running: bool = False,
        newest_version: bool = False,
        dry_run: bool = False,
    ) -> list[TaskKey]:
        """Clear tasks of a run so that they run again, with their setups and teardowns; returns the cleared instances.
        With ``newest_version`` the run continues with the DAG's newest version. Raises NbflowError for a test run whose
        source is not stored."""
        newest = self.version(run.dag_id) if newest_version else None

        def plan(snapshot: Snapshot) -> Plan:
            now = self.clock.now()
            snapshot, abandon = self._without_process(snapshot, now)
            change = run_changes.change_version(snapshot, newest.spec, newest.number, now) if newest else Plan()
            clear = self._with_source(advance(snapshot, change.ops), partial(cleared, now=now), now)
            return merged((abandon, change, clear))

        def cleared(snapshot: Snapshot, now: datetime) -> Plan:
            selected = run_changes.select(snapshot.dag, task_ids, upstream=upstream, downstream=downstream)
            selected = run_changes.with_setups(snapshot.dag, selected)
            return run_changes.clear(snapshot, selected, now, only_failed=only_failed, only_running=only_running)

        if dry_run:
            return _cleared(plan(self.snapshot(run)))
        applied = self._change(run, plan)
        self._audit("clear", dag_id=run.dag_id, run_id=run.run_id, tasks=[str(move.key) for move in applied.moves])
        return _cleared(applied)

    def _without_process(self, snapshot: Snapshot, now: datetime) -> tuple[Snapshot, Plan]:
        """The snapshot and the plan that ends its run, if it is a test run whose process has died."""
        run = snapshot.run
        job_id = (run.triggered_by or "").removeprefix(INLINE)
        if run.state in RUN_FINISHED or job_id == run.triggered_by:
            return snapshot, Plan()
        jobs = [job for job in self.store.jobs("inline") if job.job_id == job_id]
        if not jobs or any(job.ended_at is None and is_process_running(job) for job in jobs):
            return snapshot, Plan()
        plan = run_changes.fail_run(snapshot, RunCause.ABANDONED, now, {"reason": "its process died"})
        return advance(snapshot, plan.ops), plan

    def can_run_again(self, run: Run) -> bool:
        """Whether a cleared run runs again. A finished test run does not, if no source of its DAG is stored."""
        return self._version_to_reopen(run) is not None

    def _version_to_reopen(self, run: Run) -> DagVersion | None:
        """The DAG version by which schedulers can continue a finished run: its own, but if that is of ``dag.test()``
        and has no source, the newest one; None if that has none either."""
        own, newest = self.version(run.dag_id, run.version), self.store.version(run.dag_id)
        if not (run.triggered_by or "").startswith(INLINE) or own.files:
            return own
        return newest if newest is not None and newest.files else None

    def _with_source(self, snapshot: Snapshot, make_plan: Callable[[Snapshot], Plan], now: datetime) -> Plan:
        """The plan; if it reopens a test run without a stored source, on the newest version. Raises NbflowError if
        there is none."""
        plan = make_plan(snapshot)
        reopens = any(isinstance(op, RunMove) and op.target is RunState.QUEUED for op in plan.ops)
        if not reopens or any(isinstance(op, ChangeVersion) for op in plan.ops):
            return plan
        run, version = snapshot.run, self._version_to_reopen(snapshot.run)
        if version is None:
            again = suggest("dags test", run.dag_id, *([run.logical_date.isoformat()] if run.logical_date else []))
            fileloc = self.version(run.dag_id, run.version).fileloc
            raise NbflowError(
                f"Run {run.run_id} of {run.dag_id} is a test run whose process has ended. Its DAG's source is not "
                "stored, so no scheduler can run its tasks again.",
                hint=f"Test it again: {again}{f' -S {shlex.quote(fileloc)}' if fileloc else ''}.",
                suggestions=(again,),
            )
        change = run_changes.change_version(snapshot, version.spec, version.number, now)
        return merged((change, make_plan(advance(snapshot, change.ops)))) if change else plan

    def mark_tasks(self, run: RunKey, keys: Sequence[TaskKey], state: TaskState, *, dry_run: bool = False) -> Plan:
        """Mark task instances success, failed or skipped. Failed tasks downstream are cleared, so that the run
        continues, as in Airflow. Raises TaskInstanceNotFound."""
        for key in keys:
            if key not in self.snapshot(run).instances:
                raise TaskInstanceNotFound(f"Run {run.run_id} of {run.dag_id} has no task instance {key}.")

        def plan(snapshot: Snapshot) -> Plan:
            now, marked = self.clock.now(), {key.task_id for key in keys} & snapshot.dag.tasks.keys()
            mark = run_changes.mark(snapshot, keys, state, now)
            downstream = run_changes.select(snapshot.dag, marked, downstream=True) - marked
            if not self.can_run_again(snapshot.run):
                return mark

            def cleared(snapshot: Snapshot) -> Plan:
                return run_changes.clear(snapshot, downstream & snapshot.dag.tasks.keys(), now, only_failed=True)

            return merged((mark, self._with_source(advance(snapshot, mark.ops), cleared, now)))

        if dry_run:
            return plan(self.snapshot(run))
        applied = self._change(run, plan)
        self._audit("mark", dag_id=run.dag_id, run_id=run.run_id, tasks=[str(key) for key in keys], state=state.value)
        return applied

    def mark_run(self, run: RunKey, state: RunState, *, dry_run: bool = False) -> Plan:
        """Mark a run success or failed; its running tasks are killed."""

        def plan(snapshot: Snapshot) -> Plan:
            return run_changes.mark_run(snapshot, state, self.clock.now())

        if dry_run:
            return plan(self.snapshot(run))
        applied = self._change(run, plan)
        self._audit("mark_run", dag_id=run.dag_id, run_id=run.run_id, state=state.value)
        return applied

    def abandon_run(self, run: RunKey, reason: str) -> None:
        """Fail a run of ``dag.test()`` that its process does not continue."""
        self._change(
            run,
            lambda snapshot: (
                Plan()
                if snapshot.run.state in RUN_FINISHED
                else run_changes.fail_run(snapshot, RunCause.ABANDONED, self.clock.now(), {"reason": reason})
            ),
        )

    def set_paused(self, dag_id: str, paused: bool) -> bool:
        """Pause or unpause a DAG; returns whether that changed anything. Raises DagNotFound."""
        self.version(dag_id)
        row = self.store.dag(dag_id)
        if row is None or row.paused == paused:
            return False
        return self.store.set_paused(dag_id, paused, actor=self.actor, now=self.clock.now())

    def delete_dag(self, dag_id: str, *, dry_run: bool = False) -> int:
        """Delete a DAG with its runs and history; returns the number of rows. Raises DagNotFound, and NbflowError while
        a run is running."""
        self.version(dag_id)
        return self.store.delete_dag(dag_id, actor=self.actor, now=self.clock.now(), dry_run=dry_run)

    def delete_run(self, run: RunKey) -> int:
        """Delete a run with its history; its running tasks are killed. Returns the number of rows. Raises
        DagRunNotFound."""
        count = self.store.delete_run(run, actor=self.actor, now=self.clock.now())
        if not count:
            raise DagRunNotFound(f"DAG {run.dag_id!r} has no run {run.run_id!r}.")
        return count

    def _change(self, run: RunKey, make_plan: Callable[[Snapshot], Plan]) -> Plan:
        for _ in range(APPLY_ATTEMPTS):
            snapshot = self.snapshot(run)
            plan = make_plan(snapshot)
            if not plan:
                return plan
            try:
                self.store.apply([plan], actor=self.actor, expect={run: snapshot.run.revision})
            except StalePlan:
                continue
            return plan
        raise NbflowError(
            f"Run {run.run_id} of {run.dag_id} kept changing; the operation was not applied.",
            hint="Try again.",
        )

    # --- backfills

    def plan_backfill(
        self,
        dag_id: str,
        from_date: datetime,
        to_date: datetime,
        *,
        reprocess: Reprocess | str = Reprocess.NONE,
        run_backwards: bool = False,
        dry_run: bool = True,
        version: int | None = None,
    ) -> BackfillPlan:
        """The runs that :meth:`backfill` would create. Raises DagNotFound, BackfillError."""
        dag_version = self.version(dag_id, version)
        spec, timetable = dag_version.spec, self.timetable(dag_version.spec)
        start, end = as_utc(from_date), as_utc(to_date)
        if isinstance(timetable, RecordedTimetable) and self.timetable_client is not None and start <= end:
            timetable = self.timetable_client().runs_between(dag_version, start, end, self.clock.now())
        existing = self.store.runs(dag_id, since=from_date, until=to_date, limit=1_000_000)
        return plan_backfill(
            timetable,
            dag_id=dag_id,
            from_date=from_date,
            to_date=to_date,
            now=self.clock.now(),
            existing=[
                ExistingRun(run_id=run.run_id, logical_date=run.logical_date, state=run.state)
                for run in existing
                if run.logical_date is not None
            ],
            reprocess=reprocess,
            run_backwards=run_backwards,
            depends_on_past=any(task.depends_on_past for task in spec.tasks.values()),
            another_active=bool(self.store.backfills(dag_id, active=True)),
            dry_run=dry_run,
        )

    def backfill(
        self,
        dag_id: str,
        from_date: datetime,
        to_date: datetime,
        *,
        reprocess: Reprocess | str = Reprocess.NONE,
        run_backwards: bool = False,
        max_active_runs: int = 10,
        conf: Mapping[str, Any] | None = None,
        version: int | None = None,
    ) -> Backfill:
        """Create the runs of a range of logical dates (both ends included), of which at most ``max_active_runs`` are
        active at once. Raises DagNotFound, BackfillError, ParamValidationError."""
        if max_active_runs < 1:
            raise NbflowError(f"max_active_runs must be at least 1, not {max_active_runs}.")
        dag_version = self.version(dag_id, version)
        values = check_conf(dag_version.spec, conf or {})
        planned = self.plan_backfill(
            dag_id,
            from_date,
            to_date,
            reprocess=reprocess,
            run_backwards=run_backwards,
            dry_run=False,
            version=dag_version.number,
        )
        now = self.clock.now()
        plan = merged(self._backfill_run(dag_version, entry, values, now) for entry in planned.to_run)
        row = BackfillRow(
            backfill_id=0,
            dag_id=dag_id,
            from_date=from_date,
            to_date=to_date,
            reprocess=str(reprocess),
            run_backwards=run_backwards,
            max_active_runs=max_active_runs,
            conf=dict(values),
            created_at=now,
            entries=tuple(
                {
                    "ordinal": entry.ordinal,
                    "logical_date": entry.logical_date.isoformat(),
                    "data_interval_start": entry.info.data_interval.start.isoformat(),
                    "data_interval_end": entry.info.data_interval.end.isoformat(),
                    "run_id": entry.run_id,
                    "reset": entry.reset,
                    "not_created_because": entry.not_created_because,
                }
                for entry in planned.entries
            ),
        )
        backfill_id = self.store.add_backfill(row, plan, actor=self.actor)
        self._audit("backfill", dag_id=dag_id, backfill_id=backfill_id, runs=len(planned.to_run))
        return Backfill(dag_id=dag_id, plan=planned, backfill_id=backfill_id)

    def _backfill_run(self, version: DagVersion, entry: BackfillEntry, conf: Mapping[str, Any], now: datetime) -> Plan:
        assert entry.run_id is not None
        if entry.reset:
            snapshot = self.snapshot(RunKey(version.dag_id, entry.run_id))
            plan = self._with_source(
                snapshot, lambda snapshot: run_changes.clear(snapshot, frozenset(snapshot.dag.tasks), now), now
            )
            return replace(plan, ops=tuple(_as_backfill_run(op) for op in plan.ops))
        run = Run(
            dag_id=version.dag_id,
            run_id=entry.run_id,
            run_type=RunType.BACKFILL,
            logical_date=entry.logical_date,
            data_interval_start=entry.info.data_interval.start,
            data_interval_end=entry.info.data_interval.end,
            run_after=entry.info.run_after,
            conf=dict(conf),
            version=version.number,
            triggered_by=self.actor,
        )
        return run_changes.new_run(version.spec, run, now)

    def find_backfill(self, backfill_id: int) -> BackfillRow:
        """A backfill by its id. Raises NbflowError."""
        row = self.store.backfill(backfill_id)
        if row is None:
            see = suggest("backfill list")
            raise NbflowError(f"There is no backfill {backfill_id}.", hint=f"See: {see}.", suggestions=(see,))
        return row

    def unstarted_runs(self, backfill_id: int) -> list[Run]:
        """Runs of a backfill that have not started."""
        active = self.store.active_runs(self.find_backfill(backfill_id).dag_id)
        return [run for run in active if run.backfill_id == backfill_id and run.state is RunState.QUEUED]

    def cancel_backfill(self, backfill_id: int) -> int:
        """Fail the backfill's queued runs and let the running ones end; returns the number of failed runs."""
        row = self.find_backfill(backfill_id)
        failed = [
            run
            for run in self.unstarted_runs(backfill_id)
            if self._change(run.key, partial(_cancelled, backfill_id=backfill_id, now=self.clock.now()))
        ]
        self.store.update_backfill(backfill_id, cancelled=True, completed_at=self.clock.now())
        self._audit("cancel_backfill", dag_id=row.dag_id, backfill_id=backfill_id)
        return len(failed)

    def set_backfill_paused(self, backfill_id: int, paused: bool) -> None:
        """Pause a backfill, so that no more of its runs start, or unpause it."""
        row = self.find_backfill(backfill_id)
        self.store.update_backfill(backfill_id, paused=paused)
        action = "pause_backfill" if paused else "unpause_backfill"
        self._audit(action, dag_id=row.dag_id, backfill_id=backfill_id)

    # --- why

    def why(self, run: RunKey, key: TaskKey | None = None) -> Mapping[TaskKey, WaitReason]:
        """Why each waiting task instance of a run (or the one with ``key``) waits, by the scheduler's evaluation."""
        now = self.clock.now()
        schedulers = running_schedulers(self.store, self.settings, now)
        if key is None:
            return explain_run(self.store, run, schedulers, now)
        return explain_task(self.store, run, key, schedulers, now)

    def _audit(self, action: str, **detail: Any) -> None:
        self.store.audit(action, actor=self.actor, now=self.clock.now(), detail=detail)


def _cleared(plan: Plan) -> list[TaskKey]:
    """The instances that a plan clears: not those whose run it ends before."""
    return [move.key for move in plan.moves if move.cause is not Cause.RUN_ABANDONED]


def _cancelled(snapshot: Snapshot, *, backfill_id: int, now: datetime) -> Plan:
    """The end of a run of a cancelled backfill; an empty plan for one that has started meanwhile."""
    if snapshot.run.state is not RunState.QUEUED:
        return Plan()
    return run_changes.fail_run(snapshot, RunCause.BACKFILL_CANCELLED, now, {"backfill_id": backfill_id})


def _as_backfill_run(op: Op) -> Op:
    """A run that a backfill runs again becomes a backfill run, as in Airflow 3."""
    return replace(op, changes={**op.changes, "run_type": RunType.BACKFILL}) if isinstance(op, RunMove) else op


def check_conf(spec: DagSpec, conf: Mapping[str, Any]) -> Mapping[str, Any]:
    """The conf as it is stored (JSON). Raises ParamValidationError for a conf that is not JSON, and for params that do
    not match their schemas."""
    stored = conf_as_json(conf)
    if spec.params:
        params_of_run(spec.params, stored)
    return stored
