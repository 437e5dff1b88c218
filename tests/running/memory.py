"""A runtime that stores everything in dicts, and a helper that runs one try in a test."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from nbflow import serde
from nbflow.authoring.workload import Outcome, Workload
from nbflow.core.snapshot import Run, RunKey
from nbflow.core.states import RunState
from nbflow.errors import DagNotFound, DagRunAlreadyExists
from nbflow.execution.task_runner import run_try
from nbflow.secrets_backends import EnvironmentBackend, SecretsChain
from nbflow.secrets_masker import Masker

DAY = timedelta(days=1)
MONDAY = datetime(2024, 1, 1, tzinfo=UTC)


def a_run(logical_date: datetime = MONDAY, **overrides: Any) -> Run:
    """A scheduled run of one day."""
    values: dict[str, Any] = {
        "dag_id": "d",
        "run_id": f"scheduled__{logical_date.isoformat()}",
        "state": RunState.RUNNING,
        "logical_date": logical_date,
        "data_interval_start": logical_date,
        "data_interval_end": logical_date + DAY,
        "run_after": logical_date + DAY,
        "start_date": logical_date + DAY,
    }
    return Run(**{**values, **overrides})


class MemoryRuntime:
    """The runtime of one task instance of ``run`` at a time. Its attributes record what a task stored."""

    def __init__(
        self, run: Run | None = None, *, now: datetime = MONDAY + DAY, environ: Mapping[str, str] | None = None
    ) -> None:
        self.run = run or a_run()
        self.task_id, self.map_index = "t", -1
        self.clock = now
        self.environ = SecretsChain([EnvironmentBackend(os.environ if environ is None else environ)])
        self.variables: dict[str, str] = {}
        self.connections: dict[str, Any] = {}
        self.rows: dict[tuple[RunKey, str, int, str], str] = {}
        self.runs: list[Run] = [self.run]
        self.states: dict[tuple[str, str, datetime], str] = {}
        self.rendered: Mapping[str, Any] | None = None
        self.intervals: dict[datetime, tuple[datetime, datetime]] = {}
        self.known_dags = {self.run.dag_id}
        self.masker: Masker | None = None

    def now(self) -> datetime:
        return self.clock

    def xcom_push(self, key: str, value: Any) -> None:
        self.rows[self.run.key, self.task_id, self.map_index, key] = serde.dumps(value, root=key)

    def xcom_get(
        self,
        task_ids: Sequence[str],
        key: str,
        *,
        dag_id: str | None = None,
        run_id: str | None = None,
        map_index: int | None = None,
        prior_dates: bool = False,
    ) -> list[tuple[str, int, Any]]:
        run_keys = [RunKey(dag_id or self.run.dag_id, run_id or self.run.run_id)]
        if prior_dates:
            earlier = [run for run in self.runs if run.logical_date <= self.run.logical_date]
            run_keys = [run.key for run in sorted(earlier, key=lambda run: run.logical_date, reverse=True)]
        values = []
        for task_id in task_ids:
            for run_key in run_keys:
                rows = sorted(
                    (index, text)
                    for (run, task, index, name), text in self.rows.items()
                    if (run, task, name) == (run_key, task_id, key) and map_index in (None, index)
                )
                values += [(task_id, index, serde.loads(text)) for index, text in rows]
                if rows:
                    break
        return values

    def stored(self, task_id: str = "t", key: str = "return_value", map_index: int = -1) -> Any:
        """The stored XCom of a task of this run, or None."""
        text = self.rows.get((self.run.key, task_id, map_index, key))
        return None if text is None else serde.loads(text)

    def get_variable(self, key: str) -> str | None:
        value = self.environ.get_variable(key)
        if value is None:
            value = self.variables.get(key)
        if value is not None and self.masker is not None:
            self.masker.add_variable(key, value)
        return value

    def set_variable(self, key: str, value: str, description: str | None = None) -> None:
        self.variables[key] = value

    def delete_variable(self, key: str) -> None:
        self.variables.pop(key, None)

    def get_connection(self, conn_id: str) -> Any | None:
        connection = self.environ.get_connection(conn_id) or self.connections.get(conn_id)
        if connection is not None and self.masker is not None:
            self.masker.add_connection(connection)
        return connection

    def put_rendered(self, fields: Mapping[str, Any]) -> None:
        self.rendered = fields

    def previous_success(self) -> Run | None:
        earlier = [
            run for run in self.runs if run.state is RunState.SUCCESS and run.logical_date < self.run.logical_date
        ]
        return max(earlier, key=lambda run: run.logical_date, default=None)

    def run_states(self, dag_id: str, logical_dates: Sequence[datetime], *, run_id: str | None = None) -> list[str]:
        return [
            run.state.value
            for run in self.runs
            if run.dag_id == dag_id and (run.run_id == run_id if run_id else run.logical_date in logical_dates)
        ]

    def task_states(
        self, dag_id: str, task_ids: Sequence[str], logical_dates: Sequence[datetime]
    ) -> list[tuple[str, int, datetime, str]]:
        return [
            (task_id, -1, date, self.states[dag_id, task_id, date])
            for task_id in task_ids
            for date in logical_dates
            if (dag_id, task_id, date) in self.states
        ]

    def latest_run(self, dag_id: str) -> Run | None:
        return max((run for run in self.runs if run.dag_id == dag_id), key=lambda run: run.run_after, default=None)

    def next_interval_after(self, moment: datetime) -> tuple[datetime, datetime] | None:
        return self.intervals.get(moment, (moment, moment + DAY))

    def trigger_dag(
        self,
        dag_id: str,
        *,
        run_id: str | None = None,
        logical_date: datetime | None = None,
        conf: Mapping[str, Any] | None = None,
        reset: bool = False,
    ) -> Run:
        if dag_id not in self.known_dags:
            raise DagNotFound(f"There is no DAG {dag_id!r}.")
        run_id = run_id or f"manual__{(logical_date or self.clock).isoformat()}"
        same = [run for run in self.runs if run.key == RunKey(dag_id, run_id)]
        if same and not reset:
            raise DagRunAlreadyExists(f"{dag_id} has a run {run_id} already.")
        run = a_run(
            logical_date or self.clock, dag_id=dag_id, run_id=run_id, run_type="manual", conf=dict(conf or {}),
            state=RunState.QUEUED,
        )  # fmt: skip
        self.runs = [other for other in self.runs if other not in same] + [run]
        return run


def attempt(
    dag: Any, task_id: str, runtime: MemoryRuntime, *, options: Mapping[str, Any] = {}, **workload: Any
) -> Outcome:
    """Run one try of a task of ``dag``, with these options of ``run_try``."""
    runtime.task_id, runtime.map_index = task_id, workload.get("map_index", -1)
    fields = {"attempt_id": "a1", "run": runtime.run, "task_id": task_id, **workload}
    return run_try(dag, dag.task_dict[task_id], Workload(**fields), runtime, **options)
