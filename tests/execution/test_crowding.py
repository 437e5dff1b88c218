"""Tries that do nothing, side by side: what is left undone, or done together, while they take each other's cores."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from nbflow.authoring.runtime import Work
from nbflow.core.events import Started, Succeeded
from nbflow.core.snapshot import Run
from nbflow.core.spec import TaskSpec
from nbflow.execution.event_loop import Loop
from nbflow.execution.executors.base import Submission
from nbflow.execution.process_pool import CORES, Forker
from tests.execution.support import NOW, Bench

SOURCE = """
import signal

def fine(rt):
    return None

def hangs(rt):
    while True:
        signal.pause()
"""


def submission(task_id: str, attempt_id: str, *, version: int = 1) -> Submission:
    run = Run(dag_id="d", run_id="r", run_after=NOW, logical_date=NOW)
    work = Work(attempt_id=attempt_id, run=run, task_id=task_id, version=version)
    return Submission(work=work, task=TaskSpec(task_id=task_id))


def test_a_child_rehearses_unless_others_want_the_cores() -> None:
    # Given a template that keeps children ahead of need
    said: list[Mapping[str, Any]] = []
    loop = Loop()
    forker = Forker(loop, said.append, ahead=2)
    ends: list[socket.socket] = []

    def fork() -> None:
        ours, theirs = socket.socketpair()
        ends.append(theirs)
        forker.heard({"forked": len(ends)}, [ours.detach()])

    # When as many tries are wanted, one after the other, as there are cores, and one more
    for _ in range(CORES + 1):
        forker.take(lambda child, lost: None)
        while len(ends) < sum(one["fork"] for one in said):
            fork()

    # Then those that are forked beside the last ones have no time to rehearse
    assert said[0] == {"fork": 3, "rehearse": True}
    assert said[-1]["rehearse"] is False
    for child in forker.children.values():
        child.hang_up()
    for end in ends:
        end.close()
    loop.close()


def test_tries_that_begin_together_are_claimed_together_and_crowd_each_other(tmp_path: Path) -> None:
    with Bench(tmp_path, SOURCE, grace_seconds=0.2) as bench:
        supervisor = bench.executor.supervisor
        # Given as many new tries as there are cores
        bench.executor.submit([submission("hangs", f"h{number}") for number in range(CORES)])
        assert not supervisor.crowded

        # When there is one more
        bench.executor.submit([submission("hangs", "one more")])

        # Then they crowd each other, and each submission was one call to the store
        assert supervisor.crowded
        assert bench.store.claim_calls == 2


def test_the_same_attempt_twice_in_one_submission_runs_once(tmp_path: Path) -> None:
    with Bench(tmp_path, SOURCE) as bench:
        bench.executor.submit([submission("fine", "a"), submission("fine", "a")])
        bench.end("a")
        assert [type(event) for event in bench.events] == [Started, Succeeded]
        assert list(bench.executor.live) == []


def test_a_new_version_takes_the_room_of_no_other_that_is_submitted_with_it(tmp_path: Path) -> None:
    # Given room for one template, which an earlier version has
    with Bench(tmp_path, SOURCE, most_templates=1) as bench:
        bench.executor.submit([submission("fine", "before")])
        bench.end("before")

        # When tries of a new version and of that one are submitted together
        bench.executor.submit([submission("fine", "new", version=2), submission("fine", "old")])

        # Then both run
        assert [type(bench.end(attempt)) for attempt in ("new", "old")] == [Succeeded, Succeeded]


@pytest.mark.parametrize("quick", [1, 2 * CORES])
def test_a_report_waits_for_others_a_moment_and_no_longer(tmp_path: Path, quick: int) -> None:
    with Bench(tmp_path, SOURCE, grace_seconds=0.2) as bench:
        # Given tries that hang, more than there are cores
        bench.executor.submit([submission("hangs", f"h{number}") for number in range(2 * CORES)])

        # When others end beside them
        bench.executor.submit([submission("fine", f"f{number}") for number in range(quick)])

        # Then their ends are reported, though the ones that hang never end
        for number in range(quick):
            bench.end(f"f{number}")
        assert len(bench.executor.live) == 2 * CORES
