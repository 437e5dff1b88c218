"""The supervisor: it owns the database, the leases, the logs and the time limits, and never runs user code.

Theory
------
A *try* goes through these steps, each driven by a message or a timer, in one thread::

    submit ── claim ──> waits for a child ── work sent ──> runs ── outcome ──> (its process ends) ── forgotten
                 │               │                          │
                 └ taken: drop   └ DAG does not load        └ killed, or its process died without an outcome

* The *claim* makes it ours: a duplicate delivery finds it taken. From then on the lease is renewed with all the
  others', in one statement; what the store says is no longer ours is killed at once, and if the store cannot be asked,
  everything is killed before the lease runs out elsewhere, so that nobody runs it a second time beside us.
* A success or a skip ends the try for everybody else as soon as it is heard: its process has nothing left to do but
  exit. If it does not, it is killed. Any other end may be followed by another try of the same instance, and is reported
  only when the process group is empty, so that two of them never live side by side.
* What ended a try is decided here, from the first of: our own reason to kill it, its outcome, how its process died.
* Writes by a child carry its attempt id, taken from the connection and not from what it says; the store refuses an
  old one.

Nothing here waits for a child: what it does not read is queued, and a message that breaks the protocol costs it its
try.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

from nbflow.core.events import DispatchLost, Event, Failed, KilledToRestart, SkippedItself, Started, Succeeded
from nbflow.core.snapshot import RunKey, TaskKey
from nbflow.core.spec import DagSpec, TaskSpec
from nbflow.core.states import Cause
from nbflow.errors import NbflowError
from nbflow.execution import protocol
from nbflow.execution.event_loop import Loop, Timer
from nbflow.execution.executors.base import Report, Submission
from nbflow.execution.logs import LogFile, LogFolder
from nbflow.execution.process_pool import (
    CORES,
    Allocation,
    Child,
    Gone,
    ProcessPool,
    ProcessPoolOptions,
    Source,
    answer_ask,
)
from nbflow.execution.task_api import TaskApi
from nbflow.execution.task_client import utc_now
from nbflow.store.base import DagVersion

TICK_SECONDS = 0.5
"""While something runs: how often log sizes are looked at, and how soon a new process is noted in the store. A try that
is over before costs no write for it: its processes die with their supervisor anyway, and the note is for a restart
after that failed."""
START_SECONDS = 0.01
"""How long the report of a start waits for another one: what is reported together is stored in one commit, and many a
try is over before anybody could have seen that it runs."""
NEW = timedelta(milliseconds=50)
"""So young a try may be one that does nothing. One that waits or computes is soon older."""
EXIT_SECONDS = 5.0
"""How long a process may take to exit after its outcome."""
HANGUP_SECONDS = 1.0
"""How long after its connection closed a process may take to be reported dead, before it counts as having hung up."""
TIMEOUT_MARGIN_SECONDS = 1.0
"""The child's own timer raises AirflowTaskTimeout at the limit, so that user code can clean up; ours comes later."""
LEASE_SAFETY = 0.8
"""Part of the lease after which, without an answer from the store, our own tries are ended."""

IDLE_SECONDS = 300.0
"""How long templates are kept while nothing runs. Loading a DAG again costs less than its memory, held for hours."""

SHAPE = ("operator", "upstream", "expand", "group", "is_setup", "is_teardown", "feeds_mapping")
"""What must be as it was when the DAG's version was stored. Dates and texts may be computed anew at each load."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SupervisorOptions:
    """Times in seconds. ``owner`` is the id of the job that holds the leases."""

    owner: str
    logs: LogFolder
    process_pool: ProcessPoolOptions
    hostname: str = field(default_factory=socket.gethostname)
    lease_seconds: float = 60.0
    heartbeat_seconds: float = 5.0
    grace_seconds: float = 60.0
    """Between SIGTERM and SIGKILL ([core] killed_task_cleanup_time)."""
    timeout_margin_seconds: float = TIMEOUT_MARGIN_SECONDS
    limits: Mapping[str, Any] = field(default_factory=dict)
    """Fields of :class:`nbflow.execution.task_runner.Limits` that differ from its defaults."""
    compile_options: Mapping[str, Any] = field(default_factory=dict)
    """Fields of :class:`nbflow.authoring.compile.CompileOptions`: a DAG must compile in a child as it did when
    parsed."""
    memory_limit_bytes: int | None = None
    """Address space of a child; None: no limit."""
    dags_folder: Path | None = None
    versions_folder: Path | None = None
    """Where the source of a version is written that the DAGs folder no longer has."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kill:
    """Why we end a try: what is reported once its process group is gone."""

    cause: Cause
    error: str
    retry: bool = False
    restart: bool = False


class Try:
    """A submitted try, until its process is gone."""

    def __init__(self, submission: Submission) -> None:
        self.submission = submission
        self.work = submission.work
        self.child: Child | None = None
        self.log: LogFile | None = None
        self.started_at: datetime | None = None
        self.kill: Kill | None = None
        self.outcome: Event | None = None
        self.fault = ""
        self.callbacks_run: tuple[str, ...] = ()
        self.reported = False
        self.noted = False
        self.timers: list[Timer] = []

    @property
    def key(self) -> TaskKey:
        return TaskKey(self.work.task_id, self.work.map_index)

    def set_timer(self, timer: Timer) -> None:
        self.timers.append(timer)

    def drop_timers(self) -> None:
        for timer in self.timers:
            timer.cancel()
        self.timers.clear()


class Supervisor:
    """Runs tries in processes. Single-threaded: everything happens inside calls of its methods and of ``loop``."""

    def __init__(
        self,
        options: SupervisorOptions,
        task_api: TaskApi,
        *,
        versions: Callable[[str, int], DagVersion | None],
        loop: Loop | None = None,
        now: Callable[[], datetime] = utc_now,
        log: Callable[[str], None] = lambda text: None,
    ) -> None:
        self.loop = loop or Loop()
        self.reports: list[Report] = []
        self._options = options
        self._task_api = task_api
        self._versions = versions
        self._now = now
        self._log = log
        self._tries: dict[str, Try] = {}
        self._leaving: set[Try] = set()
        self._process_pool = ProcessPool(
            self.loop, options.process_pool, answer_parsing=task_api.answer_parsing, log=log
        )
        self._starts: list[Report] = []
        self._telling: Timer
        self._ticker: Timer | None = None
        self._idle: Timer | None = None
        self._last_renewal = self._last_asked = self.loop.monotonic()

    @property
    def live(self) -> list[str]:
        return list(self._tries)

    @property
    def leaving(self) -> list[str]:
        """Attempts that are reported, and whose processes take a moment longer to be gone."""
        return [try_.work.attempt_id for try_ in self._leaving]

    @property
    def crowded(self) -> bool:
        """More tries have just begun than there are cores: the ends of short ones follow one another closely."""
        since = self._now() - NEW
        return sum(one.started_at is None or one.started_at > since for one in self._tries.values()) > CORES

    @property
    def quiet(self) -> bool:
        """Nothing runs, and every process of a reported try is gone."""
        return not self._tries and not self._leaving

    def start(self) -> None:
        self._process_pool.start()

    @property
    def base_pid(self) -> int | None:
        return self._process_pool.pid

    # --- taking tries
    def submit(self, submissions: Sequence[Submission]) -> None:
        """Claim tries, all in one transaction, and see to it that they run. What was taken already, or has ended, is
        dropped."""
        tries = {one.work.attempt_id: Try(one) for one in submissions if one.work.attempt_id not in self._tries}
        # Before the claim: if the store refuses this, nothing is ours yet.
        wanted = {(try_.work.run.dag_id, try_.work.version) for try_ in tries.values()}
        versions = {key: self._versions(*key) for key in wanted if not self._process_pool.has(*key)}
        claimed = self._task_api.store.claim_all(
            list(tries),
            owner=self._options.owner,
            hostname=self._options.hostname,
            lease=timedelta(seconds=self._options.lease_seconds),
            now=self._now(),
            log_paths={attempt_id: self._log_path(try_) for attempt_id, try_ in tries.items()},
        )
        if not claimed:
            return
        if not self._tries:
            self._last_renewal = self._last_asked = self.loop.monotonic()
        ours = {attempt_id: try_ for attempt_id, try_ in tries.items() if attempt_id in claimed}
        self._tries |= ours
        self._start_ticking()
        loading = {one: versions.get((one.work.run.dag_id, one.work.version)) for one in ours.values()}
        # What is loaded first: a template that comes may take the room of one that has nothing to do yet.
        for try_ in sorted(loading, key=lambda one: (one.work.run.dag_id, one.work.version) in versions):
            self._begin(try_, loading[try_])

    def _log_path(self, try_: Try) -> str:
        return str(self._options.logs.path(try_.work.run.key, try_.key, try_.work.try_number))

    def _begin(self, try_: Try, version: DagVersion | None) -> None:
        """Get a child for a try that is ours. ``version`` is known unless the process pool has it."""
        key = (try_.work.run.dag_id, try_.work.version)
        if self._process_pool.has(*key):
            self._process_pool.take(key, partial(self._ready, try_))
        elif version is None:
            self._fail_to_load(try_, f"version {key[1]} of the DAG {key[0]!r} is not in the metastore")
        else:
            self._process_pool.take(self._source(version), partial(self._ready, try_))

    def _source(self, version: DagVersion) -> Source:
        folders = {"dags_folder": self._options.dags_folder, "versions_folder": self._options.versions_folder}
        payload = {
            "dag_id": version.dag_id,
            "version": version.number,
            "fileloc": version.fileloc,
            "files": dict(version.files),
            "digest": version.spec.digest,
            "compile_options": dict(self._options.compile_options),
            "logging_level": self._options.limits.get("logging_level", "INFO"),
            **{name: None if folder is None else str(folder) for name, folder in folders.items()},
        }
        return Source(dag_id=version.dag_id, version=version.number, payload=payload)

    def _ready(self, try_: Try, ready: Allocation) -> None:
        """A child is there for it, or there is none."""
        if try_.reported:
            if ready.child is not None:
                ready.child.kill(signal.SIGKILL)
            return
        if ready.fault:
            return self._fail_to_load(try_, ready.fault, str(ready.loaded.get("detail") or ""))
        if ready.child is None:
            self._log(f"{try_.work.run.dag_id}.{try_.key}: {ready.lost}")
            return self._report(try_, DispatchLost(attempt_id=try_.work.attempt_id, at=self._now()))
        fault = wrong_shape(ready.loaded, try_.submission.task) if ready.load is None else ""
        if fault:
            ready.child.kill(signal.SIGKILL)
            return self._fail_to_load(try_, fault)
        self._hand_over(try_, ready, ready.child)

    def _hand_over(self, try_: Try, ready: Allocation, child: Child) -> None:
        work, options = try_.work, self._options
        try:
            try_.log = log = options.logs.open(work.run.key, try_.key, work.try_number)
        except (OSError, NbflowError) as error:
            child.kill(signal.SIGKILL)
            return self._end(try_, Failed(**self._moment(try_), cause=Cause.LOAD_FAILED, error=f"no log: {error}"))
        if ready.note:
            log.note(ready.note)
        try_.child = child
        child.on_message = partial(self._heard, try_)
        child.on_hangup = partial(self._hung_up, try_)
        child.on_gone = partial(self._gone, try_)
        room = max(0, log.most_bytes - os.fstat(log.fileno()).st_size)
        message: dict[str, Any] = {
            "work": protocol.pack_work(work),
            "options": {
                "most_xcom_bytes": self._task_api.most_xcom_bytes,
                "log_room": room,
                "limits": dict(options.limits),
                "memory_limit_bytes": options.memory_limit_bytes,
            },
        }
        if ready.load is not None:
            message["load"] = ready.load
            self._limit_load(try_)
        else:
            self._limit_time(try_)
        try_.started_at = self._now()
        try:
            child.send(message, [log.fileno()])
        except protocol.BrokenProtocol as error:
            child.kill(signal.SIGKILL)
            try_.fault = f"its work could not be handed over: {error}"
        self._queue(try_, Started(attempt_id=work.attempt_id, at=try_.started_at))

    # --- limits
    def _limit_load(self, try_: Try) -> None:
        seconds = self._options.process_pool.load_seconds
        if seconds:
            error = f"loading its DAG took longer than {seconds:g} s ([core] dagbag_import_timeout)"
            kill = Kill(cause=Cause.LOAD_FAILED, error=error, retry=True)
            try_.set_timer(self.loop.after(seconds, partial(self._kill, try_, kill, at_once=True)))

    def _limit_time(self, try_: Try) -> None:
        seconds = try_.submission.task.execution_timeout
        if seconds is not None:
            error = f"it ran longer than its execution_timeout of {seconds:g} s"
            kill = Kill(cause=Cause.EXECUTION_TIMEOUT, error=error, retry=True)
            after = seconds + self._options.timeout_margin_seconds
            try_.set_timer(self.loop.after(after, partial(self._kill, try_, kill)))

    def cancel(self, attempt_id: str, *, reason: str, restart: bool = False) -> bool:
        """End a try. It is reported when its process group is gone."""
        try_ = self._tries.get(attempt_id)
        if try_ is None:
            return False
        self._kill(try_, Kill(cause=Cause.KILLED, error=reason, restart=restart))
        return True

    def _kill(self, try_: Try, kill: Kill, *, at_once: bool = False) -> None:
        if try_.reported:
            return
        if try_.kill is None:
            try_.kill = kill
        if try_.child is None:  # it waits for a process: there is nothing to end
            self._end(try_, self._killed(try_, try_.kill))
            return
        self._note(try_, f"ended by nbflow: {kill.error}")
        try_.drop_timers()
        if at_once:
            try_.child.kill(signal.SIGKILL)
            return
        try_.child.kill(signal.SIGTERM)
        try_.set_timer(self.loop.after(self._options.grace_seconds, partial(self._kill_hard, try_)))

    def _kill_hard(self, try_: Try) -> None:
        if try_.child is not None:
            self._note(try_, f"still there {self._options.grace_seconds:g} s after SIGTERM: SIGKILL")
            try_.child.kill(signal.SIGKILL)

    def _killed(self, try_: Try, kill: Kill) -> Event:
        if kill.restart:
            return KilledToRestart(attempt_id=try_.work.attempt_id, at=self._now())
        return Failed(**self._moment(try_), cause=kill.cause, error=kill.error, retry=kill.retry)

    # --- what a child says and does
    def _heard(self, try_: Try, message: dict[str, Any], fds: list[int]) -> None:
        for handle in fds:
            os.close(handle)
        child = try_.child
        if child is None or try_.reported:
            return
        if "loaded" in message:
            self._loaded_anew(try_, message["loaded"])
        elif "ask" in message:
            answer_ask(child, message, partial(self._answer, try_, message.get("attempt")))
        elif "outcome" in message:
            self._outcome(try_, message)
        else:
            raise protocol.BrokenProtocol(f"no such message: {sorted(message)[:3]}")

    def _answer(self, try_: Try, attempt_id: object, kind: str, args: Mapping[str, Any]) -> Any:
        if attempt_id is None:  # code that is being loaded
            return self._task_api.answer_parsing(kind, args)
        if attempt_id != try_.work.attempt_id:
            raise protocol.BrokenProtocol("a question in the name of another attempt")
        return self._task_api.answer(try_.work, kind, args)

    def _loaded_anew(self, try_: Try, loaded: Mapping[str, Any]) -> None:
        try_.drop_timers()
        fault = str(loaded.get("fault") or "") or wrong_shape(loaded, try_.submission.task)
        if fault:
            if loaded.get("detail"):
                self._note(try_, str(loaded["detail"]))
            self._kill(try_, Kill(cause=Cause.LOAD_FAILED, error=fault, retry=True), at_once=True)
        else:
            self._limit_time(try_)

    def _outcome(self, try_: Try, message: Mapping[str, Any]) -> None:
        outcome = protocol.unpack_outcome(message["outcome"])
        if message.get("attempt") != try_.work.attempt_id or outcome.event.attempt_id != try_.work.attempt_id:
            raise protocol.BrokenProtocol("an outcome in the name of another attempt")
        try_.callbacks_run = tuple(outcome.callbacks_run)
        child = try_.child
        if try_.kill is not None or try_.outcome is not None or child is None:
            return
        try_.drop_timers()
        try_.set_timer(self.loop.after(EXIT_SECONDS, partial(child.kill, signal.SIGKILL)))
        try_.outcome = outcome.event
        if isinstance(outcome.event, Succeeded | SkippedItself):
            self._report(try_, outcome.event)

    def _hung_up(self, try_: Try, reason: str) -> None:
        if try_.child is None or try_.reported or try_.outcome is not None:
            return
        if reason:
            try_.fault = f"it broke the protocol with its supervisor: {reason}"
            try_.child.kill(signal.SIGKILL)
            return
        child = try_.child

        def still_there() -> None:
            if child.gone is None:
                try_.fault = "it closed the connection to its supervisor"
                child.kill(signal.SIGKILL)

        try_.set_timer(self.loop.after(HANGUP_SECONDS, still_there))

    def _gone(self, try_: Try, gone: Gone) -> None:
        """Its process group is empty."""
        try_.drop_timers()
        if not try_.reported:
            if try_.kill is not None:
                event = self._killed(try_, try_.kill)
            elif try_.outcome is not None:
                event = try_.outcome
            else:
                error = f"its process died: {try_.fault or gone.text}"
                event = Failed(**self._moment(try_), cause=Cause.PROCESS_DIED, error=error)
            self._report(try_, event)
        if gone.peak_kb:
            self._note(try_, f"peak memory {gone.peak_kb / 1024:.0f} MiB")
        self._close_log(try_)
        try_.child = None
        self._leaving.discard(try_)

    # --- reports
    def _moment(self, try_: Try) -> dict[str, Any]:
        return {"attempt_id": try_.work.attempt_id, "at": self._now(), "started_at": try_.started_at}

    def _fail_to_load(self, try_: Try, error: str, detail: str = "") -> None:
        with contextlib.suppress(OSError, NbflowError):
            try_.log = self._options.logs.open(try_.work.run.key, try_.key, try_.work.try_number)
            self._note(try_, "\n".join(filter(None, (error, detail))))
        self._end(try_, Failed(**self._moment(try_), cause=Cause.LOAD_FAILED, error=error))

    def _end(self, try_: Try, event: Event) -> None:
        """Report a try that has no process."""
        self._report(try_, event)
        self._close_log(try_)
        self._leaving.discard(try_)

    def _report(self, try_: Try, event: Event) -> None:
        """The last word about a try. Its process may take a moment longer to be gone."""
        try_.reported = True
        self._tries.pop(try_.work.attempt_id, None)
        self._leaving.add(try_)
        self._queue(try_, event)
        if not isinstance(event, Failed):
            return
        with contextlib.suppress(OSError):
            self._note(try_, f"failed: {event.error}")

    def _queue(self, try_: Try, event: Event) -> None:
        run = try_.work.run
        report = Report(run=RunKey(run.dag_id, run.run_id), key=try_.key, event=event, callbacks_run=try_.callbacks_run)
        if not isinstance(event, Started):
            self._tell_starts()
            self.reports.append(report)
            return
        if not self._starts:
            self._telling = self.loop.after(START_SECONDS, self._tell_starts)
        self._starts.append(report)

    def _tell_starts(self) -> None:
        if self._starts:
            self.reports += self._starts
            self._starts.clear()
            self._telling.cancel()

    def _note(self, try_: Try, text: str) -> None:
        if try_.log is not None:
            with contextlib.suppress(OSError):  # a full disk must not end the supervisor
                try_.log.note(text)

    def _close_log(self, try_: Try) -> None:
        if try_.log is not None:
            log, try_.log = try_.log, None
            with contextlib.suppress(OSError):
                log.close()

    # --- leases and logs, while something runs
    def _start_ticking(self) -> None:
        if self._idle is not None:
            self._idle.cancel()
            self._idle = None
        if self._ticker is None:
            self._ticker = self.loop.after(TICK_SECONDS, self._tick)

    def _tick(self) -> None:
        self._ticker = None
        if self.quiet:
            self._idle = self.loop.after(IDLE_SECONDS, self._process_pool.retire_idle)
            return
        for try_ in (*self._tries.values(), *self._leaving):
            if try_.log is not None:
                with contextlib.suppress(OSError):
                    try_.log.trim()
        self._note_processes()
        if self.loop.monotonic() - self._last_asked >= self._options.heartbeat_seconds:
            self._renew()
        self._start_ticking()

    def _note_processes(self) -> None:
        for try_ in list(self._tries.values()):
            if try_.child is not None and not try_.noted:
                pid = try_.child.pid
                try:
                    self._task_api.store.note_process(try_.work.attempt_id, pid=pid, pid_started=process_started(pid))
                    try_.noted = True
                except Exception as error:
                    self._log(f"the process of {try_.key} could not be noted: {error}")

    def _renew(self) -> None:
        ids = list(self._tries)
        self._last_asked = asked = self.loop.monotonic()
        if not ids:
            return
        options = self._options
        try:
            lost = self._task_api.store.heartbeat(
                ids, owner=options.owner, lease=timedelta(seconds=options.lease_seconds), now=self._now()
            )
            self._last_renewal = asked
        except Exception as error:
            self._log(f"leases could not be renewed: {error}")
            next_look = asked - self._last_renewal + max(options.heartbeat_seconds, TICK_SECONDS)
            lost = ids if next_look > LEASE_SAFETY * options.lease_seconds else []
        for attempt_id in lost:
            try_ = self._tries.get(attempt_id)
            if try_ is not None:
                kill = Kill(cause=Cause.HEARTBEAT_LOST, error="its lease was lost", retry=True)
                self._kill(try_, kill, at_once=True)

    def stop(self) -> None:
        """End every process below, and wait until they are gone. What still ran is left to the expiry of its lease."""
        for try_ in (*self._tries.values(), *self._leaving):
            try_.reported = True
            try_.drop_timers()
            if try_.child is not None:
                try_.child.forget()
            self._close_log(try_)
        self._tries.clear()
        self._leaving.clear()
        self._process_pool.stop()
        self.loop.close()


def wrong_shape(loaded: Mapping[str, Any], task: TaskSpec) -> str:
    """How the loaded DAG differs from the stored version where it matters to this task; empty if it does not."""
    raw = loaded.get("spec")
    if raw is None:
        return ""
    found = DagSpec.from_dict(raw).tasks.get(task.task_id)
    if found is None:
        return f"loading the DAG's source again no longer gives the task {task.task_id!r}"
    differ = [name for name in SHAPE if getattr(found, name) != getattr(task, name)]
    if not differ:
        return ""
    what = ", ".join(f"{name} is {getattr(found, name)!r}, was {getattr(task, name)!r}" for name in differ)
    return f"loading the DAG's source again gives the task {task.task_id!r} another shape: {what}"


def process_started(pid: int) -> float | None:
    """When a process started, in clock ticks since the machine did: tells it from a later one of the same number.
    None where there is none, or only what is left of it until its parent asks for its end."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            facts = file.read().rpartition(b")")[2].split()
            return None if facts[0] in (b"Z", b"X") else float(facts[19])
    except (OSError, IndexError, ValueError):
        return None
