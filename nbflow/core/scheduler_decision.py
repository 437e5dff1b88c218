"""``decide_all``: the decisions of one scheduler loop over all active runs, for the scheduler and the simulator.

The order of decisions
----------------------
1. Queued runs start, as far as ``max_active_runs`` and the limits of the backfills allow.
2. Every running run that may have changed is decided (:func:`nbflow.core.decide.plan_run`), oldest first, so that a
   run with depends_on_past sees the new states of its predecessor.
3. Scheduled instances of all runs are dispatched together (:func:`nbflow.core.dispatch.plan_dispatch`).

The result is one plan, to be applied whole: a task may go from none to queued in a single commit.

What makes it cheap
-------------------
A snapshot is a value, so a run has changed only if its snapshot is another object. A :class:`RunEvaluation` caches the
result of the last evaluation of a run with its snapshot; it is valid until the run has another snapshot or its
``wake_at`` has passed. Nothing needs to be marked dirty, and losing an evaluation costs only time.

How a caller uses it::

    decision = decide_all(loop_input, now)
    attempts = store.apply([decision.plan], actor=..., expect=decision.expect)   # StalePlan: read those runs again
    active = with_attempts(decision, attempts)                                   # the runs for the next loop
    ... submit the attempts; for each event: active = after_plan(active, handle_event(...)) once the store applied that
    ... sleep until decision.plan.wake_at, or an event
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from hashlib import sha256
from typing import Protocol

from nbflow.core.decide import plan_run
from nbflow.core.dispatch import Limits, ReadyTask, RunLimits, plan_dispatch, plan_run_starts
from nbflow.core.plan import AddRun, Move, Op, Plan, RunMove, advance, merged
from nbflow.core.snapshot import Instance, Run, RunKey, Snapshot, TaskKey, change
from nbflow.core.states import OCCUPYING, RUN_FINISHED, UNFINISHED, Cause, RunCause, RunState, TaskState
from nbflow.core.wait_reason_texts import explain_live, paused_wait
from nbflow.core.wait_reasons import WaitReason


@dataclass(frozen=True, slots=True, kw_only=True)
class RunEvaluation:
    """The cached result of deciding one run. It is valid as long as ``snapshot`` is the run's snapshot."""

    snapshot: Snapshot
    wake_at: datetime | None = None
    ready: Mapping[TaskKey, ReadyTask] = field(default_factory=dict)
    """Scheduled instances to dispatch (of a paused DAG: none)."""
    pool_used: Mapping[str, int] = field(default_factory=dict)
    """pool -> slots that the run's instances occupy."""
    task_used: Mapping[str, int] = field(default_factory=dict)
    """task id -> number of its instances that occupy a slot."""

    def is_valid(self, snapshot: Snapshot, now: datetime) -> bool:
        """Whether deciding the run again at ``now`` would give the same result."""
        return self.snapshot is snapshot and (self.wake_at is None or self.wake_at > now)


@dataclass(frozen=True, slots=True, kw_only=True)
class ActiveRuns:
    """The queued and running runs of this scheduler, with their evaluations."""

    snapshots: Mapping[RunKey, Snapshot] = field(default_factory=dict)
    evaluations: Mapping[RunKey, RunEvaluation] = field(default_factory=dict)
    """A cache: it may lack runs, or hold runs that are no longer active."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OtherSchedulers:
    """How much of the shared limits the runs of other schedulers use."""

    pool_used: Mapping[str, int] = field(default_factory=dict)
    task_used: Mapping[tuple[str, str], int] = field(default_factory=dict)
    running: Sequence[Run] = ()
    """The runs of other schedulers, running and queued (queued ones count under no limit)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoopInput:
    """Everything that the decisions of a loop depend on."""

    active: ActiveRuns
    run_limits: RunLimits
    pools: Mapping[str, int] = field(default_factory=dict)
    """pool -> number of slots; -1: no limit."""
    slots: int | None = None
    """Free executor slots; None: no limit."""
    deferred_pools: frozenset[str] = frozenset()
    """Pools in which a deferred instance keeps its slots (include_deferred)."""
    backwards: frozenset[int] = frozenset()
    """Backfills that start with the latest logical date."""
    other_schedulers: OtherSchedulers = OtherSchedulers()


@dataclass(frozen=True, slots=True, kw_only=True)
class LoopDecision:
    """One plan for all runs, and the runs after it."""

    plan: Plan
    expect: Mapping[RunKey, int]
    """Expected revision of each run that the plan changes."""
    active: ActiveRuns
    """The runs after the plan, without the attempt ids, which the store assigns (see :func:`with_attempts`)."""
    ended: tuple[RunKey, ...] = ()
    """Runs that the plan ends; they are no longer in ``active``."""


def decide_all(loop_input: LoopInput, now: datetime, *, explain: bool = False) -> LoopDecision:
    """The decisions of one loop at ``now`` (aware UTC). With ``explain``, the plan holds the reason of every waiting
    instance and run, and cached evaluations are not used; the decisions are the same."""
    before = loop_input.active.snapshots
    after = {snapshot.run.key: snapshot for snapshot in sorted(before.values(), key=lambda s: _age(s.run))}
    starts = _start_runs(loop_input, after, now)
    for key, ops in _by_run(starts).items():
        after[key] = advance(after[key], ops)

    plans: list[Plan] = [starts]
    evaluations: dict[RunKey, RunEvaluation] = {}
    for key in after:
        snapshot = after[key] = _with_current_predecessor(after[key], after)
        evaluation = loop_input.active.evaluations.get(key)
        if snapshot.run.state is RunState.QUEUED:  # the reason is in ``starts``
            evaluations[key] = RunEvaluation(snapshot=snapshot)
            continue
        if evaluation is None or explain or not evaluation.is_valid(snapshot, now):
            plan = plan_run(snapshot, now, explain=explain)
            plans.append(plan)
            snapshot = after[key] = advance(snapshot, plan.ops)
            evaluation = evaluate_run(snapshot, plan.wake_at, loop_input.deferred_pools, evaluation)
        else:
            plans.append(Plan(wake_at=evaluation.wake_at))
        evaluations[key] = evaluation

    dispatch = _dispatch(loop_input, evaluations.values(), now, explain=explain)
    for key, ops in _by_run(dispatch).items():
        after[key] = advance(after[key], ops)
        evaluations[key] = _after_dispatch(evaluations[key], after[key], ops)
    if explain:
        plans.append(_paused_waits(after.values()))
        dispatch = replace(dispatch, waits={**dispatch.waits, **_queued_waits(dispatch, after)})
    plan = merged([*plans, dispatch])
    return _decision(plan, before, after, evaluations)


def uses_shared_limits(loop_input: LoopInput, now: datetime) -> bool:
    """Whether ``decide_all`` may start a run or dispatch a task instance, which other schedulers must not do meanwhile:
    a run is queued; or slots are free, and a run has changed or has instances to dispatch."""
    snapshots, evaluations = loop_input.active.snapshots, loop_input.active.evaluations
    if any(snapshot.run.state is RunState.QUEUED for snapshot in snapshots.values()):
        return True
    if loop_input.slots is not None and loop_input.slots <= 0:
        return False
    known = ((evaluations.get(key), snapshot) for key, snapshot in snapshots.items())
    return any(evaluation is None or evaluation.ready or not evaluation.is_valid(s, now) for evaluation, s in known)


def preferred_scheduler(run: RunKey, job_ids: Iterable[str]) -> str:
    """The scheduler that should lease a new run: each gets an equal share, and all agree without asking one another
    (rendezvous hashing: a scheduler that comes or goes changes the answer for its own share only)."""
    return max(job_ids, key=lambda job_id: sha256(f"{job_id}|{run.dag_id}|{run.run_id}".encode()).digest())


def _decision(
    plan: Plan,
    before: Mapping[RunKey, Snapshot],
    after: dict[RunKey, Snapshot],
    evaluations: dict[RunKey, RunEvaluation],
) -> LoopDecision:
    expect = {key: before[key].run.revision for key in _by_run(plan)}
    for key, revision in expect.items():
        # The store's apply raises the revision once, however many operations the plan has for the run.
        run = replace(after[key].run, revision=revision + 1)
        after[key] = replace(after[key], run=run)
        evaluations[key] = replace(evaluations[key], snapshot=after[key])
    ended = tuple(key for key in expect if after[key].run.state in RUN_FINISHED)
    for key in ended:
        del after[key], evaluations[key]
    active = ActiveRuns(snapshots=after, evaluations=evaluations)
    return LoopDecision(plan=plan, expect=expect, active=active, ended=ended)


def evaluate_run(
    snapshot: Snapshot,
    wake_at: datetime | None,
    deferred_pools: frozenset[str] = frozenset(),
    previous: RunEvaluation | None = None,
) -> RunEvaluation:
    """The evaluation of a run that has just been decided. Unchanged values are reused from ``previous``."""
    dag, run = snapshot.dag, snapshot.run
    may_dispatch = run.state is RunState.RUNNING and not snapshot.pause_applies
    previous_ready = previous.ready if previous is not None else {}
    pool_used: dict[str, int] = {}
    task_used: dict[str, int] = {}
    ready: dict[TaskKey, ReadyTask] = {}
    for key, ti in snapshot.instances.items():
        state = ti.state
        if state is TaskState.SCHEDULED and may_dispatch:
            old = previous_ready.get(key)
            ready[key] = old if old is not None and old.instance is ti else _ready(snapshot, ti)
        elif state in OCCUPYING or (deferred_pools and state is TaskState.DEFERRED):
            task = dag.tasks.get(ti.task_id)
            if task is None:
                continue
            if state in OCCUPYING:
                task_used[ti.task_id] = task_used.get(ti.task_id, 0) + 1
            if state in OCCUPYING or task.pool in deferred_pools:
                pool_used[task.pool] = pool_used.get(task.pool, 0) + task.pool_slots
    return RunEvaluation(snapshot=snapshot, wake_at=wake_at, ready=ready, pool_used=pool_used, task_used=task_used)


def _ready(snapshot: Snapshot, ti: Instance) -> ReadyTask:
    dag = snapshot.dag
    return ReadyTask(
        run=snapshot.run, task=dag.tasks[ti.task_id], instance=ti, dag_max_active_tasks=dag.max_active_tasks
    )


def _after_dispatch(evaluation: RunEvaluation, snapshot: Snapshot, ops: Iterable[Op]) -> RunEvaluation:
    """The evaluation after a dispatch, which changes no other decision: no task waits for another to be queued."""
    ready, pool_used, task_used = dict(evaluation.ready), dict(evaluation.pool_used), dict(evaluation.task_used)
    for op in ops:
        if isinstance(op, Move):
            task = ready.pop(op.key).task
            task_used[task.task_id] = task_used.get(task.task_id, 0) + 1
            pool_used[task.pool] = pool_used.get(task.pool, 0) + task.pool_slots
    return replace(evaluation, snapshot=snapshot, ready=ready, pool_used=pool_used, task_used=task_used)


def current_limits(loop_input: LoopInput, evaluations: Iterable[RunEvaluation]) -> Limits:
    """Limits and usage of this and other schedulers, for ``plan_dispatch``."""
    others = loop_input.other_schedulers
    limits = Limits(
        slots=loop_input.slots,
        pools=loop_input.pools,
        pool_used=dict(others.pool_used),
        task_used=dict(others.task_used),
    )
    for evaluation in evaluations:
        run_key = evaluation.snapshot.run.key
        for pool, used in evaluation.pool_used.items():
            limits.pool_used[pool] = limits.pool_used.get(pool, 0) + used
        for task_id, used in evaluation.task_used.items():
            task = (run_key.dag_id, task_id)
            limits.task_used[task] = limits.task_used.get(task, 0) + used
            limits.task_in_run_used[run_key, task_id] = used
            limits.run_used[run_key] = limits.run_used.get(run_key, 0) + used
    return limits


def _dispatch(loop_input: LoopInput, evaluations: Iterable[RunEvaluation], now: datetime, *, explain: bool) -> Plan:
    evaluations = list(evaluations)
    candidates = [task for evaluation in evaluations for task in evaluation.ready.values()]
    if not candidates or (loop_input.slots is not None and loop_input.slots <= 0 and not explain):
        return Plan()
    return plan_dispatch(candidates, current_limits(loop_input, evaluations), now, explain=explain)


def _start_runs(loop_input: LoopInput, snapshots: Mapping[RunKey, Snapshot], now: datetime) -> Plan:
    runs = [snapshot.run for snapshot in snapshots.values()]
    queued = start_order((run for run in runs if run.state is RunState.QUEUED), loop_input.backwards)
    if not queued:
        return Plan()
    others = loop_input.other_schedulers.running
    running = [run for run in runs if run.state is RunState.RUNNING]
    running += [run for run in others if run.state is RunState.RUNNING]
    starts = plan_run_starts(queued, running, loop_input.run_limits, now)
    refused = [run for run in queued if (wait := starts.run_waits.get(run.key)) and wait.kind in _RUN_LIMITS]
    if not refused or starts.ops:
        return starts
    all_queued = {run.key for run in (*queued, *others) if run.state is RunState.QUEUED}
    return merged([starts, _give_way(refused, snapshots.values(), all_queued, now)])


_RUN_LIMITS = frozenset({"max_active_runs", "backfill_limit"})
"""Kinds of waits of a run that ends when another run leaves ``running``."""
_PAST_WAITS = frozenset({"past", "past_downstream"})
_IDLE_WAITS = _PAST_WAITS | {"upstream", "length"}


def _give_way(refused: Iterable[Run], snapshots: Iterable[Snapshot], queued: Collection[RunKey], now: datetime) -> Plan:
    """Queue running runs again that can do nothing until a queued run has ended, so that an earlier refused run gets
    their place: otherwise the two would wait for each other for ever (a user cleared the earlier run of a DAG with
    depends_on_past). A run gives way only to an earlier one, so that two runs do not give way in turns."""
    running = sorted(
        (snapshot for snapshot in snapshots if snapshot.run.state is RunState.RUNNING),
        key=lambda snapshot: _age(snapshot.run),
        reverse=True,
    )
    ops: list[Op] = []
    for run in refused:
        for snapshot in running:
            other = snapshot.run
            in_group = (other.dag_id, other.backfill_id) == (run.dag_id, run.backfill_id)
            if in_group and _age(other) > _age(run) and _waits_for_queued_run(snapshot, queued, now):
                source, target = RunState.RUNNING, RunState.QUEUED
                ops.append(RunMove(run=other.key, source=source, target=target, cause=RunCause.GAVE_WAY, at=now))
                running.remove(snapshot)
                break
    return Plan(ops=tuple(ops))


def _waits_for_queued_run(snapshot: Snapshot, queued: Collection[RunKey], now: datetime) -> bool:
    """Whether nothing in the run can happen before its previous run, which is queued, has ended."""
    previous = snapshot.previous
    if previous is None or RunKey(snapshot.run.dag_id, previous.run_id) not in queued:
        return False
    if any(ti.state in UNFINISHED and ti.state is not TaskState.NONE for ti in snapshot.instances.values()):
        return False
    plan = plan_run(snapshot, now, explain=True)
    kinds = {wait.kind for wait in plan.waits.values()}
    return not plan.ops and plan.wake_at is None and kinds <= _IDLE_WAITS and bool(kinds & _PAST_WAITS)


def start_order(queued: Iterable[Run], backwards: Collection[int]) -> list[Run]:
    """Queued runs in the order in which they start. ``queued`` is oldest first; the order of runs of ``backwards``
    backfills is reversed."""
    runs = list(queued)
    reverse = [run for run in runs if run.backfill_id in backwards]
    return [*(run for run in runs if run.backfill_id not in backwards), *reversed(reverse)] if reverse else runs


def _age(run: Run) -> tuple[datetime, datetime, str, str]:
    """Sort key, oldest first: the logical date, or ``run_after`` for a run without one."""
    return (run.logical_date or run.run_after, run.run_after, run.dag_id, run.run_id)


def _by_run(plan: Plan) -> dict[RunKey, list[Op]]:
    grouped: dict[RunKey, list[Op]] = {}
    for op in plan.ops:
        if not isinstance(op, AddRun):
            grouped.setdefault(op.run, []).append(op)
    return grouped


def _with_current_predecessor(snapshot: Snapshot, snapshots: Mapping[RunKey, Snapshot]) -> Snapshot:
    """The snapshot with the current states of its previous run, if that run is active too."""
    previous = snapshot.previous
    active = snapshots.get(RunKey(snapshot.run.dag_id, previous.run_id)) if previous is not None else None
    if previous is None or active is None:
        return snapshot
    states: dict[str, tuple[TaskState, ...]] = {}
    for ti in active.instances.values():
        states[ti.task_id] = (*states.get(ti.task_id, ()), ti.state)
    return snapshot if states == previous.states else replace(snapshot, previous=replace(previous, states=states))


def _paused_waits(snapshots: Iterable[Snapshot]) -> Plan:
    """Reasons of the scheduled instances of paused DAGs, which are no candidates for dispatch."""
    waits = {
        (snapshot.run.key, ti.key): paused_wait(snapshot.dag.dag_id)
        for snapshot in snapshots
        if snapshot.pause_applies
        for ti in snapshot.instances.values()
        if ti.state is TaskState.SCHEDULED
    }
    return Plan(waits=waits)


def _queued_waits(dispatch: Plan, snapshots: Mapping[RunKey, Snapshot]) -> Mapping[tuple[RunKey, TaskKey], WaitReason]:
    """Reasons of the instances that have just been queued: they wait for the executor."""
    return {(op.run, op.key): explain_live(snapshots[op.run].instances[op.key]) for op in dispatch.moves}


class AttemptRef(Protocol):
    """The attributes of the store's ``Attempt`` that :func:`with_attempts` uses."""

    @property
    def attempt_id(self) -> str: ...
    @property
    def run(self) -> RunKey: ...
    @property
    def key(self) -> TaskKey: ...


def with_attempts(decision: LoopDecision, attempts: Iterable[AttemptRef]) -> ActiveRuns:
    """The runs after the store has applied the decision's plan, with the attempts that it has created."""
    attempt_ids: dict[RunKey, dict[TaskKey, str]] = {}
    for attempt in attempts:
        attempt_ids.setdefault(attempt.run, {})[attempt.key] = attempt.attempt_id
    snapshots, evaluations = dict(decision.active.snapshots), dict(decision.active.evaluations)
    for run, ids in attempt_ids.items():
        instances = dict(snapshots[run].instances)
        for key, attempt_id in ids.items():
            instances[key] = change(instances[key], attempt_id=attempt_id)
        snapshots[run] = replace(snapshots[run], instances=instances)
        evaluations[run] = replace(evaluations[run], snapshot=snapshots[run])
    return ActiveRuns(snapshots=snapshots, evaluations=evaluations)


def after_plan(active: ActiveRuns, plan: Plan) -> ActiveRuns:
    """The runs after the store has applied a plan that is not a loop's: for an event, or for a user. Runs that are not
    active are ignored: read them, and add them with :func:`with_snapshots`. A run's evaluation stays valid when a task
    starts, because no task waits for another to start."""
    snapshots, evaluations = dict(active.snapshots), dict(active.evaluations)
    for key, ops in _by_run(plan).items():
        if key not in snapshots:
            continue
        evaluation = evaluations.get(key)
        is_valid = evaluation is not None and evaluation.snapshot is snapshots[key] and all(map(_is_start, ops))
        snapshots[key] = advance(snapshots[key], ops)
        if evaluation is not None and is_valid:
            evaluations[key] = replace(evaluation, snapshot=snapshots[key])
    return ActiveRuns(snapshots=snapshots, evaluations=evaluations)


def _is_start(op: Op) -> bool:
    return isinstance(op, Move) and op.cause is Cause.STARTED


def with_snapshots(active: ActiveRuns, snapshots: Iterable[Snapshot]) -> ActiveRuns:
    """``active`` with new and changed runs added, and finished runs removed."""
    merged_snapshots = dict(active.snapshots)
    for snapshot in snapshots:
        if snapshot.run.state in RUN_FINISHED:
            merged_snapshots.pop(snapshot.run.key, None)
        else:
            merged_snapshots[snapshot.run.key] = snapshot
    return ActiveRuns(snapshots=merged_snapshots, evaluations=active.evaluations)


def runs_with_new_predecessor(active: ActiveRuns, new_runs: Iterable[Run]) -> list[RunKey]:
    """Active runs that ``new_runs`` may precede: the caller reads them again. A scheduled run is created when its
    interval has ended; a run that was triggered before that, and depends on its past, then has another predecessor."""
    earliest: dict[str, datetime] = {}
    for run in new_runs:
        if run.logical_date is not None:
            earliest[run.dag_id] = min(run.logical_date, earliest.get(run.dag_id, run.logical_date))
    return [
        key
        for key, snapshot in active.snapshots.items()
        if (date := snapshot.run.logical_date) is not None and key.dag_id in earliest and date > earliest[key.dag_id]
        if any(task.depends_on_past or task.wait_for_downstream for task in snapshot.dag.tasks.values())
    ]


def finished_backfills(active: ActiveRuns, backfills: Iterable[int]) -> list[int]:
    """The ids of ``backfills`` without active runs, which are completed. A backfill's last run may end without a
    decision of the scheduler: a user marks it, or every run of the backfill existed already."""
    unfinished = {snapshot.run.backfill_id for snapshot in active.snapshots.values()}
    return [backfill for backfill in backfills if backfill not in unfinished]
