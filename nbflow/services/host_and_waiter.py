"""The ports of the scheduler: what it needs from the system around it, beside the store, the clock and the executor.

==========  ============================  =================================================
port        in a scheduler process        in the simulator (:mod:`nbflow.sim`)
==========  ============================  =================================================
``Host``    host name, pid, /proc         hosts and processes of the simulated world
``Waiter``  select, a socket pair         virtual time; other schedulers go on meanwhile
==========  ============================  =================================================

:class:`~nbflow.services.scheduler.Scheduler` waits and asks for processes only through these objects, so the simulator
runs the same class as ``nbflow scheduler``.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
from collections.abc import Callable
from datetime import datetime
from typing import Protocol

from nbflow.clock import Clock
from nbflow.execution.executors.base import Executor
from nbflow.execution.process_identity import process_started
from nbflow.services.schedulers import is_local, is_process_running
from nbflow.store.base import Job

POLL_SECONDS = 0.05
"""Interval at which an idle scheduler polls the change token (about 10 µs each): the delay of a trigger from another
process."""


class Host(Protocol):
    """The host and process of a scheduler, and the liveness of other processes."""

    @property
    def hostname(self) -> str: ...
    @property
    def pid(self) -> int: ...
    @property
    def pid_started(self) -> float | None:
        """Start time of this process, which distinguishes it from a later one with the same pid."""

    def is_local(self, job: Job) -> bool:
        """Whether the job is a process on this host."""

    def is_running(self, job: Job) -> bool:
        """Whether the job's process is running; always True for another host."""


class Waiter(Protocol):
    """Waits for the scheduler between two loops."""

    def wait(self, until: datetime | None, executor: Executor, changed: Callable[[], bool]) -> None:
        """Return when ``until`` has come (None: never), the executor has a report or its timer is due, ``changed()`` is
        True (another process has committed), or :meth:`wake` was called."""

    def wake(self) -> None:
        """End the wait, or the next one; safe from a signal handler or another thread, and after :meth:`close`."""

    def close(self) -> None: ...


class ThisHost:
    """The :class:`Host` of this process."""

    @property
    def hostname(self) -> str:
        return socket.gethostname()

    @property
    def pid(self) -> int:
        return os.getpid()

    @property
    def pid_started(self) -> float | None:
        return process_started(os.getpid())

    def is_local(self, job: Job) -> bool:
        return is_local(job)

    def is_running(self, job: Job) -> bool:
        return is_process_running(job)


class SelectWaiter:
    """A :class:`Waiter` on file descriptors: the executor's, and a socket pair for :meth:`wake`. The store has no file
    descriptor, so ``changed`` is polled."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._wake_read, self._wake_write = socket.socketpair()
        self._wake_read.setblocking(False)
        self._wake_write.setblocking(False)

    def wait(self, until: datetime | None, executor: Executor, changed: Callable[[], bool]) -> None:
        fds = [fd for fd in (executor.fileno(), self._wake_read.fileno()) if fd is not None]
        while True:
            now = self._clock.now()
            remaining = (until - now).total_seconds() if until is not None else POLL_SECONDS
            timer = executor.next_timer()
            timeout = max(0.0, min(remaining, POLL_SECONDS, timer if timer is not None else POLL_SECONDS))
            ready, _, _ = select.select(fds, [], [], timeout)
            if self._wake_read.fileno() in ready:
                self._drain_wakes()
                return
            due = (until is not None and self._clock.now() >= until) or (timer is not None and timer <= timeout)
            if ready or due or changed():
                return

    def _drain_wakes(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while self._wake_read.recv(4096):
                pass

    def wake(self) -> None:
        with contextlib.suppress(OSError):  # the socket's buffer is full of wake-ups, or the socket is closed
            self._wake_write.send(b".")

    def close(self) -> None:
        self._wake_read.close()
        self._wake_write.close()
