"""The invariants of nbflow, checked after each step of a simulated world.

Each invariant is one function; its number is that of the promise, its docstring is the sentence that it holds nbflow
to. There are four occasions, one table for each:

* ``LINE``: for each new line of history, before it is folded into the :class:`Facts`;
* ``COMMIT``: after each commit, with all its lines folded in;
* ``CALM``: when the scheduler has nothing left to do at this moment;
* ``REST``: when the world has been drained.

The facts are kept as the history goes along, so that a check costs what has changed and not what has ever happened. A
breach raises :class:`InvariantBroken` with the story of the task instance: every line of history that names it.

Not here, because a simulation cannot show them: 13 (order of events; a property test), 18 (assets), 20, 22, 23, 28 to
30 (processes, sources, secrets, clocks of other programs, other stores). 32 is 9 and 10 with several schedulers; 34 is
checked where a scheduler ends (:mod:`nbflow.sim.world`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import NamedTuple

from nbflow.core.scheduler_loop import ActiveRuns
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
"""In the history: the placeholder of a mapped task made room for its instances."""


class InvariantBroken(AssertionError):
    """An invariant does not hold: a bug in nbflow, not an error of a DAG or its user. So it is not an NbflowError,
    which callers may catch as a refusal."""


class Breach(NamedTuple):
    """What is wrong, and where."""

    what: str
    run: RunKey | None = None
    key: TaskKey | None = None


@dataclass(slots=True)
class Facts:
    """What the history has told so far."""

    store: Store
    processes: Processes
    slots_in_use: Callable[[], Iterable[tuple[str, int, int]]]
    """(scheduler, slots in use, slots) of each executor."""
    exact: bool
    """No faults: what the store holds for live is being worked on, and nothing else."""
    now: datetime | None = None
    states: dict[InstanceKey, str] = field(default_factory=dict)
    run_states: dict[RunKey, str] = field(default_factory=dict)
    current: dict[InstanceKey, str] = field(default_factory=dict)
    """The attempt that may speak for an instance."""
    ended: set[str] = field(default_factory=set)
    """Attempts that have had their outcome."""
    fired: set[str] = field(default_factory=set)
    tries: Counter[InstanceKey] = field(default_factory=Counter)
    """Executions begun since the instance was made or cleared."""
    dates: dict[tuple[str, datetime], RunKey] = field(default_factory=dict)
    latest: dict[str, Run] = field(default_factory=dict)
    """The last scheduled run of each DAG."""
    never: dict[RunKey, frozenset[str]] = field(default_factory=dict)
    """Instances that a deadlocked run leaves behind, by name."""
    lengths: dict[tuple[RunKey, str], int] = field(default_factory=dict)
    over: list[RunKey] = field(default_factory=list)
    """Runs that ended in this commit."""
    begun: set[tuple[str, int | None]] = field(default_factory=set)
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

    def fold(self, line: TaskEvent) -> None:
        """Take a line in."""
        if line.key is None:
            self._fold_run(line)
            return
        here = (line.run, line.key)
        if line.cause == EXPANDED:
            self.states.pop(here, None)
            self.lengths[line.run, line.key.task_id] = int(line.detail["length"])
            return
        self.states[here] = line.target
        if line.target == TaskState.QUEUED and line.attempt_id:
            self.current[here] = line.attempt_id
        elif line.attempt_id and line.source in LIVE and line.target not in LIVE:
            self.ended.add(line.attempt_id)
            self.current.pop(here, None)
        if line.cause == Cause.TRIGGER_FIRED and line.attempt_id:
            self.fired.add(line.attempt_id)
        if line.target == TaskState.SCHEDULED and line.cause in (Cause.DEPENDENCIES_MET, Cause.RETRY_DUE):
            self.tries[here] += 1
        elif line.target == TaskState.NONE:
            self.tries[here] = 0
        kind = _CALLBACK_OF.get(line.target) if line.source in LIVE else None
        task = self.spec(line.run).tasks.get(line.key.task_id)
        if kind is not None and task is not None and kind in task.callbacks:
            self.callbacks_due[line.run, line.key, kind] += 1

    def _fold_run(self, line: TaskEvent) -> None:
        self.run_states[line.run] = line.target
        run = self.store.run(line.run)
        assert run is not None
        if line.cause == RunCause.SLOT_FREE:
            self.begun.add((run.dag_id, run.backfill_id))
        if line.cause == RunCause.CREATED and run.logical_date is not None:
            if run.run_type in ("scheduled", "backfill"):
                self.dates[run.dag_id, run.logical_date] = run.key
            if run.run_type == "scheduled":
                self.latest[run.dag_id] = run
        if line.target in RUN_FINISHED:
            self.over.append(line.run)
            self.never[line.run] = frozenset(line.detail.get("never_to_run", ()))
            kind = "success" if line.target == RunState.SUCCESS else "failure"
            if kind in self.spec(line.run).callbacks and line.cause not in _MARKED:
                self.callbacks_due[line.run, None, kind] += 1


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
_MARKED = frozenset({RunCause.MARKED_SUCCESS, RunCause.MARKED_FAILED})
_CALLBACK_OF: dict[str, str] = {
    TaskState.SUCCESS: "success",
    TaskState.FAILED: "failure",
    TaskState.UP_FOR_RETRY: "retry",
    TaskState.SKIPPED: "skipped",
}
"""What a live task became -> the callback that this owes, whoever ended it."""

OnLine = Callable[[Facts, TaskEvent], Iterator[Breach]]
OnFacts = Callable[[Facts], Iterator[Breach]]
OnActive = Callable[[Facts, ActiveRuns], Iterator[Breach]]

LINE: dict[int, OnLine] = {}
COMMIT: dict[int, OnFacts] = {}
CALM: dict[int, OnActive] = {}
REST: dict[int, OnActive] = {}


def _at(
    table: dict[int, Callable[..., Iterator[Breach]]], number: int
) -> Callable[..., Callable[..., Iterator[Breach]]]:
    def enter(check: Callable[..., Iterator[Breach]]) -> Callable[..., Iterator[Breach]]:
        table[number] = check
        return check

    return enter


# --- each line of history


@_at(LINE, 2)
def a_state_write_needs_the_current_attempt(facts: Facts, line: TaskEvent) -> Iterator[Breach]:
    """A state write needs the current attempt id."""
    if line.key is not None and line.cause in _OUTCOMES:
        mine = facts.current.get((line.run, line.key))
        if line.attempt_id is None or line.attempt_id != mine:
            yield Breach(f"{line.cause} was written by {line.attempt_id}; current is {mine}", line.run, line.key)


@_at(LINE, 3)
def terminal_is_final_for_an_attempt(facts: Facts, line: TaskEvent) -> Iterator[Breach]:
    """Terminal is final for an attempt."""
    if line.attempt_id in facts.ended:
        yield Breach(f"attempt {line.attempt_id} had ended, then {line.cause}", line.run, line.key)


@_at(LINE, 4)
def only_declared_transitions_occur(facts: Facts, line: TaskEvent) -> Iterator[Breach]:
    """Only declared transitions occur, each from the state that the line before it left."""
    try:
        if line.key is not None:
            was = facts.states.get((line.run, line.key), TaskState.NONE)
            if line.cause == EXPANDED:
                return
            check_move(TaskState(line.source), Cause(line.cause), TaskState(line.target))
        elif line.cause == RunCause.CREATED:
            return
        else:
            was = facts.run_states.get(line.run, "")
            check_run_move(RunState(line.source), RunCause(line.cause), RunState(line.target))
    except IllegalTransition as error:
        yield Breach(str(error), line.run, line.key)
    else:
        if was != line.source:
            yield Breach(f"{line.cause} leaves {line.source}, but the state was {was}", line.run, line.key)


@_at(LINE, 5)
def never_two_runs_of_one_interval(facts: Facts, line: TaskEvent) -> Iterator[Breach]:
    """Never two scheduled or backfill runs of one interval."""
    run = facts.store.run(line.run) if line.cause == RunCause.CREATED else None
    if run is not None and run.logical_date is not None and run.run_type in ("scheduled", "backfill"):
        other = facts.dates.get((run.dag_id, run.logical_date))
        if other is not None:
            yield Breach(f"{run.run_id} and {other.run_id} are of one interval", line.run)


@_at(LINE, 7)
def intervals_follow_each_other(facts: Facts, line: TaskEvent) -> Iterator[Breach]:
    """Intervals are aware UTC, positive, contiguous and non-overlapping, across DST and schedule edits."""
    run = facts.store.run(line.run) if line.cause == RunCause.CREATED else None
    if run is None or run.run_type != "scheduled" or run.data_interval_start is None or run.data_interval_end is None:
        return
    start, end, dag = run.data_interval_start, run.data_interval_end, facts.spec(line.run)
    if dag.schedule["kind"] not in _PERIODS:
        return  # triggers have empty intervals, or overlapping ones on purpose
    if end <= start or start.utcoffset() != timedelta(0):
        yield Breach(f"interval {start} to {end}", line.run)
    before = facts.latest.get(run.dag_id)
    last_end = before.data_interval_end if before is not None else None
    if last_end is not None and start < last_end:
        yield Breach(f"its interval begins {start}, before {last_end}, when the last one ended", line.run)
    if last_end is not None and start > last_end and dag.catchup and not facts.store.backfills(run.dag_id):
        yield Breach(f"its interval begins {start}, after {last_end}, when the last one ended", line.run)


_PERIODS = frozenset({"cron_interval", "delta_interval"})
"""Kinds of timetables whose runs are about one period after the other."""


@_at(LINE, 8)
def no_run_early(facts: Facts, line: TaskEvent) -> Iterator[Breach]:
    """No scheduled run before it is due, while its DAG is paused, or outside the DAG's dates."""
    run = facts.store.run(line.run) if line.cause == RunCause.CREATED else None
    if run is None or run.run_type != "scheduled" or run.logical_date is None:
        return
    row, dag = facts.store.dag(run.dag_id), facts.spec(line.run)
    if line.at < run.run_after:
        yield Breach(f"made at {line.at}, due at {run.run_after}", line.run)
    if row is not None and row.paused:
        yield Breach("its DAG is paused", line.run)
    if (dag.start_date and run.logical_date < dag.start_date) or (dag.end_date and run.logical_date > dag.end_date):
        yield Breach(f"logical date {run.logical_date} is outside {dag.start_date} to {dag.end_date}", line.run)


@_at(LINE, 12)
def executions_stay_within_retries(facts: Facts, line: TaskEvent) -> Iterator[Breach]:
    """Executions ≤ retries + 1 per clear; defer, reschedule and requeue are not counted."""
    if line.key is None or line.target != TaskState.SCHEDULED:
        return
    if line.cause in (Cause.DEPENDENCIES_MET, Cause.RETRY_DUE):
        task = facts.spec(line.run).tasks.get(line.key.task_id)
        begun = facts.tries[line.run, line.key] + 1
        if task is not None and begun > max(task.retries, 0) + 1:
            yield Breach(f"execution {begun} of a task with {task.retries} retries", line.run, line.key)


@_at(LINE, 17)
def a_trigger_resumes_at_most_once(facts: Facts, line: TaskEvent) -> Iterator[Breach]:
    """A trigger event resumes at most once, and only its own attempt."""
    if line.cause == Cause.TRIGGER_FIRED and line.attempt_id in facts.fired:
        yield Breach(f"attempt {line.attempt_id} was resumed twice", line.run, line.key)


@_at(LINE, 31)
def a_healthy_attempt_goes_on(facts: Facts, line: TaskEvent) -> Iterator[Breach]:
    """A healthy attempt never ends because a scheduler, its lease or the store is in trouble: its own lease counts."""
    if line.cause == Cause.KILLED and line.source in LIVE:
        yield Breach(
            "the current attempt was killed, though no user, limit or timeout had ended it", line.run, line.key
        )
    if line.cause in (Cause.HEARTBEAT_LOST, Cause.DISPATCH_LOST) and line.attempt_id is not None:
        process = facts.processes.working.get(line.attempt_id)
        if process is not None and process.lease_ends > facts.processes.now():
            yield Breach(f"{line.cause}, but its lease had not ended", line.run, line.key)


# --- each commit


@_at(COMMIT, 1)
def one_live_attempt_an_instance(facts: Facts) -> Iterator[Breach]:
    """At most one live attempt per (dag, run, task, map index)."""
    for (run, key), number in Counter((a.run, a.key) for a in facts.store.live_attempts()).items():
        if number > 1:
            yield Breach(f"{number} live attempts", run, key)


@_at(COMMIT, 9)
def active_limits_hold(facts: Facts) -> Iterator[Breach]:
    """Limits on active runs and tasks hold at every commit."""
    usage = facts.store.usage()
    for run, used in usage.runs.items():
        most = facts.spec(run).max_active_tasks
        if used > most:
            yield Breach(f"{used} tasks take slots, max_active_tasks is {most}", run)
    for (run, task_id), used in usage.tasks_in_runs.items():
        task = facts.spec(run).tasks.get(task_id)
        if task is not None and task.max_active_tis_per_dagrun is not None and used > task.max_active_tis_per_dagrun:
            yield Breach(f"{used} of {task_id} in one run, {task.max_active_tis_per_dagrun} are allowed", run)
        # Runs keep their versions: what an older one may have running is no breach of a newer one's limit.
        if task is not None and task.max_active_tis_per_dag is not None and len(facts.store.versions(run.dag_id)) == 1:
            everywhere = usage.tasks[run.dag_id, task_id]
            if everywhere > task.max_active_tis_per_dag:
                yield Breach(f"{everywhere} of {task_id}, {task.max_active_tis_per_dag} are allowed", run)
    if not facts.begun:
        return  # an edit may lower the limit under the runs that are running: they go on, and no other begins
    running = [run for run in facts.store.active_runs() if run.state is RunState.RUNNING]
    for (dag_id, backfill_id), number in Counter((run.dag_id, run.backfill_id) for run in running).items():
        if (dag_id, backfill_id) not in facts.begun:
            continue
        backfill = facts.store.backfill(backfill_id) if backfill_id is not None else None
        version = facts.store.version(dag_id)
        most = backfill.max_active_runs if backfill else version.spec.max_active_runs if version else number
        if number > most:
            yield Breach(f"{number} runs of {dag_id} (backfill {backfill_id}) are running, {most} are allowed")


@_at(COMMIT, 10)
def pools_hold(facts: Facts) -> Iterator[Breach]:
    """Pool use ≤ size at every commit."""
    used = facts.store.usage().pools
    for pool in facts.store.pools() if used else ():
        if 0 <= pool.slots < used.get(pool.name, 0):
            yield Breach(f"pool {pool.name}: {used[pool.name]} of {pool.slots} slots are taken")


@_at(COMMIT, 11)
def slots_hold(facts: Facts) -> Iterator[Breach]:
    """Executor slots in use ≤ slots, and every worker works on a live attempt."""
    for scheduler, used, slots in facts.slots_in_use():
        if used > slots:
            yield Breach(f"{used} tasks in the {slots} slots of {scheduler}")


@_at(COMMIT, 15)
def no_terminal_run_has_unfinished_tasks(facts: Facts) -> Iterator[Breach]:
    """No terminal run has a non-terminal task, save instances recorded as never to run, with their cause."""
    for run in facts.over:
        row = facts.store.run(run)
        if row is None or row.state not in RUN_FINISHED:
            continue
        for ti in facts.store.instances(run):
            if ti.state not in FINISHED and str(ti.key) not in facts.never.get(run, frozenset()):
                yield Breach(f"the run is {row.state}, this is {ti.state}", run, ti.key)


@_at(COMMIT, 16)
def a_new_attempt_never_sees_old_xcom(facts: Facts) -> Iterator[Breach]:
    """A new attempt never sees its old XCom; defer and reschedule keep theirs."""
    yield from (Breach(what, run, key) for number, what, run, key in facts.processes.breaches if number == 16)


@_at(COMMIT, 21)
def work_is_killed_before_it_is_given_to_another(facts: Facts) -> Iterator[Breach]:
    """A worker that loses its lease kills its work before reassignment (on one host; others end within the lease)."""
    yield from (Breach(what, run, key) for number, what, run, key in facts.processes.breaches if number == 21)


@_at(COMMIT, 19)
def one_callback_a_terminal_transition(facts: Facts) -> Iterator[Breach]:
    """One callback intent per end of a task that had started, kills and time-outs included, and per end of a run."""
    now = facts.now
    assert now is not None
    found: Counter[tuple[RunKey, TaskKey | None, str]] = Counter()
    for intent in facts.store.claim_callbacks(owner="sim", lease=timedelta(days=1), now=now, limit=10**6):
        found[intent.run, intent.key, intent.kind] += 1
        facts.store.finish_callback(intent.callback_id, error=None, now=now)
    for run, key, kind in facts.callbacks_due.keys() | found.keys():
        due, got = facts.callbacks_due[run, key, kind], found[run, key, kind]
        if got != due:
            yield Breach(f"{got} {kind} callbacks for {due} such transitions", run, key)
    facts.callbacks_due.clear()


# --- when the scheduler has nothing left to do


@_at(CALM, 11)
def workers_work_on_what_is_live(facts: Facts, active: ActiveRuns) -> Iterator[Breach]:
    """Executor slots = live attempts."""
    live = {attempt.attempt_id for attempt in facts.store.live_attempts()}
    working = facts.processes.working
    idle = live - working.keys()
    useless = {name for name in working.keys() - live if working[name].killed_for is None}
    if facts.exact and (idle or useless):
        yield Breach(f"worked on: {sorted(working)}, live in the store: {sorted(live)}")


@_at(CALM, 26)
def memory_is_what_the_store_holds(facts: Facts, active: ActiveRuns) -> Iterator[Breach]:
    """Decisions are made from what is so: the runs in hand equal the store's."""
    for key, snapshot in active.snapshots.items():
        stored = facts.store.snapshot(key)
        if stored is None or stored.run != snapshot.run:
            yield Breach(f"in hand: {snapshot.run}, stored: {stored and stored.run}", key)
        elif stored.instances != snapshot.instances and (other := _differing(stored, snapshot)):
            yield Breach(f"in hand and stored differ at {[str(k) for k in other]}", key, other[0])
        elif (stored.previous and dict(stored.previous.states)) != (
            snapshot.previous and dict(snapshot.previous.states)
        ):
            yield Breach("in hand and stored differ in the run before", key)


def _differing(stored: Snapshot, snapshot: Snapshot) -> list[TaskKey]:
    """Where two snapshots differ. The number of a trigger is the store's own: nothing is decided from it."""
    keys = stored.instances.keys() | snapshot.instances.keys()
    return sorted(
        key
        for key in keys
        if _without_trigger(stored.instances.get(key)) != _without_trigger(snapshot.instances.get(key))
    )


def _without_trigger(ti: Instance | None) -> Instance | None:
    return replace(ti, trigger_id=None) if ti is not None and ti.trigger_id is not None else ti


# --- when everything has come to its end


@_at(REST, 6)
def every_due_interval_has_a_run(facts: Facts, active: ActiveRuns) -> Iterator[Breach]:
    """Every due interval has a distinct run (of DAGs that catch up; others leave intervals out on purpose)."""
    for row in facts.store.dags():
        version = facts.store.version(row.dag_id)
        latest = facts.latest.get(row.dag_id)
        if version is None or not version.spec.catchup or latest is None or latest.logical_date is None:
            continue
        try:
            timetable = timetable_from_spec(version.spec.schedule)
        except CustomTimetableNotLoaded:
            continue
        first = min(date for dag_id, date in facts.dates if dag_id == row.dag_id)
        if len(facts.store.versions(row.dag_id)) > 1 or not timetable.periodic:
            continue
        for info in timetable.runs_between(version.spec.start_date or first, latest.logical_date, latest.run_after):
            if (row.dag_id, info.logical_date) not in facts.dates:
                yield Breach(f"{row.dag_id} has no run of {info.logical_date}")


@_at(REST, 10)
def pools_are_empty(facts: Facts, active: ActiveRuns) -> Iterator[Breach]:
    """Pool use is zero when idle."""
    used = {pool: number for pool, number in facts.store.usage().pools.items() if number}
    if used and not active.snapshots:
        yield Breach(f"pools in use: {used}")


@_at(REST, 14)
def mapped_instances_are_the_expansion(facts: Facts, active: ActiveRuns) -> Iterator[Breach]:
    """Mapped instances = the expansion: their indexes are 0, 1, 2, ... without a gap, or one row without an index."""
    for run in facts.run_states:
        indexes: dict[str, list[int]] = {}
        for ti in facts.store.instances(run):
            indexes.setdefault(ti.task_id, []).append(ti.map_index)
        for task_id, found in indexes.items():
            length = facts.lengths.get((run, task_id))
            if sorted(found) not in ([-1], list(range(len(found)))) or (length and len(found) < length):
                yield Breach(f"{task_id}, expanded to {length}, has the map indexes {sorted(found)}", run)


@_at(REST, 24)
def every_attempt_has_ended(facts: Facts, active: ActiveRuns) -> Iterator[Breach]:
    """Every queued, running or deferred attempt ends or is re-dispatched within its bound."""
    for attempt in facts.store.live_attempts():
        yield Breach(f"attempt {attempt.attempt_id} is still {attempt.state}", attempt.run, attempt.key)
    for snapshot in active.snapshots.values():
        for ti in snapshot.instances.values():
            if ti.state in LIVE:
                yield Breach(f"is still {ti.state}", snapshot.run.key, ti.key)


@_at(REST, 27)
def backfills_end(facts: Facts, active: ActiveRuns) -> Iterator[Breach]:
    """A backfill ends when its runs have."""
    unfinished = {snapshot.run.backfill_id for snapshot in active.snapshots.values()}
    for row in facts.store.backfills(active=True):
        if row.backfill_id not in unfinished:
            yield Breach(f"backfill {row.backfill_id} has no unfinished run and is not completed")


class Checker:
    """Keeps the facts, and asks every invariant on its occasion."""

    def __init__(
        self,
        store: Store,
        processes: Processes,
        slots_in_use: Callable[[], Iterable[tuple[str, int, int]]],
        *,
        exact: bool,
    ) -> None:
        self.facts = Facts(store=store, processes=processes, slots_in_use=slots_in_use, exact=exact)
        self.seen: Cursor | None = None
        """The history is taken in up to here."""

    def after_commit(self, now: datetime) -> None:
        """Look at what a commit has added."""
        facts = self.facts
        facts.now = now
        facts.over, facts.begun = [], set()
        new = facts.store.history(self.seen, limit=10**9)
        for line in new.events:
            for number, on_line in LINE.items():
                self._hold(number, on_line, on_line(facts, line))
            facts.fold(line)
        self.seen = new.cursor
        for number, on_commit in COMMIT.items():
            self._hold(number, on_commit, on_commit(facts))

    def forget_deleted(self) -> None:
        """Forget the runs of a DAG that was deleted: it may come again, with the same dates."""
        facts, store = self.facts, self.facts.store
        gone = {run for run in facts.run_states if store.run(run) is None}
        for by_instance in (facts.states, facts.current, facts.tries):
            for here in [here for here in by_instance if here[0] in gone]:
                del by_instance[here]
        for run in gone:
            del facts.run_states[run]
            facts.never.pop(run, None)
        facts.dates = {date: run for date, run in facts.dates.items() if run not in gone}
        facts.latest = {dag_id: run for dag_id, run in facts.latest.items() if run.key not in gone}
        facts.specs = {name: spec for name, spec in facts.specs.items() if store.version(*name) is not None}

    def at_a_fixed_point(self, active: ActiveRuns, now: datetime) -> None:
        """Look at a world that has nothing to do just now."""
        self.facts.now = now
        for number, on_calm in CALM.items():
            self._hold(number, on_calm, on_calm(self.facts, active))

    def at_rest(self, active: ActiveRuns) -> None:
        """Look at a world that has been drained."""
        for number, on_rest in REST.items():
            self._hold(number, on_rest, on_rest(self.facts, active))

    def _hold(self, number: int, check: Callable[..., Iterator[Breach]], breaches: Iterator[Breach]) -> None:
        for breach in breaches:
            raise InvariantBroken(self._report(number, check, breach))

    def _report(self, number: int, check: Callable[..., Iterator[Breach]], breach: Breach) -> str:
        place = " ".join(str(part) for part in (breach.run and breach.run.run_id, breach.key) if part is not None)
        story: Sequence[TaskEvent] = ()
        if breach.run is not None:
            story = self.facts.store.events(run=breach.run, key=breach.key)
        lines = [
            f"  {e.seq} {e.at} {e.key or 'run'}: {e.source} > {e.target} by {e.cause} ({e.attempt_id})" for e in story
        ]
        return "\n".join([f"promise {number} is broken: {check.__doc__} {place}: {breach.what}", *lines])


assert {*LINE, *COMMIT, *CALM, *REST} <= set(range(1, 36))
