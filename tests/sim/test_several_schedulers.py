"""Several schedulers on one metastore: schedules of faults that broke a promise once, shrunk."""

from __future__ import annotations

from datetime import timedelta

from nbflow.core.snapshot import TaskKey
from nbflow.core.states import TaskState
from nbflow.sim import At, Behaviour, ScriptedOutcomes, World
from nbflow.sim.fault_schedule import Script
from tests.sim.shapes import chain, utc

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
