"""A scheduler whose tasks run in its own thread stays alive for others while a task runs."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from nbflow.core.states import RunState
from nbflow.errors import StoreError
from nbflow.services.background_heartbeat import BackgroundHeartbeat
from tests.gates import WAIT_AT
from tests.services.conftest import TIMEOUT_SECONDS, Stage

GATED = """
from nbflow import DAG, task
WAIT_AT
with DAG("d", schedule=None):
    @task
    def t():
        wait_at("GATE")
    t()
"""


def until(stage: Stage, condition: Callable[[], Any]) -> None:
    limit = time.monotonic() + TIMEOUT_SECONDS
    while not condition():
        assert time.monotonic() < limit, "the condition did not become true in time"
        stage.store.wait_for_change(stage.store.change_token(), timeout=0.05)


def test_a_sequential_scheduler_keeps_its_lease_while_a_task_runs(make_stage: Callable[..., Stage]) -> None:
    # Given a scheduler with the SequentialExecutor, whose lease lasts a second, in a task
    stage = make_stage(
        CORE__EXECUTOR="SequentialExecutor",
        SCHEDULER__SCHEDULER_HEARTBEAT_SEC="0.1",
        SCHEDULER__SCHEDULER_HEALTH_CHECK_THRESHOLD="1",
    )
    gate = stage.close_gate("go")
    stage.write("d.py", GATED.replace("WAIT_AT", WAIT_AT).replace("GATE", str(stage.folder / "go")))
    stage.process()
    run = stage.ops.trigger("d").key
    scheduler = stage.app.scheduler()
    thread = threading.Thread(target=scheduler.run)
    thread.start()
    until(stage, lambda: any(attempt.state == "running" for attempt in stage.store.attempts(run)))
    begun = stage.app.clock.now()

    # When the task has run for longer than the lease
    lease = timedelta(seconds=1)
    until(stage, lambda: stage.store.jobs("scheduler")[0].heartbeat_at > begun + lease)

    # Then no other scheduler gets it, and the task ends normally
    now = stage.app.clock.now()
    assert not stage.store.take_singleton("scheduler", "another", lease=lease, now=now)
    gate.open()
    until(stage, lambda: stage.store.run(run).state is RunState.SUCCESS)
    scheduler.stop()
    thread.join(TIMEOUT_SECONDS)
    assert not thread.is_alive()


def test_a_heartbeat_that_fails_is_tried_again() -> None:
    # Given a store that refuses the first heartbeat
    beats: list[None] = []
    second = threading.Event()

    def beat() -> None:
        beats.append(None)
        if len(beats) == 1:
            raise StoreError("refused")
        second.set()

    heartbeat = BackgroundHeartbeat(beat, 0.001)
    heartbeat.start()
    assert second.wait(TIMEOUT_SECONDS)

    # Then it has gone on, and ends when it is stopped
    heartbeat.stop()
    assert not any(thread.name == "nbflow-heartbeat" for thread in threading.enumerate())
