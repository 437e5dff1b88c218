"""Plans: decisions as values, and the snapshots after them.

A :class:`Plan` is an ordered list of operations on runs and task instances, the reasons of everything that waits, and
``wake_at``: the earliest time at which the plan could change without a new event. The store's ``apply`` carries out a
plan in one transaction, or rejects the whole plan; :func:`advance` applies it to a snapshot. Both follow one rule: an
operation that does not find the expected state changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from nbflow.core.snapshot import Instance, Run, RunKey, Snapshot, TaskKey, change, change_run
from nbflow.core.spec import DagSpec
from nbflow.core.states import Cause, RunCause, RunState, TaskState
from nbflow.core.wait_reasons import WaitReason


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """A state transition of a task instance."""

    run: RunKey
    key: TaskKey
    source: TaskState
    target: TaskState
    cause: Cause
    at: datetime
    changes: Mapping[str, Any] = field(default_factory=dict)
    """Other fields of :class:`Instance` that change with it."""
    detail: Mapping[str, Any] = field(default_factory=dict)
    """JSON for the history: the error line, the trigger rule, the delay ..."""
    attempt_id: str | None = None
    """A guard: the attempt whose event causes the move; the instance must still have it. None for a dispatch: the store
    creates a new attempt and returns it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunMove:
    """A state transition of a run."""

    run: RunKey
    source: RunState
    target: RunState
    cause: RunCause
    at: datetime
    changes: Mapping[str, Any] = field(default_factory=dict)
    detail: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class AddInstances:
    """New instances: of a new task of the DAG, or of an expansion. Existing keys are left unchanged."""

    run: RunKey
    instances: tuple[Instance, ...]
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class DropInstance:
    """Delete the unmapped instance (map index -1) of a task that is expanded. Its state must be ``none``."""

    run: RunKey
    key: TaskKey
    at: datetime
    length: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AddRun:
    """A new run with its instances. Refused if a scheduled or backfill run with that logical date exists."""

    run: Run
    instances: tuple[Instance, ...]
    at: datetime
    cause: str = "scheduled"


@dataclass(frozen=True, slots=True, kw_only=True)
class Callback:
    """The callback of a terminal transition. It is stored in the transition's transaction and called afterwards, so
    that a crash between the two does not lose it."""

    run: RunKey
    key: TaskKey | None
    kind: str
    """success, failure, retry, skipped or execute; of the run itself (key None): success or failure."""
    at: datetime
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeVersion:
    """A run changes to another version of its DAG."""

    run: RunKey
    dag: DagSpec
    number: int
    at: datetime


Op = Move | RunMove | AddInstances | DropInstance | AddRun | ChangeVersion | Callback


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Operations to carry out now, the reasons for waiting, and when to plan again."""

    ops: tuple[Op, ...] = ()
    waits: Mapping[tuple[RunKey, TaskKey], WaitReason] = field(default_factory=dict)
    run_waits: Mapping[RunKey, WaitReason] = field(default_factory=dict)
    wake_at: datetime | None = None
    refused: str | None = None
    """Set by :func:`handle_event`: why the event changes nothing (an old attempt, an instance that has ended)."""

    def __bool__(self) -> bool:
        return bool(self.ops)

    @property
    def moves(self) -> list[Move]:
        return [op for op in self.ops if isinstance(op, Move)]


def earliest(*times: datetime | None) -> datetime | None:
    """The earliest of the times; None means never."""
    finite = [time for time in times if time is not None]
    return min(finite) if finite else None


def merged(plans: Iterable[Plan]) -> Plan:
    """One plan with the operations and reasons of all ``plans``, in order."""
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
    """An operation of a plan did not find the expected state; the snapshot is unchanged."""


def advance(snapshot: Snapshot, ops: Iterable[Op]) -> Snapshot:
    """The snapshot after ``ops``; operations on other runs are ignored. Increments the revision by one if any applied.

    Raises :class:`UnexpectedState` if an operation does not find the expected state.
    """
    run, dag, instances, changed = snapshot.run, snapshot.dag, dict(snapshot.instances), False
    for op in ops:
        if isinstance(op, AddRun | Callback) or op.run != run.key:
            continue
        changed = True
        match op:
            case Move():
                instances[op.key] = moved(instances.get(op.key), op)
            case RunMove():
                if run.state is not op.source:
                    raise UnexpectedState(f"run {run.run_id} is {run.state}, not {op.source}")
                run = change_run(run, state=op.target, **op.changes)
            case ChangeVersion():
                run, dag = change_run(run, version=op.number), op.dag
            case AddInstances():
                for ti in op.instances:
                    instances.setdefault(ti.key, ti)
            case DropInstance():
                dropped = instances.pop(op.key, None)
                if dropped is None or dropped.state is not TaskState.NONE:
                    raise UnexpectedState(f"{op.key} cannot be expanded: it is {dropped and dropped.state}")
    if not changed:
        return snapshot
    return replace(snapshot, dag=dag, run=change_run(run, revision=run.revision + 1), instances=instances)


def moved(instance: Instance | None, move: Move) -> Instance:
    """The instance after the move. Raises :class:`UnexpectedState`."""
    if instance is None or instance.state is not move.source:
        raise UnexpectedState(f"{move.key} is {instance and instance.state}, not {move.source}")
    if move.attempt_id is not None and move.attempt_id != instance.attempt_id:
        raise UnexpectedState(f"{move.key} belongs to attempt {instance.attempt_id}, not {move.attempt_id}")
    return change(instance, state=move.target, **move.changes)
