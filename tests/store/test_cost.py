"""The cost of the scheduler loop grows with the active rows, not with history: no statement scans a growing table."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sqlalchemy import event

from nbflow.core.plan import Callback
from nbflow.core.snapshot import RunKey, TaskKey
from nbflow.core.states import RunCause, RunState
from nbflow.store import open_store
from nbflow.store.sql import SqlStore
from nbflow.store.sql.tables import metadata
from tests.store.worlds import (
    LEASE,
    T0,
    C,
    S,
    a_run,
    after,
    begin,
    deferred,
    ended,
    fired,
    move,
    plan,
    queued,
    register,
    run_move,
    spec,
    started_run,
    with_task,
)

GROWING = ("dag_run", "task_instance", "task_event", "attempt", "xcom", "rendered", "audit")
ACTIVE_ONLY = ("dag_run_active", "task_instance_live", "attempt_lease", "dag_due", "backfill_unfinished")
DAG = with_task(spec("extract", "load", catchup=True), "load", depends_on_past=True)


def _history(store: SqlStore) -> None:
    register(store, DAG)
    for day in range(20):
        run = started_run(store, a_run(f"r{day}", day))
        attempt = begin(store, run, "extract")
        store.xcom_push(attempt, "k", "1", now=T0)
        store.apply([plan(ended(run, "extract", attempt))], actor="worker")
        end = run_move(run, RunState.RUNNING, RunState.SUCCESS, RunCause.ALL_TASKS_DONE, changes={"end_date": T0})
        store.apply([end], actor="scheduler")


def _long_history(store: SqlStore) -> None:
    """Copies of the last finished run, by SQL, so that the query planner has statistics as in a store in use."""
    runs = "WITH RECURSIVE n(i) AS (SELECT 1000 UNION ALL SELECT i + 1 FROM n WHERE i < 2999) "
    with store._engine.connect() as connection:
        for table, key, changed in (
            ("dag_run", "id", {"id": "i", "run_id": "'h' || i", "logical_date": "NULL", "sort_date": "'1999-' || i"}),
            ("task_instance", "run_no", {"run_no": "i"}),
            ("attempt", "run_no", {"run_no": "i", "attempt_id": "'h' || i", "id": "i"}),
            ("task_event", "run_no", {"run_no": "i", "seq": "NULL"}),
            ("xcom", "run_no", {"run_no": "i"}),
        ):
            columns = ", ".join(f'"{column.name}"' for column in metadata.tables[table].c)
            values = ", ".join(changed.get(column.name, f'x."{column.name}"') for column in metadata.tables[table].c)
            last = f"FROM n, {table} AS x WHERE x.{key} = (SELECT max(id) FROM dag_run WHERE id < 1000)"
            connection.exec_driver_sql(f"INSERT INTO {table} ({columns}) {runs} SELECT {values} {last}")
        connection.exec_driver_sql("ANALYZE")


def _loop(store: SqlStore) -> None:
    """The repeated queries and writes of the scheduler, its executor and the triggerer."""
    run = started_run(store, a_run("now", 30))
    store.set_next_run("sales", run_after=T0)
    store.due_dags(T0)
    store.next_due()
    store.active_runs()
    store.active_runs("sales")
    store.lease_runs("one", [run], lease=LEASE, now=T0)
    store.latest_run("sales")
    store.newest_runs(["sales", "none"])
    store.usage()
    store.usage(without={run: 1})
    store.current_states(["a1"])
    store.dag_limits(["sales"])
    store.backfills(active=True)
    attempt = begin(store, run, "extract")
    store.set_process(attempt, pid=1, pid_started=None)
    store.heartbeat([attempt], owner="worker", lease=LEASE, now=T0)
    store.expired(after(900))
    store.live_attempts()
    store.attempt(attempt)
    store.xcom_push(attempt, "k", "1", now=T0)
    store.xcom_get(run, ["extract"], "k")
    store.put_rendered(attempt, {})
    store.apply([plan(deferred(run, "extract", attempt))], actor="worker")
    store.triggers()
    store.apply([plan(fired(run, "extract", attempt, 1), queued(run, "extract"))], actor="triggerer")
    snapshot = store.snapshot(run)
    assert snapshot is not None
    assert snapshot.previous is not None
    current_attempt = snapshot.instances[TaskKey("extract")].attempt_id
    success = move(run, "extract", S.QUEUED, C.SUCCEEDED, S.SUCCESS, attempt=current_attempt, attempt_id=None)
    callback = Callback(run=run, key=TaskKey("extract"), kind="success", at=T0)
    store.apply([plan(success, callback)], actor="worker", expect={run: snapshot.run.revision})
    store.claim_callbacks(owner="one", lease=LEASE, now=T0)
    store.finish_callback(1, error=None, now=T0)
    store.previous_success(run)
    store.counts([run])
    store.instances(run)
    store.events(run=run, after=store.last_seq() - 3)
    store.take_singleton("scheduler", "one", lease=LEASE, now=T0)
    store.run(RunKey("sales", "now"))


@pytest.fixture(params=["fresh", "analysed"])
def store(request: pytest.FixtureRequest, sqlite_url: str) -> Iterator[SqlStore]:
    """With and without statistics, which change the planner's choices."""
    opened = open_store(sqlite_url)
    assert isinstance(opened, SqlStore)
    _history(opened)
    if request.param == "analysed":
        _long_history(opened)
    opened.close()
    yield opened
    opened.close()


def _lists(store: SqlStore) -> None:
    """The queries of views for many DAGs or runs at once."""
    runs = [RunKey("sales", f"r{day}") for day in range(20)]
    store.dags()
    store.unscheduled_dags(["sales"])
    store.recent_runs(["sales"], limit=14)
    store.run_states(runs)
    store.instances_of_runs(runs)
    store.counts(runs)


def _statements(store: SqlStore, work: Callable[[SqlStore], None]) -> dict[str, Any]:
    """The statements that ``work`` executes, each with the parameters of one execution."""
    statements: dict[str, Any] = {}

    def record(_: Any, __: Any, sql: str, parameters: Any, ___: Any, many: bool) -> None:
        statements[sql] = parameters[0] if many else parameters

    event.listen(store._engine, "before_cursor_execute", record)
    work(store)
    event.remove(store._engine, "before_cursor_execute", record)
    return statements


def _scans(store: SqlStore, statements: dict[str, Any]) -> list[tuple[str, str]]:
    """The steps of these statements that scan a growing table."""
    scans = []
    with store._engine.connect() as connection:
        for sql, parameters in statements.items():
            if not re.match(r"\s*(SELECT|UPDATE|DELETE|INSERT)", sql):
                continue
            for *_, step in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {sql}", parameters):
                # "r" is a growing table in every statement that locks its rows
                table = re.match(r"SCAN (\w+)", step)
                if table and table[1] in (*GROWING, "r", "ti") and not any(name in step for name in ACTIVE_ONLY):
                    scans.append((step, sql))
    return scans


def test_no_statement_of_the_scheduler_loop_scans_a_growing_table(store: SqlStore) -> None:
    statements = _statements(store, _loop)

    assert len(statements) > 40
    # the table of callbacks contains only those that have not run yet
    assert [scan for scan in _scans(store, statements) if "FROM callback AS r" not in scan[1]] == []


def test_no_list_scans_a_growing_table(store: SqlStore) -> None:
    statements = _statements(store, _lists)

    assert len(statements) == 6
    assert _scans(store, statements) == []


def test_a_scan_is_detected(store: SqlStore) -> None:
    with store._engine.connect() as connection:
        steps = connection.exec_driver_sql("EXPLAIN QUERY PLAN SELECT * FROM dag_run WHERE state = 'running'").all()

    assert steps[0][-1] == "SCAN dag_run"


def test_a_specs_json_is_read_once(store: SqlStore) -> None:
    specs: list[str] = []

    def record(_: Any, __: Any, sql: str, *rest: Any) -> None:
        specs.extend([sql] if "SELECT dag_version.spec" in sql else [])

    event.listen(store._engine, "before_cursor_execute", record)
    run = started_run(store, a_run("now", 30))
    for _ in range(3):
        store.snapshot(run)

    assert len(specs) <= 1
