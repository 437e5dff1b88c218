"""Each invariant's check finds a breach of it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from nbflow.core.snapshot import RunKey, TaskKey
from nbflow.sim import Behaviour, InvariantBroken, ScriptedOutcomes, World
from nbflow.sim import invariants as inv
from nbflow.store.base import TaskEvent
from tests.sim.shapes import chain, utc

START = utc(2024, 1, 1)
RUN = RunKey("d", "scheduled__2024-01-01T01:00:00+00:00")
T0 = TaskKey("t0")


@pytest.fixture
def world() -> World:
    """A world in its first run: task t0 is running, attempt a1."""
    world = World([chain(2)], start=START, outcomes=ScriptedOutcomes(default=Behaviour(seconds=600)))
    world.run_until(START + timedelta(hours=1, minutes=1))
    return world


def event(**changes: Any) -> TaskEvent:
    values = {"source": "running", "target": "success", "cause": "succeeded", "attempt_id": "a1", "key": T0, **changes}
    return TaskEvent(seq=99, run=RUN, at=START + timedelta(hours=1), **{"actor": "test", **values})


def observations(world: World) -> inv.Observations:
    assert world._checker is not None
    return world._checker.observed


def texts(breaches: Iterator[inv.Breach]) -> list[str]:
    return [breach.text for breach in breaches]


def test_a_valid_event_breaks_no_invariant(world: World) -> None:
    assert [name for name, check in inv.EVENT.items() if texts(check(observations(world), event()))] == []


@pytest.mark.parametrize(
    ("number", "changes"),
    [
        (2, {"attempt_id": "a0"}),
        (4, {"target": "queued"}),
        (4, {"source": "queued"}),
        (4, {"key": None, "source": "queued", "target": "running", "cause": "slot_free"}),
        (5, {"key": None, "source": "", "target": "queued", "cause": "created"}),
        (35, {"cause": "marked_success", "actor": "scheduler"}),
        (35, {"cause": "rule_fails", "detail": {"roots": {"t9": "failed"}}}),
        (35, {"cause": "rule_fails", "detail": {}}),
    ],
)
def test_an_invalid_event_is_a_breach(world: World, number: int, changes: dict[str, Any]) -> None:
    assert len(texts(inv.EVENT[number](observations(world), event(**changes)))) == 1


def test_an_event_of_an_ended_attempt_is_a_breach(world: World) -> None:
    observed = observations(world)
    observed.fold(event())
    assert len(texts(inv.EVENT[3](observed, event()))) == 1


def test_more_executions_than_tries_are_a_breach(world: World) -> None:
    observed = observations(world)
    retry = event(source="up_for_retry", target="scheduled", cause="retry_due", attempt_id=None)
    breaches = []
    for _ in range(2):  # the task has one retry, and one try has started
        breaches.append(texts(inv.EVENT[12](observed, retry)))
        observed.fold(retry)
    assert breaches == [[], ["execution 3 of a task with 1 retries"]]


def test_a_trigger_that_fires_twice_is_a_breach(world: World) -> None:
    observed = observations(world)
    fired = event(source="deferred", target="scheduled", cause="trigger_fired")
    observed.fold(fired)
    assert len(texts(inv.EVENT[17](observed, fired))) == 1


def test_more_tasks_than_slots_are_a_breach(world: World) -> None:
    executor = world.schedulers[0].executor
    assert executor is not None
    executor.slots = 0
    assert texts(inv.COMMIT[11](observations(world))) == ["1 tasks in the 0 slots of s1"]


def test_a_live_attempt_without_a_worker_is_a_breach(world: World) -> None:
    observations(world).processes.working.clear()
    breaches = inv.IDLE[11](observations(world), world.active)
    assert texts(breaches) == ["run by workers: [], live in the store: ['a1']"]


def test_a_live_attempt_in_a_drained_world_is_a_breach(world: World) -> None:
    breaches = inv.DRAINED[24](observations(world), world.active)
    assert texts(breaches) == ["attempt a1 is still running", "the instance is still running"]


def test_an_interval_without_a_run_is_a_breach(world: World) -> None:
    world.run_until(START + timedelta(hours=3, minutes=1))
    del observations(world).dates["d", START + timedelta(hours=1)]
    breaches = inv.DRAINED[6](observations(world), world.active)
    assert texts(breaches) == ["d has no run of 2024-01-01 01:00:00+00:00"]


def test_a_missing_callback_is_a_breach(world: World) -> None:
    observed = observations(world)
    observed.callbacks_due[RUN, T0, "success"] += 1
    assert texts(inv.COMMIT[19](observed)) == ["0 success callbacks for 1 such transitions"]


def test_the_error_of_a_breach_has_the_number_and_text_of_its_promise(world: World) -> None:
    # Given a worker that found XComs of an earlier try
    observations(world).processes.breaches.append((16, "it sees XComs of an earlier try", RUN, T0))

    # When the next commit is checked
    with pytest.raises(InvariantBroken) as broken:
        world.run_until(START + timedelta(hours=1, minutes=10))

    # Then the error names the promise
    assert str(broken.value).startswith(
        "promise 16 is broken: A new try never reads XComs of an old try; they remain after a deferral or a reschedule."
    )


def test_each_check_states_its_promise_in_a_sentence() -> None:
    checks = [check for table in (inv.EVENT, inv.COMMIT, inv.IDLE, inv.DRAINED) for check in table.values()]
    assert all((check.__doc__ or "").endswith((".", ").")) for check in checks)
    assert {*inv.EVENT, *inv.COMMIT, *inv.IDLE, *inv.DRAINED} == {
        *(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 14, 15, 16, 17, 19, 21, 24, 26, 27, 31, 35)
    }
