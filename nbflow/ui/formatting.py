"""Durations, times and counts as text, the same for pictures, tables, text and widgets.

Every number has its unit and every time its zone; a relative time ("in 21 h") comes with the exact time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from nbflow.views.graph import TaskView
from nbflow.views.shared import between, count, elapsed

__all__ = [
    "When", "between", "brief", "count", "counts_line", "duration", "elapsed", "exact", "next_run", "note", "note_stem",
    "relative", "short_time", "tries", "whole", "zone",
]  # fmt: skip

_STEPS = ((86_400, "d", 3_600, "h"), (3_600, "h", 60, "min"), (60, "min", 1, "s"))


@dataclass(frozen=True, slots=True)
class When:
    """A time relative to now, and exactly."""

    relative: str
    exact: str


def duration(seconds: float | None) -> str:
    """`0.8 s`, `38 s`, `2 min 5 s`, `21 h 26 min`, `3 d 2 h`; None is a dash."""
    if seconds is None:
        return "–"
    seconds = max(0.0, seconds)
    if seconds < 0.0995:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    rounded = round(seconds)
    if rounded < 60:
        return f"{rounded} s"
    for size, unit, small, small_unit in _STEPS:
        if rounded >= size:
            rest = rounded % size // small
            return f"{rounded // size} {unit} {rest} {small_unit}" if rest else f"{rounded // size} {unit}"
    raise AssertionError("the smallest step is a minute")


def whole(seconds: float) -> str:
    """A duration in whole seconds, for texts that change every second: `38 s`, `2 min 5 s`."""
    rounded = max(0, round(seconds))
    return f"{rounded} s" if rounded < 60 else duration(rounded)


def brief(seconds: float) -> str:
    """A duration in its largest unit alone: `38 s`, `5 min`, `3 h`, `2 d`."""
    rounded = max(0, round(seconds))
    for size, unit, *_ in _STEPS:
        if rounded >= size:
            return f"{round(rounded / size)} {unit}"
    return f"{rounded} s"


def exact(at: datetime | None) -> str:
    """`Fri 2026-11-20 06:03:41 CET (05:03:41 UTC)`."""
    if at is None:
        return "–"
    text = f"{at:%a %Y-%m-%d %H:%M:%S} {zone(at)}"
    if not at.utcoffset():
        return text
    utc = at - (at.utcoffset() or timedelta())
    return f"{text} ({utc:%H:%M:%S} UTC)"


def short_time(at: datetime | None) -> str:
    """`2026-11-20 06:03 CET`; with seconds if they are not zero."""
    if at is None:
        return "–"
    clock = "%H:%M:%S" if at.second else "%H:%M"
    return f"{at:%Y-%m-%d} {at.strftime(clock)} {zone(at)}"


def zone(at: datetime) -> str:
    """The zone's abbreviation, or its offset if it has none. Raises ValueError for a naive time."""
    if at.tzinfo is None:
        raise ValueError(f"{at!r} has no time zone")
    name = at.tzname() or ""
    return name if name.isalpha() else f"UTC{at:%z}"[:6] + ":" + f"{at:%z}"[3:5]


def relative(at: datetime | None, now: datetime) -> When:
    """`in 21 h 26 min`, `5 s ago` or `now`, with the exact time."""
    if at is None:
        return When("–", "")
    seconds = between(now, at)
    if abs(seconds) < 1:
        return When("now", exact(at))
    span = whole(abs(seconds))
    return When(f"in {span}" if seconds > 0 else f"{span} ago", exact(at))


def next_run(at: datetime, now: datetime) -> str:
    """`next in 21 h 26 min`, or `next is due` once its time has come."""
    return f"next {relative(at, now).relative}" if at > now else "next is due"


def counts_line(counts: Mapping[str, int]) -> str:
    """`success 4, up_for_retry 1`."""
    return ", ".join(f"{state} {number:,}" for state, number in counts.items()) or "no tasks"


def tries(try_number: int, max_tries: int) -> str:
    """`2 of 4`; empty before the first try."""
    if try_number <= 0:
        return ""
    return f"{try_number} of {max_tries}" if max_tries > 1 else str(try_number)


def note_stem(task: TaskView) -> str:
    """The line below a task's name, without the part that changes with the time."""
    if task.note:
        return task.note
    ran = task.state in ("success", "failed") or (task.state == "skipped" and task.duration)
    if ran and task.duration is not None:
        retried = f" · try {task.try_number}" if task.try_number > 1 else ""
        return duration(task.duration) + retried
    if task.state == "up_for_retry" and task.try_number:
        return f"try {tries(task.try_number + 1, task.max_tries)}"
    if task.state == "running" and task.try_number > 1:
        return f"try {tries(task.try_number, task.max_tries)}"
    return ""


def note(task: TaskView, now: datetime | None = None) -> str:
    """The line below a task's name: `0.8 s`, `try 2 of 4 in 38 s`, `for 12 s`."""
    stem = note_stem(task)
    if task.note or now is None:
        return stem
    if task.due is not None and task.due > now:
        return f"{stem} in {brief(between(now, task.due))}".strip()
    if task.state == "running" and task.since is not None:
        return f"{stem} for {whole(between(task.since, now))}".strip()
    return stem
