"""Simulated workers: they claim attempts, run for simulated seconds, and report their outcomes.

What a real worker does with processes, sockets and signals is here a handful of dict entries and planned events, but
the protocol with the store is the real one: claim, lease, XCom push, outcome; and a worker whose attempt is no longer
current kills its work. Faults strike here, at the points that :mod:`nbflow.sim.fault_injection` names.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from nbflow.clock import VirtualClock
from nbflow.core import events as ev
from nbflow.core.snapshot import RunKey, Snapshot, TaskKey
from nbflow.core.states import Cause, TaskState
from nbflow.errors import StaleAttempt
from nbflow.sim.fault_injection import Faults
from nbflow.sim.outcomes import Does, Outcomes
from nbflow.store.base import Attempt, Store

LEASE = timedelta(seconds=60)
KILL_SECONDS = 1.0
"""From the order to kill a task to its end."""
OWNER = "worker"


class Agenda(Protocol):
    """Where a worker enters what is to happen later."""

    def later(self, seconds: float, what: Callable[[], None]) -> None: ...


@dataclass(slots=True)
class Work:
    """An attempt in progress."""

    attempt: Attempt
    does: Does
    started_at: datetime
    lost: bool = False
    """The worker is dead: it neither reports nor renews its lease."""


class Workers:
    """The executor and its workers. ``tell`` takes an event to the core; ``note`` records what struck."""

    def __init__(
        self,
        *,
        store: Store,
        clock: VirtualClock,
        agenda: Agenda,
        outcomes: Outcomes,
        faults: Faults,
        find: Callable[[RunKey], Snapshot | None],
        tell: Callable[[RunKey, TaskKey, ev.Event], None],
        note: Callable[[str, Attempt], None],
    ) -> None:
        self.store, self.clock, self.agenda = store, clock, agenda
        self.outcomes, self.faults, self.find, self.tell, self.note = outcomes, faults, find, tell, note
        self.working: dict[str, Work] = {}
        self.visits: dict[tuple[RunKey, TaskKey, int], int] = {}
        self._looks_for_expiry = False
        self.leftovers: list[str] = []
        """Broken promises about XComs, for the invariants to report."""

    @property
    def busy(self) -> int:
        """Slots in use."""
        return len(self.working)

    # --- taking an attempt

    def submit(self, attempt: Attempt) -> None:
        """The scheduler hands over an attempt that it has committed as queued."""
        if self.strikes("submit_lost", attempt):
            return self._expect_expiry()
        self.deliver(attempt)
        if self.strikes("duplicate_delivery", attempt):
            self.deliver(attempt)

    def deliver(self, attempt: Attempt) -> None:
        """An attempt reaches a worker."""
        now = self.clock.now()
        claimed = self.store.claim(attempt.attempt_id, owner=OWNER, hostname="sim", lease=LEASE, now=now)
        if not claimed:
            self._give_back(attempt)
            return
        if self.strikes("claim_lost", attempt):
            return self._expect_expiry()
        work = self.working[attempt.attempt_id] = Work(attempt, self._does(attempt), now)
        if not attempt.continues and self.store.xcoms(attempt.run, attempt.key):
            self.leftovers.append(f"{attempt.key} of {attempt.run.run_id} sees XComs of an earlier try")
        seconds, event = self._end_of(work)
        if self.strikes("reordered_events", attempt):
            started = ev.Started(attempt_id=attempt.attempt_id, at=now)
            self.agenda.later(seconds + 1, lambda: self.tell(attempt.run, attempt.key, started))
        else:
            self.tell(attempt.run, attempt.key, ev.Started(attempt_id=attempt.attempt_id, at=now))
        if self.strikes("worker_killed", attempt):
            work.lost = True
            self.agenda.later(seconds / 2, lambda: self._die(work))
            return
        self.agenda.later(seconds, lambda: self._finish(work, event))

    def _give_back(self, attempt: Attempt) -> None:
        """A claim that is refused: a duplicate, or an attempt that was cleared before anybody took it. The latter ends
        here, since no other worker ever will."""
        snapshot = self.find(attempt.run)
        ti = snapshot.instances.get(attempt.key) if snapshot else None
        mine = ti is not None and ti.attempt_id == attempt.attempt_id and attempt.attempt_id not in self.working
        if mine and ti is not None and ti.state is TaskState.RESTARTING:
            self.tell(attempt.run, attempt.key, ev.KilledToRestart(attempt_id=attempt.attempt_id, at=self.clock.now()))

    def _does(self, attempt: Attempt) -> Does:
        snapshot = self.find(attempt.run)
        assert snapshot is not None, "an attempt was dispatched for a run that is not there"
        name = (attempt.run, attempt.key, attempt.try_number)
        visit = self.visits.get(name, 0)
        self.visits[name] = visit + 1
        task = snapshot.dag.tasks[attempt.key.task_id]
        does = self.outcomes.of(snapshot.dag, snapshot.run, task, attempt.key, attempt.try_number, visit)
        limit = task.execution_timeout
        if limit is not None and does.seconds > limit:
            return Does(ending="time_out", seconds=limit)
        return does

    # --- ending it

    def _end_of(self, work: Work) -> tuple[float, Callable[[datetime], ev.Event]]:
        does, attempt_id = work.does, work.attempt.attempt_id
        return does.seconds, lambda at: outcome_event(does, attempt_id, work.started_at, at)

    def _finish(self, work: Work, event: Callable[[datetime], ev.Event]) -> None:
        attempt = work.attempt
        if self.working.get(attempt.attempt_id) is not work:
            if self.strikes("late_event", attempt):
                self.tell(attempt.run, attempt.key, event(self.clock.now()))
            return
        if self.strikes("outcome_lost", attempt):
            work.lost = True
            self._die(work)
            return
        del self.working[attempt.attempt_id]
        happened = event(self.clock.now())
        if isinstance(happened, ev.Succeeded):
            self._push_result(attempt)
        self.tell(attempt.run, attempt.key, happened)
        if isinstance(happened, ev.Deferred):
            fired = work.does.wait_seconds
            self.agenda.later(fired, lambda: self._fire(attempt))
        if self.strikes("duplicate_event", attempt):
            self.tell(attempt.run, attempt.key, event(self.clock.now()))

    def _fire(self, attempt: Attempt) -> None:
        fired = ev.TriggerFired(attempt_id=attempt.attempt_id, at=self.clock.now(), payload={"fired": True})
        self.tell(attempt.run, attempt.key, fired)
        if self.strikes("duplicate_event", attempt, "trigger"):
            self.tell(attempt.run, attempt.key, fired)

    def _push_result(self, attempt: Attempt) -> None:
        try:
            self.store.xcom_push(
                attempt.attempt_id, "return_value", json.dumps(attempt.attempt_id), now=self.clock.now()
            )
        except StaleAttempt:
            self.note("fenced", attempt)

    # --- what goes wrong

    def strikes(self, name: str, attempt: Attempt, *more: object) -> bool:
        struck = self.faults.strikes(name, attempt.attempt_id, *more)
        if struck:
            self.note(name, attempt)
        return struck

    def _die(self, work: Work) -> None:
        if self.working.get(work.attempt.attempt_id) is work:
            del self.working[work.attempt.attempt_id]
        self._expect_expiry()

    def _expect_expiry(self) -> None:
        if not self._looks_for_expiry:
            self._looks_for_expiry = True
            self.agenda.later(LEASE.total_seconds() + 1, self._look_for_expiry)

    def _look_for_expiry(self) -> None:
        self._looks_for_expiry = False
        self.expire()

    def expire(self, *, heartbeats_late: bool = False) -> None:
        """Healthy workers renew their leases, unless they are late; leases that ran out end their attempts."""
        now = self.clock.now()
        healthy = [attempt_id for attempt_id, work in self.working.items() if not work.lost]
        if healthy and not heartbeats_late:
            self.store.heartbeat(healthy, owner=OWNER, lease=LEASE, now=now)
        for attempt in self.store.expired(now):
            gone = self.working.pop(attempt.attempt_id, None)
            if gone is not None:
                self.note("fenced", attempt)
            self.tell(attempt.run, attempt.key, expiry_event(attempt, now))
        if self._some_lost():
            self._expect_expiry()

    def _some_lost(self) -> bool:
        """Whether an attempt is live in the store that no worker works on."""
        return any(attempt.attempt_id not in self.working for attempt in self.store.live_attempts())

    def reap(self) -> None:
        """Kill work whose attempt is no longer current (its run timed out, a user marked or cleared it)."""
        for attempt_id, work in list(self.working.items()):
            attempt = work.attempt
            snapshot = self.find(attempt.run)
            ti = snapshot.instances.get(attempt.key) if snapshot else None
            if ti is not None and ti.attempt_id == attempt_id:
                if ti.state in (TaskState.QUEUED, TaskState.RUNNING):
                    continue
                if ti.state is TaskState.RESTARTING:
                    self.agenda.later(KILL_SECONDS, lambda work=work: self._killed(work))  # type: ignore[misc]
                    continue
            del self.working[attempt_id]

    def _killed(self, work: Work) -> None:
        attempt = work.attempt
        if self.working.pop(attempt.attempt_id, None) is not None:
            self.tell(attempt.run, attempt.key, ev.KilledToRestart(attempt_id=attempt.attempt_id, at=self.clock.now()))


def expiry_event(attempt: Attempt, now: datetime) -> ev.Event:
    """What a lease that ran out means: nobody ever took the attempt, or whoever did is gone."""
    if attempt.state == "queued":
        return ev.DispatchLost(attempt_id=attempt.attempt_id, at=now)
    return ev.Failed(attempt_id=attempt.attempt_id, at=now, cause=Cause.HEARTBEAT_LOST, error="its worker is gone")


def outcome_event(does: Does, attempt_id: str, started_at: datetime, at: datetime) -> ev.Event:
    """The report with which an attempt ends."""
    if does.ending == "success":
        return ev.Succeeded(
            attempt_id=attempt_id,
            at=at,
            started_at=started_at,
            length=does.length,
            follow=does.follow,
            skip=does.skip,
        )
    if does.ending == "skip":
        return ev.SkippedItself(attempt_id=attempt_id, at=at, started_at=started_at)
    if does.ending == "reschedule":
        until = at + timedelta(seconds=does.wait_seconds)
        return ev.Rescheduled(attempt_id=attempt_id, at=at, started_at=started_at, until=until)
    if does.ending == "defer":
        timeout = does.timeout_seconds
        return ev.Deferred(
            attempt_id=attempt_id,
            at=at,
            started_at=started_at,
            trigger={"name": "simulated", "seconds": does.wait_seconds},
            next_method="execute_complete",
            timeout_at=None if timeout is None else at + timedelta(seconds=timeout),
        )
    cause, error = _FAILURES[does.ending]
    return ev.Failed(attempt_id=attempt_id, at=at, started_at=started_at, cause=cause, error=error)


_FAILURES = {
    "fail": (Cause.RAISED, "simulated failure"),
    "fail_hard": (Cause.FAILED_HARD, "simulated failure without a retry"),
    "die": (Cause.PROCESS_DIED, "killed"),
    "time_out": (Cause.EXECUTION_TIMEOUT, "ran longer than execution_timeout"),
}
