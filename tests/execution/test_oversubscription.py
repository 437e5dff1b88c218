"""Short tries that oversubscribe the cores: which work is skipped or batched then."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from nbflow.authoring.workload import Workload
from nbflow.core.attempt_events import Started, Succeeded
from nbflow.core.snapshot import Run
from nbflow.core.spec import TaskSpec
from nbflow.execution.executors.base import Submission
from nbflow.execution.fork_server_pool import CORES, ForkServerHandle
from nbflow.execution.selector_loop import EventLoop
from tests.execution.support import NOW, Harness

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
    workload = Workload(attempt_id=attempt_id, run=run, task_id=task_id, version=version)
    return Submission(workload=workload, task=TaskSpec(task_id=task_id))


def test_a_child_warms_up_unless_tries_use_all_cores() -> None:
    # Given a fork server that keeps spare children
    requests: list[Mapping[str, Any]] = []
    loop = EventLoop()
    server = ForkServerHandle(loop, requests.append, spare_children=2)
    ends: list[socket.socket] = []

    def fork() -> None:
        supervisor_end, child_end = socket.socketpair()
        ends.append(child_end)
        server.on_message({"forked": len(ends)}, [supervisor_end.detach()])

    # When as many children as cores are taken, one after the other, and one more
    for _ in range(CORES + 1):
        server.take(lambda child, error: None)
        while len(ends) < sum(request["fork"] for request in requests):
            fork()

    # Then the children of the first request warm up, and those of the last do not
    assert requests[0] == {"fork": 3, "warm_up": True}
    assert requests[-1]["warm_up"] is False
    for child in server.children.values():
        child.close()
    for end in ends:
        end.close()
    loop.close()


def test_tries_that_start_together_are_claimed_together_and_oversubscribe_the_cores(tmp_path: Path) -> None:
    with Harness(tmp_path, SOURCE, grace_seconds=0.2) as harness:
        supervisor = harness.executor.supervisor
        # Given as many new tries as there are cores
        harness.executor.submit([submission("hangs", f"h{number}") for number in range(CORES)])
        assert not supervisor.oversubscribed

        # When there is one more
        harness.executor.submit([submission("hangs", "one more")])

        # Then the cores are oversubscribed, and each submission was one call to the store
        assert supervisor.oversubscribed
        assert harness.store.claim_calls == 2


def test_the_same_attempt_twice_in_one_submission_runs_once(tmp_path: Path) -> None:
    with Harness(tmp_path, SOURCE) as harness:
        harness.executor.submit([submission("fine", "a"), submission("fine", "a")])
        harness.end("a")
        assert [type(event) for event in harness.events] == [Started, Succeeded]
        assert list(harness.executor.live) == []


def test_a_new_version_does_not_retire_the_fork_server_of_another_that_is_submitted_with_it(tmp_path: Path) -> None:
    # Given a limit of one DAG fork server, which an earlier version uses
    with Harness(tmp_path, SOURCE, max_dag_fork_servers=1) as harness:
        harness.executor.submit([submission("fine", "before")])
        harness.end("before")

        # When tries of a new version and of that one are submitted together
        harness.executor.submit([submission("fine", "new", version=2), submission("fine", "old")])

        # Then both run
        assert [type(harness.end(attempt)) for attempt in ("new", "old")] == [Succeeded, Succeeded]


@pytest.mark.parametrize("quick", [1, 2 * CORES])
def test_a_report_waits_briefly_for_others(tmp_path: Path, quick: int) -> None:
    with Harness(tmp_path, SOURCE, grace_seconds=0.2) as harness:
        # Given tries that hang, more than there are cores
        harness.executor.submit([submission("hangs", f"h{number}") for number in range(2 * CORES)])

        # When short tries run too
        harness.executor.submit([submission("fine", f"f{number}") for number in range(quick)])

        # Then their ends are reported, although the others never end
        for number in range(quick):
            harness.end(f"f{number}")
        assert len(harness.executor.live) == 2 * CORES
