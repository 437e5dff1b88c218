"""Events of attempts: only by them do executors, workers and the triggerer change task instances.

Each event carries the id of its attempt. An event of an attempt that is no longer the instance's current one changes
nothing: :func:`nbflow.core.event_handlers.handle_event` returns an empty plan with the reason (``refused``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from nbflow.core.states import Cause


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """A worker started the attempt."""

    attempt_id: str
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Succeeded:
    """The task's code returned."""

    attempt_id: str
    at: datetime
    started_at: datetime | None = None
    length: int | None = None
    follow: tuple[str, ...] | None = None
    """A branch's choice: ids of the tasks to follow; None: no branch."""
    skip: Literal["none", "direct", "all"] = "none"
    """Short circuit: skip the direct downstream tasks, or all downstream tasks; never teardowns."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SkippedItself:
    """The task's code raised AirflowSkipException."""

    attempt_id: str
    at: datetime
    started_at: datetime | None = None
    message: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """The attempt failed. ``retry`` False forbids a retry (AirflowFailException, a sensor's timeout, a kill)."""

    attempt_id: str
    at: datetime
    cause: Cause = Cause.RAISED
    error: str = ""
    """One line: the exception's class and message, or how the process ended."""
    retry: bool = True
    started_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Rescheduled:
    """A sensor in reschedule mode releases its slot until its next check at ``until``."""

    attempt_id: str
    at: datetime
    until: datetime
    started_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Deferred:
    """The task is deferred to the triggerer. ``trigger`` is data: a registered name and JSON arguments."""

    attempt_id: str
    at: datetime
    trigger: Mapping[str, Any]
    next_method: str
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    timeout_at: datetime | None = None
    started_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TriggerFired:
    """The trigger of a deferred attempt fired."""

    attempt_id: str
    at: datetime
    payload: Any = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DispatchLost:
    """The executor never started the attempt (it died between the commit and the submit)."""

    attempt_id: str
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class KilledToRestart:
    """The process of a cleared (restarting) attempt has ended."""

    attempt_id: str
    at: datetime


Event = (
    Started
    | Succeeded
    | SkippedItself
    | Failed
    | Rescheduled
    | Deferred
    | TriggerFired
    | DispatchLost
    | KilledToRestart
)
"""An event of an attempt."""
