"""Timetables that trigger at points in time. A run's data interval is empty, or a fixed ``interval`` that ends there.

With catchup off, all missed triggers except the latest are skipped. ``earliest`` and ``latest`` apply to the trigger's
time, not to the interval before it.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta, tzinfo
from typing import Any, Self

from .base import DagRunInfo, DataInterval, TimeRestriction, Timetable, TimetableInvalid
from .cron import CronClock, cron_clock
from .cron_descriptions import describe_cron
from .deltas import Step, check_step, describe_frequency, describe_step, latest_on_grid, step_from_json, step_to_json
from .time_zones import timezone_key, timezone_of

_GRACE_DIVISOR = 10
_MIN_GRACE = timedelta(minutes=5)
"""Without a start date, the latest past fire still gets a run within a tenth of the gap between fires, and within at
least five minutes."""

_NO_INTERVAL = timedelta(0)


class _TriggerTimetable(Timetable):
    """Shared by all trigger timetables: the run at a point in time, and the interval before it."""

    _interval: Step

    def _run_at(self, moment: datetime | None, restriction: TimeRestriction) -> DagRunInfo | None:
        if moment is None or not restriction.allows(moment):
            return None
        return DagRunInfo.interval(moment - self._interval, moment)

    def infer_manual_data_interval(self, *, run_after: datetime) -> DataInterval:
        """The interval that ends at ``run_after``."""
        return DataInterval(run_after - self._interval, run_after)


class MultipleCronTriggerTimetable(_TriggerTimetable):
    """Triggers whenever one of several cron expressions fires; once if several fire together.

    ``run_immediately`` applies to a DAG without a start date and without runs: whether the latest past fire gets a run
    too. True: yes. A timedelta: only if the fire is not older than that. False or None: only if it is not older than a
    tenth of the gap between fires (at least five minutes); for False, Airflow's code does this, unlike its
    documentation.
    """

    kind = "multi_cron_trigger"

    def __init__(
        self,
        *crons: str,
        timezone: str | tzinfo,
        interval: Step = _NO_INTERVAL,
        run_immediately: bool | timedelta | None = False,
    ) -> None:
        if not crons:
            raise TimetableInvalid("MultipleCronTriggerTimetable needs at least one cron expression.")
        self._crons = tuple(cron.strip() for cron in crons)
        self._timezone = timezone_of(timezone)
        self._clocks: tuple[CronClock, ...] = tuple(cron_clock(cron, self._timezone) for cron in crons)
        self._interval = interval
        self._run_immediately = run_immediately

    @property
    def clocks(self) -> tuple[CronClock, ...]:
        """The clocks of the cron expressions."""
        return self._clocks

    def _next(self, after: datetime) -> datetime | None:
        return min(filter(None, (clock.next(after) for clock in self._clocks)), default=None)

    def _ceil(self, moment: datetime) -> datetime | None:
        return min(filter(None, (clock.ceil(moment) for clock in self._clocks)), default=None)

    def _floor(self, moment: datetime) -> datetime | None:
        return max(filter(None, (clock.floor(moment) for clock in self._clocks)), default=None)

    def next_dagrun_info(
        self, *, last_automated_data_interval: DataInterval | None, restriction: TimeRestriction
    ) -> DagRunInfo | None:
        earliest, last = restriction.earliest, last_automated_data_interval
        if last is not None:
            candidates = [self._next(last.end)]
            if candidates[0] is None:
                return None
        elif earliest is not None:
            candidates = [self._ceil(earliest)]
        elif not restriction.catchup:
            return self._run_at(self._first_without_start(restriction.require_now()), restriction)
        else:
            return None
        if not restriction.catchup:
            candidates.append(self._floor(restriction.require_now()))
            if earliest is not None:
                candidates.append(self._ceil(earliest))
        return self._run_at(max(filter(None, candidates), default=None), restriction)

    def _first_without_start(self, now: datetime) -> datetime | None:
        previous, following = self._floor(now), self._ceil(now)
        if previous is None or self._run_immediately is True:
            return previous or following
        if isinstance(self._run_immediately, timedelta):
            grace = self._run_immediately
        elif following is not None:
            grace = max((following - previous) / _GRACE_DIVISOR, _MIN_GRACE)
        else:
            grace = _MIN_GRACE
        return previous if now - previous <= grace else following

    @property
    def summary(self) -> str:
        return ", ".join(self._crons)

    def describe(self) -> str:
        return "; ".join(describe_cron(clock) for clock in self._clocks)

    def _options(self) -> dict[str, Any]:
        options: dict[str, Any] = {"timezone": timezone_key(self._timezone)}
        if self._interval:
            options["interval"] = step_to_json(self._interval)
        if self._run_immediately is not False:
            value = self._run_immediately
            options["run_immediately"] = step_to_json(value) if isinstance(value, timedelta) else value
        return options

    @staticmethod
    def _read_options(spec: Mapping[str, Any]) -> dict[str, Any]:
        immediately = spec.get("run_immediately", False)
        return {
            "timezone": timezone_of(spec["timezone"]),
            "interval": step_from_json(spec["interval"]) if "interval" in spec else _NO_INTERVAL,
            "run_immediately": step_from_json(immediately) if isinstance(immediately, dict) else immediately,
        }

    def _arguments(self) -> dict[str, Any]:
        return {"crons": list(self._crons), **self._options()}

    @classmethod
    def from_spec(cls, spec: Mapping[str, Any]) -> Self:
        """Inverse of :meth:`to_spec`."""
        return cls(*spec["crons"], **cls._read_options(spec))


class CronTriggerTimetable(MultipleCronTriggerTimetable):
    """Triggers whenever a cron expression fires."""

    kind = "cron_trigger"

    def __init__(
        self,
        cron: str,
        *,
        timezone: str | tzinfo,
        interval: Step = _NO_INTERVAL,
        run_immediately: bool | timedelta | None = False,
    ) -> None:
        super().__init__(cron, timezone=timezone, interval=interval, run_immediately=run_immediately)

    def _arguments(self) -> dict[str, Any]:
        return {"cron": self._crons[0], **self._options()}

    @classmethod
    def from_spec(cls, spec: Mapping[str, Any]) -> Self:
        """Inverse of :meth:`to_spec`."""
        return cls(spec["cron"], **cls._read_options(spec))


class DeltaTriggerTimetable(_TriggerTimetable):
    """Triggers at equal steps: from the start date with catchup, else from when the scheduler first reads the DAG.

    With catchup off, Airflow triggers at the current time whenever it has missed a trigger, so that triggers shift with
    the scheduler's delays. Here the first run fixes all later triggers.
    """

    kind = "delta_trigger"

    def __init__(self, delta: Step, *, interval: Step = _NO_INTERVAL) -> None:
        self._delta = check_step(delta)
        self._interval = interval

    def next_dagrun_info(
        self, *, last_automated_data_interval: DataInterval | None, restriction: TimeRestriction
    ) -> DagRunInfo | None:
        earliest, last = restriction.earliest, last_automated_data_interval
        if last is not None:
            moment = last.end + self._delta
            if not restriction.catchup:
                moment = latest_on_grid(self._delta, moment, restriction.require_now())
            if earliest is not None:
                moment = max(moment, earliest)
        elif restriction.catchup:
            if earliest is None:
                return None
            moment = earliest
        else:
            moment = max(restriction.require_now(), earliest or restriction.require_now())
        return self._run_at(moment, restriction)

    @property
    def summary(self) -> str:
        return describe_step(self._delta)

    def describe(self) -> str:
        return describe_frequency(self._delta)

    def _arguments(self) -> dict[str, Any]:
        interval = {"interval": step_to_json(self._interval)} if self._interval else {}
        return {"delta": step_to_json(self._delta), **interval}

    @classmethod
    def from_spec(cls, spec: Mapping[str, Any]) -> Self:
        """Inverse of :meth:`to_spec`."""
        interval = step_from_json(spec["interval"]) if "interval" in spec else _NO_INTERVAL
        return cls(step_from_json(spec["delta"]), interval=interval)
