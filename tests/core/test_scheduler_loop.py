"""One look at everything active: what is looked at again, what is left as it is, and in which order."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from nbflow.core import events as ev
from nbflow.core import scheduler_loop
from nbflow.core.actions import first_instances
from nbflow.core.dispatch import RunLimits
from nbflow.core.react import react
from nbflow.core.scheduler_loop import (
    Active,
    Decision,
    View,
    decide_all,
    followed,
    joined,
    settled,
    with_another_past,
    without_runs,
)
from nbflow.core.snapshot import PreviousRun, Run, RunKey, Snapshot, TaskKey
from nbflow.core.spec import DagSpec, TaskSpec
from nbflow.core.states import RunState, TaskState

NOW = datetime(2024, 1, 1, tzinfo=UTC)
A = TaskKey("a")


@dataclass(frozen=True)
class Made:
    """What is needed of a store's attempt."""

    attempt_id: str
    run: RunKey
    key: TaskKey


def dag(**tasks: TaskSpec) -> DagSpec:
    return DagSpec(dag_id="d", tasks=tasks or {"a": TaskSpec(task_id="a")})


def run_of(spec: DagSpec, hour: int, **more: Any) -> Snapshot:
    """A queued run of the given hour."""
    at = NOW + timedelta(hours=hour)
    run = Run(dag_id="d", run_id=f"r{hour}", logical_date=at, run_after=at, **more)
    return Snapshot(dag=spec, run=run, instances={one.key: one for one in first_instances(spec)})


def view(active: Active, *, most: int = 16, **more: Any) -> View:
    limits = RunLimits(max_active_runs={"d": most}, backfills={1: 1})
    return View(active=active, run_limits=limits, pools={"default_pool": 128}, **more)


def attempts_of(decision: Decision) -> list[Made]:
    queued = [move for move in decision.plan.moves if move.target is TaskState.QUEUED]
    return [Made(f"{move.run.run_id}{move.key}", move.run, move.key) for move in queued]


def looked(active: Active, now: datetime = NOW, **more: Any) -> Active:
    """Decide and settle until there is nothing left to do."""
    while (decision := decide_all(view(active, **more), now)).plan.ops:
        active = settled(decision, attempts_of(decision))
    return decision.active


def states(active: Active) -> Mapping[str, list[str]]:
    return {key.run_id: [one.state.value for one in s.in_order()] for key, s in active.snapshots.items()}


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Run ids in the order in which runs are decided."""
    seen: list[str] = []
    real = scheduler_loop.plan_run

    def plan_run(snapshot: Snapshot, now: datetime, *, explain: bool = False) -> Any:
        seen.append(snapshot.run.run_id)
        return real(snapshot, now, explain=explain)

    monkeypatch.setattr(scheduler_loop, "plan_run", plan_run)
    return seen


def test_a_new_run_starts_is_decided_and_is_dispatched_in_one_plan() -> None:
    # Given a run that has just been made
    active = joined(Active(), [run_of(dag(), 0)])

    decision = decide_all(view(active), NOW)

    assert [(getattr(op, "key", None), op.source, op.target) for op in decision.plan.ops] == [  # type: ignore[union-attr]
        (None, RunState.QUEUED, RunState.RUNNING),
        (A, TaskState.NONE, TaskState.SCHEDULED),
        (A, TaskState.SCHEDULED, TaskState.QUEUED),
    ]
    assert decision.expect == {RunKey("d", "r0"): 0}
    assert decision.active.snapshots[RunKey("d", "r0")].run.revision == 1


def test_only_runs_that_have_changed_are_looked_at_again(counted: list[str]) -> None:
    # Given three runs, each with its task at work
    active = looked(joined(Active(), [run_of(dag(), hour) for hour in range(3)]))
    counted.clear()

    # When the task of one of them starts, and ends
    snapshot = active.snapshots[RunKey("d", "r1")]
    active = followed(active, react(snapshot, A, ev.Started(attempt_id="r1a", at=NOW)))
    decide_all(view(active), NOW)
    after_start = list(counted)
    snapshot = active.snapshots[RunKey("d", "r1")]
    active = followed(active, react(snapshot, A, ev.Succeeded(attempt_id="r1a", at=NOW)))
    decision = decide_all(view(active), NOW)

    # Then nothing is decided anew for its start, and only its run for its end
    assert after_start == []
    assert counted == ["r1"]
    assert decision.ended == (RunKey("d", "r1"),)
    assert RunKey("d", "r1") not in decision.active.snapshots


def test_a_run_is_looked_at_again_when_its_moment_comes(counted: list[str]) -> None:
    # Given a run of which the task waits for its second try
    spec = dag(a=TaskSpec(task_id="a", retries=1, retry_delay=60))
    active = looked(joined(Active(), [run_of(spec, 0)]))
    failed = ev.Failed(attempt_id="r0a", at=NOW)
    active = looked(followed(active, react(active.snapshots[RunKey("d", "r0")], A, failed)))
    due = decide_all(view(active), NOW).plan.wake_at
    counted.clear()

    decide_all(view(active), NOW + timedelta(seconds=59))
    decision = decide_all(view(active), NOW + timedelta(seconds=60))

    assert due == NOW + timedelta(seconds=60)
    assert counted == ["r0"]
    assert [move.target for move in decision.plan.moves] == [TaskState.SCHEDULED, TaskState.QUEUED]


def test_forgetting_the_looks_changes_no_decision() -> None:
    active = looked(joined(Active(), [run_of(dag(), hour) for hour in range(4)]), most=2, slots=1)
    fresh = replace(active, looks={})

    assert decide_all(view(fresh, most=2, slots=1), NOW).plan == decide_all(view(active, most=2, slots=1), NOW).plan


def test_slots_pools_and_runs_are_counted_over_all_runs_together() -> None:
    # Given four runs of which three may be active, two slots, and a pool in which one task fits
    spec = dag(a=TaskSpec(task_id="a", pool="one"), b=TaskSpec(task_id="b"))
    active = joined(Active(), [run_of(spec, hour) for hour in range(4)])
    limits = RunLimits(max_active_runs={"d": 3})

    decision = decide_all(View(active=active, run_limits=limits, pools={"one": 1, "default_pool": 128}, slots=2), NOW)
    explained = decide_all(
        View(active=decision.active, run_limits=limits, pools={"one": 1, "default_pool": 128}, slots=1),
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


def test_a_paused_dag_asks_for_no_slot_and_says_so() -> None:
    active = looked(joined(Active(), [run_of(dag(), 0)]), slots=0)
    paused = {key: replace(snapshot, paused=True) for key, snapshot in active.snapshots.items()}

    decision = decide_all(view(Active(snapshots=paused)), NOW, explain=True)

    assert decision.plan.ops == ()
    assert [wait.kind for wait in decision.plan.waits.values()] == ["paused"]


def test_a_backfill_that_runs_backwards_starts_with_its_latest_run() -> None:
    runs = [run_of(dag(), hour, backfill_id=1) for hour in range(3)]
    decision = decide_all(view(joined(Active(), runs), backwards=frozenset({1})), NOW)
    started = [key.run_id for key, s in decision.active.snapshots.items() if s.run.state is RunState.RUNNING]
    assert started == ["r2"]


def test_a_queued_run_in_other_hands_takes_no_place_from_ours() -> None:
    """Else two schedulers that hold one queued run each would wait for each other."""
    ours, theirs = run_of(dag(), 1), run_of(dag(), 0)
    waiting = scheduler_loop.Elsewhere(running=[theirs.run])
    at_work = scheduler_loop.Elsewhere(running=[replace(theirs.run, state=RunState.RUNNING)])

    assert states(looked(joined(Active(), [ours]), most=1, elsewhere=waiting)) == {"r1": ["queued"]}
    assert states(looked(joined(Active(), [ours]), most=1, elsewhere=at_work)) == {"r1": ["none"]}


def test_a_run_that_depends_on_its_past_sees_what_was_just_decided_for_it() -> None:
    # Given two runs of a task without code, of which the second was read when the first had not begun
    spec = dag(a=TaskSpec(task_id="a", empty=True, depends_on_past=True))
    before = PreviousRun(run_id="r0", states={"a": (TaskState.NONE,)}, ever=frozenset({"a"}))
    second = replace(run_of(spec, 1), previous=before)

    decision = decide_all(view(joined(Active(), [second, run_of(spec, 0)])), NOW)

    assert decision.ended == (RunKey("d", "r0"), RunKey("d", "r1"))


def keys(found: Iterable[RunKey]) -> list[str]:
    return [key.run_id for key in found]


def test_runs_that_a_new_one_comes_before_are_to_be_read_again() -> None:
    spec = dag(a=TaskSpec(task_id="a", depends_on_past=True))
    active = joined(Active(), [run_of(spec, hour) for hour in (1, 3)])
    assert keys(with_another_past(active, [run_of(spec, 2).run])) == ["r3"]
    assert keys(with_another_past(joined(Active(), [run_of(dag(), 3)]), [run_of(dag(), 2).run])) == []


def test_a_backfill_without_unfinished_runs_is_over() -> None:
    active = joined(Active(), [run_of(dag(), 0, backfill_id=1)])
    assert without_runs(active, [1, 2]) == [2]
