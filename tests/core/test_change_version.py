"""A run that gets another version of its DAG: tasks that are removed, new, restored, mapped or unmapped."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from nbflow.core.decide import plan_run
from nbflow.core.plan import advance
from nbflow.core.run_changes import change_version, clear, first_instances
from nbflow.core.snapshot import Run, Snapshot
from nbflow.core.spec import DagSpec, TaskSpec
from nbflow.core.states import RunState, TaskState

NOW = datetime(2024, 1, 1, tzinfo=UTC)


def dag(**mapped_over: int | None) -> DagSpec:
    """Tasks that are unmapped (None) or mapped over a literal list of that length."""
    lengths = {name: None if length is None else ("lit", length) for name, length in mapped_over.items()}
    return DagSpec(dag_id="d", tasks={name: TaskSpec(task_id=name, expand=expr) for name, expr in lengths.items()})


def started(spec: DagSpec) -> Snapshot:
    run = Run(dag_id="d", run_id="r", run_after=NOW, state=RunState.RUNNING, start_date=NOW, version=1)
    return Snapshot(dag=spec, run=run, instances={ti.key: ti for ti in first_instances(spec)})


def ended(snapshot: Snapshot) -> Snapshot:
    """Every task that the scheduler starts succeeds."""
    snapshot = advance(snapshot, plan_run(snapshot, NOW).ops)
    next_state = {TaskState.SCHEDULED: TaskState.SUCCESS}
    instances = {key: replace(ti, state=next_state.get(ti.state, ti.state)) for key, ti in snapshot.instances.items()}
    return replace(snapshot, instances=instances)


def states(snapshot: Snapshot) -> dict[str, str]:
    return {str(ti.key): ti.state.value for ti in snapshot.in_order()}


@pytest.mark.parametrize(
    ("versions", "expected"),
    [
        ([dag(a=None), dag(b=None)], {"a": "removed", "b": "success"}),
        ([dag(a=None), dag(b=None), dag(a=None)], {"a": "success", "b": "removed"}),
        ([dag(a=2), dag(a=3)], {"a[0]": "success", "a[1]": "success", "a[2]": "success"}),
        ([dag(a=2), dag(a=1)], {"a[0]": "success", "a[1]": "removed"}),
        ([dag(a=2), dag(a=1), dag(a=2)], {"a[0]": "success", "a[1]": "success"}),
        ([dag(a=None), dag(a=2)], {"a[0]": "success", "a[1]": "success"}),
        ([dag(a=2), dag(a=None)], {"a": "success", "a[0]": "removed", "a[1]": "removed"}),
        ([dag(a=2), dag(a=None), dag(a=2)], {"a": "removed", "a[0]": "success", "a[1]": "success"}),
        ([dag(a=2), dag(b=None), dag(a=2)], {"a[0]": "success", "a[1]": "success", "b": "removed"}),
    ],
    ids=["gone", "back", "longer", "shorter", "long again", "mapped", "unmapped", "mapped again", "mapped and back"],
)
def test_after_each_version_exactly_its_instances_run(versions: list[DagSpec], expected: dict[str, str]) -> None:
    snapshot = ended(started(versions[0]))
    for number, version in enumerate(versions[1:], 2):
        snapshot = advance(snapshot, change_version(snapshot, version, number, NOW).ops)
        snapshot = advance(snapshot, clear(snapshot, set(version.tasks), NOW).ops)
        snapshot = ended(snapshot)

    assert states(snapshot) == expected
    assert plan_run(snapshot, NOW).moves == []
