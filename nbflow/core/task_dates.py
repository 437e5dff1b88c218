"""A task's start_date and end_date: outside of them its instances are skipped."""

from __future__ import annotations

from datetime import datetime

from nbflow.core.spec import DagSpec, TaskSpec


def is_outside_dates(task: TaskSpec, date: datetime | None) -> bool:
    """Whether a run of this logical date skips the task."""
    if date is None:
        return False
    too_early = task.start_date is not None and date < task.start_date
    return too_early or (task.end_date is not None and date > task.end_date)


def outside_dates(dag: DagSpec, date: datetime | None) -> dict[str, object]:
    """If a run of this logical date skips every task: the nearest date of a task before or after it, as ISO text, under
    "start_date" or "end_date", with "logical_date". Otherwise empty."""
    tasks = dag.tasks.values()
    if date is None or not tasks or not all(is_outside_dates(task, date) for task in tasks):
        return {}
    starts = [task.start_date for task in tasks if task.start_date is not None and date < task.start_date]
    ends = [task.end_date for task in tasks if task.end_date is not None and date > task.end_date]
    nearest = {"start_date": min(starts).isoformat()} if starts else {"end_date": max(ends).isoformat()}
    return {"logical_date": date.isoformat(), **nearest}
