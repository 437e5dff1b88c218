"""The child: a process that runs one try of a task. It holds the DAG, its socket and its log's pipe; no database."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

from nbflow.authoring.workload import Outcome, Progress, Workload
from nbflow.core.attempt_events import Failed
from nbflow.core.states import Cause
from nbflow.errors import NbflowError, StoreError
from nbflow.execution import protocol
from nbflow.execution.logs import LogStream
from nbflow.execution.protocol import Channel
from nbflow.execution.task_client import TaskClient, request_over_channel, utc_now
from nbflow.secrets_backends import install_provider
from nbflow.secrets_masker import Masker

if TYPE_CHECKING:
    from nbflow.execution.fork_server import LoadResult, UserCode

STORE_RETRY_LIMIT_SECONDS = 60.0
"""How long a request is retried while the metastore refuses it (locked, restarting, disk full), before it fails."""
STORE_RETRY_SECONDS = 0.2
NOT_RETRIED = frozenset({"trigger_dag"})
"""Requests that must not be carried out twice, in case only the response was lost."""


class SocketRuntime(TaskClient):
    """Sends requests to the supervisor, one at a time: threads of the task wait for each other. A process that the task
    forked must not send requests, because it would read responses that belong to the task."""

    def __init__(self, channel: Channel, attempt_id: str, **options: Any) -> None:
        super().__init__(self._request_over_socket, **options)
        self._channel = channel
        self._attempt_id = attempt_id
        self._lock = threading.Lock()
        self._pid = os.getpid()
        self.progress = SocketProgress(self._send)

    def _send(self, message: Mapping[str, Any]) -> None:
        """Send a message that has no response."""
        if os.getpid() == self._pid:
            with self._lock:
                self._channel.send({**message, "attempt": self._attempt_id})

    def _request_over_socket(self, kind: str, args: Mapping[str, Any]) -> Any:
        if os.getpid() != self._pid:
            raise NbflowError(
                f"a process that the task forked cannot send requests to nbflow ({kind})",
                hint="Read the value before forking, and pass it to the forked process.",
            )
        deadline = time.monotonic() + STORE_RETRY_LIMIT_SECONDS
        while True:
            try:
                with self._lock:
                    return request_over_channel(self._channel, self._attempt_id, kind, args)
            except StoreError:
                if kind in NOT_RETRIED or time.monotonic() > deadline:
                    raise
            time.sleep(STORE_RETRY_SECONDS)


class SocketProgress(Progress):
    """Tells the supervisor by ``send``."""

    def __init__(self, send: Callable[[Mapping[str, Any]], None]) -> None:
        self._send = send

    def limit(self, seconds: float | None, of: str = "") -> None:
        self._send({"limit": seconds, "of": of})

    def ended(self, outcome: Outcome) -> None:
        self._send({"ended": protocol.pack_outcome(outcome)})


def run_work(
    channel: Channel,
    user_code: UserCode,
    load_result: LoadResult | None,
    message: Mapping[str, Any],
    fds: Sequence[int],
    *,
    given: Masker | None = None,
) -> NoReturn:
    """Run the try in ``message``, send its outcome, exit. ``given``: masks what this process was given while it loaded
    the DAG."""
    workload = protocol.unpack_workload(message["workload"])
    options = message.get("options") or {}
    runtime = SocketRuntime(
        channel,
        workload.attempt_id,
        max_xcom_bytes=int(options["max_xcom_bytes"]),
        masker=given or Masker(sensitive_names=options["sensitive_names"]),
    )
    _redirect_output(fds, max_bytes=int(options["max_log_bytes"]))
    limit_memory(options.get("memory_limit_bytes"))
    _reseed_numpy()
    install_provider(runtime)
    pid = os.getpid()
    outcome = _packed_outcome(user_code, load_result, workload, runtime, options.get("limits") or {})
    if os.getpid() != pid:  # user code forked and returned in the fork, which must not report an outcome
        os._exit(0)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # the outcome must be sent whole
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    channel.send({"outcome": outcome, "attempt": workload.attempt_id})
    os._exit(0)


def _packed_outcome(
    user_code: UserCode,
    load_result: LoadResult | None,
    workload: Workload,
    runtime: TaskClient,
    limits: Mapping[str, Any],
) -> dict[str, Any]:
    """Run the try and return its outcome as JSON. Never raises."""
    if load_result is None or load_result.dag is None:
        error = f"the source of version {workload.version} no longer defines the DAG {workload.run.dag_id!r}"
        return _failed(workload, Cause.LOAD_FAILED, error)
    try:
        return protocol.pack_outcome(user_code.run(load_result.dag, workload, runtime, limits))
    except BaseException as error:  # run() turns errors of user code into outcomes; this is an error of run() itself
        import traceback

        traceback.print_exc()
        return _failed(workload, Cause.RAISED, f"{type(error).__name__}: {error}")


def _failed(workload: Workload, cause: Cause, error: str) -> dict[str, Any]:
    event = Failed(attempt_id=workload.attempt_id, at=utc_now(), cause=cause, error=error)
    return protocol.pack_outcome(Outcome(event=event))


def _redirect_output(fds: Sequence[int], *, max_bytes: int) -> None:
    """Send standard output and standard error to the pipe of the try's log: ``fds`` are its ends, to write and to read.

    The reading end stays open in this process, and is not inherited by programs: see :mod:`nbflow.execution.logs`."""
    writer, reader = fds
    os.dup2(writer, 1)
    os.dup2(writer, 2)
    os.close(writer)
    os.set_inheritable(reader, False)
    stream = LogStream(1, max_bytes=max_bytes)
    sys.stdout = sys.__stdout__ = stream  # type: ignore[assignment, misc]
    sys.stderr = sys.__stderr__ = stream.twin()  # type: ignore[assignment, misc]


def limit_memory(memory_limit_bytes: int | None) -> None:
    """Limit this process's address space, if a limit is given."""
    if memory_limit_bytes:
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (memory_limit_bytes, memory_limit_bytes))


def _reseed_numpy() -> None:
    """Python reseeds ``random`` at a fork, but not NumPy's global generator: all forks would draw the same numbers."""
    numpy = sys.modules.get("numpy")
    if numpy is not None:
        numpy.random.seed()
