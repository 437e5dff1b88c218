"""Several schedulers on one metastore: schedules of faults that broke a promise once, shrunk."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta

from nbflow.core.snapshot import TaskKey
from nbflow.core.spec import DagSpec, TaskSpec
from nbflow.core.states import RunState, TaskState
from nbflow.sim import At, Behaviour, ScriptedOutcomes, World
from nbflow.sim.fault_schedule import Draw, FaultSchedule, Script
from nbflow.sim.random_dags import POOLS
from nbflow.sim.world import SLOW_BEATS
from tests.sim.shapes import chain, dag_of, utc

START = utc(2024, 1, 1)
DUE = START + timedelta(hours=1)
"""The first run of an hourly DAG."""
STALLED = At("s1", "heartbeat", 3, "stall", 40.0)
"""For longer than the lease of a run (30 s), for less than the lease of an attempt (60 s)."""


def world_of_a_stall(*more: At, seconds: float = 600.0) -> World:
    """Two schedulers; the first, which runs the only task, stalls while the second takes over the run."""
    outcomes = ScriptedOutcomes(default=Behaviour(seconds=seconds))
    return World([chain(1)], start=START, schedulers=2, outcomes=outcomes, faults=Script([STALLED, *more]))


def causes(world: World) -> list[str]:
    """The causes of the moves of the first run's task."""
    [run] = world.store.runs("d", newest_first=False)[-1:]
    return [event.cause for event in world.store.events(run=run.key, key=TaskKey("t0"))]


def finish(world: World, until: timedelta = timedelta(minutes=55)) -> World:
    world.run_until(DUE + until)
    world.drain()
    world.close()
    return world


# --- a try outlives its scheduler's lease of the run


def test_a_task_outlives_its_schedulers_lease_of_the_run() -> None:
    # Given two schedulers, of which the owner of a task of 600 s stalls for 40 s
    world = world_of_a_stall()

    # When the other has taken over the run, and the first goes on
    finish(world)

    # Then the task runs on to its end
    assert causes(world) == ["dependencies_met", "dispatched", "started", "succeeded"]


def test_a_task_that_a_user_marks_is_killed_although_another_scheduler_has_its_run() -> None:
    # Given a task whose run another scheduler has taken over
    world = world_of_a_stall()
    world.run_until(DUE + timedelta(minutes=2))
    [attempt_id] = world.schedulers[0].executor.live  # type: ignore[union-attr]

    # When a user marks it
    [run] = world.store.runs("d")
    world.act(lambda user: user.mark_tasks(run.key, [TaskKey("t0")], TaskState.SUCCESS))
    world.run_until(DUE + timedelta(minutes=2, seconds=3))

    # Then its process is killed at once, before the next heartbeat
    assert attempt_id not in world.processes.working
    finish(world)
    assert causes(world)[-1] == "marked_success"


def test_a_task_that_a_user_clears_restarts_although_another_scheduler_has_its_run() -> None:
    world = world_of_a_stall()
    world.run_until(DUE + timedelta(minutes=2))

    [run] = world.store.runs("d")
    world.act(lambda user: user.clear(run.key))
    finish(world)

    assert causes(world)[3:] == [
        "cleared_while_live",
        "killed_to_restart",
        *("dependencies_met", "dispatched", "started", "succeeded"),
    ]


def test_stopping_a_scheduler_restarts_its_task_although_another_has_the_run() -> None:
    # Given a task whose run another scheduler has taken over
    world = world_of_a_stall()
    world.run_until(DUE + timedelta(minutes=2))

    # When the scheduler that runs the task is stopped
    scheduler = world.schedulers[0].scheduler
    assert scheduler is not None
    scheduler.stop()
    finish(world)

    # Then the task restarts, which uses no try
    assert causes(world)[3:] == [
        "scheduler_stopped",
        "killed_to_restart",
        *("dependencies_met", "dispatched", "started", "succeeded"),
    ]


# --- limits that all schedulers share


def interleaved(seed: int) -> Draw:
    """At three of ten store calls of a scheduler, another one goes on first."""
    return Draw(seed, switch=0.3, fault=0.0)


SEEDS = range(60)


def moment_of(dags: list[DagSpec], faults: FaultSchedule) -> World:
    """Two schedulers in the seconds around the moment at which runs of these DAGs are due."""
    world = World(
        dags,
        start=DUE - timedelta(seconds=2),
        schedulers=2,
        faults=faults,
        pools=POOLS,
        outcomes=ScriptedOutcomes(default=Behaviour(seconds=60)),
    )
    world.run_until(DUE + timedelta(seconds=1))
    world.close()
    return world


def test_a_pool_of_one_slot_holds_one_task_of_two_schedulers() -> None:
    # Given two DAGs, each with a task in the same pool of one slot
    task = TaskSpec(task_id="t0", operator="PythonOperator", pool="tiny")
    dags = [dag_of({"t0": task}, dag_id=f"d{n}") for n in range(2)]

    # When two schedulers get their runs at the same moment, however their store calls interleave
    for seed in SEEDS:
        world = moment_of(dags, interleaved(seed))

        # Then one task is dispatched (the world checks the pool after each commit)
        assert [event.cause for event in world.history].count("dispatched") == 1


def test_two_schedulers_create_no_more_runs_than_max_active_runs() -> None:
    # Given a DAG of which several runs are due, and one may be active
    dag = chain(1, max_active_runs=1, start_date=START - timedelta(days=1))

    # When two schedulers create them at the same moment, however their store calls interleave
    for seed in SEEDS:
        world = moment_of([dag], interleaved(seed))

        # Then one run is created
        assert len(world.store.runs("d")) == 1


def test_two_schedulers_create_one_continuous_run_at_a_time() -> None:
    dag = chain(1, schedule="@continuous", max_active_runs=1)
    for seed in SEEDS:
        world = moment_of([dag], interleaved(seed))
        assert len(world.store.runs("d")) == 1


# --- who takes which run


def attempts_by_scheduler(world: World) -> list[int]:
    """Number of attempts that each scheduler has claimed, sorted."""
    runs = [run.key for run in world.store.runs(limit=1000)]
    owners = Counter(attempt.owner for run in runs for attempt in world.store.attempts(run))
    return sorted(owners[f"{process.name}.1"] for process in world.schedulers)


def test_three_schedulers_share_the_runs() -> None:
    # Given three schedulers and thirty DAGs whose runs are due at the same moment
    dags = [chain(1, dag_id=f"d{n}") for n in range(30)]
    world = World(dags, start=START, schedulers=3, beats=SLOW_BEATS)

    # When they have run
    finish(world, timedelta(minutes=10))

    # Then each scheduler has run at least half of an equal share
    attempts = attempts_by_scheduler(world)
    assert sum(attempts) == 30
    assert attempts[0] >= 5


def test_a_run_of_a_scheduler_that_stalls_is_taken_by_another() -> None:
    # Given two schedulers, of which one stalls before a run is due that would be its own
    dags = [chain(1, dag_id=f"d{n}") for n in range(6)]
    stall = At("s2", "put_job", 2, "stall", 300.0)
    world = World(dags, start=DUE - timedelta(seconds=7), schedulers=2, faults=Script([stall]))

    # When its heartbeat is still recent
    world.run_until(DUE + timedelta(seconds=8))

    # Then the other one has started every run within a heartbeat
    assert len(world.happened) == 1
    assert [run.state for run in world.store.runs(limit=100)] == [RunState.RUNNING] * 6
    world.close()


def test_the_runs_of_a_scheduler_that_stops_are_taken_at_once() -> None:
    # Given two schedulers, of which one runs a long task and is then stopped
    outcomes = ScriptedOutcomes(default=Behaviour(seconds=600))
    world = World([chain(1)], start=START, schedulers=2, outcomes=outcomes)
    world.run_until(DUE + timedelta(minutes=1))
    [owner] = [process for process in world.schedulers if process.executor and process.executor.live]
    assert owner.scheduler is not None
    owner.scheduler.stop()

    # When the other one has looped
    world.run_until(DUE + timedelta(minutes=1, seconds=7))

    # Then the task runs there
    finish(world)
    started = [event.at - DUE for event in world.history if event.cause == "started"]
    assert len(started) == 2
    assert started[1] < timedelta(minutes=1, seconds=7)
