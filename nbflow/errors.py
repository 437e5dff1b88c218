"""The errors of nbflow: a short tree, with Airflow's names where Airflow has one.

Every module may import this one; it imports nothing from nbflow. The rules:

* Every error of nbflow is an ``NbflowError``: surfaces show it as one line, and a traceback for anything else.
* ``AirflowException`` is what DAG code raises and catches; the errors that Airflow derives from it are derived from it
  here too, so ``except AirflowException`` in an unmodified DAG file means the same.
* A message states the error and its place; ``hint`` says what to do next.
* An exception that ends a task early without an error in it (deferral, timeout, termination) is a ``BaseException``,
  so that a user's ``except Exception`` cannot swallow it. This follows Airflow 2.10 and 3.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import datetime as dt

    from nbflow.suggested_commands import SuggestedCommand


def did_you_mean(name: str, known: Iterable[str], *, cutoff: float = 0.6) -> str:
    """Return `` Did you mean 'x'?`` (with the leading space) for the nearest of ``known``, or an empty string.

    ``cutoff``: minimum similarity, from 0 to 1 (equal except for case).
    """
    nearest = nearest_name(name, known, cutoff=cutoff)
    return f" Did you mean {nearest!r}?" if nearest is not None else ""


def nearest_name(name: str, known: Iterable[str], *, cutoff: float = 0.6) -> str | None:
    """Return the nearest of ``known``, regardless of case; None if none is near."""
    from difflib import get_close_matches

    candidates = {candidate.lower(): candidate for candidate in known}
    nearest = get_close_matches(name.lower(), list(candidates), n=1, cutoff=cutoff)
    return candidates[nearest[0]] if nearest else None


def shortened(text: str, max_characters: int) -> str:
    """The text; if it is longer than ``max_characters``, its beginning and three dots."""
    return text if len(text) <= max_characters else f"{text[: max_characters - 3]}..."


class NbflowError(Exception):
    """Base of all errors of nbflow. ``hint`` (one sentence, optional) says what to do next."""

    place: Any = None
    """(file, line) of the user's mistake, where it is not the line that raised."""

    suggestions: Sequence[SuggestedCommand] = ()
    """The commands that the text suggests, so that a surface can spell them in its syntax."""

    def __init__(
        self, message: str = "", *args: object, hint: str = "", suggestions: Sequence[SuggestedCommand] = ()
    ) -> None:
        super().__init__(message, *args)
        self.hint, self.suggestions = hint, suggestions

    def __str__(self) -> str:
        message = str(self.args[0]) if self.args else ""
        return f"{message} {self.hint}".strip() if self.hint else message


# ------------------------------------------------------------------------------------------- --- errors of nbflow alone


class ConfigError(NbflowError, ValueError):
    """A setting is unknown or has a value that does not fit."""


class SerializationError(NbflowError, TypeError):
    """A value cannot be written as JSON, or stored JSON cannot be read back. The message has the value's path."""


class StalePlan(NbflowError):
    """A row changed between planning and applying: compute the plan again from a new snapshot."""


class StaleAttempt(NbflowError):
    """A write by an attempt that is no longer the current one; refused, nothing changed."""


class StaleCursor(NbflowError):
    """The history after a cursor is incomplete (rows were deleted, or another metastore): start over without a
    cursor."""


class StalePatch(NbflowError):
    """A patch does not fit the state of the view that it is applied to: fetch the view again."""


class StoreError(NbflowError):
    """The metastore cannot be reached, read or written; nothing was changed."""


class StoreUnreachable(StoreError):
    """The metastore's server does not respond; it may be restarting."""


class StoreBusy(StoreError):
    """The metastore stayed locked for longer than the timeout; nothing was changed, and a retry may succeed."""


class UnstorableValue(NbflowError, ValueError):
    """The metastore refuses a value, such as a text with NUL or a number out of range; nothing was changed. Unlike
    after a StoreError, a retry fails too."""


class UnreadableRow(NbflowError, ValueError):
    """A row of the metastore has a value that cannot be read: it was written by another version of nbflow, or by
    hand."""


class SecretsError(NbflowError):
    """A secret cannot be encrypted or decrypted."""


# ------------------------------------------------------------------------------------------------- what DAG code raises


class AirflowException(NbflowError):
    """The base class that DAG code raises and catches; the try fails, and is retried while retries are left."""


class MissingExtra(AirflowException, ModuleNotFoundError):
    """``what`` needs a package that is installed only with the extra ``extra``."""

    def __init__(self, what: str, package: str, extra: str) -> None:
        super().__init__(f"{what} needs the package {package}.", hint=f"pip install 'nbflow[{extra}]'")


class AirflowSkipException(AirflowException):
    """The task ends as skipped."""


class AirflowFailException(AirflowException):
    """The task fails at once, without further retries."""


class AirflowSensorTimeout(AirflowException):
    """A sensor waited longer than its ``timeout``; it fails without retries (or is skipped with ``soft_fail``)."""


class AirflowRescheduleException(AirflowException):
    """A sensor in reschedule mode releases its slot until ``reschedule_date``."""

    def __init__(self, reschedule_date: dt.datetime) -> None:
        super().__init__(f"reschedule at {reschedule_date.isoformat()}")
        self.reschedule_date = reschedule_date


class AirflowTaskTimeout(BaseException):
    """The attempt ran longer than ``execution_timeout``."""


class AirflowTaskTerminated(BaseException):
    """The attempt was terminated: its task was cleared, marked or cancelled while it ran."""


class TaskDeferred(BaseException):
    """The task releases its slot until ``trigger`` fires, then resumes in ``method_name``.

    ``timeout`` (a ``timedelta``) limits the wait; after it the task resumes with a ``TaskDeferralTimeout``.
    """

    def __init__(
        self,
        *,
        trigger: Any,
        method_name: str,
        kwargs: Mapping[str, Any] | None = None,
        timeout: dt.timedelta | None = None,
    ) -> None:
        super().__init__(f"deferred until {trigger!r}, then {method_name}()")
        self.trigger = trigger
        self.method_name = method_name
        self.kwargs = dict(kwargs or {})
        self.timeout = timeout


class TaskDeferralError(AirflowException):
    """The trigger of a deferred task raised an error."""


class TaskDeferralTimeout(AirflowException):
    """The trigger of a deferred task did not fire in time."""


class DownstreamTasksSkipped(BaseException):
    """A branch or short-circuit ends its own task as success and skips ``tasks`` (ids, or (id, map index) pairs)."""

    def __init__(self, *, tasks: Sequence[str | tuple[str, int]]) -> None:
        super().__init__(f"skip {', '.join(map(str, tasks))}")
        self.tasks = list(tasks)


class DagRunTriggerException(AirflowException):
    """Another DAG's run could not be triggered."""


# ---------------------------------------------------------------------------------------------- errors at parsing


class AirflowDagCycleException(AirflowException):
    """The tasks of a DAG depend on themselves; the message has the cycle."""


class DuplicateTaskIdFound(AirflowException):
    """Two tasks or groups of a DAG have the same id."""


class AirflowDagDuplicatedIdException(AirflowException):
    """Two files define the same dag_id."""


class TaskAlreadyInTaskGroup(AirflowException):
    """A task was added to a second group."""


class AirflowTimetableInvalid(AirflowException, ValueError):
    """A schedule is invalid; the message says where."""


class InvalidDag(AirflowException, ValueError):
    """A DAG, group or task has an invalid value (AirflowException in Airflow 2, ValueError in Airflow 3)."""


class InvalidArgument(AirflowException, TypeError):
    """A DAG, group or task got an unknown argument or one of the wrong type, or lacks a required one."""


class MixedDags(InvalidDag, RuntimeError):
    """An edge joins tasks of two DAGs, or tasks without a DAG."""


class AirflowDagInconsistent(AirflowException):
    """A DAG's settings contradict each other."""


class FailFastDagInvalidTriggerRule(AirflowDagInconsistent):
    """A DAG with ``fail_fast`` has a task whose trigger rule waits for more than success."""


class ParamValidationError(AirflowException, ValueError):
    """A run's conf or a param's default does not fit the param's schema."""


class UnmappableXComTypePushed(AirflowException, TypeError):
    """A task whose result others are mapped over returned neither a list nor a dict."""


class UnmappableXComLengthPushed(AirflowException, ValueError):
    """A task whose result others are mapped over returned more items than ``[core] max_map_length``."""


# ------------------------------------------------------------------------------------------------------------ not found


class AirflowNotFoundException(AirflowException):
    """No object has the requested id."""


class ConnectionNotFound(AirflowNotFoundException):
    """No connection has this id, neither in the environment nor in the metastore."""


class AirflowRuntimeError(AirflowException):
    """Raised by Airflow 3 when a task requests something that does not exist."""


class VariableNotFound(AirflowNotFoundException, AirflowRuntimeError, KeyError):
    """No variable has this key (a ``KeyError`` too, as in Airflow 2)."""

    __str__ = NbflowError.__str__  # KeyError would show the message's repr


class DagNotFound(AirflowNotFoundException):
    """No DAG has this id."""


class DagRunNotFound(AirflowNotFoundException):
    """No run of the DAG has this id."""


class DagRunAlreadyExists(AirflowException):
    """The DAG has a run with this id or logical date."""


def _listed(what: str, names: Sequence[str], most: int = 8) -> str:
    """``Its tasks: a, b.``"""
    listed = f"Its {what}: {', '.join(names[:most])}{', ...' if len(names) > most else ''}."
    return listed if names else f"It has no {what.split()[-1]}."


class TaskNotFound(AirflowNotFoundException):
    """The DAG has no task with this id."""

    @classmethod
    def among(cls, dag_id: str, task_id: str, known: Iterable[str]) -> TaskNotFound:
        """The error whose hint names the nearest of the ``known`` tasks, otherwise the first of them."""
        names = list(known)
        hint = did_you_mean(task_id.partition("[")[0], names).strip() or _listed("tasks", names)
        return cls(f"DAG {dag_id!r} has no task {task_id!r}.", hint=hint)

    @classmethod
    def or_run(cls, dag_id: str, word: str, tasks: Iterable[str], run_ids: Iterable[str]) -> TaskNotFound:
        """The error for a word that may name a task or a run. Its hint names the nearest of both, otherwise the first
        of both. ``run_ids``: newest first."""
        tasks, run_ids = list(tasks), list(run_ids)
        nearest = {"task": nearest_name(word.partition("[")[0], tasks), "run": nearest_name(word, run_ids)}
        near = " or ".join(f"{kind} {name!r}" for kind, name in nearest.items() if name is not None)
        hint = f"Did you mean {near}?" if near else f"{_listed('tasks', tasks)} {_listed('newest runs', run_ids, 3)}"
        return cls(f"DAG {dag_id!r} has no task or run {word!r}.", hint=hint)


class TaskInstanceNotFound(AirflowNotFoundException):
    """The run has no such task instance."""


class PoolNotFound(AirflowNotFoundException):
    """No pool has this name."""


class XComNotFound(AirflowNotFoundException):
    """An XCom that an argument refers to was not pushed."""


# ------------------------------------------------------------------------------------------------------------- backfill


class BackfillError(AirflowException):
    """A backfill cannot be planned; the message says why."""


class InvalidBackfillDate(BackfillError):
    """A backfill's range ends in the future."""


class InvalidBackfillDateRange(BackfillError, ValueError):
    """A backfill's end is before its start."""


class InvalidBackfillDirection(BackfillError):
    """A DAG whose tasks depend on their past cannot be backfilled backwards."""


class NoBackfillRunsToCreate(BackfillError):
    """No interval of the DAG is in the backfill's range."""


class DagNonPeriodicScheduleException(BackfillError):
    """A DAG without a periodic schedule cannot be backfilled."""


class DagNoScheduleException(DagNonPeriodicScheduleException):
    """A DAG that runs only when triggered cannot be backfilled."""


class InvalidReprocessBehavior(BackfillError):
    """Tasks with depends_on_past need the existing runs of the range to be reprocessed."""


class AlreadyRunningBackfill(BackfillError):
    """The DAG has an unfinished backfill."""


class InvalidIdentifier(AirflowException, ValueError):
    """An id, a name or a key is empty, too long, or has characters that are not allowed."""


class AirflowConfigException(ConfigError, AirflowException):
    """Airflow's name of ``ConfigError``, for DAG code that catches it."""


class AirflowBadRequest(AirflowException):
    """A malformed request to an interface of nbflow."""
