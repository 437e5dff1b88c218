"""Why the tasks of a run wait, and what failed."""

from __future__ import annotations

from pathlib import Path

import pytest

from nbflow.config import Settings
from nbflow.core.snapshot import RunKey
from nbflow.errors import DagRunNotFound, TaskInstanceNotFound
from nbflow.store import open_store
from nbflow.store.base import Store
from nbflow.views import fetch
from nbflow.views.why_run import FailedTry, WhyRow, WhyRunQuery
from nbflow.views.why_task import WhyTaskQuery
from tests.store.worlds import C, S, a_run, after, begin, ended, move, plan, register, spec, started_run, with_task

RUN = RunKey("sales", "r1")


@pytest.fixture
def store() -> Store:
    """A run in which one task waits for its next try, one for its upstream task, and one has failed."""
    store = open_store("memory://")
    dag = with_task(spec("extract", "load", "mail", timezone="Europe/Berlin"), "load", upstream=("extract",))
    register(store, with_task(dag, "extract", retries=1))
    started_run(store, a_run(), "extract", "load", "mail")
    first = begin(store, RUN, "extract", at=after(1))
    error = {"error": "Traceback ...\nOSError: no network"}
    retry = move(
        RUN, "extract", S.RUNNING, C.RAISED, S.UP_FOR_RETRY, at=after(2), attempt=first, detail=error,
        attempt_id=None, end_date=after(2), next_at=after(302),
    )  # fmt: skip
    mail = begin(store, RUN, "mail", at=after(1))
    store.apply([plan(retry, ended(RUN, "mail", mail, C.RAISED, S.FAILED, detail={"error": "no"}))], actor="worker")
    return store


def test_why_of_a_run_has_a_row_for_each_waiting_and_failed_task(store: Store, tmp_path: Path) -> None:
    view = fetch(store, WhyRunQuery(dag_id="sales", run_id="r1"), after(3), Settings.load({}, tmp_path))

    assert [(row.id, row.state, row.kind, row.until, row.error) for row in view.rows] == [
        ("extract", "up_for_retry", "no_scheduler", after(302), "OSError: no network"),
        ("load", "none", "upstream", None, ""),
        ("mail", "failed", "", None, "no"),
    ]
    assert view.rows[2] == WhyRow(task_id="mail", state="failed", error="no")
    assert view.failures == (
        FailedTry(task_id="extract", try_number=1, error="Traceback ...\nOSError: no network"),
        FailedTry(task_id="mail", try_number=1, error="no"),
    )
    # And it changes without a commit when the next try is due
    assert view.wake_at == after(302)
    # And its times are in the time zone of the DAG
    assert view.rows[0].until is not None
    assert f"{view.rows[0].until:%z}" == "+0100"


def test_why_of_a_task_shows_the_error_of_its_previous_try(store: Store, tmp_path: Path) -> None:
    query = WhyTaskQuery(dag_id="sales", run_id="r1", task_id="extract")

    view = fetch(store, query, after(3), Settings.load({}, tmp_path))

    assert (view.name, view.state, view.until) == ("extract", "up_for_retry", after(302))
    assert view.grounds == ("Previous try: OSError: no network",)
    assert [event.to_state for event in view.history] == ["scheduled", "queued", "running", "up_for_retry"]


def test_why_of_an_unknown_run_or_task_instance_raises(store: Store, tmp_path: Path) -> None:
    settings = Settings.load({}, tmp_path)
    with pytest.raises(DagRunNotFound, match="DAG 'sales' has no run 'r9'"):
        fetch(store, WhyRunQuery(dag_id="sales", run_id="r9"), after(3), settings)
    with pytest.raises(TaskInstanceNotFound, match=r"Task 'load\[3\]' has no instance in r1 yet"):
        fetch(store, WhyTaskQuery(dag_id="sales", run_id="r1", task_id="load", map_index=3), after(3), settings)
