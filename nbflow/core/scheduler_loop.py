"""``decide_all``: one look at everything that is active. The scheduler and the simulator turn on this same function.

The order of a look
-------------------
1. Queued runs start, as far as ``max_active_runs`` and the backfills' own limits allow.
2. Every running run that may have changed is decided (:func:`nbflow.core.decide.plan_run`), oldest first, so that a
   run which depends on its past sees what was just decided for its predecessor.
3. Whatever is scheduled by then asks for a slot (:func:`nbflow.core.dispatch.plan_dispatch`), over all runs together.

The answer is one plan, to be applied whole: a task may go from none to queued in a single commit.

What makes it cheap
-------------------
A snapshot is a value, so "has this run changed?" is "is it the same object?". A :class:`Look` keeps what the last look
at a run found, with the snapshot that it looked at; it holds until the run has another snapshot or its ``wake_at`` has
come. Nothing needs to be marked dirty, and forgetting a look costs only time.

The caller's side::

    decision = decide_all(view, now)
    attempts = store.apply([decision.plan], actor=..., expect=decision.expect)   # StalePlan: read those runs again
    active = settled(decision, attempts)                                         # snapshots and looks for the next view
    ... submit the attempts; for each event: active = followed(active, react(...)) once the store took it
    ... sleep until decision.plan.wake_at, or an event
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Protocol

from nbflow.core.decide import plan_run
from nbflow.core.dispatch import Limits, ReadyTask, RunLimits, plan_dispatch, plan_run_starts
from nbflow.core.plan import AddRun, Move, Op, Plan, advance, merged
from nbflow.core.reason_texts import explain_live, paused_wait
from nbflow.core.reasons import WaitReason
from nbflow.core.snapshot import Instance, Run, RunKey, Snapshot, TaskKey, change
from nbflow.core.states import OCCUPYING, RUN_FINISHED, Cause, RunState, TaskState


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What the last look at one run found. It holds as long as ``snapshot`` is the run's snapshot."""

    snapshot: Snapshot
    wake_at: datetime | None = None
    ready: Mapping[TaskKey, ReadyTask] = field(default_factory=dict)
    """Scheduled instances that want a slot (of a paused DAG: none)."""
    pool_used: Mapping[str, int] = field(default_factory=dict)
    task_used: Mapping[str, int] = field(default_factory=dict)
    """task id -> its instances that take a slot."""

    def holds(self, snapshot: Snapshot, now: datetime) -> bool:
        """Whether looking again would find the same."""
        return self.snapshot is snapshot and (self.wake_at is None or self.wake_at > now)


@dataclass(frozen=True, slots=True, kw_only=True)
class Active:
    """The runs in hand, and what the last looks at them found."""

    snapshots: Mapping[RunKey, Snapshot] = field(default_factory=dict)
    """Queued and running runs."""
    looks: Mapping[RunKey, Look] = field(default_factory=dict)
    """May lack runs, or know runs that are gone: a look is only a memory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Elsewhere:
    """What runs that are in other hands (another scheduler's) take of the shared limits."""

    pool_used: Mapping[str, int] = field(default_factory=dict)
    task_used: Mapping[tuple[str, str], int] = field(default_factory=dict)
    running: Sequence[Run] = ()
    """Those runs, the queued among them too (which take nothing yet)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """All that a look may see."""

    active: Active
    run_limits: RunLimits
    pools: Mapping[str, int] = field(default_factory=dict)
    """pool -> size, -1 without limit."""
    slots: int | None = None
    """Free executor slots; None: no limit."""
    deferred_pools: frozenset[str] = frozenset()
    """Pools in which a deferred instance keeps its slots (include_deferred)."""
    backwards: frozenset[int] = frozenset()
    """Backfills that start with the latest logical date."""
    elsewhere: Elsewhere = Elsewhere()


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """One plan for everything, and where it leads."""

    plan: Plan
    expect: Mapping[RunKey, int]
    """Revision of each run that the plan changes, as it was when this was decided."""
    active: Active
    """The runs after the plan, without the attempts that only the store can name (see :func:`settled`)."""
    ended: tuple[RunKey, ...] = ()
    """Runs that the plan ends; they are no longer in ``active``."""


def decide_all(view: View, now: datetime, *, explain: bool = False) -> Decision:
    """One look at ``now`` (aware UTC). With ``explain``, every waiting instance and run has its reason in the plan,
    at the price of looking at every run anew; the decisions are the same."""
    before = view.active.snapshots
    after = {snapshot.run.key: snapshot for snapshot in sorted(before.values(), key=lambda s: _age(s.run))}
    starts = _start_runs(view, after, now)
    for key, ops in _by_run(starts).items():
        after[key] = advance(after[key], ops)

    plans: list[Plan] = [starts]
    looks: dict[RunKey, Look] = {}
    for key in after:
        snapshot = after[key] = _with_past(after[key], after)
        look = view.active.looks.get(key)
        if snapshot.run.state is RunState.QUEUED:  # the starts above have said why
            looks[key] = Look(snapshot=snapshot)
            continue
        if look is None or explain or not look.holds(snapshot, now):
            plan = plan_run(snapshot, now, explain=explain)
            plans.append(plan)
            snapshot = after[key] = advance(snapshot, plan.ops)
            look = look_at(snapshot, plan.wake_at, view.deferred_pools, look)
        else:
            plans.append(Plan(wake_at=look.wake_at))
        looks[key] = look

    dispatch = _dispatch(view, looks.values(), now, explain=explain)
    for key, ops in _by_run(dispatch).items():
        after[key] = advance(after[key], ops)
        looks[key] = _dispatched(looks[key], after[key], ops)
    if explain:
        plans.append(_paused_waits(after.values()))
        dispatch = replace(dispatch, waits={**dispatch.waits, **_queued_waits(dispatch, after)})
    plan = merged([*plans, dispatch])
    return _decision(plan, before, after, looks)


def _decision(
    plan: Plan, before: Mapping[RunKey, Snapshot], after: dict[RunKey, Snapshot], looks: dict[RunKey, Look]
) -> Decision:
    expect = {key: before[key].run.revision for key in _by_run(plan)}
    for key, revision in expect.items():
        # One apply raises the revision once, however many steps led here.
        run = replace(after[key].run, revision=revision + 1)
        after[key] = replace(after[key], run=run)
        looks[key] = replace(looks[key], snapshot=after[key])
    ended = tuple(key for key in expect if after[key].run.state in RUN_FINISHED)
    for key in ended:
        del after[key], looks[key]
    return Decision(plan=plan, expect=expect, active=Active(snapshots=after, looks=looks), ended=ended)


def look_at(
    snapshot: Snapshot,
    wake_at: datetime | None,
    deferred_pools: frozenset[str] = frozenset(),
    before: Look | None = None,
) -> Look:
    """What a decided run asks for and what it takes. ``before``, the look before it, lends what has not changed."""
    dag, run = snapshot.dag, snapshot.run
    asks = run.state is RunState.RUNNING and not snapshot.held
    known = before.ready if before is not None else {}
    pool_used: dict[str, int] = {}
    task_used: dict[str, int] = {}
    ready: dict[TaskKey, ReadyTask] = {}
    for key, one in snapshot.instances.items():
        state = one.state
        if state is TaskState.SCHEDULED and asks:
            old = known.get(key)
            ready[key] = old if old is not None and old.instance is one else _ready(snapshot, one)
        elif state in OCCUPYING or (deferred_pools and state is TaskState.DEFERRED):
            holder = dag.tasks.get(one.task_id)
            if holder is None:
                continue
            if state in OCCUPYING:
                task_used[one.task_id] = task_used.get(one.task_id, 0) + 1
            if state in OCCUPYING or holder.pool in deferred_pools:
                pool_used[holder.pool] = pool_used.get(holder.pool, 0) + holder.pool_slots
    return Look(snapshot=snapshot, wake_at=wake_at, ready=ready, pool_used=pool_used, task_used=task_used)


def _ready(snapshot: Snapshot, one: Instance) -> ReadyTask:
    dag = snapshot.dag
    return ReadyTask(
        run=snapshot.run, task=dag.tasks[one.task_id], instance=one, dag_max_active_tasks=dag.max_active_tasks
    )


def _dispatched(look: Look, snapshot: Snapshot, ops: Iterable[Op]) -> Look:
    """The look after a dispatch: nothing waits for a task to be queued, so nothing else has changed."""
    ready, pool_used, task_used = dict(look.ready), dict(look.pool_used), dict(look.task_used)
    for op in ops:
        if isinstance(op, Move):
            task = ready.pop(op.key).task
            task_used[task.task_id] = task_used.get(task.task_id, 0) + 1
            pool_used[task.pool] = pool_used.get(task.pool, 0) + task.pool_slots
    return replace(look, snapshot=snapshot, ready=ready, pool_used=pool_used, task_used=task_used)


def limits_now(view: View, looks: Iterable[Look]) -> Limits:
    """What is taken, over the runs in hand and elsewhere, in the form that plan_dispatch uses up."""
    elsewhere = view.elsewhere
    limits = Limits(
        slots=view.slots, pools=view.pools, pool_used=dict(elsewhere.pool_used), task_used=dict(elsewhere.task_used)
    )
    for look in looks:
        key = look.snapshot.run.key
        for pool, used in look.pool_used.items():
            limits.pool_used[pool] = limits.pool_used.get(pool, 0) + used
        for task_id, used in look.task_used.items():
            name = (key.dag_id, task_id)
            limits.task_used[name] = limits.task_used.get(name, 0) + used
            limits.task_in_run_used[key, task_id] = used
            limits.run_used[key] = limits.run_used.get(key, 0) + used
    return limits


def _dispatch(view: View, looks: Iterable[Look], now: datetime, *, explain: bool) -> Plan:
    looks = list(looks)
    ready = [one for look in looks for one in look.ready.values()]
    if not ready or (view.slots is not None and view.slots <= 0 and not explain):
        return Plan()
    return plan_dispatch(ready, limits_now(view, looks), now, explain=explain)


def _start_runs(view: View, snapshots: Mapping[RunKey, Snapshot], now: datetime) -> Plan:
    runs = [snapshot.run for snapshot in snapshots.values()]
    queued = starting_order((run for run in runs if run.state is RunState.QUEUED), view.backwards)
    if not queued:
        return Plan()
    running = [run for run in runs if run.state is RunState.RUNNING]
    running += [run for run in view.elsewhere.running if run.state is RunState.RUNNING]
    return plan_run_starts(queued, running, view.run_limits, now)


def starting_order(queued: Iterable[Run], backwards: Collection[int]) -> list[Run]:
    """Queued runs, given oldest first, in the order of their starts: backfills that run backwards the other way."""
    runs = list(queued)
    late = [run for run in runs if run.backfill_id in backwards]
    return [*(run for run in runs if run.backfill_id not in backwards), *reversed(late)] if late else runs


def _age(run: Run) -> tuple[datetime, datetime, str, str]:
    """Oldest first: by logical date, or by when it was due where a run has none."""
    return (run.logical_date or run.run_after, run.run_after, run.dag_id, run.run_id)


def _by_run(plan: Plan) -> dict[RunKey, list[Op]]:
    grouped: dict[RunKey, list[Op]] = {}
    for op in plan.ops:
        if not isinstance(op, AddRun):
            grouped.setdefault(op.run, []).append(op)
    return grouped


def _with_past(snapshot: Snapshot, snapshots: Mapping[RunKey, Snapshot]) -> Snapshot:
    """The snapshot with its predecessor as it is now, where that one is in hand too."""
    past = snapshot.previous
    before = snapshots.get(RunKey(snapshot.run.dag_id, past.run_id)) if past is not None else None
    if past is None or before is None:
        return snapshot
    states: dict[str, tuple[TaskState, ...]] = {}
    for one in before.instances.values():
        states[one.task_id] = (*states.get(one.task_id, ()), one.state)
    return snapshot if states == past.states else replace(snapshot, previous=replace(past, states=states))


def _paused_waits(snapshots: Iterable[Snapshot]) -> Plan:
    """Why scheduled instances of a paused DAG get no slot: they do not even ask for one."""
    waits = {
        (snapshot.run.key, one.key): paused_wait(snapshot.dag.dag_id)
        for snapshot in snapshots
        if snapshot.held
        for one in snapshot.instances.values()
        if one.state is TaskState.SCHEDULED
    }
    return Plan(waits=waits)


def _queued_waits(dispatch: Plan, snapshots: Mapping[RunKey, Snapshot]) -> Mapping[tuple[RunKey, TaskKey], WaitReason]:
    """What has just been granted a slot waits for the executor now, and for nothing else any more."""
    return {(op.run, op.key): explain_live(snapshots[op.run].instances[op.key]) for op in dispatch.moves}


class Attempted(Protocol):
    """What is needed of an attempt here: the store's ``Attempt`` has more."""

    @property
    def attempt_id(self) -> str: ...
    @property
    def run(self) -> RunKey: ...
    @property
    def key(self) -> TaskKey: ...


def settled(decision: Decision, attempts: Iterable[Attempted]) -> Active:
    """The runs after the store has taken the decision's plan, with the attempts that it made."""
    named: dict[RunKey, dict[TaskKey, str]] = {}
    for attempt in attempts:
        named.setdefault(attempt.run, {})[attempt.key] = attempt.attempt_id
    snapshots, looks = dict(decision.active.snapshots), dict(decision.active.looks)
    for run, ids in named.items():
        instances = dict(snapshots[run].instances)
        for key, attempt_id in ids.items():
            instances[key] = change(instances[key], attempt_id=attempt_id)
        snapshots[run] = replace(snapshots[run], instances=instances)
        looks[run] = replace(looks[run], snapshot=snapshots[run])
    return Active(snapshots=snapshots, looks=looks)


def followed(active: Active, plan: Plan) -> Active:
    """The runs after the store has taken a plan that is not a look's (an event's, a user's). Runs that are not in hand
    are passed over: read them, and add them with :func:`joined`. A mere start leaves the run's look standing: nothing
    waits for a task to start."""
    snapshots, looks = dict(active.snapshots), dict(active.looks)
    for key, ops in _by_run(plan).items():
        if key not in snapshots:
            continue
        old = looks.get(key)
        holds = old is not None and old.snapshot is snapshots[key] and all(_is_start(op) for op in ops)
        snapshots[key] = advance(snapshots[key], ops)
        if old is not None and holds:
            looks[key] = replace(old, snapshot=snapshots[key])
    return Active(snapshots=snapshots, looks=looks)


def _is_start(op: Op) -> bool:
    return isinstance(op, Move) and op.cause is Cause.STARTED


def joined(active: Active, snapshots: Iterable[Snapshot]) -> Active:
    """``active`` with these runs as they are now: new ones, changed ones; finished ones leave."""
    kept = dict(active.snapshots)
    for snapshot in snapshots:
        if snapshot.run.state in RUN_FINISHED:
            kept.pop(snapshot.run.key, None)
        else:
            kept[snapshot.run.key] = snapshot
    return Active(snapshots=kept, looks=active.looks)


def with_another_past(active: Active, made: Iterable[Run]) -> list[RunKey]:
    """Runs in hand that new runs may have come before: read them again. A scheduled run is made when its interval is
    over, so a run triggered meanwhile, which depends on its past, gets another predecessor."""
    first: dict[str, datetime] = {}
    for run in made:
        if run.logical_date is not None:
            first[run.dag_id] = min(run.logical_date, first.get(run.dag_id, run.logical_date))
    return [
        key
        for key, snapshot in active.snapshots.items()
        if (at := snapshot.run.logical_date) is not None and key.dag_id in first and at > first[key.dag_id]
        if any(task.depends_on_past or task.wait_for_downstream for task in snapshot.dag.tasks.values())
    ]


def without_runs(active: Active, backfills: Iterable[int]) -> list[int]:
    """Those of the open backfills that have no unfinished run left: they are completed. Not only a decision ends runs:
    a user may mark the last one, or ask for a backfill of which every run exists already."""
    busy = {snapshot.run.backfill_id for snapshot in active.snapshots.values()}
    return [backfill for backfill in backfills if backfill not in busy]
