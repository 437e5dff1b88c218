"""A world in which the scheduler's own decisions run on a virtual clock.

Nothing here decides: new runs come from :func:`nbflow.core.due_runs.plan_due_runs`, everything else from
:func:`nbflow.core.scheduler_loop.decide_all` and :func:`~nbflow.core.event_handlers.handle_event`, as in the real
scheduler. The world supplies what is around them: a :class:`~nbflow.store.memory.MemoryStore`, a clock that jumps,
workers that do as they are told (:mod:`nbflow.sim.outcomes`), accidents (:mod:`nbflow.sim.fault_injection`), and after
each step a check of what nbflow promises (:mod:`nbflow.sim.invariants`).

One turn of the world::

    let everything happen whose moment has come     an attempt ends, a lease expires, a user acts
    decide, until there is nothing left to do       new runs, run starts, tasks, dispatch
    jump to the next moment at which anything can change

Moments that workers wait for are counted on the monotonic clock, moments that the schedule names on the wall clock: a
wall clock that is set back does not make a task run longer.

The same dags, outcomes, faults and actions give the same history, to the letter (:attr:`World.trace`).
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta
from itertools import count
from pathlib import Path
from typing import TypeVar

from nbflow.clock import VirtualClock
from nbflow.config import Settings
from nbflow.core import events as ev
from nbflow.core.dispatch import RunLimits
from nbflow.core.due_runs import RunHistory, plan_due_runs
from nbflow.core.event_handlers import handle_event
from nbflow.core.plan import Plan
from nbflow.core.scheduler_loop import (
    ActiveRuns,
    LoopDecision,
    LoopInput,
    after_plan,
    decide_all,
    finished_backfills,
    runs_with_new_predecessor,
    with_attempts,
    with_snapshots,
)
from nbflow.core.snapshot import RunKey, Snapshot, TaskKey
from nbflow.core.spec import DagSpec
from nbflow.core.states import LIVE, Cause
from nbflow.core.timetables import DagRunInfo, DataInterval, Timetable, timetable_from_spec
from nbflow.services.operations import Operations
from nbflow.services.scheduled_runs import run_history
from nbflow.sim.fault_injection import NO_FAULTS, Faults
from nbflow.sim.invariants import Checker
from nbflow.sim.outcomes import Outcomes, Script
from nbflow.sim.workers import Workers
from nbflow.store.base import DagRow, DagVersion, Pool, Store, TaskEvent
from nbflow.store.memory import MemoryStore

T = TypeVar("T")

SLOTS = 32
"""Executor slots of a world, as [core] parallelism has by default."""
MAX_LOOPS = 1000
"""Looks at one moment, after which the world is taken to be going in circles."""
MOST_BACK = timedelta(hours=3)
"""A wall clock is not set back further than this in all, or a world with this fault would never come to its end."""
_ENDS_WORK = frozenset({Cause.RUN_TIMED_OUT, Cause.FAIL_FAST, Cause.TASK_REMOVED, Cause.TRIGGER_TIMEOUT})
"""Causes by which a plan takes an attempt from a worker that is still at it."""


class World:
    """See the module's head. Times are aware; ``slots`` None is no limit.

    ``store``: another, empty and migrated store than a MemoryStore. Traces are equal only if it names its attempts by
    :func:`attempt_ids`.
    """

    def __init__(
        self,
        dags: Iterable[DagSpec] = (),
        *,
        start: datetime,
        outcomes: Outcomes | None = None,
        faults: Faults = NO_FAULTS,
        slots: int | None = SLOTS,
        pools: Mapping[str, int] | None = None,
        check: bool = True,
        timetables: Mapping[str, Timetable] | None = None,
        store: Store | None = None,
    ) -> None:
        self.clock = VirtualClock(start)
        self.store: Store = store if store is not None else MemoryStore(new_id=attempt_ids())
        self.faults, self.slots = faults, slots
        self.outcomes: Outcomes = outcomes or Script()
        self.user = Operations(self.store, self.clock, _settings(), actor="user")
        self.happened: list[str] = []
        """What struck and what was refused, with its moment: not part of the history, but of the trace."""
        self.schedule_until: datetime | None = None
        """After this moment the schedule makes no more runs."""
        self._timetables = dict(timetables or {})
        self._agenda: list[tuple[int, int, Callable[[], None]]] = []
        self._order = count()
        self._active = ActiveRuns()
        self._wake: datetime | None = None
        self._loops = 0
        self._drift = timedelta(0)
        """How far the wall clock has been set, all in all."""
        for name, size in (pools or {}).items():
            self.store.set_pool(Pool(name=name, slots=size), actor="sim", now=start)
        self._workers = Workers(
            store=self.store,
            clock=self.clock,
            agenda=self,
            outcomes=self.outcomes,
            faults=faults,
            find=self._find,
            tell=self._tell,
            note=lambda what, attempt: self._note(f"{what} {attempt.attempt_id}"),
        )
        for dag in dags:
            self.add(dag)
        self._checker = (
            Checker(self.store, workers=self._workers, slots=slots, exact=not faults.odds) if check else None
        )

    # --- what a user can do

    def add(self, dag: DagSpec, *, paused: bool = False) -> None:
        """Register a DAG, or a new version of it."""
        now = self.clock.now()
        self.store.register(DagVersion(dag_id=dag.dag_id, spec=dag, fileloc="<simulation>"), now=now, paused=paused)
        self.store.set_next_run(dag.dag_id, run_after=now)
        self._forget()

    def act(self, action: Callable[[Operations], T]) -> T:
        """Let a user do something now (``world.act(lambda user: user.clear(run))``); its effects are seen at once."""
        try:
            return action(self.user)
        finally:
            self._forget()
            self._workers.reap()

    def later(self, seconds: float, what: Callable[[], None]) -> None:
        """Let something happen after ``seconds`` of simulated time."""
        due = self._elapsed() + max(round(seconds * 1e6), 0)
        heapq.heappush(self._agenda, (due, next(self._order), what))

    # --- letting time pass

    def run_until(self, moment: datetime) -> None:
        """Let time pass until ``moment``; what is due at that very moment still happens."""
        while True:
            self.turn()
            at = self._next_moment()
            if at is None or at > moment:
                break
            self._jump(at)
        self.clock.advance_to(moment)

    def drain(self, *, within: timedelta = timedelta(days=365)) -> None:
        """Make no more runs, and let everything that is under way come to its end."""
        limit = self.clock.now() + within
        self.schedule_until = self.clock.now()
        while True:
            self.turn()
            at = self._next_moment()
            if at is None or (not self._active.snapshots and not self._workers.busy):
                break
            if at > limit:
                raise RuntimeError(f"after {within} of simulated time, runs are still unfinished: {self.unfinished()}")
            self._jump(at)
        if self._checker is not None:
            self._checker.at_rest(self._active)

    def turn(self) -> None:
        """All that happens at the present moment."""
        while self._agenda and self._agenda[0][0] <= self._elapsed() + 1:
            _, _, what = heapq.heappop(self._agenda)
            what()
        self._strike_clock()
        self._decide()

    def _jump(self, at: datetime) -> None:
        self.clock.advance_to(at)

    def _next_moment(self) -> datetime | None:
        now = self.clock.now()
        moments = [at for at in (self._wake, self._next_due()) if at is not None and at > now]
        if self._agenda:
            moments.append(now + timedelta(microseconds=max(self._agenda[0][0] - self._elapsed(), 1)))
        return min(moments, default=None)

    def _next_due(self) -> datetime | None:
        due = self.store.next_due()
        stop = self.schedule_until
        return None if due is None or (stop is not None and due > stop) else due

    def _elapsed(self) -> int:
        return round(self.clock.monotonic() * 1e6)

    def _strike_clock(self) -> None:
        for name, way in (("clock_forward", 1), ("clock_back", -1)):
            if self.faults.strikes(name, self._elapsed()):
                leap = timedelta(seconds=way * self.faults.draw(name, self._elapsed(), "leap").randint(61, 7200))
                if self._drift + leap < -MOST_BACK:
                    continue
                self._drift += leap
                self._note(f"{name} by {leap}")
                self.clock.set_wall(self.clock.now() + leap)
                self._workers.expire(heartbeats_late=True)

    # --- scheduler loop

    def _decide(self) -> None:
        for _ in range(MAX_LOOPS):
            self._make_runs()
            self._loops += 1
            decision = decide_all(self._view(), self.clock.now())
            if decision.plan.ops:
                if self.faults.strikes("store_busy", self._loops):
                    self._note("store_busy")
                    self._forget()
                    continue
                self._carry_out(decision)
                continue
            self._active, self._wake = decision.active, decision.plan.wake_at
            self._complete_backfills()
            if self._checker is not None:
                self._checker.at_a_fixed_point(self._active, self.clock.now())
            return
        raise RuntimeError(
            f"The scheduler loop did not settle after {MAX_LOOPS} iterations at {self.clock.now().isoformat()}: "
            f"{decision.plan.ops[:3]}"
        )

    def _carry_out(self, decision: LoopDecision) -> None:
        attempts = self.store.apply([decision.plan], actor="scheduler", expect=decision.expect)
        self._active = with_attempts(decision, attempts)
        self._after(decision.plan)
        if self.faults.strikes("scheduler_restart", self._loops):
            self._note("scheduler_restart")
            self._forget()
        for attempt in attempts:
            self._workers.submit(attempt)

    def _after(self, plan: Plan) -> None:
        if any(move.cause in _ENDS_WORK and move.source in LIVE for move in plan.moves):
            self._workers.reap()
        if self._checker is not None:
            self._checker.after_commit(self.clock.now())

    def _view(self) -> LoopInput:
        runs = [snapshot.run for snapshot in self._active.snapshots.values()]
        backfills = [self.store.backfill(number) for number in sorted({r.backfill_id for r in runs if r.backfill_id})]
        known = [row for row in backfills if row is not None]
        rows = {dag_id: self.store.dag(dag_id) for dag_id in sorted({run.dag_id for run in runs})}
        return LoopInput(
            active=self._active,
            run_limits=RunLimits(
                max_active_runs={dag_id: self._spec(dag_id).max_active_runs for dag_id in rows},
                backfills={row.backfill_id: row.max_active_runs for row in known},
                paused_backfills=frozenset(row.backfill_id for row in known if row.paused),
                paused_dags=frozenset(dag_id for dag_id, row in rows.items() if row is not None and row.paused),
            ),
            pools={pool.name: pool.slots for pool in self.store.pools()},
            slots=None if self.slots is None else self.slots - self._workers.busy,
            backwards=frozenset(row.backfill_id for row in known if row.run_backwards),
        )

    def _complete_backfills(self) -> None:
        for number in finished_backfills(self._active, [row.backfill_id for row in self.store.backfills(active=True)]):
            self.store.update_backfill(number, completed_at=self.clock.now())

    # --- the schedule

    def _make_runs(self) -> None:
        now = self.clock.now()
        if self.schedule_until is not None and now > self.schedule_until:
            return
        for row in self.store.due_dags(now):
            self._make_runs_of(row, now)

    def _make_runs_of(self, row: DagRow, now: datetime) -> None:
        dag_id, spec = row.dag_id, self._spec(row.dag_id)
        due = plan_due_runs(
            spec,
            self._timetable(spec),
            self._history(dag_id),
            now,
            version=row.version,
            announced=_announced(row),
        )
        if due.plan:
            self.store.apply([due.plan], actor="scheduler")
            changed = [*(run.key for run in due.runs), *runs_with_new_predecessor(self._active, due.runs)]
            made = [self.store.snapshot(key) for key in changed]
            self._active = with_snapshots(self._active, [snapshot for snapshot in made if snapshot is not None])
        coming = due.next
        self.store.set_next_run(
            dag_id,
            run_after=coming.run_after if coming else None,
            logical_date=coming.logical_date if coming else None,
            interval=coming.data_interval if coming else None,
        )
        if due.plan:
            self._after(due.plan)

    def _history(self, dag_id: str) -> RunHistory:
        mine = [s.run for s in self._active.snapshots.values() if s.run.dag_id == dag_id and s.run.backfill_id is None]
        return run_history(self.store, dag_id, active_runs=len(mine))

    def _timetable(self, spec: DagSpec) -> Timetable:
        found = self._timetables.get(spec.digest)
        if found is None:
            found = self._timetables.get(spec.dag_id) or timetable_from_spec(spec.schedule)
            self._timetables[spec.digest] = found
        return found

    def _spec(self, dag_id: str) -> DagSpec:
        version = self.store.version(dag_id)
        assert version is not None
        return version.spec

    # --- events

    def _find(self, run: RunKey) -> Snapshot | None:
        return self._active.snapshots.get(run) or self.store.snapshot(run)

    def _tell(self, run: RunKey, key: TaskKey, event: ev.Event) -> None:
        snapshot = self._find(run)
        if snapshot is None:
            return
        plan = handle_event(snapshot, key, event)
        if plan.refused:
            self._note(f"refused {type(event).__name__} of {event.attempt_id}: {plan.refused}")
        if plan:
            self.store.apply([plan], actor="worker", expect={run: snapshot.run.revision})
            self._active = after_plan(self._active, plan)
            self._after(plan)

    def _forget(self) -> None:
        """Read everything active from the store again, as a scheduler does that has just started."""
        found = [self.store.snapshot(run.key) for run in self.store.active_runs()]
        self._active = with_snapshots(ActiveRuns(), [snapshot for snapshot in found if snapshot is not None])

    def _note(self, what: str) -> None:
        self.happened.append(f"{self.clock.now().isoformat()} {what}")

    # --- looking at it

    @property
    def active(self) -> ActiveRuns:
        """The runs that have not ended."""
        return self._active

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


def _announced(row: DagRow) -> DagRunInfo | None:
    if row.next_run_after is None or row.next_interval is None:
        return None
    return DagRunInfo(row.next_run_after, DataInterval(*row.next_interval))


def _settings() -> Settings:
    return Settings.load({}, home=Path("nbflow-simulation"))
