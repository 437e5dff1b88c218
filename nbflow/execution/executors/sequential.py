"""SequentialExecutor: runs tries one after the other, in the calling process and thread.

User code runs inside :meth:`SequentialExecutor.poll`, with standard input and output unchanged, so breakpoints and
``print`` work as usual. ``dag.test()`` is built on it.

The executor accepts several tries at once, so that one transaction claims them and stores their states, and returns its
reports after :data:`BATCH_SECONDS`: short tasks share commits, and the end of a long task is reported at once. With
``announce``, each start is reported before the user code runs, so that other processes see the running task, at the
cost of one more commit per try. The lease of an attempt is not renewed while user code holds the thread, so it lasts a
day: the liveness of the process decides (:mod:`nbflow.services.background_heartbeat`).
"""

from __future__ import annotations

import socket
import time
from collections import deque
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from nbflow.core.attempt_events import DispatchLost, Event, Failed, KilledToRestart, Started
from nbflow.core.snapshot import TaskKey
from nbflow.core.states import Cause
from nbflow.execution.executors.base import Report, Submission
from nbflow.execution.task_client import utc_now
from nbflow.execution.task_runner import run_try
from nbflow.store.base import Attempt

if TYPE_CHECKING:
    from nbflow.authoring.dag import DAG
    from nbflow.execution.task_api import TaskApi
    from nbflow.execution.task_runner import Limits

BATCH_SIZE = 64
"""Number of tries accepted at once."""
BATCH_SECONDS = 0.05
LEASE = timedelta(days=1)

DagOf = Callable[[str, int], "DAG"]
"""(dag_id, version) -> the loaded DAG. Raises the error that prevents loading it."""


class SequentialExecutor:
    """An :class:`~nbflow.execution.executors.base.Executor` without processes.

    :meth:`poll` raises a task's KeyboardInterrupt: the try has no reported end, as if the process had been killed,
    unless the caller reports one."""

    name = "SequentialExecutor"
    runs_in_caller = True

    def __init__(
        self,
        task_api: TaskApi,
        *,
        dag_of: DagOf,
        owner: str = "sequential",
        now: Callable[[], datetime] = utc_now,
        limits: Limits | None = None,
        monotonic: Callable[[], float] = time.monotonic,
        announce: bool = False,
    ) -> None:
        self._task_api = task_api
        self._dag_of = dag_of
        self._owner = owner
        self._now = now
        self._limits = limits
        self._monotonic = monotonic
        self._announce = announce
        self._announced = ""
        self._hostname = socket.gethostname()
        self._queue: deque[Submission] = deque()
        self._reports: list[Report] = []
        self._draining = False

    @property
    def slots_free(self) -> int:
        return 0 if self._draining else max(0, BATCH_SIZE - len(self._queue))

    @property
    def live(self) -> Sequence[str]:
        return [submission.workload.attempt_id for submission in self._queue]

    def start(self) -> None:
        """No-op."""

    def fileno(self) -> None:
        return None

    def next_timer(self) -> float | None:
        return 0.0 if self._queue or self._reports else None

    def submit(self, submissions: Sequence[Submission]) -> None:
        claimed = self._task_api.store.claim_all(
            [submission.workload.attempt_id for submission in submissions],
            owner=self._owner,
            hostname=self._hostname,
            lease=LEASE,
            now=self._now(),
        )
        self._queue.extend(submission for submission in submissions if submission.workload.attempt_id in claimed)

    def cancel(self, attempt_id: str, *, reason: str, restart: bool = False) -> bool:
        """Remove a try that has not started. A running try cannot be cancelled: it occupies the only thread."""
        for submission in self._queue:
            if submission.workload.attempt_id == attempt_id:
                self._queue.remove(submission)
                at = self._now()
                killed = Failed(attempt_id=attempt_id, at=at, cause=Cause.KILLED, error=reason, retry=False)
                self._report(submission, KilledToRestart(attempt_id=attempt_id, at=at) if restart else killed)
                return True
        return False

    def poll(self, timeout: float | None = 0.0) -> list[Report]:
        """Run queued tries until none is left or BATCH_SECONDS have passed. ``timeout`` has no effect."""
        deadline = self._monotonic() + BATCH_SECONDS
        while self._queue:
            if self._announce and self._announced != self._queue[0].workload.attempt_id:
                self._start(self._queue[0])
                break
            self._run(self._queue.popleft())
            if self._monotonic() >= deadline:
                break
        reports, self._reports = self._reports, []
        return reports

    def _start(self, submission: Submission) -> None:
        self._announced = submission.workload.attempt_id
        self._report(submission, Started(attempt_id=self._announced, at=self._now()))

    def _run(self, submission: Submission) -> None:
        workload = submission.workload
        if self._announced != workload.attempt_id:
            self._start(submission)
        try:
            dag = self._dag_of(workload.run.dag_id, workload.version)
            task = dag.get_task(workload.task_id)
        except Exception as error:
            text = f"{type(error).__name__}: {error}"
            return self._report(
                submission, Failed(attempt_id=workload.attempt_id, at=self._now(), cause=Cause.LOAD_FAILED, error=text)
            )
        runtime = self._task_api.runtime(workload, now=self._now)
        options: dict[str, Any] = {} if self._limits is None else {"limits": self._limits}
        outcome = run_try(dag, task, workload, runtime, **options)
        self._report(submission, outcome.event, outcome.callbacks_run)

    def _report(self, submission: Submission, event: Event, callbacks_run: tuple[str, ...] = ()) -> None:
        workload = submission.workload
        key = TaskKey(workload.task_id, workload.map_index)
        self._reports.append(Report(run=workload.run.key, key=key, event=event, callbacks_run=callbacks_run))

    def adopt(self, orphans: Sequence[Attempt]) -> list[Report]:
        reports = []
        for orphan in orphans:
            at = self._now()
            event: Event = DispatchLost(attempt_id=orphan.attempt_id, at=at)
            if orphan.state != "queued":
                error = f"the heartbeat of the process that ran the task ({orphan.owner}) was lost"
                event = Failed(attempt_id=orphan.attempt_id, at=at, cause=Cause.HEARTBEAT_LOST, error=error)
            reports.append(Report(run=orphan.run, key=orphan.key, event=event))
        return reports

    def drain(self, timeout: float) -> list[Report]:
        self._draining = True
        deadline = self._monotonic() + timeout
        reports: list[Report] = []
        while self._queue and self._monotonic() < deadline:
            reports += self.poll()
        for attempt_id in self.live:
            self.cancel(attempt_id, reason="the executor is shutting down")
        return reports + self.poll()

    def stop(self) -> None:
        self._queue.clear()
