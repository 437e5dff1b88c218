"""What is deleted when it is old, and the archives that keep it."""

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
from nbflow.store.base import GONE_AFTER, PRUNABLE, Job, Store
from tests.store.worlds import T0, a_run, after, begin, ended, plan, register, run_move, started_run


def _an_old_run(store: Store) -> RunKey:
    """A run that ended at T0 + 1 s and has an XCom and rendered fields; and lines of the audit log and of a job."""
    register(store)
    key = started_run(store, a_run("old", 0, run_type="manual"))
    attempt = begin(store, key, "extract")
    store.xcom_push(attempt, "return_value", '"a, \\"b\\""', now=T0)
    store.put_rendered(attempt, {"sql": "SELECT 1"})
    store.apply([plan(ended(key, "extract", attempt))], actor="worker")
    over = run_move(key, RunState.RUNNING, RunState.SUCCESS, RunCause.ALL_TASKS_DONE, changes={"end_date": after(1)})
    store.apply([over], actor="scheduler")
    job = Job(job_id="j1", kind="scheduler", hostname="h", pid=1, started_at=T0, heartbeat_at=T0, ended_at=T0)
    store.put_job(job)
    store.put_job(replace(job, job_id="j2", heartbeat_at=after(9), ended_at=None))
    store.audit("trigger", actor="ada", now=T0, detail={"n": 1})
    store.audit("clear", actor="ada", now=after(9), detail={})
    return key


def test_pruning_takes_the_tables_that_are_named(store: Store) -> None:
    # Given an old run, an ended and a living process, an old and a new line in the audit log
    key = _an_old_run(store)

    # When parts are pruned, each by its name
    asked = store.prune(before=after(5), tables=PRUNABLE, dry_run=True)
    parts = [store.prune(before=after(5), tables=[table]) for table in ("xcom", "rendered", "job", "audit")]
    left = (store.run(key) is not None, store.xcoms(key), store.rendered(key, TaskKey("extract")))
    whole = store.prune(before=after(5), tables=PRUNABLE)

    # Then each took its own rows and no others
    assert parts == [{"xcom": 1}, {"rendered": 1}, {"job": 1}, {"audit": 1}]
    assert left == (True, [], None)
    assert asked == {"dag_run": 1, "task_instance": 2, "task_event": 7, "attempt": 1} | {
        "xcom": 1,
        "rendered": 1,
        "job": 1,
        "audit": 1,
    }
    assert whole == {"dag_run": 1, "task_instance": 2, "task_event": 7, "attempt": 1}
    assert ([job.job_id for job in store.jobs()], [line["action"] for line in store.audit_log()]) == (["j2"], ["clear"])


def test_a_silent_process_is_pruned_after_a_day(store: Store) -> None:
    store.put_job(Job(job_id="j", kind="scheduler", hostname="h", pid=1, started_at=T0, heartbeat_at=T0))

    assert store.prune(before=T0 + GONE_AFTER, tables=["job"]) == {}
    assert store.prune(before=T0 + GONE_AFTER + timedelta(seconds=1), tables=["job"]) == {"job": 1}


def test_what_is_pruned_is_kept_in_archives(database_url: str) -> None:
    # Given old rows in a database
    store = open_store(database_url)
    key = _an_old_run(store)

    # When they are pruned into archives
    gone = store.prune(before=after(5), tables=PRUNABLE, archive=T0)

    # Then each table's are in one that is called after it and the moment
    names = {f"_nbflow_deleted__{table}__20240101000000000000": count for table, count in gone.items()}
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

    # And they go one by one, and are no obstacle to another migration
    first, *rest = sorted(names)
    store.drop_archives([first, "dag_run"])
    assert [*store.archives()] == rest
    store.drop_archives(rest)
    assert store.archives() == {}
    store.check()


def test_pruning_that_fails_halfway_keeps_every_row_where_it_was(database_url: str) -> None:
    # Given archives of the same moment, so that the names are taken
    store = open_store(database_url)
    key = _an_old_run(store)
    store.prune(before=after(5), tables=["audit"], archive=T0)
    store.audit("late", actor="ada", now=T0, detail={})

    # When rows are to go into archives, the last of which cannot be made
    with pytest.raises(StoreError, match="exists"):
        store.prune(before=after(5), tables=PRUNABLE, archive=T0)

    # Then nothing has moved
    assert store.run(key) is not None
    assert [*store.archives()] == ["_nbflow_deleted__audit__20240101000000000000"]
    assert [line["action"] for line in store.audit_log()] == ["late", "clear"]


def test_what_is_old_is_found_in_one_pass(sqlite_url: str) -> None:
    # Given a store whose statements are listened to
    store = open_store(sqlite_url)
    engine = store._engine  # type: ignore[attr-defined]
    asked: list[tuple[str, Any]] = []
    event.listen(engine, "before_cursor_execute", lambda one, cursor, sql, values, *rest: asked.append((sql, values)))

    # When it is pruned
    store.prune(before=T0)
    (sql, values) = next(one for one in asked if one[0].startswith("SELECT dag_run.id"))

    # Then it looks for the latest scheduled run of each DAG once, not for each run
    with engine.connect() as connection:
        steps = [row[-1] for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {sql}", values)]
    assert [step for step in steps if "CORRELATED" in step] == []
