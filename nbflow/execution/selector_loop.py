"""A single-threaded event loop: sockets and timers that the supervisor waits on, with asyncio's names.

Every callback runs inside :meth:`EventLoop.run_once`, in the thread that calls it. The loop's own file descriptor can
be watched by another loop (epoll and kqueue nest), so a scheduler waits in one place for sockets, timers and executors.
"""

from __future__ import annotations

import heapq
import itertools
import selectors
import time
from collections.abc import Callable
from typing import Any


class TimerHandle:
    """A callback scheduled by :meth:`EventLoop.call_later`."""

    __slots__ = ("callback", "due")

    def __init__(self, due: float, callback: Callable[[], None]) -> None:
        self.due = due
        self.callback: Callable[[], None] | None = callback

    def cancel(self) -> None:
        self.callback = None


class EventLoop:
    """Calls back when a watched file is readable (or writable, on request) and when a timer is due."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self.monotonic = monotonic
        self._selector = selectors.DefaultSelector()
        self._timers: list[tuple[float, int, TimerHandle]] = []
        self._order = itertools.count()

    def fileno(self) -> int | None:
        number = getattr(self._selector, "fileno", None)
        return None if number is None else int(number())

    def add_reader(self, file: Any, callback: Callable[[], None]) -> None:
        self._selector.register(file, selectors.EVENT_READ, callback)

    def watch_writable(self, file: Any, enabled: bool) -> None:
        """While ``enabled``, call the reader's callback also when ``file`` is writable."""
        key = self._selector.get_key(file)
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if enabled else 0)
        if key.events != events:
            self._selector.modify(file, events, key.data)

    def remove_reader(self, file: Any) -> None:
        self._selector.unregister(file)

    def call_later(self, seconds: float, callback: Callable[[], None]) -> TimerHandle:
        timer = TimerHandle(self.monotonic() + seconds, callback)
        heapq.heappush(self._timers, (timer.due, next(self._order), timer))
        return timer

    def next_timer(self) -> float | None:
        """Seconds until the next timer, 0 if one is due, None if there is none."""
        while self._timers and self._timers[0][2].callback is None:
            heapq.heappop(self._timers)
        return max(0.0, self._timers[0][0] - self.monotonic()) if self._timers else None

    def run_once(self, timeout: float | None) -> None:
        """Wait up to ``timeout`` seconds (None: no limit) for events, and run their callbacks and all due timers."""
        seconds = self.next_timer()
        if seconds is not None:
            timeout = seconds if timeout is None else min(seconds, timeout)
        for key, _ in self._selector.select(timeout):
            if self._selector.get_map().get(key.fd) is key:  # an earlier callback of this call may have removed it
                key.data()
        while self.next_timer() == 0.0:
            _, _, timer = heapq.heappop(self._timers)
            if timer.callback is not None:
                timer.callback()

    def close(self) -> None:
        self._selector.close()
