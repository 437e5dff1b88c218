"""The invariants of nbflow, checked after each step of a simulated world.

Each invariant is one function. Its number is that of the promise, its docstring is the promise. The invariants are
checked at four points, with one table for each:

* ``EVENT``: for each new event of the history, before it is folded into the :class:`Observations`;
* ``COMMIT``: after each commit, with all its events folded in;
* ``IDLE``: when the scheduler has nothing left to do at the current time;
* ``DRAINED``: when the world has been drained.

The observations are updated with each event, so the cost of a check grows with what has changed, not with the history.
A breach raises :class:`InvariantBroken` with every event of the task instance.

Not checked, because a simulation cannot show them: 13 (order of events; a property test), 18 (assets), 20, 22, 23, 28
to 30 (processes, sources, secrets, clocks of other programs, other stores). 32 is 9 and 10 with several schedulers; 34
is checked where a scheduler ends (:mod:`nbflow.sim.world`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import NamedTuple

from nbflow.core.scheduler_decision import ActiveRuns
from nbflow.core.snapshot import Instance, Run, RunKey, Snapshot, TaskKey
from nbflow.core.spec import DagSpec
from nbflow.core.states import (
    FINISHED,
    LIVE,
    RUN_FINISHED,
    Cause,
    IllegalTransition,
    RunCause,
    RunState,
    TaskState,
    check_move,
    check_run_move,
)
from nbflow.core.timetables import CustomTimetableNotLoaded, timetable_from_spec
from nbflow.sim.executor import Processes
from nbflow.store.base import Cursor, Store, TaskEvent

InstanceKey = tuple[RunKey, TaskKey]
EXPANDED = "expanded"
"""Cause in the history: the unmapped instance of a mapped task was replaced by its expanded instances."""


class InvariantBroken(AssertionError):
    """An invariant does not hold: an internal error of nbflow, not a mistake in a DAG or by a user. It is not an
    NbflowError, because callers catch those as rejected requests."""


class Breach(NamedTuple):
    """The breach of an invariant, and the run and instance that it concerns."""

    text: str
    run: RunKey | None = None
    key: TaskKey | None = None


@dataclass(slots=True)
class Observations:
    """What the history so far shows."""

    store: Store
    processes: Processes
    slots_in_use: Callable[[], Iterable[tuple[str, int, int]]]
    """(scheduler, slots in use, slots) of each executor."""
    exact: bool
    """No faults are injected: the attempts that are live in the store are exactly those that workers run."""
    now: datetime | None = None
    states: dict[InstanceKey, str] = field(default_factory=dict)
    run_states: dict[RunKey, str] = field(default_factory=dict)
    current: dict[InstanceKey, str] = field(default_factory=dict)
    """The current attempt of each instance."""
    ended: set[str] = field(default_factory=set)
    """Attempts that have ended."""
    fired: set[str] = field(default_factory=set)
    """Attempts whose trigger has fired."""
    tries: Counter[InstanceKey] = field(default_factory=Counter)
    """Number of tries since the instance was created or cleared."""
    dates: dict[tuple[str, datetime], RunKey] = field(default_factory=dict)
    latest: dict[str, Run] = field(default_factory=dict)
    """The last scheduled run of each DAG."""
    never_to_run: dict[RunKey, frozenset[str]] = field(default_factory=dict)
    """Instances of a deadlocked run that can never start, as text."""
    lengths: dict[tuple[RunKey, str], int] = field(default_factory=dict)
    ended_runs: list[RunKey] = field(default_factory=list)
    """Runs that ended in this commit."""
    started_runs: set[tuple[str, int | None]] = field(default_factory=set)
    """(DAG, backfill) of the runs that started in this commit."""
    callbacks_due: Counter[tuple[RunKey, TaskKey | None, str]] = field(default_factory=Counter)
    specs: dict[tuple[str, int], DagSpec] = field(default_factory=dict)

    def spec(self, run: RunKey) -> DagSpec:
        row = self.store.run(run)
        assert row is not None
        name = (run.dag_id, row.version)
        if name not in self.specs:
            version = self.store.version(*name)
            assert version is not None
            self.specs[name] = version.spec
        return self.specs[name]

    def fold(self, event: TaskEvent) -> None:
        """Update the observations with an event."""
        if event.key is None:
            self._fold_run(event)
            return
        ti_key = (event.run, event.key)
        if event.cause == EXPANDED:
            self.states.pop(ti_key, None)
            self.lengths[event.run, event.key.task_id] = int(event.detail["length"])
            return
        self.states[ti_key] = event.target
        if event.target == TaskState.QUEUED and event.attempt_id:
            self.current[ti_key] = event.attempt_id
        elif event.attempt_id and event.source in LIVE and event.target not in LIVE:
            self.ended.add(event.attempt_id)
            self.current.pop(ti_key, None)
        if event.cause == Cause.TRIGGER_FIRED and event.attempt_id:
            self.fired.add(event.attempt_id)
        if event.target == TaskState.SCHEDULED and event.cause in (Cause.DEPENDENCIES_MET, Cause.RETRY_DUE):
            self.tries[ti_key] += 1
        elif event.target == TaskState.NONE:
            self.tries[ti_key] = 0
        kind = _CALLBACK_OF.get(event.target) if event.source in LIVE else None
        task = self.spec(event.run).tasks.get(event.key.task_id)
        if kind is not None and task is not None and kind in task.callbacks:
            self.callbacks_due[event.run, event.key, kind] += 1

    def _fold_run(self, event: TaskEvent) -> None:
        self.run_states[event.run] = event.target
        run = self.store.run(event.run)
        assert run is not None
        if event.cause == RunCause.SLOT_FREE:
            self.started_runs.add((run.dag_id, run.backfill_id))
        if event.cause == RunCause.CREATED and run.logical_date is not None:
            if run.run_type in ("scheduled", "backfill"):
                self.dates[run.dag_id, run.logical_date] = run.key
            if run.run_type == "scheduled":
                self.latest[run.dag_id] = run
        if event.target in RUN_FINISHED:
            self.ended_runs.append(event.run)
            self.never_to_run[event.run] = frozenset(event.detail.get("never_to_run", ()))
            kind = "success" if event.target == RunState.SUCCESS else "failure"
            if kind in self.spec(event.run).callbacks and event.cause not in _MARKED:
                self.callbacks_due[event.run, None, kind] += 1


_OUTCOMES = frozenset(
    {
        Cause.STARTED,
        Cause.DISPATCH_LOST,
        Cause.SUCCEEDED,
        Cause.SKIPPED_ITSELF,
        Cause.RAISED,
        Cause.FAILED_HARD,
        Cause.EXECUTION_TIMEOUT,
        Cause.PROCESS_DIED,
        Cause.HEARTBEAT_LOST,
        Cause.LOAD_FAILED,
        Cause.RESCHEDULED,
        Cause.DEFERRED,
        Cause.TRIGGER_FIRED,
        Cause.TRIGGER_FAILED,
        Cause.TRIGGER_TIMEOUT,
        Cause.KILLED,
        Cause.KILLED_TO_RESTART,
    }
)
"""Causes by which an attempt itself changes its instance."""
_MARKED = frozenset({RunCause.MARKED_SUCCESS, RunCause.MARKED_FAILED, RunCause.BACKFILL_CANCELLED, RunCause.ABANDONED})
"""Causes from outside the run: its DAG's callbacks are not called."""
_CALLBACK_OF: dict[str, str] = {
    TaskState.SUCCESS: "success",
    TaskState.FAILED: "failure",
    TaskState.UP_FOR_RETRY: "retry",
    TaskState.SKIPPED: "skipped",
}
"""State to which a live instance has moved -> the kind of callback that this requires, whatever the cause."""

EventCheck = Callable[[Observations, TaskEvent], Iterator[Breach]]
CommitCheck = Callable[[Observations], Iterator[Breach]]
RunsCheck = Callable[[Observations, ActiveRuns], Iterator[Breach]]

EVENT: dict[int, EventCheck] = {}
COMMIT: dict[int, CommitCheck] = {}
IDLE: dict[int, RunsCheck] = {}
DRAINED: dict[int, RunsCheck] = {}


def _check(
    table: dict[int, Callable[..., Iterator[Breach]]], number: int
) -> Callable[..., Callable[..., Iterator[Breach]]]:
    def register(check: Callable[..., Iterator[Breach]]) -> Callable[..., Iterator[Breach]]:
        table[number] = check
        return check

    return register


# --- each event


@_check(EVENT, 2)
def a_state_write_needs_the_current_attempt(observed: Observations, event: TaskEvent) -> Iterator[Breach]:
    """A state write needs the current attempt id."""
    if event.key is not None and event.cause in _OUTCOMES:
        current = observed.current.get((event.run, event.key))
        if event.attempt_id is None or event.attempt_id != current:
            yield Breach(f"{event.cause} was written by {event.attempt_id}; current is {current}", event.run, event.key)


@_check(EVENT, 3)
def terminal_is_final_for_an_attempt(observed: Observations, event: TaskEvent) -> Iterator[Breach]:
    """Terminal is final for an attempt."""
    if event.attempt_id in observed.ended:
        yield Breach(f"attempt {event.attempt_id} had ended before {event.cause}", event.run, event.key)


@_check(EVENT, 4)
def only_declared_transitions_occur(observed: Observations, event: TaskEvent) -> Iterator[Breach]:
    """Only declared transitions occur, each from the state after the previous event."""
    try:
        if event.key is not None:
            before = observed.states.get((event.run, event.key), TaskState.NONE)
            if event.cause == EXPANDED:
                return
            check_move(TaskState(event.source), Cause(event.cause), TaskState(event.target))
        elif event.cause == RunCause.CREATED:
            return
        else:
            before = observed.run_states.get(event.run, "")
            check_run_move(RunState(event.source), RunCause(event.cause), RunState(event.target))
    except IllegalTransition as error:
        yield Breach(str(error), event.run, event.key)
    else:
        if before != event.source:
            yield Breach(f"{event.cause} leaves {event.source}, but the state was {before}", event.run, event.key)


@_check(EVENT, 5)
def no_two_runs_of_one_interval(observed: Observations, event: TaskEvent) -> Iterator[Breach]:
    """Never two scheduled or backfill runs of one interval."""
    run = observed.store.run(event.run) if event.cause == RunCause.CREATED else None
    if run is not None and run.logical_date is not None and run.run_type in ("scheduled", "backfill"):
        other = observed.dates.get((run.dag_id, run.logical_date))
        if other is not None:
            yield Breach(f"{run.run_id} and {other.run_id} have the same interval", event.run)


@_check(EVENT, 7)
def intervals_are_contiguous(observed: Observations, event: TaskEvent) -> Iterator[Breach]:
    """Intervals are aware UTC, positive, contiguous and non-overlapping, across DST and schedule edits."""
    run = observed.store.run(event.run) if event.cause == RunCause.CREATED else None
    if run is None or run.run_type != "scheduled" or run.data_interval_start is None or run.data_interval_end is None:
        return
    start, end, dag = run.data_interval_start, run.data_interval_end, observed.spec(event.run)
    if dag.schedule["kind"] not in _PERIODS:
        return  # the intervals of trigger timetables are empty, or overlap on purpose
    if end <= start or start.utcoffset() != timedelta(0):
        yield Breach(f"interval {start} to {end}", event.run)
    before = observed.latest.get(run.dag_id)
    last_end = before.data_interval_end if before is not None else None
    if last_end is not None and start < last_end:
        yield Breach(f"its interval begins at {start}, before the end of the last interval, {last_end}", event.run)
    if last_end is not None and start > last_end and dag.catchup and not observed.store.backfills(run.dag_id):
        yield Breach(f"its interval begins at {start}, after the end of the last interval, {last_end}", event.run)


_PERIODS = frozenset({"cron_interval", "delta_interval"})
"""Kinds of timetables whose runs cover contiguous intervals."""


@_check(EVENT, 8)
def no_run_before_it_is_due(observed: Observations, event: TaskEvent) -> Iterator[Breach]:
    """No scheduled run before it is due, while its DAG is paused, or outside the DAG's dates."""
    run = observed.store.run(event.run) if event.cause == RunCause.CREATED else None
    if run is None or run.run_type != "scheduled" or run.logical_date is None:
        return
    row, dag = observed.store.dag(run.dag_id), observed.spec(event.run)
    if event.at < run.run_after:
        yield Breach(f"created at {event.at}, due at {run.run_after}", event.run)
    if row is not None and row.paused:
        yield Breach("its DAG is paused", event.run)
    if (dag.start_date and run.logical_date < dag.start_date) or (dag.end_date and run.logical_date > dag.end_date):
        yield Breach(f"logical date {run.logical_date} is outside {dag.start_date} to {dag.end_date}", event.run)


@_check(EVENT, 12)
def executions_stay_within_retries(observed: Observations, event: TaskEvent) -> Iterator[Breach]:
    """Executions ≤ retries + 1 per clear; defer, reschedule and requeue are not counted."""
    if event.key is None or event.target != TaskState.SCHEDULED:
        return
    if event.cause in (Cause.DEPENDENCIES_MET, Cause.RETRY_DUE):
        task = observed.spec(event.run).tasks.get(event.key.task_id)
        execution = observed.tries[event.run, event.key] + 1
        if task is not None and execution > max(task.retries, 0) + 1:
            yield Breach(f"execution {execution} of a task with {task.retries} retries", event.run, event.key)


@_check(EVENT, 17)
def a_trigger_resumes_at_most_once(observed: Observations, event: TaskEvent) -> Iterator[Breach]:
    """A trigger event resumes at most once, and only its own attempt."""
    if event.cause == Cause.TRIGGER_FIRED and event.attempt_id in observed.fired:
        yield Breach(f"attempt {event.attempt_id} was resumed twice", event.run, event.key)


@_check(EVENT, 31)
def a_healthy_attempt_goes_on(observed: Observations, event: TaskEvent) -> Iterator[Breach]:
    """A healthy attempt never ends because a scheduler, its lease or the store is in trouble: its own lease counts."""
    if event.cause == Cause.KILLED and event.source in LIVE:
        yield Breach(
            "the current attempt was killed, though no user, limit or timeout had ended it", event.run, event.key
        )
    if event.cause in (Cause.HEARTBEAT_LOST, Cause.DISPATCH_LOST) and event.attempt_id is not None:
        process = observed.processes.working.get(event.attempt_id)
        if process is not None and process.lease_ends > observed.processes.now():
            yield Breach(f"{event.cause}, but its lease had not ended", event.run, event.key)


_BY_USERS = frozenset(
    {
        Cause.CLEARED,
        Cause.CLEARED_WHILE_LIVE,
        Cause.MARKED_SUCCESS,
        Cause.MARKED_FAILED,
        Cause.MARKED_SKIPPED,
        Cause.RUN_MARKED,
    }
)


@_check(EVENT, 35)
def a_cause_is_true(observed: Observations, event: TaskEvent) -> Iterator[Breach]:
    """A cause is true when it is recorded: the states that it names, and who acted."""
    if event.key is None:
        return
    if event.cause in _BY_USERS and event.actor == "scheduler":
        yield Breach(f"{event.cause}, but the scheduler did it", event.run, event.key)
    claims = {**(event.detail.get("upstream") or {}), **(event.detail.get("roots") or {})}
    if event.cause == Cause.BRANCH_NOT_TAKEN:
        claims[str(event.detail["by"])] = TaskState.SUCCESS
    elif event.cause == Cause.FAIL_FAST:
        claims[str(event.detail["failed"])] = TaskState.FAILED
    for name, claimed in claims.items():
        task_id, _, index = name.partition("[")
        key = TaskKey(task_id, int(index.rstrip("]")) if index else -1)
        actual = observed.states.get((event.run, key), TaskState.NONE)
        if actual != claimed:
            yield Breach(f"{event.cause} names {name} as {claimed}, which is {actual}", event.run, event.key)
    by_roots = event.cause in (Cause.RULE_FAILS, Cause.SETUP_FAILED, Cause.MAPPED_OVER_FAILURE)
    if by_roots and not event.detail.get("roots"):
        yield Breach(f"{event.cause} without a root", event.run, event.key)
    if TaskState.UPSTREAM_FAILED in (event.detail.get("roots") or {}).values():
        yield Breach(f"{event.cause} names an upstream_failed task as the root", event.run, event.key)


# --- each commit


@_check(COMMIT, 1)
def one_live_attempt_per_instance(observed: Observations) -> Iterator[Breach]:
    """At most one live attempt per (dag, run, task, map index)."""
    for (run, key), number in Counter((a.run, a.key) for a in observed.store.live_attempts()).items():
        if number > 1:
            yield Breach(f"{number} live attempts", run, key)


@_check(COMMIT, 9)
def active_limits_hold(observed: Observations) -> Iterator[Breach]:
    """Limits on active runs and tasks hold at every commit."""
    usage = observed.store.usage()
    for run, used in usage.runs.items():
        limit = observed.spec(run).max_active_tasks
        if used > limit:
            yield Breach(f"{used} tasks occupy slots, max_active_tasks is {limit}", run)
    for (run, task_id), used in usage.tasks_in_runs.items():
        task = observed.spec(run).tasks.get(task_id)
        if task is not None and task.max_active_tis_per_dagrun is not None and used > task.max_active_tis_per_dagrun:
            yield Breach(f"{used} of {task_id} in one run, {task.max_active_tis_per_dagrun} are allowed", run)
        # Each run has the limits of its version, so with several versions no single limit applies to all runs.
        if (
            task is not None
            and task.max_active_tis_per_dag is not None
            and len(observed.store.versions(run.dag_id)) == 1
        ):
            in_all_runs = usage.tasks[run.dag_id, task_id]
            if in_all_runs > task.max_active_tis_per_dag:
                yield Breach(f"{in_all_runs} of {task_id}, {task.max_active_tis_per_dag} are allowed", run)
    if not observed.started_runs:
        return  # an edit may lower the limit below the number of running runs: they continue, and no other starts
    running = [run for run in observed.store.active_runs() if run.state is RunState.RUNNING]
    for (dag_id, backfill_id), number in Counter((run.dag_id, run.backfill_id) for run in running).items():
        if (dag_id, backfill_id) not in observed.started_runs:
            continue
        backfill = observed.store.backfill(backfill_id) if backfill_id is not None else None
        version = observed.store.version(dag_id)
        limit = backfill.max_active_runs if backfill else version.spec.max_active_runs if version else number
        if number > limit:
            yield Breach(f"{number} runs of {dag_id} (backfill {backfill_id}) are running, {limit} are allowed")


@_check(COMMIT, 10)
def pools_hold(observed: Observations) -> Iterator[Breach]:
    """Pool use ≤ size at every commit."""
    used = observed.store.usage().pools
    for pool in observed.store.pools() if used else ():
        if 0 <= pool.slots < used.get(pool.name, 0):
            yield Breach(f"pool {pool.name}: {used[pool.name]} of {pool.slots} slots are occupied")


@_check(COMMIT, 11)
def slots_hold(observed: Observations) -> Iterator[Breach]:
    """Executor slots in use ≤ slots."""
    for scheduler, used, slots in observed.slots_in_use():
        if used > slots:
            yield Breach(f"{used} tasks in the {slots} slots of {scheduler}")


@_check(COMMIT, 15)
def no_terminal_run_has_unfinished_tasks(observed: Observations) -> Iterator[Breach]:
    """No terminal run has a non-terminal task, except instances that are recorded as never to run, with their cause."""
    for run in observed.ended_runs:
        row = observed.store.run(run)
        if row is None or row.state not in RUN_FINISHED:
            continue
        for ti in observed.store.instances(run):
            if ti.state not in FINISHED and str(ti.key) not in observed.never_to_run.get(run, frozenset()):
                yield Breach(f"the run is {row.state}, the instance is {ti.state}", run, ti.key)


@_check(COMMIT, 16)
def a_new_try_never_reads_old_xcoms(observed: Observations) -> Iterator[Breach]:
    """A new try never reads XComs of an old try; they remain after a deferral or a reschedule."""
    yield from (Breach(what, run, key) for number, what, run, key in observed.processes.breaches if number == 16)


@_check(COMMIT, 21)
def work_is_killed_before_it_is_given_to_another(observed: Observations) -> Iterator[Breach]:
    """A worker that loses its lease kills its work before reassignment (on one host; others end within the lease)."""
    yield from (Breach(what, run, key) for number, what, run, key in observed.processes.breaches if number == 21)


@_check(COMMIT, 19)
def one_callback_per_terminal_transition(observed: Observations) -> Iterator[Breach]:
    """One stored callback per end of a task that had started, kills and timeouts included, and per end of a run."""
    now = observed.now
    assert now is not None
    stored: Counter[tuple[RunKey, TaskKey | None, str]] = Counter()
    for callback in observed.store.claim_callbacks(owner="sim", lease=timedelta(days=1), now=now, limit=10**6):
        stored[callback.run, callback.key, callback.kind] += 1
        observed.store.finish_callback(callback.callback_id, error=None, now=now)
    for run, key, kind in observed.callbacks_due.keys() | stored.keys():
        due, actual = observed.callbacks_due[run, key, kind], stored[run, key, kind]
        if actual != due:
            yield Breach(f"{actual} {kind} callbacks for {due} such transitions", run, key)
    observed.callbacks_due.clear()


# --- when the scheduler has nothing left to do


@_check(IDLE, 11)
def workers_run_the_live_attempts(observed: Observations, active: ActiveRuns) -> Iterator[Breach]:
    """Executor slots = live attempts."""
    live = {attempt.attempt_id for attempt in observed.store.live_attempts()}
    working = observed.processes.working
    idle = live - working.keys()
    useless = {name for name in working.keys() - live if working[name].killed_for is None}
    if observed.exact and (idle or useless):
        yield Breach(f"run by workers: {sorted(working)}, live in the store: {sorted(live)}")


@_check(IDLE, 26)
def cached_runs_equal_the_stores(observed: Observations, active: ActiveRuns) -> Iterator[Breach]:
    """Decisions are based on current data: the scheduler's cached runs equal the store's."""
    for key, snapshot in active.snapshots.items():
        stored = observed.store.snapshot(key)
        if stored is None or stored.run != snapshot.run:
            yield Breach(f"cached: {snapshot.run}, stored: {stored and stored.run}", key)
        elif stored.instances != snapshot.instances and (other := _differing(stored, snapshot)):
            yield Breach(f"the cached and the stored {', '.join(map(str, other))} differ", key, other[0])
        elif (stored.previous and dict(stored.previous.states)) != (
            snapshot.previous and dict(snapshot.previous.states)
        ):
            yield Breach("the cached and the stored previous run differ", key)


def _differing(stored: Snapshot, snapshot: Snapshot) -> list[TaskKey]:
    """The instances in which two snapshots differ. Trigger ids are ignored: the store assigns them, and no decision
    depends on them."""
    keys = stored.instances.keys() | snapshot.instances.keys()
    return sorted(
        key
        for key in keys
        if _without_trigger(stored.instances.get(key)) != _without_trigger(snapshot.instances.get(key))
    )


def _without_trigger(ti: Instance | None) -> Instance | None:
    return replace(ti, trigger_id=None) if ti is not None and ti.trigger_id is not None else ti


# --- when the world has been drained


@_check(DRAINED, 6)
def every_due_interval_has_a_run(observed: Observations, active: ActiveRuns) -> Iterator[Breach]:
    """Every due interval has one run (of DAGs with catchup; others omit intervals on purpose)."""
    for row in observed.store.dags():
        version = observed.store.version(row.dag_id)
        latest = observed.latest.get(row.dag_id)
        if version is None or not version.spec.catchup or latest is None or latest.logical_date is None:
            continue
        try:
            timetable = timetable_from_spec(version.spec.schedule)
        except CustomTimetableNotLoaded:
            continue
        first = min(date for dag_id, date in observed.dates if dag_id == row.dag_id)
        if len(observed.store.versions(row.dag_id)) > 1 or not timetable.periodic:
            continue
        for info in timetable.runs_between(version.spec.start_date or first, latest.logical_date, latest.run_after):
            if (row.dag_id, info.logical_date) not in observed.dates:
                yield Breach(f"{row.dag_id} has no run of {info.logical_date}")


@_check(DRAINED, 10)
def pools_are_empty(observed: Observations, active: ActiveRuns) -> Iterator[Breach]:
    """Pool use is zero when idle."""
    used = {pool: number for pool, number in observed.store.usage().pools.items() if number}
    if used and not active.snapshots:
        yield Breach(f"pools in use: {used}")


@_check(DRAINED, 14)
def mapped_instances_are_the_expansion(observed: Observations, active: ActiveRuns) -> Iterator[Breach]:
    """The map indexes of a mapped task are 0, 1, 2, ... without a gap, or it has one unmapped instance."""
    for run in observed.run_states:
        indexes: dict[str, list[int]] = {}
        for ti in observed.store.instances(run):
            indexes.setdefault(ti.task_id, []).append(ti.map_index)
        for task_id, actual in indexes.items():
            length = observed.lengths.get((run, task_id))
            if sorted(actual) not in ([-1], list(range(len(actual)))) or (length and len(actual) < length):
                yield Breach(f"{task_id}, expanded to {length}, has the map indexes {sorted(actual)}", run)


@_check(DRAINED, 24)
def every_attempt_has_ended(observed: Observations, active: ActiveRuns) -> Iterator[Breach]:
    """Every queued, running or deferred attempt ends or is re-dispatched within its bound."""
    for attempt in observed.store.live_attempts():
        yield Breach(f"attempt {attempt.attempt_id} is still {attempt.state}", attempt.run, attempt.key)
    for snapshot in active.snapshots.values():
        for ti in snapshot.instances.values():
            if ti.state in LIVE:
                yield Breach(f"the instance is still {ti.state}", snapshot.run.key, ti.key)


@_check(DRAINED, 27)
def backfills_end(observed: Observations, active: ActiveRuns) -> Iterator[Breach]:
    """A backfill is completed when all its runs have ended."""
    unfinished = {snapshot.run.backfill_id for snapshot in active.snapshots.values()}
    for row in observed.store.backfills(active=True):
        if row.backfill_id not in unfinished:
            yield Breach(f"backfill {row.backfill_id} has no unfinished run and is not completed")


class Checker:
    """Updates the observations, and checks each invariant at its point."""

    def __init__(
        self,
        store: Store,
        processes: Processes,
        slots_in_use: Callable[[], Iterable[tuple[str, int, int]]],
        *,
        exact: bool,
    ) -> None:
        self.observed = Observations(store=store, processes=processes, slots_in_use=slots_in_use, exact=exact)
        self.cursor: Cursor | None = None
        """The position up to which the history has been read."""

    def after_commit(self, now: datetime) -> None:
        """Check the events that a commit has added, and the state after it."""
        observed = self.observed
        observed.now = now
        observed.ended_runs, observed.started_runs = [], set()
        history = observed.store.history(self.cursor, limit=10**9)
        for event in history.events:
            for number, check_event in EVENT.items():
                self._raise_breach(number, check_event, check_event(observed, event))
            observed.fold(event)
        self.cursor = history.cursor
        for number, check_commit in COMMIT.items():
            self._raise_breach(number, check_commit, check_commit(observed))

    def forget_deleted(self) -> None:
        """Forget the runs of a DAG that was deleted: it may come again, with the same dates."""
        observed, store = self.observed, self.observed.store
        gone = {run for run in observed.run_states if store.run(run) is None}
        for by_instance in (observed.states, observed.current, observed.tries):
            for ti_key in [ti_key for ti_key in by_instance if ti_key[0] in gone]:
                del by_instance[ti_key]
        for run in gone:
            del observed.run_states[run]
            observed.never_to_run.pop(run, None)
        observed.dates = {date: run for date, run in observed.dates.items() if run not in gone}
        observed.latest = {dag_id: run for dag_id, run in observed.latest.items() if run.key not in gone}
        observed.specs = {name: spec for name, spec in observed.specs.items() if store.version(*name) is not None}

    def when_idle(self, active: ActiveRuns, now: datetime) -> None:
        """Check a world whose scheduler has nothing to do at ``now``."""
        self.observed.now = now
        for number, check_runs in IDLE.items():
            self._raise_breach(number, check_runs, check_runs(self.observed, active))

    def when_drained(self, active: ActiveRuns) -> None:
        """Check a world that has been drained."""
        for number, check_runs in DRAINED.items():
            self._raise_breach(number, check_runs, check_runs(self.observed, active))

    def _raise_breach(self, number: int, check: Callable[..., Iterator[Breach]], breaches: Iterator[Breach]) -> None:
        for breach in breaches:
            raise InvariantBroken(self._report(number, check, breach))

    def _report(self, number: int, check: Callable[..., Iterator[Breach]], breach: Breach) -> str:
        place = " ".join(str(part) for part in (breach.run and breach.run.run_id, breach.key) if part is not None)
        events: Sequence[TaskEvent] = ()
        if breach.run is not None:
            events = self.observed.store.events(run=breach.run, key=breach.key)
        lines = [
            f"  {e.seq} {e.at} {e.key or 'run'}: {e.source} > {e.target} by {e.cause} ({e.attempt_id})" for e in events
        ]
        return "\n".join([f"promise {number} is broken: {check.__doc__} {place}: {breach.text}", *lines])


assert {*EVENT, *COMMIT, *IDLE, *DRAINED} <= set(range(1, 36))
