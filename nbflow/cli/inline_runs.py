"""Runs that a command executes in this process or waits for. Logs and prints of tasks go to stderr."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, NoReturn, TextIO

from nbflow.app import App
from nbflow.core.states import RUN_FINISHED
from nbflow.errors import NbflowError
from nbflow.execution.task_logging import LineFormatter
from nbflow.suggested_commands import START_SCHEDULER

if TYPE_CHECKING:
    from nbflow.cli.invocation import Call
    from nbflow.cli.progress import Progress
    from nbflow.core.snapshot import Run, RunKey
    from nbflow.services.scheduler import LoopResult


@contextlib.contextmanager
def logging_to_stderr(level: str, stream: TextIO | None = None) -> Iterator[None]:
    """Write log lines of nbflow and of tasks to stderr, or to ``stream``, inside the ``with`` block."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(LineFormatter())
    root = logging.getLogger()
    previous_level = root.level
    root.addHandler(handler)
    root.setLevel(level)
    try:
        yield
    finally:
        root.removeHandler(handler)
        root.setLevel(previous_level)


@contextlib.contextmanager
def stdout_to_stderr() -> Iterator[None]:
    """Redirect stdout of user code and its subprocesses to stderr inside the ``with`` block, since stdout is only for
    the result of the command."""
    sys.stdout.flush()
    with contextlib.ExitStack() as undo:
        if _is_fd(sys.stdout, 1) and _is_fd(sys.stderr, 2):
            stdout = os.dup(1)
            os.dup2(2, 1)
            undo.callback(os.close, stdout)
            undo.callback(os.dup2, stdout, 1)
        undo.enter_context(contextlib.redirect_stdout(sys.stderr))
        yield


def _is_fd(stream: object, number: int) -> bool:
    try:
        return stream.fileno() == number  # type: ignore[attr-defined]
    except (AttributeError, OSError, ValueError):
        return False


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Treat SIGTERM as Ctrl-C inside the ``with`` block, so that running tasks are stopped and recorded."""

    def interrupt(*_: object) -> NoReturn:
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


def level_of(call: Call) -> str:
    """The log level. Opens the metastore before logging is configured, so that its creation is not logged."""
    call.app  # noqa: B018
    return "DEBUG" if call.args.verbose else call.settings.logging.logging_level


# ------------------------------------------------------------------------------------------------------------ runs


LIVENESS_CHECK_SECONDS = 5.0
"""Seconds without a change after which the scheduler's heartbeat is checked."""


def wait_for_runs(app: App, runs: Sequence[RunKey], progress: Progress, alive: Callable[[], bool]) -> list[Run]:
    """Wait until a scheduler has finished the runs. Raises NbflowError when ``alive`` returns False."""
    while True:
        token = app.store.change_token()
        current = [run for key in runs if (run := app.store.run(key)) is not None]
        ended = [run for run in current if run.state in RUN_FINISHED]
        progress.update(len(ended), sum(run.state == "failed" for run in ended))
        if len(ended) == len(current):
            return current
        if not app.store.wait_for_change(token, timeout=LIVENESS_CHECK_SECONDS) and not alive():
            raise NbflowError(
                "The scheduler stopped before the runs ended. The runs are still in the metastore.",
                hint=f"Start one with: {START_SCHEDULER}",
            )


def execute_runs(app: App, runs: Sequence[RunKey], progress: Progress) -> list[Run]:
    """Execute the runs in this process, with a scheduler that creates no scheduled runs and parses no DAG files. It
    also starts other queued task instances, and returns them to the queue at the end."""
    from dataclasses import replace

    settings = replace(app.settings, scheduler=replace(app.settings.scheduler, use_job_schedule=False))
    inline_app = App(settings=settings, store=app.store, clock=app.clock, environ=app.environ)
    remaining, failed = set(runs), 0

    def until(result: LoopResult) -> bool:
        nonlocal failed
        ended = remaining.intersection(result.ended)
        remaining.difference_update(ended)
        failed += sum(run is not None and run.state == "failed" for run in map(app.store.run, ended))
        progress.update(len(runs) - len(remaining), failed)
        return not remaining

    progress.update(0)
    with interruptible():
        inline_app.scheduler().run(until=until)
    return [run for key in runs if (run := app.store.run(key)) is not None]
