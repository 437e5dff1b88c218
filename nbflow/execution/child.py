"""A child: one try, run beside user code. It has the DAG, its socket and its log, and nothing else of nbflow's."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

from nbflow.authoring.runtime import Outcome, Work
from nbflow.core.events import Failed
from nbflow.core.states import Cause
from nbflow.errors import NbflowError, StoreError
from nbflow.execution import protocol
from nbflow.execution.logs import LogStream
from nbflow.execution.protocol import Channel
from nbflow.execution.task_client import TaskClient, utc_now

if TYPE_CHECKING:
    from nbflow.execution.fork_server import Loaded, Program

STORE_PATIENCE_SECONDS = 60.0
"""How long a metastore that refuses (locked, restarted, its disk full) is asked again before the task hears of it."""
STORE_RETRY_SECONDS = 0.2
ASKED_ONCE = frozenset({"trigger_dag"})
"""What must not be done twice, if it was done and only its answer was lost."""


class SocketRuntime(TaskClient):
    """Asks the supervisor. One question at a time: threads of the task take turns; a process that the task forked may
    not ask, because it would read the answers that belong to the task."""

    def __init__(self, channel: Channel, attempt_id: str, **options: Any) -> None:
        from nbflow.secrets import Masker

        super().__init__(self._over_socket, masker=Masker(), **options)
        self._channel = channel
        self._attempt_id = attempt_id
        self._lock = threading.Lock()
        self._pid = os.getpid()

    def _over_socket(self, kind: str, args: Mapping[str, Any]) -> Any:
        from nbflow.execution.fork_server import ask_over

        if os.getpid() != self._pid:
            raise NbflowError(
                f"a process that the task forked cannot ask nbflow ({kind})", hint="Ask before forking, and pass it on."
            )
        patient_until = time.monotonic() + STORE_PATIENCE_SECONDS
        while True:
            try:
                with self._lock:
                    return ask_over(self._channel, self._attempt_id, kind, args)
            except StoreError:
                if kind in ASKED_ONCE or time.monotonic() > patient_until:
                    raise
            time.sleep(STORE_RETRY_SECONDS)


def run_work(
    channel: Channel, program: Program, loaded: Loaded | None, message: Mapping[str, Any], fds: Sequence[int]
) -> NoReturn:
    """Run the try that ``message`` brings, send its outcome, exit."""
    work = protocol.unpack_work(message["work"])
    options = message.get("options") or {}
    runtime = SocketRuntime(channel, work.attempt_id, most_xcom_bytes=int(options["most_xcom_bytes"]))
    _into_log(fds, runtime, room=int(options["log_room"]))
    limit_memory(options.get("memory_limit_bytes"))
    _reseed()
    from nbflow.connections import install_provider

    install_provider(runtime)
    pid = os.getpid()
    outcome = _packed_outcome(program, loaded, work, runtime, options.get("limits") or {})
    if os.getpid() != pid:  # the task's code forked, and this is the fork, come back from it: it speaks for nobody
        os._exit(0)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # the outcome stands; nothing may cut it in two
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    channel.send({"outcome": outcome, "attempt": work.attempt_id})
    os._exit(0)


def _packed_outcome(
    program: Program, loaded: Loaded | None, work: Work, runtime: TaskClient, limits: Mapping[str, Any]
) -> dict[str, Any]:
    """Run the try; its outcome as JSON, whatever happens."""
    if loaded is None or loaded.dag is None:
        error = f"the source of version {work.version} no longer defines the DAG {work.run.dag_id!r}"
        return _failed(work, Cause.LOAD_FAILED, error)
    try:
        return protocol.pack_outcome(program.run(loaded.dag, work, runtime, limits))
    except BaseException as error:  # user code's errors end in an outcome; what comes here slipped through
        import traceback

        traceback.print_exc()
        return _failed(work, Cause.RAISED, f"{type(error).__name__}: {error}")


def _failed(work: Work, cause: Cause, error: str) -> dict[str, Any]:
    event = Failed(attempt_id=work.attempt_id, at=utc_now(), cause=cause, error=error)
    return protocol.pack_outcome(Outcome(event=event))


def _into_log(fds: Sequence[int], runtime: TaskClient, *, room: int) -> None:
    log = fds[0]
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(log)
    stream = LogStream(1, room=room, masker=runtime.masker)
    sys.stdout = sys.__stdout__ = stream  # type: ignore[assignment, misc]
    sys.stderr = sys.__stderr__ = stream.twin()  # type: ignore[assignment, misc]


def limit_memory(memory_limit_bytes: int | None) -> None:
    """Limit this process's address space, where there is a limit."""
    if memory_limit_bytes:
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (memory_limit_bytes, memory_limit_bytes))


def _reseed() -> None:
    """Python's own generator is reseeded at a fork, NumPy's global one is not: forks of a template would draw alike."""
    numpy = sys.modules.get("numpy")
    if numpy is not None:
        numpy.random.seed()
