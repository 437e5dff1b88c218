"""Reasons for waiting: the code that decides that a task instance or a run waits also creates the reason.

``KINDS`` lists every kind of reason with its meaning.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType
from typing import Any

from nbflow.suggested_commands import SuggestedCommand

KINDS: Mapping[str, str] = MappingProxyType(
    {
        "upstream": "waits for upstream tasks",
        "past": "waits for the same task in the previous run (depends_on_past)",
        "past_downstream": "waits for its downstream tasks in the previous run (wait_for_downstream)",
        "length": "waits for the result that it is mapped over",
        "stuck": "its trigger rule can never be met",
        "retry": "waits for its retry delay",
        "reschedule": "waits for its next check",
        "deferred": "waits for its trigger",
        "task_dates": "the logical date is outside the task's start_date and end_date",
        "slot": "waits for an executor slot",
        "pool": "its pool is full",
        "pool_missing": "its pool does not exist",
        "pool_too_small": "it needs more slots than its pool has",
        "max_active_tasks": "max_active_tasks of its DAG is reached",
        "max_active_tis_per_dag": "max_active_tis_per_dag of the task is reached",
        "max_active_tis_per_dagrun": "max_active_tis_per_dagrun of the task is reached",
        "priority": "a task of higher priority starts first",
        "executor": "it is queued in the executor",
        "running": "it is running",
        "restarting": "its previous attempt is being killed",
        "paused": "its DAG is paused",
        "run_queued": "its run has not started",
        "run_finished": "its run has ended",
        "max_active_runs": "max_active_runs of its DAG is reached",
        "backfill_limit": "max_active_runs of its backfill is reached",
        "no_scheduler": "no scheduler is running",
        "set_aside": "the scheduler cannot read its run, or cannot store the run's changes",
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitReason:
    """Why a task instance or a run waits now."""

    kind: str
    """A key of :data:`KINDS`."""
    text: str
    """Sentences for users; they end with the command that ends the waiting, if there is one."""
    detail: Mapping[str, Any] = field(default_factory=dict)
    """The values behind the text; JSON."""
    until: datetime | None = None
    """When waiting ends without any event, if that is known."""
    suggestions: Sequence[SuggestedCommand] = ()
    """Commands that the text names."""

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"unknown kind of wait {self.kind!r}; add it to nbflow.core.wait_reasons.KINDS")
