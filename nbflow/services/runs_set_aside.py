"""Runs that a scheduler sets aside: their rows or specs cannot be read, or the store refuses each of their plans.

One such run must not stop the other runs. The scheduler keeps its set-aside runs in memory and stores their reasons
with its heartbeat: a run whose row cannot be read cannot be written either. It tries a run again after
:data:`RETRY_AFTER`, as soon as the run's revision changes (a user cleared or marked it), and after its own restart.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from nbflow.core.identifiers import RUN_ID, is_valid_id
from nbflow.core.snapshot import Run, RunKey
from nbflow.core.wait_reasons import WaitReason
from nbflow.errors import NbflowError, shortened
from nbflow.store.base import Job
from nbflow.suggested_commands import suggest

log = logging.getLogger(__name__)

RETRY_AFTER = timedelta(minutes=1)
"""Interval between tries of a run that is set aside."""
MAX_REASON = 300
"""Maximum length of a stored reason, in characters."""
MAX_STORED = 100
"""Maximum number of runs whose reasons are stored with a heartbeat."""
_DETAIL = "runs_set_aside"


@dataclass(frozen=True, slots=True)
class _SetAside:
    reason: str
    revision: int
    logical_date: datetime | None
    until: datetime


class RunsSetAside:
    """The runs that a scheduler has set aside."""

    def __init__(self) -> None:
        self._runs: dict[RunKey, _SetAside] = {}
        self._logged: dict[RunKey, str] = {}
        self.count_added = 0
        """How often a run was set aside."""

    def __contains__(self, run: RunKey) -> bool:
        return run in self._runs

    def add(self, run: Run, error: Exception, now: datetime) -> None:
        """Set a run aside because of an error. The reason is logged once."""
        self.count_added += 1
        expected = isinstance(error, NbflowError)
        text = " ".join((str(error) if expected else f"{type(error).__name__}: {error}").split())
        reason = shortened(text, MAX_REASON)
        self._runs[run.key] = _SetAside(reason, run.revision, run.logical_date, now + RETRY_AFTER)
        if self._logged.get(run.key) != reason:
            self._logged[run.key] = reason
            traceback = None if expected else error
            log.error("Run %r of DAG %s is set aside: %s", run.run_id, run.dag_id, reason, exc_info=traceback)

    def release(self, runs: Iterable[Run], now: datetime) -> bool:
        """Forget the runs that are to be tried again and those that are not in ``runs``, the active ones. Returns
        whether any was forgotten."""
        revisions = {run.key: run.revision for run in runs}
        kept = {
            key: entry
            for key, entry in self._runs.items()
            if revisions.get(key) == entry.revision and now < entry.until
        }
        changed = kept.keys() != self._runs.keys()
        self._runs = kept
        self._logged = {key: reason for key, reason in self._logged.items() if key in revisions}
        return changed

    @property
    def next_try(self) -> datetime | None:
        """When the first of the runs is tried again."""
        return min((entry.until for entry in self._runs.values()), default=None)

    def as_detail(self) -> Mapping[str, Any]:
        """The part of the scheduler's heartbeat that :func:`runs_set_aside` reads."""
        rows = [
            [*key, entry.reason, entry.logical_date and entry.logical_date.isoformat()]
            for key, entry in list(self._runs.items())[:MAX_STORED]
        ]
        return {_DETAIL: rows} if rows else {}


def runs_set_aside(schedulers: Iterable[Job]) -> Mapping[RunKey, WaitReason]:
    """The runs that the running schedulers have set aside, with their reasons."""
    return {
        RunKey(dag_id, run_id): _wait(dag_id, run_id, reason, date)
        for job in schedulers
        for dag_id, run_id, reason, date in job.detail.get(_DETAIL, ())
    }


def set_aside_lines(schedulers: Iterable[Job], dag_id: str | None = None) -> tuple[str, ...]:
    """A line for each run that the running schedulers have set aside, of one DAG or of all."""
    waits = runs_set_aside(schedulers).items()
    return tuple(f"{run.dag_id} {run.run_id!r}: {wait.text}" for run, wait in waits if dag_id in (None, run.dag_id))


def _wait(dag_id: str, run_id: str, reason: str, date: str | None) -> WaitReason:
    word = run_id if is_valid_id(run_id, RUN_ID) or date is None else date
    delete = suggest("dags delete-run", dag_id, word)
    text = (
        f"The scheduler has set the run aside: {reason.rstrip('.')}. It tries the run again every minute, and at once"
        f" when the run is changed. To delete the run: {delete}"
    )
    return WaitReason(kind="set_aside", text=text, detail={"reason": reason}, suggestions=(delete,))
