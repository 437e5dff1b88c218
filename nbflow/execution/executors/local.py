"""LocalExecutor: runs tries in child processes on this machine, up to ``parallelism`` at a time."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Sequence
from datetime import datetime

from nbflow.core.attempt_events import DispatchLost, Failed
from nbflow.core.states import Cause
from nbflow.execution.executors.base import Report, Submission
from nbflow.execution.fork_server_pool import group_exists
from nbflow.execution.process_identity import process_started
from nbflow.execution.supervisor import Supervisor, SupervisorOptions
from nbflow.execution.task_api import TaskApi
from nbflow.execution.task_client import utc_now
from nbflow.store.base import Attempt, DagVersion

GATHER_SECONDS = 0.01
"""How long a report waits for others while cores are oversubscribed, so that one transaction stores them together."""
ORPHAN_SECONDS = 5.0
"""How long ``adopt`` waits for an orphan to exit after SIGKILL; if it still runs, the next call tries again."""


class LocalExecutor:
    """An :class:`~nbflow.execution.executors.base.Executor` over a :class:`~nbflow.execution.supervisor.Supervisor`."""

    name = "LocalExecutor"
    runs_in_caller = False

    def __init__(
        self,
        options: SupervisorOptions,
        task_api: TaskApi,
        *,
        versions: Callable[[str, int], DagVersion | None],
        parallelism: int,
        now: Callable[[], datetime] = utc_now,
        log: Callable[[str], None] = lambda text: None,
    ) -> None:
        self.parallelism = parallelism
        self._options = options
        self._now = now
        self._supervisor = Supervisor(options, task_api, versions=versions, now=now, log=log)
        self._draining = False

    @property
    def supervisor(self) -> Supervisor:
        return self._supervisor

    @property
    def slots_free(self) -> int:
        return 0 if self._draining else max(0, self.parallelism - len(self._supervisor.live))

    @property
    def live(self) -> Sequence[str]:
        return self._supervisor.live

    def start(self) -> None:
        self._supervisor.start()

    def fileno(self) -> int | None:
        return self._supervisor.loop.fileno()

    def next_timer(self) -> float | None:
        return 0.0 if self._supervisor.reports else self._supervisor.loop.next_timer()

    def submit(self, submissions: Sequence[Submission]) -> None:
        self._supervisor.submit(submissions)

    def cancel(self, attempt_id: str, *, reason: str, restart: bool = False) -> bool:
        return self._supervisor.cancel(attempt_id, reason=reason, restart=restart)

    def poll(self, timeout: float | None = 0.0) -> list[Report]:
        loop, supervisor = self._supervisor.loop, self._supervisor
        deadline = None if timeout is None else loop.monotonic() + timeout
        loop.run_once(0.0)
        while not supervisor.reports:
            remaining = None if deadline is None else deadline - loop.monotonic()
            if remaining is not None and remaining <= 0:
                break
            loop.run_once(remaining)
        if supervisor.reports:
            self._gather()
        reports, supervisor.reports = supervisor.reports, []
        return reports

    def _gather(self) -> None:
        """Wait for more reports while cores are oversubscribed: each scheduler loop takes a core from running tries."""
        loop, deadline = self._supervisor.loop, self._supervisor.loop.monotonic() + GATHER_SECONDS
        while (remaining := deadline - loop.monotonic()) > 0 and self._supervisor.oversubscribed:
            loop.run_once(remaining)

    def adopt(self, orphans: Sequence[Attempt]) -> list[Report]:
        reports = []
        for orphan in orphans:
            if orphan.attempt_id in self._supervisor.live or not kill_orphan(orphan, self._options.hostname):
                continue
            at = self._now()
            if orphan.state == "queued":
                event: DispatchLost | Failed = DispatchLost(attempt_id=orphan.attempt_id, at=at)
            else:
                error = f"the heartbeat of its supervisor {orphan.owner} was lost; the task's processes were killed"
                event = Failed(attempt_id=orphan.attempt_id, at=at, cause=Cause.HEARTBEAT_LOST, error=error)
            reports.append(Report(run=orphan.run, key=orphan.key, event=event))
        return reports

    def drain(self, timeout: float) -> list[Report]:
        self._draining = True
        deadline = self._supervisor.loop.monotonic() + timeout
        reports: list[Report] = []
        while self._supervisor.live and (remaining := deadline - self._supervisor.loop.monotonic()) > 0:
            reports += self.poll(remaining)
        for attempt_id in self._supervisor.live:
            self.cancel(attempt_id, reason="the executor is shutting down")
        while self._supervisor.live:
            reports += self.poll(None)
        return reports + self.poll(0.0)

    def stop(self) -> None:
        self._supervisor.stop()


def kill_orphan(orphan: Attempt, hostname: str) -> bool:
    """Kill the process group of an attempt whose supervisor died. Returns False if it still runs.

    Only processes of this machine can be killed, and only while the pid still belongs to the same process (or to its
    group: the system does not reuse the id of a group that has members).
    """
    if orphan.pid is None or orphan.hostname != hostname or not group_exists(orphan.pid):
        return True
    if process_started(orphan.pid) not in (None, orphan.pid_started):
        return True
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(orphan.pid, signal.SIGKILL)
    deadline = time.monotonic() + ORPHAN_SECONDS
    while group_exists(orphan.pid):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.005)
    return True
