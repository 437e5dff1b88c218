"""SubprocessJobs: user code that is no task, each in a process of its own: parsing a DAG file, calling a callback,
asking a timetable.

The processes are those of :mod:`nbflow.execution.fork_server` with other functions: a base fork server forks a child
for each job; the child does it, reports the result as JSON, and is killed with its whole process group. A job that
hangs is killed at its time limit. User code in a job may read variables and connections, and nothing else.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from nbflow.execution.child import limit_memory
from nbflow.execution.event_loop import EventLoop
from nbflow.execution.fork_server import UserCode
from nbflow.execution.fork_server import main as serve
from nbflow.execution.process_pool import ChildProcess, ProcessExit, ProcessPool, ProcessPoolOptions, respond_to

_ROOT = str(Path(__file__).resolve().parents[2])
_START = f"import sys; sys.path.append({_ROOT!r})\nfrom nbflow.services.subprocess_jobs import main; main()"
COMMAND = (sys.executable, "-P", "-c", _START)

JOB_FUNCTIONS = {
    "parse": "nbflow.services.file_parsing:parse",
    "callback": "nbflow.services.callbacks:call_back",
    "timetable": "nbflow.services.custom_timetables:answer",
}
"""Kind of job -> the function that does it in the child."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobResult:
    """How an job ended: with a result, or with what became of its process."""

    result: Mapping[str, Any] | None = None
    fault: str = ""
    too_slow: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class _Done:
    """What the child reports; it has no DAG to run tries of."""

    content: dict[str, Any]
    dag: None = None

    def report(self) -> dict[str, Any]:
        return self.content


def _do(payload: Mapping[str, Any]) -> _Done:
    import os
    from importlib import import_module

    if payload["job"] == "parse":  # what the file prints is kept; what its subprocesses print would fill our log
        silence = os.open(os.devnull, os.O_WRONLY)
        os.dup2(silence, 1)
        os.dup2(silence, 2)
        # Bytecode is told to be old by seconds and size: of two edits in one second the second would not be seen.
        sys.dont_write_bytecode = True

    limit_memory(payload.get("memory_limit_bytes"))
    module, _, name = JOB_FUNCTIONS[payload["job"]].partition(":")
    return _Done(content=getattr(import_module(module), name)(payload))


def _no_tries(*_: Any) -> NoReturn:
    raise RuntimeError("this process does subprocess_jobs; it runs no tasks")


def main() -> NoReturn:
    """Entry point of the base."""
    serve(UserCode(load=_do, run=_no_tries))


class SubprocessJobs:
    """Sends children on subprocess jobs. Single-threaded: everything happens inside calls of its methods and of
    ``loop``."""

    def __init__(
        self,
        *,
        environment: Mapping[str, str],
        answer: Callable[[str, Mapping[str, Any]], Any],
        log: Callable[[str], None] = lambda text: None,
        memory_limit_bytes: int | None = None,
    ) -> None:
        self.loop = EventLoop()
        self._memory_limit_bytes = memory_limit_bytes
        self._answer = answer
        process_pool = ProcessPoolOptions(environment=environment, command=COMMAND)
        self._process_pool = ProcessPool(self.loop, process_pool, handle_parse_request=answer, log=log)

    def start(self) -> None:
        """Start the warm base."""
        self._process_pool.start()

    def stop(self) -> None:
        """End every process."""
        self._process_pool.stop()
        self.loop.close()

    def send(self, payload: Mapping[str, Any], *, seconds: float, done: Callable[[JobResult], None]) -> None:
        """Do an job; ``done`` is called once, from the loop, when its process is gone."""
        self._process_pool.take_base_child(lambda child, lost: self._begin(payload, seconds, done, child, lost))

    def _begin(
        self,
        payload: Mapping[str, Any],
        seconds: float,
        done: Callable[[JobResult], None],
        child: ChildProcess | None,
        lost: str,
    ) -> None:
        if child is None:
            done(JobResult(fault=lost))
            return
        result: list[Mapping[str, Any]] = []
        late: list[bool] = []

        def too_slow() -> None:
            late.append(True)
            child.kill(signal.SIGKILL)

        def on_message(message: dict[str, Any], fds: list[int]) -> None:
            if "request" in message:
                respond_to(child, message, self._answer)
            elif "loaded" in message:
                result.append(message["loaded"])
                child.kill(signal.SIGKILL)  # it has said all; what it may have started goes with it

        def on_exit(process_exit: ProcessExit) -> None:
            timer.cancel()
            done(JobResult(result=result[0] if result else None, fault=process_exit.text, too_slow=bool(late)))

        timer = self.loop.call_later(seconds, too_slow)
        child.on_message, child.on_exit = on_message, on_exit
        child.on_hangup = lambda reason: child.kill(signal.SIGKILL)
        child.send({"load": {**payload, "memory_limit_bytes": self._memory_limit_bytes}})
