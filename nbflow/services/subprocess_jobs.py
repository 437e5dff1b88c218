"""Subprocess jobs: user code other than tasks, each job in its own process: parsing a DAG file, running a callback,
evaluating a custom timetable.

The processes come from :mod:`nbflow.execution.fork_server` with other functions: a base fork server forks a child for
each job; the child runs the job's function, reports the result as JSON, and is killed with its whole process group. A
job that hangs is killed at its time limit. User code in a job can read variables and connections, and nothing else of
the metastore.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from nbflow.execution.child import limit_memory
from nbflow.execution.fork_server import UserCode
from nbflow.execution.fork_server import main as serve
from nbflow.execution.fork_server_pool import ChildProcess, ProcessExit, ProcessPool, ProcessPoolOptions, respond_to
from nbflow.execution.selector_loop import EventLoop

_ROOT = str(Path(__file__).resolve().parents[2])
_START = f"import sys; sys.path.append({_ROOT!r})\nfrom nbflow.services.subprocess_jobs import main; main()"
COMMAND = (sys.executable, "-P", "-c", _START)

JOB_FUNCTIONS = {
    "parse": "nbflow.services.file_parsing:parse",
    "callback": "nbflow.services.callbacks:run_callbacks",
    "timetable": "nbflow.services.custom_timetable_runs:compute_runs",
}
"""Kind of job -> its function, which the child calls."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobResult:
    """The result of a job: the content that its function returned, or None and how its process ended."""

    content: Mapping[str, Any] | None = None
    error: str = ""
    timed_out: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class _LoadResult:
    """A job's result in the form of the fork server's protocol; a job has no DAG."""

    content: dict[str, Any]
    dag: None = None

    def report(self) -> dict[str, Any]:
        return self.content


def _run_job(payload: Mapping[str, Any]) -> _LoadResult:
    import os
    from importlib import import_module

    if payload["job"] == "parse":  # the file's prints are captured; output of its subprocesses would fill the log
        devnull = os.open(os.devnull, os.O_WRONLY)
        os.dup2(devnull, 1)
        os.dup2(devnull, 2)
        # Python checks bytecode by mtime (seconds) and size, so it would miss the second of two edits in one second.
        sys.dont_write_bytecode = True

    limit_memory(payload.get("memory_limit_bytes"))
    module, _, name = JOB_FUNCTIONS[payload["job"]].partition(":")
    return _LoadResult(content=getattr(import_module(module), name)(payload))


def _refuse_try(*_: Any) -> NoReturn:
    raise RuntimeError("a process of subprocess jobs cannot run tasks")


def main() -> NoReturn:
    """Entry point of the base fork server."""
    serve(UserCode(load=_run_job, run=_refuse_try))


class SubprocessJobs:
    """Runs jobs in child processes. Single-threaded: everything happens inside calls of its methods and of ``loop``.
    ``handle_request`` responds to the children's requests for variables and connections."""

    def __init__(
        self,
        *,
        environment: Mapping[str, str],
        handle_request: Callable[[str, Mapping[str, Any]], Any],
        log: Callable[[str], None] = lambda text: None,
        memory_limit_bytes: int | None = None,
        sensitive_names: Sequence[str] = (),
    ) -> None:
        self.loop = EventLoop()
        self._common = {"memory_limit_bytes": memory_limit_bytes, "sensitive_names": list(sensitive_names)}
        self._handle_request = handle_request
        options = ProcessPoolOptions(environment=environment, command=COMMAND)
        self._process_pool = ProcessPool(self.loop, options, handle_parse_request=handle_request, log=log)

    def start(self) -> None:
        """Start the base fork server."""
        self._process_pool.start()

    def stop(self) -> None:
        """End every process."""
        self._process_pool.stop()
        self.loop.close()

    def send(self, payload: Mapping[str, Any], *, seconds: float, done: Callable[[JobResult], None]) -> None:
        """Run a job with a time limit of ``seconds``; ``done`` is called once, from the loop, after its process has
        ended."""
        self._process_pool.take_base_child(lambda child, error: self._start_job(payload, seconds, done, child, error))

    def _start_job(
        self,
        payload: Mapping[str, Any],
        seconds: float,
        done: Callable[[JobResult], None],
        child: ChildProcess | None,
        start_error: str,
    ) -> None:
        if child is None:
            done(JobResult(error=start_error))
            return
        contents: list[Mapping[str, Any]] = []
        timeouts: list[bool] = []

        def time_out() -> None:
            timeouts.append(True)
            child.kill(signal.SIGKILL)

        def on_message(message: dict[str, Any], fds: list[int]) -> None:
            if "request" in message:
                respond_to(child, message, self._handle_request)
            elif "loaded" in message:
                contents.append(message["loaded"])
                child.kill(signal.SIGKILL)  # with the processes that user code may have started

        def on_exit(process_exit: ProcessExit) -> None:
            timer.cancel()
            content = contents[0] if contents else None
            done(JobResult(content=content, error=process_exit.text, timed_out=bool(timeouts)))

        timer = self.loop.call_later(seconds, time_out)
        child.on_message, child.on_exit = on_message, on_exit
        child.on_hangup = lambda reason: child.kill(signal.SIGKILL)
        child.send({"load": {**payload, **self._common}})
