"""Clocks: objects of three methods, which code that needs the time gets as an argument.

``SystemClock`` is the machine's clock. ``VirtualClock`` jumps: a wait sets it to the end of the wait, so a simulated
week takes only as long as its decisions, and the same decisions always give the same trace.
"""

from __future__ import annotations

import datetime as dt
import threading
import time
from dataclasses import dataclass
from typing import Protocol

from nbflow.errors import NbflowError

#: Longest single sleep of ``SystemClock.wait``. A sleep counts monotonic seconds, but ``until`` is a wall-clock time:
#: after a suspend or a clock correction a wait ends at most this much too late.
LONGEST_SLEEP_SECONDS = 60.0


class Clock(Protocol):
    """The services' source of time."""

    def now(self) -> dt.datetime:
        """The wall-clock time, aware, in UTC."""

    def monotonic(self) -> float:
        """Seconds since an arbitrary moment; never decreases. For durations and time limits."""

    def wait(self, event: threading.Event, until: dt.datetime | None) -> bool:
        """Return True as soon as ``event`` is set, False once ``until`` has come (``None``: never)."""


class SystemClock:
    """The machine's clock."""

    def now(self) -> dt.datetime:
        return dt.datetime.now(dt.UTC)

    def monotonic(self) -> float:
        return time.monotonic()

    def wait(self, event: threading.Event, until: dt.datetime | None) -> bool:
        while True:
            left = LONGEST_SLEEP_SECONDS if until is None else (until - self.now()).total_seconds()
            if event.wait(min(max(left, 0.0), LONGEST_SLEEP_SECONDS)):
                return True
            if until is not None and self.now() >= until:
                return False


@dataclass(frozen=True, slots=True)
class ClockWait:
    """One call of ``VirtualClock.wait``: the time of the call, its limit, and whether the event ended it."""

    at: dt.datetime
    until: dt.datetime | None
    woken: bool


class VirtualClock:
    """A clock that jumps; used by the simulator and by tests. Not thread-safe.

    ``waits`` records every wait, so that a test can assert how often and how long something slept.
    """

    def __init__(self, start: dt.datetime) -> None:
        self._now = _utc(start)
        self._elapsed = 0.0
        self.waits: list[ClockWait] = []

    def now(self) -> dt.datetime:
        return self._now

    def monotonic(self) -> float:
        return self._elapsed

    def wait(self, event: threading.Event, until: dt.datetime | None) -> bool:
        woken = event.is_set()
        self.waits.append(ClockWait(self._now, until, woken))
        if woken:
            return True
        if until is None:
            raise NbflowError(
                f"Virtual time cannot advance from {self._now.isoformat()}: a wait has no limit and nothing to end it."
            )
        self.advance_to(until)
        return False

    def advance_to(self, moment: dt.datetime) -> None:
        """Advance to ``moment``; a moment in the past changes nothing."""
        elapsed = (_utc(moment) - self._now).total_seconds()
        if elapsed > 0:
            self._now += dt.timedelta(seconds=elapsed)
            self._elapsed += elapsed

    def advance(self, delta: dt.timedelta) -> None:
        """Advance by ``delta``."""
        self.advance_to(self._now + delta)

    def set_wall(self, moment: dt.datetime) -> None:
        """Set the wall clock, also backwards, without advancing the monotonic clock, as a clock correction does."""
        self._now = _utc(moment)


def _utc(moment: dt.datetime) -> dt.datetime:
    if moment.tzinfo is None:
        raise NbflowError(f"{moment.isoformat()} has no time zone; times are aware.", hint="Add tzinfo=datetime.UTC.")
    return moment.astimezone(dt.UTC)
