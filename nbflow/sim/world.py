"""A world in which shipped schedulers run on a virtual clock.

Each scheduler is a :class:`nbflow.services.scheduler.Scheduler`, the class that ``nbflow scheduler`` runs, with its own
loop, memory and store object. The world supplies what is around it: a :class:`~nbflow.store.memory.MemoryStore`
(shared, if there are several), a clock that jumps, hosts and processes, an executor whose tasks do as they are told
(:mod:`nbflow.sim.outcomes`), a triggerer, users, faults (:mod:`nbflow.sim.fault_schedule`), and after each commit a
check of what nbflow promises (:mod:`nbflow.sim.invariants`).

How time passes
---------------
Schedulers and users are actors of an :class:`~nbflow.sim.interleaving.Interleaver`. An actor goes on until it waits; at
each of its store calls the schedule of faults may let another one go on first, or a fault strike. Virtual time passes
only while all actors wait: no call takes time, except by a fault. An idle scheduler does not poll: a commit wakes it.
With ``NO_BEATS`` no scheduler or task has heartbeats, so the clock jumps from one change to the next: a week is
simulated in well under a second. With other ``beats`` every heartbeat is played.

Moments that tasks wait for are counted on the monotonic clock, moments that the schedule names on the wall clock of
each host: a wall clock that is set back does not make a task run longer.

The same dags, outcomes, faults and actions give the same history, to the letter (:attr:`World.trace`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any, TypeVar, cast

from nbflow.clock import VirtualClock
from nbflow.config import Settings
from nbflow.core import attempt_events as ev
from nbflow.core.dispatch import RunLimits
from nbflow.core.event_handlers import handle_event
from nbflow.core.plan import Plan
from nbflow.core.scheduler_decision import ActiveRuns, LoopInput, OtherSchedulers, decide_all
from nbflow.core.snapshot import RunKey, TaskKey
from nbflow.core.spec import DagSpec
from nbflow.errors import NbflowError, StalePlan, StoreError
from nbflow.execution.executors.base import Executor
from nbflow.services.operations import Operations
from nbflow.services.scheduler import LoopResult, Scheduler
from nbflow.sim.executor import Processes, SimulatedExecutor
from nbflow.sim.fault_schedule import NO_FAULTS, At, Draw, FaultSchedule, Script
from nbflow.sim.interleaving import Actor, ActorClock, Interleaver, Killed
from nbflow.sim.invariants import Checker, InvariantBroken
from nbflow.sim.outcomes import Outcomes, ScriptedOutcomes
from nbflow.sim.store_calls import StoreCalls
from nbflow.store.base import DagVersion, Job, Pool, Store, TaskEvent
from nbflow.store.memory import MemoryStore

T = TypeVar("T")

SLOTS = 32
"""Executor slots of a scheduler, as [core] parallelism has by default."""
START_AGAIN_SECONDS = 5.0
"""After which a scheduler that ended with an error is started again, as a service manager does."""
COMMITS = frozenset({"apply", "add_backfill", "delete_dag", "delete_run"})
"""Calls after which the invariants are checked: those that write states."""


@dataclass(frozen=True, slots=True)
class Beats:
    """Intervals of heartbeats and lengths of leases, in seconds."""

    scheduler: float
    scheduler_lease: float
    task: float
    task_lease: float

    def settings(self) -> Settings:
        """The default settings with these intervals."""
        settings = Settings.load({}, home=Path("nbflow-simulation"))
        scheduler = replace(
            settings.scheduler,
            scheduler_heartbeat_sec=self.scheduler,
            scheduler_health_check_threshold=self.scheduler_lease,
            task_instance_heartbeat_sec=self.task,
            task_instance_heartbeat_timeout=self.task_lease,
        )
        return replace(settings, scheduler=scheduler)


DEFAULT_BEATS = Beats(5.0, 30.0, 5.0, 60.0)
"""The defaults of the settings."""
SLOW_BEATS = Beats(30.0, 180.0, 30.0, 360.0)
"""The same in proportion: a world is played six times as fast."""
NO_BEATS = Beats(1e9, 1e9, 1e9, 1e9)
"""No heartbeat comes and no lease ends within 31 years."""


@dataclass(slots=True)
class SimulatedHost:
    """A :class:`~nbflow.services.host_and_waiter.Host` of a simulated process."""

    hostname: str
    pid: int
    alive: set[int]
    """Pids of all hosts."""
    pid_started: float | None = None

    def is_local(self, job: Job) -> bool:
        return job.hostname == self.hostname

    def is_running(self, job: Job) -> bool:
        return not self.is_local(job) or job.pid in self.alive


class SimulatedWaiter:
    """A :class:`~nbflow.services.host_and_waiter.Waiter` that lets the other actors go on."""

    def __init__(self, turns: Interleaver, store: Store, at_rest: Callable[[], None]) -> None:
        self._turns, self._store, self._at_rest = turns, store, at_rest
        self._woken = False

    def wait(self, until: datetime | None, executor: Executor, changed: Callable[[], bool]) -> None:
        if not self._woken and not changed():
            self._at_rest()
            token, change_token = self._store.change_token(), self._store.change_token
            self._turns.wait(executor.next_timer(), until=until, ready=lambda: self._woken or change_token() != token)
        self._woken = False

    def wake(self) -> None:
        self._woken = True

    def close(self) -> None:
        """Nothing to close."""


@dataclass
class SchedulerProcess:
    """A scheduler of the world: its name, host and clock stay, its process comes and goes."""

    name: str
    hostname: str
    clock: ActorClock
    store: StoreCalls
    number: int = 0
    """Of processes so far."""
    pid: int = 0
    actor: Actor | None = None
    scheduler: Scheduler | None = None
    executor: SimulatedExecutor | None = None
    result: LoopResult = field(default_factory=LoopResult)
    restart_seconds: float = 0.0

    @property
    def runs(self) -> bool:
        return self.actor is not None and not self.actor.ended


class World:
    """See the module's head. Times are aware; ``slots`` None is no limit.

    ``schedulers``: their number, all on one host or (``one_host`` False) each on another. ``beats``: default
    :data:`DEFAULT_BEATS`; :data:`NO_BEATS` for one scheduler without faults. ``store``: another, empty and migrated
    store, for one scheduler. Traces are equal only if it names its attempts by :func:`attempt_ids`.
    """

    def __init__(
        self,
        dags: Iterable[DagSpec] = (),
        *,
        start: datetime,
        outcomes: Outcomes | None = None,
        faults: FaultSchedule = NO_FAULTS,
        slots: int | None = SLOTS,
        pools: Mapping[str, int] | None = None,
        check: bool = True,
        schedulers: int = 1,
        one_host: bool = True,
        beats: Beats | None = None,
        store: Store | None = None,
    ) -> None:
        self.clock = VirtualClock(start)
        self.faults, self.slots = faults, slots
        self._drawn = faults
        calm = isinstance(faults, Script) and not faults.count
        self.beats = beats or (NO_BEATS if calm and schedulers == 1 else DEFAULT_BEATS)
        self.settings = self.beats.settings()
        self.turns = Interleaver(self.clock)
        self.happened: list[str] = []
        """What struck and what was refused, with its moment: not part of the history, but of the trace."""
        self.steps = 0
        """Number of store calls of all actors."""
        self.schedule_until: datetime | None = None
        """After this moment the schedule creates no more runs."""
        self._order, self._pids, self._alive = count(1), count(100), set[int]()
        self._refused_until, self._cut_off_until = 0, dict[str, int]()
        self._last_commit = 0
        self._triggers: set[object] = set()
        self._broken: InvariantBroken | None = None
        self._use_store(store, shared=schedulers > 1)
        for name, size in (pools or {}).items():
            self.store.set_pool(Pool(name=name, slots=size), actor="sim", now=start)
        self.outcomes: Outcomes = outcomes or ScriptedOutcomes()
        self.processes = Processes(self.store, self.turns, self.outcomes)
        for dag in dags:
            self.add(dag)
        exact = calm and schedulers == 1
        self._checker = Checker(self.store, self.processes, self.slots_in_use, exact=exact) if check else None
        self.schedulers = [
            self._new_scheduler(f"s{number}", "host" if one_host else f"host{number}")
            for number in range(1, schedulers + 1)
        ]

    def _use_store(self, store: Store | None, *, shared: bool) -> None:
        memory = MemoryStore(new_id=attempt_ids(), shared=shared) if store is None else None
        self.store: Store = cast(Store, memory) if memory is not None else cast(Store, store)
        self._memory = memory
        if memory is not None:
            memory.locks.wait_for = self._wait_for_lock
            memory.locks.in_transaction = self._in_transaction
        user_clock = ActorClock(self.clock)
        self.user = Operations(cast(Store, self._connect()), user_clock, self.settings, actor="user")

    def _connect(self) -> StoreCalls:
        return StoreCalls(cast(Store, self._memory.connect()) if self._memory is not None else self.store, self)

    # --- what a user can do

    def add(self, dag: DagSpec, *, paused: bool = False) -> None:
        """Register a DAG, or a new version of it."""
        now, store = self.clock.now(), self.user.store
        store.register(DagVersion(dag_id=dag.dag_id, spec=dag, fileloc="<simulation>"), now=now, paused=paused)
        store.set_next_run(dag.dag_id, run_after=now)

    def act(self, action: Callable[[Operations], T]) -> T:
        """Let a user do something now (``world.act(lambda user: user.clear(run))``). Within :meth:`later`, other actors
        may go on at each of its store calls."""
        return action(self.user)

    def later(self, seconds: float, what: Callable[[], None], *, name: str = "") -> None:
        """Let something happen after ``seconds`` of simulated time, as an actor called ``name``."""
        name = name or f"user{next(self._order)}"
        self.turns.later(seconds, lambda: self._begin(name, what))

    def _begin(self, name: str, what: Callable[[], None]) -> None:
        def body() -> None:
            try:
                what()
            except (NbflowError, Killed) as refusal:
                self.note(f"{name} refused: {refusal}")

        self.turns.start(name, body)

    # --- letting time pass

    def run_until(self, moment: datetime) -> None:
        """Let time pass until ``moment``; what is due at that very moment still happens."""
        self._run(moment)

    def _run(self, moment: datetime) -> None:
        self.turns.run(moment)
        if self._broken is not None:  # a handler of the shipped code has swallowed it
            raise self._broken

    def drain(self, *, within: timedelta = timedelta(days=365)) -> None:
        """Create no more runs, let no more faults strike, and let everything that is under way come to its end."""
        limit = self.clock.now() + within
        self.schedule_until = self.clock.now()
        self.end_faults()
        while True:
            self._run(self.clock.now())
            at = self.turns.next_moment()
            if at is None or self._is_drained():
                break
            if at > limit and self.beats is NO_BEATS and not self.processes.busy:
                break  # only a heartbeat is left
            if at > limit:
                raise RuntimeError(f"after {within} of simulated time, runs are still unfinished: {self.unfinished()}")
            self._run(at)
        if self._checker is not None:
            self._checker.when_drained(self.active)

    def end_faults(self) -> None:
        """Let no more faults strike; the clocks of all hosts are right again."""
        self.faults, self._refused_until, self._cut_off_until = Script(), 0, {}
        for process in self.schedulers:
            process.clock.offset = timedelta(0)

    def _is_drained(self) -> bool:
        if self.processes.busy or not self.turns.agenda_empty:
            return False
        if not self.store.active_runs():
            return True
        now, threshold = self.clock.now(), self.settings.scheduler.task_instance_heartbeat_timeout
        quiet = self.turns.elapsed - self._last_commit > 3 * threshold * 1e6
        wakes = [process.result.wake_at for process in self.schedulers if process.result.wake_at is not None]
        return self.beats is not NO_BEATS and quiet and not any(at > now for at in wakes)

    def close(self) -> None:
        """End all actors. The stack of an actor that waits keeps its world in memory."""
        self.turns.end()

    # --- schedulers

    def _new_scheduler(self, name: str, hostname: str) -> SchedulerProcess:
        process = SchedulerProcess(name, hostname, ActorClock(self.clock), self._connect())
        self._start(process)
        return process

    def _start(self, process: SchedulerProcess) -> None:
        process.number += 1
        process.pid = next(self._pids)
        self._alive.add(process.pid)
        job_id, store, raw = f"{process.name}.{process.number}", cast(Store, process.store), process.store.store
        process.executor = SimulatedExecutor(
            store,
            process.clock,
            self.processes,
            self.turns,
            self.settings.scheduler,
            owner=job_id,
            hostname=process.hostname,
            slots=self.slots,
            note=self.note,
        )
        process.scheduler = Scheduler(
            store,
            process.executor,
            process.clock,
            self.settings,
            job_id=job_id,
            host=SimulatedHost(process.hostname, process.pid, self._alive),
            waiter=SimulatedWaiter(self.turns, raw, lambda: self._at_rest(process)),
        )
        process.actor = self.turns.start(process.name, lambda: self._live(process), process.clock)

    def _live(self, process: SchedulerProcess) -> None:
        """What ``nbflow scheduler`` does, from its start to its end; then its service manager starts another one."""
        scheduler, executor = process.scheduler, process.executor
        assert scheduler is not None
        assert executor is not None

        def until(result: LoopResult) -> bool:
            process.result = result
            return False

        try:
            scheduler.start()
            try:
                scheduler.loop(until=until)
            except NbflowError:
                scheduler.close()
                raise
            scheduler.close()
        except Killed:
            executor.die()
        except StoreError as error:  # at its start: it exits with 1
            self.note(f"{process.name} ended: {error}")
            process.restart_seconds = START_AGAIN_SECONDS
        except NbflowError as error:
            raise self._found(34, f"{process.name} ended: {error}") from error
        self._alive.discard(process.pid)
        self.turns.later(process.restart_seconds, lambda: self._start(process))
        process.restart_seconds = 0.0

    def _found(self, promise: int, what: str) -> InvariantBroken:
        self._broken = InvariantBroken(f"promise {promise} is broken: {what}")
        return self._broken

    def _at_rest(self, process: SchedulerProcess) -> None:
        """A scheduler has nothing left to do just now."""
        memory = process.scheduler.memory if process.scheduler is not None else None
        if self._checker is not None and memory is not None and memory.token == process.store.store.change_token():
            self._checker.when_idle(memory.active, self.clock.now())

    # --- the calls of actors

    def make_call(self, name: str, call: Callable[[], Any]) -> Any:
        """One call to the store, by the actor whose turn it is, or from outside."""
        actor = self.turns.current
        if actor is None:
            result = call()
            if name in COMMITS:
                self._after_commit(name)
            return result
        self.steps += 1
        if actor.killed:
            raise Killed
        fault = self.faults.at(actor.name, name)
        if fault is not None:
            self._strike(fault, actor)
        if self.turns.elapsed < max(self._refused_until, self._cut_off_until.get(actor.name, 0)):
            raise StoreError("The store does not respond (simulated).")
        result = call()
        if name in COMMITS:
            self._after_commit(name)
        if fault is not None and fault.fault == "reply_lost":
            raise StoreError("The reply of the store was lost (simulated).")
        return result

    def _after_commit(self, name: str) -> None:
        self._last_commit = self.turns.elapsed
        self._arm_triggers()
        if self._checker is not None:
            try:
                if name in ("delete_dag", "delete_run"):
                    self._checker.forget_deleted()
                self._checker.after_commit(self.clock.now())
            except InvariantBroken as broken:
                self._broken = broken
                raise

    def _in_transaction(self) -> None:
        actor = self.turns.current
        fault = self.faults.at(actor.name, "transaction") if actor is not None else None
        if fault is not None and actor is not None:
            self._strike(fault, actor)

    def _wait_for_lock(self, is_free: Callable[[], bool]) -> None:
        self.turns.wait(ready=is_free)

    def has_schedule(self) -> bool:
        """Whether the schedule still creates runs."""
        return self.schedule_until is None or self.clock.now() <= self.schedule_until

    # --- faults

    def _strike(self, fault: At, actor: Actor) -> None:
        if fault.fault == "switch":
            self.turns.pause()
            return
        self.note(str(fault))
        if fault.fault in ("stall", "hang"):
            self.turns.wait(fault.seconds)
        elif fault.fault == "refuse":
            self._refused_until = self.turns.elapsed + round(fault.seconds * 1e6)
        elif fault.fault == "cut_off":
            self._cut_off_until[actor.name] = self.turns.elapsed + round(fault.seconds * 1e6)
        elif fault.fault == "clock_set":
            self.clock.set_wall(self.clock.now() + timedelta(seconds=fault.seconds))
        elif (process := next((p for p in self.schedulers if p.actor is actor), None)) is not None:
            self._strike_scheduler(fault, process, actor)

    def _strike_scheduler(self, fault: At, process: SchedulerProcess, actor: Actor) -> None:
        scheduler, executor = process.scheduler, process.executor
        assert scheduler is not None
        assert executor is not None
        if fault.fault == "crash":
            process.restart_seconds = fault.seconds
            self.turns.kill(actor)
        elif fault.fault == "restart":
            process.restart_seconds = fault.seconds
            scheduler.stop()
        elif fault.fault == "clock_off":
            process.clock.offset = timedelta(seconds=fault.seconds)
        elif fault.fault == "alone":
            scheduler.memory.other_schedulers = OtherSchedulers()
        elif fault.fault == "worker_killed":
            executor.kill_oldest()
        elif fault.fault == "duplicate_event":
            executor.doubled = True

    def note(self, what: str) -> None:
        """Record what struck or was refused."""
        self.happened.append(f"{self.clock.now().isoformat()} {what}")

    # --- the triggerer, of which nbflow has none yet

    def _arm_triggers(self) -> None:
        for trigger in self.store.triggers():
            if trigger["trigger_id"] not in self._triggers:
                self._triggers.add(trigger["trigger_id"])
                fire = self._firing(trigger["run"], trigger["key"], trigger["attempt_id"])
                self.later(trigger["trigger"]["seconds"], fire, name=f"trigger{trigger['trigger_id']}")

    def _firing(self, run: RunKey, key: TaskKey, attempt_id: str) -> Callable[[], None]:
        store = self.user.store

        def fire() -> None:
            event = ev.TriggerFired(attempt_id=attempt_id, at=self.clock.now(), payload={"fired": True})
            while (snapshot := store.snapshot(run)) is not None:
                plan = handle_event(snapshot, key, event)
                if plan.refused:
                    self.note(f"refused TriggerFired of {attempt_id}: {plan.refused}")
                if not plan:
                    return
                with suppress(StalePlan):
                    store.apply([plan], actor="triggerer", expect={run: snapshot.run.revision})
                    return

        def fire_until_stored() -> None:
            while True:
                try:
                    return fire()
                except StoreError:
                    self.turns.wait(1.0)

        return fire_until_stored

    # --- looking at it

    def slots_in_use(self) -> Iterable[tuple[str, int, int]]:
        """(scheduler, slots in use, slots) of each executor with a limit."""
        for process in self.schedulers:
            if process.executor is not None and process.executor.slots is not None:
                yield process.name, len(process.executor.live), process.executor.slots

    @property
    def drawn(self) -> list[At]:
        """The faults that were drawn from a seed so far."""
        return self._drawn.drawn if isinstance(self._drawn, Draw) else []

    @property
    def active(self) -> ActiveRuns:
        """The runs that have not ended."""
        snapshots = [self.store.snapshot(run.key) for run in self.store.active_runs()]
        return ActiveRuns(snapshots={snapshot.run.key: snapshot for snapshot in snapshots if snapshot is not None})

    @property
    def history(self) -> list[TaskEvent]:
        """Every line of history."""
        return self.store.events(limit=10**9)

    @property
    def trace(self) -> str:
        """The whole history and what struck, as text: equal for equal seeds."""
        return "\n".join([*map(line_of, self.history), *self.happened])

    def waits(self) -> Plan:
        """Why everything that waits does so, now: the plan of an explaining look (its decisions are not applied)."""
        return decide_all(self._view(), self.clock.now(), explain=True).plan

    def _view(self) -> LoopInput:
        active = self.active
        runs = [snapshot.run for snapshot in active.snapshots.values()]
        backfills = [self.store.backfill(number) for number in sorted({r.backfill_id for r in runs if r.backfill_id})]
        known = [row for row in backfills if row is not None]
        rows = {dag_id: self.store.dag(dag_id) for dag_id in sorted({run.dag_id for run in runs})}
        versions = {dag_id: self.store.version(dag_id) for dag_id in rows}
        return LoopInput(
            active=active,
            run_limits=RunLimits(
                max_active_runs={dag_id: v.spec.max_active_runs for dag_id, v in versions.items() if v is not None},
                backfills={row.backfill_id: row.max_active_runs for row in known},
                paused_backfills=frozenset(row.backfill_id for row in known if row.paused),
                paused_dags=frozenset(dag_id for dag_id, row in rows.items() if row is not None and row.paused),
            ),
            pools={pool.name: pool.slots for pool in self.store.pools()},
            slots=None if self.slots is None else self.slots * len(self.schedulers) - self.processes.busy,
            backwards=frozenset(row.backfill_id for row in known if row.run_backwards),
        )

    def unfinished(self) -> list[str]:
        """Runs that have not ended, with what they wait for."""
        waits = self.waits()
        lines = [f"{key.run_id}: {wait.text}" for key, wait in waits.run_waits.items()]
        return lines + [f"{run.run_id} {key}: {wait.text}" for (run, key), wait in waits.waits.items()]


def attempt_ids() -> Callable[[], str]:
    """Names for attempts that repeat: a1, a2, ..."""
    numbers = count(1)
    return lambda: f"a{next(numbers)}"


def line_of(event: TaskEvent) -> str:
    """One line of history as text."""
    what = f"{event.key}#{event.try_number}" if event.key is not None else "run"
    attempt = f" {event.attempt_id}" if event.attempt_id else ""
    detail = "".join(f" {name}={value}" for name, value in event.detail.items() if name != "trigger")
    return (
        f"{event.seq:6} {event.at.isoformat()} {event.run.dag_id}/{event.run.run_id} {what}: "
        f"{event.source or '-'} > {event.target} by {event.cause} ({event.actor}){attempt}{detail}"
    )
