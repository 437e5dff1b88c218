"""Sockets and timers of one thread: what the supervisor waits on.

Small on purpose: everything that happens is a call from :meth:`Loop.run_once`, in the thread that calls it. The loop's
own descriptor can be watched by another loop (epoll and kqueue nest), so that a scheduler waits in one place for all.
"""

from __future__ import annotations

import heapq
import itertools
import selectors
import time
from collections.abc import Callable
from typing import Any


class Timer:
    """A call that is due once; :meth:`cancel` takes it back."""

    __slots__ = ("call", "due")

    def __init__(self, due: float, call: Callable[[], None]) -> None:
        self.due = due
        self.call: Callable[[], None] | None = call

    def cancel(self) -> None:
        self.call = None


class Loop:
    """Calls back when a watched object is readable (or writable, where asked for) and when a timer is due."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self.monotonic = monotonic
        self._selector = selectors.DefaultSelector()
        self._timers: list[tuple[float, int, Timer]] = []
        self._order = itertools.count()

    def fileno(self) -> int | None:
        number = getattr(self._selector, "fileno", None)
        return None if number is None else int(number())

    def watch(self, what: Any, ready: Callable[[], None]) -> None:
        self._selector.register(what, selectors.EVENT_READ, ready)

    def also_writable(self, what: Any, wanted: bool) -> None:
        """Call back too when ``what`` takes more, for as long as it is wanted."""
        key = self._selector.get_key(what)
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if wanted else 0)
        if key.events != events:
            self._selector.modify(what, events, key.data)

    def unwatch(self, what: Any) -> None:
        self._selector.unregister(what)

    def after(self, seconds: float, call: Callable[[], None]) -> Timer:
        timer = Timer(self.monotonic() + seconds, call)
        heapq.heappush(self._timers, (timer.due, next(self._order), timer))
        return timer

    def next_timer(self) -> float | None:
        """Seconds until the next timer, 0 if one is due, None if there is none."""
        while self._timers and self._timers[0][2].call is None:
            heapq.heappop(self._timers)
        return max(0.0, self._timers[0][0] - self.monotonic()) if self._timers else None

    def run_once(self, timeout: float | None) -> None:
        """Wait for something to happen, at most ``timeout`` seconds (None: no limit), and call back for all of it."""
        timer = self.next_timer()
        if timer is not None:
            timeout = timer if timeout is None else min(timer, timeout)
        for key, _ in self._selector.select(timeout):
            if self._selector.get_map().get(key.fd) is key:  # else an earlier call of this round let go of it
                key.data()
        while self.next_timer() == 0.0:
            _, _, due = heapq.heappop(self._timers)
            if due.call is not None:
                due.call()

    def close(self) -> None:
        self._selector.close()
