"""Steps between runs: a ``timedelta``, or a ``relativedelta`` (months and years, which have no fixed length).

Steps are added in UTC, as in Airflow: a day is 24 hours also across a DST change.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeAlias

from .base import TimetableInvalid

if TYPE_CHECKING:
    from dateutil.relativedelta import relativedelta

Step: TypeAlias = "timedelta | relativedelta"

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_CALENDAR = ("years", "months")
_RELATIVE = ("years", "months", "days", "hours", "minutes", "seconds", "microseconds")
_ABSOLUTE = ("year", "month", "day", "hour", "minute", "second", "microsecond")
_PROBE = datetime(2001, 1, 1, tzinfo=UTC)
"""The start of a month of 31 days, followed by one of 28: a step that is positive anywhere is positive from here."""


def check_step(step: Step) -> Step:
    """Return ``step``. Raises :class:`TimetableInvalid` unless it is positive."""
    try:
        is_positive = _PROBE + step > _PROBE
    except (OverflowError, ValueError) as error:
        raise TimetableInvalid(f"schedule interval {step!r} cannot be added to a date: {error}.") from error
    if not is_positive:
        raise TimetableInvalid(f"schedule interval must be positive, not {step!r}.")
    return step


def fixed_length(step: Step) -> timedelta | None:
    """The step's length, or None if it depends on the calendar."""
    if isinstance(step, timedelta):
        return step
    if any(getattr(step, name) for name in _CALENDAR) or step.leapdays or step.weekday is not None:
        return None
    if any(getattr(step, name) is not None for name in _ABSOLUTE):
        return None
    return timedelta(**{name: getattr(step, name) for name in _RELATIVE if name not in _CALENDAR})


def latest_on_grid(step: Step, anchor: datetime, moment: datetime) -> datetime:
    """The latest of ``anchor``, ``anchor + step``, ... that is ``<= moment``; ``anchor`` if that is later.

    Calendar steps are added one by one, so that the dates are those of consecutive runs (by months from 31 January:
    29 February, 29 March).
    """
    if moment <= anchor:
        return anchor
    length = fixed_length(step)
    if length is not None:
        return anchor + (moment - anchor) // length * length
    point = anchor
    while (following := point + step) <= moment and following > point:
        point = following
    return point


def step_to_json(step: Step) -> dict[str, Any]:
    """A step as JSON, without loss; the inverse is :func:`step_from_json`."""
    if isinstance(step, timedelta):
        parts = {"days": step.days, "seconds": step.seconds, "microseconds": step.microseconds}
        return {"timedelta": {name: value for name, value in parts.items() if value}}
    names = [*_RELATIVE, "leapdays"]
    data = {name: getattr(step, name) for name in names if getattr(step, name)}
    data |= {name: getattr(step, name) for name in _ABSOLUTE if getattr(step, name) is not None}
    if step.weekday is not None:
        data["weekday"] = [step.weekday.weekday, step.weekday.n]
    return {"relativedelta": data}


def step_from_json(data: Mapping[str, Any]) -> Step:
    """Inverse of :func:`step_to_json`."""
    if "timedelta" in data:
        return timedelta(**data["timedelta"])
    from dateutil.relativedelta import relativedelta, weekday

    parts = dict(data["relativedelta"])
    if "weekday" in parts:
        parts["weekday"] = weekday(*parts["weekday"])
    return relativedelta(**parts)


def describe_step(step: Step) -> str:
    """The step in words: "1 day", "2 hours 30 minutes"."""
    if isinstance(step, timedelta):
        minutes, seconds = divmod(step.seconds, 60)
        hours, minutes = divmod(minutes, 60)
        parts: dict[str, float] = {"day": step.days, "hour": hours, "minute": minutes}
        parts["second"] = seconds + step.microseconds / 1e6
    else:
        parts = {name.removesuffix("s"): getattr(step, name) for name in _RELATIVE}
    words = [f"{value:g} {name}{'' if value == 1 else 's'}" for name, value in parts.items() if value]
    return " ".join(words) or repr(step)


def describe_frequency(step: Step) -> str:
    """ "every day", "every 2 hours"."""
    words = describe_step(step)
    return f"every {words.removeprefix('1 ') if words.count(' ') == 1 else words}"
