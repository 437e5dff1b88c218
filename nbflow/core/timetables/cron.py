"""The instants at which a cron expression fires, across changes of the UTC offset (DST).

A cron expression matches wall-clock times; runs need instants. croniter finds the next matching *wall* time; this
module maps it to an instant. The rules, which are Airflow's as observed:

1. A wall time that occurs once fires at its instant.
2. A wall time that is skipped (02:30 when clocks go from 2 to 3) fires later by the length of the gap: at 03:30.
3. A wall time that occurs twice fires only the second time.
4. A schedule whose hour field is ``*`` counts elapsed time across the change instead, so that an hourly run neither
   pauses for two hours nor is lost: it continues with the old offset up to its first fire at or after the change, and
   with the new offset from there.

These rules define one set of instants. :meth:`CronClock.next` and :meth:`CronClock.prev` both search that set, so they
are inverse to each other by construction. (Airflow computes the two separately; where they disagree, its data intervals
have gaps, or its schedule stops.)

Far from a change only rule 1 applies, and one croniter call is enough. Near a change, the instants in a window around
it are computed once, cached, and searched.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from copy import copy
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from functools import cache, lru_cache
from typing import Any

from nbflow.errors import did_you_mean

from .base import TimetableInvalid
from .time_zones import as_utc, from_wall, timezone_key, timezone_of, to_wall

PRESETS = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@quarterly": "0 0 1 */3 *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}

FIELDS = ("minute", "hour", "day of month", "month", "day of week", "second", "year")

_WINDOW_REACH = timedelta(hours=27)
"""Largest distance from a change to the end of its window: the size of the change (Samoa skipped a day) and two hours.
"""
_MICROSECOND = timedelta(microseconds=1)
_HOUR = timedelta(hours=1)
_ZERO = timedelta(0)


@dataclass(frozen=True, slots=True)
class CronClock:
    """The instants at which ``expression`` fires in ``zone``. Create it with :func:`cron_clock`, which checks it."""

    expression: str
    zone: tzinfo

    def next(self, after: datetime) -> datetime | None:
        """The first fire after ``after``, in UTC; None if the expression never fires again."""
        return _next_fire(self, as_utc(after))

    def prev(self, before: datetime) -> datetime | None:
        """The last fire before ``before``, or None."""
        return _prev_fire(self, as_utc(before))

    def ceil(self, moment: datetime) -> datetime | None:
        """The first fire at or after ``moment``."""
        return _next_fire(self, as_utc(moment) - _MICROSECOND)

    def floor(self, moment: datetime) -> datetime | None:
        """The last fire at or before ``moment``."""
        return _prev_fire(self, as_utc(moment) + _MICROSECOND)

    @property
    def runs_every_hour(self) -> bool:
        """Whether the hour field is ``*`` (rule 4)."""
        return bool(_iterator(self.expression).expanded[1] == ["*"])


@lru_cache(maxsize=256)
def cron_clock(expression: str, zone: str | int | tzinfo | None = None) -> CronClock:
    """The :class:`CronClock` of a cron expression or preset. Raises :class:`TimetableInvalid`."""
    expression = PRESETS.get(expression.lower(), expression)
    check_cron(expression)
    return CronClock(" ".join(expression.split()), timezone_of(zone))


def check_cron(expression: str) -> None:
    """Raise :class:`TimetableInvalid`, naming the invalid field, unless ``expression`` is a valid cron expression."""
    try:
        _iterator(expression)
    except ValueError as error:
        raise TimetableInvalid(f"Cron expression {expression!r}: {_explain_error(expression, error)}") from error
    if any(part.lower().startswith("r") for part in expression.split()):
        # croniter draws a random number at every parse, so each process would have another schedule.
        raise TimetableInvalid(
            f"Cron expression {expression!r}: a random field (R) is not supported, since its value would differ each "
            "time the DAG is parsed."
        )


def _explain_error(expression: str, error: ValueError) -> str:
    parts = expression.split()
    if expression.startswith("@") or len(parts) == 1:
        presets = [*PRESETS, "@once", "@continuous"]
        nearest = did_you_mean(f"@{expression.strip().lstrip('@')}", presets, cutoff=0.75).strip()
        kind = "unknown preset" if expression.startswith("@") else "neither a preset nor a cron expression of 5 fields"
        return f"{kind}. {nearest}" if nearest else f"{kind}; the presets are {', '.join(presets)}."
    if len(parts) not in (5, 6, 7):
        return (
            f"{len(parts)} fields, but there must be 5 (minute, hour, day of month, month, day of week), "
            "6 (with seconds last) or 7 (with seconds and years last)."
        )
    for position, part in enumerate(parts):
        single_field = ["*"] * len(parts)
        single_field[position] = part
        try:
            _iterator(" ".join(single_field))
        except ValueError as field_error:
            detail = str(field_error).rpartition("] ")[2].rpartition("is not acceptable")[2].strip(" ,.")
            message = f"field {position + 1} ({FIELDS[position]}) {part!r} is not valid"
            return f"{message} ({detail})." if detail else f"{message}."
    return f"{error}"


@cache
def _croniter_class() -> Any:
    # Importing croniter takes tens of milliseconds, which a DAG without a cron schedule need not spend.
    from croniter import croniter

    return croniter


@lru_cache(maxsize=256)
def _iterator(expression: str) -> Any:
    """The parsed expression. It is cached and a search changes it, so copy it before searching."""
    return _croniter_class()(expression, datetime(2000, 1, 1))  # noqa: DTZ001  # wall time, see the head


def _next_wall(expression: str, after: datetime) -> datetime | None:
    """The first matching wall time after the naive ``after``."""
    try:
        wall: datetime = copy(_iterator(expression)).get_next(datetime, start_time=after.replace(microsecond=0))
    except (ValueError, OverflowError):  # CroniterBadDateError: "30 February", or a year field in the past
        return None
    return wall


def _prev_wall(expression: str, before: datetime) -> datetime | None:
    if before.microsecond:
        before = before.replace(microsecond=0) + timedelta(seconds=1)
    try:
        wall: datetime = copy(_iterator(expression)).get_prev(datetime, start_time=before)
    except (ValueError, OverflowError):
        return None
    return wall


# ---------------------------------------------------------------------------------------- instants, by the rules above


@dataclass(frozen=True, slots=True)
class _OffsetChange:
    """A change of the UTC offset, and the window around it in which wall times need rules 2 to 4."""

    at: datetime
    old: timedelta
    new: timedelta

    @property
    def start(self) -> datetime:
        return self.at - abs(self.new - self.old) - 2 * _HOUR

    @property
    def end(self) -> datetime:
        return self.at + abs(self.new - self.old) + 2 * _HOUR


@lru_cache(maxsize=4096)
def _next_fire(clock: CronClock, after: datetime) -> datetime | None:
    if (change := _offset_change_near(clock.zone, after)) is not None:
        fires = _fires_around(clock, change)
        at = bisect_right(fires, after)
        if at < len(fires):
            return fires[at]
        after = change.end
    wall = _next_wall(clock.expression, to_wall(after, clock.zone))
    if wall is None:
        return None
    fire = from_wall(wall, clock.zone)
    if (change := _offset_change_near(clock.zone, fire)) is None:
        return fire
    fires = _fires_around(clock, change)
    at = bisect_right(fires, after)
    return fires[at] if at < len(fires) else _next_fire(clock, change.end + _MICROSECOND)


@lru_cache(maxsize=4096)
def _prev_fire(clock: CronClock, before: datetime) -> datetime | None:
    if (change := _offset_change_near(clock.zone, before)) is not None:
        fires = _fires_around(clock, change)
        at = bisect_left(fires, before)
        if at:
            return fires[at - 1]
        before = change.start
    wall = _prev_wall(clock.expression, to_wall(before, clock.zone))
    if wall is None:
        return None
    fire = from_wall(wall, clock.zone)
    if (change := _offset_change_near(clock.zone, fire)) is None:
        return fire
    fires = _fires_around(clock, change)
    at = bisect_left(fires, before)
    return fires[at - 1] if at else _prev_fire(clock, change.start - _MICROSECOND)


def _offset(zone: tzinfo, instant: datetime) -> timedelta:
    return instant.astimezone(zone).utcoffset() or _ZERO


def _offset_change_near(zone: tzinfo, instant: datetime) -> _OffsetChange | None:
    """The offset change in whose window ``instant`` lies, or None."""
    if zone is UTC or isinstance(zone, timezone):
        return None
    low, high = instant - _WINDOW_REACH, instant + _WINDOW_REACH
    if _offset(zone, low) == _offset(zone, high):
        return None
    # Whole hours, so that calls for neighbouring instants hit the same cache entry.
    change = _find_offset_change(zone, low.replace(minute=0, second=0, microsecond=0), high.replace(microsecond=0))
    return change if change.start <= instant <= change.end else None


@lru_cache(maxsize=1024)
def _find_offset_change(zone: tzinfo, low: datetime, high: datetime) -> _OffsetChange:
    """The offset change between two instants with different offsets, to the second."""
    old, new = _offset(zone, low), _offset(zone, high)
    while high - low > timedelta(seconds=1):
        middle = (low + (high - low) / 2).replace(microsecond=0)
        if _offset(zone, middle) == old:
            low = middle
        else:
            high = middle
    return _OffsetChange(high, old, new)


@lru_cache(maxsize=256)
def _fires_around(clock: CronClock, change: _OffsetChange) -> list[datetime]:
    """All fires in the window of an offset change, in order."""
    old, new = change.old, change.new
    if not clock.runs_every_hour:
        # The wall times cover the window under both offsets; the set merges fires that rule 2 moves onto others.
        walls = _walls(clock.expression, change.start + min(old, new), change.end + max(old, new))
        instants = {from_wall(wall.replace(tzinfo=None), clock.zone) for wall in walls}
        return sorted(fire for fire in instants if change.start <= fire <= change.end)
    ticks = [wall - old for wall in _walls(clock.expression, change.start + old, change.at + old + _HOUR)]
    fires = [tick for tick in ticks if tick < change.at]
    resume = change.at - _MICROSECOND
    if len(fires) < len(ticks):  # rule 4: the first fire at or after the change still uses the old offset
        resume = ticks[len(fires)]
        fires.append(resume)
    later = (wall - new for wall in _walls(clock.expression, resume + new, change.end + new))
    return [*fires, *(fire for fire in later if fire > resume)]


def _walls(expression: str, start: datetime, end: datetime) -> list[datetime]:
    """Matching wall times in ``[start, end]``, as UTC datetimes, so that subtracting an offset gives an instant."""
    walls = []
    wall = _next_wall(expression, start.replace(tzinfo=None) - timedelta(seconds=1))
    limit = end.replace(tzinfo=None)
    while wall is not None and wall <= limit:
        walls.append(wall.replace(tzinfo=UTC))
        wall = _next_wall(expression, wall)
    return walls


def clock_spec(clock: CronClock) -> dict[str, Any]:
    """The arguments of a :class:`CronClock` as JSON."""
    return {"cron": clock.expression, "timezone": timezone_key(clock.zone)}
