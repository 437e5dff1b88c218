"""Letting the schedule follow a DAG as its file now defines it."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from nbflow.config import Settings
from nbflow.store.base import DagVersion, Store


def follow_file(store: Store, version: DagVersion, settings: Settings, now: datetime) -> DagVersion:
    """Store a version (or find it again) and schedule by it. A DAG seen for the first time starts paused as it says
    itself, else as ``[core] dags_are_paused_at_creation`` does; one that was stale is back; and where anything is new
    the next run is asked for at once."""
    paused = version.spec.is_paused_upon_creation
    before = store.dag(version.dag_id)
    default = settings.core.dags_are_paused_at_creation
    made = store.register(version, now=now, paused=default if paused is None else paused)
    if before is not None and before.stale:
        store.set_stale([version.dag_id], False, now=now)
    asked_anew = "runs" in made.spec.schedule  # a user's own timetable: its runs may be others in the same version
    if before is None or before.stale or before.version != made.number or asked_anew:
        store.set_next_run(version.dag_id, run_after=now)
    return made


def keep_version(store: Store, version: DagVersion, now: datetime) -> DagVersion:
    """Store a version for runs of its own (a kernel's, a file's outside the DAGs folder); no schedule follows it."""
    return store.register(replace(version, origin="kernel"), now=now, paused=False, activate=False)
