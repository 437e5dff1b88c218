"""The watched views: one fetch and one patch per query, for any number of watches.

Rules
-----
* Equal queries share one :class:`SharedView`. It is fetched for its first watch, and again after a commit that may
  change it: an event of the DAG or run that the query names (of any DAG, for a query that is not ``SELF_CONTAINED``),
  or a change outside the history (a pause, an import error, a new version, a process). A view is also fetched at its
  ``wake_at``, since it changes with time.
* No change is missed. The history is read up to a cursor *before* the views are fetched, so a fetch is never older than
  the events that caused it. After a StaleCursor, or :data:`MAX_EVENTS` events at once, all views are fetched.
* A slow watcher does not block the feed. A :class:`Watch` that takes messages late gets a single patch from the view
  that it took last to the newest, computed on its own thread. So it holds at most one old view.
* The watches of a view whose fetch fails get a :class:`FetchError`; the fetch is retried with exponential backoff, and
  the first message after it is a :class:`Snapshot`. If the metastore does not respond, all watches get a FetchError.

This module starts no thread and does not wait: :mod:`nbflow.live.feed` has the thread.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from nbflow.clock import Clock
from nbflow.core.snapshot import RunKey
from nbflow.errors import NbflowError, StaleCursor
from nbflow.store.base import Cursor, Store
from nbflow.views.base import Query, View
from nbflow.views.patches import Operation, patch

log = logging.getLogger(__name__)

MAX_EVENTS = 1000
"""Maximum number of events to read at once. After so many, all views are fetched again."""
FIRST_RETRY_DELAY = timedelta(seconds=1)
MAX_RETRY_DELAY = timedelta(seconds=10)

Fetch = Callable[[Store, Any, datetime], View]
"""fetch(store, query, now) -> view. Its ``wake_at``, if any, is the time at which it changes without a commit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """The whole view: the first message, and the first one after a FetchError."""

    view: View
    json: Mapping[str, Any]
    cursor: Cursor | None
    """The view includes at least the events up to here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """The patch from the view that the watch took last to ``view``."""

    patch: Sequence[Operation]
    view: View
    cursor: Cursor | None


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchError:
    """The last fetch of the view failed; the next one is at ``retry_at``. The view taken last is still the newest."""

    error: str
    retry_at: datetime


Message = Snapshot | Change | FetchError


def affects(run: RunKey, query: Query[View]) -> bool:
    """Whether an event of a run may change the view of a query."""
    dag_id, run_id = getattr(query, "dag_id", None), getattr(query, "run_id", None)
    if dag_id is None or not query.SELF_CONTAINED:
        return True
    return dag_id == run.dag_id and run_id in (None, run.run_id)


class SharedView:
    """One query, its newest view, the last patch and the watches. Guarded by the lock of :class:`SharedViews`."""

    def __init__(self, query: Query[View]) -> None:
        self.query = query
        self.watches: set[Watch] = set()
        self.fetch_lock = threading.Lock()
        self.stale = True
        self.revision = 0
        """Increases with each change of the view; 0 before the first fetch."""
        self.view: Any = None
        self.json: Mapping[str, Any] = {}
        self.patch: Sequence[Operation] = ()
        """From the previous view to this one."""
        self.cursor: Cursor | None = None
        self.wake_at: datetime | None = None
        self.fetch_error: FetchError | None = None
        self.retry_delay = FIRST_RETRY_DELAY

    def due(self, now: datetime) -> bool:
        """Whether the view must be fetched."""
        if not self.watches:
            return False
        if self.fetch_error is not None:
            return now >= self.fetch_error.retry_at
        return self.stale or (self.wake_at is not None and now >= self.wake_at)


class Watch:
    """One watcher of a view: iterate over it (which blocks), or call ``take`` after each ``wake``.

    ``wake`` is called on the feed's thread, or within ``watch``: it must not block (``loop.call_soon_threadsafe``).
    One thread at a time may call ``take``. Closed by ``close`` or at the end of a ``with``.
    """

    def __init__(self, views: SharedViews, shared: SharedView, wake: Callable[[], None] | None) -> None:
        self._views, self._shared, self._wake = views, shared, wake
        self._changed = threading.Event()
        self._revision = 0
        self._json: Mapping[str, Any] = {}
        self._fetch_error: FetchError | None = None
        self.closed = False

    def take(self) -> Message | None:
        """The next message; None if nothing has changed. Never blocks."""
        shared = self._shared
        with self._views.lock:
            fetch_error, revision, view, json = shared.fetch_error, shared.revision, shared.view, shared.json
            operations, cursor = shared.patch, shared.cursor
        if fetch_error != self._fetch_error:
            self._fetch_error = fetch_error
            if fetch_error is not None:
                self._revision = 0  # the next message is a Snapshot
                return fetch_error
        if fetch_error is not None or revision == self._revision:
            return None
        previous_revision, self._revision = self._revision, revision
        previous_json, self._json = self._json, json
        if previous_revision == 0:
            return Snapshot(view=view, json=json, cursor=cursor)
        if revision != previous_revision + 1:
            operations = patch(previous_json, json)
        return Change(patch=operations, view=view, cursor=cursor) if operations else None

    def next(self, timeout: float | None = None) -> Message | None:
        """Wait for the next message; None once closed, or after ``timeout`` seconds without a message."""
        while not self.closed:
            self._changed.clear()  # before take, so that a change in between sets it again
            message = self.take()
            if message is not None:
                return message
            if not self._changed.wait(timeout):
                return None
        return None

    def __iter__(self) -> Watch:
        return self

    def __next__(self) -> Message:
        message = self.next()
        if message is None:
            raise StopIteration
        return message

    def close(self) -> None:
        """Stop watching. A blocked ``next`` returns None."""
        self.closed = True
        self._views.remove(self, self._shared)
        self._changed.set()

    def __enter__(self) -> Watch:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def notify(self) -> None:
        """Wake the watcher. An error in its ``wake`` is logged and does not affect other watchers."""
        self._changed.set()
        if self._wake is not None:
            try:
                self._wake()
            except Exception:
                log.exception("Error in a watcher's wake callback")


class SharedViews:
    """The watched views of one store. Thread-safe."""

    def __init__(self, store: Store, clock: Clock, fetch: Fetch) -> None:
        self.store, self.clock, self._fetch_view = store, clock, fetch
        self.lock = threading.Lock()
        self._shared: dict[Query[View], SharedView] = {}
        self._cursor: Cursor | None = None

    @property
    def watched(self) -> bool:
        """Whether there are watches."""
        return bool(self._shared)

    def watch(self, query: Query[View], wake: Callable[[], None] | None = None) -> Watch:
        """Watch a query. Its first message is available when this returns, fetched on this thread unless the query
        is watched already."""
        self._start_cursor()
        with self.lock:
            shared = self._shared.setdefault(query, SharedView(query))
            watch = Watch(self, shared, wake)
            shared.watches.add(watch)
        self._fetch(shared)
        return watch

    def remove(self, watch: Watch, shared: SharedView) -> None:
        """Remove a closed watch."""
        with self.lock:
            shared.watches.discard(watch)
            if not shared.watches and self._shared.get(shared.query) is shared:
                del self._shared[shared.query]
            if not self._shared:
                self._cursor = None  # the next watch starts at the end of the history

    def close(self) -> None:
        """Close all watches."""
        with self.lock:
            watches = [watch for shared in self._shared.values() for watch in shared.watches]
        for watch in watches:
            watch.close()

    def due(self) -> bool:
        """Whether a view must be fetched without a commit."""
        now = self.clock.now()
        with self.lock:
            return any(shared.due(now) for shared in self._shared.values())

    def poll(self) -> None:
        """Read the new events and fetch the views that they may change."""
        try:
            self._read_history()
        except NbflowError as error:
            now = self.clock.now()
            for shared in self._all_views():
                if shared.fetch_error is None or shared.due(now):
                    self._fail(shared, error)
            return
        for shared in self._all_views():
            self._fetch(shared)

    def _all_views(self) -> list[SharedView]:
        with self.lock:
            return list(self._shared.values())

    def _start_cursor(self) -> None:
        """Set the cursor to the end of the history, before a view is fetched. After a store error the cursor stays
        unset; the fetch reports the error."""
        if self._cursor is not None:
            return
        try:
            end = self.store.history_end()
        except NbflowError:
            return
        with self.lock:
            if self._cursor is None:
                self._cursor = end
                for shared in self._shared.values():  # a view may have been fetched before this end
                    shared.stale = True

    def _read_history(self) -> None:
        cursor = self._cursor
        try:
            new = None if cursor is None else self.store.history(cursor, limit=MAX_EVENTS)
        except StaleCursor:
            new = None
        if new is None or len(new.events) >= MAX_EVENTS:
            end, runs, affects_all = self.store.history_end(), set(), True
        else:
            end, runs, affects_all = new.cursor, {event.run for event in new.events}, new.other_changes
        with self.lock:
            self._cursor = end
            for shared in self._shared.values():
                if affects_all or any(affects(run, shared.query) for run in runs):
                    shared.stale = True

    def _fetch(self, shared: SharedView) -> None:
        """Fetch a view if it is due, and notify its watches if it has changed."""
        with shared.fetch_lock:
            with self.lock:
                if not shared.due(self.clock.now()):
                    return
                shared.stale = False  # before the fetch, so that a commit during it makes the view stale again
                revision, before, cursor = shared.revision, shared.json, self._cursor
            try:
                view = self._fetch_view(self.store, shared.query, self.clock.now())
                json = view.to_json()
                operations = patch(before, json) if revision else ()
            except Exception as error:
                self._fail(shared, error)
                return
            with self.lock:
                recovered, shared.fetch_error = shared.fetch_error is not None, None
                shared.retry_delay = FIRST_RETRY_DELAY
                shared.wake_at = getattr(view, "wake_at", None)
                changed = not revision or bool(operations)
                if changed:
                    shared.revision, shared.view, shared.json = revision + 1, view, json
                    shared.patch, shared.cursor = operations, cursor
                watches = list(shared.watches) if changed or recovered else []
        for watch in watches:
            watch.notify()

    def _fail(self, shared: SharedView, error: Exception) -> None:
        """Set the fetch error of a view, and notify its watches. An error that repeats is logged once."""
        expected = isinstance(error, NbflowError)
        text = str(error) if expected else f"{type(error).__name__}: {error}"
        with self.lock:
            repeated = shared.fetch_error is not None and shared.fetch_error.error == text
            shared.stale = True
            shared.fetch_error = FetchError(error=text, retry_at=self.clock.now() + shared.retry_delay)
            shared.retry_delay = min(2 * shared.retry_delay, MAX_RETRY_DELAY)
            watches = list(shared.watches)
        if not repeated:
            log.warning("Cannot fetch %r: %s", shared.query, text, exc_info=None if expected else error)
        for watch in watches:
            watch.notify()
