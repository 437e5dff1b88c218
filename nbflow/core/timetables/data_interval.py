"""Timetables with data intervals: each run is about the period since the last one, and is due when the period is over.

The periods lie end to end on a grid: the fires of a cron expression, or equal steps. With catchup off, the first run is
about the last period that is complete at present.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, tzinfo
from typing import Any, Self

from .base import DagRunInfo, DataInterval, TimeRestriction, Timetable
from .cron import clock_spec, cron_clock
from .cron_descriptions import describe_cron
from .deltas import EPOCH, Step, check_step, describe_every, describe_step, fixed_length, step_from_json, step_to_json


class _Grid(Timetable):
    """The rule that both kinds share; they differ in where the periods begin."""

    def _next(self, start: datetime) -> datetime | None:
        """The end of the period that begins at ``start``."""
        raise NotImplementedError

    def _first_from(self, moment: datetime) -> datetime | None:
        """The beginning of the first whole period at or after ``moment``."""
        raise NotImplementedError

    def _latest_complete(self, now: datetime, earliest: datetime | None) -> datetime | None:
        """The beginning of the last period that is over at ``now``."""
        raise NotImplementedError

    def _resume(self, last: DataInterval) -> datetime | None:
        """The beginning of the period after ``last``. It may have been made by another schedule, before a change."""
        raise NotImplementedError

    def next_dagrun_info(
        self, *, last_automated_data_interval: DataInterval | None, restriction: TimeRestriction
    ) -> DagRunInfo | None:
        earliest = restriction.earliest
        candidates = [None if earliest is None else self._first_from(earliest)]
        if not restriction.catchup:
            candidates.append(self._latest_complete(restriction.present(), earliest))
        if last_automated_data_interval is not None:
            candidates.append(self._resume(last_automated_data_interval))
        start = max((candidate for candidate in candidates if candidate is not None), default=None)
        if start is None or not restriction.allows(start):
            return None
        end = self._next(start)
        return None if end is None else DagRunInfo.interval(start, end)


class CronDataIntervalTimetable(_Grid):
    """Periods from one fire of a cron expression to the next."""

    kind = "cron_interval"

    def __init__(self, cron: str, timezone: str | tzinfo = "UTC") -> None:
        self._cron = cron.strip()
        self._clock = cron_clock(cron, timezone)

    def _next(self, start: datetime) -> datetime | None:
        return self._clock.next(start)

    def _first_from(self, moment: datetime) -> datetime | None:
        return self._clock.ceil(moment)

    def _latest_complete(self, now: datetime, earliest: datetime | None) -> datetime | None:
        end = self._clock.floor(now)
        return None if end is None else self._clock.prev(end)

    def _resume(self, last: DataInterval) -> datetime | None:
        # On the grid, unless the schedule was changed. Then the first period is the rest of one: from where the last
        # run ended to the next fire. A whole one would be about hours that runs of the old schedule have covered
        # (Airflow does that, and then two runs may bear one logical date), or leave hours out.
        return last.end

    def infer_manual_data_interval(self, *, run_after: datetime) -> DataInterval:
        """The last complete period."""
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
        """The timetable whose :meth:`to_spec` gave ``spec``."""
        return cls(spec["cron"], spec["timezone"])


class DeltaDataIntervalTimetable(_Grid):
    """Periods of equal length from the start date on.

    With catchup off the grid is another, as in Airflow: steps of a fixed length are counted from 1970-01-01 UTC, so
    that daily periods begin at midnight whatever the start date's time of day; calendar steps from the start date.
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
        # A step back from a point need not be the point before (31 March less a month), so walk up to it.
        start = EPOCH if earliest is None else earliest
        while (end := start + self._delta) + self._delta <= now and end > start:
            start = end
        return start

    def _resume(self, last: DataInterval) -> datetime | None:
        return last.end

    def infer_manual_data_interval(self, *, run_after: datetime) -> DataInterval:
        """The step that ends at the trigger."""
        return DataInterval(run_after - self._delta, run_after)

    @property
    def summary(self) -> str:
        return describe_step(self._delta)

    def describe(self) -> str:
        return describe_every(self._delta)

    def _arguments(self) -> dict[str, Any]:
        return {"delta": step_to_json(self._delta)}

    @classmethod
    def from_spec(cls, spec: Mapping[str, Any]) -> Self:
        """The timetable whose :meth:`to_spec` gave ``spec``."""
        return cls(step_from_json(spec["delta"]))
