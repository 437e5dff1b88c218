"""Time zones by IANA name, and conversions between wall-clock times and UTC.

Names and ``tzinfo`` objects of other libraries are converted to ``zoneinfo`` (or a fixed offset), so that equal zones
compare equal and a zone can be stored as text.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone, tzinfo
from functools import lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

_ZERO = timedelta(0)


class InvalidTimezone(ValueError):
    """The text is not an IANA time zone. Pendulum, and so Airflow, raises an error with this name."""


@lru_cache(maxsize=256)
def _zone_by_name(name: str) -> tzinfo:
    if name.upper() in {"UTC", "Z", "ETC/UTC"}:
        return UTC
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise InvalidTimezone(f"{name!r} is not an IANA time zone such as 'Europe/Berlin'.") from error


def timezone_of(value: str | int | tzinfo | None) -> tzinfo:
    """A zone from a name, an offset in seconds, or any library's ``tzinfo``; None is UTC.

    Raises :class:`InvalidTimezone` for an unknown name ("+05:30" is an offset, not a zone: pass
    ``datetime.timezone(timedelta(hours=5, minutes=30))`` for a fixed offset).
    """
    match value:
        case None:
            return UTC
        case str():
            return _zone_by_name(value)
        case int():
            return UTC if value == 0 else timezone(timedelta(seconds=value))
        case timezone():
            return value
    # zoneinfo and pendulum zones have `key`, pytz ones `zone`; a fixed offset of pendulum or dateutil has neither.
    name = getattr(value, "key", None) or getattr(value, "zone", None)
    if isinstance(name, str):
        return _zone_by_name(name)
    offset = value.utcoffset(None) or value.utcoffset(datetime(2000, 1, 1))  # noqa: DTZ001  # wall time
    return timezone_of(int((offset or _ZERO).total_seconds()))


def timezone_key(zone: tzinfo) -> str | int:
    """Inverse of :func:`timezone_of`: the name, or a fixed offset in seconds."""
    name = getattr(zone, "key", None)
    if isinstance(name, str):
        return name
    seconds = int((zone.utcoffset(None) or _ZERO).total_seconds())
    return seconds or "UTC"


def as_utc(moment: datetime, zone: tzinfo = UTC) -> datetime:
    """``moment`` as an aware standard-library datetime in UTC. A naive one is wall-clock time in ``zone``.

    Pendulum's datetimes are converted too: the core has one type, without pendulum's arithmetic across DST changes.
    """
    if moment.tzinfo is None:
        return from_wall(moment, zone)
    utc = moment.astimezone(UTC)
    if type(utc) is datetime:
        return utc
    return datetime(utc.year, utc.month, utc.day, utc.hour, utc.minute, utc.second, utc.microsecond, tzinfo=UTC)


def from_wall(wall: datetime, zone: tzinfo) -> datetime:
    """The UTC instant of a naive wall-clock time: of a time that occurs twice, the second; of a time that is skipped,
    the one later by the length of the gap (02:30 becomes 03:30)."""
    first = wall.replace(tzinfo=zone, fold=0)
    second = first.replace(fold=1)
    if second.utcoffset() < first.utcoffset():  # type: ignore[operator]  # a zone always has an offset here
        return second.astimezone(UTC)
    return first.astimezone(UTC)


def to_wall(instant: datetime, zone: tzinfo) -> datetime:
    """The naive wall-clock time in ``zone`` at ``instant``."""
    return instant.astimezone(zone).replace(tzinfo=None, fold=0)
