"""Registering DAG versions: to be scheduled, or only for runs from a kernel or a file outside the DAGs folder."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from nbflow.config import Settings
from nbflow.store.base import DagVersion, Store


def register_scheduled(store: Store, version: DagVersion, settings: Settings, now: datetime) -> DagVersion:
    """Store a version (unless it exists) and make the schedule follow it.

    Whether a new DAG is paused depends on its ``is_paused_upon_creation``, by default on ``[core]
    dags_are_paused_at_creation``. A stale DAG becomes active again. If anything is new, the scheduler computes the next
    run at once."""
    paused = version.spec.is_paused_upon_creation
    before = store.dag(version.dag_id)
    default = settings.core.dags_are_paused_at_creation
    registered = store.register(version, now=now, paused=default if paused is None else paused)
    if before is not None and before.stale:
        store.set_stale([version.dag_id], False, now=now)
    has_recorded_runs = "runs" in registered.spec.schedule  # of a custom timetable: they change within a version
    if before is None or before.stale or before.version != registered.number or has_recorded_runs:
        store.set_next_run(version.dag_id, run_after=now)
    return registered


def register_unscheduled(store: Store, version: DagVersion, now: datetime) -> DagVersion:
    """Store a version (from a kernel, or a file outside the DAGs folder) that is not scheduled: only runs that are
    created for it use it."""
    return store.register(replace(version, origin="kernel"), now=now, paused=False, activate=False)
