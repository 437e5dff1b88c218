"""The supervisor: it owns the database connection, leases, logs and time limits of tries, and never runs user code.

Theory
------
A *try* goes through these steps, each driven by a message or a timer, in one thread::

    submit ── claim ──> waits for a child ── sent ──> runs ── outcome ──> process exits ──> removed
                 │               │                          │
                 └ taken: drop   └ DAG does not load        └ killed, or the process died without an outcome

* The *claim* takes the lease of an attempt; the claim of a duplicate delivery fails. From then on one statement renews
  all leases together. If another supervisor has taken an attempt over, its try is killed at once. If a shared store
  cannot be reached, all tries are killed before their leases expire, so that no other supervisor runs them at the same
  time.
* A try that a user or a limit ends (cleared, marked, timed out) gets SIGTERM, and SIGKILL after the grace period. That
  the store no longer expects its outcome does not shorten the grace. The next try of the same task instance starts here
  only when that process has exited.
* A success or a skip is reported as soon as the outcome arrives: the process only has to exit, and is killed if it does
  not. After any other outcome the same task instance may run again, so that outcome is reported only when the process
  group is empty: two tries of an instance never run at the same time.
* The reported end of a try is the first that exists of: the outcome that it had when it began to call its callbacks,
  the supervisor's reason for killing it, its outcome, how its process died.
* Time limits (``execution_timeout``, that of a callback) begin and end when the child says so; until its first word the
  whole process is under ``execution_timeout``. SIGTERM comes a margin after the limit, and the grace period follows. A
  callback that exceeds its limit gets SIGKILL: the child's own timer has already tried to end it.
* Writes by a child carry the attempt id of its connection, not one that the child claims; the store refuses an old one.

The supervisor never waits for a child: messages that a child does not read are queued, and a child that breaks the
protocol is killed.
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
from typing import Any

from nbflow.authoring.workload import EXECUTION, Outcome
from nbflow.core.attempt_events import DispatchLost, Event, Failed, KilledToRestart, SkippedItself, Started, Succeeded
from nbflow.core.snapshot import RunKey, TaskKey
from nbflow.core.spec import DagSpec, TaskSpec
from nbflow.core.states import Cause
from nbflow.errors import NbflowError
from nbflow.execution import protocol
from nbflow.execution.executors.base import Report, Submission
from nbflow.execution.fork_server_pool import (
    CORES,
    Allocation,
    ChildProcess,
    ProcessExit,
    ProcessPool,
    ProcessPoolOptions,
    Source,
    respond_to,
)
from nbflow.execution.logs import LogCopier, LogFile, LogFolder
from nbflow.execution.process_identity import process_started
from nbflow.execution.selector_loop import EventLoop, TimerHandle
from nbflow.execution.task_api import TaskApi
from nbflow.execution.task_client import utc_now
from nbflow.sources.version_loading import LoadingOptions, VersionSource
from nbflow.store.base import DagVersion

TICK_SECONDS = 0.5
"""While tries run: how often leases are checked, and the delay before a process id is stored. A try that ends within
the delay costs no write: the process id is needed only to kill orphans after the supervisor died, and such a process
has exited by then."""
START_SECONDS = 0.01
"""How long the report of a start waits for further reports: reports that are delivered together are stored in one
commit, and many tries end before anyone could have read a ``running`` state."""
YOUNG = timedelta(milliseconds=50)
"""A try younger than this may be a very short one; see :attr:`Supervisor.oversubscribed`."""
EXIT_SECONDS = 5.0
"""How long a process may take to exit after its outcome, before it is killed."""
HANGUP_SECONDS = 1.0
"""How long after its connection closed a process may still run before it is killed."""
TIMEOUT_MARGIN_SECONDS = 1.0
"""The child's timer raises AirflowTaskTimeout at the limit, so that user code can clean up; the supervisor's SIGTERM
comes this much later."""
LEASE_SAFETY = 0.8
"""Fraction of the lease after which, without a response from the store, all tries are killed."""

IDLE_SECONDS = 300.0
"""How long idle DAG fork servers are kept. Loading a DAG again costs less than holding its memory for hours."""

COMPARED_FIELDS = ("operator", "upstream", "expand", "group", "is_setup", "is_teardown", "feeds_mapping")
"""Task attributes that must equal those of the stored DAG version. Others, such as dates and texts, may be computed
differently at each load."""


_TAKEN_OVER = frozenset({Cause.HEARTBEAT_LOST, Cause.DISPATCH_LOST, Cause.KILLED_TO_RESTART})
"""Outcomes of a live try's attempt that another process has reported: the task instance may run elsewhere."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SupervisorOptions:
    """Options of a supervisor. ``owner`` is the id of the job that holds the leases."""

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
    loading: LoadingOptions = field(default_factory=LoadingOptions)
    memory_limit_bytes: int | None = None
    """Address space of a child; None: no limit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kill:
    """Why the supervisor kills a try; reported once the process group is empty."""

    cause: Cause
    error: str
    retry: bool = False
    restart: bool = False


class Try:
    """A submitted try, until its process has exited."""

    def __init__(self, submission: Submission) -> None:
        self.submission = submission
        self.workload = submission.workload
        self.child: ChildProcess | None = None
        self.log: LogFile | None = None
        self.started_at: datetime | None = None
        self.kill: Kill | None = None
        self.outcome: Event | None = None
        self.ended: Event | None = None
        """The outcome of a try that calls its callbacks now."""
        self.exit_reason = ""
        """Why the supervisor killed a process that broke the protocol; replaces the exit status in the report."""
        self.callbacks_run: tuple[str, ...] = ()
        self.reported = False
        self.process_stored = False
        self.timers: list[TimerHandle] = []
        self.next_tries: list[Try] = []
        """Tries of the same task instance that wait for the exit of this one's process."""

    @property
    def instance(self) -> tuple[RunKey, TaskKey]:
        return self.workload.run.key, self.key

    @property
    def key(self) -> TaskKey:
        return TaskKey(self.workload.task_id, self.workload.map_index)

    @property
    def version_key(self) -> tuple[str, int]:
        """(dag_id, version)"""
        return self.workload.run.dag_id, self.workload.version

    def add_timer(self, timer: TimerHandle) -> None:
        self.timers.append(timer)

    def cancel_timers(self) -> None:
        for timer in self.timers:
            timer.cancel()
        self.timers.clear()


class Supervisor:
    """Runs tries in child processes. Single-threaded: all work is done inside calls of its methods and of ``loop``."""

    def __init__(
        self,
        options: SupervisorOptions,
        task_api: TaskApi,
        *,
        versions: Callable[[str, int], DagVersion | None],
        loop: EventLoop | None = None,
        now: Callable[[], datetime] = utc_now,
        log: Callable[[str], None] = lambda text: None,
    ) -> None:
        self.loop = loop or EventLoop()
        self.reports: list[Report] = []
        self._options = options
        self._task_api = task_api
        self._versions = versions
        self._now = now
        self._log = log
        self._tries: dict[str, Try] = {}
        self._exiting: set[Try] = set()
        self._processes: dict[tuple[RunKey, TaskKey], Try] = {}
        """The try of each task instance that has a process."""
        self._process_pool = ProcessPool(
            self.loop, options.process_pool, handle_parse_request=task_api.handle_parse_request, log=log
        )
        self._log_copier = LogCopier()
        self._starts: list[Report] = []
        self._start_timer: TimerHandle
        self._tick_timer: TimerHandle | None = None
        self._idle_timer: TimerHandle | None = None
        self._last_renewal = self._last_heartbeat = self.loop.monotonic()

    @property
    def live(self) -> list[str]:
        return list(self._tries)

    @property
    def exiting(self) -> list[str]:
        """Ids of the attempts that are reported ended and whose processes still exist."""
        return [try_.workload.attempt_id for try_ in self._exiting]

    @property
    def oversubscribed(self) -> bool:
        """More young tries than cores are running: if they are short, their reports follow one another closely."""
        since = self._now() - YOUNG
        return sum(try_.started_at is None or try_.started_at > since for try_ in self._tries.values()) > CORES

    @property
    def idle(self) -> bool:
        """No try runs, and the processes of all reported tries have exited."""
        return not self._tries and not self._exiting

    def start(self) -> None:
        self._process_pool.start()

    @property
    def base_pid(self) -> int | None:
        return self._process_pool.base_pid

    # --- starting tries
    def submit(self, submissions: Sequence[Submission]) -> None:
        """Claim tries, all in one transaction, and run them. Attempts that are claimed already, or have ended, are
        dropped."""
        tries = {sub.workload.attempt_id: Try(sub) for sub in submissions if sub.workload.attempt_id not in self._tries}
        # Versions are read before the claim: if the store raises here, no lease is held yet.
        keys = {try_.version_key for try_ in tries.values()}
        versions = {key: self._versions(*key) for key in keys if not self._process_pool.has(*key)}
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
            self._last_renewal = self._last_heartbeat = self.loop.monotonic()
        claimed_tries = {attempt_id: try_ for attempt_id, try_ in tries.items() if attempt_id in claimed}
        self._tries |= claimed_tries
        self._start_ticking()
        # Tries of loaded versions first: loading another version may retire a DAG fork server that is still idle.
        for try_ in sorted(claimed_tries.values(), key=lambda try_: try_.version_key in versions):
            self._start(try_, versions.get(try_.version_key))

    def _log_path(self, try_: Try) -> str:
        return str(self._options.logs.path(try_.workload.run.key, try_.key, try_.workload.try_number))

    def _start(self, try_: Try, version: DagVersion | None) -> None:
        """Get a child for a claimed try. ``version`` is None if the process pool has it, or if it is not stored."""
        key = try_.version_key
        if (previous := self._processes.get(try_.instance)) is not None:
            previous.next_tries.append(try_)
            return
        if self._process_pool.has(*key):
            self._process_pool.take(key, partial(self._on_allocation, try_))
        elif version is None:
            self._fail_to_load(try_, f"version {key[1]} of the DAG {key[0]!r} is not in the metastore")
        else:
            self._process_pool.take(self._source(version), partial(self._on_allocation, try_))

    def _source(self, version: DagVersion) -> Source:
        payload = {
            "version": VersionSource.of(version, self._options.loading).to_json(),
            "digest": version.spec.digest,
            "logging_level": self._options.limits.get("logging_level", "INFO"),
            "sensitive_names": list(self._task_api.sensitive_names),
        }
        return Source(dag_id=version.dag_id, version=version.number, payload=payload)

    def _on_allocation(self, try_: Try, allocation: Allocation) -> None:
        if try_.reported:
            if allocation.child is not None:
                allocation.child.kill(signal.SIGKILL)
            return
        if allocation.load_error:
            return self._fail_to_load(try_, allocation.load_error, str(allocation.load_report.get("detail") or ""))
        if allocation.child is None:
            self._log(f"{try_.workload.run.dag_id}.{try_.key}: {allocation.start_error}")
            return self._report(try_, DispatchLost(attempt_id=try_.workload.attempt_id, at=self._now()))
        difference = (
            definition_difference(allocation.load_report, try_.submission.task) if allocation.load is None else ""
        )
        if difference:
            allocation.child.kill(signal.SIGKILL)
            return self._fail_to_load(try_, difference)
        self._send_work(try_, allocation, allocation.child)

    def _send_work(self, try_: Try, allocation: Allocation, child: ChildProcess) -> None:
        workload, options = try_.workload, self._options
        try:
            log = self._open_log(try_)
            pipe = log.open_pipe()
        except (OSError, NbflowError) as error:
            child.kill(signal.SIGKILL)
            text = f"the log cannot be opened: {error}"
            return self._end(try_, Failed(**self._event_fields(try_), cause=Cause.LOAD_FAILED, error=text))
        if allocation.note:
            log.note(allocation.note)
        try_.child = child
        self._processes[try_.instance] = try_
        child.on_message = partial(self._on_message, try_)
        child.on_hangup = partial(self._on_hangup, try_)
        child.on_exit = partial(self._on_exit, try_)
        message: dict[str, Any] = {
            "workload": protocol.pack_workload(workload),
            "options": {
                "max_xcom_bytes": self._task_api.max_xcom_bytes,
                "sensitive_names": list(self._task_api.sensitive_names),
                "max_log_bytes": log.room,
                "limits": dict(options.limits),
                "memory_limit_bytes": options.memory_limit_bytes,
            },
        }
        if allocation.load is not None:
            message["load"] = allocation.load
            self._limit_load(try_)
        else:
            self._limit_time(try_)
        try_.started_at = self._now()
        self._log_copier.add(log)
        try:
            child.send(message, [pipe.writer, pipe.reader])
        except protocol.ProtocolError as error:
            child.kill(signal.SIGKILL)
            try_.exit_reason = f"the task's arguments could not be sent to it: {error}"
        self._queue(try_, Started(attempt_id=workload.attempt_id, at=try_.started_at))

    def _open_log(self, try_: Try) -> LogFile:
        """Raises OSError and NbflowError; see :meth:`LogFolder.open`."""
        run, masker = try_.workload.run, self._task_api.masker()
        masker.add_from([run.conf, try_.workload.next_kwargs])
        try_.log = self._options.logs.open(run.key, try_.key, try_.workload.try_number, masker=masker)
        return try_.log

    # --- limits
    def _limit_load(self, try_: Try) -> None:
        seconds = self._options.process_pool.load_seconds
        if seconds:
            error = f"loading the DAG took longer than {seconds:g} s ([core] dagbag_import_timeout)"
            kill = Kill(cause=Cause.LOAD_FAILED, error=error, retry=True)
            try_.add_timer(self.loop.call_later(seconds, partial(self._kill, try_, kill, at_once=True)))

    def _limit_time(self, try_: Try, seconds_left: float | None = None) -> None:
        """Limit the execution. ``seconds_left``: less than ``execution_timeout`` for a task that was deferred."""
        seconds = try_.submission.task.execution_timeout
        if seconds is not None:
            error = f"the task ran longer than its execution_timeout of {seconds:g} s"
            kill = Kill(cause=Cause.EXECUTION_TIMEOUT, error=error, retry=True)
            delay = min(seconds, seconds_left or seconds) + self._options.timeout_margin_seconds
            try_.add_timer(self.loop.call_later(delay, partial(self._kill, try_, kill)))

    def _limit_callback(self, try_: Try, name: str, seconds: float) -> None:
        def kill() -> None:
            try_.exit_reason = f"{name} ran longer than [core] callback_timeout, {seconds:g} s"
            self._note(try_, f"{try_.exit_reason}, and could not be interrupted: SIGKILL sent")
            if try_.child is not None:
                try_.child.kill(signal.SIGKILL)

        try_.add_timer(self.loop.call_later(seconds + self._options.timeout_margin_seconds, kill))

    def _on_limit(self, try_: Try, message: Mapping[str, Any]) -> None:
        if try_.kill is not None:  # the grace period is the limit
            return
        seconds, of = message["limit"], str(message.get("of"))
        try_.cancel_timers()
        if not isinstance(seconds, int | float):
            return
        if of == EXECUTION:
            self._limit_time(try_, seconds)
        else:
            self._limit_callback(try_, of, seconds)

    def cancel(self, attempt_id: str, *, reason: str, restart: bool = False) -> bool:
        """Kill a try; its end is reported when its process group is empty. False if this supervisor does not run it."""
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
        elif not at_once:  # a second SIGTERM would begin a second grace period
            return
        if try_.child is None:  # the try waits for a child: there is no process to kill
            self._end(try_, self._killed(try_, try_.kill))
            return
        self._note(try_, f"killed by nbflow: {kill.error}")
        try_.cancel_timers()
        if at_once:
            try_.child.kill(signal.SIGKILL)
            return
        try_.child.kill(signal.SIGTERM)
        try_.add_timer(self.loop.call_later(self._options.grace_seconds, partial(self._send_sigkill, try_)))

    def _send_sigkill(self, try_: Try) -> None:
        if try_.child is not None:
            self._note(try_, f"still running {self._options.grace_seconds:g} s after SIGTERM: SIGKILL sent")
            try_.child.kill(signal.SIGKILL)

    def _killed(self, try_: Try, kill: Kill) -> Event:
        if kill.restart:
            return KilledToRestart(attempt_id=try_.workload.attempt_id, at=self._now())
        return Failed(**self._event_fields(try_), cause=kill.cause, error=kill.error, retry=kill.retry)

    # --- messages and exits of children
    def _on_message(self, try_: Try, message: dict[str, Any], fds: list[int]) -> None:
        for fd in fds:
            os.close(fd)
        child = try_.child
        if child is None or try_.reported:
            return
        if "loaded" in message:
            self._on_loaded(try_, message["loaded"])
        elif "request" in message:
            respond_to(child, message, partial(self._handle_request, try_, message.get("attempt")))
        elif "limit" in message:
            self._on_limit(try_, message)
        elif "ended" in message:
            outcome = self._outcome(try_, message, message["ended"])
            try_.callbacks_run = tuple(outcome.callbacks_run)
            if try_.kill is None:
                try_.ended = outcome.event
        elif "outcome" in message:
            self._on_outcome(try_, message)
        else:
            raise protocol.ProtocolError(f"unknown message: {sorted(message)[:3]}")

    def _handle_request(self, try_: Try, attempt_id: object, kind: str, args: Mapping[str, Any]) -> Any:
        if attempt_id is not None and attempt_id != try_.workload.attempt_id:
            raise protocol.ProtocolError("a request with the id of another attempt")
        masker = None if try_.log is None else try_.log.masker
        if attempt_id is None:  # code that is being loaded
            return self._task_api.handle_parse_request(kind, args, masker=masker)
        return self._task_api.handle(try_.workload, kind, args, masker=masker)

    def _on_loaded(self, try_: Try, report: Mapping[str, Any]) -> None:
        """The child of a try has loaded the DAG itself."""
        try_.cancel_timers()
        error = str(report.get("error") or "") or definition_difference(report, try_.submission.task)
        if error:
            if report.get("detail"):
                self._note(try_, str(report["detail"]))
            self._kill(try_, Kill(cause=Cause.LOAD_FAILED, error=error, retry=True), at_once=True)
        else:
            self._limit_time(try_)

    def _outcome(self, try_: Try, message: Mapping[str, Any], packed: Any) -> Outcome:
        outcome = protocol.unpack_outcome(packed)
        if message.get("attempt") != try_.workload.attempt_id or outcome.event.attempt_id != try_.workload.attempt_id:
            raise protocol.ProtocolError("an outcome with the id of another attempt")
        return outcome

    def _on_outcome(self, try_: Try, message: Mapping[str, Any]) -> None:
        outcome = self._outcome(try_, message, message["outcome"])
        try_.callbacks_run = tuple(outcome.callbacks_run)
        child = try_.child
        if (try_.kill is not None and try_.ended is None) or try_.outcome is not None or child is None:
            return
        try_.cancel_timers()
        try_.add_timer(self.loop.call_later(EXIT_SECONDS, partial(child.kill, signal.SIGKILL)))
        try_.outcome = outcome.event
        if isinstance(outcome.event, Succeeded | SkippedItself):
            self._report(try_, outcome.event)

    def _on_hangup(self, try_: Try, reason: str) -> None:
        if try_.child is None or try_.reported or try_.outcome is not None:
            return
        if reason:
            try_.exit_reason = f"it broke the protocol with its supervisor: {reason}"
            try_.child.kill(signal.SIGKILL)
            return
        child = try_.child

        def kill_if_running() -> None:
            if child.exit is None:
                try_.exit_reason = "it closed the connection to its supervisor"
                child.kill(signal.SIGKILL)

        try_.add_timer(self.loop.call_later(HANGUP_SECONDS, kill_if_running))

    def _on_exit(self, try_: Try, process_exit: ProcessExit) -> None:
        """The process group of a try is empty."""
        try_.cancel_timers()
        if not try_.reported:
            if try_.ended is not None:
                event = try_.ended
            elif try_.kill is not None:
                event = self._killed(try_, try_.kill)
            elif try_.outcome is not None:
                event = try_.outcome
            else:
                error = f"the task's process died: {try_.exit_reason or process_exit.text}"
                event = Failed(**self._event_fields(try_), cause=Cause.PROCESS_DIED, error=error)
            self._report(try_, event)
        if process_exit.peak_kb:
            self._note(try_, f"peak memory {process_exit.peak_kb / 1024:.0f} MiB")
        self._close_log(try_)
        try_.child = None
        self._exiting.discard(try_)
        if self._processes.get(try_.instance) is try_:
            del self._processes[try_.instance]
        for next_try in try_.next_tries:
            if not next_try.reported:
                self._start(next_try, self._versions(*next_try.version_key))

    # --- reports
    def _event_fields(self, try_: Try) -> dict[str, Any]:
        return {"attempt_id": try_.workload.attempt_id, "at": self._now(), "started_at": try_.started_at}

    def _fail_to_load(self, try_: Try, error: str, detail: str = "") -> None:
        with contextlib.suppress(OSError, NbflowError):
            self._open_log(try_)
            self._note(try_, "\n".join(filter(None, (error, detail))))
        self._end(try_, Failed(**self._event_fields(try_), cause=Cause.LOAD_FAILED, error=error))

    def _end(self, try_: Try, event: Event) -> None:
        """Report a try that has no process."""
        self._report(try_, event)
        self._close_log(try_)
        self._exiting.discard(try_)

    def _report(self, try_: Try, event: Event) -> None:
        """Report the end of a try, once. Its process may still have to exit."""
        try_.reported = True
        self._tries.pop(try_.workload.attempt_id, None)
        self._exiting.add(try_)
        if try_.log is not None:
            try_.log.finish()  # whoever sees the end of the try finds its whole log
        self._queue(try_, event)
        if not isinstance(event, Failed):
            return
        with contextlib.suppress(OSError):
            self._note(try_, f"failed: {event.error}")

    def _queue(self, try_: Try, event: Event) -> None:
        run = try_.workload.run
        report = Report(run=RunKey(run.dag_id, run.run_id), key=try_.key, event=event, callbacks_run=try_.callbacks_run)
        if not isinstance(event, Started):
            self._flush_starts()
            self.reports.append(report)
            return
        if not self._starts:
            self._start_timer = self.loop.call_later(START_SECONDS, self._flush_starts)
        self._starts.append(report)

    def _flush_starts(self) -> None:
        if self._starts:
            self.reports += self._starts
            self._starts.clear()
            self._start_timer.cancel()

    def _note(self, try_: Try, text: str) -> None:
        if try_.log is not None:
            with contextlib.suppress(OSError):  # a full disk must not stop the supervisor
                try_.log.note(text)

    def _close_log(self, try_: Try) -> None:
        if try_.log is not None:
            log, try_.log = try_.log, None
            self._log_copier.remove(log)
            with contextlib.suppress(OSError):
                log.close()

    # --- leases, while tries run
    def _start_ticking(self) -> None:
        if self._idle_timer is not None:
            self._idle_timer.cancel()
            self._idle_timer = None
        if self._tick_timer is None:
            self._tick_timer = self.loop.call_later(TICK_SECONDS, self._tick)

    def _tick(self) -> None:
        self._tick_timer = None
        if self.idle:
            self._idle_timer = self.loop.call_later(IDLE_SECONDS, self._process_pool.retire_idle)
            return
        self._store_processes()
        if self.loop.monotonic() - self._last_heartbeat >= self._options.heartbeat_seconds:
            self._renew_leases()
        self._start_ticking()

    def _store_processes(self) -> None:
        for try_ in list(self._tries.values()):
            if try_.child is not None and not try_.process_stored:
                pid = try_.child.pid
                try:
                    self._task_api.store.set_process(
                        try_.workload.attempt_id, pid=pid, pid_started=process_started(pid)
                    )
                    try_.process_stored = True
                except Exception as error:
                    self._log(f"the process id of {try_.key} could not be stored: {error}")

    def _renew_leases(self) -> None:
        ids = list(self._tries)
        self._last_heartbeat = now = self.loop.monotonic()
        if not ids:
            return
        options = self._options
        try:
            lost = self._task_api.store.heartbeat(
                ids, owner=options.owner, lease=timedelta(seconds=options.lease_seconds), now=self._now()
            )
            self._last_renewal = now
        except Exception as error:
            self._log(f"leases could not be renewed: {error}")
            age_at_next_heartbeat = now - self._last_renewal + max(options.heartbeat_seconds, TICK_SECONDS)
            # Only a shared store has other schedulers, which would take attempts whose leases have expired.
            if self._task_api.store.shared and age_at_next_heartbeat > LEASE_SAFETY * options.lease_seconds:
                for try_ in list(self._tries.values()):
                    self._kill_lost(try_)
            return
        for attempt_id in lost:
            if (lost_try := self._tries.get(attempt_id)) is not None:
                self._end_unexpected(lost_try)

    def _end_unexpected(self, try_: Try) -> None:
        """End a try whose outcome the store no longer expects: with the grace period if a user or a limit has ended it,
        at once if another supervisor may run its task instance."""
        try:
            attempt = self._task_api.store.attempt(try_.workload.attempt_id)
        except Exception as error:  # the next heartbeat asks again
            self._log(f"the attempt of {try_.key} could not be read: {error}")
            return
        if attempt is not None and (attempt.owner != self._options.owner or attempt.outcome in _TAKEN_OVER):
            self._kill_lost(try_)
        elif attempt is not None and attempt.outcome is None:
            self._kill(try_, Kill(cause=Cause.KILLED, error="the task was cleared and restarts", restart=True))
        else:
            self._kill(try_, Kill(cause=Cause.KILLED, error="the task was cleared or marked, or its run has ended"))

    def _kill_lost(self, try_: Try) -> None:
        kill = Kill(cause=Cause.HEARTBEAT_LOST, error="the lease of the attempt was lost", retry=True)
        self._kill(try_, kill, at_once=True)

    def stop(self) -> None:
        """Kill every process below, and wait until they have exited. Tries that still run get no report; their leases
        expire."""
        for try_ in (*self._tries.values(), *self._exiting):
            try_.reported = True
            try_.cancel_timers()
            if try_.child is not None:
                try_.child.detach()
            self._close_log(try_)
        self._tries.clear()
        self._exiting.clear()
        self._process_pool.stop()
        self._log_copier.stop()
        self.loop.close()


def definition_difference(load_report: Mapping[str, Any], task: TaskSpec) -> str:
    """How the loaded task differs from the stored version in :data:`COMPARED_FIELDS`; empty if it does not."""
    raw = load_report.get("spec")
    if raw is None:
        return ""
    loaded = DagSpec.from_dict(raw).tasks.get(task.task_id)
    if loaded is None:
        return f"loading the DAG's source again no longer defines the task {task.task_id!r}"
    differing = [name for name in COMPARED_FIELDS if getattr(loaded, name) != getattr(task, name)]
    if not differing:
        return ""
    details = ", ".join(f"{name} is {getattr(loaded, name)!r}, was {getattr(task, name)!r}" for name in differing)
    return f"loading the DAG's source again gives another definition of the task {task.task_id!r}: {details}"
