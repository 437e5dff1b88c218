"""The number of statements that each view sends does not grow with the number of DAGs, runs and tasks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sqlalchemy import event

from nbflow.config import Settings
from nbflow.core.plan import Plan
from nbflow.core.states import Cause, TaskState
from nbflow.store import open_store
from nbflow.store.base import BackfillRow, DagImportError
from nbflow.store.sql import SqlStore
from nbflow.views import NAMES, fetch
from nbflow.views.backfill import BackfillQuery
from nbflow.views.backfills import BackfillsQuery
from nbflow.views.base import Query
from nbflow.views.connections import ConnectionsQuery
from nbflow.views.dag_details import DagDetailsQuery
from nbflow.views.dag_list import DagListQuery
from nbflow.views.gantt import GanttQuery
from nbflow.views.graph import GraphQuery
from nbflow.views.grid import GridQuery
from nbflow.views.import_errors import ImportErrorsQuery
from nbflow.views.jobs import JobsQuery
from nbflow.views.next_runs import NextRunsQuery
from nbflow.views.pools import PoolsQuery
from nbflow.views.runs import RunsQuery
from nbflow.views.status import StatusQuery
from nbflow.views.task_instances import TaskInstancesQuery
from nbflow.views.task_log import TaskLogQuery
from nbflow.views.task_try import TaskTryQuery
from nbflow.views.timeline import TimelineQuery
from nbflow.views.variables import VariablesQuery
from nbflow.views.why_run import WhyRunQuery
from nbflow.views.why_task import WhyTaskQuery
from tests.store.worlds import T0, a_run, add, after, begin, ended, plan, register, spec, start_run

SMALL, LARGE = 2, 40

MAX_STATEMENTS: dict[str, tuple[Query[Any], int]] = {
    "backfill": (BackfillQuery(backfill_id=1), 3),
    "backfills": (BackfillsQuery(), 2),
    "connections": (ConnectionsQuery(), 1),
    "dag_details": (DagDetailsQuery(dag_id="sales"), 2),
    "dag_list": (DagListQuery(kernel_dags=("mine",)), 4),
    "gantt": (GanttQuery(dag_id="sales", run_id="r1"), 3),
    "graph": (GraphQuery(dag_id="sales", run_id="r1"), 5),
    "grid": (GridQuery(dag_id="sales"), 3),
    "import_errors": (ImportErrorsQuery(), 1),
    "jobs": (JobsQuery(), 1),
    "next_runs": (NextRunsQuery(dag_id="sales"), 4),
    "pools": (PoolsQuery(), 3),
    "runs": (RunsQuery(dag_id="sales"), 3),
    "status": (StatusQuery(), 7),
    "task_instances": (TaskInstancesQuery(dag_id="sales", run_id="r1"), 10),
    "task_log": (TaskLogQuery(dag_id="sales", run_id="r1", task_id="t0"), 3),
    "task_try": (TaskTryQuery(dag_id="sales", run_id="r1", task_id="t0", try_number=1), 3),
    "timeline": (TimelineQuery(dag_id="sales", start=T0, days=1), 3),
    "variables": (VariablesQuery(), 1),
    "why_run": (WhyRunQuery(dag_id="sales", run_id="r1"), 10),
    "why_task": (WhyTaskQuery(dag_id="sales", run_id="r1", task_id="t1"), 11),
}
"""A query of each view, and the maximum number of statements that it may send."""


def _fill(store: SqlStore, size: int) -> None:
    """``size`` DAGs and backfills; one DAG has ``size`` runs of ``size`` tasks. Half of the tasks of one run failed."""
    for number in range(size - 1):
        register(store, spec(dag_id=f"other_{number}"))
    tasks = [f"t{number}" for number in range(size)]
    register(store, spec(*tasks))
    runs = [a_run(f"r{day}", day) for day in range(size)]
    store.apply([add(run, *tasks) for run in runs], actor="scheduler")
    store.apply([start_run(runs[1].key)], actor="scheduler")
    attempts = {task: begin(store, runs[1].key, task) for task in tasks[::2]}
    failed = [
        ended(runs[1].key, task, attempt, Cause.RAISED, TaskState.FAILED, detail={"error": f"ValueError: {task}"})
        for task, attempt in attempts.items()
    ]
    store.apply([plan(*failed)], actor="worker")
    for number in range(size):
        _backfill(store, [run.run_id for run in runs])
        store.put_import_errors(f"/dags/{number}.py", [DagImportError(fileloc="", line=1, error="no")], now=T0)


def _backfill(store: SqlStore, run_ids: list[str]) -> None:
    row = BackfillRow(
        backfill_id=0,
        dag_id="sales",
        from_date=T0,
        to_date=after(1),
        reprocess="none",
        run_backwards=False,
        max_active_runs=1,
        entries=tuple({"ordinal": n, "logical_date": T0.isoformat(), "run_id": i} for n, i in enumerate(run_ids)),
    )
    store.add_backfill(row, Plan(), actor="test")


@pytest.fixture(scope="module")
def count_statements(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[int, Query[Any]], int]]:
    """``count_statements(size, query)``: number of statements that a fetch sends to a metastore of that size."""
    home = tmp_path_factory.mktemp("home")
    stores: dict[int, SqlStore] = {}

    def count(size: int, query: Query[Any]) -> int:
        if size not in stores:
            store = open_store(f"sqlite:///{tmp_path_factory.mktemp('store')}/nbflow.db")
            assert isinstance(store, SqlStore)
            store.migrate()
            _fill(store, size)
            stores[size] = store
        statements: list[str] = []

        def record(_: Any, __: Any, sql: str, *rest: Any) -> None:
            statements.extend([] if sql.startswith("BEGIN") else [sql])

        engine = stores[size]._engine
        event.listen(engine, "before_cursor_execute", record)
        fetch(stores[size], query, after(60), Settings.load({}, home))
        event.remove(engine, "before_cursor_execute", record)
        return len(statements)

    yield count
    for store in stores.values():
        store.close()


@pytest.mark.parametrize("name", MAX_STATEMENTS)
def test_a_view_sends_as_many_statements_for_a_large_metastore_as_for_a_small_one(
    count_statements: Callable[[int, Query[Any]], int], name: str
) -> None:
    query, maximum = MAX_STATEMENTS[name]

    small, large = count_statements(SMALL, query), count_statements(LARGE, query)

    assert small == large
    assert large <= maximum


def test_every_view_has_a_maximum() -> None:
    assert set(MAX_STATEMENTS) == set(NAMES)
