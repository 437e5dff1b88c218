"""Timetables with data intervals: each run covers the interval since the previous one, and is due at its end.

The intervals are contiguous: between the fires of a cron expression, or of equal length. With catchup off, the first
run covers the latest complete interval.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, tzinfo
from typing import Any, Self

from .base import DagRunInfo, DataInterval, TimeRestriction, Timetable
from .cron import CronClock, clock_spec, cron_clock
from .cron_descriptions import describe_cron
from .deltas import (
    EPOCH,
    Step,
    check_step,
    describe_frequency,
    describe_step,
    fixed_length,
    step_from_json,
    step_to_json,
)


class _DataIntervalTimetable(Timetable):
    """The rule that both timetables share; they differ in where intervals start."""

    def _next(self, start: datetime) -> datetime | None:
        """The end of the interval that starts at ``start``."""
        raise NotImplementedError

    def _first_from(self, moment: datetime) -> datetime | None:
        """The start of the first whole interval at or after ``moment``."""
        raise NotImplementedError

    def _latest_complete(self, now: datetime, earliest: datetime | None) -> datetime | None:
        """The start of the latest interval that has ended at ``now``."""
        raise NotImplementedError

    def _resume(self, last: DataInterval) -> datetime | None:
        """The start of the interval after ``last``, which may come from another schedule, before it was changed."""
        raise NotImplementedError

    def next_dagrun_info(
        self, *, last_automated_data_interval: DataInterval | None, restriction: TimeRestriction
    ) -> DagRunInfo | None:
        earliest = restriction.earliest
        candidates = [None if earliest is None else self._first_from(earliest)]
        if not restriction.catchup:
            candidates.append(self._latest_complete(restriction.require_now(), earliest))
        if last_automated_data_interval is not None:
            candidates.append(self._resume(last_automated_data_interval))
        start = max((candidate for candidate in candidates if candidate is not None), default=None)
        if start is None or not restriction.allows(start):
            return None
        end = self._next(start)
        return None if end is None else DagRunInfo.interval(start, end)


class CronDataIntervalTimetable(_DataIntervalTimetable):
    """Intervals from one fire of a cron expression to the next."""

    kind = "cron_interval"

    def __init__(self, cron: str, timezone: str | tzinfo = "UTC") -> None:
        self._cron = cron.strip()
        self._clock = cron_clock(cron, timezone)

    @property
    def clocks(self) -> tuple[CronClock, ...]:
        """The clock of the cron expression."""
        return (self._clock,)

    def _next(self, start: datetime) -> datetime | None:
        return self._clock.next(start)

    def _first_from(self, moment: datetime) -> datetime | None:
        return self._clock.ceil(moment)

    def _latest_complete(self, now: datetime, earliest: datetime | None) -> datetime | None:
        end = self._clock.floor(now)
        return None if end is None else self._clock.prev(end)

    def _resume(self, last: DataInterval) -> datetime | None:
        # If the schedule was changed, the first interval is shorter: from the end of the last run to the next fire. A
        # whole interval would repeat hours that runs of the old schedule have covered (Airflow does that, and two runs
        # may then have the same logical date), or would omit hours.
        return last.end

    def infer_manual_data_interval(self, *, run_after: datetime) -> DataInterval:
        """The latest complete interval."""
        end = self._clock.floor(run_after)
        start = None if end is None else self._clock.prev(end)
        return DataInterval.exact(run_after) if start is None or end is None else DataInterval(start, end)

    @property
    def summary(self) -> str:
        return self._cron

    def describe(self) -> str:
        return describe_cron(self._clock)

    def _arguments(self) -> dict[str, Any]:
        return {**clock_spec(self._clock), "cron": self._cron}

    @classmethod
    def from_spec(cls, spec: Mapping[str, Any]) -> Self:
        """Inverse of :meth:`to_spec`."""
        return cls(spec["cron"], spec["timezone"])


class DeltaDataIntervalTimetable(_DataIntervalTimetable):
    """Intervals of equal length from the start date on.

    With catchup off, as in Airflow, deltas of a fixed length are counted from 1970-01-01 UTC instead, so that daily
    intervals start at midnight whatever the time of day of the start date; calendar deltas from the start date.
    """

    kind = "delta_interval"

    def __init__(self, delta: Step) -> None:
        self._delta = check_step(delta)

    def _next(self, start: datetime) -> datetime | None:
        return start + self._delta

    def _first_from(self, moment: datetime) -> datetime | None:
        return moment

    def _latest_complete(self, now: datetime, earliest: datetime | None) -> datetime | None:
        length = fixed_length(self._delta)
        if length is not None:
            return EPOCH + ((now - EPOCH) // length - 1) * length
        # Subtracting a calendar delta need not give the previous start (31 March minus a month): iterate forward.
        start = EPOCH if earliest is None else earliest
        while (end := start + self._delta) + self._delta <= now and end > start:
            start = end
        return start

    def _resume(self, last: DataInterval) -> datetime | None:
        return last.end

    def infer_manual_data_interval(self, *, run_after: datetime) -> DataInterval:
        """The interval of one delta that ends at ``run_after``."""
        return DataInterval(run_after - self._delta, run_after)

    @property
    def summary(self) -> str:
        return describe_step(self._delta)

    def describe(self) -> str:
        return describe_frequency(self._delta)

    def _arguments(self) -> dict[str, Any]:
        return {"delta": step_to_json(self._delta)}

    @classmethod
    def from_spec(cls, spec: Mapping[str, Any]) -> Self:
        """Inverse of :meth:`to_spec`."""
        return cls(step_from_json(spec["delta"]))
