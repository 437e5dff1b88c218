"""LocalExecutor: tries in processes of their own on this machine, so many at a time."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Sequence
from datetime import datetime

from nbflow.core.events import DispatchLost, Failed
from nbflow.core.states import Cause
from nbflow.execution.executors.base import Report, Submission
from nbflow.execution.process_pool import group_exists
from nbflow.execution.supervisor import Supervisor, SupervisorOptions, process_started
from nbflow.execution.task_api import TaskApi
from nbflow.execution.task_client import utc_now
from nbflow.store.base import Attempt, DagVersion

GATHER_SECONDS = 0.01
"""How long, while tries crowd each other, a report waits for others to be stored with it in one transaction."""
ORPHAN_SECONDS = 5.0
"""How long an orphan may take to go after SIGKILL, before it is left for the next look."""


class LocalExecutor:
    """See :class:`nbflow.execution.executors.base.Executor`."""

    name = "LocalExecutor"

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
        until = None if timeout is None else loop.monotonic() + timeout
        loop.run_once(0.0)
        while not supervisor.reports:
            left = None if until is None else until - loop.monotonic()
            if left is not None and left <= 0:
                break
            loop.run_once(left)
        if supervisor.reports:
            self._gather()
        reports, supervisor.reports = supervisor.reports, []
        return reports

    def _gather(self) -> None:
        """Each turn of the scheduler takes a core from the tries that it waits for."""
        loop, until = self._supervisor.loop, self._supervisor.loop.monotonic() + GATHER_SECONDS
        while (left := until - loop.monotonic()) > 0 and self._supervisor.crowded:
            loop.run_once(left)

    def adopt(self, orphans: Sequence[Attempt]) -> list[Report]:
        reports = []
        for orphan in orphans:
            if orphan.attempt_id in self._supervisor.live or not end_orphan(orphan, self._options.hostname):
                continue
            at = self._now()
            if orphan.state == "queued":
                event: DispatchLost | Failed = DispatchLost(attempt_id=orphan.attempt_id, at=at)
            else:
                error = f"its supervisor {orphan.owner} was not heard of; its processes were ended"
                event = Failed(attempt_id=orphan.attempt_id, at=at, cause=Cause.HEARTBEAT_LOST, error=error)
            reports.append(Report(run=orphan.run, key=orphan.key, event=event))
        return reports

    def drain(self, timeout: float) -> list[Report]:
        self._draining = True
        until = self._supervisor.loop.monotonic() + timeout
        reports: list[Report] = []
        while self._supervisor.live and (left := until - self._supervisor.loop.monotonic()) > 0:
            reports += self.poll(left)
        for attempt_id in self._supervisor.live:
            self.cancel(attempt_id, reason="the executor is ending")
        while self._supervisor.live:
            reports += self.poll(None)
        return reports + self.poll(0.0)

    def stop(self) -> None:
        self._supervisor.stop()


def end_orphan(orphan: Attempt, hostname: str) -> bool:
    """End what is left of an attempt whose supervisor died. False: it is still there.

    Only this machine's processes can be ended, and only while the number still means the same process (or its group:
    the number of a group is not given again while a member lives).
    """
    if orphan.pid is None or orphan.hostname != hostname or not group_exists(orphan.pid):
        return True
    if process_started(orphan.pid) not in (None, orphan.pid_started):
        return True
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(orphan.pid, signal.SIGKILL)
    until = time.monotonic() + ORPHAN_SECONDS
    while group_exists(orphan.pid):
        if time.monotonic() > until:
            return False
        time.sleep(0.005)
    return True
