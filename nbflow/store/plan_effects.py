"""The effects of a list of plans on the store's rows, computed by the same code for every store.

Theory
------
``apply`` has three steps; the first and the last differ between the stores:

1. *read* the runs and task instances that the plans name (and lock them, in a database);
2. *compute* the effects, in this module: each operation is applied in order to a working copy of the rows, by the same
   rule as :func:`nbflow.core.plan.advance`. An operation that expects another state or attempt raises ``StalePlan``, a
   move that is not in the transition table ``IllegalTransition``; nothing has been written at that point;
3. *write* the effects, each row once, guarded by the values that were read in step 1.

Step 2 also *folds* the operations: an instance that goes none -> scheduled -> queued in one apply is written once, and
its history has both lines. Attempts, triggers and cleared XComs follow from the moves:

* a move to ``queued`` creates an attempt. The attempt *continues* a try if the instance already has a start date (after
  a deferral or a reschedule); every other dispatch begins a try and clears the XComs of the previous try;
* a move that leaves a live state, and a move into ``deferred``, end the instance's attempt: the cause is the outcome.
  A restarting instance keeps its attempt until the process has ended;
* a move into ``deferred`` creates a trigger (from the move's ``detail``), a move out of it deletes the trigger;
  the payload of the trigger that fired is stored in ``next_kwargs`` for the attempt that continues the try.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple, TypeVar

from nbflow.core.identifiers import check_run_id
from nbflow.core.plan import AddInstances, AddRun, Callback, ChangeVersion, DropInstance, Move, Op, Plan, RunMove
from nbflow.core.snapshot import Instance, Run, RunKey, TaskKey, change, change_run
from nbflow.core.spec import DagSpec
from nbflow.core.states import LIVE, Cause, RunCause, TaskState, check_move, check_run_move
from nbflow.errors import DagNotFound, DagRunAlreadyExists, StalePlan
from nbflow.store.base import Attempt, Job
from nbflow.store.json_text import as_stored

UNCLAIMED_LEASE_SECONDS = 60
"""Time after which an unclaimed attempt counts as lost. Submitting takes milliseconds; a minute covers an executor that
starts its workers first."""


UNIQUE_DATE_RUN_TYPES = frozenset({"scheduled", "backfill"})
"""Of these run types together, a DAG has at most one run per logical date."""

ABSENT = ""
"""State in the history of a row that does not exist: a run before its creation, an unmapped instance after its
expansion."""


class StoreColumns(NamedTuple):
    """Columns of a task instance that only the store needs: they are not fields of :class:`Instance`."""

    pool: str = "default_pool"
    pool_slots: int = 1
    next_kwargs: Mapping[str, Any] | None = None
    """For a deferred try: the arguments of ``next_method``, with the trigger's payload after it fired."""


DEFAULT_STORE_COLUMNS = StoreColumns()


@dataclass(slots=True)
class InstanceRow:
    """The working copy of a task instance. ``before`` is None for a row that this apply adds, ``after`` for one that
    it deletes."""

    before: Instance | None
    after: Instance | None
    store_columns: StoreColumns = DEFAULT_STORE_COLUMNS
    attempt: Attempt | None = None
    """The attempt that this apply created for the instance."""


@dataclass(slots=True)
class RunRow:
    """The working copy of a run."""

    before: Run | None
    after: Run
    has_new_revision: bool = False


class AttemptEnd(NamedTuple):
    """The end of an attempt that an earlier apply created."""

    attempt_id: str
    at: datetime
    outcome: str
    error: str | None
    started_at: datetime | None


class NewEvent(NamedTuple):
    """A row of the history that has no number yet."""

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
    """Everything that an apply writes."""

    runs: dict[RunKey, RunRow] = field(default_factory=dict)
    rows: dict[tuple[RunKey, TaskKey], InstanceRow] = field(default_factory=dict)
    attempts: list[InstanceRow] = field(default_factory=list)
    """Rows with the attempts that this apply created, in order; an attempt may have ended already."""
    started: dict[str, datetime] = field(default_factory=dict)
    ended_attempts: list[AttemptEnd] = field(default_factory=list)
    history: list[NewEvent] = field(default_factory=list)
    cleared_xcoms: list[tuple[RunKey, TaskKey]] = field(default_factory=list)
    new_triggers: list[NewTrigger] = field(default_factory=list)
    ended_triggers: list[tuple[RunKey, TaskKey]] = field(default_factory=list)
    callbacks: list[NewCallback] = field(default_factory=list)

    @property
    def added_tasks(self) -> dict[tuple[str, str], datetime]:
        """(dag_id, task_id) -> earliest logical date, of the task instances that this apply adds."""
        first_dates: dict[tuple[str, str], datetime] = {}
        for (run, key), row in self.rows.items():
            date = self.runs[run].after.logical_date
            if row.before is None and row.after is not None and date is not None:
                task = (run.dag_id, key.task_id)
                first_dates[task] = min(first_dates.get(task, date), date)
        return first_dates


def check_new_runs(plans: Iterable[Plan]) -> None:
    """Check the ids of the runs that the plans create, before any of them reaches a database. Raises
    InvalidIdentifier."""
    for plan in plans:
        for op in plan.ops:
            if isinstance(op, AddRun):
                check_run_id(op.run.run_id, op.run.run_type)


def touched_runs(plans: Iterable[Plan]) -> list[RunKey]:
    """Existing runs that the plans name (not those that they create), in the order in which to lock them."""
    created = {op.run.key for plan in plans for op in plan.ops if isinstance(op, AddRun)}
    named = {op.run for plan in plans for op in plan.ops if not isinstance(op, AddRun)}
    return sorted(named - created)


def touched_keys(plans: Iterable[Plan]) -> list[tuple[RunKey, TaskKey]]:
    """Task instances that the plans name, each once, in order of first mention."""
    keys: dict[tuple[RunKey, TaskKey], None] = {}
    for plan in plans:
        for op in plan.ops:
            if isinstance(op, Move | DropInstance):
                keys[op.run, op.key] = None
            elif isinstance(op, AddInstances):
                keys.update(dict.fromkeys((op.run, ti.key) for ti in op.instances))
    return list(keys)


def assign_backfill(plan: Plan, backfill_id: int) -> Plan:
    """The plan, with ``backfill_id`` set for every run that it creates or moves."""

    def assign(op: Op) -> Op:
        match op:
            case AddRun():
                return replace(op, run=replace(op.run, backfill_id=backfill_id))
            case RunMove():
                return replace(op, changes={**op.changes, "backfill_id": backfill_id})
            case _:
                return op

    return replace(plan, ops=tuple(map(assign, plan.ops)))


def utc(value: datetime) -> datetime:
    """The same time as a plain ``datetime`` in UTC. Raises ValueError for a naive datetime."""
    if value.tzinfo is UTC and type(value) is datetime:
        return value
    if value.tzinfo is None or value.utcoffset() is None:
        raise ValueError(f"{value!r} has no time zone; pass an aware datetime, e.g. with tzinfo=UTC.")
    in_utc = value.astimezone(UTC)  # still an instance of a subclass (pendulum's)
    return datetime.combine(in_utc.date(), in_utc.time(), UTC)


def lease_is_due(
    owner: str, holder: str | None, until: datetime | None, leave: bool, now: datetime, lease: timedelta
) -> bool:
    """Whether ``owner`` takes or renews this lease of a run at ``now``. Renewing each lease in each loop would write a
    row of every active run several times a second."""
    if holder is None or until is None:
        return not leave
    if holder != owner:
        return until < now
    return not now + 0.75 * lease <= until <= now + lease  # later: the clock was set back


def is_start_or_end(job: Job) -> bool:
    """Whether the row records that a process started or ended (otherwise it is a heartbeat)."""
    return job.ended_at is not None or job.heartbeat_at <= job.started_at


def utc_fields(values: Mapping[str, Any]) -> dict[str, Any]:
    """``values`` with every datetime in UTC. Raises ValueError for a naive datetime."""
    return {name: utc(value) if isinstance(value, datetime) else value for name, value in values.items()}


Timed = TypeVar("Timed", Run, Instance)

_TIMES = {cls: tuple(f.name for f in fields(cls) if "datetime" in str(f.type)) for cls in (Run, Instance)}


def utc_times(value: Timed) -> Timed:
    """A run or a task instance with all its times in UTC. Raises ValueError for a naive datetime."""
    times = {name: time for name in _TIMES[type(value)] if (time := getattr(value, name)) is not None}
    return replace(value, **utc_fields(times)) if any(time.tzinfo is not UTC for time in times.values()) else value


def compute_effects(
    plans: Sequence[Plan],
    *,
    find_run: Callable[[RunKey], Run | None],
    find_instance: Callable[[RunKey, TaskKey], tuple[Instance, StoreColumns] | None],
    find_spec: Callable[[str, int], DagSpec | None],
    new_id: Callable[[], str],
    expect: Mapping[RunKey, int] | None = None,
) -> Effects:
    """The effects of ``plans`` on the rows that the callables return. Writes nothing.

    Raises StalePlan (a run's revision differs from ``expect``, or a state or attempt from the plan), IllegalTransition,
    and DagRunAlreadyExists for a run id; the store itself guards the logical date.
    """
    computation = _Computation(find_run, find_instance, find_spec, new_id)
    for key, revision in (expect or {}).items():
        computation.expect(key, revision)
    for plan in plans:
        for op in plan.ops:
            _OPERATIONS[type(op)](computation, op)
    return computation.effects


class _Computation:
    """The effects so far; one method per operation adds to them."""

    def __init__(
        self,
        find_run: Callable[[RunKey], Run | None],
        find_instance: Callable[[RunKey, TaskKey], tuple[Instance, StoreColumns] | None],
        find_spec: Callable[[str, int], DagSpec | None],
        new_id: Callable[[], str],
    ) -> None:
        self.find_run, self.find_instance, self.find_spec, self.new_id = find_run, find_instance, find_spec, new_id
        self.effects = Effects()

    def expect(self, key: RunKey, revision: int) -> None:
        run = self.find_run(key)
        if run is None:
            raise StalePlan(f"Run {key.run_id} of DAG {key.dag_id} does not exist any more.")
        if run.revision != revision:
            raise StalePlan(f"Run {key.run_id} of DAG {key.dag_id} is at revision {run.revision}, not {revision}.")

    def run(self, key: RunKey, *, new_revision: bool = True) -> RunRow:
        row = self.effects.runs.get(key)
        if row is None:
            run = self.find_run(key)
            if run is None:
                raise StalePlan(f"Run {key.run_id} of DAG {key.dag_id} does not exist any more.")
            row = self.effects.runs[key] = RunRow(before=run, after=run)
        if new_revision and not row.has_new_revision:
            row.has_new_revision = True
            row.after = change_run(row.after, revision=row.after.revision + 1)
        return row

    def row(self, run: RunKey, key: TaskKey) -> InstanceRow | None:
        row = self.effects.rows.get((run, key))
        if row is None and (existing := self.find_instance(run, key)) is not None:
            row = self.effects.rows[run, key] = InstanceRow(existing[0], *existing)
        return row

    # --- one method per operation
    def move(self, op: Move) -> None:
        check_move(op.source, op.cause, op.target)
        run = self.run(op.run).after
        row = self.row(op.run, op.key)
        before = row.after if row else None
        if row is None or before is None or before.state is not op.source:
            raise StalePlan(f"{_describe(op)} is {before.state if before else 'deleted'}, not {op.source}.")
        if op.attempt_id is not None and op.attempt_id != before.attempt_id:
            raise StalePlan(f"{_describe(op)} belongs to attempt {before.attempt_id}, not {op.attempt_id}.")
        attempt_id, at = before.attempt_id, utc(op.at)
        changes = utc_fields(op.changes)
        if op.source is TaskState.DEFERRED:
            changes["trigger_id"] = None
            self._end_trigger(op, row)
        if op.target is TaskState.QUEUED:
            attempt_id = changes["attempt_id"] = self.new_id()
        after = change(before, state=op.target, **changes)
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
        row.after = after
        self._add_event(op.run, op.key, op.source, op.target, op.cause, at, after.try_number, attempt_id, op.detail)

    def _dispatch(self, op: Move, row: InstanceRow, after: Instance, run: Run, at: datetime) -> None:
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
            next_kwargs=row.store_columns.next_kwargs if continues else None,
        )
        self.effects.attempts.append(row)
        if not continues:
            self.effects.cleared_xcoms.append((op.run, op.key))

    def _start(self, row: InstanceRow, attempt_id: str, at: datetime) -> None:
        if row.attempt is not None:
            row.attempt = replace(row.attempt, state="running", started_at=at)
        else:
            self.effects.started[attempt_id] = at

    def _end_attempt(
        self, op: Move, row: InstanceRow, attempt_id: str, started_at: datetime | None, at: datetime
    ) -> None:
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
            self.effects.ended_attempts.append(end)

    def _defer(self, op: Move, row: InstanceRow, attempt_id: str) -> None:
        detail = op.detail
        timeout = detail.get("timeout_at")
        timeout_at = utc(datetime.fromisoformat(timeout) if isinstance(timeout, str) else timeout) if timeout else None
        row.store_columns = row.store_columns._replace(next_kwargs=as_stored(detail.get("kwargs") or {}))
        self.effects.new_triggers.append(
            NewTrigger(op.run, op.key, attempt_id, as_stored(detail.get("trigger") or {}), timeout_at)
        )

    def _end_trigger(self, op: Move, row: InstanceRow) -> None:
        self.effects.ended_triggers.append((op.run, op.key))
        if "event" in op.detail:
            payload = as_stored({"event": op.detail["event"]})
            kwargs = row.store_columns.next_kwargs or {}
            row.store_columns = row.store_columns._replace(next_kwargs={**kwargs, **payload})

    def run_move(self, op: RunMove) -> None:
        check_run_move(op.source, op.cause, op.target)
        row = self.run(op.run)
        if row.after.state is not op.source:
            raise StalePlan(f"Run {op.run.run_id} of DAG {op.run.dag_id} is {row.after.state}, not {op.source}.")
        changes = utc_fields(op.changes)
        if "conf" in changes:
            changes["conf"] = as_stored(changes["conf"])
        row.after = replace(row.after, state=op.target, **changes)
        self._add_event(op.run, None, op.source, op.target, op.cause, utc(op.at), 0, None, op.detail)

    def change_version(self, op: ChangeVersion) -> None:
        row = self.run(op.run)
        row.after = replace(row.after, version=op.number)

    def add_run(self, op: AddRun) -> None:
        key = op.run.key
        if key in self.effects.runs or self.find_run(key) is not None:
            raise DagRunAlreadyExists(f"DAG {key.dag_id} already has a run {key.run_id}.")
        run = utc_times(replace(op.run, conf=as_stored(op.run.conf)))
        self.effects.runs[key] = RunRow(before=None, after=run, has_new_revision=False)
        detail = {"by": op.cause}
        self._add_event(key, None, ABSENT, op.run.state, RunCause.CREATED, utc(op.at), 0, None, detail)
        self._add(key, op.run, op.instances)

    def add_instances(self, op: AddInstances) -> None:
        self._add(op.run, self.run(op.run).after, op.instances)

    def _add(self, key: RunKey, run: Run, instances: Iterable[Instance]) -> None:
        tasks = self._spec(run).tasks
        for ti in instances:
            row = self.row(key, ti.key)
            if row is not None and row.after is not None:
                continue
            task = tasks.get(ti.task_id)
            columns = StoreColumns(task.pool, task.pool_slots) if task else DEFAULT_STORE_COLUMNS
            if row is None:
                self.effects.rows[key, ti.key] = InstanceRow(None, utc_times(ti), columns)
            else:
                row.after, row.store_columns = utc_times(ti), columns

    def drop_instance(self, op: DropInstance) -> None:
        self.run(op.run)
        row = self.row(op.run, op.key)
        before = row.after if row else None
        if row is None or before is None or before.state is not TaskState.NONE:
            raise StalePlan(f"{_describe(op)} cannot be expanded: it is {before.state if before else 'deleted'}.")
        row.after = None
        detail = {"length": op.length}
        at = utc(op.at)
        self._add_event(op.run, op.key, before.state, ABSENT, "expanded", at, before.try_number, None, detail)

    def callback(self, op: Callback) -> None:
        version = self.run(op.run, new_revision=False).after.version
        self.effects.callbacks.append(NewCallback(op.run, op.key, op.kind, version, utc(op.at), op.reason))

    # --- helpers
    def _spec(self, run: Run) -> DagSpec:
        spec = self.find_spec(run.dag_id, run.version)
        if spec is None:
            raise DagNotFound(
                f"DAG {run.dag_id} has no version {run.version} in this metastore.", hint="Register the DAG first."
            )
        return spec

    def _add_event(
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
            NewEvent(run, key, str(source), str(target), str(cause), at, try_number, attempt_id, detail)
        )


def _describe(op: Move | DropInstance) -> str:
    return f"{op.key} of run {op.run.run_id} of DAG {op.run.dag_id}"


_OPERATIONS: Mapping[type[Op], Callable[[_Computation, Any], None]] = {
    Move: _Computation.move,
    RunMove: _Computation.run_move,
    AddInstances: _Computation.add_instances,
    DropInstance: _Computation.drop_instance,
    AddRun: _Computation.add_run,
    ChangeVersion: _Computation.change_version,
    Callback: _Computation.callback,
}
