"""The scheduler: one loop that turns events and time into plans, commits them, and carries them out.

One turn (:meth:`Scheduler.step`)
---------------------------------
1. Collect what the executor reports, and what other processes changed in the store (a cheap token says if any did).
2. Make the runs that are due.
3. Let the core react to the reports, then look at everything active (``decide_all``): all in memory, on snapshots.
4. Apply the whole turn in **one** transaction, guarded by each run's revision. If another process changed a run
   meanwhile the plan is stale: nothing was written, those runs are read again, and the turn is done anew with the same
   reports; no report is ever dropped before it is stored.
5. Only then submit the committed tries to the executor. A crash between 4 and 5 leaves a queued attempt with a lease
   that runs out: it is dispatched again.

A store that refuses (its disk is full, it is locked, it is being restarted) costs time alone: the turn is done anew
until it is stored, and what runs goes on meanwhile.

Then it sleeps until the executor has something, another process nudges it, or the earliest time that a plan named.
What a turn costs grows with what changed in it, not with history: snapshots are kept from turn to turn, and a run
that did not change is not looked at again.

Several schedulers share a Postgres metastore: each holds leases on the runs that it decides, and dispatches under the
store's dispatch lock with everyone's usage counted. An SQLite metastore has one scheduler, by a named lease.
"""

from __future__ import annotations

import contextlib
import logging
import os
import select
import socket
from collections import Counter
from collections.abc import Callable, Collection, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from nbflow.authoring.runtime import Work
from nbflow.clock import Clock
from nbflow.config import Settings
from nbflow.core.actions import mark_run, restart_attempts
from nbflow.core.dispatch import RunLimits
from nbflow.core.plan import Callback, Move, Op, Plan, advance, earliest
from nbflow.core.react import react
from nbflow.core.scheduler_loop import (
    ActiveRuns,
    LoopDecision,
    LoopInput,
    OtherSchedulers,
    after_plan,
    decide_all,
    with_attempts,
)
from nbflow.core.snapshot import INLINE, Run, RunKey, Snapshot, TaskKey
from nbflow.core.states import Cause, RunState, TaskState
from nbflow.errors import NbflowError, StalePlan, StoreError
from nbflow.execution.executors.base import Executor, Report, Submission
from nbflow.execution.process_identity import process_started
from nbflow.services.run_creation import RunMaker
from nbflow.services.schedulers import is_here, runs
from nbflow.store.base import Attempt, ChangeToken, Job, Store
from nbflow.store.codec import needs_previous_run
from nbflow.way_out import STOP_SCHEDULER

log = logging.getLogger(__name__)

POLL_SECONDS = 0.05
"""How often the change token is looked at while nothing happens: the delay of a trigger from another process. A look
costs some ten microseconds."""
LIMITS_EVERY = timedelta(seconds=0.25)
"""How often, while something changes all the time, pauses, pools and limits are read again. Runs are read at once."""
REFUSED_SECONDS = 0.5
"""How soon a store that refused is asked again."""
SAID_EVERY = 120
"""Of so many refusals in a row one is logged: once a minute."""
TAKES_AWAY = frozenset({Cause.RUN_TIMED_OUT, Cause.FAIL_FAST})
"""Causes by which our own decision ends what runs: its process is ended at once."""
RESTARTED = frozenset({TaskState.RESTARTING})
UNCLAIMED = RESTARTED | {TaskState.QUEUED}
"""States of an instance of which the attempt may be nobody's."""
STALE_RETRIES = 50
"""Turns that may be done anew in a row before something is plainly wrong."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """What one turn did, for logs and tests."""

    ops: tuple[Op, ...] = ()
    attempts: tuple[Attempt, ...] = ()
    ended: tuple[RunKey, ...] = ()
    wake_at: datetime | None = None
    busy: bool = False
    """Something was applied: look again before sleeping."""


@dataclass(slots=True)
class _Memory:
    """What the loop knows from the turn before."""

    active: ActiveRuns = field(default_factory=ActiveRuns)
    other_schedulers: OtherSchedulers = field(default_factory=OtherSchedulers)
    run_limits: RunLimits = field(default_factory=lambda: RunLimits(max_active_runs={}))
    pools: dict[str, int] = field(default_factory=dict)
    deferred_pools: frozenset[str] = frozenset()
    backwards: frozenset[int] = frozenset()
    token: ChangeToken | None = None
    due: datetime | None = None
    """When a DAG is due next."""
    ended: bool = False
    """A run has ended: a DAG that was held back may have room for a new one."""
    paused: frozenset[str] = frozenset()
    limits_of: frozenset[RunKey] = frozenset()
    """The runs that the limits were read for."""
    limits_until: datetime | None = None
    limits_due: bool = False
    reports: list[Report] = field(default_factory=list)
    refusals: int = 0
    """Of the store, in a row. After one nobody knows whether what was dispatched last was also submitted."""


class Scheduler:
    """Drives ``executor`` from ``store``. ``only`` limits it to some runs and makes no new ones (``dag.test()``)."""

    def __init__(
        self,
        store: Store,
        executor: Executor,
        clock: Clock,
        settings: Settings,
        *,
        job_id: str,
        only: Collection[RunKey] | None = None,
        actor: str = "scheduler",
        on_callbacks: Callable[[], None] = lambda: None,
        call_here: Callable[[Callback], None] | None = None,
    ) -> None:
        self.store, self.executor, self.clock, self.settings = store, executor, clock, settings
        self.job_id, self.only, self.actor = job_id, frozenset(only) if only is not None else None, actor
        self.on_callbacks, self.call_here = on_callbacks, call_here
        self.maker = RunMaker(store, settings, actor=actor)
        self.memory = _Memory()
        self.shared = only is None and store.shared
        """Other schedulers may work on the same metastore."""
        self.stopping = False
        self.next_beat: datetime | None = None
        self.last_busy: datetime = clock.now()
        self._wake_read, self._wake_write = socket.socketpair()
        self._wake_read.setblocking(False)
        self._wake_write.setblocking(False)

    # --- life

    def start(self) -> None:
        """Register this scheduler and its executor. Raises NbflowError if the store has its one scheduler already."""
        now = self.clock.now()
        orphans = [] if self.only is not None else self._bury_the_dead(now)
        if not self._hold_store(now):
            others = [job for job in self._others() if job.heartbeat_at > now - self._lease]
            where = f" (pid {others[0].pid} on {others[0].hostname})" if others else ""
            raise NbflowError(
                f"This metastore has a scheduler already{where}.",
                hint=f"An SQLite metastore has one; stop it with {STOP_SCHEDULER}, or use Postgres for several.",
                ways=(STOP_SCHEDULER,),
            )
        self.executor.start()
        if orphans:
            self.memory.reports += self.executor.adopt(orphans)
        self._beat(now, first=True)

    def _hold_store(self, now: datetime) -> bool:
        """Be the one scheduler of a metastore that has one. Those of a shared metastore hold runs instead."""
        if self.only is not None or self.shared:
            return True
        return self.store.take_singleton("scheduler", self.job_id, lease=self._lease, now=now)

    def _others(self) -> list[Job]:
        jobs = self.store.jobs("scheduler")
        return [job for job in jobs if job.job_id != self.job_id and job.ended_at is None]

    def _bury_the_dead(self, now: datetime) -> list[Attempt]:
        """Schedulers of this machine whose process is gone need not be waited for: their leases are given back, and the
        attempts that they held are returned, to be ended and reported lost."""
        orphans: list[Attempt] = []
        for job in self._others():
            if runs(job):
                continue
            log.warning("scheduler %s (pid %d) died; taking over what it held", job.job_id, job.pid)
            self.store.release_singleton("scheduler", job.job_id)
            orphans += self.store.live_attempts(job.job_id)
            self.store.put_job(replace(job, ended_at=now))
        if not self.shared and not any(is_here(job) and runs(job) for job in self._others()):
            orphans += [a for a in self.store.live_attempts() if a.owner is None]  # committed, and never submitted
        return orphans

    def run(self, *, until: Callable[[Turn], bool] | None = None) -> None:
        """Start, turn after turn until :meth:`stop` is called or ``until`` says so, and close."""
        self.start()
        try:
            self.loop(until=until)
        finally:
            self.close()

    def loop(self, *, until: Callable[[Turn], bool] | None = None) -> None:
        """Turn after turn; see :meth:`run`."""
        while not self.stopping:
            try:
                turn = self.step()
                if until is not None and until(turn):
                    break
                if not turn.busy:
                    self._sleep(turn.wake_at)
            except StoreError as fault:
                if self.only is not None:
                    raise
                self._bear(fault)

    def _bear(self, fault: StoreError) -> None:
        """The store refuses: say so, wait a little, and forget what was read. What the executor reports is kept."""
        memory = self.memory
        if memory.refusals % SAID_EVERY == 0:
            log.error("the scheduler waits until its metastore takes what it is given: %s", fault)
        memory.refusals += 1
        memory.token, memory.limits_until, memory.active, self.next_beat = None, None, ActiveRuns(), None
        memory.reports += self.executor.poll(REFUSED_SECONDS)

    def stop(self) -> None:
        """Ask the loop to end; safe from a signal handler or another thread."""
        self.stopping = True
        self.wake()

    def wake(self) -> None:
        """End the loop's sleep; safe from a signal handler or another thread."""
        with contextlib.suppress(OSError):  # it is full of wake-ups already, or closed
            self._wake_write.send(b".")

    def close(self) -> None:
        """End what runs here so that the next scheduler starts it over, end the executor, give back the leases."""
        try:
            if self.only is None:
                self._hand_back()
        except StoreError as fault:  # the next scheduler finds what ran by its leases
            log.error("what runs is ended without being handed back: %s", fault)
        finally:
            self.executor.stop()
            self._wake_read.close()
            self._wake_write.close()
        now = self.clock.now()
        try:
            if self.only is None:
                self.store.release_singleton("scheduler", self.job_id)
            self._put_job(now, ended_at=now)
        except StoreError as fault:
            log.error("the end of the scheduler is not stored: %s", fault)

    def _hand_back(self) -> None:
        live = set(self.executor.live)
        now = self.clock.now()
        for snapshot in self.memory.active.snapshots.values():
            plan = restart_attempts(snapshot, live, now)
            with contextlib.suppress(StalePlan):  # its lease runs out instead
                if plan:
                    self.store.apply([plan], actor=self.actor, expect={snapshot.run.key: snapshot.run.revision})
        for attempt_id in live:
            self.executor.cancel(attempt_id, reason="the scheduler was stopped; the task starts over", restart=True)
        self.memory.token = None
        self.memory.reports += self.executor.drain(self.settings.core.killed_task_cleanup_time)
        for _ in range(STALE_RETRIES):
            try:
                self._turn(self.clock.now())
                break
            except StalePlan:
                self.memory.token, self.memory.active = None, ActiveRuns()

    # --- one turn

    def step(self) -> Turn:
        """One turn; see the head of this module."""
        self.memory.reports += self.executor.poll(0)
        for _ in range(STALE_RETRIES):
            now = self.clock.now()
            if self.next_beat is None or now >= self.next_beat:
                self._beat(now)
            try:
                turn = self._turn(now)
            except StalePlan as stale:
                log.debug("the turn is done anew: %s", stale)
                self.memory.token = None
                self.memory.active = ActiveRuns()
                continue
            if turn.busy:
                self.last_busy = now
            if self.memory.refusals:
                log.warning("the metastore takes what it is given again")
                self.memory.refusals = 0
            return turn
        raise NbflowError("Every plan was stale: something outside changes the runs without end.")

    def _turn(self, now: datetime) -> Turn:
        made = self._make_due(now, refreshed=self._refresh(now))
        if made:
            self._refresh(now, force=True)
        active, reactions, stored = self._react()
        attempts: Sequence[Attempt] = ()
        with self._alone():
            decision = decide_all(self._view(active), now)
            plans, calls = self._own_calls([*reactions, decision.plan])
            ops = tuple(_ops(plans))
            if ops:
                attempts = self.store.apply(plans, actor=self.actor, expect={**decision.expect, **stored})
                self._know_own_commit()
        self.memory.reports.clear()
        self.memory.active = with_attempts(_revised(decision, stored), attempts)
        self.memory.ended = self.memory.ended or bool(decision.ended)
        if any(isinstance(op, Move) and op.cause in TAKES_AWAY for op in ops):
            self._cancel_lost()
        self._submit(attempts)
        if self.only is None:
            self.maker.pause_after_failures((active.snapshots[key] for key in decision.ended), now)
        if self.call_here is not None:
            for call in calls:
                self.call_here(call)
        elif any(isinstance(op, Callback) for op in ops):
            self.on_callbacks()
        self._end_backfills(now)
        limits_at = self.memory.limits_until if self.memory.limits_due else None
        return Turn(
            ops=ops,
            attempts=tuple(attempts),
            ended=decision.ended,
            wake_at=earliest(decision.plan.wake_at, self.memory.due, limits_at),
            busy=bool(ops or made),
        )

    def _own_calls(self, plans: list[Plan]) -> tuple[list[Plan], list[Callback]]:
        """Callback intents that this process carries out itself (``dag.test()``) are not stored for others to find."""
        if self.call_here is None:
            return plans, []
        calls = [op for op in _ops(plans) if isinstance(op, Callback)]
        if not calls:
            return plans, []
        kept = [replace(p, ops=tuple(op for op in p.ops if not isinstance(op, Callback))) for p in plans]
        return kept, calls

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """While others hold runs too: dispatch one after the other, with what they take counted, so that pools and
        limits hold over all schedulers together."""
        if not self.memory.other_schedulers.running:
            yield
            return
        with self.store.lock("dispatch"):
            self.memory.other_schedulers = self._used_by_other_schedulers()
            yield

    def _used_by_other_schedulers(self) -> OtherSchedulers:
        ours_in_hand = self.memory.active.snapshots.keys()
        running = [run for run in self.store.active_runs() if run.key not in ours_in_hand and not _is_inline(run)]
        usage, ours = self.store.usage(), Counter[str]()
        our_tasks = Counter[tuple[str, str]]()
        for key, look in self.memory.active.evaluations.items():
            ours.update(look.pool_used)
            our_tasks.update({(key.dag_id, task_id): used for task_id, used in look.task_used.items()})
        return OtherSchedulers(
            running=running,
            pool_used={pool: max(used - ours[pool], 0) for pool, used in usage.pools.items()},
            task_used={task: max(used - our_tasks[task], 0) for task, used in usage.tasks.items()},
        )

    def _make_due(self, now: datetime, *, refreshed: bool) -> list[Run]:
        """Make the runs that are due. Nothing is asked while nothing changed and no run's time has come."""
        memory = self.memory
        come = memory.due is not None and now >= memory.due
        if self.only is not None or not (refreshed or come or memory.ended):
            return []
        made = self.maker.make_due(memory.active, now)
        memory.due, memory.ended = self.maker.next_due(now), False
        return made

    def _know_own_commit(self) -> None:
        """What this turn has just committed is in memory: unless others committed too, nothing need be read again."""
        token = self.memory.token
        if token is not None and self.store.change_token() == token.after_own_commit:
            self.memory.token = token.after_own_commit

    def _react(self) -> tuple[ActiveRuns, list[Plan], dict[RunKey, int]]:
        """What the reports lead to: the runs after them, the plans to be stored, and the revisions they were made
        from. A run that is not in hand (another scheduler's, whose orphan was found here) is read for the occasion."""
        active, plans = self.memory.active, []
        stored: dict[RunKey, int] = {}
        visited: dict[RunKey, Snapshot] = {}
        for report in self.memory.reports:
            run = report.run
            snapshot = active.snapshots.get(run) or visited.get(run) or self.store.snapshot(run)
            if snapshot is None:
                continue  # deleted meanwhile
            stored_revision = stored.get(run, snapshot.run.revision)
            plan = react(snapshot, report.key, report.event, callbacks_run=report.callbacks_run)
            if plan.refused:
                log.info("%s %s: %s", run.dag_id, report.key, plan.refused)
            if plan:
                plans.append(plan)
                stored[run] = stored_revision
                if run in active.snapshots:
                    active = after_plan(active, plan)
                else:
                    visited[run] = advance(snapshot, plan.ops)
        return active, plans, stored

    def _view(self, active: ActiveRuns) -> LoopInput:
        memory = self.memory
        return LoopInput(
            active=active,
            run_limits=memory.run_limits,
            pools=memory.pools,
            slots=max(self.executor.slots_free, 0),
            deferred_pools=memory.deferred_pools,
            backwards=memory.backwards,
            other_schedulers=memory.other_schedulers,
        )

    def _submit(self, attempts: Iterable[Attempt]) -> None:
        submissions = []
        for attempt in attempts:
            snapshot = self.memory.active.snapshots[attempt.run]
            submissions.append(submission_of(snapshot, attempt))
        if submissions:
            self.executor.submit(submissions)

    # --- what the store knows

    def _refresh(self, now: datetime, *, force: bool = False) -> bool:
        """Read again what others changed: runs by their revision, limits and pools whole (they are few). False: nobody
        has changed anything."""
        memory, token = self.memory, self.store.change_token()
        late = memory.limits_due and memory.limits_until is not None and now >= memory.limits_until
        if not force and not late and memory.token is not None and token == memory.token:
            return False
        runs = self._mine(self.store.active_runs(), now)
        keys = frozenset(run.key for run in runs)
        if memory.limits_until is None or now >= memory.limits_until or keys != memory.limits_of or force:
            self._read_limits(runs)
            memory.limits_of, memory.limits_until, memory.limits_due = keys, now + LIMITS_EVERY, False
        else:
            memory.limits_due = True  # what changed may have been a limit: read them when their time comes
        kept = memory.active.snapshots
        snapshots: dict[RunKey, Snapshot] = {}
        for run in runs:
            known = kept.get(run.key)
            paused = run.dag_id in memory.paused
            if known is not None and known.run.revision == run.revision and known.paused == paused:
                snapshots[run.key] = self._with_its_past(known)
            elif (fresh := self.store.snapshot(run.key)) is not None:
                snapshots[run.key] = replace(fresh, paused=paused)
                dispatched_by_others = known is None and (self.shared or memory.refusals)
                self._adopt_unclaimed(fresh, UNCLAIMED if dispatched_by_others else RESTARTED)
        memory.active = ActiveRuns(snapshots=snapshots, evaluations=memory.active.evaluations)
        memory.token = token
        self._cancel_lost()
        return True

    def _with_its_past(self, known: Snapshot) -> Snapshot:
        """A run's past changes without the run: a user puts yesterday's task right, an earlier run is made late."""
        if not needs_previous_run(known.dag) or (fresh := self.store.snapshot(known.run.key)) is None:
            return known
        return known if fresh.previous == known.previous else replace(known, previous=fresh.previous)

    def _adopt_unclaimed(self, snapshot: Snapshot, states: Container[TaskState]) -> None:
        """Whoever holds a run dispatches it, and claims what it dispatched at once. What is queued and unclaimed in a
        run that has just come into our hands was dispatched by one that died, or is too late to claim it. What was
        cleared before it was claimed cannot be claimed any more: nobody has a process to end, and to report."""
        live = set(self.executor.live)
        waiting = [
            one.attempt_id
            for one in snapshot.instances.values()
            if one.state in states and one.attempt_id is not None and one.attempt_id not in live
        ]
        found = [self.store.attempt(attempt_id) for attempt_id in waiting]
        orphans = [attempt for attempt in found if attempt is not None and attempt.owner is None]
        if orphans:
            self.memory.reports += self.executor.adopt(orphans)

    def _mine(self, runs: list[Run], now: datetime) -> list[Run]:
        if self.only is not None:
            return [run for run in runs if run.key in self.only]
        runs = [run for run in runs if not _is_inline(run)]
        if not self.shared:
            return runs
        held = set(self.store.lease_runs(self.job_id, [run.key for run in runs], lease=self._lease, now=now))
        others = [run for run in runs if run.key not in held]
        self.memory.other_schedulers = OtherSchedulers(running=others) if others else OtherSchedulers()
        return [run for run in runs if run.key in held]

    def _read_limits(self, runs: Iterable[Run]) -> None:
        """Pauses, limits and pools: few rows, but several queries."""
        memory, dag_ids = self.memory, sorted({run.dag_id for run in runs})
        rows = {dag_id: self.store.dag(dag_id) for dag_id in dag_ids} if self.only is None else {}
        memory.paused = frozenset(dag_id for dag_id, row in rows.items() if row is not None and row.paused)
        backfills = {row.backfill_id: row for row in self.store.backfills(active=True)} if self.only is None else {}
        newest = {dag_id: self.store.version(dag_id) for dag_id in dag_ids}
        memory.run_limits = RunLimits(
            max_active_runs={dag_id: v.spec.max_active_runs for dag_id, v in newest.items() if v is not None},
            backfills={number: row.max_active_runs for number, row in backfills.items()},
            paused_backfills=frozenset(number for number, row in backfills.items() if row.paused),
            paused_dags=memory.paused,
        )
        memory.backwards = frozenset(number for number, row in backfills.items() if row.run_backwards)
        memory.pools = {pool.name: pool.slots for pool in self.store.pools()}
        memory.deferred_pools = frozenset(pool.name for pool in self.store.pools() if pool.include_deferred)

    def _cancel_lost(self) -> None:
        """End work whose attempt a user's action took away: cleared, marked, its run ended."""
        live = set(self.executor.live)
        if not live:
            return
        current = {
            one.attempt_id: one.state.value == "restarting"
            for snapshot in self.memory.active.snapshots.values()
            for one in snapshot.instances.values()
            if one.attempt_id is not None
        }
        for attempt_id in live:
            if attempt_id not in current:
                self.executor.cancel(attempt_id, reason="it is no longer wanted: cleared, marked, or its run has ended")
            elif current[attempt_id]:
                self.executor.cancel(attempt_id, reason="it was cleared and starts over", restart=True)

    def _end_backfills(self, now: datetime) -> None:
        """Not only our decisions end runs: a user marks the last one, or every run of a backfill was there already."""
        if not self.memory.run_limits.backfills:
            return
        open_ones = self.memory.run_limits.backfills
        busy = {snapshot.run.backfill_id for snapshot in self.memory.active.snapshots.values()}
        busy |= {run.backfill_id for run in self.memory.other_schedulers.running}
        if busy >= open_ones.keys():
            return
        # Asked of the store once more: of one that was made after the runs were read, the runs are not in hand yet.
        busy |= {run.backfill_id for run in self.store.active_runs()}
        for number in open_ones.keys() - busy:
            self.store.update_backfill(number, completed_at=now)
            self.memory.token = None
        left = {number: most for number, most in open_ones.items() if number in busy}
        self.memory.run_limits = replace(self.memory.run_limits, backfills=left)

    # --- time

    @property
    def _lease(self) -> timedelta:
        return timedelta(seconds=self.settings.scheduler.scheduler_health_check_threshold)

    def _beat(self, now: datetime, *, first: bool = False) -> None:
        """A sign of life; and look after attempts whose owner gave none."""
        self.next_beat = now + timedelta(seconds=self.settings.scheduler.scheduler_heartbeat_sec)
        if self.only is not None:
            self._put_job(now, started=first)
            return
        if not self._hold_store(now):
            raise NbflowError("Another scheduler took over this metastore; this one ends.")
        self._put_job(now, started=first)
        if self.shared:
            self.memory.token = (
                None  # leases on runs are renewed, and those of the dead taken over, by reading the runs
            )
        self._end_deserted(now)
        orphans = [a for a in self.store.expired(now) if a.attempt_id not in set(self.executor.live)]
        if orphans:
            self.memory.reports += self.executor.adopt(orphans)

    def _end_deserted(self, now: datetime) -> None:
        """Runs that a process drove itself (``dag.test()``), and that it left behind when it died, end as failed."""
        lately = now - self._lease  # its process may not have given its first sign of life yet
        deserted = [
            run
            for run in self.store.active_runs()
            if _is_inline(run) and (run.queued_at is None or run.queued_at < lately)
        ]
        if not deserted:
            return
        alive = {job.job_id for job in self.store.jobs("inline") if job.ended_at is None and runs(job)}
        for run in deserted:
            if (run.triggered_by or "").removeprefix(INLINE) in alive:
                continue
            snapshot = self.store.snapshot(run.key)
            if snapshot is not None:
                plan = mark_run(snapshot, RunState.FAILED, now)
                with contextlib.suppress(StalePlan):  # it was alive after all
                    self.store.apply([plan], actor=self.actor, expect={run.key: snapshot.run.revision})

    def _put_job(self, now: datetime, *, started: bool = False, ended_at: datetime | None = None) -> None:
        if started:
            self._started_at = now
        slots = self.executor.slots_free + len(self.executor.live)
        self.store.put_job(
            Job(
                job_id=self.job_id,
                kind="scheduler" if self.only is None else "inline",
                hostname=socket.gethostname(),
                pid=os.getpid(),
                started_at=self._started_at,
                heartbeat_at=now,
                ended_at=ended_at,
                detail={"executor": self.executor.name, "pid_started": process_started(os.getpid()), "slots": slots},
            )
        )

    def _sleep(self, wake_at: datetime | None) -> None:
        """Until the executor or a nudge has something, a time comes, or another process commits."""
        until = earliest(wake_at, self.next_beat)
        fds = [fd for fd in (self.executor.fileno(), self._wake_read.fileno()) if fd is not None]
        while not self.stopping:
            now = self.clock.now()
            left = (until - now).total_seconds() if until is not None else POLL_SECONDS
            timer = self.executor.next_timer()
            timeout = max(0.0, min(left, POLL_SECONDS, timer if timer is not None else POLL_SECONDS))
            ready, _, _ = select.select(fds, [], [], timeout)
            if self._wake_read.fileno() in ready:
                self._drain_wakes()
                return
            due = (until is not None and self.clock.now() >= until) or (timer is not None and timer <= timeout)
            if ready or due or self.store.change_token() != self.memory.token:
                return

    def _drain_wakes(self) -> None:
        try:
            while self._wake_read.recv(4096):
                pass
        except BlockingIOError:
            pass


def _is_inline(run: Run) -> bool:
    return (run.triggered_by or "").startswith(INLINE)


def _ops(plans: Iterable[Plan]) -> Iterator[Op]:
    return (op for plan in plans for op in plan.ops)


def _revised(decision: LoopDecision, stored: Mapping[RunKey, int]) -> LoopDecision:
    """The decision with the revisions that the store has now: one apply raises a run's revision once, however many
    reports and steps of the decision it held."""
    snapshots, looks = dict(decision.active.snapshots), dict(decision.active.evaluations)
    for key, revision in stored.items():
        snapshot = snapshots.get(key)
        if snapshot is None or snapshot.run.revision == revision + 1:
            continue
        snapshots[key] = after = replace(snapshot, run=replace(snapshot.run, revision=revision + 1))
        if key in looks:
            looks[key] = replace(looks[key], snapshot=after)
    return replace(decision, active=ActiveRuns(snapshots=snapshots, evaluations=looks))


def submission_of(snapshot: Snapshot, attempt: Attempt) -> Submission:
    """What an executor is handed for an attempt of a run."""
    key = TaskKey(*attempt.key)
    one = snapshot.instances[key]
    work = Work(
        attempt_id=attempt.attempt_id,
        run=snapshot.run,
        task_id=key.task_id,
        map_index=key.map_index,
        try_number=one.try_number,
        max_tries=one.max_tries,
        version=snapshot.run.version,
        continues=one.start_date is not None,
        first_start=one.start_date,
        reschedules=one.reschedules,
        next_method=attempt.next_method,
        next_kwargs=dict(attempt.next_kwargs or {}),
        queued_at=one.queued_at,
    )
    return Submission(work=work, task=snapshot.dag.tasks[key.task_id])
