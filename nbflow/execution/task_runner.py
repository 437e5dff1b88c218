"""One try of one task: from the :class:`~nbflow.authoring.runtime.Work` to the
:class:`~nbflow.authoring.runtime.Outcome`.

The steps, in Airflow's order: the context; the arguments of a mapped instance; the templates; ``on_execute_callback``;
``pre_execute``; ``execute`` (or the method with which a deferred task goes on); ``post_execute``; the XComs; then the
callback of how it ended. Each ending is an event for :func:`nbflow.core.react.react`; the table ``_ENDINGS`` maps
exceptions to events. This module decides nothing about the graph and stores nothing: a branch's choice, the length of a
result and what to skip are part of the event.

What a task pushes
------------------
A return value other than None becomes the XCom ``return_value`` (with ``multiple_outputs`` each key one more), unless
``do_xcom_push`` is off or the task skipped tasks after it, as in Airflow. A task that another is mapped over must
return something with a length; a wrong return value fails the try before anything of it is stored.

Time limits
-----------
``execution_timeout`` is enforced on the whole process group by the supervisor. Here it is a help, so that user code
gets an exception it can clean up after: a timer signal, where the try runs in a process's main thread.
"""

from __future__ import annotations

import copy
import logging
import math
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from nbflow.airflow_names import import_advice
from nbflow.authoring.context import NEED_PENDULUM, parameters_of, running_in
from nbflow.authoring.runtime import Outcome, Runtime, Work
from nbflow.authoring.taskinstance import TASK_LOGGER, XCOM_RETURN_KEY, Follow, Skip, TaskInstance, plain
from nbflow.authoring.templating import holds_template
from nbflow.connections import providing
from nbflow.core.events import Deferred, Event, Failed, Rescheduled, SkippedItself, Succeeded
from nbflow.core.states import Cause
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
from nbflow.execution.task_log_format import setup_logging

if TYPE_CHECKING:
    from nbflow.authoring.context import Context
    from nbflow.secrets import Masker

log = logging.getLogger(TASK_LOGGER)

MOST_ERROR_CHARACTERS = 1000
"""Of the one line that history keeps of an error."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What ``[core]`` and ``[logging]`` set for every try."""

    max_map_length: int = 1024
    max_field_characters: int = 4096
    logging_level: str = "INFO"
    """Of a process that runs only this try."""


def run_try(
    dag: Any,
    task: Any,
    work: Work,
    runtime: Runtime,
    *,
    own_process: bool = False,
    masker: Masker | None = None,
    limits: Limits = Limits(),
) -> Outcome:
    """Run one try of ``task`` and say how it ended; the task's exceptions never come out.

    ``own_process``: nothing but this try runs in the process, so a SIGTERM is for the task (its ``on_kill`` is called)
    and all logging goes to standard output, in the form of :mod:`nbflow.execution.task_log_format`.
    ``masker`` learns the secrets that the task asks for. KeyboardInterrupt is raised again, after ``on_kill``, unless
    the process is the task's own.
    """
    if own_process:
        setup_logging(level=limits.logging_level)
    ti = TaskInstance(dag=dag, task=task, work=work, runtime=runtime, started=runtime.now(), own_process=own_process)
    attempt = _Attempt(ti, own_process=own_process, masker=masker, limits=limits)
    with providing(attempt), running_in(ti.context):
        try:
            event = attempt.run()
        except KeyboardInterrupt:
            attempt.kill()
            if not own_process:
                raise
            event = attempt.ended_by(AirflowTaskTerminated("interrupted"))
        except BaseException as error:
            event = attempt.ended_by(error)
        attempt.call_back_for(event)
    return Outcome(event=event, callbacks_run=tuple(attempt.called))


class _Attempt:
    """The state of one call of :func:`run_try`, and the provider of connections and variables while it runs."""

    def __init__(self, ti: TaskInstance, *, own_process: bool, masker: Masker | None, limits: Limits) -> None:
        self.ti, self.own_process, self.masker, self.limits = ti, own_process, masker, limits
        self.context: Context = ti.context
        self.started = ti.started
        self.called: list[str] = []

    # ----------------------------------------------------------------------------------------------------------- steps

    def run(self) -> Event:
        """Everything up to the event of an ordinary end; whatever is raised goes to :meth:`ended_by`."""
        task = self._prepare()
        if not self.ti.work.continues and getattr(task, "on_execute_callback", None):
            self._call_back("execute")
        with _time_limit(self._seconds_left(task), task), self._terminable(task):
            if (before := getattr(task, "pre_execute", None)) is not None:
                before(self.context)
            result = self._execute(task)
            if (after := getattr(task, "post_execute", None)) is not None:
                after(self.context, result)
        return self._finish(task, result)

    def _prepare(self) -> Any:
        """The task to execute: a copy (of a mapped task: the instance's own), its templates rendered."""
        ti = self.ti
        task = concrete(ti.task, self.context)
        ti.task = task
        self.context["task"] = task
        if task.template_fields:
            changed = task.render_template_fields(self.context)
            if changed:
                ti.runtime.put_rendered(self._presentable(changed))
        return task

    def _presentable(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        """Rendered fields for people: plain data, secrets hidden, long texts cut."""
        from nbflow.secrets import Masker

        shown = {name: as_json(value) for name, value in fields.items()}
        masked = (self.masker or Masker()).mask_value(shown)
        return {name: _cut(value, self.limits.max_field_characters) for name, value in masked.items()}

    def _execute(self, task: Any) -> Any:
        try:
            if self.ti.work.next_method is None:
                return task.execute(self.context)
            return self._go_on(task)
        except SystemExit as left:
            if left.code in (None, 0):
                return None  # sys.exit() is a way to say "done"
            raise

    def _go_on(self, task: Any) -> Any:
        """A deferred task goes on: in its method, with the trigger's event, or with the trigger's failure."""
        work = self.ti.work
        kwargs = dict(work.next_kwargs)
        method = work.next_method or ""
        if method == "__fail__":
            raise TaskDeferralError(str(kwargs.get("error") or "the trigger failed"))
        if not method.isidentifier() or method.startswith("__") or not callable(getattr(task, method, None)):
            raise AirflowException(f"{type(task).__name__} has no method {method!r} to go on with after its deferral.")
        return getattr(task, method)(self.context, **kwargs)

    def _finish(self, task: Any, result: Any) -> Event:
        """Check and store the result, then say that the try succeeded."""
        follow, skip = self._steering()
        length = self._length(result)
        if result is not None and task.do_xcom_push and not skips_any(self.ti.dag, task, follow, skip):
            self._push(task, result)
        return Succeeded(**self.moment(), length=length, follow=follow, skip=skip)

    def _push(self, task: Any, result: Any) -> None:
        result = plain(result)
        if getattr(task, "multiple_outputs", False):
            if not isinstance(result, Mapping):
                raise TypeError(
                    f"multiple_outputs wants a dict with text keys; {self.ti.task_id} returned {type(result).__name__}."
                )
            wrong = next((key for key in result if not isinstance(key, str)), None)
            if wrong is not None:
                raise TypeError(f"multiple_outputs wants text keys; {self.ti.task_id} returned one of {type(wrong)}.")
            for key, value in result.items():
                self.ti.runtime.xcom_push(key, value)
        self.ti.runtime.xcom_push(XCOM_RETURN_KEY, result)

    def _length(self, result: Any) -> int | None:
        """The result's length for the tasks that are mapped over it; None where there are none."""
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
                f"{ti.task_id} returned {len(result)} items for tasks to be mapped over; "
                f"[core] max_map_length is {self.limits.max_map_length}."
            )
        return len(result)

    # -------------------------------------------------------------------------------------------------------- steering

    def _steering(self) -> tuple[tuple[str, ...] | None, Any]:
        match self.ti.steering:
            case Follow(choice=choice):
                return self._followed(choice), "none"
            case Skip(which=which):
                return None, which
        return None, "none"

    def _followed(self, choice: Any) -> tuple[str, ...]:
        """A branch's choice as task ids; a group stands for its first tasks. AirflowException for a wrong one."""
        ids = [choice] if isinstance(choice, str) else [] if choice is None else choice
        if isinstance(ids, Mapping) or not hasattr(ids, "__iter__") or not all(isinstance(one, str) for one in ids):
            raise AirflowException(
                f"{self.ti.task_id} chose {choice!r}: a branch returns a task id, a list of task ids or None."
            )
        dag, followed = self.ti.dag, dict[str, None]()
        groups = dag.task_group_dict
        for one in ids:
            if one in dag.task_dict:
                followed[one] = None
            elif one in groups:
                followed.update(dict.fromkeys(root.task_id for root in groups[one].roots))
            else:
                raise AirflowException(
                    f"{self.ti.task_id} chose {one!r}, which is neither a task nor a group of {dag.dag_id}."
                    f"{did_you_mean(one, [*dag.task_dict, *groups])}"
                )
        for one in followed.keys() - self.ti.task.get_flat_relative_ids():
            log.warning("%s chose %s, which does not come after it: that has no effect.", self.ti.task_id, one)
        return tuple(followed)

    # ---------------------------------------------------------------------------------------------------------- endings

    def ended_by(self, error: BaseException) -> Event:
        """The event of a try that an exception ended; the user's part of it is logged."""
        for kind, ending in _ENDINGS:
            if isinstance(error, kind):
                try:
                    event = ending(self, error)
                except Exception as fault:  # e.g. a trigger that cannot be serialised
                    error, event = fault, _raised(self, fault)
                break
        else:
            event = _raised(self, error)
        if isinstance(event, Failed):
            self.context["exception"] = error
            self.context["reason"] = event.error
            trace = users_traceback(error).rstrip()
            log.error("Task failed: %s%s", event.error, f"\n{trace}" if "\n" in trace else "")
        elif isinstance(event, SkippedItself):
            self.context["exception"] = error
            log.info("Task skips itself%s", f": {event.message}" if event.message else ".")
        return event

    def moment(self) -> dict[str, Any]:
        """The fields that every event of this try has."""
        return {"attempt_id": self.ti.work.attempt_id, "at": self.ti.runtime.now(), "started_at": self.started}

    def one_line(self, error: BaseException) -> str:
        """Class and message, on one line, secrets hidden."""
        try:
            message = str(error)
        except Exception as fault:  # an exception class of the user's that cannot even say what is wrong
            message = f"(its message raised {type(fault).__name__})"
        text = " ".join(f"{type(error).__name__}: {message}{import_advice(error)}".rstrip(": ").split())
        line: str = _cut(self.masker.mask(text) if self.masker else text, MOST_ERROR_CHARACTERS)
        return line

    # -------------------------------------------------------------------------------------------------------- callbacks

    def call_back_for(self, event: Event) -> None:
        """Run the task's callbacks for its outcome. What one raises is logged, and changes nothing."""
        match event:
            case Succeeded():
                kind, self.ti.state = "success", "success"
            case SkippedItself():
                kind, self.ti.state = "skipped", "skipped"
            case Failed() if event.cause is Cause.KILLED:
                return  # whoever ended it knows what it became: cleared, marked success, its run over
            case Failed() if event.retry and self.ti.try_number <= self.ti.max_tries:
                kind, self.ti.state = "retry", "up_for_retry"
            case Failed():
                kind, self.ti.state = "failure", "failed"
            case _:
                return
        self._call_back(kind)

    def _call_back(self, kind: str) -> None:
        callbacks = getattr(self.ti.task, f"on_{kind}_callback", None) or ()
        callbacks = callbacks if isinstance(callbacks, list | tuple) else (callbacks,)
        for callback in callbacks:
            try:
                callback(self.context)
            except KeyboardInterrupt:
                raise
            except BaseException as error:  # sys.exit() too: the outcome stands
                name = getattr(callback, "__name__", callback)
                log.error("on_%s_callback %s failed: %s\n%s", kind, name, error, users_traceback(error).rstrip())
        if callbacks:
            self.called.append(kind)

    # ----------------------------------------------------------------------------------------------- limits and signals

    def _seconds_left(self, task: Any) -> float | None:
        limit = getattr(task, "execution_timeout", None)
        if limit is None:
            return None
        seconds = limit.total_seconds() if isinstance(limit, timedelta) else float(limit)
        if self.ti.work.next_method is not None and self.ti.work.first_start is not None:
            seconds -= (self.started - self.ti.work.first_start).total_seconds()
        return max(seconds, 0.001)

    @contextmanager
    def _terminable(self, task: Any) -> Iterator[None]:
        """In a process of its own, a SIGTERM calls ``on_kill`` and ends the task."""
        if not self.own_process or not _in_main_thread():
            yield
            return
        import signal

        def terminate(signum: int, frame: Any) -> None:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)  # once is enough; the supervisor's SIGKILL follows
            log.warning("Told to end (signal %s).", signal.Signals(signum).name)
            self.kill()
            raise AirflowTaskTerminated("the task was told to end")

        before = signal.signal(signal.SIGTERM, terminate)
        try:
            yield
        finally:
            signal.signal(signal.SIGTERM, before)

    def kill(self) -> None:
        """Let the task end what it started outside of this process."""
        try:
            on_kill = getattr(self.ti.task, "on_kill", None)
            if on_kill is not None:
                on_kill()
        except Exception as error:
            log.error("on_kill failed: %s\n%s", error, users_traceback(error).rstrip())

    # --------------------------------------------------------------------- the provider of connections and variables

    def get_connection(self, conn_id: str) -> Any:
        found = self.ti.runtime.get_connection(conn_id)
        if found is not None and self.masker is not None:
            self.masker.add(*found.secrets())
        return found

    def get_variable(self, key: str) -> str | None:
        value = self.ti.runtime.get_variable(key)
        if value is not None and self.masker is not None:
            self._hide_variable(self.masker, key, value)
        return value

    @staticmethod
    def _hide_variable(masker: Masker, key: str, value: str) -> None:
        import json

        try:
            content = json.loads(value)
        except ValueError:
            content = value
        masker.add_from({key: content})
        if isinstance(content, dict | list):
            masker.add_from(content)

    def set_variable(self, key: str, value: str, description: str | None = None) -> None:
        self.ti.runtime.set_variable(key, value, description)

    def delete_variable(self, key: str) -> None:
        self.ti.runtime.delete_variable(key)


# ------------------------------------------------------------------------------------------------------- the DAG's side


def concrete(task: Any, context: Context) -> Any:
    """The task to execute: of a mapped task the operator of this map index, else a copy, so that what rendering and the
    task's own code change does not outlive the try."""
    if getattr(task, "expand_input", None) is not None:
        return task.unmapped(context)
    return copy.copy(task)


def warm_up(dag: Any) -> None:
    """Import what the DAG's tasks will need of jinja2 (60 ms) and pendulum (80 ms), so that forked tries share it.

    Called once after loading, in the process that tries are forked from. A DAG without templates and without functions
    that ask for dates stays small.
    """
    templates = dates = False
    for task in dag.task_dict.values():
        fields = [getattr(task, name, None) for name in task.template_fields]
        fields.append(getattr(task.expand_input, "value", None))
        templates = templates or holds_template(fields, getattr(task, "template_ext", None) or ())
        function = getattr(task, "python_callable", None)
        if function is not None and not dates:
            named, takes_all = parameters_of(function)
            dates = takes_all or not NEED_PENDULUM.isdisjoint(named)
        if templates and dates:
            break
    if templates:
        from nbflow.authoring import jinja

        jinja.environment(dag)
    if templates or dates:
        import pendulum

        pendulum.datetime(2024, 1, 1)


_mapped_over: WeakKeyDictionary[Any, tuple[int, frozenset[str]]] = WeakKeyDictionary()


def feeds_mapping(dag: Any, task_id: str) -> bool:
    """Whether something is mapped over the task's return value."""
    size, ids = _mapped_over.get(dag, (-1, frozenset()))
    if size != len(dag.task_dict):
        mapped = [one.expand_input for one in (*dag.task_dict.values(), *dag.task_group_dict.values())]
        ids = frozenset(source.task_id for one in mapped if one is not None for source in one.operators())
        _mapped_over[dag] = len(dag.task_dict), ids
    return task_id in ids


def skips_any(dag: Any, task: Any, follow: Sequence[str] | None, skip: str) -> bool:
    """Whether a success with this choice skips tasks after it; :func:`nbflow.core.react.skipped_by` says which."""
    if skip != "none":
        return any(not dag.task_dict[other].is_teardown for other in task.downstream_task_ids)
    if follow is None:
        return False
    kept = set(follow).union(*(dag.task_dict[one].get_flat_relative_ids() for one in follow))
    return not task.downstream_task_ids <= kept


# --------------------------------------------------------------------------------------------- exceptions as events


def _raised(run: _Attempt, error: BaseException) -> Event:
    return Failed(**run.moment(), cause=Cause.RAISED, error=run.one_line(error))


def _failed_hard(run: _Attempt, error: BaseException) -> Event:
    return Failed(**run.moment(), cause=Cause.FAILED_HARD, error=run.one_line(error), retry=False)


def _waited_too_long(run: _Attempt, error: BaseException) -> Event:
    return Failed(**run.moment(), cause=Cause.RAISED, error=run.one_line(error), retry=False)


def _ran_too_long(run: _Attempt, error: BaseException) -> Event:
    run.kill()
    return Failed(**run.moment(), cause=Cause.EXECUTION_TIMEOUT, error=run.one_line(error))


def _told_to_end(run: _Attempt, error: BaseException) -> Event:
    return Failed(**run.moment(), cause=Cause.KILLED, error=run.one_line(error), retry=False)


def _skipped_itself(run: _Attempt, error: BaseException) -> Event:
    message = str(error)
    return SkippedItself(**run.moment(), message=run.masker.mask(message) if run.masker else message)


def _rescheduled(run: _Attempt, error: Any) -> Event:
    until = error.reschedule_date
    until = until if until.tzinfo is not None else until.replace(tzinfo=UTC)
    log.info("Looks again at %s.", until.isoformat(timespec="seconds"))
    return Rescheduled(**run.moment(), until=until)


def _deferred(run: _Attempt, error: Any) -> Event:
    from nbflow.serde import encode

    name, arguments = error.trigger.serialize()
    moment = run.moment()
    until = None if error.timeout is None else moment["at"] + error.timeout
    log.info("Waits in the triggerer: %s.", error)
    return Deferred(
        **moment,
        trigger={"name": name, "kwargs": encode(dict(arguments), "the trigger's arguments")},
        next_method=error.method_name,
        kwargs=encode(error.kwargs, "the kwargs of defer()"),  # type: ignore[arg-type]
        timeout_at=until,
    )


def _skips_others(run: _Attempt, error: Any) -> Event:
    """Raised by user code: the tasks named are skipped, the other direct downstream tasks are followed."""
    task = run.ti.task
    named = {one if isinstance(one, str) else one[0] for one in error.tasks}
    direct = list(task.downstream_task_ids)
    strange = sorted(named - set(direct))
    if strange:
        raise AirflowException(
            f"{task.task_id} can skip only tasks directly after it, not {', '.join(strange)}.",
            hint="Their trigger rules decide about the tasks further down.",
        )
    return Succeeded(**run.moment(), follow=tuple(sorted(set(direct) - named)))


_ENDINGS: tuple[tuple[type[BaseException], Callable[[_Attempt, Any], Event]], ...] = (
    (AirflowSkipException, _skipped_itself),
    (AirflowRescheduleException, _rescheduled),
    (TaskDeferred, _deferred),
    (DownstreamTasksSkipped, _skips_others),
    (AirflowSensorTimeout, _waited_too_long),
    (AirflowFailException, _failed_hard),
    (AirflowTaskTimeout, _ran_too_long),
    (AirflowTaskTerminated, _told_to_end),
)
"""Exception -> event; the first that fits counts. Any other exception is a failure that may be retried."""


# ------------------------------------------------------------------------------------------------------ the user's part


def users_traceback(error: BaseException) -> str:
    """The traceback without the frames of nbflow and of Jinja, which are no place in what the user wrote; only the last
    line where the error is nbflow's own message."""
    import traceback
    from pathlib import Path

    ours = str(Path(__file__).resolve().parents[1])

    def strip(one: traceback.TracebackException) -> None:
        theirs = [f for f in one.stack if not f.filename.startswith(ours) and "/jinja2/" not in f.filename]
        one.stack = traceback.StackSummary.from_list(theirs)
        for other in (one.__cause__, one.__context__, *(one.exceptions or ())):
            if other is not None:
                strip(other)

    whole = traceback.TracebackException.from_exception(error, compact=True)
    strip(whole)
    return "".join(whole.format())


def as_json(value: Any) -> Any:
    """The value as plain JSON data, for people: what JSON cannot hold is shown as its text."""
    if value is None or isinstance(value, bool | int | str) or (isinstance(value, float) and math.isfinite(value)):
        return value
    if isinstance(value, Mapping):
        return {str(key): as_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [as_json(item) for item in value]
    return value.isoformat() if isinstance(value, datetime) else str(value)


def _cut(value: Any, characters: int) -> Any:
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
def _time_limit(seconds: float | None, task: Any) -> Iterator[None]:
    """Raise AirflowTaskTimeout in this code after so many seconds; nothing outside the main thread."""
    if seconds is None or not _in_main_thread():
        yield
        return
    import signal

    def expire(signum: int, frame: Any) -> None:
        raise AirflowTaskTimeout(f"{task.task_id} ran longer than its execution_timeout of {task.execution_timeout}")

    began = time.monotonic()
    before = signal.signal(signal.SIGALRM, expire)
    delay, interval = signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        if delay:  # somebody else's timer was running: it goes on
            signal.setitimer(signal.ITIMER_REAL, max(delay - (time.monotonic() - began), 0.001), interval)
