"""Timetables: when a DAG runs, and which data interval each run covers.

=====================================  ================================================================
``schedule=``                          timetable
=====================================  ================================================================
``None``, ``[]``                       :class:`NullTimetable`
``"@once"``, ``"@continuous"``         :class:`OnceTimetable`, :class:`ContinuousTimetable`
a cron expression or preset            :class:`CronDataIntervalTimetable`, or :class:`CronTriggerTimetable`
``timedelta``, ``relativedelta``       :class:`DeltaDataIntervalTimetable`, or :class:`DeltaTriggerTimetable`
a :class:`Timetable`                   itself
=====================================  ================================================================

Of the two classes in a row, ``create_cron_data_intervals`` selects one: True (nbflow's default, as in Airflow 2) data
intervals, False (Airflow 3's default) triggers. As in Airflow, the setting applies to deltas too.

``base`` holds the interface, ``cron`` the arithmetic of cron expressions across DST changes, ``deltas`` that of deltas;
``data_interval``, ``trigger`` and ``simple`` are the timetables themselves.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta, tzinfo
from typing import Any

from .base import DagRunInfo, DataInterval, TimeRestriction, Timetable, TimetableInvalid
from .cron import PRESETS, CronClock, cron_clock
from .data_interval import CronDataIntervalTimetable, DeltaDataIntervalTimetable
from .simple import ContinuousTimetable, EventsTimetable, NullTimetable, OnceTimetable, RecordedTimetable
from .time_zones import InvalidTimezone, as_utc, timezone_key, timezone_of
from .trigger import CronTriggerTimetable, DeltaTriggerTimetable, MultipleCronTriggerTimetable

__all__ = [
    "PRESETS",
    "ContinuousTimetable",
    "CronClock",
    "CronDataIntervalTimetable",
    "CronTriggerTimetable",
    "CustomTimetableNotLoaded",
    "DagRunInfo",
    "DataInterval",
    "DeltaDataIntervalTimetable",
    "DeltaTriggerTimetable",
    "EventsTimetable",
    "InvalidTimezone",
    "MultipleCronTriggerTimetable",
    "NullTimetable",
    "OnceTimetable",
    "RecordedTimetable",
    "TimeRestriction",
    "Timetable",
    "TimetableInvalid",
    "as_utc",
    "cron_clock",
    "timetable_from_schedule",
    "timetable_from_spec",
    "timezone_key",
    "timezone_of",
]

_BY_KIND = {
    cls.kind: cls
    for cls in (
        NullTimetable,
        OnceTimetable,
        ContinuousTimetable,
        EventsTimetable,
        CronDataIntervalTimetable,
        CronTriggerTimetable,
        MultipleCronTriggerTimetable,
        DeltaDataIntervalTimetable,
        DeltaTriggerTimetable,
    )
}

_BY_PRESET = {"@once": OnceTimetable, "@continuous": ContinuousTimetable}


class CustomTimetableNotLoaded(TimetableInvalid):
    """The stored timetable is a custom class. Only a process that runs user code may import it."""


def timetable_from_schedule(
    schedule: Any, timezone: str | tzinfo | None = None, *, create_cron_data_intervals: bool = True
) -> Timetable:
    """The timetable of a DAG's ``schedule=`` argument. ``timezone`` is that of the DAG, for plain cron strings.

    Raises :class:`TimetableInvalid` for an invalid cron expression or delta, ValueError for any other invalid value.
    """
    match schedule:
        case None | []:
            return NullTimetable()
        case Timetable():
            schedule.validate()
            return schedule
        case str() if schedule in _BY_PRESET:
            return _BY_PRESET[schedule]()
        case str():
            zone = timezone_of(timezone)
            if create_cron_data_intervals:
                return CronDataIntervalTimetable(schedule, zone)
            return CronTriggerTimetable(schedule, timezone=zone)
    # relativedelta is recognised by its name: importing dateutil for a DAG without one would cost milliseconds.
    if isinstance(schedule, timedelta) or type(schedule).__name__ == "relativedelta":
        return DeltaDataIntervalTimetable(schedule) if create_cron_data_intervals else DeltaTriggerTimetable(schedule)
    raise ValueError(
        f"{schedule!r} is not a valid schedule. Give None, a cron expression or preset, a timedelta, a relativedelta "
        "or a Timetable."
    )


def timetable_from_spec(spec: Mapping[str, Any]) -> Timetable:
    """Inverse of ``to_spec()``.

    A custom timetable is not imported, since that would run user code: the process that parses DAGs adds a record of
    its next runs to the spec (:meth:`RecordedTimetable.record`), and the scheduler uses the record. Raises
    :class:`CustomTimetableNotLoaded` for a custom timetable without a record, :class:`TimetableInvalid` for an unknown
    kind.
    """
    kind = spec["kind"]
    if kind == "custom":
        if "runs" in spec:
            return RecordedTimetable(spec)
        raise CustomTimetableNotLoaded(
            f"{spec['class']} is a custom timetable: use the runs that were stored when the DAG was parsed."
        )
    if kind not in _BY_KIND:
        raise TimetableInvalid(f"Unknown kind of timetable {kind!r}; known are {', '.join(_BY_KIND)}, custom.")
    timetable: Timetable = _BY_KIND[kind].from_spec(spec)
    return timetable
