"""Locks that a transaction of a shared MemoryStore holds until its end: rows of runs, and names.

They do what ``FOR UPDATE`` and advisory locks do in Postgres. A transaction takes its locks one after the other, in
order, and waits for each. How it waits is replaceable: threads wait on a condition; the simulator lets other schedulers
go on, and knows who waits for whom. Not modelled: the locks that a statement takes on rows of attempts, and deadlocks
by their order.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager

WaitFor = Callable[[Callable[[], bool]], None]


class Locks:
    """``wait_for`` returns when its argument returns True. ``in_transaction`` is called while rows are locked and
    nothing is written yet: there the simulator lets a transaction hang."""

    def __init__(self, condition: threading.Condition) -> None:
        self._condition = condition
        self._taken: set[Hashable] = set()
        self.wait_for: WaitFor = self._wait_in_thread
        self.in_transaction: Callable[[], None] = lambda: None

    @contextmanager
    def held(self, names: Sequence[Hashable]) -> Iterator[None]:
        """Hold these locks. Not reentrant, as two connections of one process are not."""
        mine: list[Hashable] = []
        try:
            for name in names:
                self._take(name)
                mine.append(name)
            self.in_transaction()
            yield
        finally:
            with self._condition:
                self._taken.difference_update(mine)
                self._condition.notify_all()

    def is_taken(self, name: Hashable) -> bool:
        return name in self._taken

    def _take(self, name: Hashable) -> None:
        while True:
            with self._condition:
                if name not in self._taken:
                    self._taken.add(name)
                    return
            self.wait_for(lambda: name not in self._taken)

    def _wait_in_thread(self, is_free: Callable[[], bool]) -> None:
        with self._condition:
            self._condition.wait_for(is_free)
