"""Processes identified by pid and start time, since the system reuses pids.

Only Linux reports the start time of a process; on other systems the pid alone identifies it. Where the kernel has
pidfds, a signal is sent through one that was opened before the start time was compared, so that the pid cannot be
reused in between.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass

POLL_SECONDS = 0.02
"""How often a process is checked on systems without pidfds."""


def process_started(pid: int) -> float | None:
    """Start time of a process, in clock ticks since boot: distinguishes it from a later process with the same pid.
    None if there is no such process, or only a zombie."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            stat = file.read().rpartition(b")")[2].split()  # the process name before it may hold any character
            return None if stat[0] in (b"Z", b"X") else float(stat[19])
    except (OSError, IndexError, ValueError):
        return None


def knows_start_times() -> bool:
    """Whether this system reports the start times of processes."""
    return process_started(os.getpid()) is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessIdentity:
    """One process of this machine. ``started``: result of :func:`process_started`, None if unknown."""

    pid: int
    started: float | None

    def is_running(self) -> bool:
        """Whether the process runs; a zombie does not."""
        started = process_started(self.pid)
        if started is not None:
            return self.started in (None, started)
        if knows_start_times():
            return False
        try:
            os.kill(self.pid, 0)
        except OSError as error:
            return isinstance(error, PermissionError)
        return True

    def send(self, number: signal.Signals) -> bool:
        """Send a signal; False if the process does not run. Raises PermissionError for a process of another user."""
        with self._pidfd() as pidfd, contextlib.suppress(ProcessLookupError):
            if self.is_running():
                if pidfd is not None:
                    signal.pidfd_send_signal(pidfd, number)
                else:
                    os.kill(self.pid, number)
                return True
        return False

    def wait(self, seconds: float) -> bool:
        """Wait up to ``seconds`` for the process to end. Returns whether it has ended."""
        deadline = time.monotonic() + seconds
        with self._pidfd() as pidfd:
            while self.is_running() and (remaining := deadline - time.monotonic()) > 0:
                if pidfd is None:
                    time.sleep(min(remaining, POLL_SECONDS))
                else:
                    select.select([pidfd], [], [], remaining)
        return not self.is_running()

    @contextlib.contextmanager
    def _pidfd(self) -> Iterator[int | None]:
        """A pidfd of the process that has the pid now; None if there is none, or the system has no pidfds."""
        pidfd = None
        with contextlib.suppress(OSError, AttributeError):
            pidfd = os.pidfd_open(self.pid)
        try:
            yield pidfd
        finally:
            if pidfd is not None:
                os.close(pidfd)
