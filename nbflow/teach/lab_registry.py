"""The table of labs. A new lab is a notebook in ``labs/``, a solution in ``labs/solutions/``, and an entry here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from nbflow.core.states import TaskState
from nbflow.teach.checks import (
    Check,
    DagHasTasks,
    DirectlyUpstream,
    FirstRunPredicted,
    Retried,
    Returned,
    RunEnded,
    Scheduled,
    TasksEnded,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Exercise:
    """One exercise; its number is its position in the lab, from 1."""

    title: str
    checks: tuple[Check, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class LabSpec:
    """A lab: its exercises in order."""

    title: str
    exercises: tuple[Exercise, ...]


_S, _K = TaskState.SUCCESS, TaskState.SKIPPED

LABS: Mapping[str, LabSpec] = {
    "01_hello_dag": LabSpec(
        title="Hello, DAG",
        exercises=(
            Exercise(
                title="Two tasks in order",
                checks=(
                    DagHasTasks(dag_id="hello", tasks=frozenset({"greet", "shout"})),
                    DirectlyUpstream(dag_id="hello", task_id="shout", upstream=frozenset({"greet"})),
                ),
            ),
            Exercise(
                title="Run it",
                checks=(
                    RunEnded(dag_id="hello"),
                    Returned(dag_id="hello", task_id="shout", value="HELLO"),
                ),
            ),
            Exercise(
                title="Join after a branch",
                checks=(
                    DagHasTasks(dag_id="hello_branch", tasks=frozenset({"choose", "formal", "casual", "sign"})),
                    DirectlyUpstream(dag_id="hello_branch", task_id="sign", upstream=frozenset({"formal", "casual"})),
                    RunEnded(dag_id="hello_branch"),
                    TasksEnded(
                        dag_id="hello_branch",
                        outcomes=(
                            {"formal": _S, "casual": _K, "sign": _S},
                            {"formal": _K, "casual": _S, "sign": _S},
                        ),
                        expected="One of `formal` and `casual` was skipped, and `sign` succeeded.",
                        hint="The default trigger rule is `all_success`: it skips a task when an upstream task was "
                        'skipped. Try `trigger_rule="none_failed_min_one_success"` for `sign`.',
                    ),
                ),
            ),
            Exercise(
                title="Fail and retry",
                checks=(
                    DagHasTasks(dag_id="hello_retry", tasks=frozenset({"call"})),
                    Retried(dag_id="hello_retry", task_id="call"),
                ),
            ),
            Exercise(
                title="When does the first run start?",
                checks=(
                    Scheduled(dag_id="hello_daily", schedule="0 6 * * *", start=datetime(2024, 1, 1, tzinfo=UTC)),
                    FirstRunPredicted(dag_id="hello_daily"),
                ),
            ),
        ),
    ),
}
