"""Why something waits: one small value for every wait, made by the same evaluation that decided to wait.

``KINDS`` lists every kind with the sentence that explains it. ``text`` is that sentence filled in for this case;
``detail`` holds the facts behind it as JSON; ``until`` is the moment at which waiting ends by itself, if there is one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType
from typing import Any

KINDS: Mapping[str, str] = MappingProxyType(
    {
        "upstream": "waits for tasks before it",
        "past": "waits for its own instance in the run before",
        "past_downstream": "waits for the tasks after its instance in the run before",
        "length": "waits for the list it is mapped over",
        "stuck": "its trigger rule can never be met",
        "retry": "waits for its next try",
        "reschedule": "waits for its next check",
        "deferred": "waits in the triggerer",
        "task_dates": "the logical date is outside the task's start_date and end_date",
        "slot": "every executor slot is taken",
        "pool": "its pool is full",
        "pool_missing": "its pool does not exist",
        "pool_too_small": "it needs more slots than its pool has",
        "max_active_tasks": "max_active_tasks of its DAG is reached",
        "max_active_tis_per_dag": "max_active_tis_per_dag of the task is reached",
        "max_active_tis_per_dagrun": "max_active_tis_per_dagrun of the task is reached",
        "priority": "a task of higher priority goes first",
        "executor": "it is with the executor, about to start",
        "running": "it is running",
        "restarting": "its old attempt is being ended",
        "paused": "its DAG is paused",
        "run_queued": "its run has not started",
        "run_finished": "its run has ended",
        "max_active_runs": "max_active_runs of its DAG is reached",
        "backfill_limit": "max_active_runs of its backfill is reached",
        "no_scheduler": "no scheduler is running",
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitReason:
    """One true, current reason."""

    kind: str
    text: str
    detail: Mapping[str, Any] = field(default_factory=dict)
    until: datetime | None = None

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"unknown kind of wait {self.kind!r}; add it to nbflow.core.reasons.KINDS")
