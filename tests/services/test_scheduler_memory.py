"""Data that the scheduler caches between loops, and how it detects that another process has changed them."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from nbflow.core.snapshot import RunKey, TaskKey
from nbflow.core.states import RunState, TaskState

DAG_FILE = """\
from datetime import datetime, timezone
from nbflow import DAG, task, get_current_context
with DAG("d", schedule="@daily", start_date=datetime(2024, 1, 1, tzinfo=timezone.utc), catchup=False) as dag:
    @task(depends_on_past=True)
    def t():
        if get_current_context()["params"].get("bad") or get_current_context()["dag_run"].conf.get("bad"):
            raise ValueError("as requested")
    t()
"""


def day(number: int) -> datetime:
    return datetime(2024, 1, number, tzinfo=UTC)


def test_a_run_continues_when_a_user_marks_the_task_of_the_previous_run(stage) -> None:
    # Given a run of which the task failed, and the next run, which waits for it
    stage.write("d.py", DAG_FILE)
    stage.process()
    first = stage.ops.trigger("d", logical_date=day(1), conf={"bad": True}).key
    stage.run_to_end(first)
    second = stage.ops.trigger("d", logical_date=day(2)).key
    stage.loop_until(lambda: stage.store.run(second).state is RunState.RUNNING)
    waited_for = stage.ops.why(second)[TaskKey("t")].kind

    # When a user marks the failed task
    stage.ops.mark_tasks(first, [TaskKey("t")], TaskState.SUCCESS)

    # Then the second run continues
    assert waited_for == "past"
    assert stage.run_to_end(second) == {"t": "success"}


def test_a_backfill_completes_when_a_user_ends_its_last_run(stage) -> None:
    # Given a backfill of one run, which waits for its past
    stage.write("d.py", DAG_FILE)
    stage.process()
    first = stage.ops.trigger("d", logical_date=day(1), conf={"bad": True}).key
    stage.run_to_end(first)
    backfill = stage.ops.backfill("d", day(2), day(2), reprocess="failed")
    run = RunKey("d", backfill.plan.to_run[0].run_id)
    stage.loop_until(lambda: stage.store.run(run).state is RunState.RUNNING)

    # When a user marks that run failed
    stage.ops.mark_run(run, RunState.FAILED)

    # Then the backfill is completed
    stage.loop_until(lambda: stage.store.backfill(backfill.backfill_id).completed_at is not None)


PAST_FILE = """\
from datetime import datetime, timezone
from nbflow import DAG
from nbflow.operators.empty import EmptyOperator
with DAG("d", schedule=None, start_date=datetime(2024, 1, 1, tzinfo=timezone.utc), max_active_runs=1) as dag:
    EmptyOperator(task_id="a", {argument}=True) >> EmptyOperator(task_id="b")
"""


@pytest.mark.parametrize("argument", ["depends_on_past", "wait_for_downstream"])
def test_a_cleared_run_gets_the_place_of_a_run_that_waits_for_it(stage, argument) -> None:
    # Given a failed run, and the next run, which takes the only place of the DAG and waits for the failed one
    stage.write("d.py", PAST_FILE.format(argument=argument))
    stage.process()
    first = stage.ops.trigger("d", logical_date=day(1)).key
    stage.run_to_end(first)
    stage.ops.mark_tasks(first, [TaskKey("a"), TaskKey("b")], TaskState.FAILED)
    second = stage.ops.trigger("d", logical_date=day(2)).key
    stage.loop_until(lambda: stage.store.run(second).state is RunState.RUNNING)
    newest = stage.ops.find_run("d").key

    # When a user clears the failed run
    stage.ops.clear(first)

    # Then both runs succeed, one after the other
    assert stage.run_to_end(second) == {"a": "success", "b": "success"}
    assert stage.states(first) == {"a": "success", "b": "success"}
    moves = [(event.run.run_id, event.cause) for event in stage.store.events(dag_id="d") if event.key is None]
    causes = [cause for run_id, cause in moves if run_id == second.run_id]
    assert causes == ["created", "slot_free", "gave_way", "slot_free", "all_tasks_done"]
    assert newest == second
