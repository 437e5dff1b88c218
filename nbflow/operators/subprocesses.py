"""Running a program for a task: its output into the log line by line, and its end with the task's.

Process groups
--------------
A task that runs in a process of its own leaves the program in its own process group, so that the supervisor's signals
and time limit reach whatever the program starts. Run inside another process (``dag.test()``, a notebook), the program
gets a group of its own, which ``terminate`` ends as a whole.
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

LONGEST_LINE_BYTES = 1024 * 1024
"""A longer line is logged, and returned, in pieces."""
SECONDS_TO_END = 5.0
"""How long a terminated program has before it is killed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SubprocessResult:
    """How a program ended. A negative ``exit_code`` is the signal that ended it, as in ``subprocess``."""

    exit_code: int
    last_line: str


class Subprocess:
    """One run of a program."""

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
        """Run ``command`` to its end. Output and errors, in the order written, go to ``log.info``."""
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
                for raw in iter(lambda: process.stdout.readline(LONGEST_LINE_BYTES), b""):  # type: ignore[union-attr]
                    last = raw.decode(encoding, errors="backslashreplace").rstrip()
                    log.info("%s", last)
                return SubprocessResult(exit_code=process.wait(), last_line=last)
            except BaseException:  # a time limit, a signal, a KeyboardInterrupt: nothing of the program may stay behind
                self.terminate()
                raise

    def terminate(self) -> None:
        """End the program and what it started; does nothing if it has ended."""
        process = self._process
        if process is None or process.poll() is not None:
            return
        self._signal(process, signal.SIGTERM)
        try:
            process.wait(SECONDS_TO_END)
        except subprocess.TimeoutExpired:
            self._signal(process, signal.SIGKILL)

    def _signal(self, process: subprocess.Popen[bytes], number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            if not self._own_process:
                os.killpg(process.pid, number)
            elif number is signal.SIGKILL or threading.current_thread() is not threading.main_thread():
                process.send_signal(number)  # the group is ours too: the supervisor kills it
            else:
                before = signal.signal(number, signal.SIG_IGN)
                try:
                    os.killpg(os.getpgrp(), number)
                finally:
                    signal.signal(number, before)
