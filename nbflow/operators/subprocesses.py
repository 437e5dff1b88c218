"""Running a subprocess for a task: it logs the output line by line, and terminates the subprocess when the task ends.

Process groups
--------------
If the task has its own process, the subprocess stays in the task's process group, so that the supervisor's signals
reach the subprocess and its children. If the task runs in a shared process (``dag.test()``, a notebook), the subprocess
gets a new process group, which ``terminate`` signals.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

MAX_LINE_BYTES = 1024 * 1024
"""A longer line is logged, and returned, in parts of this size."""
TERMINATE_SECONDS = 5.0
"""Seconds between SIGTERM and SIGKILL."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SubprocessResult:
    """The exit of a subprocess. A negative ``exit_code`` is the signal that killed it, as in ``subprocess``."""

    exit_code: int
    last_line: str


class Subprocess:
    """A subprocess of a task. ``own_process``: whether the process runs only this task."""

    def __init__(self, *, own_process: bool) -> None:
        self._own_process = own_process
        self._process: subprocess.Popen[bytes] | None = None

    def run(
        self,
        command: Sequence[str],
        *,
        log: Any,
        env: Mapping[str, str] | None = None,
        cwd: str | None = None,
        encoding: str = "utf-8",
    ) -> SubprocessResult:
        """Run ``command`` and wait for its exit. Each line of stdout and stderr is passed to ``log.info``."""
        last = ""
        with subprocess.Popen(
            list(command),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=None if env is None else dict(env),
            cwd=cwd,
            process_group=None if self._own_process else 0,
        ) as process:
            self._process = process
            try:
                assert process.stdout is not None
                for raw in iter(lambda: process.stdout.readline(MAX_LINE_BYTES), b""):  # type: ignore[union-attr]
                    last = raw.decode(encoding, errors="backslashreplace").rstrip()
                    log.info("%s", last)
                return SubprocessResult(exit_code=process.wait(), last_line=last)
            except BaseException:  # a time limit, a signal, a KeyboardInterrupt: the subprocess must not run on
                self.terminate()
                raise

    def terminate(self) -> None:
        """Terminate the subprocess and its children; kill it after TERMINATE_SECONDS. Does nothing after its exit."""
        process = self._process
        if process is None or process.poll() is not None:
            return
        self._signal(process, signal.SIGTERM)
        try:
            process.wait(TERMINATE_SECONDS)
        except subprocess.TimeoutExpired:
            self._signal(process, signal.SIGKILL)

    def _signal(self, process: subprocess.Popen[bytes], number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            if not self._own_process:
                os.killpg(process.pid, number)
            elif number is signal.SIGKILL or threading.current_thread() is not threading.main_thread():
                process.send_signal(number)  # this process is in the group, too; the supervisor kills the group
            else:
                previous = signal.signal(number, signal.SIG_IGN)
                try:
                    os.killpg(os.getpgrp(), number)
                finally:
                    signal.signal(number, previous)
