"""``why`` gives the limit that a task really waits for."""

from __future__ import annotations

import pytest

from tests.gates import WAIT_AT

HEAD = f"""
from pathlib import Path
from nbflow import DAG, task
HERE = Path(__file__).parent
{WAIT_AT}
def hold(): wait_at(HERE / "go")
"""

FULL = {
    "slot": ("", ""),
    "max_active_tis_per_dagrun": ("", "max_active_tis_per_dagrun=1"),
    "max_active_tis_per_dag": ("", "max_active_tis_per_dag=1"),
    "max_active_tasks": (", max_active_tasks=1", ""),
}


@pytest.mark.parametrize("kind", FULL)
def test_the_reason_of_a_task_that_waits_for_a_limit_names_it(make_stage, kind):
    # Given two tasks of which a limit lets only one run
    stage = make_stage(CORE__PARALLELISM="1" if kind == "slot" else "4")
    gate = stage.close_gate("go")
    of_dag, of_task = FULL[kind]
    mapped = f"@task({of_task})\n    def t(n): hold()\n    t.expand(n=[1, 2])"
    stage.write("d.py", f"{HEAD}\nwith DAG('d', schedule=None{of_dag}):\n    {mapped}\n")
    stage.process()
    run = stage.ops.trigger("d").key

    # When one of them runs
    stage.loop_until(lambda: "running" in stage.states(run).values())
    waits = stage.ops.why(run)
    gate.open()
    stage.run_to_end(run)

    # Then the reason of the other names the limit
    assert sorted(wait.kind for wait in waits.values()) == sorted(["running", kind])


def test_the_reason_of_a_scheduled_task_of_a_paused_dag_is_the_pause(make_stage):
    stage = make_stage(CORE__PARALLELISM="1")
    gate = stage.close_gate("go")
    stage.write(
        "d.py", HEAD + "\nwith DAG('d', schedule=None):\n    @task\n    def t(n): hold()\n    t.expand(n=[1, 2])\n"
    )
    stage.process()
    run = stage.ops.trigger("d").key
    stage.loop_until(lambda: sorted(stage.states(run).values()) == ["running", "scheduled"])
    stage.ops.set_paused("d", True)
    waits = stage.ops.why(run)
    stage.ops.set_paused("d", False)
    gate.open()
    stage.run_to_end(run)

    assert sorted(wait.kind for wait in waits.values()) == ["paused", "running"]
    assert [wait.text for wait in waits.values() if wait.kind == "paused"] == [
        "DAG 'd' is paused. Unpause it with: nbflow dags unpause d"
    ]
