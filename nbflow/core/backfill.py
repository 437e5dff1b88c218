"""Which runs a backfill makes: the one answer behind the dry run, the form and the deed.

A backfill makes the runs that the timetable has in a range of logical dates (both ends included), whatever the DAG's
start date, end date and catchup say. A logical date that has a run already gets no second one:

==================  =================================================================================
existing run        ``reprocess``
==================  =================================================================================
unfinished          left alone, "in flight"
failed              ``none``: left alone, "already exists"; ``failed``, ``completed``: run again
succeeded           ``none``, ``failed``: left alone, "already exists"; ``completed``: run again
==================  =================================================================================

A run that is run again keeps its run id, and belongs to the backfill from then on. Runs that are not over at present
are left out silently: the schedule will make them. All this is Airflow 3's behaviour as observed.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from nbflow.errors import (
    AlreadyRunningBackfill,
    DagNonPeriodicScheduleException,
    DagNoScheduleException,
    InvalidBackfillDate,
    InvalidBackfillDateRange,
    InvalidBackfillDirection,
    InvalidReprocessBehavior,
    NoBackfillRunsToCreate,
)

from .run_ids import RunType, make_run_id
from .states import RunState
from .timetables import DagRunInfo, RecordedTimetable, Timetable, as_utc

_OWN_TIMETABLE = (
    "Of a timetable of the author's own only the runs to come are recorded; trigger earlier ones by logical date."
)


class Reprocess(StrEnum):
    """Which finished runs a backfill runs again."""

    NONE = "none"
    FAILED = "failed"
    COMPLETED = "completed"


_RUN_AGAIN = {
    Reprocess.NONE: frozenset[RunState](),
    Reprocess.FAILED: frozenset({RunState.FAILED}),
    Reprocess.COMPLETED: frozenset({RunState.FAILED, RunState.SUCCESS}),
}

_FINISHED = _RUN_AGAIN[Reprocess.COMPLETED]

IN_FLIGHT = "in flight"
ALREADY_EXISTS = "already exists"


@dataclass(frozen=True, slots=True, kw_only=True)
class ExistingRun:
    """A run that the DAG has at a logical date, of whatever type."""

    run_id: str
    logical_date: datetime
    state: RunState


@dataclass(frozen=True, slots=True, kw_only=True)
class BackfillEntry:
    """One logical date of a backfill."""

    ordinal: int
    """Place in the order of starting, from 1."""
    info: DagRunInfo
    run_id: str | None
    """Of the run to make or to run again; None where nothing is done."""
    reset: bool = False
    """The run exists, and is cleared and run again."""
    not_created_because: str | None = None

    @property
    def logical_date(self) -> datetime:
        return self.info.logical_date


@dataclass(frozen=True, slots=True, kw_only=True)
class BackfillPlan:
    """Every logical date of the range, in order of starting."""

    entries: tuple[BackfillEntry, ...]

    @property
    def to_run(self) -> tuple[BackfillEntry, ...]:
        """The entries that are made or run again."""
        return tuple(entry for entry in self.entries if entry.not_created_because is None)


def plan_backfill(
    timetable: Timetable,
    *,
    dag_id: str,
    from_date: datetime,
    to_date: datetime,
    now: datetime,
    existing: Iterable[ExistingRun] = (),
    reprocess: Reprocess | str = Reprocess.NONE,
    run_backwards: bool = False,
    depends_on_past: bool = False,
    another_active: bool = False,
    dry_run: bool = False,
) -> BackfillPlan:
    """The runs of a backfill. Naive dates are UTC.

    ``depends_on_past``: some task of the DAG does. A dry run is the same plan; it may be asked for beside an active
    backfill, and may come out empty. Raises the :class:`~nbflow.errors.BackfillError` that says what is in the way.
    """
    reprocess = Reprocess(reprocess)
    from_date, to_date, now = as_utc(from_date), as_utc(to_date), as_utc(now)
    _check_schedule(timetable, dag_id)
    if another_active and not dry_run:
        raise AlreadyRunningBackfill(
            f"Another backfill of DAG {dag_id!r} is unfinished.", hint="Wait for it, or cancel it first."
        )
    _check_request(dag_id, from_date, to_date, now, reprocess, run_backwards, depends_on_past)

    infos = [info for info in timetable.runs_between(from_date, to_date, now) if info.run_after < now]
    if run_backwards:
        infos.reverse()
    if not infos and not dry_run:
        raise NoBackfillRunsToCreate(
            f"DAG {dag_id!r} has no run between {from_date.isoformat()} and {to_date.isoformat()} that is due: "
            f"it runs {timetable.describe()}.",
            hint=_OWN_TIMETABLE if isinstance(timetable, RecordedTimetable) and not timetable.asked else "",
        )
    by_date = {as_utc(run.logical_date): run for run in existing}
    entries = (_entry(place, info, by_date.get(info.logical_date), reprocess) for place, info in enumerate(infos, 1))
    return BackfillPlan(entries=tuple(entries))


def _check_schedule(timetable: Timetable, dag_id: str) -> None:
    if not timetable.can_be_scheduled:
        raise DagNoScheduleException(f"DAG {dag_id!r} has no schedule.", hint="Trigger its runs one by one instead.")
    if not timetable.periodic:
        raise DagNonPeriodicScheduleException(
            f"DAG {dag_id!r} runs {timetable.describe()}: there are no earlier runs to make up for."
        )


def _check_request(
    dag_id: str,
    from_date: datetime,
    to_date: datetime,
    now: datetime,
    reprocess: Reprocess,
    run_backwards: bool,
    depends_on_past: bool,
) -> None:
    if depends_on_past and run_backwards:
        raise InvalidBackfillDirection(
            f"A backfill of DAG {dag_id!r} cannot run backwards: it has tasks with depends_on_past=True."
        )
    if depends_on_past and reprocess is Reprocess.NONE:
        raise InvalidReprocessBehavior(
            f"DAG {dag_id!r} has tasks with depends_on_past=True, which a run that is left alone would hold up.",
            hint="Reprocess failed or completed runs.",
        )
    if from_date > to_date:
        raise InvalidBackfillDateRange(
            f"from_date ({from_date.isoformat()}) must not be after to_date ({to_date.isoformat()})."
        )
    if from_date >= now:
        raise InvalidBackfillDate(f"A backfill cannot make runs of the future: it is {now.isoformat()} now.")


def _entry(ordinal: int, info: DagRunInfo, run: ExistingRun | None, reprocess: Reprocess) -> BackfillEntry:
    if run is None:
        run_id = make_run_id(RunType.BACKFILL, logical_date=info.logical_date, run_after=info.run_after)
        return BackfillEntry(ordinal=ordinal, info=info, run_id=run_id)
    if run.state in _RUN_AGAIN[reprocess]:
        return BackfillEntry(ordinal=ordinal, info=info, run_id=run.run_id, reset=True)
    reason = ALREADY_EXISTS if run.state in _FINISHED else IN_FLIGHT
    return BackfillEntry(ordinal=ordinal, info=info, run_id=None, not_created_because=reason)
