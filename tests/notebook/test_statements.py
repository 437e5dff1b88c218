"""The number of statements that magics and handles send does not grow with the number of DAGs, runs and tasks."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event

from nbflow.authoring.dag import DAG
from nbflow.authoring.task_decorators import task
from nbflow.core.timetables import timetable_from_schedule
from nbflow.notebook import grid, list_dags, runs, states, why
from nbflow.notebook import test as run_dag_test
from nbflow.notebook.run_handles import BackfillHandle
from nbflow.notebook.session import current_session
from tests.store.worlds import a_run, add, register, spec

DAGS = 300


@pytest.fixture
def count_statements(notebook_home: Path) -> Callable[[Callable[[], Any]], int]:
    """``count_statements(call)``: number of statements that a call sends to the metastore."""
    engine = current_session().app.store._engine  # type: ignore[attr-defined]

    def count(call: Callable[[], Any]) -> int:
        statements: list[str] = []

        def record(_: Any, __: Any, sql: str, *rest: Any) -> None:
            statements.extend([] if sql.startswith(("BEGIN", "PRAGMA")) else [sql])

        event.listen(engine, "before_cursor_execute", record)
        call()
        event.remove(engine, "before_cursor_execute", record)
        return len(statements)

    return count


def test_a_list_of_300_dags_takes_five_statements(count_statements: Callable[[Callable[[], Any]], int]) -> None:
    # Given 300 DAGs with runs, and one of this kernel
    store = current_session().app.store
    for number in range(DAGS):
        register(store, spec(dag_id=f"dag_{number:03d}"))
    for number in range(3):
        store.apply([add(a_run("r", dag_id=f"dag_{number:03d}"))], actor="scheduler")

    assert count_statements(list_dags) <= 5
    assert len(list_dags()) == DAGS


MAX_STATEMENTS = 15
"""More than any magic that shows one run sends today. The test is that the number of tasks makes no difference."""


def test_the_display_of_a_run_takes_as_many_statements_for_many_tasks_as_for_few(
    count_statements: Callable[[Callable[[], Any]], int],
) -> None:
    # Given a small and a large DAG whose tasks have failed
    def fail() -> None:
        raise ValueError("no")

    def count(dag_id: str, tasks: int) -> dict[str, int]:
        with DAG(dag_id) as dag:
            for number in range(tasks):
                task(fail, task_id=f"t{number}")()
        handle = run_dag_test(dag)
        return {
            "graph": count_statements(handle.graph),
            "states": count_statements(lambda: states(dag_id)),
            "why": count_statements(lambda: why(dag_id)),
            "why of a task": count_statements(lambda: why(dag_id, "t1")),
            "grid": count_statements(lambda: grid(dag_id)),
            "runs": count_statements(lambda: runs(dag_id)),
        }

    small, large = count("small", 2), count("large", 30)

    assert small == large
    assert max(large.values()) <= MAX_STATEMENTS


@pytest.mark.parametrize("days", [2, 30])
def test_the_display_of_a_backfill_takes_three_statements(
    count_statements: Callable[[Callable[[], Any]], int], days: int
) -> None:
    # Given a daily backfill
    session = current_session()
    start = datetime(2024, 1, 1, tzinfo=UTC)
    schedule = timetable_from_schedule("@daily", UTC).to_spec()
    register(session.app.store, spec(schedule=schedule, start_date=start, catchup=True))
    backfill = session.operations.backfill("sales", start, start + timedelta(days=days - 1))
    handle = BackfillHandle(session, "sales", backfill.plan, backfill.backfill_id, UTC)

    assert count_statements(handle.bundle) == 3
    assert len(handle.states) == days
