"""One try of one task: from the :class:`~nbflow.authoring.workload.Workload` to the
:class:`~nbflow.authoring.workload.Outcome`.

The steps, in Airflow's order: the context; the arguments of a mapped instance; the templates; ``on_execute_callback``;
``pre_execute``; ``execute`` (or the method that resumes a deferred task); ``post_execute``; the XComs; then the
callback for the outcome. Each outcome is an event for :func:`nbflow.core.event_handlers.handle_event`; the table
``_EVENTS_BY_EXCEPTION`` maps exceptions to events. This module decides nothing about the graph and stores no state: a
branch's choice, the length of a result and which tasks to skip are part of the event.

XComs of a result
-----------------
A return value other than None becomes the XCom ``return_value`` (with ``multiple_outputs``, each of its keys becomes
an XCom too), unless ``do_xcom_push`` is off or the task skipped tasks after it, as in Airflow. A task that another is
mapped over must return a list or a dict; a wrong return value fails the try before any part of it is stored.

Time limits
-----------
``execution_timeout`` limits pre_execute, execute and post_execute; each callback has a limit of its own
(``[core] callback_timeout``, only in a process of the try's own); storing XComs has none. The supervisor enforces the
limits on the whole process group: it learns by :class:`~nbflow.authoring.workload.Progress` when they begin and
end. In addition, a timer signal raises an exception here, if the try runs in its process's main thread, so that user
code can clean up.

The supervisor learns the outcome *before* the callbacks for it are called. So a callback that hangs, or ends its
process, changes no outcome, and is not called again.
"""

from __future__ import annotations

import copy
import logging
import math
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from nbflow.authoring.context import NEED_PENDULUM, parameters_of, running_in
from nbflow.authoring.taskinstance import TASK_LOGGER, XCOM_RETURN_KEY, BranchChoice, SkipChoice, TaskInstance, plain
from nbflow.authoring.templating import holds_template
from nbflow.authoring.workload import EXECUTION, Outcome, Progress, Runtime, Workload
from nbflow.core.attempt_events import Deferred, Event, Failed, Rescheduled, SkippedItself, Succeeded
from nbflow.core.states import Cause
from nbflow.error_hints import import_hint
from nbflow.errors import (
    AirflowException,
    AirflowFailException,
    AirflowRescheduleException,
    AirflowSensorTimeout,
    AirflowSkipException,
    AirflowTaskTerminated,
    AirflowTaskTimeout,
    DownstreamTasksSkipped,
    TaskDeferralError,
    TaskDeferred,
    UnmappableXComLengthPushed,
    UnmappableXComTypePushed,
    did_you_mean,
)
from nbflow.execution.task_logging import masked_output, setup_logging
from nbflow.secrets_backends import providing
from nbflow.secrets_masker import Masker
from nbflow.serde import encode

if TYPE_CHECKING:
    from nbflow.authoring.context import Context

log = logging.getLogger(TASK_LOGGER)

MAX_ERROR_CHARACTERS = 1000
"""Length of the one line of an error that the history stores."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Settings of ``[core]`` and ``[logging]`` for every try."""

    max_map_length: int = 1024
    max_field_characters: int = 4096
    callback_seconds: float = 60.0
    """Time limit of a callback; 0: none."""
    logging_level: str = "INFO"
    """Root logger's level in a process that runs only this try."""


def run_try(
    dag: Any,
    task: Any,
    workload: Workload,
    runtime: Runtime,
    *,
    own_process: bool = False,
    limits: Limits = Limits(),
    progress: Progress = Progress(),
) -> Outcome:
    """Run one try of ``task`` and return its outcome; exceptions of the task become events.

    ``own_process``: only this try runs in the process, so a SIGTERM is for the task (its ``on_kill`` is called)
    and all logging goes to standard output, in the format of :mod:`nbflow.execution.task_logging`.
    Secrets that the task reads are masked by ``runtime.masker``. Raises KeyboardInterrupt, after ``on_kill``, unless
    ``own_process``.
    """
    if own_process:
        setup_logging(level=limits.logging_level)
    ti = TaskInstance(
        dag=dag, task=task, workload=workload, runtime=runtime, started=runtime.now(), own_process=own_process
    )
    attempt = _Attempt(ti, own_process=own_process, limits=limits, progress=progress)
    if runtime.masker is not None:
        runtime.masker.add_from([workload.run.conf, workload.next_kwargs])
    output = nullcontext() if own_process or runtime.masker is None else masked_output(runtime.masker)
    with providing(runtime), running_in(ti.context), output:
        try:
            event = attempt.run()
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt) and not own_process:  # Ctrl-C in the calling process
                attempt.kill()
                raise
            event = attempt.event_of(error)
        attempt.run_callbacks(event)
    return Outcome(event=event, callbacks_run=tuple(attempt.callbacks_run))


class _Attempt:
    """The state of one call of :func:`run_try`."""

    def __init__(self, ti: TaskInstance, *, own_process: bool, limits: Limits, progress: Progress) -> None:
        self.ti, self.own_process, self.masker, self.limits = ti, own_process, ti.runtime.masker, limits
        self.progress = progress
        self.context: Context = ti.context
        self.started = ti.started
        self.callbacks_run: list[str] = []
        self.terminated = False
        """The process received SIGTERM while the task ran."""

    # ----------------------------------------------------------------------------------------------------------- steps

    def run(self) -> Event:
        """Run the task and return the event of its success; :meth:`event_of` handles whatever this raises."""
        task = self._prepare()
        if not self.ti.workload.continues:
            for callback in self._callbacks("execute"):
                self._call("execute", callback)
        with self._execution_limit(task), self._terminable(task):
            if (pre_execute := getattr(task, "pre_execute", None)) is not None:
                pre_execute(self.context)
            result = self._execute(task)
            if (post_execute := getattr(task, "post_execute", None)) is not None:
                post_execute(self.context, result)
        return self._finish(task, result)

    def _prepare(self) -> Any:
        """The task to execute, with its templates rendered."""
        ti = self.ti
        task = executable_task(ti.task, self.context)
        ti.task = task
        self.context["task"] = task
        if task.template_fields:
            rendered = task.render_template_fields(self.context)
            if rendered:
                ti.runtime.put_rendered(self._for_display(rendered))
        return task

    def _for_display(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        """Rendered fields for display: plain JSON data, secrets masked, long texts truncated."""
        plain_fields = {name: as_json(value) for name, value in fields.items()}
        masked = (self.masker or Masker()).mask_value(plain_fields, everywhere=True)
        return {name: _truncate(value, self.limits.max_field_characters) for name, value in masked.items()}

    def _execute(self, task: Any) -> Any:
        try:
            if self.ti.workload.next_method is None:
                return task.execute(self.context)
            return self._resume(task)
        except SystemExit as error:
            if error.code in (None, 0):
                return None  # sys.exit() and sys.exit(0) count as success
            raise

    def _resume(self, task: Any) -> Any:
        """Resume a deferred task: call its method with the trigger's event, or raise the trigger's failure."""
        workload = self.ti.workload
        kwargs = dict(workload.next_kwargs)
        method = workload.next_method or ""
        if method == "__fail__":
            raise TaskDeferralError(str(kwargs.get("error") or "the trigger failed"))
        if not method.isidentifier() or method.startswith("__") or not callable(getattr(task, method, None)):
            raise AirflowException(f"{type(task).__name__} has no method {method!r} to resume after its deferral.")
        return getattr(task, method)(self.context, **kwargs)

    def _finish(self, task: Any, result: Any) -> Event:
        """Check and store the result; returns the event of the success."""
        follow, skip = self._skips()
        length = self._length(result)
        if result is not None and task.do_xcom_push and not skips_any(self.ti.dag, task, follow, skip):
            self._push(task, result)
        return Succeeded(**self.event_fields(), length=length, follow=follow, skip=skip)

    def _push(self, task: Any, result: Any) -> None:
        result = plain(result)
        if getattr(task, "multiple_outputs", False):
            if not isinstance(result, Mapping):
                raise TypeError(
                    f"multiple_outputs needs a dict with str keys; {self.ti.task_id} returned {type(result).__name__}."
                )
            wrong = next((key for key in result if not isinstance(key, str)), None)
            if wrong is not None:
                raise TypeError(
                    f"multiple_outputs needs str keys; {self.ti.task_id} returned a key of type {type(wrong).__name__}."
                )
            for key, value in result.items():
                self.ti.runtime.xcom_push(key, value)
        self.ti.runtime.xcom_push(XCOM_RETURN_KEY, result)

    def _length(self, result: Any) -> int | None:
        """The result's length, if tasks are mapped over it; else None."""
        ti = self.ti
        if not feeds_mapping(ti.dag, ti.task_id):
            return None
        if ti.map_index >= 0:
            return 0 if result is None else 1
        if isinstance(result, str | bytes | bytearray) or not isinstance(result, Sequence | dict):
            raise UnmappableXComTypePushed(
                f"Tasks are mapped over what {ti.task_id} returns, so it must be a list or a dict, "
                f"not {type(result).__name__}."
            )
        if len(result) > self.limits.max_map_length:
            raise UnmappableXComLengthPushed(
                f"{ti.task_id} returned {len(result)} items, and tasks are mapped over them; "
                f"[core] max_map_length is {self.limits.max_map_length}."
            )
        return len(result)

    # -------------------------------------------------------------------------------------------- branches and skips

    def _skips(self) -> tuple[tuple[str, ...] | None, Any]:
        """``follow`` and ``skip`` of the success, as the task set them."""
        match self.ti.downstream_choice:
            case BranchChoice(choice=choice):
                return self._followed(choice), "none"
            case SkipChoice(which=which):
                return None, which
        return None, "none"

    def _followed(self, choice: Any) -> tuple[str, ...]:
        """A branch's choice as task ids; a group id stands for its first tasks. Raises AirflowException for others."""
        ids = [choice] if isinstance(choice, str) else [] if choice is None else choice
        if isinstance(ids, Mapping) or not hasattr(ids, "__iter__") or not all(isinstance(id_, str) for id_ in ids):
            raise AirflowException(
                f"{self.ti.task_id} chose {choice!r}: a branch returns a task id, a list of task ids or None."
            )
        dag, followed = self.ti.dag, dict[str, None]()
        groups = dag.task_group_dict
        for id_ in ids:
            if id_ in dag.task_dict:
                followed[id_] = None
            elif id_ in groups:
                followed.update(dict.fromkeys(root.task_id for root in groups[id_].roots))
            else:
                raise AirflowException(
                    f"{self.ti.task_id} chose {id_!r}, which is neither a task nor a group of {dag.dag_id}."
                    f"{did_you_mean(id_, [*dag.task_dict, *groups])}"
                )
        for task_id in followed.keys() - self.ti.task.get_flat_relative_ids():
            log.warning("%s chose %s, which is not downstream of it: this has no effect.", self.ti.task_id, task_id)
        return tuple(followed)

    # -------------------------------------------------------------------------------------------------- failures, skips

    def event_of(self, error: BaseException) -> Event:
        """The event of a try that raised ``error``; the user's part of the traceback is logged."""
        for exception_type, make_event in _EVENTS_BY_EXCEPTION:
            if isinstance(error, exception_type):
                try:
                    event = make_event(self, error)
                except Exception as other:  # e.g. a trigger that cannot be serialised
                    error, event = other, _raised(self, other)
                break
        else:
            event = _raised(self, error)
        if isinstance(event, Failed):
            self.context["exception"] = error
            self.context["reason"] = event.error
            trace = user_traceback(error).rstrip()
            log.error("Task failed: %s%s", event.error, f"\n{trace}" if "\n" in trace else "")
        elif isinstance(event, SkippedItself):
            self.context["exception"] = error
            log.info("Task skipped itself%s", f": {event.message}" if event.message else ".")
        return event

    def event_fields(self) -> dict[str, Any]:
        """The fields that all events of this try have in common."""
        return {"attempt_id": self.ti.workload.attempt_id, "at": self.ti.runtime.now(), "started_at": self.started}

    def one_line(self, error: BaseException) -> str:
        """Class and message of an exception on one line, secrets masked."""
        try:
            message = str(error)
        except Exception as other:  # a user's exception class may raise in __str__
            message = f"(its message raised {type(other).__name__})"
        text = " ".join(f"{type(error).__name__}: {message}{import_hint(error)}".rstrip(": ").split())
        line: str = _truncate(self.masker.mask(text) if self.masker else text, MAX_ERROR_CHARACTERS)
        return line

    # -------------------------------------------------------------------------------------------------------- callbacks

    def run_callbacks(self, event: Event) -> None:
        """Run the task's callbacks for its outcome. An exception in a callback is logged; the outcome stands."""
        match event:
            case Succeeded():
                kind, self.ti.state = "success", "success"
            case SkippedItself():
                kind, self.ti.state = "skipped", "skipped"
            case Failed() if event.cause is Cause.PROCESS_DIED:
                return  # terminated: only the supervisor knows whether by nbflow, and for which new state
            case Failed() if event.retry and self.ti.try_number <= self.ti.max_tries:
                kind, self.ti.state = "retry", "up_for_retry"
            case Failed():
                kind, self.ti.state = "failure", "failed"
            case _:
                return
        callbacks = self._callbacks(kind)
        if not callbacks:
            return
        with self._ignoring_sigterm():
            self.progress.ended(Outcome(event=event, callbacks_run=tuple(self.callbacks_run)))
            for callback in callbacks:
                self._call(kind, callback)

    def _callbacks(self, kind: str) -> Sequence[Any]:
        """The task's callbacks of this kind, which the caller calls: ``callbacks_run`` has them from now on."""
        callbacks = getattr(self.ti.task, f"on_{kind}_callback", None) or ()
        if callbacks:
            self.callbacks_run.append(kind)
        return callbacks if isinstance(callbacks, list | tuple) else (callbacks,)

    def _call(self, kind: str, callback: Any) -> None:
        name = f"on_{kind}_callback {getattr(callback, '__name__', callback)}"
        seconds = self.limits.callback_seconds if self.own_process else 0.0
        try:
            if not seconds:
                callback(self.context)
                return
            self.progress.limit(seconds, name)
            with _time_limit(seconds, f"{name} ran longer than [core] callback_timeout, {seconds:g} s"):
                callback(self.context)
        except BaseException as error:  # sys.exit() too: the outcome stands
            if isinstance(error, KeyboardInterrupt) and not self.own_process:
                raise
            log.error("%s failed: %s\n%s", name, error, user_traceback(error).rstrip())
        finally:
            if seconds:
                self.progress.limit(None)

    @contextmanager
    def _ignoring_sigterm(self) -> Iterator[None]:
        """If the try has its own process: a kill, too late to change the outcome, does not cut its callbacks short."""
        if not self.own_process or not _in_main_thread():
            yield
            return
        import signal

        previous = signal.signal(signal.SIGTERM, lambda signum, frame: None)  # SIG_IGN would pass to subprocesses
        try:
            yield
        finally:
            signal.signal(signal.SIGTERM, previous)

    # ----------------------------------------------------------------------------------------------- limits and signals

    @contextmanager
    def _execution_limit(self, task: Any) -> Iterator[None]:
        seconds = self._seconds_left(task)
        if seconds is None:
            yield
            return
        self.progress.limit(seconds, EXECUTION)
        try:
            text = f"{task.task_id} ran longer than its execution_timeout of {task.execution_timeout}"
            with _time_limit(seconds, text):
                yield
        finally:
            self.progress.limit(None)

    def _seconds_left(self, task: Any) -> float | None:
        limit = getattr(task, "execution_timeout", None)
        if limit is None:
            return None
        seconds = limit.total_seconds() if isinstance(limit, timedelta) else float(limit)
        if self.ti.workload.next_method is not None and self.ti.workload.first_start is not None:
            seconds -= (self.started - self.ti.workload.first_start).total_seconds()
        return max(seconds, 0.001)

    @contextmanager
    def _terminable(self, task: Any) -> Iterator[None]:
        """If the try has its own process, a SIGTERM calls ``on_kill`` and ends the task."""
        if not self.own_process or not _in_main_thread():
            yield
            return
        import signal

        def terminate(signum: int, frame: Any) -> None:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)  # once is enough; the supervisor's SIGKILL follows
            log.warning("Received %s: the task is terminated.", signal.Signals(signum).name)
            self.terminated = True
            self.kill()
            raise AirflowTaskTerminated(f"the task received {signal.Signals(signum).name}, which nbflow did not send")

        previous = signal.signal(signal.SIGTERM, terminate)
        try:
            yield
        finally:
            signal.signal(signal.SIGTERM, previous)

    def kill(self) -> None:
        """Call the task's ``on_kill``, which ends what the task started outside of this process."""
        try:
            on_kill = getattr(self.ti.task, "on_kill", None)
            if on_kill is not None:
                on_kill()
        except Exception as error:
            log.error("on_kill failed: %s\n%s", error, user_traceback(error).rstrip())


# ------------------------------------------------------------------------------------------------ the DAG and its tasks


def executable_task(task: Any, context: Context) -> Any:
    """The task to execute: the operator of this map index if the task is mapped, else a copy, so that changes by
    rendering and by the task's code do not outlive the try."""
    if getattr(task, "expand_input", None) is not None:
        return task.unmapped(context)
    return copy.copy(task)


def preload_modules(dag: Any) -> None:
    """Import jinja2 (60 ms) and pendulum (80 ms) if the DAG's tasks will use them, so that forked tries share them.

    Called once after loading, in the fork server. A DAG without templates and without functions that take dates needs
    neither, and its processes stay small.
    """
    templates = dates = False
    for task in dag.task_dict.values():
        fields = [getattr(task, name, None) for name in task.template_fields]
        fields.append(getattr(task.expand_input, "value", None))
        templates = templates or holds_template(fields, getattr(task, "template_ext", None) or ())
        function = getattr(task, "python_callable", None)
        if function is not None and not dates:
            names, has_var_keyword = parameters_of(function)
            dates = has_var_keyword or not NEED_PENDULUM.isdisjoint(names)
        if templates and dates:
            break
    if templates:
        from nbflow.authoring import jinja

        jinja.environment(dag)
    if templates or dates:
        import pendulum

        pendulum.datetime(2024, 1, 1)


_mapping_sources: WeakKeyDictionary[Any, tuple[int, frozenset[str]]] = WeakKeyDictionary()
"""DAG -> (number of tasks when computed, ids of the tasks that others are mapped over)."""


def feeds_mapping(dag: Any, task_id: str) -> bool:
    """Whether a task or group is mapped over the task's return value."""
    size, ids = _mapping_sources.get(dag, (-1, frozenset()))
    if size != len(dag.task_dict):
        nodes = (*dag.task_dict.values(), *dag.task_group_dict.values())
        inputs = [node.expand_input for node in nodes if node.expand_input is not None]
        ids = frozenset(source.task_id for expand_input in inputs for source in expand_input.operators())
        _mapping_sources[dag] = len(dag.task_dict), ids
    return task_id in ids


def skips_any(dag: Any, task: Any, follow: Sequence[str] | None, skip: str) -> bool:
    """Whether a success with this ``follow`` and ``skip`` skips direct downstream tasks;
    :func:`nbflow.core.event_handlers.skipped_by` returns which."""
    if skip != "none":
        return any(not dag.task_dict[task_id].is_teardown for task_id in task.downstream_task_ids)
    if follow is None:
        return False
    not_skipped = set(follow).union(*(dag.task_dict[task_id].get_flat_relative_ids() for task_id in follow))
    return not task.downstream_task_ids <= not_skipped


# --------------------------------------------------------------------------------------------- exceptions as events


def _raised(attempt: _Attempt, error: BaseException) -> Event:
    return Failed(**attempt.event_fields(), cause=Cause.RAISED, error=attempt.one_line(error))


def _failed_hard(attempt: _Attempt, error: BaseException) -> Event:
    return Failed(**attempt.event_fields(), cause=Cause.FAILED_HARD, error=attempt.one_line(error), retry=False)


def _sensor_timed_out(attempt: _Attempt, error: BaseException) -> Event:
    return Failed(**attempt.event_fields(), cause=Cause.RAISED, error=attempt.one_line(error), retry=False)


def _execution_timed_out(attempt: _Attempt, error: BaseException) -> Event:
    attempt.kill()
    return Failed(**attempt.event_fields(), cause=Cause.EXECUTION_TIMEOUT, error=attempt.one_line(error))


def _terminated(attempt: _Attempt, error: BaseException) -> Event:
    """If the supervisor sent the SIGTERM, it reports its own reason instead of this event."""
    if not attempt.terminated:  # raised by the user's code
        return _raised(attempt, error)
    return Failed(**attempt.event_fields(), cause=Cause.PROCESS_DIED, error=attempt.one_line(error))


def _skipped_itself(attempt: _Attempt, error: BaseException) -> Event:
    message = str(error)
    return SkippedItself(**attempt.event_fields(), message=attempt.masker.mask(message) if attempt.masker else message)


def _rescheduled(attempt: _Attempt, error: Any) -> Event:
    until = error.reschedule_date
    until = until if until.tzinfo is not None else until.replace(tzinfo=UTC)
    log.info("Rescheduled: the next check is at %s.", until.isoformat(timespec="seconds"))
    return Rescheduled(**attempt.event_fields(), until=until)


def _deferred(attempt: _Attempt, error: Any) -> Event:
    name, arguments = error.trigger.serialize()
    fields = attempt.event_fields()
    until = None if error.timeout is None else fields["at"] + error.timeout
    log.info("Deferred to the triggerer: %s.", error)
    return Deferred(
        **fields,
        trigger={"name": name, "kwargs": encode(dict(arguments), "the trigger's arguments")},
        next_method=error.method_name,
        kwargs=encode(error.kwargs, "the kwargs of defer()"),  # type: ignore[arg-type]
        timeout_at=until,
    )


def _skipped_downstream(attempt: _Attempt, error: Any) -> Event:
    """User code raised DownstreamTasksSkipped: its tasks are skipped, the other direct downstream tasks followed."""
    task = attempt.ti.task
    skipped = {item if isinstance(item, str) else item[0] for item in error.tasks}
    downstream = set(task.downstream_task_ids)
    wrong = sorted(skipped - downstream)
    if wrong:
        raise AirflowException(
            f"{task.task_id} can skip only its direct downstream tasks, not {', '.join(wrong)}.",
            hint="The trigger rules of tasks further downstream decide whether these are skipped.",
        )
    return Succeeded(**attempt.event_fields(), follow=tuple(sorted(downstream - skipped)))


_EVENTS_BY_EXCEPTION: tuple[tuple[type[BaseException], Callable[[_Attempt, Any], Event]], ...] = (
    (AirflowSkipException, _skipped_itself),
    (AirflowRescheduleException, _rescheduled),
    (TaskDeferred, _deferred),
    (DownstreamTasksSkipped, _skipped_downstream),
    (AirflowSensorTimeout, _sensor_timed_out),
    (AirflowFailException, _failed_hard),
    (AirflowTaskTimeout, _execution_timed_out),
    (AirflowTaskTerminated, _terminated),
)
"""Exception -> event; the first match wins. Any other exception is a failure that may be retried."""


# ------------------------------------------------------------------------------------------------ what the user sees


def user_traceback(error: BaseException) -> str:
    """The traceback without the frames of nbflow and Jinja; only its last line if no frame of user code is left."""
    import traceback
    from pathlib import Path

    package = str(Path(__file__).resolve().parents[1])

    def strip(exception: traceback.TracebackException) -> None:
        user_frames = [
            frame
            for frame in exception.stack
            if not frame.filename.startswith(package) and "/jinja2/" not in frame.filename
        ]
        exception.stack = traceback.StackSummary.from_list(user_frames)
        for nested in (exception.__cause__, exception.__context__, *(exception.exceptions or ())):
            if nested is not None:
                strip(nested)

    formatted = traceback.TracebackException.from_exception(error, compact=True)
    strip(formatted)
    return "".join(formatted.format())


def as_json(value: Any) -> Any:
    """The value as plain JSON data for display: values that JSON cannot hold become their text."""
    if value is None or isinstance(value, bool | int | str) or (isinstance(value, float) and math.isfinite(value)):
        return value
    if isinstance(value, Mapping):
        return {str(key): as_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [as_json(item) for item in value]
    return value.isoformat() if isinstance(value, datetime) else str(value)


def _truncate(value: Any, characters: int) -> Any:
    text = value if isinstance(value, str) else None
    if text is None:
        import json

        text = json.dumps(value, ensure_ascii=False)
        if len(text) <= characters:
            return value
    return text if len(text) <= characters else f"{text[:characters]}... ({len(text)} characters)"


# ----------------------------------------------------------------------------------------------------------- time limit


def _in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


@contextmanager
def _time_limit(seconds: float, text: str) -> Iterator[None]:
    """Raise AirflowTaskTimeout with this text in the body after ``seconds``; no effect outside the main thread."""
    if not _in_main_thread():
        yield
        return
    import signal

    def expire(signum: int, frame: Any) -> None:
        raise AirflowTaskTimeout(text)

    started = time.monotonic()
    previous = signal.signal(signal.SIGALRM, expire)
    delay, interval = signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
        if delay:  # resume a timer that the caller had set
            signal.setitimer(signal.ITIMER_REAL, max(delay - (time.monotonic() - started), 0.001), interval)
