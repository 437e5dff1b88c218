"""States of all task instances -> state of the run, by plan_run on a constructed snapshot."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from nbflow.core.decide import plan_run
from nbflow.core.plan import RunMove
from nbflow.core.snapshot import Instance, Run, Snapshot, TaskKey
from nbflow.core.spec import DagSpec, TaskSpec
from nbflow.core.states import RunState, TaskState

NOW = datetime(2024, 1, 2, tzinfo=UTC)


def _snapshot(case) -> Snapshot:
    upstream = {task_id: set() for task_id in case["task_states"]}
    for before, after in case["edges"]:
        upstream[after].add(before)
    order = []
    while len(order) < len(upstream):
        order += sorted(t for t in upstream if t not in order and upstream[t] <= set(order))
    tasks = {}
    for task_id in order:
        teardown = task_id in case["teardowns"]
        tasks[task_id] = TaskSpec(
            task_id=task_id,
            upstream=tuple(sorted(upstream[task_id])),
            is_setup=task_id in case["setups"],
            is_teardown=teardown,
            on_failure_fail_dagrun=teardown and case["on_failure_fail_dagrun"],
        )
    run = Run(dag_id="d", run_id="r", state=RunState.RUNNING, run_after=NOW, start_date=NOW)
    instances = {
        TaskKey(task_id): Instance(task_id=task_id, state=TaskState(state) if state else TaskState.NONE, try_number=1)
        for task_id, state in case["task_states"].items()
    }
    return Snapshot(dag=DagSpec(dag_id="d", tasks=tasks), run=run, instances=instances)


def _state_after(snapshot: Snapshot) -> str:
    targets = [op.target for op in plan_run(snapshot, NOW).ops if isinstance(op, RunMove)]
    return (targets or [snapshot.run.state])[-1].value


@pytest.mark.facts("run_state")
def test_run_state(case, check):
    check(lambda: _state_after(_snapshot(case)))
