"""Pruning of old rows, and archives."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import event

from nbflow.core.snapshot import RunKey, TaskKey
from nbflow.core.states import RunCause, RunState
from nbflow.errors import StoreError
from nbflow.store import open_store
from nbflow.store.base import DEAD_AFTER, PRUNABLE, Job, Store
from tests.store.worlds import T0, a_run, after, begin, ended, plan, register, run_move, started_run


def _an_old_run(store: Store) -> RunKey:
    """A run that ended at T0 + 1 s and has an XCom and rendered fields; and lines of the audit log and of a job."""
    register(store)
    key = started_run(store, a_run("old", 0, run_type="manual"))
    attempt = begin(store, key, "extract")
    store.xcom_push(attempt, "return_value", '"a, \\"b\\""', now=T0)
    store.put_rendered(attempt, {"sql": "SELECT 1"})
    store.apply([plan(ended(key, "extract", attempt))], actor="worker")
    end = run_move(key, RunState.RUNNING, RunState.SUCCESS, RunCause.ALL_TASKS_DONE, changes={"end_date": after(1)})
    store.apply([end], actor="scheduler")
    job = Job(job_id="j1", kind="scheduler", hostname="h", pid=1, started_at=T0, heartbeat_at=T0, ended_at=T0)
    store.put_job(job)
    store.put_job(replace(job, job_id="j2", heartbeat_at=after(9), ended_at=None))
    store.audit("trigger", actor="ada", now=T0, detail={"n": 1})
    store.audit("clear", actor="ada", now=after(9), detail={})
    return key


def test_pruning_deletes_from_the_named_tables(store: Store) -> None:
    # Given an old run, a dead and a running process, an old and a new row in the audit log
    key = _an_old_run(store)

    # When parts are pruned, each by its name
    preview = store.prune(before=after(5), tables=PRUNABLE, dry_run=True)
    parts = [store.prune(before=after(5), tables=[table]) for table in ("xcom", "rendered", "job", "audit")]
    remaining = (store.run(key) is not None, store.xcoms(key), store.rendered(key, TaskKey("extract")))
    counts = store.prune(before=after(5), tables=PRUNABLE)

    # Then each call deletes the rows of its table and no others
    assert parts == [{"xcom": 1}, {"rendered": 1}, {"job": 1}, {"audit": 1}]
    assert remaining == (True, [], None)
    assert preview == {"dag_run": 1, "task_instance": 2, "task_event": 7, "attempt": 1} | {
        "xcom": 1,
        "rendered": 1,
        "job": 1,
        "audit": 1,
    }
    assert counts == {"dag_run": 1, "task_instance": 2, "task_event": 7, "attempt": 1}
    assert ([job.job_id for job in store.jobs()], [row["action"] for row in store.audit_log()]) == (["j2"], ["clear"])


def test_a_silent_process_is_pruned_after_a_day(store: Store) -> None:
    store.put_job(Job(job_id="j", kind="scheduler", hostname="h", pid=1, started_at=T0, heartbeat_at=T0))

    assert store.prune(before=T0 + DEAD_AFTER, tables=["job"]) == {}
    assert store.prune(before=T0 + DEAD_AFTER + timedelta(seconds=1), tables=["job"]) == {"job": 1}


def test_pruned_rows_are_copied_into_archives(database_url: str) -> None:
    # Given old rows in a database
    store = open_store(database_url)
    key = _an_old_run(store)

    # When they are pruned into archives
    deleted = store.prune(before=after(5), tables=PRUNABLE, archive=T0)

    # Then each table has an archive named after the table and the time
    names = {f"_nbflow_deleted__{table}__20240101000000000000": count for table, count in deleted.items()}
    assert (store.archives(), store.run(key)) == (names, None)
    assert [*store.archived("_nbflow_deleted__audit__20240101000000000000")] == [
        ["seq", "at", "actor", "action", "ok", "detail"],
        (1, T0, "ada", "trigger", True, '{"n":1}'),
    ]
    head, row = store.archived("_nbflow_deleted__xcom__20240101000000000000")
    assert dict(zip(head, row, strict=True)) | {"run_no": 1} == {
        "run_no": 1,
        "task_id": "extract",
        "map_index": -1,
        "key": "return_value",
        "value": '"a, \\"b\\""',
        "attempt_id": row[head.index("attempt_id")],
        "at": T0,
    }

    # And they can be dropped one by one, and do not affect check()
    first, *rest = sorted(names)
    store.drop_archives([first, "dag_run"])
    assert [*store.archives()] == rest
    store.drop_archives(rest)
    assert store.archives() == {}
    store.check()


def test_pruning_that_fails_is_rolled_back(database_url: str) -> None:
    # Given an archive of the same time, so that its name exists already
    store = open_store(database_url)
    key = _an_old_run(store)
    store.prune(before=after(5), tables=["audit"], archive=T0)
    store.audit("late", actor="ada", now=T0, detail={})

    # When rows are archived, and the last archive cannot be created
    with pytest.raises(StoreError, match="exists"):
        store.prune(before=after(5), tables=PRUNABLE, archive=T0)

    # Then nothing has changed
    assert store.run(key) is not None
    assert [*store.archives()] == ["_nbflow_deleted__audit__20240101000000000000"]
    assert [row["action"] for row in store.audit_log()] == ["late", "clear"]


def test_the_query_for_old_runs_has_no_correlated_subquery(sqlite_url: str) -> None:
    # Given a store whose statements are recorded
    store = open_store(sqlite_url)
    engine = store._engine  # type: ignore[attr-defined]
    statements: list[tuple[str, Any]] = []
    event.listen(
        engine, "before_cursor_execute", lambda connection, cursor, sql, values, *rest: statements.append((sql, values))
    )

    # When it is pruned
    store.prune(before=T0)
    (sql, values) = next(entry for entry in statements if entry[0].startswith("SELECT dag_run.id"))

    # Then the latest scheduled run is computed once per DAG, not once per run
    with engine.connect() as connection:
        steps = [row[-1] for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {sql}", values)]
    assert [step for step in steps if "CORRELATED" in step] == []


def test_pruning_keeps_the_runs_of_backfills_that_the_schedule_would_repeat(store: Store) -> None:
    # Given ended runs: of the schedule, and of backfills before and after its latest run
    register(store)
    runs = [
        a_run("s1", 1, run_type="scheduled"),
        a_run("b2", 2, run_type="backfill"),
        a_run("s3", 3, run_type="scheduled"),
        a_run("b4", 4, run_type="backfill"),
        a_run("m5", 5, run_type="manual"),
    ]
    for run in runs:
        key = started_run(store, run)
        end = run_move(key, RunState.RUNNING, RunState.SUCCESS, RunCause.ALL_TASKS_DONE, changes={"end_date": T0})
        store.apply([end], actor="scheduler")

    # When everything old is pruned
    store.prune(before=after(1))

    # Then the schedule still knows which intervals have a run
    assert [run.run_id for run in store.runs("sales", newest_first=False)] == ["s3", "b4"]
