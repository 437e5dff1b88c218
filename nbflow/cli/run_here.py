"""Running things from a command: logs to stderr, user's prints out of the results, runs driven to their end here."""

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
from nbflow.execution.task_log_format import LineFormatter
from nbflow.way_out import START_SCHEDULER

if TYPE_CHECKING:
    from nbflow.cli.invocation import Call
    from nbflow.cli.progress import Progress
    from nbflow.core.snapshot import Run, RunKey
    from nbflow.services.scheduler import LoopResult


@contextlib.contextmanager
def logging_to_stderr(level: str, stream: TextIO | None = None) -> Iterator[None]:
    """Let nbflow's and the tasks' log lines go to stderr, or to what stands for it, inside the ``with`` block."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(LineFormatter())
    root = logging.getLogger()
    before = root.level
    root.addHandler(handler)
    root.setLevel(level)
    try:
        yield
    finally:
        root.removeHandler(handler)
        root.setLevel(before)


@contextlib.contextmanager
def results_only() -> Iterator[None]:
    """What user code prints inside the ``with`` block goes to stderr, also what its subprocesses print: stdout holds
    the command's result and nothing else."""
    sys.stdout.flush()
    with contextlib.ExitStack() as undo:
        if _is_fd(sys.stdout, 1) and _is_fd(sys.stderr, 2):
            kept = os.dup(1)
            os.dup2(2, 1)
            undo.callback(os.close, kept)
            undo.callback(os.dup2, kept, 1)
        undo.enter_context(contextlib.redirect_stdout(sys.stderr))
        yield


def _is_fd(stream: object, number: int) -> bool:
    try:
        return stream.fileno() == number  # type: ignore[attr-defined]
    except (AttributeError, OSError, ValueError):
        return False


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """A SIGTERM inside the ``with`` block is an interrupt, as Ctrl-C is: what runs here is ended and recorded."""

    def interrupt(*_: object) -> NoReturn:
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def level_of(call: Call) -> str:
    """The least level that is logged. The metastore is opened before: that it is made is no news to anybody."""
    call.app  # noqa: B018
    return "DEBUG" if call.args.verbose else call.settings.logging.logging_level


# ------------------------------------------------------------------------------------------------------------ runs


LOOK_SECONDS = 5.0
"""How long nothing may happen before it is asked whether the scheduler still lives."""


def follow(app: App, runs: Sequence[RunKey], progress: Progress, alive: Callable[[], bool]) -> list[Run]:
    """Wait until the runs have ended, and return them. Another process drives them: if it is not ``alive`` any more,
    and none has taken its place, NbflowError."""
    while True:
        token = app.store.change_token()
        found = [run for key in runs if (run := app.store.run(key)) is not None]
        ended = [run for run in found if run.state in RUN_FINISHED]
        progress.at(len(ended), sum(run.state == "failed" for run in ended))
        if len(ended) == len(found):
            return found
        if not app.store.wait_for_change(token, timeout=LOOK_SECONDS) and not alive():
            raise NbflowError(
                "The scheduler has ended before the runs did; they are kept.", hint=f"Start one with: {START_SCHEDULER}"
            )


def drive(app: App, runs: Sequence[RunKey], progress: Progress) -> list[Run]:
    """Run these runs to their end in this process, which is the metastore's scheduler meanwhile. It makes no scheduled
    runs and reads no DAG files; what else is queued goes on too, and is handed back at the end."""
    from dataclasses import replace

    quiet = replace(app.settings, scheduler=replace(app.settings.scheduler, use_job_schedule=False))
    here = App(settings=quiet, store=app.store, clock=app.clock, environ=app.environ)
    remaining, failed = set(runs), 0

    def until(result: LoopResult) -> bool:
        nonlocal failed
        ended = remaining.intersection(result.ended)
        remaining.difference_update(ended)
        failed += sum(run is not None and run.state == "failed" for run in map(app.store.run, ended))
        progress.at(len(runs) - len(remaining), failed)
        return not remaining

    progress.at(0)
    with interruptible():
        here.scheduler().run(until=until)
    return [run for key in runs if (run := app.store.run(key)) is not None]
