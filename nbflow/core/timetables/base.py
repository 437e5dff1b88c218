"""What a timetable is: the answer to "which run comes after this one?".

Vocabulary (Airflow's): a run has a *data interval* (the period it is about) and a *run_after* (when it may be created);
its *logical date* is the start of its interval. A *restriction* is what the DAG adds: nothing before ``earliest``,
nothing after ``latest``, and whether missed runs are made up for (*catchup*).

A timetable reads no clock. Where the answer depends on the present (catchup off: skip to the latest), the present comes
in as ``restriction.now``; :meth:`Timetable.next_run` puts it there, and it flows through ``super()`` calls of users'
subclasses unseen. So the same question always has the same answer, in the scheduler, in a simulation and in a test.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, ClassVar, NamedTuple, Self

from nbflow.errors import AirflowTimetableInvalid

from .time_zones import as_utc

TimetableInvalid = AirflowTimetableInvalid
"""A schedule that cannot be: a bad cron expression, an interval that is not positive."""


# These three are tuples, as in Airflow: users' timetables build and unpack them.
class DataInterval(NamedTuple):
    """The period ``[start, end)`` that a run is about; empty for runs that are only triggered."""

    start: datetime
    end: datetime

    @classmethod
    def exact(cls, at: datetime) -> Self:
        """The empty interval at a moment."""
        return cls(at, at)


class DagRunInfo(NamedTuple):
    """A run that a timetable asks for; it may be created from ``run_after`` on."""

    run_after: datetime
    data_interval: DataInterval

    @classmethod
    def exact(cls, at: datetime) -> Self:
        """A run at a moment, about no period."""
        return cls(at, DataInterval(at, at))

    @classmethod
    def interval(cls, start: datetime, end: datetime) -> Self:
        """A run about a period, due when the period is over."""
        return cls(end, DataInterval(start, end))

    @property
    def logical_date(self) -> datetime:
        """The run's name in time: the start of its interval."""
        return self.data_interval.start


class TimeRestriction(NamedTuple):
    """What the DAG allows: ``earliest``/``latest`` (inclusive, None = open), ``catchup``, and the present."""

    earliest: datetime | None
    latest: datetime | None
    catchup: bool
    now: datetime | None = None
    """The present, for the answers that depend on it. Airflow's timetables read the clock instead."""

    def present(self) -> datetime:
        """``now``; raises ValueError where nobody has said what time it is."""
        if self.now is None:
            raise ValueError(
                "This timetable's answer depends on the present: call next_run(..., now=...), or pass "
                "TimeRestriction(..., now=...)."
            )
        return self.now

    def allows(self, moment: datetime) -> bool:
        """Whether ``moment`` is not past ``latest``."""
        return self.latest is None or moment <= self.latest


class Timetable:
    """Base of all timetables, and of users' own: override :meth:`next_dagrun_info` and
    :meth:`infer_manual_data_interval`, and :meth:`serialize`/:meth:`deserialize` if there are arguments.

    A user's timetable is user code: it is run where user code runs, and what it answers is stored. Nothing in the core
    imports it back (see ``timetable_from_spec``).
    """

    kind: ClassVar[str] = "custom"
    """The word in the stored form. Each of our own classes sets it; a subclass of one does not, and is custom."""
    description: str = ""
    """A sentence for people, set by subclasses that know better than their class's name."""
    periodic: bool = True
    """Whether it fires again and again: only then is there anything to backfill."""
    can_be_scheduled: bool = True
    """False where no run ever comes by itself."""
    active_runs_limit: int | None = None
    """The most runs that may be active at a time, where the timetable itself needs a limit."""

    # -- Airflow's protocol

    def next_dagrun_info(
        self, *, last_automated_data_interval: DataInterval | None, restriction: TimeRestriction
    ) -> DagRunInfo | None:
        """The run after the one whose interval is given (None: the first run), or None when there is none."""
        raise NotImplementedError(f"{type(self).__name__} must define next_dagrun_info().")

    def infer_manual_data_interval(self, *, run_after: datetime) -> DataInterval:
        """The interval of a run that a person or another DAG triggers at ``run_after``."""
        raise NotImplementedError(f"{type(self).__name__} must define infer_manual_data_interval().")

    def validate(self) -> None:
        """Raise :class:`TimetableInvalid` if the arguments make no schedule. Ours refuse when they are built."""

    def serialize(self) -> dict[str, Any]:
        """The arguments as JSON, for :meth:`deserialize`."""
        return self._arguments()

    @classmethod
    def deserialize(cls, data: Mapping[str, Any]) -> Self:
        """The timetable whose :meth:`serialize` gave ``data``."""
        return cls(**data)

    @property
    def summary(self) -> str:
        """A few characters for a column of a table."""
        return type(self).__name__

    # -- nbflow's

    def next_run(
        self, last: DagRunInfo | DataInterval | None, restriction: TimeRestriction, now: datetime
    ) -> DagRunInfo | None:
        """The run after ``last``, as seen at ``now``. Times in the answer are aware UTC.

        A user's timetable is handed pendulum's datetimes, as by Airflow; it may answer with any that are aware.

        It may lie in the future: nothing is due before its ``run_after``.
        """
        interval = last.data_interval if isinstance(last, DagRunInfo) else last
        earliest, latest, catchup, _ = restriction
        handed = _as_pendulum if self._is_custom() else as_utc
        info = self.next_dagrun_info(
            last_automated_data_interval=None if interval is None else DataInterval(*map(handed, interval)),
            restriction=TimeRestriction(
                None if earliest is None else handed(earliest),
                None if latest is None else handed(latest),
                catchup,
                handed(now),
            ),
        )
        if info is None:
            return None
        run_after, interval = info
        return DagRunInfo(as_utc(run_after), DataInterval(*map(as_utc, interval)))

    def manual_interval(self, run_after: datetime) -> DataInterval:
        """:meth:`infer_manual_data_interval` with aware UTC in and out; a naive ``run_after`` is UTC."""
        handed = _as_pendulum if self._is_custom() else as_utc
        return DataInterval(*map(as_utc, self.infer_manual_data_interval(run_after=handed(run_after))))

    def runs_between(self, start: datetime, end: datetime, now: datetime) -> Iterator[DagRunInfo]:
        """All runs with ``start <= logical date <= end``, in order; for backfills. Due ones and future ones alike."""
        restriction = TimeRestriction(start, end, True)
        last: DagRunInfo | None = None
        while (info := self.next_run(last, restriction, now)) is not None:
            if last is not None and info.data_interval <= last.data_interval:
                return  # a timetable that does not move on (@continuous at a standing clock, a user's mistake)
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
        """What :meth:`to_spec` adds to the kind."""
        return {}

    @classmethod
    def _is_custom(cls) -> bool:
        return "kind" not in vars(cls)

    def describe(self) -> str:
        """One phrase for people, such as "every day at 00:00 UTC"."""
        return self.description or self.summary

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and self.to_spec() == other.to_spec()

    def __hash__(self) -> int:
        return hash(repr(self.to_spec()))

    def __repr__(self) -> str:
        spec = {key: value for key, value in self.to_spec().items() if key not in {"kind", "class"}}
        return f"{type(self).__name__}({', '.join(f'{key}={value!r}' for key, value in spec.items())})"


def _as_pendulum(moment: datetime) -> datetime:
    # Imported for users' timetables only: it takes longer than all of the core.
    import pendulum

    return pendulum.instance(as_utc(moment), tz="UTC")
