"""The scheduler: a loop that computes plans from events and time, commits them, and executes them.

One loop (:meth:`Scheduler.step`)
---------------------------------
1. Collect the executor's reports, and read what other processes changed in the store. A change token, which is cheap
   to read, shows whether there is anything new.
2. Create the runs that are due.
3. Plan the changes that the reports cause (``handle_event``), then decide on all active runs (``decide_all``): in
   memory, on snapshots.
4. Apply all plans of the loop in **one** transaction, guarded by each run's revision. If another process has changed a
   run, the plan is stale: nothing was written, the runs are read again, and the loop is repeated with the same reports.
   A report is never dropped before it is stored.
5. Only then submit the committed attempts to the executor. A crash between 4 and 5 leaves a queued attempt whose lease
   expires: it is dispatched again.

A run whose rows cannot be read, or whose plans are always refused, is set aside, and the other runs go on (see
:mod:`nbflow.services.runs_set_aside`).

After a store error (a full disk, a locked database, a restart of Postgres) the loop is repeated until its plans are
committed; running tasks continue meanwhile.

Then the scheduler sleeps until the executor has a report, another process commits, or the earliest time that a plan
names. The cost of a loop grows with what has changed, not with history: snapshots are cached between loops, and a run
that has not changed is not evaluated again.

Several schedulers can share a Postgres metastore: each leases the runs that it decides on, and dispatches under the
store's named lock "dispatch", counting the slots that all schedulers use. An SQLite metastore has one scheduler, which
holds a named lease.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Collection, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from nbflow.authoring.workload import Workload
from nbflow.clock import Clock
from nbflow.config import Settings
from nbflow.core.dispatch import RunLimits
from nbflow.core.event_handlers import handle_event
from nbflow.core.plan import Callback, Move, Op, Plan, advance, earliest
from nbflow.core.run_changes import fail_run, restart_attempts
from nbflow.core.scheduler_decision import (
    ActiveRuns,
    LoopDecision,
    LoopInput,
    OtherSchedulers,
    after_plan,
    decide_all,
    preferred_scheduler,
    uses_shared_limits,
    with_attempts,
)
from nbflow.core.snapshot import INLINE, Run, RunKey, Snapshot, TaskKey
from nbflow.core.spec import needs_previous_run
from nbflow.core.states import Cause, RunCause, TaskState
from nbflow.errors import NbflowError, StalePlan, StoreError
from nbflow.execution.executors.base import Executor, Report, Submission
from nbflow.services.background_heartbeat import BackgroundHeartbeat
from nbflow.services.host_and_waiter import Host, SelectWaiter, ThisHost, Waiter
from nbflow.services.runs_set_aside import RunsSetAside
from nbflow.services.scheduled_runs import RunCreator
from nbflow.store.base import Attempt, ChangeToken, Job, Store
from nbflow.suggested_commands import STOP_SCHEDULER

log = logging.getLogger(__name__)

LIMITS_INTERVAL = timedelta(seconds=0.25)
"""Minimum interval between reads of pauses, pools and limits. Runs are read at every change."""
PREFERENCE = timedelta(seconds=1)
"""How long a new run is left to the scheduler that should lease it; it notices the run within 50 ms."""
STORE_RETRY_SECONDS = 0.5
"""Delay of the retry after a store error."""
LOG_EVERY_NTH_ERROR = 120
"""Of consecutive store errors, every 120th is logged: about one line per minute."""
KILLING_CAUSES = frozenset({Cause.RUN_TIMED_OUT, Cause.FAIL_FAST})
"""Causes of moves by which the scheduler itself ends running tasks: it kills their processes at once."""
RESTARTED = frozenset({TaskState.RESTARTING})
UNCLAIMED = RESTARTED | {TaskState.QUEUED}
"""States of a task instance whose attempt may have no owner."""
MAX_INLINE_JOBS = 10_000
"""Number of processes of ``dag.test()`` that are read, most recent heartbeat first."""
STALE_RETRIES = 50
"""Maximum number of consecutive stale loops; more mean a bug, or a process that keeps changing the runs."""
ISOLATED_STALE_RETRIES = 5
"""Maximum number of consecutive stale loops for one run alone, before it is set aside."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoopResult:
    """The result of one loop, for logs and tests."""

    ops: tuple[Op, ...] = ()
    attempts: tuple[Attempt, ...] = ()
    ended: tuple[RunKey, ...] = ()
    wake_at: datetime | None = None
    busy: bool = False
    """Something was applied: run another loop before sleeping."""


@dataclass(slots=True)
class _Memory:
    """The state that the scheduler keeps between loops."""

    active: ActiveRuns = field(default_factory=ActiveRuns)
    other_schedulers: OtherSchedulers = field(default_factory=OtherSchedulers)
    running_schedulers: frozenset[str] = frozenset()
    """Job ids of the running schedulers of a shared metastore, this one included."""
    run_limits: RunLimits = field(default_factory=lambda: RunLimits(max_active_runs={}))
    pools: dict[str, int] = field(default_factory=dict)
    deferred_pools: frozenset[str] = frozenset()
    backwards: frozenset[int] = frozenset()
    token: ChangeToken | None = None
    due: datetime | None = None
    """Time at which the next DAG is due."""
    ended: bool = False
    """A run has ended, so a DAG that has reached max_active_runs may get a new run."""
    paused: frozenset[str] = frozenset()
    limits_of: frozenset[RunKey] = frozenset()
    """The runs that the limits were read for."""
    limits_until: datetime | None = None
    limits_due: bool = False
    reports: list[Report] = field(default_factory=list)
    store_errors: int = 0
    """Number of consecutive store errors. After an error it is unknown whether the last dispatched attempts were
    submitted."""


class Scheduler:
    """Schedules the runs of ``store`` and submits their tasks to ``executor``.

    With ``only``, it drives only these runs and creates none (``dag.test()``). ``callback_handler`` is called with each
    callback, which is then not stored; by default callbacks are stored, and ``on_callbacks`` is called after that.
    ``host`` and ``waiter`` are those of this process, unless the simulator runs the scheduler."""

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
        callback_handler: Callable[[Callback], None] | None = None,
        host: Host | None = None,
        waiter: Waiter | None = None,
    ) -> None:
        self.store, self.executor, self.clock, self.settings = store, executor, clock, settings
        self.job_id, self.only, self.actor = job_id, frozenset(only) if only is not None else None, actor
        self.on_callbacks, self.callback_handler = on_callbacks, callback_handler
        self.run_creator = RunCreator(store, settings, actor=actor)
        self.memory = _Memory()
        self.set_aside = RunsSetAside()
        self.shared = only is None and store.shared
        """Whether other schedulers may use the same metastore."""
        self.stopping = False
        self.next_heartbeat: datetime | None = None
        self.last_busy: datetime = clock.now()
        self.background: BackgroundHeartbeat | None = None
        self.host: Host = host or ThisHost()
        self.waiter: Waiter = waiter or SelectWaiter(clock)

    # --- start and stop

    def start(self) -> None:
        """Register this scheduler and start its executor. Raises NbflowError if an SQLite metastore has a scheduler
        already."""
        now = self.clock.now()
        # First of all: who holds a lease is known, so that the next scheduler takes it over if this one is killed.
        self._put_job(now, started=True)
        orphans = [] if self.only is not None else self._take_over_dead_schedulers(now)
        if not self._take_store_lease(now):
            others = [job for job in self._other_schedulers() if job.heartbeat_at > now - self._lease]
            self._put_job(now, ended_at=now)
            process = f" (pid {others[0].pid} on {others[0].hostname})" if others else ""
            raise NbflowError(
                f"A scheduler already runs on this metastore{process}.",
                hint=f"SQLite allows one scheduler: stop it with {STOP_SCHEDULER}, or use Postgres.",
                suggestions=(STOP_SCHEDULER,),
            )
        self.executor.start()  # after all that a store error prevents: start() may be called again then
        if orphans:
            self.memory.reports += self.executor.adopt(orphans)
        if self.executor.runs_in_caller and (self.only is None or self.store.shared):
            self.background = BackgroundHeartbeat(self._beat, self.settings.scheduler.scheduler_heartbeat_sec)
            self.background.start()

    def _take_store_lease(self, now: datetime) -> bool:
        """Take or renew the lease of the only scheduler of the metastore. Schedulers of a shared metastore have leases
        of runs instead."""
        if self.only is not None or self.shared:
            return True
        return self.store.take_singleton("scheduler", self.job_id, lease=self._lease, now=now)

    def _other_schedulers(self) -> list[Job]:
        jobs = self.store.jobs("scheduler")
        return [job for job in jobs if job.job_id != self.job_id and job.ended_at is None]

    def _take_over_dead_schedulers(self, now: datetime) -> list[Attempt]:
        """Release the leases of schedulers on this host whose processes have ended, and return their attempts, which
        the executor must end and report as lost."""
        orphans: list[Attempt] = []
        owners = {attempt.owner for attempt in self.store.live_attempts()}
        for job in self.store.jobs("scheduler"):
            # An ended job has attempts if the scheduler that took it over died before it had stored their end.
            if job.job_id == self.job_id or (job.ended_at is not None and job.job_id not in owners):
                continue
            if self.host.is_running(job):
                continue
            log.warning("Scheduler %s (pid %d) has died; taking over its attempts.", job.job_id, job.pid)
            self.store.release_singleton("scheduler", job.job_id)
            self.store.release_runs(job.job_id)
            orphans += self.store.live_attempts(job.job_id)
            if job.ended_at is None:
                self.store.put_job(replace(job, ended_at=now))
        if not self.shared and not any(map(self._runs_here, self._other_schedulers())):
            orphans += [a for a in self.store.live_attempts() if a.owner is None]  # committed, but not submitted
        return orphans

    def _runs_here(self, job: Job) -> bool:
        return self.host.is_local(job) and self.host.is_running(job)

    def run(self, *, until: Callable[[LoopResult], bool] | None = None) -> None:
        """Start, loop until :meth:`stop` is called or ``until`` returns True, and close."""
        self.start()
        try:
            self.loop(until=until)
        finally:
            self.close()

    def loop(self, *, until: Callable[[LoopResult], bool] | None = None) -> None:
        """Loop until :meth:`stop` is called or ``until`` returns True; :meth:`start` must have been called."""
        while not self.stopping:
            try:
                result = self.step()
                if until is not None and until(result):
                    break
                if not result.busy:
                    self._sleep(result.wake_at)
            except StoreError as error:
                if self.only is not None:
                    raise
                self._handle_store_error(error)

    def _handle_store_error(self, error: StoreError) -> None:
        """Log the error, wait a little, and forget what was read. The executor's reports are kept."""
        memory = self.memory
        if memory.store_errors % LOG_EVERY_NTH_ERROR == 0:
            log.error("The metastore is not available; retrying every %g s: %s", STORE_RETRY_SECONDS, error)
        memory.store_errors += 1
        memory.token, memory.limits_until, memory.active, self.next_heartbeat = None, None, ActiveRuns(), None
        memory.reports += self.executor.poll(STORE_RETRY_SECONDS)

    def stop(self) -> None:
        """Make the loop end; safe from a signal handler or another thread."""
        self.stopping = True
        self.wake()

    def wake(self) -> None:
        """End the loop's sleep; safe from a signal handler or another thread."""
        self.waiter.wake()

    def close(self) -> None:
        """Kill the running tasks so that the next scheduler restarts them, stop the executor, release the leases."""
        try:
            if self.only is None:
                self._restart_live_tasks()
        except StoreError as error:  # the next scheduler finds the attempts when their leases have expired
            log.error("Running tasks are killed, but not requeued; their leases will expire: %s", error)
        finally:
            self.executor.stop()
            self.waiter.close()
            if self.background is not None:
                self.background.stop()
        now = self.clock.now()
        try:
            if self.only is None:
                self.store.release_singleton("scheduler", self.job_id)
                if self.shared:
                    self.store.release_runs(self.job_id)
            self._put_job(now, ended_at=now)
        except StoreError as error:
            log.error("Could not record the scheduler's end: %s", error)

    def _restart_live_tasks(self) -> None:
        live = set(self.executor.live)
        attempts = [self.store.attempt(attempt_id) for attempt_id in sorted(live)]
        for run in dict.fromkeys(attempt.run for attempt in attempts if attempt is not None):
            self._mark_restarting(run, live)
        for attempt_id in live:
            self.executor.cancel(attempt_id, reason="the scheduler was stopped; the task restarts", restart=True)
        self.memory.token = None
        self.memory.reports += self.executor.drain(self.settings.core.killed_task_cleanup_time)
        for _ in range(STALE_RETRIES):
            try:
                self._run_loop(self.clock.now())
                break
            except StalePlan:
                self.memory.token, self.memory.active = None, ActiveRuns()

    def _mark_restarting(self, run: RunKey, attempt_ids: Collection[str]) -> None:
        """Let the instances of these attempts restart. Another scheduler may have leased their run meanwhile, and may
        change it."""
        for _ in range(STALE_RETRIES):
            snapshot = self.store.snapshot(run)
            plan = restart_attempts(snapshot, attempt_ids, self.clock.now()) if snapshot is not None else None
            if snapshot is None or not plan:
                return
            with contextlib.suppress(StalePlan):
                self.store.apply([plan], actor=self.actor, expect={run: snapshot.run.revision})
                return

    # --- one loop

    def step(self) -> LoopResult:
        """Run one loop; see the head of this module. Raises StoreError."""
        self.memory.reports += self.executor.poll(0)
        for _ in range(STALE_RETRIES):
            now = self.clock.now()
            if self.next_heartbeat is None or now >= self.next_heartbeat:
                self._heartbeat(now)
            try:
                result = self._run_loop(now)
            except StalePlan as stale:
                log.debug("The loop is repeated: %s", stale)
                self._forget_runs()
                continue
            except (StoreError, AssertionError):  # an assertion is a bug, or a broken invariant of the simulator
                raise
            except Exception as error:
                if self.only is not None:
                    raise
                result = self._isolate(now, error)
            if result.busy:
                self.last_busy = now
            if self.memory.store_errors:
                log.warning("The metastore is available again.")
                self.memory.store_errors = 0
            return result
        always_stale = StalePlan(f"{STALE_RETRIES} plans in a row were stale: another process keeps changing the runs.")
        if self.only is not None:
            raise always_stale
        return self._isolate(self.clock.now(), always_stale)

    def _isolate(self, now: datetime, error: Exception) -> LoopResult:
        """After an error that concerns not the store but a run: run a loop for each run alone, and set aside the runs
        with which it fails, so that the other runs go on. Raises the error if it concerns none of the runs."""
        self._forget_runs()
        before = self.set_aside.count_added
        self._refresh(now, force=True)
        snapshots, reports = self.memory.active.snapshots, self.memory.reports
        results = []
        for key, snapshot in snapshots.items():
            self.memory.reports = [report for report in reports if report.run == key]
            try:
                results.append(self._run_alone(snapshot))
                reports = [report for report in reports if report.run != key]
            except (StoreError, AssertionError):
                self.memory.reports = reports
                raise
            except Exception as run_error:
                self.set_aside.add(snapshot.run, run_error, now)
        self.memory.reports = reports
        self._forget_runs()
        if self.set_aside.count_added == before:
            raise error
        self.next_heartbeat = None  # store the reasons
        return LoopResult(
            ops=tuple(op for result in results for op in result.ops),
            attempts=tuple(attempt for result in results for attempt in result.attempts),
            ended=tuple(key for result in results for key in result.ended),
            busy=True,
        )

    def _run_alone(self, snapshot: Snapshot) -> LoopResult:
        """A loop for one run; the other runs count as those of another scheduler, so that the limits hold."""
        for attempt in range(ISOLATED_STALE_RETRIES):
            current = replace(self.store.snapshot(snapshot.run.key) or snapshot, paused=snapshot.paused)
            self.memory.active = ActiveRuns(snapshots={snapshot.run.key: current})
            self.memory.other_schedulers = self._used_by_other_schedulers()
            try:
                return self._commit_decisions(self.clock.now(), created=[])
            except StalePlan:
                if attempt == ISOLATED_STALE_RETRIES - 1:
                    raise
        raise AssertionError

    def _forget_runs(self) -> None:
        """Read all runs again in the next loop."""
        self.memory.token, self.memory.active = None, ActiveRuns()

    def _run_loop(self, now: datetime) -> LoopResult:
        created = self._create_due_runs(now, refreshed=self._refresh(now))
        if created:
            self._refresh(now, force=True)
        return self._commit_decisions(now, created)

    def _commit_decisions(self, now: datetime, created: Sequence[Run]) -> LoopResult:
        """Plan the changes of the active runs, commit them, and execute them."""
        active, event_plans, revisions = self._handle_reports()
        attempts: Sequence[Attempt] = ()
        with self._dispatch_lock(active, now) as may_dispatch:
            decision = decide_all(self._loop_input(active, may_dispatch=may_dispatch), now)
            plans, callbacks = self._split_callbacks([*event_plans, decision.plan])
            ops = tuple(_ops(plans))
            if ops:
                attempts = self.store.apply(plans, actor=self.actor, expect={**decision.expect, **revisions})
                self._skip_own_commit()
        self.memory.reports = [report for report in self.memory.reports if report.run in self.set_aside]
        self.memory.active = with_attempts(_with_stored_revisions(decision, revisions), attempts)
        self.memory.ended = self.memory.ended or bool(decision.ended)
        if any(isinstance(op, Move) and op.cause in KILLING_CAUSES for op in ops):
            self._cancel_lost()
        self._submit(attempts)
        if self.only is None:
            self.run_creator.pause_after_failures((active.snapshots[key] for key in decision.ended), now)
        if self.callback_handler is not None:
            for callback in callbacks:
                self.callback_handler(callback)
        elif any(isinstance(op, Callback) for op in ops):
            self.on_callbacks()
        self._end_backfills(now)
        limits_at = self.memory.limits_until if self.memory.limits_due else None
        return LoopResult(
            ops=ops,
            attempts=tuple(attempts),
            ended=decision.ended,
            wake_at=earliest(decision.plan.wake_at, self.memory.due, limits_at, self.set_aside.next_try),
            busy=bool(ops or created),
        )

    def _split_callbacks(self, plans: list[Plan]) -> tuple[list[Plan], list[Callback]]:
        """With a callback handler (``dag.test()``): the plans without callbacks, and the callbacks, which must not be
        stored, so that no other process claims them."""
        if self.callback_handler is None:
            return plans, []
        callbacks = [op for op in _ops(plans) if isinstance(op, Callback)]
        if not callbacks:
            return plans, []
        without = [replace(plan, ops=tuple(op for op in plan.ops if not isinstance(op, Callback))) for plan in plans]
        return without, callbacks

    @contextlib.contextmanager
    def _dispatch_lock(self, active: ActiveRuns, now: datetime) -> Iterator[bool]:
        """On a shared metastore: let one scheduler start runs and dispatch at a time, and count what all others use,
        because pools and limits apply to all schedulers together. A scheduler that knows of no other takes the lock
        too: another may have just started. Yields False if there is nothing to dispatch, and so no lock was taken."""
        if not self.shared:
            yield True
        elif not uses_shared_limits(self._loop_input(active), now):
            yield False
        else:
            with self.store.lock("dispatch"):
                self.memory.other_schedulers = self._used_by_other_schedulers()
                yield True

    def _used_by_other_schedulers(self) -> OtherSchedulers:
        """What the runs that are not as in memory use: those of other schedulers, and those that another process has
        changed since they were read."""
        known = {key: snapshot.run.revision for key, snapshot in self.memory.active.snapshots.items()}
        runs = [run for run in self.store.active_runs() if known.get(run.key) != run.revision and not run.is_inline]
        usage = self.store.usage(without=known)
        return OtherSchedulers(running=runs, pool_used=usage.pools, task_used=usage.tasks)

    def _create_due_runs(self, now: datetime, *, refreshed: bool) -> list[Run]:
        """Create the runs that are due. The store is not queried while nothing has changed and nothing is due."""
        memory = self.memory
        is_due = memory.due is not None and now >= memory.due
        if self.only is not None or not (refreshed or is_due or memory.ended):
            return []
        runs = {run.key: run for run in memory.other_schedulers.running}
        runs |= {key: snapshot.run for key, snapshot in memory.active.snapshots.items()}
        created = self.run_creator.create_due_runs(runs.values(), now)
        memory.due, memory.ended = self.run_creator.next_due(now), False
        return created

    def _skip_own_commit(self) -> None:
        """Update the token after this loop's commit, whose content is in memory: unless another process has committed
        too, there is nothing to read."""
        token = self.memory.token
        if token is not None and self.store.change_token() == token.after_own_commit:
            self.memory.token = token.after_own_commit

    def _handle_reports(self) -> tuple[ActiveRuns, list[Plan], dict[RunKey, int]]:
        """Plan the changes that the reports cause. Returns the active runs after the plans, the plans, and the
        revisions that they expect. A report of an adopted attempt may be about a run that this scheduler does not
        lease; that run is read from the store."""
        active, plans = self.memory.active, []
        revisions: dict[RunKey, int] = {}
        not_leased: dict[RunKey, Snapshot] = {}
        for report in self.memory.reports:
            run = report.run
            if run in self.set_aside:
                continue
            snapshot = active.snapshots.get(run) or not_leased.get(run) or self.store.snapshot(run)
            if snapshot is None:
                continue  # the run was deleted
            revision = revisions.get(run, snapshot.run.revision)
            plan = handle_event(snapshot, report.key, report.event, callbacks_run=report.callbacks_run)
            if plan.refused:
                log.info("%s %s: %s", run.dag_id, report.key, plan.refused)
            if plan:
                plans.append(plan)
                revisions[run] = revision
                if run in active.snapshots:
                    active = after_plan(active, plan)
                else:
                    not_leased[run] = advance(snapshot, plan.ops)
        return active, plans, revisions

    def _loop_input(self, active: ActiveRuns, *, may_dispatch: bool = True) -> LoopInput:
        memory = self.memory
        return LoopInput(
            active=active,
            run_limits=memory.run_limits,
            pools=memory.pools,
            slots=max(self.executor.slots_free, 0) if may_dispatch else 0,
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

    # --- reading the store

    def _refresh(self, now: datetime, *, force: bool = False) -> bool:
        """Read what other processes changed: the runs with a new revision, and all limits and pools (they are few).
        Returns False if nothing has changed."""
        memory, token = self.memory, self.store.change_token()
        force = force or (self.set_aside.next_try or now) < now
        limits_due = memory.limits_due and memory.limits_until is not None and now >= memory.limits_until
        if not force and not limits_due and memory.token is not None and token == memory.token:
            return False
        runs = self._runs_to_schedule(self.store.active_runs(), now)
        keys = frozenset(run.key for run in runs)
        if memory.limits_until is None or now >= memory.limits_until or keys != memory.limits_of or force:
            self._read_limits(runs)
            memory.limits_of, memory.limits_until, memory.limits_due = keys, now + LIMITS_INTERVAL, False
        else:
            memory.limits_due = True  # a limit may have changed: read them after the interval
        snapshots: dict[RunKey, Snapshot] = {}
        for run in runs:
            cached = memory.active.snapshots.get(run.key)
            paused = run.dag_id in memory.paused
            if cached is not None and cached.run.revision == run.revision and cached.paused == paused:
                snapshots[run.key] = self._with_previous_run(cached)
            elif (current := self._read_snapshot(run, now)) is not None:
                snapshots[run.key] = replace(current, paused=paused)
                may_be_unsubmitted = cached is None and (self.shared or memory.store_errors)
                self._adopt_unclaimed(current, UNCLAIMED if may_be_unsubmitted else RESTARTED)
        memory.active = ActiveRuns(snapshots=snapshots, evaluations=memory.active.evaluations)
        memory.token = token
        self._cancel_lost()
        return True

    def _read_snapshot(self, run: Run, now: datetime) -> Snapshot | None:
        """The snapshot of a run. A run whose rows or spec cannot be read is set aside."""
        try:
            return self.store.snapshot(run.key)
        except StoreError:
            raise
        except Exception as error:
            if self.only is not None:
                raise
            self.set_aside.add(run, error, now)
            self.next_heartbeat = None  # store the reason
            return None

    def _with_previous_run(self, cached: Snapshot) -> Snapshot:
        """The snapshot with the current previous run. The previous run can change while the run itself does not: a user
        marks one of its tasks, or creates a run of an earlier date."""
        if not needs_previous_run(cached.dag) or (current := self.store.snapshot(cached.run.key)) is None:
            return cached
        return cached if current.previous == cached.previous else replace(cached, previous=current.previous)

    def _adopt_unclaimed(self, snapshot: Snapshot, states: Container[TaskState]) -> None:
        """Let the executor adopt attempts without owner, so that they are reported lost.

        The scheduler that leases a run claims its attempts right after their dispatch. So a queued attempt without
        owner in a run that was just leased comes from a scheduler that died, or that can no longer claim it. An attempt
        that was cleared before it was claimed cannot be claimed any more: no process would ever report its end."""
        live = set(self.executor.live)
        attempt_ids = [
            ti.attempt_id
            for ti in snapshot.instances.values()
            if ti.state in states and ti.attempt_id is not None and ti.attempt_id not in live
        ]
        attempts = [self.store.attempt(attempt_id) for attempt_id in attempt_ids]
        orphans = [attempt for attempt in attempts if attempt is not None and attempt.owner is None]
        if orphans:
            self.memory.reports += self.executor.adopt(orphans)

    def _runs_to_schedule(self, runs: list[Run], now: datetime) -> list[Run]:
        """The runs that this scheduler decides on; of a shared metastore those that it can lease."""
        if self.only is not None:
            return [run for run in runs if run.key in self.only]
        runs = [run for run in runs if not run.is_inline]
        self.set_aside.release(runs, now)
        aside = [run for run in runs if run.key in self.set_aside]
        runs = [run for run in runs if run.key not in self.set_aside]
        if not self.shared:
            self.memory.other_schedulers = OtherSchedulers(running=aside) if aside else OtherSchedulers()
            return runs
        keys = [run.key for run in runs]
        leave = self._left_to_others(runs, now)
        leased = set(self.store.lease_runs(self.job_id, keys, lease=self._lease, now=now, leave=leave))
        others = [*aside, *(run for run in runs if run.key not in leased)]
        self.memory.other_schedulers = OtherSchedulers(running=others) if others else OtherSchedulers()
        return [run for run in runs if run.key in leased]

    def _left_to_others(self, runs: Iterable[Run], now: datetime) -> list[RunKey]:
        """New runs that another running scheduler should lease, so that all share the work. A run that has had no
        scheduler for PREFERENCE is anyone's: the other may stand still."""
        running = self.memory.running_schedulers
        if len(running) < 2:
            return []
        new = [run.key for run in runs if run.queued_at is not None and now - run.queued_at < PREFERENCE]
        return [key for key in new if preferred_scheduler(key, running) != self.job_id]

    def _read_limits(self, runs: Iterable[Run]) -> None:
        """Read pauses, limits and pools: few rows, but several queries."""
        memory = self.memory
        dags = self.store.dag_limits(sorted({run.dag_id for run in runs}))
        memory.paused = frozenset(dag_id for dag_id, dag in dags.items() if dag.paused and self.only is None)
        backfills = {row.backfill_id: row for row in self.store.backfills(active=True)} if self.only is None else {}
        memory.run_limits = RunLimits(
            max_active_runs={dag_id: dag.max_active_runs for dag_id, dag in dags.items()},
            backfills={backfill_id: row.max_active_runs for backfill_id, row in backfills.items()},
            paused_backfills=frozenset(backfill_id for backfill_id, row in backfills.items() if row.paused),
            paused_dags=memory.paused,
        )
        memory.backwards = frozenset(backfill_id for backfill_id, row in backfills.items() if row.run_backwards)
        pools = self.store.pools()
        memory.pools = {pool.name: pool.slots for pool in pools}
        memory.deferred_pools = frozenset(pool.name for pool in pools if pool.include_deferred)

    def _cancel_lost(self) -> None:
        """Cancel the executor's attempts that are not current any more: cleared, marked, or their run has ended.

        An attempt of a run that another scheduler has leased meanwhile goes on: it has a lease of its own."""
        live = set(self.executor.live)
        if not live:
            return
        states = {
            ti.attempt_id: ti.state
            for snapshot in self.memory.active.snapshots.values()
            for ti in snapshot.instances.values()
            if ti.attempt_id is not None
        }
        if not_leased := live - states.keys():
            states.update(self.store.current_states(sorted(not_leased)))
        for attempt_id in live:
            if attempt_id not in states:
                self.executor.cancel(attempt_id, reason="the task was cleared or marked, or its run has ended")
            elif states[attempt_id] is TaskState.RESTARTING:
                self.executor.cancel(attempt_id, reason="the task was cleared and restarts", restart=True)

    def _end_backfills(self, now: datetime) -> None:
        """Complete the backfills without active runs. A backfill's last run may end without a decision of this
        scheduler: a user marks it, or every run of the backfill existed already."""
        if not self.memory.run_limits.backfills:
            return
        limits = self.memory.run_limits.backfills
        active = {snapshot.run.backfill_id for snapshot in self.memory.active.snapshots.values()}
        active |= {run.backfill_id for run in self.memory.other_schedulers.running}
        if active >= limits.keys():
            return
        # Read the active runs again: those of a backfill that is newer than the last refresh are not cached yet.
        active |= {run.backfill_id for run in self.store.active_runs()}
        for backfill_id in limits.keys() - active:
            self.store.update_backfill(backfill_id, completed_at=now)
            self.memory.token = None
        remaining = {backfill_id: limit for backfill_id, limit in limits.items() if backfill_id in active}
        self.memory.run_limits = replace(self.memory.run_limits, backfills=remaining)

    # --- time

    @property
    def _lease(self) -> timedelta:
        return timedelta(seconds=self.settings.scheduler.scheduler_health_check_threshold)

    def _beat(self) -> None:
        """A heartbeat from another thread, while user code holds the scheduler's: this process is alive, and keeps what
        it holds."""
        now = self.clock.now()
        self._put_job(now)
        if self._take_store_lease(now) and self.shared:
            self.store.lease_runs(self.job_id, list(self.memory.active.snapshots), lease=self._lease, now=now)

    def _heartbeat(self, now: datetime) -> None:
        """Store a heartbeat and renew the leases; adopt attempts whose lease has expired."""
        self.next_heartbeat = now + timedelta(seconds=self.settings.scheduler.scheduler_heartbeat_sec)
        if self.only is not None:
            self._put_job(now)
            return
        if not self._take_store_lease(now):
            raise NbflowError("Another scheduler took over this metastore; this scheduler stops.")
        self._put_job(now)
        if self.shared:
            self.store.end_stalled_transactions()
            running = self.store.jobs("scheduler", alive_since=now - self._lease)
            self.memory.running_schedulers = frozenset(job.job_id for job in running if self.host.is_running(job))
            self.memory.token = None  # _refresh renews the leases of runs and takes over those that have expired
        self._fail_abandoned_runs(now)
        orphans = [a for a in self.store.expired(now) if a.attempt_id not in set(self.executor.live)]
        if orphans:
            self.memory.reports += self.executor.adopt(orphans)

    def _fail_abandoned_runs(self, now: datetime) -> None:
        """Mark the runs failed whose driving process (``dag.test()``) has died: on this host its process does not run,
        on another host its heartbeat is too old."""
        before = now - self._lease  # the process of a newer run may not have stored its first heartbeat yet
        candidates = [
            run
            for run in self.store.active_runs()
            if run.is_inline and (run.queued_at is None or run.queued_at < before)
        ]
        if not candidates:
            return
        jobs = [job for job in self.store.jobs("inline", limit=MAX_INLINE_JOBS) if job.ended_at is None]
        alive = {
            job.job_id
            for job in jobs
            if (self.host.is_running(job) if self.host.is_local(job) else job.heartbeat_at >= before)
        }
        for run in candidates:
            if (run.triggered_by or "").removeprefix(INLINE) in alive:
                continue
            snapshot = self.store.snapshot(run.key)
            if snapshot is not None:
                plan = fail_run(snapshot, RunCause.ABANDONED, now, {"reason": "its process died"})
                with contextlib.suppress(StalePlan):  # the process is alive after all
                    self.store.apply([plan], actor=self.actor, expect={run.key: snapshot.run.revision})

    def _put_job(self, now: datetime, *, started: bool = False, ended_at: datetime | None = None) -> None:
        if started:
            self._started_at = now
        slots = self.executor.slots_free + len(self.executor.live)
        self.store.put_job(
            Job(
                job_id=self.job_id,
                kind="scheduler" if self.only is None else "inline",
                hostname=self.host.hostname,
                pid=self.host.pid,
                started_at=self._started_at,
                heartbeat_at=now,
                ended_at=ended_at,
                detail={
                    "executor": self.executor.name,
                    "pid_started": self.host.pid_started,
                    "slots": slots,
                    **self.set_aside.as_detail(),
                },
            )
        )

    def _sleep(self, wake_at: datetime | None) -> None:
        """Sleep until the executor has a report, :meth:`wake` is called, ``wake_at`` or the next heartbeat has come, or
        another process commits."""
        if not self.stopping:
            until = earliest(wake_at, self.next_heartbeat)
            self.waiter.wait(until, self.executor, lambda: self.store.change_token() != self.memory.token)


def _ops(plans: Iterable[Plan]) -> Iterator[Op]:
    return (op for plan in plans for op in plan.ops)


def _with_stored_revisions(decision: LoopDecision, revisions: Mapping[RunKey, int]) -> LoopDecision:
    """The decision with the revisions that the store has after ``apply``, which increments a run's revision once,
    however many plans change the run. ``revisions``: those before."""
    snapshots, evaluations = dict(decision.active.snapshots), dict(decision.active.evaluations)
    for key, revision in revisions.items():
        snapshot = snapshots.get(key)
        if snapshot is None or snapshot.run.revision == revision + 1:
            continue
        snapshots[key] = after = replace(snapshot, run=replace(snapshot.run, revision=revision + 1))
        if key in evaluations:
            evaluations[key] = replace(evaluations[key], snapshot=after)
    return replace(decision, active=ActiveRuns(snapshots=snapshots, evaluations=evaluations))


def submission_of(snapshot: Snapshot, attempt: Attempt) -> Submission:
    """The executor's submission of an attempt."""
    key = TaskKey(*attempt.key)
    ti = snapshot.instances[key]
    workload = Workload(
        attempt_id=attempt.attempt_id,
        run=snapshot.run,
        task_id=key.task_id,
        map_index=key.map_index,
        try_number=ti.try_number,
        max_tries=ti.max_tries,
        version=snapshot.run.version,
        continues=ti.start_date is not None,
        first_start=ti.start_date,
        reschedules=ti.reschedules,
        next_method=attempt.next_method,
        next_kwargs=dict(attempt.next_kwargs or {}),
        queued_at=ti.queued_at,
    )
    return Submission(workload=workload, task=snapshot.dag.tasks[key.task_id])
