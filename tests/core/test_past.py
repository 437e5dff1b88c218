"""What a task that depends on its past may see of it."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from nbflow.core.reason_texts import past_wait
from nbflow.core.snapshot import PreviousRun, Run, Snapshot
from nbflow.core.spec import DagSpec, TaskSpec
from nbflow.core.states import RunState, TaskState

NOW = datetime(2024, 1, 2, tzinfo=UTC)


def wait(previous, **options):
    given = {"depends_on_past": True, **options}
    tasks = {"t": TaskSpec(task_id="t", **given), "down": TaskSpec(task_id="down", upstream=("t",))}
    run = Run(dag_id="d", run_id="r2", state=RunState.RUNNING, run_after=NOW)
    snapshot = Snapshot(dag=DagSpec(dag_id="d", tasks=tasks), run=run, instances={}, previous=previous)
    found = past_wait(snapshot, tasks["t"])
    return found and found.kind


def past(ever=("t", "down"), **states):
    seen = {name: tuple(TaskState(s) for s in found) for name, found in states.items()}
    return PreviousRun(run_id="r1", states=seen, ever=frozenset(ever))


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
        (past(ever=("down",)), {}, None),
        (past(ever=("down",)), {"ignore_first_depends_on_past": False}, "past"),
        (past(), {}, "past"),
        (past(t=["success"], down=["failed"]), {}, None),
        (past(t=["success"], down=["failed"]), {"wait_for_downstream": True}, "past_downstream"),
        (past(t=["success"], down=["skipped"]), {"wait_for_downstream": True}, None),
    ],
)
def test_the_past_of_a_task(previous, options, kind):
    assert wait(previous, **options) == kind
