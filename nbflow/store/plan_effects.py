"""What a list of plans does to the store's rows: worked out once, for every store.

Theory
------
``apply`` has three steps, and only the first and the last differ from store to store:

1. *read* the runs and instances that the plans name (and lock them, where there is anything to lock);
2. *work out* the effects, here: each operation is played in order against a working copy of the rows, by the same rule
   as :func:`nbflow.core.plan.advance`. An operation that does not find what it expects raises ``StalePlan``; one that
   the transition table does not have raises ``IllegalTransition``; either way nothing has been written yet;
3. *write* the effects, each row once, guarded by what was read in step 1.

Playing the operations also *folds* them: an instance that goes none -> scheduled -> queued in one apply is written
once, and its history has both lines. Attempts, triggers, and what a new try forgets follow from the moves:

* a move to ``queued`` makes an attempt. It *continues* a try if the instance has a start date already (a deferral or
  a reschedule came between); every other dispatch begins a try and forgets the XComs of the one before;
* a move that leaves a live state, and one into ``deferred``, ends the instance's attempt: its cause is the outcome.
  A restarting instance keeps its attempt until the process is gone;
* a move into ``deferred`` makes a trigger (from the move's ``detail``), a move out of it removes that trigger;
  the payload of the trigger that fired waits in ``next_kwargs`` for the attempt that goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple, TypeVar

from nbflow.core.plan import AddInstances, AddRun, Callback, ChangeVersion, DropInstance, Move, Op, Plan, RunMove
from nbflow.core.snapshot import Instance, Run, RunKey, TaskKey, change, change_run
from nbflow.core.spec import DagSpec
from nbflow.core.states import LIVE, Cause, RunCause, TaskState, check_move, check_run_move
from nbflow.errors import DagNotFound, DagRunAlreadyExists, StalePlan
from nbflow.store.base import Attempt, Job
from nbflow.store.codec import as_stored

UNCLAIMED_LEASE_SECONDS = 60
"""How long a dispatch may stay unclaimed before it counts as lost. Submitting takes milliseconds; a minute covers an
executor that starts its workers first."""


ONE_A_DATE = frozenset({"scheduled", "backfill"})
"""Run types of which there is at most one a logical date."""

GONE = ""
"""In the history: the state of what is not there (a run before it is made, a placeholder after its expansion)."""


class Hidden(NamedTuple):
    """What the store keeps of an instance besides :class:`Instance`."""

    pool: str = "default_pool"
    pool_slots: int = 1
    next_kwargs: Mapping[str, Any] | None = None
    """Of a deferred try: the arguments of ``next_method``, with the trigger's payload once it fired."""


NOTHING_HIDDEN = Hidden()


@dataclass(slots=True)
class Row:
    """The working copy of one instance. ``found`` is None for a row that this apply adds."""

    found: Instance | None
    now: Instance | None
    hidden: Hidden = NOTHING_HIDDEN
    attempt: Attempt | None = None
    """The attempt that this apply made for it."""


@dataclass(slots=True)
class RunRow:
    """The working copy of one run."""

    found: Run | None
    now: Run
    bumped: bool = False


class AttemptEnd(NamedTuple):
    """An attempt of an earlier apply ends."""

    attempt_id: str
    at: datetime
    outcome: str
    error: str | None
    started_at: datetime | None


class Line(NamedTuple):
    """A row of the history, still without its number."""

    run: RunKey
    key: TaskKey | None
    source: str
    target: str
    cause: str
    at: datetime
    try_number: int
    attempt_id: str | None
    detail: Mapping[str, Any]


class NewTrigger(NamedTuple):
    run: RunKey
    key: TaskKey
    attempt_id: str
    trigger: Mapping[str, Any]
    timeout_at: datetime | None


class NewCallback(NamedTuple):
    run: RunKey
    key: TaskKey | None
    kind: str
    version: int
    at: datetime
    reason: str


@dataclass(slots=True)
class Effects:
    """All that an apply writes."""

    runs: dict[RunKey, RunRow] = field(default_factory=dict)
    rows: dict[tuple[RunKey, TaskKey], Row] = field(default_factory=dict)
    attempts: list[Row] = field(default_factory=list)
    """Rows with the attempts that this apply made, in order; an attempt may have ended again already."""
    started: dict[str, datetime] = field(default_factory=dict)
    endings: list[AttemptEnd] = field(default_factory=list)
    history: list[Line] = field(default_factory=list)
    forget_xcoms: list[tuple[RunKey, TaskKey]] = field(default_factory=list)
    new_triggers: list[NewTrigger] = field(default_factory=list)
    ended_triggers: list[tuple[RunKey, TaskKey]] = field(default_factory=list)
    callbacks: list[NewCallback] = field(default_factory=list)

    @property
    def added_tasks(self) -> dict[tuple[str, str], datetime]:
        """(dag_id, task_id) -> earliest logical date, of the rows that this apply adds."""
        first: dict[tuple[str, str], datetime] = {}
        for (run, key), row in self.rows.items():
            date = self.runs[run].now.logical_date
            if row.found is None and row.now is not None and date is not None:
                name = (run.dag_id, key.task_id)
                first[name] = min(first.get(name, date), date)
        return first


def touched_runs(plans: Iterable[Plan]) -> list[RunKey]:
    """Runs that the plans name, without those that they make themselves, in the order in which to lock them."""
    made = {op.run.key for plan in plans for op in plan.ops if isinstance(op, AddRun)}
    named = {op.run for plan in plans for op in plan.ops if not isinstance(op, AddRun)}
    return sorted(named - made)


def touched_keys(plans: Iterable[Plan]) -> list[tuple[RunKey, TaskKey]]:
    """Instances that the plans name, each once, in order of mention."""
    keys: dict[tuple[RunKey, TaskKey], None] = {}
    for plan in plans:
        for op in plan.ops:
            if isinstance(op, Move | DropInstance):
                keys[op.run, op.key] = None
            elif isinstance(op, AddInstances):
                keys.update(dict.fromkeys((op.run, one.key) for one in op.instances))
    return list(keys)


def of_backfill(plan: Plan, backfill_id: int) -> Plan:
    """The plan, with every run that it makes or moves as one of this backfill's."""

    def owned(op: Op) -> Op:
        match op:
            case AddRun():
                return replace(op, run=replace(op.run, backfill_id=backfill_id))
            case RunMove():
                return replace(op, changes={**op.changes, "backfill_id": backfill_id})
            case _:
                return op

    return replace(plan, ops=tuple(map(owned, plan.ops)))


def utc(value: datetime) -> datetime:
    """The same moment as a plain datetime in UTC. Raises ValueError for a naive one."""
    if value.tzinfo is UTC and type(value) is datetime:
        return value
    if value.tzinfo is None or value.utcoffset() is None:
        raise ValueError(f"{value!r} has no time zone; nbflow stores moments, so give it one, e.g. tzinfo=UTC.")
    there = value.astimezone(UTC)  # of a subclass (pendulum's) an instance of the subclass
    return datetime.combine(there.date(), there.time(), UTC)


def begins_or_ends(job: Job) -> bool:
    """Whether a process tells more than that it still lives."""
    return job.ended_at is not None or job.heartbeat_at <= job.started_at


def utc_fields(values: Mapping[str, Any]) -> dict[str, Any]:
    """``values`` with every datetime in UTC. Raises ValueError for a naive one."""
    return {name: utc(value) if isinstance(value, datetime) else value for name, value in values.items()}


Timed = TypeVar("Timed", Run, Instance)

_TIMES = {cls: tuple(f.name for f in fields(cls) if "datetime" in str(f.type)) for cls in (Run, Instance)}


def utc_times(value: Timed) -> Timed:
    """A run or an instance with all its times in UTC. Raises ValueError for a naive one."""
    times = {name: time for name in _TIMES[type(value)] if (time := getattr(value, name)) is not None}
    return replace(value, **utc_fields(times)) if any(time.tzinfo is not UTC for time in times.values()) else value


def work_out(
    plans: Sequence[Plan],
    *,
    find_run: Callable[[RunKey], Run | None],
    find_row: Callable[[RunKey, TaskKey], tuple[Instance, Hidden] | None],
    find_spec: Callable[[str, int], DagSpec | None],
    new_id: Callable[[], str],
    expect: Mapping[RunKey, int] | None = None,
) -> Effects:
    """What ``plans`` lead to, from the rows that the finders give. Writes nothing.

    Raises StalePlan (a run has another revision than ``expect`` says, or a state or attempt is not as a plan expects),
    DagRunAlreadyExists (for a run id; the logical date is the database's to guard), IllegalTransition.
    """
    play = _Play(find_run, find_row, find_spec, new_id)
    for key, revision in (expect or {}).items():
        play.expect(key, revision)
    for plan in plans:
        for op in plan.ops:
            _PLAYS[type(op)](play, op)
    return play.effects


class _Play:
    """One apply, operation by operation."""

    def __init__(
        self,
        find_run: Callable[[RunKey], Run | None],
        find_row: Callable[[RunKey, TaskKey], tuple[Instance, Hidden] | None],
        find_spec: Callable[[str, int], DagSpec | None],
        new_id: Callable[[], str],
    ) -> None:
        self.find_run, self.find_row, self.find_spec, self.new_id = find_run, find_row, find_spec, new_id
        self.effects = Effects()

    def expect(self, key: RunKey, revision: int) -> None:
        run = self.find_run(key)
        if run is None:
            raise StalePlan(f"run {key.run_id} of {key.dag_id} is gone.")
        if run.revision != revision:
            raise StalePlan(f"run {key.run_id} of {key.dag_id} is at revision {run.revision}, not {revision}.")

    def run(self, key: RunKey, *, touch: bool = True) -> RunRow:
        row = self.effects.runs.get(key)
        if row is None:
            found = self.find_run(key)
            if found is None:
                raise StalePlan(f"run {key.run_id} of {key.dag_id} is gone.")
            row = self.effects.runs[key] = RunRow(found=found, now=found)
        if touch and not row.bumped:
            row.bumped = True
            row.now = change_run(row.now, revision=row.now.revision + 1)
        return row

    def row(self, run: RunKey, key: TaskKey) -> Row | None:
        row = self.effects.rows.get((run, key))
        if row is None and (found := self.find_row(run, key)) is not None:
            row = self.effects.rows[run, key] = Row(found[0], *found)
        return row

    # --- one method an operation
    def move(self, op: Move) -> None:
        check_move(op.source, op.cause, op.target)
        run = self.run(op.run).now
        row = self.row(op.run, op.key)
        now = row.now if row else None
        if row is None or now is None or now.state is not op.source:
            raise StalePlan(f"{_place(op)} is {now.state if now else 'gone'}, not {op.source}.")
        if op.attempt_id is not None and op.attempt_id != now.attempt_id:
            raise StalePlan(f"{_place(op)} belongs to attempt {now.attempt_id}, not {op.attempt_id}.")
        attempt_id, at = now.attempt_id, utc(op.at)
        changes = utc_fields(op.changes)
        if op.source is TaskState.DEFERRED:
            changes["trigger_id"] = None
            self._end_trigger(op, row)
        if op.target is TaskState.QUEUED:
            attempt_id = changes["attempt_id"] = self.new_id()
        after = change(now, state=op.target, **changes)
        if op.target is TaskState.QUEUED:
            self._dispatch(op, row, after, run, at)
        elif op.cause is Cause.STARTED and attempt_id is not None:
            self._start(row, attempt_id, at)
        elif (
            op.source in LIVE and attempt_id is not None and (op.target not in LIVE or op.target is TaskState.DEFERRED)
        ):
            self._end_attempt(op, row, attempt_id, after.start_date, at)
        if op.target is TaskState.DEFERRED:
            self._defer(op, row, attempt_id or "")
        row.now = after
        self._line(op.run, op.key, op.source, op.target, op.cause, at, after.try_number, attempt_id, op.detail)

    def _dispatch(self, op: Move, row: Row, after: Instance, run: Run, at: datetime) -> None:
        continues = after.start_date is not None
        task = self._spec(run).tasks.get(op.key.task_id)
        row.attempt = Attempt(
            attempt_id=after.attempt_id or "",
            run=op.run,
            key=op.key,
            try_number=after.try_number,
            version=run.version,
            queue=task.queue if task else "default",
            continues=continues,
            queued_at=at,
            lease_until=at + timedelta(seconds=UNCLAIMED_LEASE_SECONDS),
            next_method=after.next_method if continues else None,
            next_kwargs=row.hidden.next_kwargs if continues else None,
        )
        self.effects.attempts.append(row)
        if not continues:
            self.effects.forget_xcoms.append((op.run, op.key))

    def _start(self, row: Row, attempt_id: str, at: datetime) -> None:
        if row.attempt is not None:
            row.attempt = replace(row.attempt, state="running", started_at=at)
        else:
            self.effects.started[attempt_id] = at

    def _end_attempt(self, op: Move, row: Row, attempt_id: str, started_at: datetime | None, at: datetime) -> None:
        error = op.detail.get("error")
        end = AttemptEnd(attempt_id, at, op.cause.value, str(error) if error else None, started_at)
        if row.attempt is not None and row.attempt.attempt_id == attempt_id:
            row.attempt = replace(
                row.attempt,
                state="ended",
                ended_at=at,
                outcome=end.outcome,
                error=end.error,
                started_at=row.attempt.started_at or started_at,
                lease_until=None,
            )
        else:
            self.effects.endings.append(end)

    def _defer(self, op: Move, row: Row, attempt_id: str) -> None:
        detail = op.detail
        timeout = detail.get("timeout_at")
        timeout_at = utc(datetime.fromisoformat(timeout) if isinstance(timeout, str) else timeout) if timeout else None
        row.hidden = row.hidden._replace(next_kwargs=as_stored(detail.get("kwargs") or {}))
        self.effects.new_triggers.append(
            NewTrigger(op.run, op.key, attempt_id, as_stored(detail.get("trigger") or {}), timeout_at)
        )

    def _end_trigger(self, op: Move, row: Row) -> None:
        self.effects.ended_triggers.append((op.run, op.key))
        if "event" in op.detail:
            payload = as_stored({"event": op.detail["event"]})
            row.hidden = row.hidden._replace(next_kwargs={**(row.hidden.next_kwargs or {}), **payload})

    def run_move(self, op: RunMove) -> None:
        check_run_move(op.source, op.cause, op.target)
        row = self.run(op.run)
        if row.now.state is not op.source:
            raise StalePlan(f"run {op.run.run_id} of {op.run.dag_id} is {row.now.state}, not {op.source}.")
        changes = utc_fields(op.changes)
        if "conf" in changes:
            changes["conf"] = as_stored(changes["conf"])
        row.now = replace(row.now, state=op.target, **changes)
        self._line(op.run, None, op.source, op.target, op.cause, utc(op.at), 0, None, op.detail)

    def change_version(self, op: ChangeVersion) -> None:
        row = self.run(op.run)
        row.now = replace(row.now, version=op.number)

    def add_run(self, op: AddRun) -> None:
        key = op.run.key
        if key in self.effects.runs or self.find_run(key) is not None:
            raise DagRunAlreadyExists(f"DAG {key.dag_id} has a run {key.run_id} already.")
        run = utc_times(replace(op.run, conf=as_stored(op.run.conf)))
        self.effects.runs[key] = RunRow(found=None, now=run, bumped=False)
        detail = {"by": op.cause}
        self._line(key, None, GONE, op.run.state, RunCause.CREATED, utc(op.at), 0, None, detail)
        self._add(key, op.run, op.instances)

    def add_instances(self, op: AddInstances) -> None:
        self._add(op.run, self.run(op.run).now, op.instances)

    def _add(self, key: RunKey, run: Run, instances: Iterable[Instance]) -> None:
        tasks = self._spec(run).tasks
        for one in instances:
            row = self.row(key, one.key)
            if row is not None and row.now is not None:
                continue
            task = tasks.get(one.task_id)
            hidden = Hidden(task.pool, task.pool_slots) if task else NOTHING_HIDDEN
            if row is None:
                self.effects.rows[key, one.key] = Row(None, utc_times(one), hidden)
            else:
                row.now, row.hidden = utc_times(one), hidden

    def drop_instance(self, op: DropInstance) -> None:
        self.run(op.run)
        row = self.row(op.run, op.key)
        now = row.now if row else None
        if row is None or now is None or now.state is not TaskState.NONE:
            raise StalePlan(f"{_place(op)} was to be expanded, but is {now.state if now else 'gone'}.")
        row.now = None
        detail = {"length": op.length}
        self._line(op.run, op.key, now.state, GONE, "expanded", utc(op.at), now.try_number, None, detail)

    def callback(self, op: Callback) -> None:
        version = self.run(op.run, touch=False).now.version
        self.effects.callbacks.append(NewCallback(op.run, op.key, op.kind, version, utc(op.at), op.reason))

    # --- helpers
    def _spec(self, run: Run) -> DagSpec:
        spec = self.find_spec(run.dag_id, run.version)
        if spec is None:
            raise DagNotFound(
                f"DAG {run.dag_id} has no version {run.version} in this metastore.", hint="Register the DAG first."
            )
        return spec

    def _line(
        self,
        run: RunKey,
        key: TaskKey | None,
        source: str,
        target: str,
        cause: str,
        at: datetime,
        try_number: int,
        attempt_id: str | None,
        detail: Mapping[str, Any],
    ) -> None:
        self.effects.history.append(
            Line(run, key, str(source), str(target), str(cause), at, try_number, attempt_id, detail)
        )


def _place(op: Move | DropInstance) -> str:
    return f"{op.key} of run {op.run.run_id} of {op.run.dag_id}"


_PLAYS: Mapping[type[Op], Callable[[_Play, Any], None]] = {
    Move: _Play.move,
    RunMove: _Play.run_move,
    AddInstances: _Play.add_instances,
    DropInstance: _Play.drop_instance,
    AddRun: _Play.add_run,
    ChangeVersion: _Play.change_version,
    Callback: _Play.callback,
}
