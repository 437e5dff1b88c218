"""Views of a run in progress: each patch turns one fetch into the next."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nbflow.config import Settings
from nbflow.connections import Connection
from nbflow.core.snapshot import Instance, RunKey, TaskKey
from nbflow.core.states import Cause, RunCause, RunState, TaskState
from nbflow.store import open_store
from nbflow.store.base import DagImportError, Pool, Store
from nbflow.views import fetch, query_from_json
from nbflow.views.base import Query
from nbflow.views.patches import apply_patch, patch
from tests.store.worlds import T0, a_run, add, after, begin, ended, plan, register, run_move, spec, start_run
from tests.views.test_statements import MAX_STATEMENTS

QUERIES = {name: query for name, (query, _) in MAX_STATEMENTS.items()}
RUN = RunKey("sales", "r1")


def _steps(store: Store) -> Iterator[None]:
    """The history of a DAG, from its first version to a second run. Yields after each step."""
    from tests.views.test_statements import _backfill

    dag = spec("t0", "t1")
    register(store, dag)
    store.apply([add(a_run("r1", 1), "t0", Instance(task_id="t1", map_index=0), "t2")], actor="scheduler")
    _backfill(store, ["r1", "r2"])
    yield
    store.apply([start_run(RUN)], actor="scheduler")
    yield
    attempt = begin(store, RUN, "t0", at=after(1))
    yield
    raised = ended(RUN, "t0", attempt, Cause.RAISED, TaskState.FAILED, at=after(2), detail={"error": "ValueError: no"})
    store.apply([plan(raised)], actor="worker")
    yield
    second = begin(store, RUN, TaskKey("t1", 0), at=after(3))
    yield
    store.apply([plan(ended(RUN, TaskKey("t1", 0), second, at=after(4)))], actor="worker")
    store.apply([run_move(RUN, RunState.RUNNING, RunState.FAILED, RunCause.TASK_FAILED)], actor="scheduler")
    yield
    store.apply([add(a_run("r0", 0), "t0")], actor="scheduler")
    store.apply([add(a_run("r2", 2), "t0")], actor="scheduler")
    yield
    register(store, spec(dag_id="another"))
    store.put_import_errors("/dags/x.py", [DagImportError(fileloc="", line=1, error="no")], now=T0)
    store.set_paused("sales", True, actor="user", now=T0)
    yield
    store.set_pool(Pool(name="api", slots=3), actor="user", now=T0)
    store.set_variable("region", "eu", actor="user", now=T0)
    store.set_connection(Connection(conn_id="shop", conn_type="postgres"), actor="user", now=T0)
    yield


@pytest.mark.parametrize("name", QUERIES)
def test_each_patch_turns_one_fetch_into_the_next(name: str, tmp_path: Path) -> None:
    store, settings = open_store("memory://"), Settings.load({}, tmp_path)
    query, patched = query_from_json(json.loads(json.dumps(QUERIES[name].to_json()))), None

    states = []
    for number, _ in enumerate(_steps(store)):
        fetched = fetch(store, query, after(10 + number), settings).to_json()
        assert (fetched["view"], fetched["schema"]) == (name, 1)
        patched = apply_patch(patched, json.loads(json.dumps(patch(patched, fetched))))
        assert patched == json.loads(json.dumps(fetched))
        states.append(fetched)

    assert query == QUERIES[name]
    # And the views that show the run or the home have changed
    if name in (
        "graph", "grid", "runs", "task_instances", "why_run", "why_task", "dag_list", "gantt", "backfill", "status",
        "pools", "variables", "connections",
    ):  # fmt: skip
        assert states[0] != states[-1]


def test_a_started_task_is_a_patch_of_three_fields(tmp_path: Path) -> None:
    store, settings = open_store("memory://"), Settings.load({}, tmp_path)
    query: Query[Any] = QUERIES["graph"]
    graphs = [fetch(store, query, after(10), settings).to_json() for _ in _steps(store)]

    assert patch(graphs[1], graphs[2]) == [
        {"op": "set", "path": ["tasks", "t0", "state"], "value": "running"},
        {"op": "set", "path": ["tasks", "t0", "try_number"], "value": 1},
        {"op": "set", "path": ["tasks", "t0", "since"], "value": "2024-01-01T00:00:01.000000+00:00"},
    ]
