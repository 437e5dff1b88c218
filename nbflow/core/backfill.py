"""Which runs a backfill creates or runs again; a dry run gives the same plan.

A backfill creates the runs that the timetable has in a range of logical dates (both ends included), whatever the DAG's
start date, end date and catchup are. A logical date that already has a run gets no second run:

==================  =================================================================================
existing run        ``reprocess``
==================  =================================================================================
unfinished          not run again, "in flight"
failed              ``none``: not run again, "already exists"; ``failed``, ``completed``: run again
succeeded           ``none``, ``failed``: not run again, "already exists"; ``completed``: run again
==================  =================================================================================

A run that is run again keeps its run id, and belongs to the backfill from then on. Runs that are not due yet are
omitted: the schedule will create them. This is Airflow 3's behaviour, as observed.
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
from nbflow.suggested_commands import suggest

from .run_ids import RunType, make_run_id
from .states import RunState
from .timetables import DagRunInfo, RecordedTimetable, Timetable, as_utc

_CUSTOM_TIMETABLE = "Only future runs of a custom timetable are recorded; trigger earlier runs with: "


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
    """A run of any type that the DAG has at a logical date."""

    run_id: str
    logical_date: datetime
    state: RunState


@dataclass(frozen=True, slots=True, kw_only=True)
class BackfillEntry:
    """One logical date of a backfill."""

    ordinal: int
    """Position in the order of starts, from 1."""
    info: DagRunInfo
    run_id: str | None
    """Id of the run to create or to run again; None if the logical date is skipped."""
    reset: bool = False
    """The run exists, and is cleared to run again."""
    not_created_because: str | None = None

    @property
    def logical_date(self) -> datetime:
        return self.info.logical_date


@dataclass(frozen=True, slots=True, kw_only=True)
class BackfillPlan:
    """Every logical date of the range, in the order of starts."""

    entries: tuple[BackfillEntry, ...]

    @property
    def to_run(self) -> tuple[BackfillEntry, ...]:
        """The entries whose runs are created or run again."""
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

    ``depends_on_past``: whether a task of the DAG has ``depends_on_past=True``. A dry run gives the same plan, but is
    allowed while another backfill is active, and may be empty. Raises a subclass of
    :class:`~nbflow.errors.BackfillError`.
    """
    reprocess = Reprocess(reprocess)
    from_date, to_date, now = as_utc(from_date), as_utc(to_date), as_utc(now)
    _check_schedule(timetable, dag_id)
    if another_active and not dry_run:
        raise AlreadyRunningBackfill(
            f"Another backfill of DAG {dag_id!r} is unfinished.", hint="Wait until it ends, or cancel it first."
        )
    _check_request(dag_id, from_date, to_date, now, reprocess, run_backwards, depends_on_past)

    infos = [info for info in timetable.runs_between(from_date, to_date, now) if info.run_after < now]
    if run_backwards:
        infos.reverse()
    if not infos and not dry_run:
        trigger = suggest("dags trigger", dag_id, "--logical-date", "DATE")
        unrecorded = isinstance(timetable, RecordedTimetable) and not timetable.covers_range
        raise NoBackfillRunsToCreate(
            f"DAG {dag_id!r} has no due run between {from_date.isoformat()} and {to_date.isoformat()}: "
            f"it runs {timetable.describe()}.",
            hint=f"{_CUSTOM_TIMETABLE}{trigger}" if unrecorded else "",
            suggestions=(trigger,) if unrecorded else (),
        )
    by_date = {as_utc(run.logical_date): run for run in existing}
    entries = (_entry(number, info, by_date.get(info.logical_date), reprocess) for number, info in enumerate(infos, 1))
    return BackfillPlan(entries=tuple(entries))


def _check_schedule(timetable: Timetable, dag_id: str) -> None:
    if not timetable.can_be_scheduled:
        raise DagNoScheduleException(f"DAG {dag_id!r} has no schedule.", hint="Trigger its runs one by one.")
    if not timetable.periodic:
        raise DagNonPeriodicScheduleException(
            f"DAG {dag_id!r} runs {timetable.describe()}: its schedule has no past runs to backfill."
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
            f"A backfill of DAG {dag_id!r} cannot run backwards: the DAG has tasks with depends_on_past=True."
        )
    if depends_on_past and reprocess is Reprocess.NONE:
        raise InvalidReprocessBehavior(
            f"DAG {dag_id!r} has tasks with depends_on_past=True: a failed run that is not run again would block them.",
            hint="Reprocess failed or completed runs.",
        )
    if from_date > to_date:
        raise InvalidBackfillDateRange(
            f"from_date ({from_date.isoformat()}) must not be after to_date ({to_date.isoformat()})."
        )
    if from_date >= now:
        raise InvalidBackfillDate(f"A backfill cannot create future runs: it is {now.isoformat()} now.")


def _entry(ordinal: int, info: DagRunInfo, run: ExistingRun | None, reprocess: Reprocess) -> BackfillEntry:
    if run is None:
        run_id = make_run_id(RunType.BACKFILL, logical_date=info.logical_date, run_after=info.run_after)
        return BackfillEntry(ordinal=ordinal, info=info, run_id=run_id)
    if run.state in _RUN_AGAIN[reprocess]:
        return BackfillEntry(ordinal=ordinal, info=info, run_id=run.run_id, reset=True)
    reason = ALREADY_EXISTS if run.state in _FINISHED else IN_FLIGHT
    return BackfillEntry(ordinal=ordinal, info=info, run_id=None, not_created_because=reason)
