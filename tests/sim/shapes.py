"""DAGs that the tests of the simulator share."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from nbflow.core.spec import DagSpec, TaskSpec
from nbflow.core.timetables import timetable_from_schedule


def utc(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)  # type: ignore[misc,arg-type]


def chain(tasks: int = 3, *, schedule: str | None = "@hourly", dag_id: str = "d", **more: Any) -> DagSpec:
    """t0 >> t1 >> ...; from 2024-01-01 on, catching up."""
    specs = {
        f"t{n}": TaskSpec(task_id=f"t{n}", operator="PythonOperator", upstream=(f"t{n - 1}",) if n else (), retries=1)
        for n in range(tasks)
    }
    return dag_of(specs, schedule=schedule, dag_id=dag_id, **more)


def dag_of(specs: dict[str, TaskSpec], *, schedule: str | None = "@hourly", dag_id: str = "d", **more: Any) -> DagSpec:
    timetable = timetable_from_schedule(schedule)
    values = {"start_date": utc(2024, 1, 1), "catchup": True, **more}
    return DagSpec(dag_id=dag_id, tasks=specs, schedule=timetable.to_spec(), schedule_text=str(schedule), **values)
