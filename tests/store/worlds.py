"""A small DAG, and plans that move its runs and task instances, for the tests of the stores."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from nbflow.core.plan import AddRun, Move, Plan, RunMove
from nbflow.core.snapshot import Instance, Run, RunKey, TaskKey
from nbflow.core.spec import DagSpec, TaskSpec
from nbflow.core.states import Cause, RunCause, RunState, TaskState
from nbflow.store.base import Attempt, DagVersion, Store

T0 = datetime(2024, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)
SECOND = timedelta(seconds=1)
LEASE = timedelta(seconds=30)
S, C = TaskState, Cause


def after(seconds: float) -> datetime:
    return T0 + timedelta(seconds=seconds)


def spec(*task_ids: str, dag_id: str = "sales", **options: Any) -> DagSpec:
    names = task_ids or ("extract", "load")
    return DagSpec(dag_id=dag_id, tasks={name: TaskSpec(task_id=name) for name in names}, **options)


def with_task(dag: DagSpec, task_id: str, **options: Any) -> DagSpec:
    return replace(dag, tasks={**dag.tasks, task_id: replace(dag.tasks[task_id], **options)})


def register(store: Store, dag: DagSpec | None = None, **options: Any) -> DagVersion:
    dag = dag or spec()
    version = DagVersion(dag_id=dag.dag_id, spec=dag, fileloc="/dags/sales.py", files={"sales.py": "# sales"})
    return store.register(replace(version, **options), now=T0, paused=False)


def a_run(run_id: str = "r1", day: int = 0, **options: Any) -> Run:
    at = T0 + day * DAY
    values: dict[str, Any] = {"logical_date": at, "run_after": at + DAY, "version": 1, "dag_id": "sales"}
    return Run(run_id=run_id, **{**values, **options})


def add(run: Run, *instances: Instance | str) -> Plan:
    tis = tuple(
        Instance(task_id=instance) if isinstance(instance, str) else instance
        for instance in instances or ("extract", "load")
    )
    return Plan(ops=(AddRun(run=run, instances=tis, at=T0, cause=run.run_type),))


def started_run(store: Store, run: Run | None = None, *instances: Instance | str) -> RunKey:
    """A running run with its instances."""
    run = run or a_run()
    store.apply([add(run, *instances)], actor="scheduler")
    store.apply([start_run(run.key)], actor="scheduler")
    return run.key


def start_run(run: RunKey) -> Plan:
    changes = {"start_date": T0}
    return run_move(run, RunState.QUEUED, RunState.RUNNING, RunCause.SLOT_FREE, changes=changes)


def run_move(
    run: RunKey, source: RunState, target: RunState, cause: RunCause, *, changes: Mapping[str, Any] | None = None
) -> Plan:
    op = RunMove(run=run, source=source, target=target, cause=cause, at=T0, changes=changes or {})
    return Plan(ops=(op,))


def move(
    run: RunKey,
    task: str | TaskKey,
    source: TaskState,
    cause: Cause,
    target: TaskState,
    *,
    at: datetime = T0,
    attempt: str | None = None,
    detail: Mapping[str, Any] | None = None,
    **changes: Any,
) -> Move:
    key = task if isinstance(task, TaskKey) else TaskKey(task)
    return Move(
        run=run,
        key=key,
        source=source,
        target=target,
        cause=cause,
        at=at,
        changes=changes,
        detail=detail or {},
        attempt_id=attempt,
    )


def plan(*ops: Any) -> Plan:
    return Plan(ops=ops)


def scheduled(run: RunKey, task: str | TaskKey, *, try_number: int = 1, at: datetime = T0) -> Move:
    return move(run, task, S.NONE, C.DEPENDENCIES_MET, S.SCHEDULED, at=at, try_number=try_number, scheduled_at=at)


def queued(run: RunKey, task: str | TaskKey, *, at: datetime = T0) -> Move:
    return move(run, task, S.SCHEDULED, C.DISPATCHED, S.QUEUED, at=at, queued_at=at)


def started(run: RunKey, task: str | TaskKey, attempt: str, *, at: datetime = T0) -> Move:
    return move(run, task, S.QUEUED, C.STARTED, S.RUNNING, at=at, attempt=attempt, start_date=at)


def ended(
    run: RunKey,
    task: str | TaskKey,
    attempt: str,
    cause: Cause = C.SUCCEEDED,
    target: TaskState = S.SUCCESS,
    *,
    at: datetime = T0,
    **options: Any,
) -> Move:
    return move(run, task, S.RUNNING, cause, target, at=at, attempt=attempt, attempt_id=None, end_date=at, **options)


def deferred(run: RunKey, task: str, attempt: str, *, at: datetime = T0, **kwargs: Any) -> Move:
    detail = {"trigger": {"name": "time", "args": {"s": 5}}, "next_method": "resume", "kwargs": kwargs}
    detail["timeout_at"] = (at + DAY).isoformat()
    changes = {"next_method": "resume", "next_at": at + DAY}
    return move(run, task, S.RUNNING, C.DEFERRED, S.DEFERRED, at=at, attempt=attempt, detail=detail, **changes)


def fired(run: RunKey, task: str, attempt: str, payload: Any, *, at: datetime = T0) -> Move:
    changes = {"attempt_id": None, "next_at": None, "scheduled_at": at}
    detail = {"event": payload}
    return move(run, task, S.DEFERRED, C.TRIGGER_FIRED, S.SCHEDULED, at=at, attempt=attempt, detail=detail, **changes)


def dispatch(store: Store, run: RunKey, *tasks: str | TaskKey, at: datetime = T0) -> list[Attempt]:
    """Schedule and queue tasks in state ``none``; returns their attempts."""
    ops = [step(run, task, at=at) for task in tasks for step in (scheduled, queued)]
    return store.apply([plan(*ops)], actor="scheduler")


def begin(store: Store, run: RunKey, task: str | TaskKey, *, at: datetime = T0) -> str:
    """Schedule, queue, claim and start a task in state ``none``; returns its attempt id."""
    (attempt,) = dispatch(store, run, task, at=at)
    assert store.claim(attempt.attempt_id, owner="worker", hostname="here", lease=LEASE, now=at)
    store.apply([plan(started(run, task, attempt.attempt_id, at=at))], actor="worker")
    return attempt.attempt_id


@dataclass(frozen=True)
class Everything:
    """The content of a store for a run, to compare before and after."""

    snapshot: Any
    attempts: Any
    events: Any
    usage: Any
    triggers: Any
    xcoms: Any


def everything(store: Store, run: RunKey) -> Everything:
    return Everything(
        store.snapshot(run), store.attempts(run), store.events(), store.usage(), store.triggers(), store.xcoms(run)
    )
