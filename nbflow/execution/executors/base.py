"""What an executor is: it takes committed tries, and gives back what became of them.

The scheduler's loop is the only caller, from one thread, in this order::

    executor.start()
    executor.adopt(store.expired(now))           # after a restart, and whenever a lease runs out
    while ...:
        wait on executor.fileno(), for at most executor.next_timer() seconds
        reports = executor.poll(0)               # -> react -> store.apply
        executor.submit(...)                     # only what a commit has made `queued`, at most slots_free of them
    executor.drain(timeout); executor.stop()

Rules that every executor keeps (``tests/execution`` holds each of them to these)
---------------------------------------------------------------------------------
* Commit first, submit after. A try that is submitted twice finds its claim taken and is dropped in silence.
* Each submitted try whose claim succeeds is reported ``Started`` once, and then ended by exactly one report, whatever
  its code does: an outcome, ``Failed`` with the cause, ``KilledToRestart`` after a cancel that makes it restart, or
  ``DispatchLost`` when it could not be started at all (then without ``Started``). Only :meth:`Executor.stop` ends tries
  without a report.
* A report after which the same instance may run again (a failure, a reschedule, a kill) comes only after the try's
  process group is gone.
* No call waits for user code, save in the sequential executor, where user code runs inside :meth:`Executor.poll`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from nbflow.authoring.runtime import Work
from nbflow.core.events import Event
from nbflow.core.snapshot import RunKey, TaskKey
from nbflow.core.spec import TaskSpec
from nbflow.store.base import Attempt


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """A try to run. The executor finds the DAG's source by ``work.run.dag_id`` and ``work.version``."""

    work: Work
    task: TaskSpec
    """Of the version that the run keeps: its time limit counts, and the loaded code must still have this shape."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What became of a try: an event for ``react``, addressed."""

    run: RunKey
    key: TaskKey
    event: Event
    callbacks_run: tuple[str, ...] = ()
    """Kinds of callbacks that ran beside the task already."""

    @property
    def attempt_id(self) -> str:
        return self.event.attempt_id


class Executor(Protocol):
    """See the head of this module."""

    name: str

    @property
    def slots_free(self) -> int:
        """How many tries may be submitted now."""

    @property
    def live(self) -> Sequence[str]:
        """Ids of the attempts that it holds, submitted and not yet reported ended."""

    def start(self) -> None:
        """Get ready. Called once; nothing of the user's is loaded yet."""

    def fileno(self) -> int | None:
        """Readable when :meth:`poll` has something to do. None: poll whenever it holds work."""

    def next_timer(self) -> float | None:
        """Seconds until :meth:`poll` must be called although :meth:`fileno` is quiet (heartbeats, time limits)."""

    def submit(self, submissions: Sequence[Submission]) -> None:
        """Take tries that are committed as queued."""

    def cancel(self, attempt_id: str, *, reason: str, restart: bool = False) -> bool:
        """End a try: SIGTERM to its process group, SIGKILL after the grace period. Its report is
        ``Failed(cause=KILLED, retry=False)``, or ``KilledToRestart`` with ``restart``. False: this executor does not
        hold it."""

    def poll(self, timeout: float | None = 0.0) -> list[Report]:
        """Serve children, timers and heartbeats; wait up to ``timeout`` seconds (None: without limit) for a report."""

    def adopt(self, orphans: Sequence[Attempt]) -> list[Report]:
        """Attempts of an owner that is gone: end what still runs of them on this machine, *before* anybody runs them
        again. Running ones are reported ``Failed(cause=HEARTBEAT_LOST)``, queued ones ``DispatchLost``."""

    def drain(self, timeout: float) -> list[Report]:
        """Submit nothing more; wait until all tries have ended, or cancel what is left after ``timeout`` seconds."""

    def stop(self) -> None:
        """End everything at once and leave no process behind. Tries that still run are left to lease expiry."""
