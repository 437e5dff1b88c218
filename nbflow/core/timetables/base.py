"""The interface of timetables: a timetable returns the run that follows a given run.

Terms (Airflow's): a run has a *data interval* (the period that it covers) and a *run_after* (when it may be created);
its *logical date* is the start of its interval. A *restriction* holds the DAG's arguments: no run before ``earliest``,
none after ``latest``, and whether missed runs are created (*catchup*).

A timetable does not read a clock. If the result depends on the current time (catchup off: skip to the latest), that is
``restriction.now``; :meth:`Timetable.next_run` sets it, and ``super()`` calls of custom subclasses pass it on. So equal
arguments always give equal results, in the scheduler, in a simulation and in a test.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, ClassVar, NamedTuple, Self

from nbflow.errors import AirflowTimetableInvalid

from .time_zones import as_utc

TimetableInvalid = AirflowTimetableInvalid
"""An invalid schedule: a wrong cron expression, an interval that is not positive."""


# These three are tuples, as in Airflow: custom timetables build and unpack them.
class DataInterval(NamedTuple):
    """The period ``[start, end)`` that a run covers; empty for runs that are only triggered."""

    start: datetime
    end: datetime

    @classmethod
    def exact(cls, at: datetime) -> Self:
        """The empty interval at ``at``."""
        return cls(at, at)


class DagRunInfo(NamedTuple):
    """A run of a timetable; it may be created from ``run_after`` on."""

    run_after: datetime
    data_interval: DataInterval

    @classmethod
    def exact(cls, at: datetime) -> Self:
        """A run at ``at`` with an empty interval."""
        return cls(at, DataInterval(at, at))

    @classmethod
    def interval(cls, start: datetime, end: datetime) -> Self:
        """A run that covers a period, due at its end."""
        return cls(end, DataInterval(start, end))

    @property
    def logical_date(self) -> datetime:
        """The start of the run's interval."""
        return self.data_interval.start


class TimeRestriction(NamedTuple):
    """The DAG's ``earliest`` and ``latest`` (inclusive; None: open) and ``catchup``, and the current time."""

    earliest: datetime | None
    latest: datetime | None
    catchup: bool
    now: datetime | None = None
    """The current time, for results that depend on it. Airflow's timetables read the clock instead."""

    def require_now(self) -> datetime:
        """``now``. Raises ValueError if it is not set."""
        if self.now is None:
            raise ValueError(
                "The next run of this timetable depends on the current time: call next_run(..., now=...), or pass "
                "TimeRestriction(..., now=...)."
            )
        return self.now

    def allows(self, moment: datetime) -> bool:
        """Whether ``moment`` is not after ``latest``."""
        return self.latest is None or moment <= self.latest


class Timetable:
    """Base class of timetables. A custom timetable overrides :meth:`next_dagrun_info` and
    :meth:`infer_manual_data_interval`, and :meth:`serialize` and :meth:`deserialize` if it has arguments.

    A custom timetable is user code: it runs where user code runs, and its results are stored. The core never imports it
    (see ``timetable_from_spec``).
    """

    kind: ClassVar[str] = "custom"
    """The kind in the stored form. Every class of nbflow sets it; a subclass that does not is custom."""
    description: str = ""
    """A phrase for display; replaces :attr:`summary` in :meth:`describe`."""
    periodic: bool = True
    """Whether runs recur; if not, there is nothing to backfill."""
    can_be_scheduled: bool = True
    """False if there are only manual runs."""
    active_runs_limit: int | None = None
    """Largest number of active runs that the timetable itself allows; None: no limit."""

    # -- Airflow's protocol

    def next_dagrun_info(
        self, *, last_automated_data_interval: DataInterval | None, restriction: TimeRestriction
    ) -> DagRunInfo | None:
        """The run after the one with the given interval (None: the first run), or None if there is none."""
        raise NotImplementedError(f"{type(self).__name__} must define next_dagrun_info().")

    def infer_manual_data_interval(self, *, run_after: datetime) -> DataInterval:
        """The interval of a run that is triggered at ``run_after``."""
        raise NotImplementedError(f"{type(self).__name__} must define infer_manual_data_interval().")

    def validate(self) -> None:
        """Raise :class:`TimetableInvalid` if the arguments are invalid. nbflow's classes check them in ``__init__``."""

    def serialize(self) -> dict[str, Any]:
        """The arguments as JSON, for :meth:`deserialize`."""
        return self._arguments()

    @classmethod
    def deserialize(cls, data: Mapping[str, Any]) -> Self:
        """Inverse of :meth:`serialize`."""
        return cls(**data)

    @property
    def summary(self) -> str:
        """A short text for a table column."""
        return type(self).__name__

    # -- nbflow's additions

    def next_run(
        self, last: DagRunInfo | DataInterval | None, restriction: TimeRestriction, now: datetime
    ) -> DagRunInfo | None:
        """The run after ``last``, as of ``now``; it may be in the future. Its times are aware UTC.

        A custom timetable gets pendulum's datetimes, as from Airflow; it may return any aware datetimes.
        """
        interval = last.data_interval if isinstance(last, DagRunInfo) else last
        earliest, latest, catchup, _ = restriction
        convert = _as_pendulum if self._is_custom() else as_utc
        info = self.next_dagrun_info(
            last_automated_data_interval=None if interval is None else DataInterval(*map(convert, interval)),
            restriction=TimeRestriction(
                None if earliest is None else convert(earliest),
                None if latest is None else convert(latest),
                catchup,
                convert(now),
            ),
        )
        if info is None:
            return None
        run_after, interval = info
        return DagRunInfo(as_utc(run_after), DataInterval(*map(as_utc, interval)))

    def manual_interval(self, run_after: datetime) -> DataInterval:
        """:meth:`infer_manual_data_interval` with aware UTC in and out; a naive ``run_after`` is UTC."""
        convert = _as_pendulum if self._is_custom() else as_utc
        return DataInterval(*map(as_utc, self.infer_manual_data_interval(run_after=convert(run_after))))

    def runs_between(self, start: datetime, end: datetime, now: datetime) -> Iterator[DagRunInfo]:
        """All runs with ``start <= logical date <= end``, in order, due and future ones; for backfills."""
        restriction = TimeRestriction(start, end, True)
        last: DagRunInfo | None = None
        while (info := self.next_run(last, restriction, now)) is not None:
            if last is not None and info.data_interval <= last.data_interval:
                return  # the timetable does not advance (@continuous at a fixed time, or a wrong custom timetable)
            if info.logical_date > end:
                return
            if info.logical_date >= start:
                yield info
            last = info

    def to_spec(self) -> dict[str, Any]:
        """The stored form: a plain dict of JSON values."""
        cls = type(self)
        if self._is_custom():
            return {"kind": "custom", "class": f"{cls.__module__}.{cls.__qualname__}", "data": self.serialize()}
        return {"kind": cls.kind, **self._arguments()}

    def _arguments(self) -> dict[str, Any]:
        """The arguments in :meth:`to_spec`."""
        return {}

    @classmethod
    def _is_custom(cls) -> bool:
        return "kind" not in vars(cls)

    def describe(self) -> str:
        """A phrase for display, such as "every day at 00:00 UTC"."""
        return self.description or self.summary

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and self.to_spec() == other.to_spec()

    def __hash__(self) -> int:
        return hash(repr(self.to_spec()))

    def __repr__(self) -> str:
        spec = {key: value for key, value in self.to_spec().items() if key not in {"kind", "class"}}
        return f"{type(self).__name__}({', '.join(f'{key}={value!r}' for key, value in spec.items())})"


def _as_pendulum(moment: datetime) -> datetime:
    # Imported only for custom timetables: the import takes longer than that of the whole core.
    import pendulum

    return pendulum.instance(as_utc(moment), tz="UTC")
