"""The executor interface: an executor takes committed tries and returns reports of their events.

The scheduler loop is the only caller, from one thread, in this order::

    executor.start()
    executor.adopt(store.expired(now))           # after a restart, and whenever a lease expires
    while ...:
        wait on executor.fileno(), for at most executor.next_timer() seconds
        reports = executor.poll(0)               # -> handle_event -> store.apply
        executor.submit(...)                     # only tries that a commit has made `queued`, at most slots_free
    executor.drain(timeout); executor.stop()

Rules for every executor (``tests/execution`` checks them for each)
-------------------------------------------------------------------
* Commit first, submit after. A try that is submitted twice is already claimed, and is dropped without a report.
* Each submitted try whose claim succeeds is reported ``Started`` once, and then ended by exactly one report, whatever
  its code does: an outcome, ``Failed`` with the cause, ``KilledToRestart`` after a cancel with ``restart``, or
  ``DispatchLost`` when it could not be started at all (then without ``Started``). Only :meth:`Executor.stop` ends tries
  without a report.
* A report after which the same task instance may run again (a failure, a reschedule, a kill) comes only after the
  try's process group is empty.
* No method waits for user code, except in the sequential executor, where user code runs inside :meth:`Executor.poll`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from nbflow.authoring.workload import Workload
from nbflow.core.attempt_events import Event
from nbflow.core.snapshot import RunKey, TaskKey
from nbflow.core.spec import TaskSpec
from nbflow.store.base import Attempt


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """A try to run. The executor finds the DAG's source by ``workload.run.dag_id`` and ``workload.version``."""

    workload: Workload
    task: TaskSpec
    """The task in the run's DAG version: it has the time limit, and the definition that loaded code must match."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """An event of a try for ``handle_event``, with the task instance that it is about."""

    run: RunKey
    key: TaskKey
    event: Event
    callbacks_run: tuple[str, ...] = ()
    """Kinds of callbacks that the task's process has already run."""

    @property
    def attempt_id(self) -> str:
        return self.event.attempt_id


class Executor(Protocol):
    """The interface; the module's docstring states its rules."""

    name: str
    runs_in_caller: bool
    """Whether user code runs in the thread that calls :meth:`poll`, which then has no heartbeats of its own."""

    @property
    def slots_free(self) -> int:
        """Number of tries that may be submitted now."""

    @property
    def live(self) -> Sequence[str]:
        """Ids of the attempts that are submitted and not yet reported ended."""

    def start(self) -> None:
        """Start. Called once; no user code is loaded yet."""

    def fileno(self) -> int | None:
        """A file descriptor that is readable when :meth:`poll` has work. None: call poll while :attr:`live` is not
        empty."""

    def next_timer(self) -> float | None:
        """Seconds until :meth:`poll` must be called even if :meth:`fileno` is not readable (heartbeats, time limits).
        None: no timer is set."""

    def submit(self, submissions: Sequence[Submission]) -> None:
        """Claim and start tries that are committed as queued."""

    def cancel(self, attempt_id: str, *, reason: str, restart: bool = False) -> bool:
        """Kill a try: SIGTERM to its process group, SIGKILL after the grace period. Its report is
        ``Failed(cause=KILLED, retry=False)``, or ``KilledToRestart`` with ``restart``. Returns False if the attempt is
        not :attr:`live` in this executor."""

    def poll(self, timeout: float | None = 0.0) -> list[Report]:
        """Serve children, timers and heartbeats; wait up to ``timeout`` seconds (None: without limit) for a report."""

    def adopt(self, orphans: Sequence[Attempt]) -> list[Report]:
        """Take over attempts whose owner has died: kill their processes on this machine, *before* they are run again.
        Running attempts are reported ``Failed(cause=HEARTBEAT_LOST)``, queued attempts ``DispatchLost``."""

    def drain(self, timeout: float) -> list[Report]:
        """Accept no more tries, wait until all have ended, and cancel those that run longer than ``timeout`` s."""

    def stop(self) -> None:
        """Kill every process at once. Tries that still run get no report; their leases expire."""
