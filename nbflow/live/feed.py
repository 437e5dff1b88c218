"""The feed: the thread that updates the watched views.

The thread runs while there is a watch, and waits for notifications of the store (:meth:`Store.wait_for_change`). A
notification says only that something changed; the history says what. Without a notification, the thread polls after
:data:`POLL_SECONDS`. It reads the history at most :data:`MAX_HZ` times a second, and sleeps for at least half of the
time, so that fetching large views does not occupy a core.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from nbflow.clock import Clock
from nbflow.errors import NbflowError
from nbflow.live.shared_views import Fetch, SharedViews, Watch
from nbflow.store.base import ChangeToken, Store
from nbflow.ui.live import MAX_HZ
from nbflow.views.base import Query, View

log = logging.getLogger(__name__)

POLL_SECONDS = 1.0
"""Poll interval for changes without a notification (next runs, variables, processes) or with a lost one."""
WAIT_SECONDS = 0.2
"""Maximum length of one wait for a notification. Between waits the thread checks whether there are watches and whether
a view is due at its ``wake_at``; neither needs a statement."""


class Feed:
    """Watch queries of a store: ``for message in feed.watch(query)``. ``fetch(store, query, now)`` gives their views.
    :mod:`nbflow.live.shared_views` has the rules of the messages."""

    def __init__(self, store: Store, clock: Clock, fetch: Fetch) -> None:
        self._store, self._clock = store, clock
        self._views = SharedViews(store, clock, fetch)
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._closing = threading.Event()

    def watch(self, query: Query[View], *, wake: Callable[[], None] | None = None) -> Watch:
        """Watch a query until the watch is closed. The first message is available at once. Raises NbflowError once the
        feed is closed."""
        if not self._closing.is_set():
            watch = self._views.watch(query, wake)
            if self._ensure_thread():
                return watch
            watch.close()
        raise NbflowError("This feed was closed.", hint="Open the home again.")

    def _ensure_thread(self) -> bool:
        """Start the thread if it is not running. Returns False once the feed is closed."""
        with self._lock:
            if self._closing.is_set():
                return False
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="nbflow-feed", daemon=True)
                self._thread.start()
            return True

    def close(self, timeout_s: float = 5) -> None:
        """Close all watches and end the thread."""
        with self._lock:  # refuses later watches; the earlier ones are closed below
            self._closing.set()
            thread = self._thread
        self._views.close()
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout_s)

    def _run(self) -> None:
        while self._should_run():
            try:
                self._run_once()
            except Exception:  # errors of a view go to its watches instead
                log.exception("Error in the feed of %s; retrying", self._store.url)
                self._closing.wait(POLL_SECONDS)

    def _should_run(self) -> bool:
        """Whether to continue. Holds the lock, so that a new watch either keeps this thread or starts another."""
        with self._lock:
            if self._views.watched and not self._closing.is_set():
                return True
            self._thread = None
            return False

    def _run_once(self) -> None:
        token = self._change_token()  # before reading, so that a later commit ends the wait
        started = self._clock.monotonic()
        self._views.poll()
        elapsed = self._clock.monotonic() - started
        self._closing.wait(max(1 / MAX_HZ - elapsed, elapsed))
        self._wait(token)

    def _change_token(self) -> ChangeToken | None:
        try:
            return self._store.change_token()
        except NbflowError:
            return None

    def _wait(self, token: ChangeToken | None) -> None:
        if token is None:  # the metastore does not respond
            self._closing.wait(POLL_SECONDS)
            return
        deadline = self._clock.monotonic() + POLL_SECONDS
        while self._views.watched and not self._views.due() and not self._closing.is_set():
            remaining = deadline - self._clock.monotonic()
            if remaining <= 0:
                return
            try:
                if self._store.wait_for_change(token, timeout=min(remaining, WAIT_SECONDS)):
                    return
            except NbflowError:
                return
