"""Steps between runs: a ``timedelta``, or a ``relativedelta`` (months and years, which have no fixed length).

Steps are added in UTC, as in Airflow: a day is 24 hours also across a DST change.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeAlias

from .base import TimetableInvalid

if TYPE_CHECKING:
    from dateutil.relativedelta import relativedelta

Step: TypeAlias = "timedelta | relativedelta"

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_CALENDAR = ("years", "months")
_RELATIVE = ("years", "months", "days", "hours", "minutes", "seconds", "microseconds")
_ABSOLUTE = ("year", "month", "day", "hour", "minute", "second", "microsecond")
_UNITS = {"year": "years", "month": "months", "day": "days", "hour": "hours", "minute": "minutes", "second": "seconds"}
"""Absolute part -> relative part of the same unit, largest first."""
_PROBED_YEARS = 28
"""After 28 years, every month has begun on every day of the week."""
_PROBE = datetime(2001, 1, 1, tzinfo=UTC)
_LAST_PROBE = datetime(9000, 12, 31, tzinfo=UTC)


def check_step(step: Step) -> Step:
    """Return ``step``. Raises :class:`TimetableInvalid` unless it is positive from every date."""
    try:
        stuck = _PROBE if _PROBE + step <= _PROBE else _date_without_progress(step)
    except (OverflowError, ValueError) as error:
        raise TimetableInvalid(f"schedule interval {step!r} cannot be added to a date: {error}.") from error
    if stuck is not None and (isinstance(step, timedelta) or stuck == _PROBE):
        raise TimetableInvalid(f"schedule interval must be positive, not {step!r}.")
    if stuck is not None:
        raise TimetableInvalid(
            f"schedule interval {step!r} must be positive from every date: from {stuck:%Y-%m-%d %H:%M:%S} it leads to "
            f"{stuck + step:%Y-%m-%d %H:%M:%S}. Add a larger unit to it, such as relativedelta(months=1, day=31), or "
            "write a cron expression."
        )
    return step


@lru_cache(maxsize=64)
def _date_without_progress(step: Step) -> datetime | None:
    """A date that ``step`` does not lead past, or None."""
    if isinstance(step, timedelta) or _is_always_positive(step):
        return None
    for day in range(_PROBED_YEARS * 366):
        date = _PROBE + timedelta(days=day)
        at_set_time = date + timedelta(
            hours=step.hour or 0, minutes=step.minute or 0, seconds=step.second or 0, microseconds=step.microsecond or 0
        )
        for probe in (date, at_set_time, date + timedelta(days=1, microseconds=-1)):
            if probe + step <= probe:
                return probe
    return _LAST_PROBE if _LAST_PROBE + step <= _LAST_PROBE else None


def _is_always_positive(step: relativedelta) -> bool:
    """Whether the parts of the step prove that it is positive: nothing in it goes back, and it adds a unit that is
    larger than all units that it sets. False: it may be positive, or not."""
    if any(getattr(step, name) < 0 for name in (*_RELATIVE, "leapdays")):
        return False
    if step.weekday is not None and (step.weekday.n or 1) < 0:
        return False
    units = [*_UNITS.items(), ("microsecond", "microseconds")]
    largest_set = next((index for index, (name, _) in enumerate(units) if getattr(step, name) is not None), len(units))
    return any(getattr(step, relative) > 0 for _, relative in units[:largest_set])


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
