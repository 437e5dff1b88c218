"""Runs and task instances as rows: the machine-readable contract of the commands that list them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from nbflow.core.snapshot import Instance, Run
from nbflow.core.states import TaskState

RUN_COLUMNS = (
    "dag_id",
    "run_id",
    "run_type",
    "state",
    "logical_date",
    "data_interval_start",
    "data_interval_end",
    "start_date",
    "end_date",
)
INSTANCE_COLUMNS = (
    "dag_id",
    "run_id",
    "logical_date",
    "task_id",
    "map_index",
    "state",
    "try_number",
    "start_date",
    "end_date",
)


def run_row(run: Run) -> dict[str, Any]:
    """One run, as ``dags list-runs`` and ``dags trigger`` show it."""
    return {name: getattr(run, name) for name in RUN_COLUMNS}


def state_word(state: TaskState) -> str | None:
    """A task with no state yet has none, as in Airflow."""
    return None if state is TaskState.NONE else state.value


def instance_row(run: Run, one: Instance) -> dict[str, Any]:
    """One task instance, as ``tasks states-for-dag-run`` shows it."""
    return {
        "dag_id": run.dag_id,
        "run_id": run.run_id,
        "logical_date": run.logical_date,
        "task_id": one.task_id,
        "map_index": one.map_index,
        "state": state_word(one.state),
        "try_number": one.try_number,
        "start_date": one.start_date,
        "end_date": one.end_date,
    }


def run_object(run: Run, instances: Iterable[Instance]) -> dict[str, Any]:
    """A finished run with its instances: the one object that ``dags test -o json`` prints."""
    rows: list[Mapping[str, Any]] = [
        {
            "task_id": one.task_id,
            "map_index": one.map_index,
            "state": state_word(one.state),
            "try_number": one.try_number,
        }
        for one in instances
    ]
    return {
        "dag_id": run.dag_id,
        "run_id": run.run_id,
        "logical_date": run.logical_date,
        "state": run.state,
        "task_instances": rows,
    }
