"""Asking a timetable of the user's own what it would run in some range, in a process of its own.

The DAG processor records the runs to come of such a timetable, and the scheduler needs no more. A backfill asks for
others; the class is user code, so it is loaded from the version's source in a child, under the time limit of an import.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from nbflow.core.timetables import RecordedTimetable
from nbflow.errors import NbflowError
from nbflow.services.subprocess_jobs import JobResult, SubprocessJobs
from nbflow.sources.stored_version import LoadingOptions, VersionSource, load_version

if TYPE_CHECKING:
    from nbflow.store.base import DagVersion

MOST_RUNS = 10_000
"""Of one answer: a year of hourly runs. Who wants more asks for a part at a time."""


# ------------------------------------------------------------------------------------------------------- in the child


def answer(payload: Mapping[str, Any]) -> dict[str, Any]:
    """Load the version, and ask its timetable for the runs of a range. Never raises for a mistake of the user's."""
    version = load_version(VersionSource.from_json(payload["version"]))
    if version.dag is None:
        return {"fault": version.error}
    start, end, now = (datetime.fromisoformat(payload[name]) for name in ("from_date", "to_date", "now"))
    runs: list[list[str]] = []
    try:
        for info in version.dag.timetable.runs_between(start, end, now):
            if len(runs) == MOST_RUNS:
                return {"fault": f"there are more than {MOST_RUNS:,}, too many for one backfill"}
            runs.append([moment.isoformat() for moment in (info.run_after, *info.data_interval)])
    except Exception as error:
        return {"fault": f"{type(error).__name__}: {error}"}
    return {"runs": runs}


# ---------------------------------------------------------------------------------------------------- who wants to know


class TimetableClient:
    """Asks, each time by a child of its own; nothing is kept running. ``subprocess_jobs`` makes what sends it."""

    def __init__(
        self,
        subprocess_jobs: Callable[[], SubprocessJobs],
        *,
        loading: LoadingOptions,
        seconds: float,
    ) -> None:
        self._subprocess_jobs, self._loading, self._seconds = subprocess_jobs, loading, seconds

    def runs_between(
        self, version: DagVersion, from_date: datetime, to_date: datetime, now: datetime
    ) -> RecordedTimetable:
        """The version's timetable, as it answers for this range. Raises NbflowError where it does not."""
        dates = {"from_date": from_date, "to_date": to_date, "now": now}
        payload = {
            "job": "timetable",
            "version": VersionSource.of(version, self._loading).to_json(),
            **{name: moment.isoformat() for name, moment in dates.items()},
        }
        said = self._ask(payload)
        fault = said.fault if said.result is None else str(said.result.get("fault") or "")
        if said.too_slow:
            fault = f"it took longer than {self._seconds:g} s ([core] dagbag_import_timeout)"
        if fault or said.result is None:
            raise NbflowError(
                f"The timetable of DAG {version.dag_id!r} does not say what it runs from {from_date.isoformat()} to "
                f"{to_date.isoformat()}: {fault}.",
                hint="Mend its class, or trigger single runs by logical date.",
            )
        return RecordedTimetable({**version.spec.schedule, "runs": said.result["runs"], "covers_range": True})

    def _ask(self, payload: Mapping[str, Any]) -> JobResult:
        ends: list[JobResult] = []
        subprocess_jobs = self._subprocess_jobs()
        subprocess_jobs.start()
        try:
            subprocess_jobs.send(payload, seconds=self._seconds, done=ends.append)
            while not ends:
                subprocess_jobs.loop.run_once(None)
        finally:
            subprocess_jobs.stop()
        return ends[0]
