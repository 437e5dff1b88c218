"""Schedules that are valid and almost certainly not meant: the loader warns of them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from .base import Timetable
from .cron import CronClock
from .data_interval import CronDataIntervalTimetable
from .deltas import EPOCH
from .trigger import MultipleCronTriggerTimetable


def likely_mistakes(schedule: Any, timetable: Timetable) -> Iterator[str]:
    """A sentence for each likely mistake in ``schedule``, the value that the user wrote, and its timetable."""
    if isinstance(schedule, timedelta):
        yield from _calendar_duration(schedule)
    if isinstance(timetable, CronDataIntervalTimetable | MultipleCronTriggerTimetable):
        for clock in timetable.clocks:
            yield from _unusual_cron(clock)


def _calendar_duration(duration: timedelta) -> Iterator[str]:
    """pendulum's Duration is a timedelta, in which a month has 30 days and a year 365."""
    parts = {name: value for name in ("years", "months") if (value := getattr(duration, name, 0))}
    if parts:
        arguments = ", ".join(f"{name}={value}" for name, value in parts.items())
        yield (
            f"duration({arguments}) is always {duration.total_seconds() / 86_400:g} days. For calendar months, write "
            f"relativedelta({arguments}) or a cron expression."
        )


def _unusual_cron(clock: CronClock) -> Iterator[str]:
    if clock.next(EPOCH) is None:
        yield f"cron expression {clock.expression!r} never fires: no date matches it."
        return
    fields = clock.expression.split()
    if len(fields) < 6 or fields[5].isdigit():
        return
    meant = " ".join(fields[1:6])
    yield (
        f"cron expression {clock.expression!r} fires several times a minute: its sixth field is the seconds. If its "
        f"first field is meant to be the seconds, write {meant!r}."
    )
