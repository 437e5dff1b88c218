"""Cron expressions in words, for the common forms; the expression itself for the others."""

from __future__ import annotations

import re

from .cron import CronClock
from .time_zones import timezone_key

_DAYS = ("Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday")
_MONTHS = (
    "January", "February", "March", "April", "May", "June",
    "July", "August", "September", "October", "November", "December",
)  # fmt: skip
_NAMES = {name[:3].lower(): index for index, name in enumerate(_DAYS)}
_NAMES_OF_MONTHS = {name[:3].lower(): index for index, name in enumerate(_MONTHS, start=1)}

_NEEDS_ZONE = re.compile(r"\d\d:\d\d| on ")
"""A time of day or a date depends on the time zone; "every 5 minutes" does not."""


def describe_cron(clock: CronClock) -> str:
    """A phrase such as "every Monday at 06:00 Europe/Berlin"."""
    fields = clock.expression.lower().split()
    phrase = _phrase(fields) if len(fields) == 5 else None
    zone = timezone_key(clock.zone)
    zone_text = zone if isinstance(zone, str) else _offset_text(zone)
    if phrase is None:
        return f'by cron "{clock.expression}" {zone_text}'
    return f"{phrase} {zone_text}" if _NEEDS_ZONE.search(phrase) else phrase


def _phrase(fields: list[str]) -> str | None:
    minute, hour, day, month, weekday = ("*" if field == "?" else field for field in fields)
    days = _days(day, month, weekday)
    if days is None:
        return None
    on = "" if days == "day" else f" on {days}"
    if hour == "*":
        if minute == "*":
            return f"every minute{on}"
        if (every := re.fullmatch(r"\*/(\d+)", minute)) is not None:
            return f"every {every[1]} minutes{on}"
        numbers = _numbers(minute)
        return None if numbers is None else f"every hour at {_join([f':{m:02d}' for m in numbers])}{on}"
    hours, minutes = _numbers(hour), _numbers(minute)
    if (every := re.fullmatch(r"\*/(\d+)", hour)) is not None and minutes == [0]:
        return f"every {every[1]} hours{on}"
    if hours is None or minutes is None or len(hours) * len(minutes) > 4:
        return None
    times = _join([f"{h:02d}:{m:02d}" for h in hours for m in minutes])
    return f"every {days} at {times}" if not days.startswith("the ") else f"on {days} at {times}"


def _days(day: str, month: str, weekday: str) -> str | None:
    """ "day", "Monday and Friday", "weekday", "the 1st of every month" ..., or None for other combinations."""
    if day == month == weekday == "*":
        return "day"
    if day == month == "*":
        if weekday in {"1-5", "mon-fri"}:
            return "weekday"
        numbers = _numbers(weekday, _NAMES)
        return None if numbers is None else _join([_DAYS[n % 7] for n in numbers])
    if weekday == "*":
        days = ["last day"] if day == "l" else [_ordinal(n) for n in _numbers(day) or []]
        if not days:
            return None
        if (every := re.fullmatch(r"\*/(\d+)", month)) is not None:
            return f"the {_join(days)} of every {_ordinal(int(every[1]))} month"
        if month == "*":
            return f"the {_join(days)} of every month"
        months = _numbers(month, _NAMES_OF_MONTHS)
        return None if months is None else f"the {_join(days)} of {_join([_MONTHS[n - 1] for n in months])}"
    return None


def _numbers(field: str, names: dict[str, int] | None = None) -> list[int] | None:
    """The values of a plain list such as "1,15", or None."""
    values = [str((names or {}).get(part, part)) for part in field.split(",")]
    return [int(value) for value in values] if all(value.isdigit() for value in values) else None


def _ordinal(number: int) -> str:
    ending = "th" if 10 <= number % 100 <= 20 else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"


def _join(words: list[str]) -> str:
    return " and ".join([", ".join(words[:-1]), words[-1]]) if len(words) > 1 else words[0]


def _offset_text(seconds: int) -> str:
    sign = "-" if seconds < 0 else "+"
    return f"UTC{sign}{abs(seconds) // 3600:02d}:{abs(seconds) % 3600 // 60:02d}"
