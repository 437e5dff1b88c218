"""The scheduler process: the scheduler loop, the DAG processor's thread, signals, and the exit when idle."""

from __future__ import annotations

import contextlib
import logging
import signal
import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import TYPE_CHECKING, TypeVar

from nbflow.errors import StoreUnreachable
from nbflow.services.scheduler import LoopResult, Scheduler

if TYPE_CHECKING:
    from nbflow.app import App

T = TypeVar("T")

log = logging.getLogger(__name__)

FIRST_SCAN_SECONDS = 5.0
"""How long a start waits until the DAG files are parsed. A file that hangs must not delay DAGs that are already
stored."""


STORE_WAIT_SECONDS = 120.0
"""How long a start waits for a metastore that does not respond: a restart of Postgres takes seconds, its recovery from
a crash a minute or two. After that the cause is more likely a wrong URL, which must not stay hidden."""
STORE_RETRY_SECONDS = 0.5


def wait_for_store(call: Callable[[], T], *, warn: Callable[[str], None] = log.warning) -> T:
    """The result of ``call``, which is repeated while the metastore does not respond, as a running scheduler does.
    ``warn`` is called once. Raises the StoreUnreachable of ``call`` after STORE_WAIT_SECONDS."""
    deadline, warned = time.monotonic() + STORE_WAIT_SECONDS, False
    while True:
        try:
            return call()
        except StoreUnreachable as error:
            if time.monotonic() > deadline:
                raise
            if not warned:
                warn(f"Waiting for the metastore, for at most {STORE_WAIT_SECONDS:g} s: {error}")
            warned = True
            time.sleep(STORE_RETRY_SECONDS)


def serve(app: App, *, idle_minutes: float | None = None, on_ready: Callable[[], None] = lambda: None) -> None:
    """Schedule until SIGTERM or SIGINT, or until nothing has happened for ``idle_minutes`` and no unpaused DAG has a
    schedule.

    ``on_ready`` is called when the scheduler has its lease and the DAGs folder has been scanned (except files that take
    longer than FIRST_SCAN_SECONDS). Raises NbflowError if an SQLite metastore has a scheduler already, and the error
    that ended the DAG processor, because without it edits of DAG files would be ignored silently."""
    scheduler = app.scheduler()
    processor = app.processor(on_change=scheduler.wake)
    scheduler.on_callbacks = processor.notify_callbacks

    def until(result: LoopResult) -> bool:
        processor.check()
        return idle_minutes is not None and _is_idle(app, scheduler, result, idle_minutes)

    wait_for_store(scheduler.start)
    try:
        with _stopped_by_signal(scheduler):
            processor.start()
            processor.sync(FIRST_SCAN_SECONDS)
            on_ready()
            scheduler.loop(until=until)
    finally:
        try:
            scheduler.close()
        finally:
            processor.stop()


def _is_idle(app: App, scheduler: Scheduler, result: LoopResult, minutes: float) -> bool:
    if result.busy or scheduler.memory.active.snapshots or scheduler.executor.live:
        return False
    if app.clock.now() - scheduler.last_busy < timedelta(minutes=minutes):
        return False
    return app.store.next_due() is None


@contextlib.contextmanager
def _stopped_by_signal(scheduler: Scheduler) -> Iterator[None]:
    """SIGTERM and SIGINT stop the scheduler after the current loop; ``close`` then ends the tasks and the leases."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, lambda *_: scheduler.stop()) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
