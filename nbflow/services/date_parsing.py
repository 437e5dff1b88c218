"""Dates that users type: ISO 8601 with or without time and offset, now, today, yesterday and tomorrow."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, tzinfo

from nbflow.core.timetables.time_zones import as_utc

_DAY_OFFSETS = {"today": 0, "yesterday": -1, "tomorrow": 1}


def parse_date(text: str, *, zone: tzinfo = UTC, now: datetime | None = None) -> datetime:
    """An aware datetime in UTC. Text without an offset is wall-clock time in ``zone``; the words ``now``, ``today``,
    ``yesterday`` and ``tomorrow`` need the argument ``now``. Raises ValueError, whose text shows the accepted
    formats."""
    word = text.strip().lower()
    if now is not None and word == "now":
        return now.astimezone(UTC)
    if now is not None and word in _DAY_OFFSETS:
        day = now.astimezone(zone).replace(hour=0, minute=0, second=0, microsecond=0, tzinfo=None)
        return as_utc(day + timedelta(days=_DAY_OFFSETS[word]), zone)
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError:
        raise ValueError(
            f"{text!r} is not a date. Give one like 2024-01-31, 2024-01-31T06:00 or 2024-01-31T06:00:00+01:00."
        ) from None
    return as_utc(moment, zone)
