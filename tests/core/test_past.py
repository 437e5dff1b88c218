"""depends_on_past and wait_for_downstream."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from nbflow.core.snapshot import PreviousRun, Run, Snapshot
from nbflow.core.spec import DagSpec, TaskSpec
from nbflow.core.states import RunState, TaskState
from nbflow.core.wait_reason_texts import past_wait

NOW = datetime(2024, 1, 2, tzinfo=UTC)


def wait(previous, **options):
    arguments = {"depends_on_past": True, **options}
    tasks = {"t": TaskSpec(task_id="t", **arguments), "down": TaskSpec(task_id="down", upstream=("t",))}
    run = Run(dag_id="d", run_id="r2", state=RunState.RUNNING, run_after=NOW)
    snapshot = Snapshot(dag=DagSpec(dag_id="d", tasks=tasks), run=run, instances={}, previous=previous)
    reason = past_wait(snapshot, tasks["t"])
    return reason and reason.kind


def past(known_tasks=("t", "down"), **states):
    by_task = {name: tuple(TaskState(s) for s in task_states) for name, task_states in states.items()}
    return PreviousRun(run_id="r1", states=by_task, known_tasks=frozenset(known_tasks))


@pytest.mark.parametrize(
    ("previous", "options", "kind"),
    [
        (None, {}, None),
        (past(t=["success"]), {}, None),
        (past(t=["skipped"]), {}, None),
        (past(t=["failed"]), {}, "past"),
        (past(t=["none"]), {}, "past"),
        (past(t=["success", "failed"]), {}, "past"),
        (past(t=["failed"]), {"depends_on_past": False}, None),
        (past(known_tasks=("down",)), {}, None),
        (past(known_tasks=("down",)), {"ignore_first_depends_on_past": False}, "past"),
        (past(), {}, "past"),
        (past(t=["success"], down=["failed"]), {}, None),
        (past(t=["success"], down=["failed"]), {"wait_for_downstream": True}, "past_downstream"),
        (past(t=["success"], down=["skipped"]), {"wait_for_downstream": True}, None),
    ],
)
def test_the_past_of_a_task(previous, options, kind):
    assert wait(previous, **options) == kind
