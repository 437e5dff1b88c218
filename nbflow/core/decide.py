"""``plan_run``: what should happen in one run now, and why the rest waits.

How it works
------------
One pass over the tasks in topological order. Whatever is decided for a task is seen by the tasks after it in the same
pass, and nothing a task waits for comes after it, so one pass is the fixed point: asked again at the same time, the
plan is empty (tested). The pass visits only instances that are the scheduler's to decide (none, up_for_retry,
up_for_reschedule); the others only lend their states.

For such an instance the questions are asked in a fixed order, and the first that settles it is its cause:

1. Did a task before it (a branch, a short circuit) choose another path?          -> skipped
   May one that has not ended yet?  -> wait, unless the questions below all say skipped
2. Did a setup in whose scope it lies fail, or get skipped?                       -> upstream_failed, skipped
3. What does its trigger rule say?                                                -> upstream_failed, skipped, or wait
4. Is the logical date inside its start_date and end_date?                        -> skipped
5. Does it look at its past, and did that succeed?                                -> wait
6. Is its retry or its next check due?                                            -> wait, with the time in ``wake_at``
7. Otherwise                                                                      -> scheduled

Mapped tasks: a task of a mapped *group* is expanded as soon as the length is known, and nothing is decided of it before
that, so that each map index goes its own way, whatever comes first. A task that is mapped *itself* over a result is
expanded when its trigger rule says run: if it is to be skipped or failed before that, it stays one row, as in Airflow.
A literal length is expanded when the run is made.

A run ends when no instance is unfinished: failed if an effective leaf failed, else success. If unfinished instances are
left that nothing can move (and none of them waits for an earlier run), it is deadlocked and ends as failed; those
instances stay ``none`` for ever, and the run's move names them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime, timedelta

from nbflow.core.plan import AddInstances, Callback, DropInstance, Move, Op, Plan, RunMove, advance, earliest
from nbflow.core.react import callbacks_of_ended, failure_ops
from nbflow.core.reason_texts import explain_live, past_wait, paused_wait, upstream_wait
from nbflow.core.reasons import WaitReason
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
from nbflow.core.trigger_rules import BIT, UNFINISHED_BIT, Verdict, mask_of, setup_verdict, teardown_verdict, verdict

UNDECIDED = frozenset({TaskState.NONE, TaskState.UP_FOR_RETRY, TaskState.UP_FOR_RESCHEDULE})


def plan_run(snapshot: Snapshot, now: datetime, *, explain: bool = False) -> Plan:
    """Decide one run at ``now`` (aware UTC). With ``explain`` the plan also says why each waiting instance waits; the
    decisions are the same."""
    run = snapshot.run
    if run.state in RUN_FINISHED:
        return Plan()
    if run.state is RunState.QUEUED:
        return Plan(
            run_waits={run.key: WaitReason(kind="run_queued", text="The run is queued: it has not been started yet.")}
        )
    deadline = _deadline(snapshot)
    if deadline is not None and deadline <= now:
        return _time_out(snapshot, now)
    overdue, snapshot = _time_out_deferrals(snapshot, now)
    this = _Pass(snapshot, now, explain=explain)
    for task in snapshot.dag.tasks.values():
        this.visit(task)
    plan = this.plan(deadline)
    return replace(plan, ops=(*overdue, *plan.ops)) if overdue else plan


def _deadline(snapshot: Snapshot) -> datetime | None:
    timeout, start = snapshot.dag.dagrun_timeout, snapshot.run.start_date
    return start + timedelta(seconds=timeout) if timeout is not None and start is not None else None


def _time_out(snapshot: Snapshot, now: datetime) -> Plan:
    """dagrun_timeout: the run fails and whatever is unfinished in it is skipped, as in Airflow; live work is killed
    because its attempt is no longer current."""
    run, timeout = snapshot.run, snapshot.dag.dagrun_timeout
    ops: list[Op] = [
        Move(
            run=run.key,
            key=one.key,
            source=one.state,
            target=TaskState.SKIPPED,
            cause=Cause.RUN_TIMED_OUT,
            at=now,
            changes={"attempt_id": None, "end_date": now, "next_at": None},
        )
        for one in snapshot.in_order()
        if one.state in UNFINISHED
    ]
    ops += callbacks_of_ended(snapshot, ops)
    ops += end_run(snapshot, RunState.FAILED, RunCause.TIMED_OUT, now, {"dagrun_timeout": timeout})
    return Plan(ops=tuple(ops))


def _time_out_deferrals(snapshot: Snapshot, now: datetime) -> tuple[list[Op], Snapshot]:
    """Fail the instances whose triggers did not fire in time; and the run after that. It comes before the pass, not
    in it: such a failure can end other instances too (fail_fast), among them ones that the pass has left behind."""
    ops: list[Op] = []
    late = sorted(one.key for one in snapshot.instances.values() if _is_overdue(one, now))
    for key in late:
        one = snapshot.instances[key]
        if _is_overdue(one, now):  # the one before it may have ended it
            error = "TaskDeferralTimeout: the trigger did not fire in time"
            task = snapshot.dag.tasks[key.task_id]
            failed = failure_ops(snapshot, task, one, Cause.TRIGGER_TIMEOUT, now, error=error)
            ops += failed
            snapshot = advance(snapshot, failed)
    return ops, snapshot


def _is_overdue(one: Instance, now: datetime) -> bool:
    return one.state is TaskState.DEFERRED and one.next_at is not None and one.next_at <= now


def end_run(snapshot: Snapshot, state: RunState, cause: RunCause, now: datetime, detail: dict[str, object]) -> list[Op]:
    """The run's last move, and the callback intent that goes with it."""
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


class _Pass:
    """One walk over the run. It collects operations and waits, and holds the states as they become."""

    def __init__(self, snapshot: Snapshot, now: datetime, *, explain: bool) -> None:
        self.snapshot, self.now, self.explain = snapshot, now, explain
        self.dag, self.run = snapshot.dag, snapshot.run.key
        self.ops: list[Op] = []
        self.waits: dict[tuple[RunKey, TaskKey], WaitReason] = {}
        self.wake: datetime | None = None
        self.ones: dict[str, list[Instance]] = {}
        self.masks: dict[str, int] = {}
        """task -> states of all its instances."""
        self.index_masks: dict[tuple[str, int], int] = {}
        """(task, map index) -> state, for tasks of mapped groups."""
        self.not_taken: dict[tuple[str, int], TaskKey] = {}
        """(task, map index or -1 for all) -> who decided to skip it."""
        self.moving = False
        """Something in the run goes on by itself: it is with an executor, or waits only for a time or a slot."""
        self.held = False
        """Something waits for an earlier run, or for the DAG to be unpaused: no deadlock."""
        self.stuck: list[TaskKey] = []
        for one in snapshot.instances.values():
            if one.state is TaskState.REMOVED and self._had_another_shape(one):
                continue
            self.ones.setdefault(one.task_id, []).append(one)
            if one.skips and one.state is TaskState.SUCCESS:
                self._note_skips(one)

    def _had_another_shape(self, one: Instance) -> bool:
        """It is left from a version in which its task was mapped, or was not: it says nothing to this one's tasks."""
        known = one.task_id in self.dag.tasks
        return known and (one.map_index >= 0) is (self.dag.length_expr(one.task_id) is None)

    def _note_skips(self, decider: Instance) -> None:
        groups = self.dag.mapped_group
        group = groups.get(decider.task_id)
        for target in decider.skips:
            same = group is not None and groups.get(target) == group
            self.not_taken[target, decider.map_index if same else -1] = decider.key

    # --- one task

    def visit(self, task: TaskSpec) -> None:
        ones = self.ones.get(task.task_id)
        if ones is None:
            return
        if len(ones) == 1 and ones[0].map_index < 0 and ones[0].state in FINISHED:
            self.masks[task.task_id] = BIT[ones[0].state]  # most of a run, most of the time
            return
        expr = self.dag.length_expr(task.task_id)
        if expr is not None and ones[0].map_index < 0 and ones[0].state is TaskState.NONE:
            ones = self._expanded(task, expr, ones[0])
        elif expr is not None and ones[0].map_index >= 0:
            ones = self._revised(expr, ones)
        in_mapped_group = self.dag.mapped_group[task.task_id] is not None
        states: set[TaskState] = set()
        for one in ones:
            state = one.state
            if state in UNDECIDED:
                state = self._decide(task, one)
            elif state is TaskState.SCHEDULED and task.empty:
                state = self._end_empty(one)
            elif state in UNFINISHED:
                state = self._live(one)
            states.add(state)
            if in_mapped_group:
                self.index_masks[task.task_id, one.map_index] = mask_of((state,))
        self.masks[task.task_id] = mask_of(states)
        self.ones[task.task_id] = ones

    def _live(self, one: Instance) -> TaskState:
        if one.state is TaskState.DEFERRED:
            self.wake = earliest(self.wake, one.next_at)
        self.moving = True
        if self.explain:
            self.waits[self.run, one.key] = explain_live(one)
        return one.state

    def _decide(self, task: TaskSpec, one: Instance) -> TaskState:
        decider = self._chosen_away(one)
        if decider is not None:
            return self._end(one, TaskState.SKIPPED, Cause.BRANCH_NOT_TAKEN, {"by": str(decider)})
        if one.map_index < 0 and self.dag.mapped_group[task.task_id] is not None:
            # Decided before its group's length is known, it would depend on what came first.
            return self._wait_length(task, one)
        scope, said = self._scope(task, one), self._said(task, one)
        if said is not Verdict.SKIP and self._may_be_chosen_away(one):
            return self._wait_upstream(task, one, Verdict.WAIT)
        if said in _ENDS:
            setups = self.dag.setup_scope[task.task_id] if scope is not Verdict.RUN else ()
            return self._rule_end(task, one, said, {"setups": list(setups)} if setups else {})
        if said is not Verdict.RUN:
            return self._wait_upstream(task, one, said)
        if self._outside_dates(task):
            return self._end(one, TaskState.SKIPPED, Cause.OUTSIDE_TASK_DATES, {})
        return self._when_rule_is_met(task, one)

    def _when_rule_is_met(self, task: TaskSpec, one: Instance) -> TaskState:
        if one.map_index < 0 and self.dag.length_expr(task.task_id) is not None:
            return self._wait_length(task, one)
        if one.state is TaskState.NONE:
            past = past_wait(self.snapshot, task)
            if past is not None:
                self.held = True
                return self._wait(one, past)
        if self.snapshot.held:
            self.held = True
            return self._wait(one, paused_wait(self.dag.dag_id))
        if one.next_at is not None and one.next_at > self.now:
            self.wake, self.moving = earliest(self.wake, one.next_at), True
            kind = "retry" if one.state is TaskState.UP_FOR_RETRY else "reschedule"
            what = f"try {one.try_number + 1} of {one.max_tries + 1}" if kind == "retry" else "its next check"
            return self._wait(one, WaitReason(kind=kind, text=f"Waits for {what}.", until=one.next_at))
        return self._schedule(task, one)

    def _schedule(self, task: TaskSpec, one: Instance) -> TaskState:
        cause = _SCHEDULE_CAUSE[one.state]
        changes: dict[str, object] = {"scheduled_at": self.now, "next_at": None}
        if one.state is not TaskState.UP_FOR_RESCHEDULE:
            changes |= {"try_number": one.try_number + 1, "start_date": None, "end_date": None, "reschedules": 0}
        self._move(one, TaskState.SCHEDULED, cause, changes)
        if task.empty:
            return self._end_empty(replace(one, state=TaskState.SCHEDULED))
        self.moving = True
        return TaskState.SCHEDULED

    def _end_empty(self, one: Instance) -> TaskState:
        self._move(one, TaskState.SUCCESS, Cause.NOTHING_TO_DO, {"start_date": self.now, "end_date": self.now})
        return TaskState.SUCCESS

    # --- the questions

    def _chosen_away(self, one: Instance) -> TaskKey | None:
        if one.state is not TaskState.NONE or not self.not_taken:
            return None
        everywhere = self.not_taken.get((one.task_id, -1))
        return everywhere if everywhere is not None else self.not_taken.get((one.task_id, one.map_index))

    def _may_be_chosen_away(self, one: Instance) -> bool:
        """Whether a task that has not ended may yet skip it. Then it waits, unless it is to be skipped in any case."""
        if one.state is not TaskState.NONE:
            return False
        deciders = self.dag.steered_by.get(one.task_id)
        if deciders is None:
            return False
        group = self.dag.mapped_group[one.task_id]
        if one.map_index < 0 and group is not None:  # each index will look at its own of those inside the group
            deciders = tuple(decider for decider in deciders if self.dag.mapped_group[decider] != group)
        return bool(self._mask(deciders, one) & UNFINISHED_BIT)

    def _said(self, task: TaskSpec, one: Instance) -> Verdict:
        """Of the setups in whose scope it lies, and if they let it, of its rule."""
        scope = self._scope(task, one)
        return self._verdict(task, one) if scope is Verdict.RUN else scope

    def _scope(self, task: TaskSpec, one: Instance) -> Verdict:
        setups = self.dag.setup_scope.get(task.task_id)
        return setup_verdict(self._mask(setups, one)) if setups else Verdict.RUN

    def _verdict(self, task: TaskSpec, one: Instance) -> Verdict:
        if task.is_teardown:
            others = [up for up in task.upstream if up not in task.setups]
            return teardown_verdict(self._mask(task.setups, one), self._mask(others, one))
        return verdict(task.trigger_rule, self._mask(task.upstream, one))

    def _mask(self, upstream: Iterable[str], one: Instance) -> int:
        """States of the instances that ``one`` looks at: in its own mapped group only those of its map index."""
        group = self.dag.mapped_group[one.task_id] if one.map_index >= 0 else None
        mask = 0
        for up in upstream:
            if group is not None and self.dag.mapped_group[up] == group:
                mask |= self.index_masks.get((up, one.map_index), self.masks.get(up, 0))
            else:
                mask |= self.masks.get(up, 0)
        return mask

    def _outside_dates(self, task: TaskSpec) -> bool:
        at = self.snapshot.run.logical_date
        if at is None:
            return False
        too_early = task.start_date is not None and at < task.start_date
        return too_early or (task.end_date is not None and at > task.end_date)

    # --- mapping

    def _expanded(self, task: TaskSpec, expr: Length, one: Instance) -> list[Instance]:
        sources = tuple(length_sources(expr))
        if self._chosen_away(one) is not None or self._may_be_chosen_away(one):
            return [one]
        if task.expand is not None and sources and self._said(task, one) is not Verdict.RUN:
            return [one]
        length = length_of(expr, self._length)
        if length is None:
            blocked = self._no_length(sources)
            if blocked is None:
                return [one]
            cause, target = blocked
            self._end(one, target, cause, {"over": list(sources)})
            return [replace(one, state=target)]
        if length == 0:
            self._end(one, TaskState.SKIPPED, Cause.MAPPED_OVER_NOTHING, {"over": list(sources)})
            return [replace(one, state=TaskState.SKIPPED)]
        ones = [replace(one, map_index=index) for index in range(length)]
        self.ops.append(DropInstance(run=self.run, key=one.key, at=self.now, length=length))
        self.ops.append(AddInstances(run=self.run, instances=tuple(ones), at=self.now))
        return ones

    def _revised(self, expr: Length, ones: list[Instance]) -> list[Instance]:
        """A cleared run may give another length: missing map indexes are added, surplus ones are removed."""
        ones = sorted(ones, key=lambda one: one.map_index)
        if not any(one.state is TaskState.NONE for one in ones) or not any(length_sources(expr)):
            return ones
        length = length_of(expr, self._length)
        if length is None:
            return ones
        found = []
        for one in ones:
            if one.map_index >= length and one.state is TaskState.NONE:
                self._move(one, TaskState.REMOVED, Cause.TASK_REMOVED, {"end_date": self.now})
                one = replace(one, state=TaskState.REMOVED)
            elif one.map_index < length and one.state is TaskState.REMOVED:
                self._move(one, TaskState.NONE, Cause.TASK_RESTORED, {"end_date": None})
                one = replace(one, state=TaskState.NONE)
            found.append(one)
        task = self.dag.tasks[ones[0].task_id]
        added = [
            Instance(task_id=task.task_id, map_index=index, max_tries=max(task.retries, 0))
            for index in range(len(ones), length)
        ]
        if added:
            self.ops.append(AddInstances(run=self.run, instances=tuple(added), at=self.now))
        return found + added

    def _length(self, task_id: str) -> int | None:
        ones = self.ones.get(task_id, [])
        if self.dag.length_expr(task_id) is None:
            return ones[0].length if ones and ones[0].state is TaskState.SUCCESS else None
        if any(one.state in UNFINISHED for one in ones) or (len(ones) == 1 and ones[0].map_index < 0):
            return None
        return sum(one.length or 0 for one in ones)

    def _no_length(self, sources: Iterable[str]) -> tuple[Cause, TaskState] | None:
        """Why a length will never be known, if it will not."""
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

    # --- what comes of it

    def _move(self, one: Instance, target: TaskState, cause: Cause, changes: dict[str, object]) -> None:
        self._record(one, target, cause, changes, {})

    def _end(self, one: Instance, target: TaskState, cause: Cause, detail: dict[str, object]) -> TaskState:
        self._record(one, target, cause, {"start_date": self.now, "end_date": self.now, "next_at": None}, detail)
        return target

    def _rule_end(self, task: TaskSpec, one: Instance, said: Verdict, detail: dict[str, object]) -> TaskState:
        target, cause = _ENDS[said]
        return self._end(one, target, cause, {"rule": task.trigger_rule, **detail})

    def _record(
        self, one: Instance, target: TaskState, cause: Cause, changes: dict[str, object], detail: dict[str, object]
    ) -> None:
        self.ops.append(
            Move(
                run=self.run,
                key=one.key,
                source=one.state,
                target=target,
                cause=cause,
                at=self.now,
                changes=changes,
                detail=detail,
            )
        )

    def _wait(self, one: Instance, why: WaitReason) -> TaskState:
        if self.explain:
            self.waits[self.run, one.key] = why
        return one.state

    def _wait_upstream(self, task: TaskSpec, one: Instance, said: Verdict) -> TaskState:
        self.stuck.append(one.key)
        if self.explain:
            return self._wait(one, upstream_wait(self.dag, task, one, self._now_states(), said))
        return one.state

    def _wait_length(self, task: TaskSpec, one: Instance) -> TaskState:
        self.stuck.append(one.key)
        over = ", ".join(length_sources(self.dag.length_expr(task.task_id) or ("lit", 0)))
        return self._wait(
            one, WaitReason(kind="length", text=f"Waits for the list from {over} that it is mapped over.")
        )

    def _now_states(self) -> dict[TaskKey, TaskState]:
        states = {key: one.state for key, one in self.snapshot.instances.items()}
        for op in self.ops:
            if isinstance(op, Move):
                states[op.key] = op.target
        return states

    # --- the run

    def plan(self, deadline: datetime | None) -> Plan:
        unfinished = any(mask & UNFINISHED_BIT for mask in self.masks.values())
        if not unfinished:
            self.ops += self._leaf_verdict()
        elif not self.moving and not self.held:
            names = [str(key) for key in self.stuck]
            detail: dict[str, object] = {"never_to_run": names}
            self.ops += end_run(self.snapshot, RunState.FAILED, RunCause.DEADLOCKED, self.now, detail)
        else:
            self.wake = earliest(self.wake, deadline)
        return Plan(ops=tuple(self.ops), waits=self.waits, wake_at=self.wake)

    def _leaf_verdict(self) -> list[Op]:
        failed = [t for t in self.dag.effective_leaves if self.masks.get(t, 0) & mask_of(FAILED_STATES)]
        if failed:
            return end_run(self.snapshot, RunState.FAILED, RunCause.TASK_FAILED, self.now, {"failed": failed})
        return end_run(self.snapshot, RunState.SUCCESS, RunCause.ALL_TASKS_DONE, self.now, {})


_ENDS = {
    Verdict.SKIP: (TaskState.SKIPPED, Cause.RULE_SKIPS),
    Verdict.FAIL: (TaskState.UPSTREAM_FAILED, Cause.RULE_FAILS),
}
_SCHEDULE_CAUSE = {
    TaskState.NONE: Cause.DEPENDENCIES_MET,
    TaskState.UP_FOR_RETRY: Cause.RETRY_DUE,
    TaskState.UP_FOR_RESCHEDULE: Cause.RESCHEDULE_DUE,
}

assert UNDECIDED | LIVE | {TaskState.SCHEDULED} == UNFINISHED
assert SUCCESS_STATES < FINISHED
