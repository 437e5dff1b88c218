"""The decisions of one scheduler loop: which runs are decided again, which are not, and in which order."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from nbflow.core import attempt_events as ev
from nbflow.core import scheduler_decision
from nbflow.core.dispatch import RunLimits
from nbflow.core.event_handlers import handle_event
from nbflow.core.plan import RunMove
from nbflow.core.run_changes import first_instances
from nbflow.core.scheduler_decision import (
    ActiveRuns,
    LoopDecision,
    LoopInput,
    after_plan,
    decide_all,
    finished_backfills,
    runs_with_new_predecessor,
    uses_shared_limits,
    with_attempts,
    with_snapshots,
)
from nbflow.core.snapshot import PreviousRun, Run, RunKey, Snapshot, TaskKey
from nbflow.core.spec import DagSpec, TaskSpec
from nbflow.core.states import RunState, TaskState

NOW = datetime(2024, 1, 1, tzinfo=UTC)
A = TaskKey("a")


@dataclass(frozen=True)
class AttemptStub:
    """The attributes of a store's attempt that ``with_attempts`` uses."""

    attempt_id: str
    run: RunKey
    key: TaskKey


def dag(**tasks: TaskSpec) -> DagSpec:
    return DagSpec(dag_id="d", tasks=tasks or {"a": TaskSpec(task_id="a")})


def run_of(spec: DagSpec, hour: int, **more: Any) -> Snapshot:
    """A queued run of the given hour."""
    at = NOW + timedelta(hours=hour)
    run = Run(dag_id="d", run_id=f"r{hour}", logical_date=at, run_after=at, **more)
    return Snapshot(dag=spec, run=run, instances={ti.key: ti for ti in first_instances(spec)})


def loop_input(active: ActiveRuns, *, max_active_runs: int = 16, **more: Any) -> LoopInput:
    limits = RunLimits(max_active_runs={"d": max_active_runs}, backfills={1: 1})
    return LoopInput(active=active, run_limits=limits, pools={"default_pool": 128}, **more)


def attempts_of(decision: LoopDecision) -> list[AttemptStub]:
    queued = [move for move in decision.plan.moves if move.target is TaskState.QUEUED]
    return [AttemptStub(f"{move.run.run_id}{move.key}", move.run, move.key) for move in queued]


def decided(active: ActiveRuns, now: datetime = NOW, **more: Any) -> ActiveRuns:
    """The runs after loops until nothing changes."""
    while (decision := decide_all(loop_input(active, **more), now)).plan.ops:
        active = with_attempts(decision, attempts_of(decision))
    return decision.active


def states(active: ActiveRuns) -> Mapping[str, list[str]]:
    return {key.run_id: [ti.state.value for ti in s.in_order()] for key, s in active.snapshots.items()}


@pytest.fixture
def decided_ids(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Run ids in the order in which runs are decided."""
    run_ids: list[str] = []
    real = scheduler_decision.plan_run

    def plan_run(snapshot: Snapshot, now: datetime, *, explain: bool = False) -> Any:
        run_ids.append(snapshot.run.run_id)
        return real(snapshot, now, explain=explain)

    monkeypatch.setattr(scheduler_decision, "plan_run", plan_run)
    return run_ids


def test_a_new_run_starts_is_decided_and_is_dispatched_in_one_plan() -> None:
    # Given a run that has just been created
    active = with_snapshots(ActiveRuns(), [run_of(dag(), 0)])

    decision = decide_all(loop_input(active), NOW)

    assert [(getattr(op, "key", None), op.source, op.target) for op in decision.plan.ops] == [  # type: ignore[union-attr]
        (None, RunState.QUEUED, RunState.RUNNING),
        (A, TaskState.NONE, TaskState.SCHEDULED),
        (A, TaskState.SCHEDULED, TaskState.QUEUED),
    ]
    assert decision.expect == {RunKey("d", "r0"): 0}
    assert decision.active.snapshots[RunKey("d", "r0")].run.revision == 1


def test_only_runs_that_have_changed_are_decided_again(decided_ids: list[str]) -> None:
    # Given three runs, each with a queued task
    active = decided(with_snapshots(ActiveRuns(), [run_of(dag(), hour) for hour in range(3)]))
    decided_ids.clear()

    # When the task of one of them starts, and ends
    snapshot = active.snapshots[RunKey("d", "r1")]
    active = after_plan(active, handle_event(snapshot, A, ev.Started(attempt_id="r1a", at=NOW)))
    decide_all(loop_input(active), NOW)
    after_start = list(decided_ids)
    snapshot = active.snapshots[RunKey("d", "r1")]
    active = after_plan(active, handle_event(snapshot, A, ev.Succeeded(attempt_id="r1a", at=NOW)))
    decision = decide_all(loop_input(active), NOW)

    # Then no run is decided again for its start, and only its run for its end
    assert after_start == []
    assert decided_ids == ["r1"]
    assert decision.ended == (RunKey("d", "r1"),)
    assert RunKey("d", "r1") not in decision.active.snapshots


def test_a_run_is_decided_again_at_its_wake_time(decided_ids: list[str]) -> None:
    # Given a run whose task waits for its second try
    spec = dag(a=TaskSpec(task_id="a", retries=1, retry_delay=60))
    active = decided(with_snapshots(ActiveRuns(), [run_of(spec, 0)]))
    failed = ev.Failed(attempt_id="r0a", at=NOW)
    active = decided(after_plan(active, handle_event(active.snapshots[RunKey("d", "r0")], A, failed)))
    due = decide_all(loop_input(active), NOW).plan.wake_at
    decided_ids.clear()

    decide_all(loop_input(active), NOW + timedelta(seconds=59))
    decision = decide_all(loop_input(active), NOW + timedelta(seconds=60))

    assert due == NOW + timedelta(seconds=60)
    assert decided_ids == ["r0"]
    assert [move.target for move in decision.plan.moves] == [TaskState.SCHEDULED, TaskState.QUEUED]


def test_losing_the_evaluations_changes_no_decision() -> None:
    active = decided(
        with_snapshots(ActiveRuns(), [run_of(dag(), hour) for hour in range(4)]), max_active_runs=2, slots=1
    )
    without = replace(active, evaluations={})

    assert (
        decide_all(loop_input(without, max_active_runs=2, slots=1), NOW).plan
        == decide_all(loop_input(active, max_active_runs=2, slots=1), NOW).plan
    )


def test_slots_pools_and_runs_are_counted_over_all_runs_together() -> None:
    # Given four runs of which three may be active, two executor slots, and a pool with one slot
    spec = dag(a=TaskSpec(task_id="a", pool="one"), b=TaskSpec(task_id="b"))
    active = with_snapshots(ActiveRuns(), [run_of(spec, hour) for hour in range(4)])
    limits = RunLimits(max_active_runs={"d": 3})

    decision = decide_all(
        LoopInput(active=active, run_limits=limits, pools={"one": 1, "default_pool": 128}, slots=2), NOW
    )
    explained = decide_all(
        LoopInput(active=decision.active, run_limits=limits, pools={"one": 1, "default_pool": 128}, slots=1),
        NOW,
        explain=True,
    )

    assert states(decision.active) == {
        "r0": ["queued", "queued"],
        "r1": ["scheduled", "scheduled"],
        "r2": ["scheduled", "scheduled"],
        "r3": ["none", "none"],
    }
    assert {key.run_id: wait.kind for key, wait in explained.plan.run_waits.items()} == {"r3": "max_active_runs"}
    assert {f"{run.run_id}{key}": wait.kind for (run, key), wait in explained.plan.waits.items()} == {
        "r0a": "executor",
        "r0b": "executor",
        "r1a": "pool",
        "r1b": "executor",
        "r2a": "slot",
        "r2b": "slot",
    }


def test_tasks_of_a_paused_dag_are_not_dispatched_and_have_the_reason() -> None:
    active = decided(with_snapshots(ActiveRuns(), [run_of(dag(), 0)]), slots=0)
    paused = {key: replace(snapshot, paused=True) for key, snapshot in active.snapshots.items()}

    decision = decide_all(loop_input(ActiveRuns(snapshots=paused)), NOW, explain=True)

    assert decision.plan.ops == ()
    assert [wait.kind for wait in decision.plan.waits.values()] == ["paused"]


def test_a_backfill_that_runs_backwards_starts_with_its_latest_run() -> None:
    runs = [run_of(dag(), hour, backfill_id=1) for hour in range(3)]
    decision = decide_all(loop_input(with_snapshots(ActiveRuns(), runs), backwards=frozenset({1})), NOW)
    started = [key.run_id for key, s in decision.active.snapshots.items() if s.run.state is RunState.RUNNING]
    assert started == ["r2"]


def test_a_queued_run_of_another_scheduler_does_not_count_under_max_active_runs() -> None:
    """Otherwise two schedulers with one queued run each would wait for each other."""
    run, other_run = run_of(dag(), 1), run_of(dag(), 0)
    queued = scheduler_decision.OtherSchedulers(running=[other_run.run])
    running = scheduler_decision.OtherSchedulers(running=[replace(other_run.run, state=RunState.RUNNING)])

    assert states(decided(with_snapshots(ActiveRuns(), [run]), max_active_runs=1, other_schedulers=queued)) == {
        "r1": ["queued"]
    }
    assert states(decided(with_snapshots(ActiveRuns(), [run]), max_active_runs=1, other_schedulers=running)) == {
        "r1": ["none"]
    }


def test_a_loop_that_can_neither_start_nor_dispatch_needs_no_lock_of_the_shared_limits() -> None:
    # Given a run that is queued, and the same run once its task is queued
    queued = with_snapshots(ActiveRuns(), [run_of(dag(), 0)])
    dispatched = decided(queued)
    changed = ActiveRuns(snapshots=dispatched.snapshots)

    # Then its start needs the lock, and a changed run does while a slot is free
    assert uses_shared_limits(loop_input(queued, slots=0), NOW)
    assert not uses_shared_limits(loop_input(dispatched), NOW)
    assert uses_shared_limits(loop_input(changed, slots=1), NOW)
    assert not uses_shared_limits(loop_input(changed, slots=0), NOW)


def test_a_run_that_depends_on_its_past_sees_the_states_just_decided_for_its_predecessor() -> None:
    # Given two runs of a task without code; the second was read before the first had started
    spec = dag(a=TaskSpec(task_id="a", empty=True, depends_on_past=True))
    previous = PreviousRun(run_id="r0", states={"a": (TaskState.NONE,)}, known_tasks=frozenset({"a"}))
    second = replace(run_of(spec, 1), previous=previous)

    decision = decide_all(loop_input(with_snapshots(ActiveRuns(), [second, run_of(spec, 0)])), NOW)

    assert decision.ended == (RunKey("d", "r0"), RunKey("d", "r1"))


def waiting_for(spec: DagSpec, hour: int, **states: TaskState) -> Snapshot:
    """A running run whose tasks have these states; its previous run has not done anything."""
    previous = PreviousRun(run_id=f"r{hour - 1}", states={"a": (TaskState.NONE,)}, known_tasks=frozenset({"a"}))
    run = run_of(spec, hour, state=RunState.RUNNING)
    tis = {ti.key: replace(ti, state=states.get(ti.task_id, ti.state)) for ti in run.instances.values()}
    return replace(run, previous=previous, instances=tis)


@pytest.mark.parametrize(
    ("c", "expected"),
    [
        (TaskState.SUCCESS, [("r3", "queued")]),
        (TaskState.RUNNING, []),
        (TaskState.UP_FOR_RETRY, []),
    ],
)
def test_a_run_that_can_do_nothing_gives_its_place_to_an_earlier_run(
    c: TaskState, expected: list[tuple[str, str]]
) -> None:
    # Given two queued runs, and a later run in the only place that waits for the second of them, except its task c
    spec = dag(a=TaskSpec(task_id="a", depends_on_past=True), c=TaskSpec(task_id="c"))
    active = with_snapshots(ActiveRuns(), [run_of(spec, 1), run_of(spec, 2), waiting_for(spec, 3, c=c)])

    # When the runs are decided with one place
    decision = decide_all(loop_input(active, max_active_runs=1), NOW)

    # Then the last one is queued again, unless it can still do something
    moves = [(op.run.run_id, op.target.value) for op in decision.plan.ops if isinstance(op, RunMove)]
    assert moves == expected


def run_ids(keys: Iterable[RunKey]) -> list[str]:
    return [key.run_id for key in keys]


def test_runs_that_a_new_run_precedes_are_to_be_read_again() -> None:
    spec = dag(a=TaskSpec(task_id="a", depends_on_past=True))
    active = with_snapshots(ActiveRuns(), [run_of(spec, hour) for hour in (1, 3)])
    assert run_ids(runs_with_new_predecessor(active, [run_of(spec, 2).run])) == ["r3"]
    active = with_snapshots(ActiveRuns(), [run_of(dag(), 3)])
    assert run_ids(runs_with_new_predecessor(active, [run_of(dag(), 2).run])) == []


def test_a_backfill_without_unfinished_runs_is_completed() -> None:
    active = with_snapshots(ActiveRuns(), [run_of(dag(), 0, backfill_id=1)])
    assert finished_backfills(active, [1, 2]) == [2]
