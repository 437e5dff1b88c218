"""The checks themselves: each finds the breach that it is there for."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from nbflow.core.snapshot import RunKey, TaskKey
from nbflow.sim import Does, InvariantBroken, Script, World
from nbflow.sim import invariants as inv
from nbflow.store.base import TaskEvent
from tests.sim.shapes import chain, utc

START = utc(2024, 1, 1)
RUN = RunKey("d", "scheduled__2024-01-01T01:00:00+00:00")
T0 = TaskKey("t0")


@pytest.fixture
def world() -> World:
    """A world in the middle of its first run: t0 runs, as attempt a1."""
    made = World([chain(2)], start=START, outcomes=Script(default=Does(seconds=600)))
    made.run_until(START + timedelta(hours=1, minutes=1))
    return made


def line(**values: Any) -> TaskEvent:
    given = {"source": "running", "target": "success", "cause": "succeeded", "attempt_id": "a1", "key": T0, **values}
    return TaskEvent(seq=99, run=RUN, actor="test", at=START + timedelta(hours=1), **given)


def facts(world: World) -> inv.Facts:
    assert world._checker is not None
    return world._checker.facts


def breaches(found: Iterator[inv.Breach]) -> list[str]:
    return [breach.what for breach in found]


def test_the_right_outcome_breaks_nothing(world: World) -> None:
    assert [name for name, check in inv.LINE.items() if breaches(check(facts(world), line()))] == []


@pytest.mark.parametrize(
    ("number", "told"),
    [
        (2, {"attempt_id": "a0"}),
        (4, {"target": "queued"}),
        (4, {"source": "queued"}),
        (4, {"key": None, "source": "queued", "target": "running", "cause": "slot_free"}),
        (5, {"key": None, "source": "", "target": "queued", "cause": "created"}),
    ],
)
def test_a_line_that_should_not_be_is_found(world: World, number: int, told: dict[str, Any]) -> None:
    assert len(breaches(inv.LINE[number](facts(world), line(**told)))) == 1


def test_an_attempt_that_has_ended_may_not_speak_again(world: World) -> None:
    known = facts(world)
    known.fold(line())
    assert len(breaches(inv.LINE[3](known, line()))) == 1


def test_one_execution_too_many_is_found(world: World) -> None:
    known = facts(world)
    again = line(source="up_for_retry", target="scheduled", cause="retry_due", attempt_id=None)
    found = []
    for _ in range(2):  # the task has one retry, and has begun once
        found.append(breaches(inv.LINE[12](known, again)))
        known.fold(again)
    assert found == [[], ["execution 3 of a task with 1 retries"]]


def test_a_trigger_that_fires_twice_is_found(world: World) -> None:
    known = facts(world)
    fired = line(source="deferred", target="scheduled", cause="trigger_fired")
    known.fold(fired)
    assert len(breaches(inv.LINE[17](known, fired))) == 1


def test_more_tasks_than_slots_are_found(world: World) -> None:
    executor = world.schedulers[0].executor
    assert executor is not None
    executor.slots = 0
    assert breaches(inv.COMMIT[11](facts(world))) == ["1 tasks in the 0 slots of s1"]


def test_work_that_nobody_does_is_found(world: World) -> None:
    facts(world).processes.working.clear()
    assert breaches(inv.CALM[11](facts(world), world.active)) == ["worked on: [], live in the store: ['a1']"]


def test_an_attempt_left_behind_is_found(world: World) -> None:
    assert breaches(inv.REST[24](facts(world), world.active)) == ["attempt a1 is still running", "is still running"]


def test_an_interval_left_out_is_found(world: World) -> None:
    world.run_until(START + timedelta(hours=3, minutes=1))
    del facts(world).dates["d", START + timedelta(hours=1)]
    assert breaches(inv.REST[6](facts(world), world.active)) == ["d has no run of 2024-01-01 01:00:00+00:00"]


def test_a_callback_that_is_missing_is_found(world: World) -> None:
    known = facts(world)
    known.callbacks_due[RUN, T0, "success"] += 1
    assert breaches(inv.COMMIT[19](known)) == ["0 success callbacks for 1 such transitions"]


def test_a_breach_is_told_with_its_number_its_sentence_and_its_story(world: World) -> None:
    # Given a worker that left an XCom behind for the next try to see
    facts(world).processes.breaches.append((16, "it sees XComs of an earlier try", RUN, T0))

    # When the next commit is checked
    with pytest.raises(InvariantBroken) as broken:
        world.run_until(START + timedelta(hours=1, minutes=10))

    # Then the error says which promise that breaks
    assert str(broken.value).startswith(
        "promise 16 is broken: A new attempt never sees its old XCom; defer and reschedule keep theirs."
    )


def test_each_check_says_its_promise_in_a_sentence() -> None:
    checks = [check for table in (inv.LINE, inv.COMMIT, inv.CALM, inv.REST) for check in table.values()]
    assert all((check.__doc__ or "").endswith((".", ").")) for check in checks)
    assert {*inv.LINE, *inv.COMMIT, *inv.CALM, *inv.REST} == {
        *(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 14, 15, 16, 17, 19, 21, 24, 26, 27, 31)
    }
