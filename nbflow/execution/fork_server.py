"""The processes below the supervisor: one that forks others, each of which waits, and then loads a DAG or runs a try.

Theory
------
There is one kind of process and three parts that it can play::

    supervisor ── base ─┬─ template of DAG a, version 3 ─┬─ child (runs a try)
                        │                                └─ child (waits: forked ahead of need)
                        ├─ child (waits: becomes the next template)
                        └─ child that loads its DAG itself and runs a try

*Base* is a fresh interpreter with nbflow imported, a minimal environment and nothing of the user's. A *template* is a
fork of it that has loaded one version of one DAG. Both *serve*: they fork on request, reap, and do nothing else.
Whoever is forked waits on its own socket, so a start costs one message, and becomes what its first message says.

What they keep to:

* **No secrets, no database.** The environment is made by :mod:`nbflow.execution.child_environment`; nothing here
  imports the metastore. Code that is being loaded may read variables and connections through the socket; that is noted,
  and a template that did so is never forked (its memory holds the secret): its tries load the DAG anew, each in its own
  fork of the base. The same goes for a template in which threads run after loading: a lock held by one at the fork
  would never be released in the child.
* **A group each.** Every process leads its own session and group. The one that reaps a child first kills what is left
  of the child's group, while the zombie still keeps the number from being used again, and reports the end only when the
  group is empty.
* **Nothing outlives its supervisor.** A process that serves sees its socket close, kills the groups of its children,
  and what was reparented to it (it is a subreaper where the system has that), and exits. An idle child sees its own
  socket close. Of a template that is killed, the supervisor ends the children's groups.
* **Small.** Memory is frozen out of the garbage collector's sight before forking, so that children share it. What a
  child does is paid in pages that it must copy first (about 2 µs each, more than the work itself), so whatever can be
  done once before the fork is.
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

from nbflow.authoring.runtime import Outcome, Work
from nbflow.execution.protocol import BrokenProtocol, Channel, Hangup
from nbflow.execution.task_client import TaskClient

PR_SET_CHILD_SUBREAPER = 36
REHEARSE_AFTER_SECONDS = 0.002
"""A child whose try comes sooner than this has no time to rehearse."""
OOM_SCORE = "500"
"""Of 1000: what the kernel adds to each process below a supervisor when it looks for one to end because memory is out.
It is inherited, so the largest of them goes: the task that took the memory, and nothing that others need."""
LEFT_BEHIND_SECONDS = 5.0
"""How long a server that ends waits for what it killed."""


class Loaded(Protocol):
    """What loading a DAG's source gave."""

    @property
    def dag(self) -> Any:
        """The DAG, or None if the source does not define it (any more)."""

    def report(self) -> dict[str, Any]:
        """JSON for the supervisor: ``faults``, ``output``, and whether the shape is the expected one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """What a process below the supervisor does with user code. Tests put a small one in place of nbflow's own."""

    load: Callable[[Mapping[str, Any]], Loaded]
    """Source as JSON -> what it gave. Never raises for a mistake of the user's."""
    run: Callable[[Any, Work, TaskClient, Mapping[str, Any]], Outcome]
    """(DAG, work, runtime, limits) -> outcome. Never raises for a mistake of the user's."""
    rehearse: Callable[[], None] = lambda: None
    """Run a try of nothing. A child that has nothing to do yet does, unless others want the cores, and has then copied
    most pages that it will need: its real try starts in half the time."""


def main(program: Program | None = None) -> NoReturn:
    """Entry point of the base: ``sys.argv[1]`` is the number of its socket."""
    if program is None:
        from nbflow.execution.user_code import own_program

        program = own_program()
    _become_subreaper()
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as score:
        score.write(OOM_SCORE)
    channel = Channel(socket.socket(fileno=int(sys.argv[1])), blocking=True)
    Server(channel, program).serve()


class Server:
    """A process that forks, reaps, and tells its supervisor."""

    def __init__(self, channel: Channel, program: Program, loaded: Loaded | None = None) -> None:
        self.channel = channel
        self.program = program
        self.loaded = loaded
        self._children: set[int] = set()
        self._closing: dict[int, dict[str, Any]] = {}
        self._wakeup: tuple[socket.socket, socket.socket] | None = None

    def serve(self) -> NoReturn:
        """Serve until the supervisor is gone. Never returns; in a child, becomes the child."""
        gc.collect()
        gc.freeze()
        self._wakeup = reader, writer = socket.socketpair()
        reader.setblocking(False)
        writer.setblocking(False)
        for number in (
            signal.SIGTERM,
            signal.SIGINT,
            signal.SIGHUP,
            signal.SIGALRM,
        ):  # whatever a DAG file made of them
            signal.signal(number, signal.SIG_DFL)
        # The handler does nothing, and children keep it: putting it back would cost each of them more than it is worth.
        signal.signal(signal.SIGCHLD, _do_nothing)
        signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
        with selectors.DefaultSelector() as selector:
            selector.register(self.channel, selectors.EVENT_READ)
            selector.register(reader, selectors.EVENT_READ)
            while True:
                # A group that does not empty at once is looked at again; there is no event for it without a subreaper.
                ready = selector.select(0.02 if self._closing else None)
                for key, _ in ready:
                    if key.fileobj is reader:
                        with contextlib.suppress(BlockingIOError):
                            reader.recv(4096)
                    elif not self._obey():
                        self.end()
                self._reap()

    def _obey(self) -> bool:
        try:
            arrived, is_open = self.channel.arrived()
            for message, _ in arrived:
                if "fork" in message:
                    for _ in range(int(message["fork"])):
                        self._fork(rehearse=bool(message.get("rehearse")))
                elif "kill" in message:
                    self._kill(int(message["kill"]), int(message["signal"]))
                elif "sweep" in message:
                    self._sweep()
        except (Hangup, BrokenProtocol):
            return False
        return is_open

    def _fork(self, *, rehearse: bool) -> None:
        ours, theirs = socket.socketpair()
        try:
            pid = os.fork()
        except OSError as error:  # no memory or no process left: the supervisor tries again, or gives the try back
            ours.close()
            theirs.close()
            self.channel.send({"fork_failed": f"{type(error).__name__}: {error.strerror}"})
            return
        if pid == 0:
            try:
                ours.close()
                self._leave()
                be_child(theirs, self.program, self.loaded, rehearse=rehearse)
            finally:
                os._exit(70)
        theirs.close()
        self._children.add(pid)
        try:
            self.channel.send({"forked": pid}, [ours.fileno()])
        finally:
            ours.close()

    def _leave(self) -> None:
        """In a child: let go of what belongs to the server."""
        signal.set_wakeup_fd(-1)
        self.channel.close()
        for end in self._wakeup or ():
            end.close()

    def _kill(self, pid: int, number: int) -> None:
        if pid in self._children:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(pid, number)

    def _sweep(self) -> None:
        """End what was reparented to this process. The supervisor says when: no try that may still use it runs."""
        for pid in _own_children() - self._children:
            _kill_group(pid, signal.SIGKILL)
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def _reap(self) -> None:
        while (ended := self._next_ended()) is not None:
            pid, status, usage = ended
            if pid in self._children:
                self._children.discard(pid)
                self._closing[pid] = {"ended": pid, "status": status, "peak_kb": usage.ru_maxrss}
        for pid in list(self._closing):
            if not _group_exists(pid):
                message = self._closing.pop(pid)
                if _own_children() - self._children:
                    message["left_behind"] = True
                with contextlib.suppress(Hangup):
                    self.channel.send(message)

    def _next_ended(self) -> tuple[int, int, Any] | None:
        """Reap one child that has ended, after ending what is left of its group; None if there is none."""
        try:
            if not hasattr(os, "waitid"):  # macOS before Python 3.13: the group is ended a moment after the reaping
                reaped = os.wait4(-1, os.WNOHANG)
                if reaped[0] in self._children:
                    _kill_group(reaped[0], signal.SIGKILL)
                return reaped if reaped[0] else None
            ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            if ended is None:
                return None
            if ended.si_pid in self._children:  # still a zombie: the number cannot be anybody else's
                _kill_group(ended.si_pid, signal.SIGKILL)
            return os.wait4(ended.si_pid, 0)
        except ChildProcessError:
            return None

    def end(self) -> NoReturn:
        """The supervisor is gone: leave nothing behind."""
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.setitimer(signal.ITIMER_REAL, LEFT_BEHIND_SECONDS)
        while True:
            for pid in self._children | _own_children():
                _kill_group(pid, signal.SIGKILL)
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            try:
                pid, _ = os.wait()
            except ChildProcessError:
                os._exit(0)
            self._children.discard(pid)


def _do_nothing(number: int, frame: object) -> None:
    """So that SIGCHLD reaches the wake-up socket."""


# ------------------------------------------------------------------------------------------------------------- a child


def be_child(sock: socket.socket, program: Program, loaded: Loaded | None, *, rehearse: bool = False) -> NoReturn:
    """Wait for the first message, and become what it says; with ``rehearse``, use the time until it comes."""
    os.setsid()
    channel = Channel(sock, blocking=True)
    try:
        if loaded is not None and rehearse and not _arrives_within(sock, REHEARSE_AFTER_SECONDS):
            program.rehearse()
        message, fds = channel.receive()
        if "load" in message:
            loaded = _load(channel, program, message["load"])
            if "work" not in message:
                _become_subreaper()
                Server(channel, program, loaded).serve()
        from nbflow.execution.child import run_work

        run_work(channel, program, loaded, message, fds)
    except (Hangup, BrokenProtocol):
        pass
    os._exit(0)


def _arrives_within(sock: socket.socket, seconds: float) -> bool:
    """Whether there is something to read (or to hang up for) so soon."""
    sock.settimeout(seconds)
    try:
        sock.recv(1, socket.MSG_PEEK)
    except TimeoutError:
        return False
    finally:
        sock.setblocking(True)
    return True


def _load(channel: Channel, program: Program, source: Mapping[str, Any]) -> Loaded:
    from nbflow.connections import install_provider

    asked: list[str] = []

    def ask(kind: str, args: Mapping[str, Any]) -> Any:
        asked.append(f"{kind.removeprefix('get_')} {next(iter(args.values()), '')}")
        return ask_over(channel, None, kind, args)

    install_provider(TaskClient(ask))
    try:
        loaded = program.load(source)
    finally:
        install_provider(None)
    channel.send({"loaded": {**loaded.report(), "asked": asked[:20], "threads": count_threads()}})
    return loaded


def ask_over(channel: Channel, attempt_id: str | None, kind: str, args: Mapping[str, Any]) -> Any:
    """One question and its answer. Raises what the task API raised."""
    from nbflow.execution.task_client import as_error

    channel.send({"ask": kind, "args": dict(args), "attempt": attempt_id})
    reply, _ = channel.receive()
    if "error" in reply:
        raise as_error(reply["error"])
    return reply.get("reply")


def count_threads() -> int:
    """Threads that would be lost in a fork, without the calling one.

    Native ones count too, save those of a library that ends them around a fork and starts them again (OpenBLAS, under
    NumPy and pandas, does): what still runs after a trial fork is not looked after.
    """
    python = threading.active_count() - 1
    if python or _native_threads() <= 1:
        return python
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


def _own_children() -> set[int]:
    """Children of this process, those included that were reparented to it. Empty where the system does not tell."""
    try:
        with open(f"/proc/self/task/{os.getpid()}/children", "rb") as file:
            return {int(word) for word in file.read().split()}
    except OSError:
        return set()


def _become_subreaper() -> None:
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
