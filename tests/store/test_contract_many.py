"""Queries for many DAGs or runs, each in one statement."""

from __future__ import annotations

from dataclasses import replace

from sqlalchemy import event

from nbflow.core.snapshot import Instance, RunKey
from nbflow.core.states import RunState
from nbflow.store import open_store
from nbflow.store.base import DagRow, DagVersion, Store
from tests.store.worlds import T0, a_run, add, after, register, spec, started_run

MISSING = RunKey("sales", "missing")


def _three_dags(store: Store) -> None:
    """ "sales" with four runs, "stock" with one, "idle" with none."""
    for dag_id in ("sales", "stock", "idle"):
        register(store, spec(dag_id=dag_id))
    for day in (2, 0, 3, 1):
        store.apply([add(a_run(f"r{day}", day))], actor="scheduler")
    started_run(store, a_run("only", dag_id="stock"), Instance(task_id="load", map_index=1), "extract")


def test_recent_runs_are_the_latest_of_each_dag_in_the_order_of_runs(store: Store) -> None:
    _three_dags(store)

    recent = store.recent_runs(["stock", "sales", "idle", "missing"], limit=3)

    assert {dag_id: [run.run_id for run in runs] for dag_id, runs in recent.items()} == {
        "sales": ["r3", "r2", "r1"],
        "stock": ["only"],
    }
    assert recent["sales"] == store.runs("sales", limit=3)
    assert store.recent_runs([], limit=3) == {}


def test_run_states_are_those_of_the_runs_that_exist(store: Store) -> None:
    _three_dags(store)

    states = store.run_states([RunKey("stock", "only"), MISSING, RunKey("sales", "r0")])

    assert states == {RunKey("stock", "only"): RunState.RUNNING, RunKey("sales", "r0"): RunState.QUEUED}
    assert store.run_states([]) == {}


def test_instances_of_runs_are_those_of_each_run(store: Store) -> None:
    _three_dags(store)
    runs = [RunKey("stock", "only"), MISSING, RunKey("sales", "r0")]

    tis = store.instances_of_runs(runs)

    assert tis == {run: store.instances(run) for run in runs}
    assert [str(ti.key) for ti in tis[RunKey("stock", "only")]] == ["extract", "load[1]"]
    assert tis[MISSING] == []
    assert store.instances_of_runs([]) == {}


def test_an_unscheduled_dag_has_the_row_of_its_newest_version(store: Store) -> None:
    # Given a scheduled DAG, and one of which a kernel has registered two versions
    register(store)
    kernel = DagVersion(dag_id="mine", spec=spec(dag_id="mine"), fileloc="<kernel 1>", origin="kernel")
    store.register(kernel, now=T0, paused=False, activate=False)
    newer = spec(dag_id="mine", schedule_text="@daily", timezone="Europe/Berlin", tags=("t",), owners=("ada",))
    store.register(replace(kernel, spec=newer), now=after(1), paused=False, activate=False)

    rows = store.unscheduled_dags(["sales", "mine", "missing"])

    assert rows == [
        DagRow(
            dag_id="mine",
            version=2,
            fileloc="<kernel 1>",
            paused=False,
            schedule_text="@daily",
            timezone="Europe/Berlin",
            tags=("t",),
            owners=("ada",),
            last_parsed_at=after(1),
        )
    ]
    assert store.unscheduled_dags([]) == []


def test_the_row_of_a_dag_has_its_time_zone(store: Store) -> None:
    register(store, spec(timezone="Asia/Tokyo"))

    assert [row.timezone for row in store.dags()] == ["Asia/Tokyo"]


def test_queries_for_many_keys_are_one_statement(database_url: str) -> None:
    store = open_store(database_url)
    _three_dags(store)
    runs = [run.key for run in store.runs()]
    statements: list[str] = []
    event.listen(store._engine, "before_cursor_execute", lambda *args: statements.append(args[2]))  # type: ignore[attr-defined]
    queries = (
        lambda: store.recent_runs(["sales", "stock", "idle"], limit=14),
        lambda: store.run_states(runs),
        lambda: store.instances_of_runs(runs),
        lambda: store.unscheduled_dags(["sales", "stock"]),
    )

    for query in queries:
        statements.clear()
        query()
        assert len(statements) == 1, statements
    store.close()
