"""The simulated executor: tasks are entries with an end in virtual time; the protocol with the store is the real one.

:class:`SimulatedExecutor` keeps the rules of :mod:`nbflow.execution.executors.base` as the LocalExecutor behaviour: it
claims what is submitted, renews its leases by heartbeats, kills what the store no longer grants, and reports each end
once. It runs in its scheduler's turns: a scheduler that stands still does not renew the leases of its tasks, whose
processes go on meanwhile (:class:`Processes` has those of all hosts).
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from nbflow.clock import Clock
from nbflow.config import SchedulerSettings
from nbflow.core import attempt_events as ev
from nbflow.core.snapshot import RunKey, TaskKey
from nbflow.core.states import Cause
from nbflow.errors import StaleAttempt, StoreError
from nbflow.execution.executors.base import Report, Submission
from nbflow.execution.supervisor import LEASE_SAFETY
from nbflow.sim.interleaving import Interleaver
from nbflow.sim.outcomes import Behaviour, Outcomes
from nbflow.store.base import Attempt, Store

KILL_SECONDS = 1.0
"""From the order to kill a task to its end."""
NO_LIMIT = 10**9
"""Slots of an executor without a limit."""


@dataclass(slots=True)
class Process:
    """A task at work. Times are microseconds of the interleaver."""

    submission: Submission
    behaviour: Behaviour
    hostname: str
    started_at: datetime
    ends: int
    lease_ends: int = 0
    """By the monotonic clock: whatever the hosts' clocks say, until then the attempt is its supervisor's."""
    killed_for: ev.Event | None = None
    """The report of a process that was killed, when it has ended."""

    @property
    def attempt_id(self) -> str:
        return self.submission.workload.attempt_id

    @property
    def run(self) -> RunKey:
        return self.submission.workload.run.key

    @property
    def key(self) -> TaskKey:
        return TaskKey(self.submission.workload.task_id, self.submission.workload.map_index)


class Processes:
    """The task processes of all hosts, and what they show of broken promises."""

    def __init__(self, store: Store, turns: Interleaver, outcomes: Outcomes) -> None:
        self._store, self._turns, self._outcomes = store, turns, outcomes
        self.working: dict[str, Process] = {}
        """By attempt: submitted, and their end is not reported yet."""
        self.breaches: list[tuple[int, str, RunKey, TaskKey]] = []
        """(promise, what, where): for the invariants to report."""
        self._attempt_counts: Counter[tuple[RunKey, TaskKey, int]] = Counter()
        self._running: dict[tuple[RunKey, TaskKey], Process] = {}

    def start(self, submission: Submission, hostname: str, now: datetime) -> Process:
        """A child begins to work on an attempt that was claimed."""
        behaviour = self._behaviour(submission)
        process = Process(submission, behaviour, hostname, now, self._turns.elapsed + round(behaviour.seconds * 1e6))
        self._check_start(process)
        self.working[process.attempt_id] = self._running[process.run, process.key] = process
        return process

    def _behaviour(self, submission: Submission) -> Behaviour:
        work, task = submission.workload, submission.task
        key = TaskKey(work.task_id, work.map_index)
        name = (work.run.key, key, work.try_number)
        attempt_index = self._attempt_counts[name]
        self._attempt_counts[name] += 1
        version = self._store.version(work.run.dag_id, work.version)
        assert version is not None, "an attempt was submitted for a version that is not stored"
        behaviour = self._outcomes.of(version.spec, work.run, task, key, work.try_number, attempt_index)
        limit = task.execution_timeout
        return (
            Behaviour(outcome="time_out", seconds=limit)
            if limit is not None and behaviour.seconds > limit
            else behaviour
        )

    def _check_start(self, process: Process) -> None:
        before = self._running.get((process.run, process.key))
        if before is not None and before.hostname == process.hostname and before.ends > self._turns.elapsed:
            what = f"attempt {process.attempt_id} starts while {before.attempt_id} still runs on the same host"
            self.breaches.append((21, what, process.run, process.key))
        attempt = self._store.attempt(process.attempt_id)
        if attempt is not None and not attempt.continues and self._store.xcoms(process.run, process.key):
            self.breaches.append((16, "it sees XComs of an earlier try", process.run, process.key))

    def kill(self, process: Process, seconds: float = 0.0) -> None:
        """End a process after ``seconds`` at the latest."""
        process.ends = min(process.ends, self._turns.elapsed + round(seconds * 1e6))

    def kill_attempt(self, attempt_id: str, hostname: str) -> None:
        """Kill the process group of an attempt, if it runs on this host."""
        process = next((p for p in self._running.values() if p.attempt_id == attempt_id), None)
        if process is not None and process.hostname == hostname and process.ends > self._turns.elapsed:
            died = ev.Failed(attempt_id=attempt_id, at=process.started_at, cause=Cause.PROCESS_DIED, error="killed")
            process.killed_for = process.killed_for or died
            self.kill(process)

    def hang_up(self, owned: Sequence[str]) -> None:
        """The supervisor of these attempts has died: their processes notice and end; nobody reports it."""
        for attempt_id in owned:
            process = self.working.pop(attempt_id, None)
            if process is not None:
                self.kill(process, KILL_SECONDS)

    def now(self) -> int:
        """Microseconds since the world began."""
        return self._turns.elapsed

    @property
    def busy(self) -> int:
        """Slots in use."""
        return len(self.working)


class SimulatedExecutor:
    """An :class:`~nbflow.execution.executors.base.Executor` on virtual time. ``store``: its scheduler's."""

    name = "SimulatedExecutor"
    runs_in_caller = False

    def __init__(
        self,
        store: Store,
        clock: Clock,
        processes: Processes,
        turns: Interleaver,
        settings: SchedulerSettings,
        *,
        owner: str,
        hostname: str,
        slots: int | None,
        note: Callable[[str], None],
    ) -> None:
        self._store, self._clock, self._processes, self._turns = store, clock, processes, turns
        self._owner, self._hostname, self._note = owner, hostname, note
        self.slots = slots
        self._lease = timedelta(seconds=settings.task_instance_heartbeat_timeout)
        self._heartbeat = round(settings.task_instance_heartbeat_sec * 1e6)
        self._last_heartbeat = self._last_renewal = 0
        self._mine: dict[str, Process] = {}
        self._reports: list[Report] = []
        self._draining = False
        self.doubled = False
        """Whether every event is reported twice: a fault."""

    @property
    def slots_free(self) -> int:
        if self._draining:
            return 0
        return NO_LIMIT if self.slots is None else max(0, self.slots - len(self._mine))

    @property
    def live(self) -> Sequence[str]:
        return list(self._mine)

    def start(self) -> None:
        """Nothing to do."""

    def fileno(self) -> None:
        return None

    def next_timer(self) -> float | None:
        if self._reports:
            return 0.0
        if not self._mine:
            return None
        due = min(min(process.ends for process in self._mine.values()), self._last_heartbeat + self._heartbeat)
        return max(due - self._turns.elapsed, 0) / 1e6

    # --- tries

    def submit(self, submissions: Sequence[Submission]) -> None:
        now = self._clock.now()
        claimed = self._store.claim_all(
            [submission.workload.attempt_id for submission in submissions],
            owner=self._owner,
            hostname=self._hostname,
            lease=self._lease,
            now=now,
        )
        if not self._mine:
            self._last_heartbeat = self._last_renewal = self._turns.elapsed
        for submission in submissions:
            if submission.workload.attempt_id in claimed:
                process = self._processes.start(submission, self._hostname, now)
                self._mine[process.attempt_id] = process
                process.lease_ends = self._turns.elapsed + round(self._lease.total_seconds() * 1e6)
                self._report(process, ev.Started(attempt_id=process.attempt_id, at=now))

    def cancel(self, attempt_id: str, *, reason: str, restart: bool = False) -> bool:
        process = self._mine.get(attempt_id)
        if process is None:
            return False
        now = self._clock.now()
        killed = ev.Failed(attempt_id=attempt_id, at=now, cause=Cause.KILLED, error=reason, retry=False)
        self._kill(process, ev.KilledToRestart(attempt_id=attempt_id, at=now) if restart else killed, KILL_SECONDS)
        return True

    def _kill(self, process: Process, event: ev.Event, seconds: float) -> None:
        if process.killed_for is None:
            process.killed_for = event
            self._processes.kill(process, seconds)

    def kill_oldest(self) -> None:
        """A fault: the process of the oldest task dies."""
        for process in list(self._mine.values())[:1]:
            at = self._clock.now()
            failed = ev.Failed(attempt_id=process.attempt_id, at=at, cause=Cause.PROCESS_DIED, error="killed")
            self._kill(process, failed, 0.0)

    def poll(self, timeout: float | None = 0.0) -> list[Report]:
        deadline = None if timeout is None else self._turns.elapsed + round(timeout * 1e6)
        self._serve()
        while not self._reports and (deadline is None or self._turns.elapsed < deadline):
            timer = self.next_timer()
            left = None if deadline is None else (deadline - self._turns.elapsed) / 1e6
            if timer is None and left is None:
                break
            self._turns.wait(min(seconds for seconds in (timer, left) if seconds is not None))
            self._serve()
        reports, self._reports = self._reports, []
        return reports

    def _serve(self) -> None:
        if not self._mine:
            return
        if self._turns.elapsed - self._last_heartbeat >= self._heartbeat:
            self._renew_leases()
        for process in self._ended():
            self._end(process)

    def _ended(self) -> Iterator[Process]:
        due = [process for process in self._mine.values() if process.ends <= self._turns.elapsed]
        yield from sorted(due, key=lambda process: process.ends)

    def _end(self, process: Process) -> None:
        at = self._clock.now()
        event = outcome_event(process.behaviour, process.attempt_id, process.started_at, at)
        if process.killed_for is not None:
            event = replace(process.killed_for, at=at)
        if isinstance(event, ev.Succeeded) and not self._push_result(process, at):
            return
        self._mine.pop(process.attempt_id, None)
        self._processes.working.pop(process.attempt_id, None)
        self._report(process, event)

    def _push_result(self, process: Process, now: datetime) -> bool:
        """False: the store could not be reached; the task tries again in a second."""
        try:
            self._store.xcom_push(process.attempt_id, "return_value", json.dumps(process.attempt_id), now=now)
        except StaleAttempt:
            self._note(f"fenced {process.attempt_id}")
        except StoreError:
            process.ends = self._turns.elapsed + 1_000_000
            return False
        return True

    def _renew_leases(self) -> None:
        """As :meth:`nbflow.execution.supervisor.Supervisor._renew_leases` behaviour."""
        now = self._last_heartbeat = self._turns.elapsed
        ids = self.live
        try:
            lost = self._store.heartbeat(ids, owner=self._owner, lease=self._lease, now=self._clock.now())
            self._last_renewal = now
            for attempt_id in set(ids).difference(lost):
                self._mine[attempt_id].lease_ends = now + round(self._lease.total_seconds() * 1e6)
        except StoreError:
            age = (now - self._last_renewal + self._heartbeat) / 1e6
            lost = list(ids) if age > LEASE_SAFETY * self._lease.total_seconds() else []
        for attempt_id in lost:
            at, error = self._clock.now(), "the lease of the attempt was lost"
            failed = ev.Failed(attempt_id=attempt_id, at=at, cause=Cause.HEARTBEAT_LOST, error=error)
            self._kill(self._mine[attempt_id], failed, 0.0)

    def _report(self, process: Process, event: ev.Event) -> None:
        report = Report(run=process.run, key=process.key, event=event)
        self._reports += [report, report] if self.doubled else [report]

    def adopt(self, orphans: Sequence[Attempt]) -> list[Report]:
        reports = []
        for orphan in orphans:
            if orphan.attempt_id in self._mine:
                continue
            if orphan.hostname == self._hostname:
                self._processes.kill_attempt(orphan.attempt_id, self._hostname)
            at = self._clock.now()
            event: ev.Event = ev.DispatchLost(attempt_id=orphan.attempt_id, at=at)
            if orphan.state != "queued":
                error = f"the heartbeat of its supervisor {orphan.owner} was lost"
                event = ev.Failed(attempt_id=orphan.attempt_id, at=at, cause=Cause.HEARTBEAT_LOST, error=error)
            reports.append(Report(run=orphan.run, key=orphan.key, event=event))
        return reports

    def drain(self, timeout: float) -> list[Report]:
        self._draining = True
        deadline = self._turns.elapsed + round(timeout * 1e6)
        reports: list[Report] = []
        while self._mine and self._turns.elapsed < deadline:
            reports += self.poll((deadline - self._turns.elapsed) / 1e6)
        for attempt_id in self.live:
            self.cancel(attempt_id, reason="the executor is shutting down")
        while self._mine:
            reports += self.poll(None)
        return reports + self.poll(0.0)

    def stop(self) -> None:
        for process in self._mine.values():
            self._processes.working.pop(process.attempt_id, None)
            self._processes.kill(process)
        self._mine.clear()

    def die(self) -> None:
        """The scheduler's process was killed."""
        self._processes.hang_up(self.live)
        self._mine.clear()


def outcome_event(behaviour: Behaviour, attempt_id: str, started_at: datetime, at: datetime) -> ev.Event:
    """The event that reports the end of an attempt."""
    if behaviour.outcome == "success":
        return ev.Succeeded(
            attempt_id=attempt_id,
            at=at,
            started_at=started_at,
            length=behaviour.length,
            follow=behaviour.follow,
            skip=behaviour.skip,
        )
    if behaviour.outcome == "skip":
        return ev.SkippedItself(attempt_id=attempt_id, at=at, started_at=started_at)
    if behaviour.outcome == "reschedule":
        until = at + timedelta(seconds=behaviour.wait_seconds)
        return ev.Rescheduled(attempt_id=attempt_id, at=at, started_at=started_at, until=until)
    if behaviour.outcome == "defer":
        timeout = behaviour.timeout_seconds
        return ev.Deferred(
            attempt_id=attempt_id,
            at=at,
            started_at=started_at,
            trigger={"name": "simulated", "seconds": behaviour.wait_seconds},
            next_method="execute_complete",
            timeout_at=None if timeout is None else at + timedelta(seconds=timeout),
        )
    cause, error = _FAILURES[behaviour.outcome]
    return ev.Failed(attempt_id=attempt_id, at=at, started_at=started_at, cause=cause, error=error)


_FAILURES = {
    "fail": (Cause.RAISED, "simulated failure"),
    "fail_hard": (Cause.FAILED_HARD, "simulated failure without a retry"),
    "die": (Cause.PROCESS_DIED, "killed"),
    "time_out": (Cause.EXECUTION_TIMEOUT, "ran longer than execution_timeout"),
}
