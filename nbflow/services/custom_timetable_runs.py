"""The runs of a custom timetable in a range of dates, computed in a subprocess.

The DAG processor records the next runs of a custom timetable, which is all that the scheduler needs. A backfill needs
other runs. The timetable's class is user code, so a subprocess loads it from the DAG version's source, with the time
limit of an import.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from nbflow.core.timetables import RecordedTimetable
from nbflow.errors import NbflowError
from nbflow.secrets_backends import mask_given
from nbflow.services.subprocess_jobs import JobResult, SubprocessJobs
from nbflow.sources.version_loading import LoadingOptions, VersionSource, load_version

if TYPE_CHECKING:
    from nbflow.store.base import DagVersion

MAX_RUNS = 10_000
"""Maximum number of runs per request: more than a year of hourly runs. A larger backfill must be split."""


# -------------------------------------------------------------------------------------------------- in the subprocess


def compute_runs(payload: Mapping[str, Any]) -> dict[str, Any]:
    """In the subprocess: load the version and compute its timetable's runs in a range.

    Returns {"runs": [[run_after, start, end], ...]} (ISO 8601), or {"error": text} for an error of user code."""
    version = load_version(VersionSource.from_json(payload["version"]))
    if version.dag is None:
        return {"error": version.error}
    start, end, now = (datetime.fromisoformat(payload[name]) for name in ("from_date", "to_date", "now"))
    runs: list[list[str]] = []
    try:
        for info in version.dag.timetable.runs_between(start, end, now):
            if len(runs) == MAX_RUNS:
                return {"error": f"there are more than {MAX_RUNS:,} runs, too many for one backfill"}
            runs.append([moment.isoformat() for moment in (info.run_after, *info.data_interval)])
    except Exception as error:
        return {"error": mask_given(f"{type(error).__name__}: {error}")}
    return {"runs": runs}


# ------------------------------------------------------------------------------------------------------- in the caller


class TimetableClient:
    """Evaluates custom timetables, each call in a new subprocess. ``subprocess_jobs`` creates the SubprocessJobs."""

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
        """The version's timetable with the runs of this range recorded. Raises NbflowError if user code fails."""
        dates = {"from_date": from_date, "to_date": to_date, "now": now}
        payload = {
            "job": "timetable",
            "version": VersionSource.of(version, self._loading).to_json(),
            **{name: moment.isoformat() for name, moment in dates.items()},
        }
        result = self._run_job(payload)
        error = result.error if result.content is None else str(result.content.get("error") or "")
        if result.timed_out:
            error = f"it took longer than {self._seconds:g} s ([core] dagbag_import_timeout)"
        if error or result.content is None:
            raise NbflowError(
                f"The timetable of DAG {version.dag_id!r} cannot compute its runs from {from_date.isoformat()} to "
                f"{to_date.isoformat()}: {error}.",
                hint="Fix the timetable's class, or trigger single runs by logical date.",
            )
        return RecordedTimetable({**version.spec.schedule, "runs": result.content["runs"], "covers_range": True})

    def _run_job(self, payload: Mapping[str, Any]) -> JobResult:
        results: list[JobResult] = []
        subprocess_jobs = self._subprocess_jobs()
        subprocess_jobs.start()
        try:
            subprocess_jobs.send(payload, seconds=self._seconds, done=results.append)
            while not results:
                subprocess_jobs.loop.run_once(None)
        finally:
            subprocess_jobs.stop()
        return results[0]
