"""Heartbeats from a thread, for a scheduler whose tasks run in its own thread.

The loop of such a scheduler (SequentialExecutor) stands still while a task runs, for hours perhaps. Without heartbeats
other processes would take it for dead: they would take over its runs, and fail the run of a ``dag.test()``.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from nbflow.errors import StoreError

log = logging.getLogger(__name__)


class BackgroundHeartbeat:
    """Calls ``beat`` every ``seconds`` from :meth:`start` to :meth:`stop`. After a store error it tries again."""

    def __init__(self, beat: Callable[[], None], seconds: float) -> None:
        self._beat, self._seconds = beat, seconds
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="nbflow-heartbeat", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Stop; a heartbeat that is being stored is finished first."""
        self._stopped.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopped.wait(self._seconds):
            try:
                self._beat()
            except StoreError as error:
                log.debug("A heartbeat could not be stored: %s", error)
