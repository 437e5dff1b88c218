"""A decision as a value, and what it leads to.

A :class:`Plan` is an ordered list of operations on runs and task instances, the reasons of all that waits, and
``wake_at``: the earliest time at which the same question could have another answer with no new event. The store's
``apply`` makes a plan so, in one transaction, or refuses it whole; :func:`advance` is the same step on a snapshot.
Both obey one rule: an operation that does not find the state it expects is never half done.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from nbflow.core.reasons import WaitReason
from nbflow.core.snapshot import Instance, Run, RunKey, Snapshot, TaskKey, change, change_run
from nbflow.core.spec import DagSpec
from nbflow.core.states import Cause, RunCause, RunState, TaskState


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """One task instance goes from one state to another, for a cause."""

    run: RunKey
    key: TaskKey
    source: TaskState
    target: TaskState
    cause: Cause
    at: datetime
    changes: Mapping[str, Any] = field(default_factory=dict)
    """Other fields of :class:`Instance` that change with it."""
    detail: Mapping[str, Any] = field(default_factory=dict)
    """JSON for the history: the error line, the rule and counts that decided, the delay ..."""
    attempt_id: str | None = None
    """The attempt that this move ends or speaks for, as a guard: the row must still carry it. A dispatch names none:
    the store makes a fresh attempt and returns it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunMove:
    """A run goes from one state to another, for a cause."""

    run: RunKey
    source: RunState
    target: RunState
    cause: RunCause
    at: datetime
    changes: Mapping[str, Any] = field(default_factory=dict)
    detail: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class AddInstances:
    """New rows: of a new run, of a task that the DAG gained, of an expansion. Existing keys are left as they are."""

    run: RunKey
    instances: tuple[Instance, ...]
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class DropInstance:
    """The placeholder (map index -1) of a mapped task makes room for its expansion. It must still be ``none``."""

    run: RunKey
    key: TaskKey
    at: datetime
    length: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AddRun:
    """A new run with its instances. Refused where a scheduled or backfill run of that logical date exists."""

    run: Run
    instances: tuple[Instance, ...]
    at: datetime
    cause: str = "scheduled"


@dataclass(frozen=True, slots=True, kw_only=True)
class Callback:
    """The intent to call user code: exactly one for each terminal transition that has a callback. It is stored with
    the transition and carried out afterwards, so that a crash between the two loses nothing."""

    run: RunKey
    key: TaskKey | None
    kind: str
    """success, failure, retry, skipped or execute; of the run itself (key None): success or failure."""
    at: datetime
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeepVersion:
    """A run goes on with another version of its DAG."""

    run: RunKey
    dag: DagSpec
    number: int
    at: datetime


Op = Move | RunMove | AddInstances | DropInstance | AddRun | KeepVersion | Callback


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What should happen now, what waits and why, and when to ask again."""

    ops: tuple[Op, ...] = ()
    waits: Mapping[tuple[RunKey, TaskKey], WaitReason] = field(default_factory=dict)
    run_waits: Mapping[RunKey, WaitReason] = field(default_factory=dict)
    wake_at: datetime | None = None
    refused: str | None = None
    """Of :func:`react`: why the event changes nothing (an old attempt, a state that ended)."""

    def __bool__(self) -> bool:
        return bool(self.ops)

    @property
    def moves(self) -> list[Move]:
        return [op for op in self.ops if isinstance(op, Move)]


def earliest(*times: datetime | None) -> datetime | None:
    """The earliest of the given times, None standing for never."""
    known = [time for time in times if time is not None]
    return min(known) if known else None


def merged(plans: Iterable[Plan]) -> Plan:
    """One plan that does all of these in order."""
    ops: list[Op] = []
    waits: dict[tuple[RunKey, TaskKey], WaitReason] = {}
    run_waits: dict[RunKey, WaitReason] = {}
    wake: datetime | None = None
    for plan in plans:
        ops += plan.ops
        waits.update(plan.waits)
        run_waits.update(plan.run_waits)
        wake = earliest(wake, plan.wake_at)
    return Plan(ops=tuple(ops), waits=waits, run_waits=run_waits, wake_at=wake)


class UnexpectedState(ValueError):
    """A plan met an instance that is not as the plan expects it; the snapshot is unchanged."""


def advance(snapshot: Snapshot, ops: Iterable[Op]) -> Snapshot:
    """The snapshot after ``ops`` (those of other runs are passed over). The revision grows by one if any applied.

    Raises :class:`UnexpectedState` where an operation does not find what it expects.
    """
    run, dag, instances, touched = snapshot.run, snapshot.dag, dict(snapshot.instances), False
    for op in ops:
        if isinstance(op, AddRun | Callback) or op.run != run.key:
            continue
        touched = True
        match op:
            case Move():
                instances[op.key] = moved(instances.get(op.key), op)
            case RunMove():
                if run.state is not op.source:
                    raise UnexpectedState(f"run {run.run_id} is {run.state}, not {op.source}")
                run = change_run(run, state=op.target, **op.changes)
            case KeepVersion():
                run, dag = change_run(run, version=op.number), op.dag
            case AddInstances():
                for one in op.instances:
                    instances.setdefault(one.key, one)
            case DropInstance():
                found = instances.pop(op.key, None)
                if found is None or found.state is not TaskState.NONE:
                    raise UnexpectedState(f"{op.key} was to be expanded, but is {found and found.state}")
    if not touched:
        return snapshot
    return replace(snapshot, dag=dag, run=change_run(run, revision=run.revision + 1), instances=instances)


def moved(instance: Instance | None, move: Move) -> Instance:
    """The instance after the move, or :class:`UnexpectedState`."""
    if instance is None or instance.state is not move.source:
        raise UnexpectedState(f"{move.key} is {instance and instance.state}, not {move.source}")
    if move.attempt_id is not None and move.attempt_id != instance.attempt_id:
        raise UnexpectedState(f"{move.key} belongs to attempt {instance.attempt_id}, not {move.attempt_id}")
    return change(instance, state=move.target, **move.changes)
