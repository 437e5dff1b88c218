"""What schedulers do about processes that have died, and about those of other hosts."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from nbflow.core.run_changes import new_run
from nbflow.core.snapshot import INLINE, Run, RunKey
from nbflow.core.states import RunState
from nbflow.sim import At, Behaviour, ScriptedOutcomes, World
from nbflow.sim.fault_schedule import Script
from nbflow.sim.world import DEFAULT_BEATS
from nbflow.store.base import Job
from tests.sim.shapes import chain, utc

START = utc(2024, 1, 1)
RUN = RunKey("d", "test")


def world_with_a_dag_test(job: Job) -> World:
    """A scheduler on ``host``, and the run of a ``dag.test()`` that the process of ``job`` drives."""
    dag = chain(1, schedule=None)
    world = World([dag], start=START, beats=DEFAULT_BEATS)
    world.store.put_job(job)
    run = Run(
        dag_id="d", run_id="test", logical_date=START, run_after=START, version=1, triggered_by=f"{INLINE}{job.job_id}"
    )
    world.store.apply([new_run(dag, run, START)], actor="test")
    return world


def state_after(world: World, seconds: float) -> RunState:
    world.run_until(START + timedelta(seconds=seconds))
    world.close()
    run = world.store.run(RUN)
    assert run is not None
    return run.state


JOB = Job(job_id="j", kind="inline", hostname="elsewhere", pid=1, started_at=START, heartbeat_at=START)


def test_the_run_of_a_dag_test_on_another_host_goes_on_while_its_heartbeat_is_recent() -> None:
    # Given a dag.test() of another host, or container, whose process stores heartbeats
    world = world_with_a_dag_test(JOB)
    for seconds in range(0, 120, 5):
        beat = replace(JOB, heartbeat_at=START + timedelta(seconds=seconds))
        world.later(seconds, lambda beat=beat: world.store.put_job(beat))  # type: ignore[misc]

    # Then its run goes on, although no process here has its pid
    assert state_after(world, 119) is not RunState.FAILED


def test_the_run_of_a_dag_test_on_another_host_fails_without_heartbeats() -> None:
    assert state_after(world_with_a_dag_test(JOB), 40) is RunState.FAILED


def test_the_run_of_a_dag_test_on_this_host_fails_if_its_process_has_died() -> None:
    assert state_after(world_with_a_dag_test(replace(JOB, hostname="host")), 40) is RunState.FAILED


def test_a_dag_test_is_found_among_hundreds_of_newer_ones() -> None:
    world = world_with_a_dag_test(replace(JOB, hostname="host", pid=world_pid()))
    for number in range(300):
        world.store.put_job(replace(JOB, job_id=f"j{number}", ended_at=START, heartbeat_at=START + timedelta(hours=1)))
    assert state_after(world, 40) is not RunState.FAILED


def world_pid() -> int:
    """The pid of the first process of a world: its scheduler's, which runs."""
    return World(start=START).schedulers[0].pid


@pytest.mark.parametrize("schedulers", [1, 2])
@pytest.mark.parametrize("call", ["put_job", "live_attempts", "release_singleton", "release_runs", "apply"])
def test_a_scheduler_killed_while_it_takes_over_leaves_nothing_to_the_leases(call: str, schedulers: int) -> None:
    # Given a scheduler that is killed while it runs a task, and its successor, which is killed as it starts
    outcomes = ScriptedOutcomes(default=Behaviour(seconds=300))
    due = START + timedelta(hours=1)
    takeovers = 0
    for nth in range(1, 12):
        faults = [At("s1", "heartbeat", 2, "crash", 1.0), At("s1", call, nth, "crash", 1.0)]
        world = World(
            [chain(1)],
            start=due - timedelta(seconds=2),
            schedulers=schedulers,
            outcomes=outcomes,
            faults=Script(faults),
            beats=DEFAULT_BEATS,
        )
        world.run_until(due + timedelta(seconds=35))
        world.close()
        if len(world.happened) < 2:
            continue

        # Then the next one has ended the dead one's attempt before its lease of 60 s ended
        takeovers += 1
        causes = [event.cause for event in world.history if event.key is not None]
        assert "heartbeat_lost" in causes or causes.count("started") == 0 or "dispatch_lost" in causes, (nth, causes)
    assert takeovers
