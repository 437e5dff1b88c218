"""What a person (or a task, or a surface) may ask of nbflow: trigger, clear, mark, pause, backfill, why.

Every operation is: read a snapshot, let the core plan, apply the plan, and if the world moved meanwhile do it again.
A command, a magic and a web handler each parse their input, make one call here and show the result.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from nbflow.authoring.params import conf_as_json, params_of_run
from nbflow.clock import Clock
from nbflow.config import Settings
from nbflow.core import actions
from nbflow.core.backfill import BackfillEntry, BackfillPlan, ExistingRun, Reprocess, plan_backfill
from nbflow.core.plan import Op, Plan, RunMove, advance, merged
from nbflow.core.reasons import WaitReason
from nbflow.core.run_ids import LAST, RunType, make_run_id
from nbflow.core.snapshot import Run, RunKey, Snapshot, TaskKey
from nbflow.core.spec import DagSpec
from nbflow.core.states import RunState, TaskState
from nbflow.core.timetables import RecordedTimetable, Timetable, as_utc, timetable_from_spec
from nbflow.errors import (
    DagNotFound,
    DagRunAlreadyExists,
    DagRunNotFound,
    NbflowError,
    StalePlan,
    TaskInstanceNotFound,
)
from nbflow.services.date_parsing import parse_date
from nbflow.services.schedulers import living
from nbflow.services.why import explain_run, explain_task
from nbflow.store.base import BackfillRow, DagVersion, Store
from nbflow.way_out import SEE_DAGS, nearest, way

if TYPE_CHECKING:
    from nbflow.services.custom_timetables import TimetableClient

APPLY_ATTEMPTS = 20
"""How often an operation is planned anew when others change the same run meanwhile: each time somebody got on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Backfill:
    """A planned or made backfill. ``backfill_id`` is None for a dry run."""

    dag_id: str
    plan: BackfillPlan
    backfill_id: int | None = None


class Operations:
    """All that may be asked, in the name of ``actor`` (it stands in the history of what changed)."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        settings: Settings,
        *,
        actor: str = "user",
        timetable_client: Callable[[], TimetableClient] | None = None,
    ) -> None:
        """``timetable_client`` gets who asks timetables of the users' own; without it only their recorded runs are
        known."""
        self.store, self.clock, self.settings, self.actor, self.timetable_client = (
            store,
            clock,
            settings,
            actor,
            timetable_client,
        )

    # --- finding

    def version(self, dag_id: str, number: int | None = None) -> DagVersion:
        """A version of a DAG, or DagNotFound with the nearest name."""
        found = self.store.version(dag_id, number)
        if found is None:
            known = [row.dag_id for row in self.store.dags(include_stale=True)]
            what = f"DAG {dag_id!r}" if number is None else f"version {number} of DAG {dag_id!r}"
            raise DagNotFound(f"There is no {what}.", **nearest(dag_id, known, *SEE_DAGS))
        return found

    def find_run(self, dag_id: str, which: str | datetime | None = None) -> Run:
        """A run by its id or logical date; by default (or as "last") the newest, which is the one that was made, or
        cleared to run again, last: a test or trigger of last year's date is what one has just made. DagRunNotFound if
        there is none."""
        self.version(dag_id)
        if which is None:
            runs = self._newest(dag_id)
        elif isinstance(which, datetime):
            runs = self.store.runs(dag_id, since=which, until=which, limit=1)
        else:
            one = self.store.run(RunKey(dag_id, which))
            runs = [one] if one is not None else self._by_word(dag_id, which)
        if not runs:
            known = ", ".join(run.run_id for run in self.store.runs(dag_id, limit=3)) or "none yet"
            what = "no run yet" if which in (None, LAST) else f"no run {which}"
            raise DagRunNotFound(f"DAG {dag_id!r} has {what}.", hint=f"Its newest runs: {known}.")
        return runs[0]

    def _newest(self, dag_id: str) -> list[Run]:
        return [*self.store.newest_runs([dag_id]).values()]

    def _by_word(self, dag_id: str, text: str) -> list[Run]:
        if text == LAST:
            return self._newest(dag_id)
        try:
            moment = parse_date(text)
        except ValueError:
            return []
        return self.store.runs(dag_id, since=moment, until=moment, limit=1)

    def snapshot(self, run: RunKey) -> Snapshot:
        """The run as it is now."""
        found = self.store.snapshot(run)
        if found is None:
            raise DagRunNotFound(f"DAG {run.dag_id!r} has no run {run.run_id!r}.")
        return found

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
        """Make a run now. Without a date its logical date is this moment, and its data interval the one before it.

        Raises DagNotFound, DagRunAlreadyExists, ParamValidationError, or NbflowError for a date in the future.
        """
        known = self.version(dag_id, version)
        now = self.clock.now()
        if logical_date is not None and logical_date > now and not self.settings.scheduler.allow_trigger_in_future:
            raise NbflowError(
                f"The logical date {logical_date.isoformat()} lies in the future.",
                hint="Set [scheduler] allow_trigger_in_future if you mean it.",
            )
        values = check_conf(known.spec, conf or {})
        moment = logical_date or now
        interval = self.timetable(known.spec).manual_interval(moment)
        chosen = run_id or make_run_id(run_type, logical_date=moment, run_after=moment, token=uuid.uuid4().hex[:8])
        if self.store.run(RunKey(dag_id, chosen)) is not None:
            raise DagRunAlreadyExists(
                f"DAG {dag_id!r} has a run {chosen!r} already.", hint="Give another run id, or clear that run."
            )
        run = Run(
            dag_id=dag_id,
            run_id=chosen,
            run_type=str(run_type),
            logical_date=moment,
            data_interval_start=interval.start,
            data_interval_end=interval.end,
            run_after=moment,
            conf=dict(values),
            version=known.number,
            triggered_by=self.actor,
        )
        self.store.apply([actions.new_run(known.spec, run, now)], actor=self.actor)
        self._audit("trigger", dag_id=dag_id, run_id=chosen)
        made = self.store.run(run.key)
        assert made is not None
        return made

    def trigger_or_reset(
        self,
        dag_id: str,
        *,
        run_id: str | None = None,
        logical_date: datetime | None = None,
        conf: Mapping[str, Any] | None = None,
        reset: bool = False,
    ) -> Run:
        """Trigger for a task of another DAG: with ``reset`` a run that exists already is cleared and goes again."""
        moment = logical_date or self.clock.now()
        chosen = run_id or make_run_id(RunType.MANUAL, logical_date=moment, run_after=moment)
        there = self.store.run(RunKey(dag_id, chosen)) if reset else None
        if there is None:
            return self.trigger(dag_id, run_id=chosen, logical_date=moment, conf=conf)
        self.clear(there.key)
        return self.find_run(dag_id, chosen)

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
        """Let tasks of a run go again, their setups and teardowns with them; returns which. With ``newest_version`` the
        run goes on with the DAG's newest version."""
        newest = self.version(run.dag_id) if newest_version else None

        def plan(snapshot: Snapshot) -> Plan:
            now = self.clock.now()
            moved = actions.change_version(snapshot, newest.spec, newest.number, now) if newest else Plan()
            snapshot = advance(snapshot, moved.ops)
            chosen = actions.select(snapshot.dag, task_ids, upstream=upstream, downstream=downstream)
            chosen = actions.with_setups(snapshot.dag, chosen)
            cleared = actions.clear(snapshot, chosen, now, only_failed=only_failed, only_running=only_running)
            return merged((moved, cleared))

        if dry_run:
            return [move.key for move in plan(self.snapshot(run)).moves]
        done = self._change(run, plan)
        self._audit("clear", dag_id=run.dag_id, run_id=run.run_id, tasks=[str(move.key) for move in done.moves])
        return [move.key for move in done.moves]

    def mark_tasks(self, run: RunKey, keys: Sequence[TaskKey], state: TaskState, *, dry_run: bool = False) -> Plan:
        """Set task instances to success, failed or skipped by hand. What had failed after them is cleared, so that the
        run goes on from there, as in Airflow."""
        for key in keys:
            if key not in self.snapshot(run).instances:
                raise TaskInstanceNotFound(f"Run {run.run_id} of {run.dag_id} has no task instance {key}.")

        def plan(snapshot: Snapshot) -> Plan:
            now, marked = self.clock.now(), {key.task_id for key in keys} & snapshot.dag.tasks.keys()
            first = actions.mark(snapshot, keys, state, now)
            after = actions.select(snapshot.dag, marked, downstream=True) - marked
            return merged((first, actions.clear(advance(snapshot, first.ops), after, now, only_failed=True)))

        if dry_run:
            return plan(self.snapshot(run))
        done = self._change(run, plan)
        self._audit("mark", dag_id=run.dag_id, run_id=run.run_id, tasks=[str(key) for key in keys], state=state.value)
        return done

    def mark_run(self, run: RunKey, state: RunState, *, dry_run: bool = False) -> Plan:
        """End a run by hand; its live tasks are killed."""

        def plan(snapshot: Snapshot) -> Plan:
            return actions.mark_run(snapshot, state, self.clock.now())

        if dry_run:
            return plan(self.snapshot(run))
        done = self._change(run, plan)
        self._audit("mark_run", dag_id=run.dag_id, run_id=run.run_id, state=state.value)
        return done

    def set_paused(self, dag_id: str, paused: bool) -> bool:
        """Pause or unpause; returns whether that changed anything."""
        self.version(dag_id)
        row = self.store.dag(dag_id)
        if row is None or row.paused == paused:
            return False
        return self.store.set_paused(dag_id, paused, actor=self.actor, now=self.clock.now())

    def delete_dag(self, dag_id: str, *, dry_run: bool = False) -> int:
        """Delete a DAG with its runs and history; returns how many rows went, or would go."""
        self.version(dag_id)
        return self.store.delete_dag(dag_id, actor=self.actor, now=self.clock.now(), dry_run=dry_run)

    def _change(self, run: RunKey, make: Callable[[Snapshot], Plan]) -> Plan:
        for _ in range(APPLY_ATTEMPTS):
            snapshot = self.snapshot(run)
            plan = make(snapshot)
            if not plan:
                return plan
            try:
                self.store.apply([plan], actor=self.actor, expect={run: snapshot.run.revision})
            except StalePlan:
                continue
            return plan
        raise NbflowError(
            f"Run {run.run_id} of {run.dag_id} changes too fast to be changed by hand.", hint="Try again."
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
        """Exactly the runs that :meth:`backfill` would make, or the BackfillError that says why it may not."""
        known = self.version(dag_id, version)
        spec, timetable = known.spec, self.timetable(known.spec)
        start, end = as_utc(from_date), as_utc(to_date)
        if isinstance(timetable, RecordedTimetable) and self.timetable_client is not None and start <= end:
            timetable = self.timetable_client().runs_between(known, start, end, self.clock.now())
        there = self.store.runs(dag_id, since=from_date, until=to_date, limit=1_000_000)
        return plan_backfill(
            timetable,
            dag_id=dag_id,
            from_date=from_date,
            to_date=to_date,
            now=self.clock.now(),
            existing=[
                ExistingRun(run_id=run.run_id, logical_date=run.logical_date, state=run.state)
                for run in there
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
        """Make the runs of a range of logical dates (both ends included), ``max_active_runs`` of them at once."""
        if max_active_runs < 1:
            raise NbflowError(f"max_active_runs is at least 1, not {max_active_runs}: nothing would ever run.")
        known = self.version(dag_id, version)
        values = check_conf(known.spec, conf or {})
        planned = self.plan_backfill(
            dag_id,
            from_date,
            to_date,
            reprocess=reprocess,
            run_backwards=run_backwards,
            dry_run=False,
            version=known.number,
        )
        now = self.clock.now()
        plan = merged(self._backfill_run(known, entry, values, now) for entry in planned.to_run)
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
        made = self.store.add_backfill(row, plan, actor=self.actor)
        self._audit("backfill", dag_id=dag_id, backfill_id=made, runs=len(planned.to_run))
        return Backfill(dag_id=dag_id, plan=planned, backfill_id=made)

    def _backfill_run(self, version: DagVersion, entry: BackfillEntry, conf: Mapping[str, Any], now: datetime) -> Plan:
        assert entry.run_id is not None
        if entry.reset:
            snapshot = self.snapshot(RunKey(version.dag_id, entry.run_id))
            plan = actions.clear(snapshot, frozenset(snapshot.dag.tasks), now)
            return replace(plan, ops=tuple(_into_backfill(op) for op in plan.ops))
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
        return actions.new_run(version.spec, run, now)

    def find_backfill(self, backfill_id: int) -> BackfillRow:
        """A backfill by its number, or NbflowError."""
        row = self.store.backfill(backfill_id)
        if row is None:
            see = way("backfill list")
            raise NbflowError(f"There is no backfill {backfill_id}.", hint=f"See: {see}.", ways=(see,))
        return row

    def unstarted_runs(self, backfill_id: int) -> list[Run]:
        """Runs of a backfill that have not started."""
        active = self.store.active_runs(self.find_backfill(backfill_id).dag_id)
        return [run for run in active if run.backfill_id == backfill_id and run.state is RunState.QUEUED]

    def cancel_backfill(self, backfill_id: int) -> int:
        """Fail the backfill's runs that have not started, let the running ones end; returns how many were failed."""
        row = self.find_backfill(backfill_id)
        queued = self.unstarted_runs(backfill_id)
        for run in queued:
            self.mark_run(run.key, RunState.FAILED)
        self.store.update_backfill(backfill_id, cancelled=True, completed_at=self.clock.now())
        self._audit("cancel_backfill", dag_id=row.dag_id, backfill_id=backfill_id)
        return len(queued)

    def set_backfill_paused(self, backfill_id: int, paused: bool) -> None:
        """Start no more runs of a backfill for now, or again."""
        row = self.find_backfill(backfill_id)
        self.store.update_backfill(backfill_id, paused=paused)
        action = "pause_backfill" if paused else "unpause_backfill"
        self._audit(action, dag_id=row.dag_id, backfill_id=backfill_id)

    # --- why

    def why(self, run: RunKey, key: TaskKey | None = None) -> Mapping[TaskKey, WaitReason]:
        """Why each waiting task instance of a run (or the one named) waits, by the same evaluation that decides."""
        now = self.clock.now()
        schedulers = living(self.store, self.settings, now)
        if key is None:
            return explain_run(self.store, run, schedulers, now)
        return explain_task(self.store, run, key, schedulers, now)

    def _audit(self, action: str, **detail: Any) -> None:
        self.store.audit(action, actor=self.actor, now=self.clock.now(), detail=detail)


def _into_backfill(op: Op) -> Op:
    """A run that a backfill runs again belongs to the backfill from then on, as in Airflow 3."""
    return replace(op, changes={**op.changes, "run_type": RunType.BACKFILL}) if isinstance(op, RunMove) else op


def check_conf(spec: DagSpec, conf: Mapping[str, Any]) -> Mapping[str, Any]:
    """The conf as JSON stores it. Raises ParamValidationError for a conf that JSON cannot hold, and for params that do
    not fit their schemas."""
    stored = conf_as_json(conf)
    if spec.params:
        params_of_run(spec.params, stored)
    return stored
