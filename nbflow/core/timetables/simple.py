"""Timetables without a period: none, once, continuous, at listed dates, and from a record of runs."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Self

from .base import DagRunInfo, DataInterval, TimeRestriction, Timetable, TimetableInvalid
from .time_zones import as_utc


class _Aperiodic(Timetable):
    periodic = False

    def infer_manual_data_interval(self, *, run_after: datetime) -> DataInterval:
        """The empty interval at ``run_after``."""
        return DataInterval.exact(run_after)

    @classmethod
    def from_spec(cls, spec: Mapping[str, Any]) -> Self:
        """Inverse of :meth:`to_spec`."""
        return cls()


class NullTimetable(_Aperiodic):
    """``schedule=None``: manual runs only."""

    kind = "none"
    can_be_scheduled = False

    def next_dagrun_info(
        self, *, last_automated_data_interval: DataInterval | None, restriction: TimeRestriction
    ) -> DagRunInfo | None:
        return None

    @property
    def summary(self) -> str:
        return "None"

    def describe(self) -> str:
        return "only when triggered"


class OnceTimetable(_Aperiodic):
    """``@once``: one run, at the start date if there is one, with or without catchup."""

    kind = "once"

    def next_dagrun_info(
        self, *, last_automated_data_interval: DataInterval | None, restriction: TimeRestriction
    ) -> DagRunInfo | None:
        if last_automated_data_interval is not None:
            return None
        moment = restriction.earliest or restriction.require_now()
        return DagRunInfo.exact(moment) if restriction.allows(moment) else None

    @property
    def summary(self) -> str:
        return "@once"

    def describe(self) -> str:
        return "once"


class ContinuousTimetable(_Aperiodic):
    """``@continuous``: a run starts when the previous one has ended, and covers the time since that one started."""

    kind = "continuous"
    active_runs_limit = 1

    def next_dagrun_info(
        self, *, last_automated_data_interval: DataInterval | None, restriction: TimeRestriction
    ) -> DagRunInfo | None:
        now, last = restriction.require_now(), last_automated_data_interval
        start = last.end if last is not None else restriction.earliest or now
        end = max(start, now)
        return DagRunInfo.interval(start, end) if restriction.allows(end) else None

    @property
    def summary(self) -> str:
        return "@continuous"

    def describe(self) -> str:
        return "continuously, one run after the other"


class EventsTimetable(Timetable):
    """Runs at the listed dates. Naive dates are UTC; their order does not matter, and duplicates count once.

    ``restrict_to_events``: a manual run has the date of the latest event (before the first event: of the first) instead
    of its own.
    """

    kind = "events"

    def __init__(
        self,
        event_dates: Iterable[datetime],
        restrict_to_events: bool = False,
        presorted: bool = False,
        description: str | None = None,
    ) -> None:
        self._events = sorted({as_utc(moment) for moment in event_dates})
        if not self._events:
            raise TimetableInvalid("EventsTimetable needs at least one date in event_dates.")
        self._restrict = restrict_to_events
        self.description = description or ""

    def next_dagrun_info(
        self, *, last_automated_data_interval: DataInterval | None, restriction: TimeRestriction
    ) -> DagRunInfo | None:
        last, events = last_automated_data_interval, self._events
        at = 0 if last is None else bisect_right(events, last.end)
        if not restriction.catchup:
            # After the first run, the latest past event still counts, since the scheduler may be late. Before the first
            # run, no past event does.
            now = restriction.require_now()
            at = max(at, bisect_left(events, now) if last is None else bisect_right(events, now) - 1)
        if restriction.earliest is not None:
            at = max(at, bisect_left(events, restriction.earliest))
        if at >= len(events) or not restriction.allows(events[at]):
            return None
        return DagRunInfo.exact(events[at])

    def infer_manual_data_interval(self, *, run_after: datetime) -> DataInterval:
        """The empty interval at ``run_after``, or at an event (``restrict_to_events``)."""
        if not self._restrict:
            return DataInterval.exact(run_after)
        return DataInterval.exact(self._events[max(0, bisect_right(self._events, run_after) - 1)])

    @property
    def summary(self) -> str:
        return f"{len(self._events)} events"

    def describe(self) -> str:
        first = f"{self._events[0]:{'%Y-%m-%d %H:%M:%S' if self._events[0].second else '%Y-%m-%d %H:%M'}} UTC"
        return self.description or f"at {len(self._events)} listed dates, the first {first}"

    def _arguments(self) -> dict[str, Any]:
        spec: dict[str, Any] = {"dates": [moment.isoformat() for moment in self._events]}
        if self._restrict:
            spec["restrict"] = True
        if self.description:
            spec["description"] = self.description
        return spec

    @classmethod
    def from_spec(cls, spec: Mapping[str, Any]) -> Self:
        """Inverse of :meth:`to_spec`."""
        dates = [datetime.fromisoformat(text) for text in spec["dates"]]
        return cls(dates, restrict_to_events=spec.get("restrict", False), description=spec.get("description"))


class RecordedTimetable(Timetable):
    """A custom timetable as a record of its next runs, computed by a process that runs user code.

    The scheduler uses the record and never imports the class. After the last recorded run, none is due until the DAG is
    parsed again.
    """

    kind = "custom"

    def __init__(self, spec: Mapping[str, Any]) -> None:
        self._spec = dict(spec)
        self.runs = [_run_from_json(run) for run in spec["runs"]]
        self.covers_range = bool(spec.get("covers_range"))
        """The record holds all runs of the range that was requested, not only future ones."""
        self.periodic = spec.get("periodic", True)
        self.active_runs_limit = spec.get("active_runs_limit")
        self.description = spec.get("description", "")

    @classmethod
    def record(
        cls,
        timetable: Timetable,
        last: DataInterval | None,
        restriction: TimeRestriction,
        now: datetime,
        *,
        max_runs: int = 32,
    ) -> Self:
        """Record the next ``max_runs`` runs of a custom timetable after ``last``. Runs user code."""
        runs: list[DagRunInfo] = []
        info = timetable.next_run(last, restriction, now)
        while info is not None and len(runs) < max_runs and (not runs or info.data_interval > runs[-1].data_interval):
            runs.append(info)
            info = timetable.next_run(info, restriction, now)
        spec = timetable.to_spec() | {
            "runs": [[moment.isoformat() for moment in (run.run_after, *run.data_interval)] for run in runs],
            "summary": timetable.summary,
            "description": timetable.describe(),
            "periodic": timetable.periodic,
        }
        if timetable.active_runs_limit is not None:
            spec["active_runs_limit"] = timetable.active_runs_limit
        return cls(spec)

    def next_dagrun_info(
        self, *, last_automated_data_interval: DataInterval | None, restriction: TimeRestriction
    ) -> DagRunInfo | None:
        last = last_automated_data_interval
        return next((run for run in self.runs if last is None or run.data_interval > last), None)

    def infer_manual_data_interval(self, *, run_after: datetime) -> DataInterval:
        """The empty interval at ``run_after``: the interval that the class would return is not recorded."""
        return DataInterval.exact(run_after)

    @property
    def summary(self) -> str:
        return str(self._spec.get("summary", self._spec["class"].rpartition(".")[2]))

    def to_spec(self) -> dict[str, Any]:
        return dict(self._spec)


def _run_from_json(run: list[str]) -> DagRunInfo:
    run_after, start, end = (as_utc(datetime.fromisoformat(text)) for text in run)
    return DagRunInfo(run_after, DataInterval(start, end))
