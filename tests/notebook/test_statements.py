"""The statements that magics and handles send: a bounded number, however much there is to show."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event

from nbflow.authoring.dag import DAG
from nbflow.authoring.decorators import task
from nbflow.core.timetables import timetable_from_schedule
from nbflow.notebook import grid, list_dags, runs, states, why
from nbflow.notebook import test as run_here
from nbflow.notebook.handles import BackfillHandle
from nbflow.notebook.session import session
from tests.store.worlds import a_run, add, register, spec

DAGS = 300


@pytest.fixture
def sent(own_home: Path) -> Callable[[Callable[[], Any]], int]:
    """The number of statements that a call sends to the metastore."""
    engine = session().app.store._engine  # type: ignore[attr-defined]

    def count(call: Callable[[], Any]) -> int:
        statements: list[str] = []

        def record(_: Any, __: Any, sql: str, *rest: Any) -> None:
            statements.extend([] if sql.startswith(("BEGIN", "PRAGMA")) else [sql])

        event.listen(engine, "before_cursor_execute", record)
        call()
        event.remove(engine, "before_cursor_execute", record)
        return len(statements)

    return count


def test_a_list_of_300_dags_takes_five_statements(sent: Callable[[Callable[[], Any]], int]) -> None:
    # Given 300 DAGs with runs, and one of this kernel
    store = session().app.store
    for number in range(DAGS):
        register(store, spec(dag_id=f"dag_{number:03d}"))
    for number in range(3):
        store.apply([add(a_run("r", dag_id=f"dag_{number:03d}"))], actor="scheduler")

    assert sent(list_dags) <= 5
    assert len(list_dags()) == DAGS


MAX_STATEMENTS = 15
"""More than any magic that shows one run needs today; what matters is that the number of tasks does not count."""


def test_what_shows_a_run_takes_as_many_statements_for_many_tasks(sent: Callable[[Callable[[], Any]], int]) -> None:
    # Given two DAGs whose tasks have failed, a small one and a large one
    def fail() -> None:
        raise ValueError("no")

    def counted(dag_id: str, tasks: int) -> dict[str, int]:
        with DAG(dag_id) as dag:
            for number in range(tasks):
                task(fail, task_id=f"t{number}")()
        handle = run_here(dag)
        return {
            "graph": sent(handle.graph),
            "states": sent(lambda: states(dag_id)),
            "why": sent(lambda: why(dag_id)),
            "why of a task": sent(lambda: why(dag_id, "t1")),
            "grid": sent(lambda: grid(dag_id)),
            "runs": sent(lambda: runs(dag_id)),
        }

    few, many = counted("small", 2), counted("large", 30)

    assert few == many
    assert max(many.values()) <= MAX_STATEMENTS


@pytest.mark.parametrize("days", [2, 30])
def test_a_backfills_progress_takes_as_many_statements_for_many_runs(
    sent: Callable[[Callable[[], Any]], int], days: int
) -> None:
    # Given a daily backfill
    here = session()
    start = datetime(2024, 1, 1, tzinfo=UTC)
    schedule = timetable_from_schedule("@daily", UTC).to_spec()
    register(here.app.store, spec(schedule=schedule, start_date=start, catchup=True))
    made = here.operations.backfill("sales", start, start + timedelta(days=days - 1))
    handle = BackfillHandle(here, "sales", made.plan, made.backfill_id, UTC)

    assert sent(handle.bundle) == 3
    assert len(handle.states) == days
