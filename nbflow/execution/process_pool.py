"""The supervisor's side of the processes below it: who is there, who waits, and who is ready to run a try.

See :mod:`nbflow.execution.fork_server` for the processes themselves. A :class:`Forker` stands for one that serves (the
base, a template), a :class:`Child` for one that was forked. The :class:`ProcessPool` keeps a template for each version
of a DAG that is in use, the least recently used one going first, and hands out children: from the template where it may
be forked, else from the base, with the order to load the DAG anew and a note that says why.
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

from nbflow.execution.event_loop import Loop, Timer
from nbflow.execution.protocol import CHILD_MOST_BYTES, BrokenProtocol, Channel, Hangup
from nbflow.execution.task_client import error_to_json

_ROOT = str(Path(__file__).resolve().parents[2])
#: -P keeps the current folder off sys.path; where nbflow itself lies is put on it instead.
_START = f"import sys; sys.path.append({_ROOT!r})\nfrom nbflow.execution.fork_server import main; main()"
COMMAND = (sys.executable, "-P", "-c", _START)
FORK_PATIENCE_SECONDS = 1.0
"""How long a try waits after a fork failed for want of memory or processes, before it is given back."""
STOP_SECONDS = 10.0
CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
"""Beside more tries than that, a child that waits does not rehearse: it would only cost (a third of the tries a second,
where they do nothing). One more than leaves a core idle: of tries in a row, one is just leaving."""
GROUP_CHECK_SECONDS = 0.01

Handler = Callable[[dict[str, Any], list[int]], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Gone:
    """How a process ended. ``status`` is that of ``wait``; None where nobody was left to reap it."""

    status: int | None = None
    peak_kb: int = 0

    @property
    def text(self) -> str:
        """For people: "exit code 3", "killed by SIGKILL (out of memory?)"."""
        if self.status is None:
            return "the process above it died"
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
    "SIGABRT": "native code gave up",
    "SIGFPE": "a crash in native code",
    "SIGXCPU": "CPU limit",
    "SIGXFSZ": "file size limit",
}


def _ignore(*_: Any) -> None:
    """A callback nobody has set yet."""


class Child:
    """A forked process, as its supervisor sees it. Its user sets ``on_message``, ``on_hangup`` and ``on_gone``."""

    def __init__(self, loop: Loop, parent: Forker, pid: int, channel: Channel) -> None:
        self.pid = pid
        self.parent = parent
        self.connected = True
        self.serves = False
        """It is a template: it looks after what it forks itself."""
        self.gone: Gone | None = None
        self.on_message: Handler = _ignore
        self.on_hangup: Callable[[str], None] = _ignore
        self.on_gone: Callable[[Gone], None] = _ignore
        self._loop = loop
        self._channel = channel
        loop.watch(channel, self._ready)

    def send(self, message: Mapping[str, Any], fds: Sequence[int] = ()) -> None:
        """Say something; what a process does not read, or no longer can, is lost (its end says the rest)."""
        if not self.connected:
            return
        with contextlib.suppress(Hangup):
            self._channel.send(message, fds)
            self._loop.also_writable(self._channel, self._channel.unsent)

    def kill(self, number: int) -> None:
        """Send a signal to its process group."""
        if self.gone is None:
            self.parent.kill(self.pid, number)

    def forget(self) -> None:
        """Let go of it: whatever it still says or does is nobody's business."""
        self.on_message = self.on_hangup = self.on_gone = _ignore
        self.hang_up()

    def hang_up(self) -> None:
        if self.connected:
            self.connected = False
            self._loop.unwatch(self._channel)
            self._channel.close()

    def ended(self, gone: Gone) -> None:
        """It is gone: hear what it still said, then say so."""
        if self.gone is None:
            self.gone = gone
            if self.connected:
                self._ready()
            self.hang_up()
            self.on_gone(gone)

    def _ready(self) -> None:
        reason = ""
        try:
            if self._channel.unsent:
                self._channel.flush()
                self._loop.also_writable(self._channel, self._channel.unsent)
            arrived, is_open = self._channel.arrived()
            for message, fds in arrived:
                self.on_message(message, fds)
        except Hangup:
            is_open = False
        except BrokenProtocol as error:
            is_open, reason = False, str(error)
        if not is_open and self.connected:
            self.hang_up()
            self.on_hangup(reason)


Taker = Callable[[Child | None, str], None]
"""Called with a child that waits, or with None and what prevented it."""


class Forker:
    """A process that forks on request. ``ahead`` children are kept waiting, so that a start needs no fork."""

    def __init__(self, loop: Loop, say: Callable[[Mapping[str, Any]], None], *, ahead: int) -> None:
        self.ahead = ahead
        self.children: dict[int, Child] = {}
        self.idle: deque[Child] = deque()
        self._loop = loop
        self._say = say
        self._takers: deque[Taker] = deque()
        self._asked = 0
        self._dead = False

    @property
    def at_work(self) -> int:
        """Processes that are used, or wanted to be."""
        return len(self._takers) + len(self.children) - len(self.idle)

    @property
    def busy(self) -> bool:
        return self.at_work > 0

    def take(self, taker: Taker) -> None:
        """Hand a waiting child to ``taker``, at once if there is one."""
        if self.idle:
            taker(self.idle.popleft(), "")
        else:
            self._takers.append(taker)
        self.refill()

    def refill(self) -> None:
        """Ask for as many forks as are waited for, and some ahead: several at a time, since each request takes the
        processor from whoever is at work."""
        wanted = len(self._takers) + self.ahead - len(self.idle) - self._asked
        short = len(self._takers) > self._asked or wanted >= (self.ahead + 1) // 2
        if wanted > 0 and short and not self._dead:
            self._asked += wanted
            self._say({"fork": wanted, "rehearse": self.at_work <= CORES})

    def kill(self, pid: int, number: int) -> None:
        if self._dead:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(pid, number)
        else:
            self._say({"kill": pid, "signal": number})

    def heard(self, message: dict[str, Any], fds: list[int]) -> None:
        if "forked" in message:
            self._asked -= 1
            sock = socket.socket(fileno=fds[0])
            channel = Channel(sock, blocking=False, most_bytes=CHILD_MOST_BYTES)
            child = Child(self._loop, self, int(message["forked"]), channel)
            self.children[child.pid] = child
            if self._takers:
                self._takers.popleft()(child, "")
            else:
                self.idle.append(child)
        elif "ended" in message:
            self._ended(message)
        elif "fork_failed" in message:
            self._loop.after(FORK_PATIENCE_SECONDS, lambda: self._fork_failed(str(message["fork_failed"])))

    def _fork_failed(self, reason: str) -> None:
        self._asked -= 1
        if self._takers:
            self._takers.popleft()(None, f"no process could be started: {reason}")

    def _ended(self, message: dict[str, Any]) -> None:
        child = self.children.pop(int(message["ended"]), None)
        if child is not None:
            if child in self.idle:
                self.idle.remove(child)
            child.ended(Gone(status=int(message["status"]), peak_kb=int(message.get("peak_kb", 0))))
        if message.get("left_behind") and not any(self._runs_a_try(one) for one in self.children.values()):
            self._say({"sweep": True})  # daemons of tries that are over; while one runs, they may be its own

    def _runs_a_try(self, child: Child) -> bool:
        return not child.serves and child not in self.idle

    def died(self) -> None:
        """The process is gone: its children die with it; those with a group of their own are ended from here."""
        self._dead = True
        self.idle.clear()
        children, self.children = list(self.children.values()), {}
        for child in children:
            self.kill(child.pid, signal.SIGKILL)
            self._when_gone(child)
        # Not at once: if it dies as often as it is started, whoever waits must not spin.
        self._loop.after(FORK_PATIENCE_SECONDS, self._disappoint)

    def _disappoint(self) -> None:
        while self._takers:
            self._takers.popleft()(None, "the process to fork it from died")

    def _when_gone(self, child: Child) -> None:
        if group_exists(child.pid):
            self._loop.after(GROUP_CHECK_SECONDS, lambda: self._when_gone(child))
        else:
            child.ended(Gone())


def group_exists(pid: int) -> bool:
    """Whether a process group has a member that still runs.

    What has ended counts as gone although its new parent has not reaped it: in a container, that may never happen.
    """
    try:
        os.killpg(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    try:
        numbers = [name for name in os.listdir("/proc") if name.isdigit()]
    except OSError:
        return True
    return any(_runs_in_group(number, pid) for number in numbers)


def _runs_in_group(number: str, group: int) -> bool:
    try:
        with open(f"/proc/{number}/stat", "rb") as file:
            state, _, its_group = file.read().rpartition(b")")[2].split()[:3]
    except (OSError, ValueError):
        return False
    return int(its_group) == group and state not in (b"Z", b"X")


# --------------------------------------------------------------------------------------------------------- the process
# pool


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """What a template loads. ``payload`` is JSON for the program's ``load``."""

    dag_id: str
    version: int
    payload: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Allocation:
    """A child for a try, or why there is none."""

    child: Child | None = None
    load: Mapping[str, Any] | None = None
    """The child has no DAG: it must load this first."""
    note: str = ""
    """For the try's log."""
    loaded: Mapping[str, Any] = field(default_factory=dict)
    """What the template said of its DAG."""
    fault: str = ""
    """The DAG cannot be loaded."""
    lost: str = ""
    """No process could be had; the DAG may be fine."""


Receiver = Callable[[Allocation], None]


class Template:
    """One version of one DAG: on its way (``starting``), to be forked (``warm``), or to be loaded anew (``fresh``)."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.state = "starting"
        self.child: Child | None = None
        self.forker: Forker | None = None
        self.waiting: list[Receiver] = []
        self.note = ""
        self.loaded: Mapping[str, Any] = {}
        self.timer: Timer | None = None
        self.fault = ""

    @property
    def busy(self) -> bool:
        return bool(self.waiting) or (self.forker is not None and self.forker.busy)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessPoolOptions:
    """``command`` starts the base; its socket's number is appended."""

    environment: Mapping[str, str]
    command: Sequence[str] = COMMAND
    ahead: int = 2
    most_templates: int = 8
    load_seconds: float = 30.0
    always_fresh: bool = False
    """Load the DAG anew for each try ([core] execute_tasks_new_python_interpreter)."""
    stderr: int | None = None
    """Where the base and the templates may complain; None: where the supervisor does."""


class ProcessPool:
    """Children on request. ``answer_parsing`` is who answers code that is being loaded."""

    def __init__(
        self,
        loop: Loop,
        options: ProcessPoolOptions,
        *,
        answer_parsing: Callable[[str, Mapping[str, Any]], Any],
        log: Callable[[str], None] = _ignore,
    ) -> None:
        self._loop = loop
        self._options = options
        self._answer_parsing = answer_parsing
        self._log = log
        self._templates: OrderedDict[tuple[str, int], Template] = OrderedDict()
        self._base: Forker | None = None
        self._base_channel: Channel | None = None
        self._process: subprocess.Popen[bytes] | None = None

    # --- the base
    def start(self) -> None:
        """Start the base process. Nothing of the user's is loaded."""
        ours, theirs = socket.socketpair()
        try:
            self._process = subprocess.Popen(
                [*self._options.command, str(theirs.fileno())],
                env=dict(self._options.environment),
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=self._options.stderr,
                start_new_session=True,
            )
        finally:
            theirs.close()
        channel = Channel(ours, blocking=False)
        self._base_channel = channel
        self._base = Forker(self._loop, lambda message: self._say_to_base(channel, message), ahead=1)
        self._loop.watch(channel, lambda: self._base_ready(channel))
        self._base.refill()

    @property
    def pid(self) -> int | None:
        """Of the base process."""
        return None if self._process is None else self._process.pid

    def _say_to_base(self, channel: Channel, message: Mapping[str, Any]) -> None:
        with contextlib.suppress(Hangup):
            channel.send(message)
            self._loop.also_writable(channel, channel.unsent)

    def _base_ready(self, channel: Channel) -> None:
        assert self._base is not None
        try:
            if channel.unsent:
                channel.flush()
                self._loop.also_writable(channel, channel.unsent)
            arrived, is_open = channel.arrived()
            for message, fds in arrived:
                self._base.heard(message, fds)
        except (Hangup, BrokenProtocol):
            is_open = False
        if not is_open:
            self._base_died(channel)

    def _base_died(self, channel: Channel) -> None:
        base, process = self._base, self._process
        self._loop.unwatch(channel)
        channel.close()
        self._base = self._base_channel = self._process = None
        if process is not None:
            process.kill()
            self._log(f"the base process ended: {_popen_status(process)}; it is started again")
        if base is not None:
            base.died()

    def _base_forker(self) -> Forker:
        if self._base is None:
            self.start()
        assert self._base is not None
        return self._base

    def take_spare(self, taker: Taker) -> None:
        """Get a child of the base, with nothing of the user's loaded."""
        self._base_forker().take(taker)

    # --- templates
    def has(self, dag_id: str, version: int) -> bool:
        return (dag_id, version) in self._templates

    def take(self, source: Source | tuple[str, int], receiver: Receiver) -> None:
        """Get a child ready for a try. A known template is named by (dag_id, version) alone."""
        key = (source.dag_id, source.version) if isinstance(source, Source) else source
        template = self._templates.get(key)
        if template is None:
            assert isinstance(source, Source)
            template = self._templates[key] = Template(source)
            self._load(template)
            self._make_room()
        self._templates.move_to_end(key)
        if template.state == "starting":
            template.waiting.append(receiver)
        else:
            self._serve(template, receiver)

    def _serve(self, template: Template, receiver: Receiver) -> None:
        if template.state == "warm" and template.forker is not None:
            template.forker.take(
                lambda child, lost: receiver(Allocation(child=child, lost=lost, loaded=template.loaded))
            )
        elif template.state == "fresh":
            load, note = template.source.payload, template.note
            self._base_forker().take(
                lambda child, lost: receiver(Allocation(child=child, load=load, note=note, lost=lost))
            )
        else:
            receiver(Allocation(fault=template.fault))

    def _load(self, template: Template) -> None:
        if self._options.always_fresh:
            template.state, template.note = "fresh", "the DAG was loaded anew for this try, as the settings say"
        else:
            self._base_forker().take(lambda child, lost: self._begin_load(template, child, lost))

    def _begin_load(self, template: Template, child: Child | None, lost: str) -> None:
        if child is None:
            self._forget(template)
            for receiver in _taken(template.waiting):
                receiver(Allocation(lost=lost))
            return
        template.child = child
        child.serves = True
        child.on_message = lambda message, fds: self._heard(template, message, fds)
        child.on_hangup = lambda reason: child.kill(signal.SIGKILL)
        child.on_gone = lambda gone: self._template_gone(template, gone)
        seconds = self._options.load_seconds

        def too_slow() -> None:
            template.fault = f"loading it took longer than {seconds:g} s ([core] dagbag_import_timeout)"
            child.kill(signal.SIGKILL)

        template.timer = self._loop.after(seconds, too_slow) if seconds else None
        try:
            child.send({"load": template.source.payload})
        except BrokenProtocol as error:
            template.fault = f"its source cannot be handed over: {error}"
            child.kill(signal.SIGKILL)

    def _heard(self, template: Template, message: dict[str, Any], fds: list[int]) -> None:
        child = template.child
        assert child is not None
        if template.forker is not None:
            template.forker.heard(message, fds)
        elif "ask" in message:
            answer_ask(child, message, self._answer_parsing)
        elif "loaded" in message:
            self._loaded(template, child, message["loaded"])

    def _loaded(self, template: Template, child: Child, loaded: Mapping[str, Any]) -> None:
        if template.timer is not None:
            template.timer.cancel()
        template.loaded = loaded
        template.fault = str(loaded.get("fault") or "")
        if template.fault:
            child.hang_up()  # it ends; _template_gone tells those who wait
            return
        template.note = why_not_forked(loaded)
        if template.note:
            template.state = "fresh"
            child.hang_up()
        else:
            template.state = "warm"
            template.forker = Forker(self._loop, child.send, ahead=self._options.ahead)
        for receiver in _taken(template.waiting):
            self._serve(template, receiver)

    def _template_gone(self, template: Template, gone: Gone) -> None:
        if template.timer is not None:
            template.timer.cancel()
        template.child = None
        if template.state == "fresh":
            return
        if template.forker is not None:
            template.forker.died()
        self._forget(template)
        fault = template.fault or f"loading it ended its process: {gone.text}"
        template.state, template.fault = "failed", fault
        for receiver in _taken(template.waiting):
            receiver(Allocation(fault=fault, loaded=template.loaded))

    def _forget(self, template: Template) -> None:
        key = (template.source.dag_id, template.source.version)
        if self._templates.get(key) is template:
            del self._templates[key]

    def _make_room(self) -> None:
        spare = len(self._templates) - self._options.most_templates
        for template in list(self._templates.values())[:-1]:
            if spare <= 0:
                return
            if not template.busy and template.state != "starting":
                self._retire(template)
                spare -= 1

    def _retire(self, template: Template) -> None:
        self._forget(template)
        if template.child is not None:
            template.child.hang_up()  # it sees that, ends its waiting children, and exits

    def retire_idle(self) -> None:
        """Let every template go that has nothing to do. The next try loads its DAG again."""
        for template in list(self._templates.values()):
            if not template.busy and template.state != "starting":
                self._retire(template)

    def stop(self) -> None:
        """End every process below, and wait until they are gone."""
        channel, process = self._base_channel, self._process
        for template in list(self._templates.values()):
            self._retire(template)
        if channel is not None:
            self._loop.unwatch(channel)
            channel.close()
        self._base = self._base_channel = self._process = None
        if process is not None:
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def answer_ask(child: Child, message: Mapping[str, Any], answer: Callable[[str, Mapping[str, Any]], Any]) -> None:
    """Answer one question; an error goes back as one, and never further."""
    args = message.get("args")
    try:
        if not isinstance(args, dict):
            raise BrokenProtocol("a question without arguments")
        reply = {"reply": answer(str(message["ask"]), args)}
    except Exception as error:
        reply = {"error": error_to_json(error)}
    try:
        child.send(reply)
    except BrokenProtocol as error:
        child.send({"error": error_to_json(error)})


def why_not_forked(loaded: Mapping[str, Any]) -> str:
    """Why a process that has loaded a DAG may not be forked; empty if it may."""
    asked, threads = loaded.get("asked") or [], int(loaded.get("threads") or 0)
    if asked:
        return f"the DAG was loaded anew for this try: its file read {asked[0]} while it was loaded"
    if threads:
        return f"the DAG was loaded anew for this try: loading its file left {threads} thread(s) running"
    return ""


def _taken(waiting: list[Receiver]) -> list[Receiver]:
    taken = list(waiting)
    waiting.clear()
    return taken


def _popen_status(process: subprocess.Popen[bytes]) -> str:
    code = process.wait()
    return f"signal {-code}" if code < 0 else f"exit code {code}"
