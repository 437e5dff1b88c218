"""What execution_timeout limits, what callbacks are limited by, and that no end has its callback called twice."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from nbflow.core.attempt_events import Event, Failed, Succeeded
from nbflow.core.states import Cause
from tests.execution.test_executors import Harness
from tests.gates import WAIT_AT, Gate

LIMIT_SECONDS = 0.2
CALLBACKS = f"""
import os, signal
from datetime import timedelta
from nbflow.authoring.dag import DAG
from nbflow.authoring.task_decorators import task

{WAIT_AT}
def note(word):
    with open("CALLS", "a") as file:
        file.write(word + " ")

def waits(context):
    note("begins")
    wait_at("GATE")
    note("ends")

def never_ends(context):
    note("begins")
    while True:
        try:
            signal.pause()
        except BaseException:
            note("interrupted")

def can_be_interrupted(context):
    note("begins")
    while True:
        signal.pause()

def second(context):
    note("second")

def exits(context):
    note("exits")
    os._exit(3)

class Slow:
    def __repr__(self):
        return "slow"

def fails():
    raise ValueError("no")

def works():
    return 1

with DAG("sales"):
    limit = {{"execution_timeout": timedelta(seconds={LIMIT_SECONDS}), "retries": 1}}
    def make(task_id, function, **kwargs):
        task(task_id=task_id, **kwargs)(function)()
    make("slow_success", works, on_success_callback=waits, **limit)
    make("slow_execute", works, on_execute_callback=waits, **limit)
    make("slow_failure", fails, on_retry_callback=waits, **limit)
    make("hanging_failure", fails, on_retry_callback=never_ends, retries=1)
    make("hanging_execute", works, on_execute_callback=never_ends)
    make("interrupted", works, on_success_callback=[can_be_interrupted, second])
    make("exiting_success", works, on_success_callback=exits)
    make("exiting_retry", fails, on_retry_callback=exits, retries=1)
"""


class Stage:
    def __init__(self, folder: Path, **options: Any) -> None:
        self.calls_file = folder / "calls"
        source = CALLBACKS.replace("CALLS", str(self.calls_file)).replace("GATE", str(folder / "gate"))
        self.harness = Harness(folder, "local", source, **{"timeout_margin_seconds": 0.0, **options})
        self.loop = self.harness.executor.supervisor.loop  # type: ignore[attr-defined]

    @property
    def calls(self) -> list[str]:
        return self.calls_file.read_text().split() if self.calls_file.exists() else []

    def submit(self, task_id: str) -> str:
        return self.harness.submit(task_id)

    def until(self, is_true: Callable[[], bool]) -> None:
        """Poll until ``is_true()``."""
        while not is_true():
            self.harness.reports += self.harness.executor.poll(0.05)

    def until_later(self, seconds: float) -> None:
        """Until a timer has fired that is due after every timer which was set ``seconds`` long."""
        fired: list[bool] = []
        self.loop.call_later(seconds + 0.05, lambda: fired.append(True))
        self.until(lambda: bool(fired))

    def end(self, attempt_id: str) -> tuple[Event, tuple[str, ...]]:
        """The last event and the callbacks that the process has called."""
        self.until(lambda: attempt_id not in self.harness.executor.live)
        self.harness.reports += self.harness.executor.poll(0.0)
        report = self.harness.reports[-1]
        return report.event, report.callbacks_run


@contextmanager
def staged(folder: Path, **options: Any) -> Iterator[Stage]:
    stage = Stage(folder, **options)
    stage.harness.executor.start()
    try:
        yield stage
    finally:
        stage.harness.executor.stop()


@pytest.mark.parametrize(
    ("task_id", "kind"), [("slow_success", "success"), ("slow_failure", "retry"), ("slow_execute", "execute")]
)
def test_execution_timeout_does_not_cover_callbacks(tmp_path: Path, task_id: str, kind: str) -> None:
    # Given a task whose callback takes longer than its execution_timeout
    with staged(tmp_path) as stage, Gate(tmp_path / "gate") as gate:
        attempt_id = stage.submit(task_id)
        stage.until(lambda: "begins" in stage.calls)
        # When the limit has passed
        stage.until_later(LIMIT_SECONDS)
        gate.open()
        # Then the callback runs to its end, and the outcome is that of the task's code
        event, callbacks_run = stage.end(attempt_id)
        assert stage.calls == ["begins", "ends"]
        assert callbacks_run == (kind,)
        assert isinstance(event, Succeeded) if task_id != "slow_failure" else event.error == "ValueError: no"  # type: ignore[union-attr]


def test_a_callback_that_hangs_is_killed_and_not_called_again(tmp_path: Path) -> None:
    # Given a callback for a failure that ends by no signal
    with staged(tmp_path, limits={"callback_seconds": LIMIT_SECONDS}) as stage:
        # When it exceeds the limit of callbacks
        event, callbacks_run = stage.end(stage.submit("hanging_failure"))
        # Then the task has failed by its own error, and the callback counts as called
        assert isinstance(event, Failed)
        assert (event.cause, event.error, callbacks_run) == (Cause.RAISED, "ValueError: no", ("retry",))
        assert stage.calls.count("begins") == 1


def test_a_callback_before_the_execution_that_hangs_fails_the_try_with_its_name(tmp_path: Path) -> None:
    with staged(tmp_path, limits={"callback_seconds": LIMIT_SECONDS}) as stage:
        event, _ = stage.end(stage.submit("hanging_execute"))
        reason = f"on_execute_callback never_ends ran longer than [core] callback_timeout, {LIMIT_SECONDS} s"
        assert isinstance(event, Failed)
        assert (event.cause, event.error) == (Cause.PROCESS_DIED, f"the task's process died: {reason}")


def test_a_callback_that_exceeds_its_limit_is_interrupted_and_the_next_one_called(tmp_path: Path) -> None:
    with staged(tmp_path, limits={"callback_seconds": LIMIT_SECONDS}, timeout_margin_seconds=20.0) as stage:
        event, callbacks_run = stage.end(stage.submit("interrupted"))
        assert (type(event), callbacks_run, stage.calls) == (Succeeded, ("success",), ["begins", "second"])


@pytest.mark.parametrize(("task_id", "kind"), [("exiting_success", "success"), ("exiting_retry", "retry")])
def test_a_callback_that_ends_its_process_does_not_change_the_outcome(tmp_path: Path, task_id: str, kind: str) -> None:
    with staged(tmp_path) as stage:
        event, callbacks_run = stage.end(stage.submit(task_id))
        assert isinstance(event, Succeeded) if kind == "success" else event.error == "ValueError: no"  # type: ignore[union-attr]
        assert (callbacks_run, stage.calls) == ((kind,), ["exits"])


def test_a_kill_that_comes_during_a_callback_does_not_cut_it_short(tmp_path: Path) -> None:
    # Given a task that has succeeded and whose callback runs
    with staged(tmp_path) as stage, Gate(tmp_path / "gate") as gate:
        attempt_id = stage.submit("slow_success")
        stage.until(lambda: "begins" in stage.calls)
        # When it is cancelled
        stage.harness.executor.cancel(attempt_id, reason="ada")
        gate.open()
        # Then the callback runs to its end, and the success is reported
        event, callbacks_run = stage.end(attempt_id)
        assert (type(event), callbacks_run, stage.calls) == (Succeeded, ("success",), ["begins", "ends"])
