"""``why``: the core's reasons for every waiting task instance of a run.

The scheduler's functions plan the run, with ``explain``, and check scheduled tasks against the limits; the plan is not
applied. A second implementation of the rules would sooner or later differ from the scheduler.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from nbflow.core.decide import plan_run
from nbflow.core.dispatch import Limits, ReadyTask, RunLimits, plan_dispatch, plan_run_starts
from nbflow.core.scheduler_decision import start_order
from nbflow.core.snapshot import Run, RunKey, Snapshot, TaskKey
from nbflow.core.states import RUN_FINISHED, UNFINISHED, RunState, TaskState
from nbflow.core.wait_reason_texts import paused_wait
from nbflow.core.wait_reasons import WaitReason
from nbflow.errors import DagRunNotFound
from nbflow.services.runs_set_aside import runs_set_aside
from nbflow.store.base import Job, Store
from nbflow.suggested_commands import START_SCHEDULER


def explain_run(store: Store, run: RunKey, schedulers: Sequence[Job], now: datetime) -> Mapping[TaskKey, WaitReason]:
    """The reason of every unfinished task instance; empty for a finished run. ``schedulers``: the running schedulers.
    Raises DagRunNotFound."""
    set_aside = runs_set_aside(schedulers).get(run)
    if set_aside is not None:  # its snapshot may be what cannot be read
        return {ti.key: set_aside for ti in store.instances(run) if ti.state in UNFINISHED}
    waits = wait_reasons(store, run, schedulers, now)
    if not schedulers:
        waits = {key: _no_scheduler(wait) if _needs_scheduler(wait) else wait for key, wait in waits.items()}
    return waits


def wait_reasons(store: Store, run: RunKey, schedulers: Sequence[Job], now: datetime) -> dict[TaskKey, WaitReason]:
    """Like :func:`explain_run`, for a process that schedules the run itself: a missing scheduler is not a reason."""
    snapshot = store.snapshot(run)
    if snapshot is None:
        raise DagRunNotFound(f"DAG {run.dag_id!r} has no run {run.run_id!r}.")
    return {} if snapshot.run.state in RUN_FINISHED else _reasons(store, snapshot, schedulers, now)


def explain_task(
    store: Store, run: RunKey, key: TaskKey, schedulers: Sequence[Job], now: datetime
) -> Mapping[TaskKey, WaitReason]:
    """The reasons of one task instance, or of all map indexes of a mapped task if ``key`` has none."""
    waits = explain_run(store, run, schedulers, now)
    return {k: wait for k, wait in waits.items() if k == key or (key.map_index < 0 and k.task_id == key.task_id)}


def _reasons(store: Store, snapshot: Snapshot, schedulers: Sequence[Job], now: datetime) -> dict[TaskKey, WaitReason]:
    if snapshot.run.state is RunState.QUEUED:
        wait = run_wait(store, snapshot.run, now)
        return {key: wait for key, ti in snapshot.instances.items() if ti.state in UNFINISHED}
    plan = plan_run(snapshot, now, explain=True)
    waits = {key: wait for (_, key), wait in plan.waits.items()}
    scheduled = [ti for ti in snapshot.instances.values() if ti.state is TaskState.SCHEDULED]
    if snapshot.pause_applies:  # plan_dispatch does not check pauses
        waits.update({ti.key: paused_wait(snapshot.dag.dag_id) for ti in scheduled})
        return waits
    ready = [
        ReadyTask(
            run=snapshot.run,
            task=snapshot.dag.tasks[ti.task_id],
            instance=ti,
            dag_max_active_tasks=snapshot.dag.max_active_tasks,
        )
        for ti in scheduled
    ]
    limits = _limits(store, schedulers)
    waits.update({key: wait for (_, key), wait in plan_dispatch(ready, limits, now, explain=True).waits.items()})
    for key, ti in snapshot.instances.items():
        if ti.state in UNFINISHED and key not in waits:
            waits[key] = WaitReason(kind="slot", text="Ready; starts on the scheduler's next loop.")
    return waits


def _limits(store: Store, schedulers: Sequence[Job]) -> Limits:
    """The limits and their usage, as for the running schedulers together."""
    usage = store.usage()
    slots = [job.detail.get("slots") for job in schedulers]
    known = [count for count in slots if isinstance(count, int)]
    return Limits(
        slots=max(sum(known) - usage.total, 0) if known and len(known) == len(slots) else None,
        pools={pool.name: pool.slots for pool in store.pools()},
        pool_used=dict(usage.pools),
        run_used=dict(usage.runs),
        task_used=dict(usage.tasks),
        task_in_run_used=dict(usage.tasks_in_runs),
    )


def run_wait(store: Store, run: Run, now: datetime) -> WaitReason:
    """Why a queued run has not started."""
    active = store.active_runs(run.dag_id)
    newest = store.version(run.dag_id)
    row = store.dag(run.dag_id)
    backfills = {row.backfill_id: row for row in store.backfills(run.dag_id, active=True)}
    limits = RunLimits(
        max_active_runs={run.dag_id: newest.spec.max_active_runs if newest else 0},
        backfills={number: backfill.max_active_runs for number, backfill in backfills.items()},
        paused_backfills=frozenset(number for number, backfill in backfills.items() if backfill.paused),
        paused_dags=frozenset({run.dag_id} if row is not None and row.paused else ()),
    )
    backwards = [number for number, backfill in backfills.items() if backfill.run_backwards]
    queued = start_order((run for run in active if run.state is RunState.QUEUED), backwards)
    running = [run for run in active if run.state is RunState.RUNNING]
    plan = plan_run_starts(queued, running, limits, now)
    if run.key in plan.run_waits:
        return plan.run_waits[run.key]
    return WaitReason(kind="run_queued", text="The run is queued; it starts on the scheduler's next loop.")


def _needs_scheduler(wait: WaitReason) -> bool:
    return wait.kind in {"slot", "run_queued", "retry", "reschedule", "executor"}


def _no_scheduler(wait: WaitReason) -> WaitReason:
    text = f"No scheduler is running. Start one with: {START_SCHEDULER}. {wait.text}"
    suggestions = (START_SCHEDULER, *wait.suggestions)
    return WaitReason(kind="no_scheduler", text=text, detail=wait.detail, until=wait.until, suggestions=suggestions)
