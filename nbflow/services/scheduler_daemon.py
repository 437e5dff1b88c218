"""A scheduler as a process: the loop, the DAG processor beside it, signals, and the end when nobody needs it."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import TYPE_CHECKING

from nbflow.services.scheduler import Scheduler, Turn

if TYPE_CHECKING:
    from nbflow.app import App

FIRST_LOOK_SECONDS = 5.0
"""How long a start waits for the files to be parsed. One that hangs must not keep what is known already waiting."""


def serve(app: App, *, idle_minutes: float | None = None, on_ready: Callable[[], None] = lambda: None) -> None:
    """Schedule until SIGTERM or SIGINT, or until nothing has happened for ``idle_minutes`` and no unpaused DAG has a
    schedule. ``on_ready`` is called once the scheduler has its lease and the DAGs folder has been looked at (save files
    that take longer than FIRST_LOOK_SECONDS). Raises NbflowError if the metastore has its one scheduler already, and
    whatever ended the DAG processor: without it nobody would see that edits are no longer taken up."""
    scheduler = app.scheduler()
    processor = app.processor(on_change=scheduler.wake)
    scheduler.on_callbacks = processor.call_back

    def over(turn: Turn) -> bool:
        processor.check()
        return idle_minutes is not None and _idle(app, scheduler, turn, idle_minutes)

    scheduler.start()
    try:
        with _ending_by_signal(scheduler):
            processor.start()
            processor.sync(FIRST_LOOK_SECONDS)
            on_ready()
            scheduler.loop(until=over)
    finally:
        try:
            scheduler.close()
        finally:
            processor.stop()


def _idle(app: App, scheduler: Scheduler, turn: Turn, minutes: float) -> bool:
    if turn.busy or scheduler.memory.active.snapshots:
        return False
    if app.clock.now() - scheduler.last_busy < timedelta(minutes=minutes):
        return False
    return app.store.next_due() is None


@contextlib.contextmanager
def _ending_by_signal(scheduler: Scheduler) -> Iterator[None]:
    """SIGTERM and SIGINT end the loop after its turn: what runs is ended and stored, leases are given back."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, lambda *_: scheduler.stop()) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
