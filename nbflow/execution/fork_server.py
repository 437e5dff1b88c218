"""Fork servers and the children they fork: the processes below the supervisor that run user code.

Theory
------
One kind of process plays three parts::

    supervisor ── base fork server ─┬─ fork server of DAG a, version 3 ─┬─ child (runs a try)
                                    │                                   └─ child (idle: forked ahead of need)
                                    ├─ child (idle: becomes the next DAG fork server)
                                    └─ child that loads its DAG itself and runs a try

The *base fork server* is a fresh interpreter with nbflow imported, a minimal environment and no user code. A *DAG fork
server* is a fork of the base that has loaded one version of one DAG. Both do the same work: they fork on request, reap
children, and nothing else. Each child waits on its own socket, so starting a try costs one message; the first message
tells a child what to become.

Rules:

* **No secrets, no database.** :mod:`nbflow.execution.environment_allowlist` makes the environment; nothing here imports
  the metastore. Code that is being loaded may read variables and connections through the socket. A DAG fork server
  whose loading did so is never forked (its memory holds the secret): each try loads the DAG again, in its own fork of
  the base. The same holds when threads run after loading: a lock that a thread holds at the fork would never be
  released in the child.
* **One process group each.** Every process leads its own session and process group. The parent that reaps a child first
  kills the rest of the child's group, while the zombie still keeps the pid from being reused, and reports the exit only
  when the group is empty.
* **No process outlives its supervisor.** A fork server sees its socket close, kills the groups of its children and what
  was reparented to it (it is a subreaper on Linux), and exits. An idle child sees its own socket close.
* **A dead fork server costs no try.** A task may kill its parent. The tries that run go on: their sockets lead to the
  supervisor, which watches their processes itself from then on (only exit statuses are lost). Tries that wait for a
  fork are dispatched again, and the next one starts a new fork server. If the supervisor is killed too while a try is
  orphaned, the scheduler that adopts its attempt kills it.
* **Small.** ``gc.freeze`` hides memory from the garbage collector before forking, so that children share it. A child
  pays for each page that it writes (about 2 µs for the copy, more than the work itself), so work that can be done once,
  before the fork, is done there.
"""

from __future__ import annotations

import contextlib
import gc
import os
import selectors
import signal
import socket
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn, Protocol

from nbflow.authoring.workload import Outcome, Workload
from nbflow.execution.child import run_work
from nbflow.execution.protocol import Channel, ConnectionClosed, ProtocolError
from nbflow.execution.task_client import TaskClient, request_over_channel
from nbflow.secrets_backends import install_provider
from nbflow.secrets_masker import Masker

PR_SET_CHILD_SUBREAPER = 36
WARM_UP_AFTER_SECONDS = 0.002
"""A child whose try arrives sooner than this skips the warm-up."""
OOM_SCORE = "500"
"""Of 1000: how much is added to the kernel's out-of-memory score of each process below a supervisor. Forks inherit it,
so the kernel kills the largest of them: the task that allocated the memory, not the scheduler."""
CLEANUP_SECONDS = 5.0
"""How long a fork server that shuts down waits for the processes that it killed."""


class LoadResult(Protocol):
    """The result of loading a DAG's source."""

    @property
    def dag(self) -> Any:
        """The DAG, or None if the source does not define it (any more)."""

    def report(self) -> dict[str, Any]:
        """JSON for the supervisor: ``error``, ``detail``, ``output``; ``spec``, None if it equals the stored one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UserCode:
    """How a process below the supervisor loads and runs user code. Tests replace nbflow's functions."""

    load: Callable[[Mapping[str, Any]], LoadResult]
    """Source as JSON -> the result. Never raises for an error in user code."""
    run: Callable[[Any, Workload, TaskClient, Mapping[str, Any]], Outcome]
    """(DAG, workload, runtime, limits) -> outcome. Never raises for an error in user code."""
    warm_up: Callable[[], None] = lambda: None
    """Run an empty try. An idle child does so while cores are free, and has then copied most pages that a try writes:
    its real try starts in half the time."""


def main(user_code: UserCode) -> NoReturn:
    """Entry point of a base fork server: ``sys.argv[1]`` is the file descriptor of its socket."""
    _become_subreaper()
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as score:
        score.write(OOM_SCORE)
    channel = Channel(socket.socket(fileno=int(sys.argv[1])), blocking=True)
    ForkServer(channel, user_code).serve()


class ForkServer:
    """Forks children on request, reaps them, and reports their exits to the supervisor."""

    def __init__(self, channel: Channel, user_code: UserCode, load_result: LoadResult | None = None) -> None:
        self.channel = channel
        self.user_code = user_code
        self.load_result = load_result
        self._children: set[int] = set()
        self._exits: dict[int, dict[str, Any]] = {}
        """Pid -> the exit to report once the process group is empty."""
        self._wakeup: tuple[socket.socket, socket.socket] | None = None

    def serve(self) -> NoReturn:
        """Serve until the supervisor has exited. Never returns; in a forked child, runs the child."""
        gc.collect()
        gc.freeze()
        self._wakeup = reader, writer = socket.socketpair()
        reader.setblocking(False)
        writer.setblocking(False)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGALRM):  # a DAG file may have set them
            signal.signal(number, signal.SIG_DFL)
        # The handler does nothing, and children inherit it: resetting it would cost each of them time for no benefit.
        signal.signal(signal.SIGCHLD, _do_nothing)
        signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
        with selectors.DefaultSelector() as selector:
            selector.register(self.channel, selectors.EVENT_READ)
            selector.register(reader, selectors.EVENT_READ)
            while True:
                # Without a subreaper no event tells that a process group is empty: poll the groups of exited children.
                ready = selector.select(0.02 if self._exits else None)
                for key, _ in ready:
                    if key.fileobj is reader:
                        with contextlib.suppress(BlockingIOError):
                            reader.recv(4096)
                    elif not self._handle_messages():
                        self.shut_down()
                self._reap()

    def _handle_messages(self) -> bool:
        try:
            messages, is_open = self.channel.receive_available()
            for message, _ in messages:
                if "fork" in message:
                    for _ in range(int(message["fork"])):
                        self._fork(warm_up=bool(message.get("warm_up")))
                elif "kill" in message:
                    self._kill(int(message["kill"]), int(message["signal"]))
                elif "sweep" in message:
                    self._sweep()
        except (ConnectionClosed, ProtocolError):
            return False
        return is_open

    def _fork(self, *, warm_up: bool) -> None:
        parent_end, child_end = socket.socketpair()
        try:
            pid = os.fork()
        except OSError as error:  # out of memory or processes: the supervisor reports the dispatch as lost
            parent_end.close()
            child_end.close()
            self.channel.send({"fork_failed": f"{type(error).__name__}: {error.strerror}"})
            return
        if pid == 0:
            try:
                parent_end.close()
                self._close_in_child()
                run_child(child_end, self.user_code, self.load_result, warm_up=warm_up)
            finally:
                os._exit(70)
        child_end.close()
        self._children.add(pid)
        try:
            self.channel.send({"forked": pid}, [parent_end.fileno()])
        finally:
            parent_end.close()

    def _close_in_child(self) -> None:
        """In a forked child: close the fork server's sockets."""
        signal.set_wakeup_fd(-1)
        self.channel.close()
        for end in self._wakeup or ():
            end.close()

    def _kill(self, pid: int, number: int) -> None:
        if pid in self._children:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(pid, number)

    def _sweep(self) -> None:
        """Kill processes that were reparented to this process. The supervisor requests it when no running try may still
        use them."""
        for pid in _child_pids() - self._children:
            _kill_group(pid, signal.SIGKILL)
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def _reap(self) -> None:
        while (reaped := self._reap_next()) is not None:
            pid, status, usage = reaped
            if pid in self._children:
                self._children.discard(pid)
                self._exits[pid] = {"exited": pid, "status": status, "peak_kb": usage.ru_maxrss}
        for pid in list(self._exits):
            if not _group_exists(pid):
                message = self._exits.pop(pid)
                if _child_pids() - self._children:
                    message["left_behind"] = True
                with contextlib.suppress(ConnectionClosed):
                    self.channel.send(message)

    def _reap_next(self) -> tuple[int, int, Any] | None:
        """Reap one exited child, after killing the rest of its process group; None if none has exited."""
        try:
            if not hasattr(os, "waitid"):  # macOS before Python 3.13: kill the group a moment after reaping
                reaped = os.wait4(-1, os.WNOHANG)
                if reaped[0] in self._children:
                    _kill_group(reaped[0], signal.SIGKILL)
                return reaped if reaped[0] else None
            exited = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            if exited is None:
                return None
            if exited.si_pid in self._children:  # still a zombie: the pid cannot have been reused
                _kill_group(exited.si_pid, signal.SIGKILL)
            return os.wait4(exited.si_pid, 0)
        except ChildProcessError:
            return None

    def shut_down(self) -> NoReturn:
        """The supervisor has exited: kill every process below, and exit."""
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.setitimer(signal.ITIMER_REAL, CLEANUP_SECONDS)
        while True:
            for pid in self._children | _child_pids():
                _kill_group(pid, signal.SIGKILL)
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            try:
                pid, _ = os.wait()
            except ChildProcessError:
                os._exit(0)
            self._children.discard(pid)


def _do_nothing(number: int, frame: object) -> None:
    """With a handler set, SIGCHLD reaches the wake-up socket."""


# ------------------------------------------------------------------------------------------------------------- a child


def run_child(
    sock: socket.socket, user_code: UserCode, load_result: LoadResult | None, *, warm_up: bool = False
) -> NoReturn:
    """Wait for the first message and handle it; with ``warm_up``, run the warm-up while waiting."""
    os.setsid()
    channel = Channel(sock, blocking=True)
    masker: Masker | None = None
    try:
        if load_result is not None and warm_up and not _readable_within(sock, WARM_UP_AFTER_SECONDS):
            user_code.warm_up()
        message, fds = channel.receive()
        if "load" in message:
            masker = Masker(sensitive_names=message["load"].get("sensitive_names") or ())
            load_result = _load(channel, user_code, message["load"], masker)
            if "workload" not in message:
                _become_subreaper()
                ForkServer(channel, user_code, load_result).serve()
        run_work(channel, user_code, load_result, message, fds, given=masker)
    except (ConnectionClosed, ProtocolError):
        pass
    os._exit(0)


def _readable_within(sock: socket.socket, seconds: float) -> bool:
    """Whether data or the end of the stream arrives within ``seconds``."""
    sock.settimeout(seconds)
    try:
        sock.recv(1, socket.MSG_PEEK)
    except TimeoutError:
        return False
    finally:
        sock.setblocking(True)
    return True


def _load(channel: Channel, user_code: UserCode, source: Mapping[str, Any], masker: Masker) -> LoadResult:
    requests: list[str] = []

    def request(kind: str, args: Mapping[str, Any]) -> Any:
        requests.append(f"{kind.removeprefix('get_')} {next(iter(args.values()), '')}")
        return request_over_channel(channel, None, kind, args)

    install_provider(TaskClient(request, masker=masker))
    try:
        load_result = user_code.load(source)
    finally:
        install_provider(None)
    channel.send({"loaded": {**load_result.report(), "requests": requests[:20], "threads": count_threads()}})
    return load_result


def count_threads() -> int:
    """Number of threads that would be missing in a fork: all but the calling thread.

    Native threads count too, except those of a library that stops them around a fork and starts them again (OpenBLAS,
    under NumPy and pandas, does): threads that still run after a test fork belong to no such library.
    """
    python_threads = threading.active_count() - 1
    if python_threads or _native_threads() <= 1:
        return python_threads
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    return _native_threads() - 1


def _native_threads() -> int:
    try:
        return len(os.listdir("/proc/self/task"))
    except OSError:
        return threading.active_count()


# ------------------------------------------------------------------------------------------------------ process groups


def _kill_group(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, number)


def _group_exists(pid: int) -> bool:
    try:
        os.killpg(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _child_pids() -> set[int]:
    """Children of this process, including those reparented to it. Empty on systems without /proc."""
    try:
        with open(f"/proc/self/task/{os.getpid()}/children", "rb") as file:
            return {int(word) for word in file.read().split()}
    except OSError:
        return set()


def _become_subreaper() -> None:
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
