"""The store as an actor of a simulated world sees it: at each call others may go on, and faults strike."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any, Protocol

from nbflow.store.base import DagRow, Store


class Calls(Protocol):
    """Makes the calls of the current actor (:class:`nbflow.sim.world.World`)."""

    def make_call(self, name: str, call: Callable[[], Any]) -> Any: ...
    def has_schedule(self) -> bool:
        """Whether the schedule still creates runs."""


class StoreCalls:
    """A :class:`~nbflow.store.base.Store` whose calls go through ``calls``."""

    def __init__(self, store: Store, calls: Calls) -> None:
        self.store, self._calls = store, calls

    def __getattr__(self, name: str) -> Any:
        method = getattr(self.store, name)
        if not callable(method):
            return method
        make_call = self._calls.make_call

        def call(*args: Any, **kwargs: Any) -> Any:
            return make_call(name, lambda: method(*args, **kwargs))

        self.__dict__[name] = call  # the next time, __getattr__ is not called
        return call

    @contextmanager
    def lock(self, name: str) -> Iterator[None]:
        self._calls.make_call("lock", lambda: None)
        with self.store.lock(name):
            yield
        self._calls.make_call("unlock", lambda: None)

    def due_dags(self, now: datetime) -> list[DagRow]:
        def call() -> list[DagRow]:
            return self.store.due_dags(now) if self._calls.has_schedule() else []

        return self._calls.make_call("due_dags", call)  # type: ignore[no-any-return]

    def next_due(self, *, after: datetime | None = None) -> datetime | None:
        def call() -> datetime | None:
            return self.store.next_due(after=after) if self._calls.has_schedule() else None

        return self._calls.make_call("next_due", call)  # type: ignore[no-any-return]
