"""A backfill with its runs and their states, or the plan of a dry run."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta, tzinfo
from typing import TYPE_CHECKING, Any, ClassVar

from nbflow.core.backfill import BackfillEntry, BackfillPlan
from nbflow.core.snapshot import RunKey
from nbflow.core.states import RunState
from nbflow.core.timetables.time_zones import timezone_of
from nbflow.errors import NbflowError
from nbflow.store.base import Store
from nbflow.suggested_commands import suggest
from nbflow.views.backfills import run_keys
from nbflow.views.base import Query, Row, View
from nbflow.views.lookups import row_of
from nbflow.views.shared import between, in_zone

if TYPE_CHECKING:
    from nbflow.config import Settings

_REASONS = {"already exists": "a run exists for this date", "in flight": "the run for this date has not ended"}


@dataclass(frozen=True, slots=True, kw_only=True)
class BackfillQuery(Query["BackfillView"]):
    NAME: ClassVar[str] = "backfill"

    backfill_id: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedRun(Row):
    """One logical date of the range. ``state`` is empty until there is a run."""

    logical_date: datetime
    action: str
    """create, rerun or keep."""
    run_id: str | None = None
    interval_start: datetime | None = None
    interval_end: datetime | None = None
    reason: str = ""
    state: str = ""

    @property
    def id(self) -> str:
        return str(self.logical_date.timestamp())


@dataclass(frozen=True, slots=True, kw_only=True)
class BackfillView(View):
    """``remarks``: e.g. that an interval has 25 hours because clocks go back. ``status`` is running, paused, completed
    or cancelled; empty for a dry run."""

    NAME: ClassVar[str] = "backfill"

    dag_id: str
    backfill_id: int | None = None
    status: str = ""
    runs: tuple[PlannedRun, ...] = ()
    remarks: tuple[str, ...] = ()
    dry_run: bool = True


def fetch(store: Store, query: BackfillQuery, now: datetime, settings: Settings) -> BackfillView:
    """Raises NbflowError if there is no such backfill."""
    row = store.backfill(query.backfill_id)
    if row is None:
        see = suggest("backfill list")
        raise NbflowError(f"There is no backfill {query.backfill_id}.", hint=f"See: {see}.", suggestions=(see,))
    zone = timezone_of(row_of(store, row.dag_id).timezone)
    states = store.run_states(run_keys(row))
    runs = tuple(_stored_run(row.dag_id, entry, states, zone) for entry in row.entries)
    return BackfillView(
        dag_id=row.dag_id,
        backfill_id=row.backfill_id,
        status=row.state,
        runs=runs,
        remarks=tuple(_clock_changes(runs)),
        dry_run=False,
    )


def backfill_view(dag_id: str, plan: BackfillPlan, zone: tzinfo) -> BackfillView:
    """The plan of a dry run."""
    runs = tuple(_planned_run(entry, zone) for entry in plan.entries)
    return BackfillView(dag_id=dag_id, runs=runs, remarks=tuple(_clock_changes(runs)))


def _planned_run(entry: BackfillEntry, zone: tzinfo) -> PlannedRun:
    return _row(
        zone,
        logical_date=entry.logical_date,
        start=entry.info.data_interval.start,
        end=entry.info.data_interval.end,
        run_id=entry.run_id,
        not_created_because=entry.not_created_because,
        reset=entry.reset,
    )


def _stored_run(dag_id: str, entry: Mapping[str, Any], states: Mapping[RunKey, RunState], zone: tzinfo) -> PlannedRun:
    run_id = entry.get("run_id")
    row = _row(
        zone,
        logical_date=datetime.fromisoformat(entry["logical_date"]),
        start=_parse_time(entry.get("data_interval_start")),
        end=_parse_time(entry.get("data_interval_end")),
        run_id=run_id,
        not_created_because=entry.get("not_created_because"),
        reset=bool(entry.get("reset")),
    )
    state = states.get(RunKey(dag_id, run_id)) if run_id else None
    return row if state is None else replace(row, state=state.value)


def _parse_time(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


def _row(
    zone: tzinfo,
    *,
    logical_date: datetime,
    start: datetime | None,
    end: datetime | None,
    run_id: str | None,
    not_created_because: str | None,
    reset: bool,
) -> PlannedRun:
    return PlannedRun(
        logical_date=logical_date.astimezone(zone),
        action="keep" if not_created_because else "rerun" if reset else "create",
        run_id=run_id,
        interval_start=in_zone(start, zone),
        interval_end=in_zone(end, zone),
        reason=_REASONS.get(not_created_because or "", not_created_because or ""),
    )


def _clock_changes(runs: Iterable[PlannedRun]) -> Iterator[str]:
    """Remarks on intervals that a change to or from summer time makes longer or shorter than a day."""
    for run in runs:
        begin, end = run.interval_start, run.interval_end
        if begin is None or end is None or begin.utcoffset() == end.utcoffset():
            continue
        hours = between(begin, end) / 3600
        if hours <= 25:
            at, forward = _change_between(begin, end)
            where = "forward" if forward else "back"
            yield f"The clocks go {where} on {at:%d %b %Y}: that interval has {hours:g} hours."


def _change_between(begin: datetime, end: datetime) -> tuple[datetime, bool]:
    """The first whole hour after the clock change, in the interval's time zone, and whether clocks went forward."""
    zone, instant = begin.tzinfo, begin.astimezone(UTC)
    while instant.astimezone(zone).utcoffset() == begin.utcoffset():
        instant += timedelta(hours=1)
    changed = instant.astimezone(zone)
    return changed, (changed.utcoffset() or timedelta()) > (begin.utcoffset() or timedelta())
