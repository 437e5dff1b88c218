"""The supervisor's side of the processes below it: fork servers, their children, and which child runs which try.

:mod:`nbflow.execution.fork_server` describes the processes themselves. A :class:`ForkServerHandle` stands for a fork
server (the base or that of a DAG version), a :class:`ChildProcess` for a process that one forked. If a fork server dies
(a task may kill its parent), the children that run something go on, and only their exit status is lost. The
:class:`ProcessPool` keeps a :class:`DagForkServer` for each DAG version in use, retires the least recently used one
first, and allocates children to tries: forks of the DAG fork server where forking is safe, else forks of the base, with
the DAG's source to load and a note that says why.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nbflow.execution.protocol import MAX_CHILD_MESSAGE_BYTES, Channel, ConnectionClosed, ProtocolError
from nbflow.execution.selector_loop import EventLoop, TimerHandle
from nbflow.execution.task_client import error_to_json

_ROOT = str(Path(__file__).resolve().parents[2])
#: -P keeps the current folder off sys.path; the folder that holds nbflow is appended instead.
_START = f"import sys; sys.path.append({_ROOT!r})\nfrom nbflow.execution.fork_server_main import main; main()"
COMMAND = (sys.executable, "-P", "-c", _START)
FORK_RETRY_SECONDS = 1.0
"""How long a try waits after a fork failed for lack of memory or processes, before its dispatch is reported lost.
Without the delay, a fork server that dies at each start would be restarted in a busy loop."""
STOP_SECONDS = 10.0
CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
"""When more tries than cores are in use, idle children skip the warm-up: it would cost a third of the tries per second
(measured with empty tries). One more try than cores still leaves a core idle: of consecutive tries, one is exiting."""
GROUP_CHECK_SECONDS = 0.01
ORPHAN_CHECK_SECONDS = 0.5
"""How often an orphaned child is looked at on systems without pidfds."""

MessageCallback = Callable[[dict[str, Any], list[int]], None]
"""Called with a message and its file descriptors."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessExit:
    """How a process exited. ``status`` is that of ``wait``; None if the process that would have reaped it died."""

    status: int | None = None
    peak_kb: int = 0

    @property
    def text(self) -> str:
        """For messages: "exit code 3", "killed by SIGKILL (out of memory?)"."""
        if self.status is None:
            return "its exit status is unknown, because its fork server had died before it"
        if not os.WIFSIGNALED(self.status):
            return f"exit code {os.waitstatus_to_exitcode(self.status)}"
        number = os.WTERMSIG(self.status)
        try:
            name = signal.Signals(number).name
        except ValueError:
            name = f"signal {number}"
        hint = _SIGNAL_HINTS.get(name, "")
        return f"killed by {name}{hint and f' ({hint})'}"


_SIGNAL_HINTS = {
    "SIGKILL": "out of memory?",
    "SIGSEGV": "a crash in native code",
    "SIGBUS": "a crash in native code, or a full disk",
    "SIGABRT": "native code aborted",
    "SIGFPE": "a crash in native code",
    "SIGXCPU": "CPU limit",
    "SIGXFSZ": "file size limit",
}


def _ignore(*_: Any) -> None:
    """The default of a callback."""


class ChildProcess:
    """The supervisor's handle on a forked process. Whoever runs something in it sets ``on_message``, ``on_hangup`` and
    ``on_exit``."""

    def __init__(self, loop: EventLoop, parent: ForkServerHandle, pid: int, channel: Channel) -> None:
        self.pid = pid
        self.parent = parent
        self.connected = True
        self.is_fork_server = False
        """It has become a DAG fork server, which kills its own children."""
        self.exit: ProcessExit | None = None
        self.on_message: MessageCallback = _ignore
        self.on_hangup: Callable[[str], None] = _ignore
        self.on_exit: Callable[[ProcessExit], None] = _ignore
        self._loop = loop
        self._channel = channel
        loop.add_reader(channel, self._on_ready)

    def send(self, message: Mapping[str, Any], fds: Sequence[int] = ()) -> None:
        """Send a message. A message to a process that has exited or does not read is lost; its exit is reported in any
        case."""
        if not self.connected:
            return
        with contextlib.suppress(ConnectionClosed):
            self._channel.send(message, fds)
            self._loop.watch_writable(self._channel, self._channel.unsent)

    def kill(self, number: int) -> None:
        """Send a signal to its process group."""
        if self.exit is None:
            self.parent.kill(self.pid, number)

    def detach(self) -> None:
        """Remove all callbacks and close the connection."""
        self.on_message = self.on_hangup = self.on_exit = _ignore
        self.close()

    def close(self) -> None:
        """Close the connection."""
        if self.connected:
            self.connected = False
            self._loop.remove_reader(self._channel)
            self._channel.close()

    def exited(self, process_exit: ProcessExit) -> None:
        """The process has exited: deliver the messages that it sent before, then the exit."""
        if self.exit is None:
            self.exit = process_exit
            if self.connected:
                self._on_ready()
            self.close()
            self.on_exit(process_exit)

    def _on_ready(self) -> None:
        reason = ""
        try:
            if self._channel.unsent:
                self._channel.flush()
                self._loop.watch_writable(self._channel, self._channel.unsent)
            messages, is_open = self._channel.receive_available()
            for message, fds in messages:
                self.on_message(message, fds)
        except ConnectionClosed:
            is_open = False
        except ProtocolError as error:
            is_open, reason = False, str(error)
        if not is_open and self.connected:
            self.close()
            self.on_hangup(reason)


ChildCallback = Callable[[ChildProcess | None, str], None]
"""Called with an idle child, or with None and the reason why there is none."""


class ForkServerHandle:
    """The supervisor's handle on a fork server. ``spare_children`` are kept idle, so that a start needs no fork."""

    def __init__(
        self,
        loop: EventLoop,
        send: Callable[[Mapping[str, Any]], None],
        *,
        spare_children: int,
        has_orphans: Callable[[], bool] = lambda: False,
    ) -> None:
        """``has_orphans``: whether tries run whose fork server, a child of this one, has died. Their processes have
        been reparented to this one and must not be swept."""
        self.spare_children = spare_children
        self._has_orphans = has_orphans
        self._pidfds: set[int] = set()
        self.children: dict[int, ChildProcess] = {}
        self.idle: deque[ChildProcess] = deque()
        self._loop = loop
        self._send = send
        self._waiting: deque[ChildCallback] = deque()
        self._forks_requested = 0
        self._dead = False

    @property
    def in_use(self) -> int:
        """Number of children that run something, or are waited for."""
        return len(self._waiting) + len(self.children) - len(self.idle)

    @property
    def busy(self) -> bool:
        return self.in_use > 0

    def take(self, callback: ChildCallback) -> None:
        """Pass an idle child to ``callback``, at once if there is one."""
        if self.idle:
            callback(self.idle.popleft(), "")
        else:
            self._waiting.append(callback)
        self.refill()

    def refill(self) -> None:
        """Request the forks that callbacks wait for, and spare children; several at a time, since each request takes
        CPU time from running tries."""
        wanted = len(self._waiting) + self.spare_children - len(self.idle) - self._forks_requested
        worth_a_request = len(self._waiting) > self._forks_requested or wanted >= (self.spare_children + 1) // 2
        if wanted > 0 and worth_a_request and not self._dead:
            self._forks_requested += wanted
            self._send({"fork": wanted, "warm_up": self.in_use <= CORES})

    def kill(self, pid: int, number: int) -> None:
        if self._dead:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(pid, number)
        else:
            self._send({"kill": pid, "signal": number})

    def on_message(self, message: dict[str, Any], fds: list[int]) -> None:
        if "forked" in message:
            self._forks_requested -= 1
            sock = socket.socket(fileno=fds[0])
            channel = Channel(sock, blocking=False, max_bytes=MAX_CHILD_MESSAGE_BYTES)
            child = ChildProcess(self._loop, self, int(message["forked"]), channel)
            self.children[child.pid] = child
            if self._waiting:
                self._waiting.popleft()(child, "")
            else:
                self.idle.append(child)
        elif "exited" in message:
            self._on_child_exit(message)
        elif "fork_failed" in message:
            self._loop.call_later(FORK_RETRY_SECONDS, lambda: self._fork_failed(str(message["fork_failed"])))

    def _fork_failed(self, reason: str) -> None:
        self._forks_requested -= 1
        if self._waiting:
            self._waiting.popleft()(None, f"no process could be started: {reason}")

    def _on_child_exit(self, message: dict[str, Any]) -> None:
        child = self.children.pop(int(message["exited"]), None)
        if child is not None:
            if child in self.idle:
                self.idle.remove(child)
            child.exited(ProcessExit(status=int(message["status"]), peak_kb=int(message.get("peak_kb", 0))))
        if message.get("left_behind") and not self.runs_a_try and not self._has_orphans():
            self._send({"sweep": True})  # daemons of tries that have ended; a running try may still use its own

    @property
    def runs_a_try(self) -> bool:
        return any(not child.is_fork_server and child not in self.idle for child in self.children.values())

    def on_exit(self) -> None:
        """The fork server has exited: kill its idle children; the others go on, watched from here."""
        self._dead = True
        idle, self.idle = self.idle, deque()
        for child in idle:
            del self.children[child.pid]
            self.kill(child.pid, signal.SIGKILL)
            child.close()
        for child in list(self.children.values()):
            self._watch(child)
        # Delayed: a fork server that dies at each start must not be restarted in a busy loop.
        self._loop.call_later(FORK_RETRY_SECONDS, self._fail_waiting)

    def _watch(self, child: ChildProcess) -> None:
        """Report the exit of an orphaned child, whose new parent reports nothing."""
        try:
            pidfd = os.pidfd_open(child.pid)
        except (AttributeError, OSError):  # not on Linux, or it has exited
            if _is_running(child.pid):
                self._loop.call_later(ORPHAN_CHECK_SECONDS, lambda: self._watch(child))
            else:
                self._on_orphan_exit(child)
            return

        def on_exit() -> None:
            self._close_pidfd(pidfd)
            self._on_orphan_exit(child)

        self._pidfds.add(pidfd)
        self._loop.add_reader(pidfd, on_exit)

    def _close_pidfd(self, pidfd: int) -> None:
        self._pidfds.discard(pidfd)
        self._loop.remove_reader(pidfd)
        os.close(pidfd)

    def _on_orphan_exit(self, child: ChildProcess) -> None:
        self.kill(child.pid, signal.SIGKILL)  # the rest of its group, as a fork server does
        self._report_when_group_is_empty(child)

    def kill_orphans(self) -> None:
        """Kill the children of a fork server that has died, and stop watching them. DAG fork servers among them see
        their connections close and shut down, with their own children."""
        for child in self.children.values():
            if not child.is_fork_server:
                child.kill(signal.SIGKILL)
        for pidfd in tuple(self._pidfds):
            self._close_pidfd(pidfd)

    def _fail_waiting(self) -> None:
        while self._waiting:
            self._waiting.popleft()(None, "its fork server died")

    def _report_when_group_is_empty(self, child: ChildProcess) -> None:
        if group_exists(child.pid):
            self._loop.call_later(GROUP_CHECK_SECONDS, lambda: self._report_when_group_is_empty(child))
        else:
            self.children.pop(child.pid, None)
            child.exited(ProcessExit())


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def group_exists(pid: int) -> bool:
    """Whether a process group has a member that still runs.

    A zombie does not count, even if its new parent has not reaped it: in a container, that may never happen.
    """
    try:
        os.killpg(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    try:
        pids = [name for name in os.listdir("/proc") if name.isdigit()]
    except OSError:
        return True
    return any(_runs_in_group(member, pid) for member in pids)


def _runs_in_group(pid: str, group: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            state, _, process_group = file.read().rpartition(b")")[2].split()[:3]
    except (OSError, ValueError):
        return False
    return int(process_group) == group and state not in (b"Z", b"X")


# ---------------------------------------------------------------------------------------------------- the process pool


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """The source of a DAG version. ``payload`` is JSON for :attr:`UserCode.load`."""

    dag_id: str
    version: int
    payload: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Allocation:
    """A child for a try, or the reason why there is none."""

    child: ChildProcess | None = None
    load: Mapping[str, Any] | None = None
    """The child has no DAG: it must load this source first."""
    note: str = ""
    """For the try's log."""
    load_report: Mapping[str, Any] = field(default_factory=dict)
    """What the DAG fork server reported after loading (see :meth:`LoadResult.report`)."""
    load_error: str = ""
    """Why the DAG cannot be loaded."""
    start_error: str = ""
    """Why no process could be started; the DAG may be fine."""


AllocationCallback = Callable[[Allocation], None]


class DagForkServer:
    """The fork server of one DAG version.

    ``state``: ``loading``; ``forkable``; ``unforkable`` (each try loads the DAG itself); ``failed``.
    """

    def __init__(self, source: Source) -> None:
        self.source = source
        self.state = "loading"
        self.process: ChildProcess | None = None
        self.handle: ForkServerHandle | None = None
        self.waiting: list[AllocationCallback] = []
        self.note = ""
        self.load_report: Mapping[str, Any] = {}
        self.load_error = ""
        self.load_timer: TimerHandle | None = None

    @property
    def busy(self) -> bool:
        return bool(self.waiting) or (self.handle is not None and self.handle.busy)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessPoolOptions:
    """``command`` starts the base fork server; the number of its socket's descriptor is appended."""

    environment: Mapping[str, str]
    command: Sequence[str] = COMMAND
    spare_children: int = 2
    """Idle children that each DAG fork server keeps."""
    max_dag_fork_servers: int = 8
    load_seconds: float = 30.0
    reload_every_try: bool = False
    """Load the DAG again for each try ([core] execute_tasks_new_python_interpreter)."""
    stderr: int | None = None
    """Standard error of the fork servers; None: that of the supervisor."""


class ProcessPool:
    """Allocates child processes. ``handle_parse_request`` serves the requests of code that is being loaded."""

    def __init__(
        self,
        loop: EventLoop,
        options: ProcessPoolOptions,
        *,
        handle_parse_request: Callable[[str, Mapping[str, Any]], Any],
        log: Callable[[str], None] = _ignore,
    ) -> None:
        self._loop = loop
        self._options = options
        self._handle_parse_request = handle_parse_request
        self._log = log
        self._dag_fork_servers: OrderedDict[tuple[str, int], DagForkServer] = OrderedDict()
        self._dead: list[ForkServerHandle] = []
        """Fork servers that have died; their children may still run."""
        self._base: ForkServerHandle | None = None
        self._base_channel: Channel | None = None
        self._base_process: subprocess.Popen[bytes] | None = None

    # --- the base fork server
    def start(self) -> None:
        """Start the base fork server, with no user code loaded."""
        own_end, base_end = socket.socketpair()
        try:
            self._base_process = subprocess.Popen(
                [*self._options.command, str(base_end.fileno())],
                env=dict(self._options.environment),
                pass_fds=[base_end.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=self._options.stderr,
                start_new_session=True,
            )
        finally:
            base_end.close()
        channel = Channel(own_end, blocking=False)
        self._base_channel = channel
        self._base = ForkServerHandle(
            self._loop,
            lambda message: self._send_to_base(channel, message),
            spare_children=1,
            has_orphans=self._has_orphans,
        )
        self._loop.add_reader(channel, lambda: self._on_base_ready(channel))
        self._base.refill()

    @property
    def base_pid(self) -> int | None:
        """Process id of the base fork server."""
        return None if self._base_process is None else self._base_process.pid

    def _send_to_base(self, channel: Channel, message: Mapping[str, Any]) -> None:
        with contextlib.suppress(ConnectionClosed):
            channel.send(message)
            self._loop.watch_writable(channel, channel.unsent)

    def _on_base_ready(self, channel: Channel) -> None:
        assert self._base is not None
        try:
            if channel.unsent:
                channel.flush()
                self._loop.watch_writable(channel, channel.unsent)
            messages, is_open = channel.receive_available()
            for message, fds in messages:
                self._base.on_message(message, fds)
        except (ConnectionClosed, ProtocolError):
            is_open = False
        if not is_open:
            self._on_base_exit(channel)

    def _on_base_exit(self, channel: Channel) -> None:
        base, process = self._base, self._base_process
        self._loop.remove_reader(channel)
        channel.close()
        self._base = self._base_channel = self._base_process = None
        if process is not None:
            process.kill()
            self._log(f"the base fork server ended ({_exit_text(process)}) and is restarted for the next try")
        if base is not None:
            self._bury(base)

    def _bury(self, handle: ForkServerHandle) -> None:
        """A fork server has died."""
        self._dead = [dead for dead in self._dead if dead.children]
        self._dead.append(handle)
        handle.on_exit()

    def _has_orphans(self) -> bool:
        return any(dead.runs_a_try for dead in self._dead)

    def _running_base(self) -> ForkServerHandle:
        if self._base is None:
            self.start()
        assert self._base is not None
        return self._base

    def take_base_child(self, callback: ChildCallback) -> None:
        """Get a child of the base fork server, with no user code loaded."""
        self._running_base().take(callback)

    # --- DAG fork servers
    def has(self, dag_id: str, version: int) -> bool:
        return (dag_id, version) in self._dag_fork_servers

    def take(self, source: Source | tuple[str, int], callback: AllocationCallback) -> None:
        """Allocate a child for a try. (dag_id, version) is enough for a version that :meth:`has` knows."""
        key = (source.dag_id, source.version) if isinstance(source, Source) else source
        server = self._dag_fork_servers.get(key)
        if server is None:
            assert isinstance(source, Source)
            server = self._dag_fork_servers[key] = DagForkServer(source)
            self._load(server)
            self._retire_excess()
        self._dag_fork_servers.move_to_end(key)
        if server.state == "loading":
            server.waiting.append(callback)
        else:
            self._allocate(server, callback)

    def _allocate(self, server: DagForkServer, callback: AllocationCallback) -> None:
        if server.state == "forkable" and server.handle is not None:
            report = server.load_report
            server.handle.take(
                lambda child, error: callback(Allocation(child=child, start_error=error, load_report=report))
            )
        elif server.state == "unforkable":
            load, note = server.source.payload, server.note
            self._running_base().take(
                lambda child, error: callback(Allocation(child=child, load=load, note=note, start_error=error))
            )
        else:
            callback(Allocation(load_error=server.load_error))

    def _load(self, server: DagForkServer) -> None:
        if self._options.reload_every_try:
            server.state = "unforkable"
            server.note = f"{_RELOADED}: [core] execute_tasks_new_python_interpreter is set"
        else:
            self._running_base().take(lambda child, error: self._start_loading(server, child, error))

    def _start_loading(self, server: DagForkServer, child: ChildProcess | None, start_error: str) -> None:
        if child is None:
            self._remove(server)
            for callback in _drained(server.waiting):
                callback(Allocation(start_error=start_error))
            return
        server.process = child
        child.is_fork_server = True
        child.on_message = lambda message, fds: self._on_message(server, message, fds)
        child.on_hangup = lambda reason: child.kill(signal.SIGKILL)
        child.on_exit = lambda process_exit: self._on_dag_fork_server_exit(server, process_exit)
        seconds = self._options.load_seconds

        def time_out() -> None:
            server.load_error = f"loading the DAG took longer than {seconds:g} s ([core] dagbag_import_timeout)"
            child.kill(signal.SIGKILL)

        server.load_timer = self._loop.call_later(seconds, time_out) if seconds else None
        try:
            child.send({"load": server.source.payload})
        except ProtocolError as error:
            server.load_error = f"the DAG's source cannot be sent: {error}"
            child.kill(signal.SIGKILL)

    def _on_message(self, server: DagForkServer, message: dict[str, Any], fds: list[int]) -> None:
        child = server.process
        assert child is not None
        if server.handle is not None:
            server.handle.on_message(message, fds)
        elif "request" in message:
            respond_to(child, message, self._handle_parse_request)
        elif "loaded" in message:
            self._on_loaded(server, child, message["loaded"])

    def _on_loaded(self, server: DagForkServer, child: ChildProcess, report: Mapping[str, Any]) -> None:
        if server.load_timer is not None:
            server.load_timer.cancel()
        server.load_report = report
        server.load_error = str(report.get("error") or "")
        if server.load_error:
            child.close()  # the process exits, and _on_dag_fork_server_exit reports the error
            return
        server.note = why_not_forkable(report)
        if server.note:
            server.state = "unforkable"
            child.close()
        else:
            server.state = "forkable"
            server.handle = ForkServerHandle(self._loop, child.send, spare_children=self._options.spare_children)
        for callback in _drained(server.waiting):
            self._allocate(server, callback)

    def _on_dag_fork_server_exit(self, server: DagForkServer, process_exit: ProcessExit) -> None:
        if server.load_timer is not None:
            server.load_timer.cancel()
        server.process = None
        if server.state == "unforkable":
            return
        if server.handle is not None:
            self._bury(server.handle)
        self._remove(server)
        server.state = "failed"
        server.load_error = server.load_error or f"loading the DAG ended its process: {process_exit.text}"
        for callback in _drained(server.waiting):
            callback(Allocation(load_error=server.load_error, load_report=server.load_report))

    def _remove(self, server: DagForkServer) -> None:
        key = (server.source.dag_id, server.source.version)
        if self._dag_fork_servers.get(key) is server:
            del self._dag_fork_servers[key]

    def _retire_excess(self) -> None:
        excess = len(self._dag_fork_servers) - self._options.max_dag_fork_servers
        for server in list(self._dag_fork_servers.values())[:-1]:
            if excess <= 0:
                return
            if not server.busy and server.state != "loading":
                self._retire(server)
                excess -= 1

    def _retire(self, server: DagForkServer) -> None:
        self._remove(server)
        if server.process is not None:
            server.process.close()  # the fork server then kills its idle children and exits

    def retire_idle(self) -> None:
        """Shut down every DAG fork server that is not in use. The next try loads its DAG again."""
        for server in list(self._dag_fork_servers.values()):
            if not server.busy and server.state != "loading":
                self._retire(server)

    def stop(self) -> None:
        """Shut down every process below, and wait until they have exited."""
        channel, process = self._base_channel, self._base_process
        for server in list(self._dag_fork_servers.values()):
            if server.state == "loading" and server.process is not None:
                server.process.kill(signal.SIGKILL)  # user code that hangs does not see the connection close
            self._retire(server)
        if channel is not None:
            self._loop.remove_reader(channel)
            channel.close()
        for dead in self._dead:
            dead.kill_orphans()
        self._base = self._base_channel = self._base_process = None
        if process is not None:
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def respond_to(
    child: ChildProcess, message: Mapping[str, Any], handle: Callable[[str, Mapping[str, Any]], Any]
) -> None:
    """Respond to a child's request with the result of ``handle``, or with the error that it raises."""
    args = message.get("args")
    try:
        if not isinstance(args, dict):
            raise ProtocolError("a request without arguments")
        response = {"response": handle(str(message["request"]), args)}
    except Exception as error:
        response = {"error": error_to_json(error)}
    try:
        child.send(response)
    except ProtocolError as error:
        child.send({"error": error_to_json(error)})


_RELOADED = "the DAG was loaded again for this try"


def why_not_forkable(load_report: Mapping[str, Any]) -> str:
    """Why a process that has loaded a DAG must not be forked; empty if it may."""
    requests, threads = load_report.get("requests") or [], int(load_report.get("threads") or 0)
    if requests:
        return f"{_RELOADED}: its file read {requests[0]} while it was loaded"
    if threads:
        return f"{_RELOADED}: loading its file left {threads} thread(s) running"
    return ""


def _drained(waiting: list[AllocationCallback]) -> list[AllocationCallback]:
    callbacks = list(waiting)
    waiting.clear()
    return callbacks


def _exit_text(process: subprocess.Popen[bytes]) -> str:
    code = process.wait()
    return f"signal {-code}" if code < 0 else f"exit code {code}"
