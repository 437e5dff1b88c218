"""``plan_run``: the plan for one run now, and why its other task instances wait.

How it works
------------
One traversal of the tasks in topological order. A decision for a task is visible to its downstream tasks in the same
traversal, and no task waits for a task downstream of it, so one traversal reaches the fixed point: planned again at
the same time, the plan is empty (tested). The traversal decides only instances in the states none, up_for_retry and
up_for_reschedule; it only reads the states of the others.

The rules are checked in a fixed order, and the first that applies is the cause:

1. A branch or short circuit upstream has skipped the instance                    -> skipped
   An unfinished branch or short circuit may still skip it   -> wait, unless rules 2 and 3 skip it in any case
2. A setup in whose scope it lies failed, or was skipped                          -> upstream_failed, skipped
3. Its trigger rule is not met                                                    -> upstream_failed, skipped, or wait
4. The logical date is outside its start_date and end_date                        -> skipped
5. It depends on its past, and the previous run has not succeeded                 -> wait
6. Its retry or its next check is not due yet                                     -> wait, with the time in ``wake_at``
7. Otherwise                                                                      -> scheduled

Mapped tasks: a task of a mapped *group* is expanded as soon as the length is known, and not decided before that, so
that the outcome of each map index does not depend on the order of events. A task that is mapped *itself* over a result
is expanded when its trigger rule lets it run: if it is skipped or failed before that, it stays one row, as in Airflow.
A literal length is expanded when the run is created.

A run ends when no instance is unfinished: failed if an effective leaf failed, else success. If the remaining unfinished
instances can never start (and none of them waits for an earlier run), the run is deadlocked and fails; those instances
stay ``none``, and the run's move lists them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta

from nbflow.core.event_handlers import callbacks_of_killed, failure_ops
from nbflow.core.plan import AddInstances, Callback, DropInstance, Move, Op, Plan, RunMove, advance, earliest
from nbflow.core.snapshot import Instance, RunKey, Snapshot, TaskKey
from nbflow.core.spec import Length, TaskSpec, length_of, length_sources
from nbflow.core.states import (
    FAILED_STATES,
    FINISHED,
    LIVE,
    RUN_FINISHED,
    SUCCESS_STATES,
    UNFINISHED,
    Cause,
    RunCause,
    RunState,
    TaskState,
)
from nbflow.core.task_dates import is_outside_dates, outside_dates
from nbflow.core.trigger_rules import (
    BIT,
    UNFINISHED_BIT,
    Verdict,
    mask_of,
    rule_verdict,
    setup_verdict,
    teardown_verdict,
)
from nbflow.core.wait_reason_texts import explain_live, past_wait, paused_wait, upstream_wait
from nbflow.core.wait_reasons import WaitReason

UNDECIDED = frozenset({TaskState.NONE, TaskState.UP_FOR_RETRY, TaskState.UP_FOR_RESCHEDULE})


def plan_run(snapshot: Snapshot, now: datetime, *, explain: bool = False) -> Plan:
    """Decide one run at ``now`` (aware UTC). With ``explain`` the plan also holds the reason of each waiting instance;
    the decisions are the same."""
    run = snapshot.run
    if run.state in RUN_FINISHED:
        return Plan()
    if run.state is RunState.QUEUED:
        return Plan(
            run_waits={run.key: WaitReason(kind="run_queued", text="The run is queued; it has not started yet.")}
        )
    deadline = _deadline(snapshot)
    if deadline is not None and deadline <= now:
        return _time_out(snapshot, now)
    timeout_ops, snapshot = _time_out_deferrals(snapshot, now)
    planner = _RunPlanner(snapshot, now, explain=explain)
    for task in snapshot.dag.tasks.values():
        planner.visit(task)
    plan = planner.plan(deadline)
    return replace(plan, ops=(*timeout_ops, *plan.ops)) if timeout_ops else plan


def _deadline(snapshot: Snapshot) -> datetime | None:
    timeout, start = snapshot.dag.dagrun_timeout, snapshot.run.start_date
    return start + timedelta(seconds=timeout) if timeout is not None and start is not None else None


def _time_out(snapshot: Snapshot, now: datetime) -> Plan:
    """dagrun_timeout: the run fails and its unfinished instances are skipped, as in Airflow. The processes of live
    instances are killed, because their attempts are no longer current."""
    run, timeout = snapshot.run, snapshot.dag.dagrun_timeout
    ops: list[Op] = [
        Move(
            run=run.key,
            key=ti.key,
            source=ti.state,
            target=TaskState.SKIPPED,
            cause=Cause.RUN_TIMED_OUT,
            at=now,
            changes={"attempt_id": None, "end_date": now, "next_at": None},
        )
        for ti in snapshot.in_order()
        if ti.state in UNFINISHED
    ]
    ops += callbacks_of_killed(snapshot, ops)
    ops += end_run(snapshot, RunState.FAILED, RunCause.TIMED_OUT, now, {"dagrun_timeout": timeout})
    return Plan(ops=tuple(ops))


def _time_out_deferrals(snapshot: Snapshot, now: datetime) -> tuple[list[Op], Snapshot]:
    """Fail the instances whose triggers did not fire in time; returns the operations and the snapshot after them.

    This precedes the traversal: with fail_fast such a failure ends other instances too, including instances that the
    traversal would already have visited."""
    ops: list[Op] = []
    overdue = sorted(ti.key for ti in snapshot.instances.values() if _is_overdue(ti, now))
    for key in overdue:
        ti = snapshot.instances[key]
        if _is_overdue(ti, now):  # unless fail_fast, after the failure of another instance, has ended it
            error = "TaskDeferralTimeout: the trigger did not fire in time"
            task = snapshot.dag.tasks[key.task_id]
            timeout_ops = failure_ops(snapshot, task, ti, Cause.TRIGGER_TIMEOUT, now, error=error)
            ops += timeout_ops
            snapshot = advance(snapshot, timeout_ops)
    return ops, snapshot


def _is_overdue(ti: Instance, now: datetime) -> bool:
    return ti.state is TaskState.DEFERRED and ti.next_at is not None and ti.next_at <= now


def end_run(snapshot: Snapshot, state: RunState, cause: RunCause, now: datetime, detail: dict[str, object]) -> list[Op]:
    """The move that ends the run, and its callback, if the DAG has one for that state."""
    run = snapshot.run
    ops: list[Op] = [
        RunMove(
            run=run.key, source=run.state, target=state, cause=cause, at=now, changes={"end_date": now}, detail=detail
        )
    ]
    kind = "success" if state is RunState.SUCCESS else "failure"
    if kind in snapshot.dag.callbacks:
        ops.append(Callback(run=run.key, key=None, kind=kind, at=now, reason=cause.value))
    return ops


class _RunPlanner:
    """One traversal of a run. Collects operations and reasons, and tracks the states after them."""

    def __init__(self, snapshot: Snapshot, now: datetime, *, explain: bool) -> None:
        self.snapshot, self.now, self.explain = snapshot, now, explain
        self.dag, self.run = snapshot.dag, snapshot.run.key
        self.ops: list[Op] = []
        self.waits: dict[tuple[RunKey, TaskKey], WaitReason] = {}
        self.wake: datetime | None = None
        self.tis: dict[str, list[Instance]] = {}
        """task id -> its instances."""
        self.masks: dict[str, int] = {}
        """task id -> states of all its instances, see :func:`mask_of`."""
        self.index_masks: dict[tuple[str, int], int] = {}
        """(task id, map index) -> state, for tasks of mapped groups."""
        self.skipped_by: dict[tuple[str, int], TaskKey] = {}
        """(task id, map index or -1 for all) -> the branch or short circuit that skips it."""
        self.decided: dict[TaskKey, TaskState] = {}
        """The states of the instances that this traversal has moved."""
        self.roots: dict[TaskKey, Mapping[TaskKey, TaskState]] = {}
        """The roots of the instances that this traversal has ended by a rule; see :meth:`_grounds`."""
        self.progressing = False
        """An instance is live, or waits only for a time or a slot: no deadlock."""
        self.blocked = False
        """An instance waits for an earlier run, or for the DAG to be unpaused: no deadlock."""
        self.waiting: list[TaskKey] = []
        """Instances that wait for other instances of this run: a deadlock, if none is progressing or blocked."""
        for ti in snapshot.instances.values():
            if ti.state is TaskState.REMOVED and self._has_other_mapping(ti):
                continue
            self.tis.setdefault(ti.task_id, []).append(ti)
            if ti.skips and ti.state is TaskState.SUCCESS:
                self._add_skips(ti)

    def _has_other_mapping(self, ti: Instance) -> bool:
        """Whether the instance comes from a DAG version in which its task was mapped, and is not mapped now, or the
        reverse. Such an instance has no effect on the tasks of this version."""
        exists = ti.task_id in self.dag.tasks
        return exists and (ti.map_index >= 0) is (self.dag.length_expr(ti.task_id) is None)

    def _add_skips(self, skipping_ti: Instance) -> None:
        groups = self.dag.mapped_group
        group = groups.get(skipping_ti.task_id)
        for task_id in skipping_ti.skips:
            same_group = group is not None and groups.get(task_id) == group
            self.skipped_by[task_id, skipping_ti.map_index if same_group else -1] = skipping_ti.key

    # --- one task

    def visit(self, task: TaskSpec) -> None:
        tis = self.tis.get(task.task_id)
        if tis is None:
            return
        if len(tis) == 1 and tis[0].map_index < 0 and tis[0].state in FINISHED:
            self.masks[task.task_id] = BIT[tis[0].state]  # the common case, kept fast
            return
        expr = self.dag.length_expr(task.task_id)
        if expr is not None and tis[0].map_index < 0 and tis[0].state is TaskState.NONE:
            tis = self._expanded(task, expr, tis[0])
        elif expr is not None and tis[0].map_index >= 0:
            tis = self._resized(expr, tis)
        in_mapped_group = self.dag.mapped_group[task.task_id] is not None
        states: set[TaskState] = set()
        for ti in tis:
            state = ti.state
            if state in UNDECIDED:
                state = self._decide(task, ti)
            elif state is TaskState.SCHEDULED and task.empty:
                state = self._end_empty(ti)
            elif state in UNFINISHED:
                state = self._visit_live(ti)
            states.add(state)
            if in_mapped_group:
                self.index_masks[task.task_id, ti.map_index] = mask_of((state,))
        self.masks[task.task_id] = mask_of(states)
        self.tis[task.task_id] = tis

    def _visit_live(self, ti: Instance) -> TaskState:
        if ti.state is TaskState.DEFERRED:
            self.wake = earliest(self.wake, ti.next_at)
        self.progressing = True
        if self.explain:
            self.waits[self.run, ti.key] = explain_live(ti)
        return ti.state

    def _decide(self, task: TaskSpec, ti: Instance) -> TaskState:
        skipping_ti = self._skipping_instance(ti)
        if skipping_ti is not None:
            return self._end(ti, TaskState.SKIPPED, Cause.BRANCH_NOT_TAKEN, {"by": str(skipping_ti)})
        if ti.map_index < 0 and self.dag.mapped_group[task.task_id] is not None:
            # A decision before the group's length is known would depend on the order of events.
            return self._wait_length(task, ti)
        setups_verdict, verdict = self._setups_verdict(task, ti), self._verdict(task, ti)
        if verdict is not Verdict.SKIP and self._may_be_skipped(ti):
            return self._wait_upstream(task, ti, Verdict.WAIT)
        if verdict in _END_STATES:
            return self._end_by_rule(task, ti, verdict, by_setups=setups_verdict is not Verdict.RUN)
        if verdict is not Verdict.RUN:
            return self._wait_upstream(task, ti, verdict)
        if self._outside_dates(task):
            return self._end(ti, TaskState.SKIPPED, Cause.OUTSIDE_TASK_DATES, {})
        return self._decide_start(task, ti)

    def _decide_start(self, task: TaskSpec, ti: Instance) -> TaskState:
        """The trigger rule is met: schedule the instance, or wait."""
        if ti.map_index < 0 and self.dag.length_expr(task.task_id) is not None:
            return self._wait_length(task, ti)
        if ti.state is TaskState.NONE:
            past = past_wait(self.snapshot, task)
            if past is not None:
                self.blocked = True
                return self._wait(ti, past)
        if self.snapshot.pause_applies:
            self.blocked = True
            return self._wait(ti, paused_wait(self.dag.dag_id))
        if ti.next_at is not None and ti.next_at > self.now:
            self.wake, self.progressing = earliest(self.wake, ti.next_at), True
            kind = "retry" if ti.state is TaskState.UP_FOR_RETRY else "reschedule"
            waits_for = f"try {ti.try_number + 1} of {ti.max_tries + 1}" if kind == "retry" else "its next check"
            return self._wait(ti, WaitReason(kind=kind, text=f"Waits for {waits_for}.", until=ti.next_at))
        return self._schedule(task, ti)

    def _schedule(self, task: TaskSpec, ti: Instance) -> TaskState:
        cause = _SCHEDULE_CAUSE[ti.state]
        changes: dict[str, object] = {"scheduled_at": self.now, "next_at": None}
        if ti.state is not TaskState.UP_FOR_RESCHEDULE:
            changes |= {"try_number": ti.try_number + 1, "start_date": None, "end_date": None, "reschedules": 0}
        self._move(ti, TaskState.SCHEDULED, cause, changes)
        if task.empty:
            return self._end_empty(replace(ti, state=TaskState.SCHEDULED))
        self.progressing = True
        return TaskState.SCHEDULED

    def _end_empty(self, ti: Instance) -> TaskState:
        self._move(ti, TaskState.SUCCESS, Cause.NOTHING_TO_DO, {"start_date": self.now, "end_date": self.now})
        return TaskState.SUCCESS

    # --- the rules

    def _skipping_instance(self, ti: Instance) -> TaskKey | None:
        """The branch or short circuit that has skipped the instance, if any."""
        if ti.state is not TaskState.NONE or not self.skipped_by:
            return None
        skipping_ti = self.skipped_by.get((ti.task_id, -1))
        return skipping_ti if skipping_ti is not None else self.skipped_by.get((ti.task_id, ti.map_index))

    def _may_be_skipped(self, ti: Instance) -> bool:
        """Whether an unfinished branch or short circuit may still skip the instance."""
        if ti.state is not TaskState.NONE:
            return False
        skipping_tasks = self.dag.skipping_tasks.get(ti.task_id)
        if skipping_tasks is None:
            return False
        group = self.dag.mapped_group[ti.task_id]
        if ti.map_index < 0 and group is not None:  # those inside the group skip each map index separately
            skipping_tasks = tuple(task_id for task_id in skipping_tasks if self.dag.mapped_group[task_id] != group)
        return bool(self._mask(skipping_tasks, ti) & UNFINISHED_BIT)

    def _verdict(self, task: TaskSpec, ti: Instance) -> Verdict:
        """The verdict of the setups in whose scope the instance lies; if that is RUN, of its trigger rule."""
        setups_verdict = self._setups_verdict(task, ti)
        return self._rule_verdict(task, ti) if setups_verdict is Verdict.RUN else setups_verdict

    def _setups_verdict(self, task: TaskSpec, ti: Instance) -> Verdict:
        setups = self.dag.setup_scope.get(task.task_id)
        return setup_verdict(self._mask(setups, ti)) if setups else Verdict.RUN

    def _rule_verdict(self, task: TaskSpec, ti: Instance) -> Verdict:
        if task.is_teardown:
            others = [up for up in task.upstream if up not in task.setups]
            return teardown_verdict(self._mask(task.setups, ti), self._mask(others, ti))
        return rule_verdict(task.trigger_rule, self._mask(task.upstream, ti))

    def _mask(self, upstream: Iterable[str], ti: Instance) -> int:
        """States of the instances upstream of ``ti``; in its mapped group only those of its map index."""
        group = self.dag.mapped_group[ti.task_id] if ti.map_index >= 0 else None
        mask = 0
        for up in upstream:
            if group is not None and self.dag.mapped_group[up] == group:
                mask |= self.index_masks.get((up, ti.map_index), self.masks.get(up, 0))
            else:
                mask |= self.masks.get(up, 0)
        return mask

    def _outside_dates(self, task: TaskSpec) -> bool:
        return is_outside_dates(task, self.snapshot.run.logical_date)

    # --- mapping

    def _expanded(self, task: TaskSpec, expr: Length, ti: Instance) -> list[Instance]:
        sources = tuple(length_sources(expr))
        if self._skipping_instance(ti) is not None or self._may_be_skipped(ti):
            return [ti]
        if task.expand is not None and sources and self._verdict(task, ti) is not Verdict.RUN:
            return [ti]
        length = length_of(expr, self._length)
        if length is None:
            no_length = self._no_length(sources)
            if no_length is None:
                return [ti]
            cause, target = no_length
            without_result = self._without_result(sources, ti)
            self._end(ti, target, cause, {"over": list(sources), **self._grounds(ti, without_result)})
            return [replace(ti, state=target)]
        if length == 0:
            self._end(ti, TaskState.SKIPPED, Cause.MAPPED_OVER_NOTHING, {"over": list(sources)})
            return [replace(ti, state=TaskState.SKIPPED)]
        tis = [replace(ti, map_index=index) for index in range(length)]
        self.ops.append(DropInstance(run=self.run, key=ti.key, at=self.now, length=length))
        self.ops.append(AddInstances(run=self.run, instances=tuple(tis), at=self.now))
        return tis

    def _resized(self, expr: Length, tis: list[Instance]) -> list[Instance]:
        """In a cleared run the length may have changed: add missing map indexes, remove surplus ones. If it is now 0,
        the instances are skipped, as in a first expansion: tasks downstream must not see another result."""
        tis = sorted(tis, key=lambda ti: ti.map_index)
        if not any(ti.state is TaskState.NONE for ti in tis) or not any(length_sources(expr)):
            return tis
        length = length_of(expr, self._length)
        if length is None:
            return tis
        resized = []
        for ti in tis:
            if length == 0 and ti.state is TaskState.NONE:
                self._end(ti, TaskState.SKIPPED, Cause.MAPPED_OVER_NOTHING, {"over": list(length_sources(expr))})
                ti = replace(ti, state=TaskState.SKIPPED)
            elif ti.map_index >= length and ti.state is TaskState.NONE:
                self._move(ti, TaskState.REMOVED, Cause.TASK_REMOVED, {"end_date": self.now})
                ti = replace(ti, state=TaskState.REMOVED)
            elif ti.map_index < length and ti.state is TaskState.REMOVED:
                self._move(ti, TaskState.NONE, Cause.TASK_RESTORED, {"end_date": None})
                ti = replace(ti, state=TaskState.NONE)
            resized.append(ti)
        task = self.dag.tasks[tis[0].task_id]
        added = [
            Instance(task_id=task.task_id, map_index=index, max_tries=max(task.retries, 0))
            for index in range(len(tis), length)
        ]
        if added:
            self.ops.append(AddInstances(run=self.run, instances=tuple(added), at=self.now))
        return resized + added

    def _length(self, task_id: str) -> int | None:
        tis = self.tis.get(task_id, [])
        if self.dag.length_expr(task_id) is None:
            return tis[0].length if tis and tis[0].state is TaskState.SUCCESS else None
        if any(ti.state in UNFINISHED for ti in tis) or (len(tis) == 1 and tis[0].map_index < 0):
            return None
        return sum(ti.length or 0 for ti in tis)

    def _no_length(self, sources: Iterable[str]) -> tuple[Cause, TaskState] | None:
        """Cause and state for a task whose length can never be known; None if it may still become known."""
        mask = 0
        for source in sources:
            mask |= self.masks.get(source, 0)
        if mask & mask_of(FAILED_STATES):
            return Cause.MAPPED_OVER_FAILURE, TaskState.UPSTREAM_FAILED
        if mask & UNFINISHED_BIT:
            return None
        if mask & mask_of((TaskState.SKIPPED, TaskState.REMOVED)):
            return Cause.MAPPED_OVER_SKIP, TaskState.SKIPPED
        return Cause.MAPPED_OVER_FAILURE, TaskState.UPSTREAM_FAILED

    # --- operations and reasons

    def _move(self, ti: Instance, target: TaskState, cause: Cause, changes: dict[str, object]) -> None:
        self._record(ti, target, cause, changes, {})

    def _end(self, ti: Instance, target: TaskState, cause: Cause, detail: dict[str, object]) -> TaskState:
        self._record(ti, target, cause, {"start_date": self.now, "end_date": self.now, "next_at": None}, detail)
        return target

    def _end_by_rule(self, task: TaskSpec, ti: Instance, verdict: Verdict, *, by_setups: bool) -> TaskState:
        target, cause = (_END_STATES_BY_SETUPS if by_setups else _END_STATES)[verdict]
        setups = self.dag.setup_scope[task.task_id] if by_setups else ()
        detail: dict[str, object] = {"setups": list(setups)} if by_setups else {"rule": task.trigger_rule}
        return self._end(ti, target, cause, {**detail, **self._grounds(ti, self._deciding(task, ti))})

    def _grounds(self, ti: Instance, deciding: Mapping[TaskKey, TaskState]) -> dict[str, object]:
        """For the history. ``upstream``: the instances that decide the end of ``ti``, with their states. ``roots``:
        those from which their states come, through chains of upstream_failed and of skips by trigger rules."""
        roots: dict[TaskKey, TaskState] = {}
        seen: set[TaskKey] = set()
        open_keys = dict(deciding)
        while open_keys:
            key, state = open_keys.popitem()
            if key in seen:
                continue
            seen.add(key)
            if key in self.roots:
                roots |= self.roots[key]
                continue
            further = self._deciding_state(key, state)
            open_keys |= further
            if not further:
                roots[key] = state
        self.roots[ti.key] = roots
        return {"upstream": _as_json(deciding), "roots": _as_json(roots)}

    def _deciding_state(self, key: TaskKey, state: TaskState) -> Mapping[TaskKey, TaskState]:
        """The upstream instances that gave a finished instance its state; none if its own code, a branch or a user
        did."""
        task = self.dag.tasks.get(key.task_id)
        if task is None or state not in (TaskState.UPSTREAM_FAILED, TaskState.SKIPPED):
            return {}
        ti = Instance(task_id=key.task_id, map_index=key.map_index)
        expr = self.dag.length_expr(key.task_id)
        if expr is not None and key.map_index < 0 and self._verdict(task, ti) is Verdict.RUN:
            return self._without_result(length_sources(expr), ti)
        verdict = self._verdict(task, ti)
        return self._deciding(task, ti) if verdict in _END_STATES and _END_STATES[verdict][0] is state else {}

    def _deciding(self, task: TaskSpec, ti: Instance) -> Mapping[TaskKey, TaskState]:
        """The finished upstream instances that decide that the instance is skipped or upstream_failed."""
        setups = self.dag.setup_scope.get(task.task_id, ())
        setups_verdict = self._setups_verdict(task, ti)
        if setups_verdict is Verdict.FAIL:
            return self._in_states(setups, ti, FAILED_STATES)
        if setups_verdict is Verdict.SKIP:
            return self._in_states(setups, ti, {TaskState.SKIPPED})
        if task.is_teardown:
            return self._in_states(task.setups, ti, FINISHED)
        upstream = self._in_states(task.upstream, ti, FINISHED)
        verdict = self._rule_verdict(task, ti)
        decisive = {
            state for state in upstream.values() if rule_verdict(task.trigger_rule, mask_of((state,))) is verdict
        }
        return {key: state for key, state in upstream.items() if not decisive or state in decisive}

    def _without_result(self, sources: Iterable[str], ti: Instance) -> dict[TaskKey, TaskState]:
        """The finished instances that give ``ti`` no length: those that did not succeed, or else all, because a task
        can succeed without a result."""
        sources = tuple(sources)
        not_successful = self._in_states(sources, ti, FINISHED - {TaskState.SUCCESS})
        return not_successful or self._in_states(sources, ti, FINISHED)

    def _in_states(
        self, task_ids: Iterable[str], ti: Instance, states: Collection[TaskState]
    ) -> dict[TaskKey, TaskState]:
        """The instances of these tasks in these states; in a mapped group only those of the map index of ``ti``."""
        group = self.dag.mapped_group[ti.task_id] if ti.map_index >= 0 else None
        found: dict[TaskKey, TaskState] = {}
        for task_id in task_ids:
            same_index = group is not None and self.dag.mapped_group[task_id] == group
            for other in self.tis.get(task_id, ()):
                state = self.decided.get(other.key, other.state)
                if state in states and not (same_index and other.map_index >= 0 and other.map_index != ti.map_index):
                    found[other.key] = state
        return found

    def _record(
        self, ti: Instance, target: TaskState, cause: Cause, changes: dict[str, object], detail: dict[str, object]
    ) -> None:
        self.decided[ti.key] = target
        self.ops.append(
            Move(
                run=self.run,
                key=ti.key,
                source=ti.state,
                target=target,
                cause=cause,
                at=self.now,
                changes=changes,
                detail=detail,
            )
        )

    def _wait(self, ti: Instance, reason: WaitReason) -> TaskState:
        if self.explain:
            self.waits[self.run, ti.key] = reason
        return ti.state

    def _wait_upstream(self, task: TaskSpec, ti: Instance, verdict: Verdict) -> TaskState:
        self.waiting.append(ti.key)
        if self.explain:
            return self._wait(ti, upstream_wait(self.dag, task, ti, self._current_states(), verdict))
        return ti.state

    def _wait_length(self, task: TaskSpec, ti: Instance) -> TaskState:
        self.waiting.append(ti.key)
        sources = ", ".join(length_sources(self.dag.length_expr(task.task_id) or ("lit", 0)))
        text = f"Waits for the result of {sources}, over which it is mapped."
        return self._wait(ti, WaitReason(kind="length", text=text))

    def _current_states(self) -> dict[TaskKey, TaskState]:
        states = {key: ti.state for key, ti in self.snapshot.instances.items()}
        for op in self.ops:
            if isinstance(op, Move):
                states[op.key] = op.target
        return states

    # --- the run

    def plan(self, deadline: datetime | None) -> Plan:
        unfinished = any(mask & UNFINISHED_BIT for mask in self.masks.values())
        if not unfinished:
            self.ops += self._end_by_leaves()
        elif not self.progressing and not self.blocked:
            detail: dict[str, object] = {"never_to_run": [str(key) for key in self.waiting]}
            self.ops += end_run(self.snapshot, RunState.FAILED, RunCause.DEADLOCKED, self.now, detail)
        else:
            self.wake = earliest(self.wake, deadline)
        return Plan(ops=tuple(self.ops), waits=self.waits, wake_at=self.wake)

    def _end_by_leaves(self) -> list[Op]:
        failed = [t for t in self.dag.effective_leaves if self.masks.get(t, 0) & mask_of(FAILED_STATES)]
        if failed:
            return end_run(self.snapshot, RunState.FAILED, RunCause.TASK_FAILED, self.now, {"failed": failed})
        dates = outside_dates(self.dag, self.snapshot.run.logical_date)
        if dates and all(self.masks.get(task_id) == BIT[TaskState.SKIPPED] for task_id in self.dag.tasks):
            return end_run(self.snapshot, RunState.SUCCESS, RunCause.OUTSIDE_DATES, self.now, dates)
        return end_run(self.snapshot, RunState.SUCCESS, RunCause.ALL_TASKS_DONE, self.now, {})


_END_STATES = {
    Verdict.SKIP: (TaskState.SKIPPED, Cause.RULE_SKIPS),
    Verdict.FAIL: (TaskState.UPSTREAM_FAILED, Cause.RULE_FAILS),
}
_END_STATES_BY_SETUPS = {
    Verdict.SKIP: (TaskState.SKIPPED, Cause.SETUP_SKIPPED),
    Verdict.FAIL: (TaskState.UPSTREAM_FAILED, Cause.SETUP_FAILED),
}
GROUNDS_STORED = 20
"""An event stores at most this many of the instances that decided it: a task may be mapped over thousands."""


def _as_json(states: Mapping[TaskKey, TaskState]) -> dict[str, str]:
    return {str(key): states[key].value for key in sorted(states)[:GROUNDS_STORED]}


_SCHEDULE_CAUSE = {
    TaskState.NONE: Cause.DEPENDENCIES_MET,
    TaskState.UP_FOR_RETRY: Cause.RETRY_DUE,
    TaskState.UP_FOR_RESCHEDULE: Cause.RESCHEDULE_DUE,
}

assert UNDECIDED | LIVE | {TaskState.SCHEDULED} == UNFINISHED
assert SUCCESS_STATES < FINISHED
