"""The verbs as plain functions, without IPython."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest

from nbflow.authoring.dag import DAG
from nbflow.authoring.task_decorators import task
from nbflow.errors import DagNotFound, NbflowError, TaskNotFound
from nbflow.notebook import backfill, list_dags, logs, run, show, states, unpause
from nbflow.notebook import test as run_dag_test
from nbflow.notebook.session import current_session
from tests.notebook.conftest import until

FILE = """\
from nbflow import DAG, task

with DAG("sales", schedule="@daily", tags=["daily"]) as dag:
    @task
    def extract():
        print("extracting")
        return [1, 2]

    @task
    def load(row):
        if row == 2:
            raise ValueError("no twos")

    load.expand(row=extract())
"""


@pytest.fixture
def file(notebook_home: Path) -> Path:
    """A DAG file in the DAGs folder."""
    path = notebook_home / "dags" / "sales.py"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(FILE)
    return path


def test_a_dag_object_is_run_in_this_process(notebook_home: Path) -> None:
    # Given a DAG that exists only in this process
    with DAG("mine") as dag:
        task(lambda: 7, task_id="seven")()
    # When it is tested
    handle = run_dag_test(dag, date="2024-01-31")
    # Then its tasks have run, and the DAG and its states can be shown
    assert (handle.state, handle.states) == ("success", {"seven": "success"})
    assert show(dag).data.dag_id == "mine"  # type: ignore[union-attr]
    assert list(states("mine").data) == ["seven"]
    # But the scheduler cannot run it
    with pytest.raises(NbflowError, match="DAG 'mine' exists only in this process"):
        run(dag)


def test_a_run_of_a_mapped_task_has_states_logs_and_reasons(file: Path) -> None:
    # Given a DAG file, and a DAG object from it
    from nbflow.sources.loading import load_source

    [dag] = load_source(file).dags
    # When the scheduler runs it
    handle = run(dag)
    assert handle.wait(60) == "failed"
    # Then it has states, logs and reasons, and `await` returns the same as `wait`
    assert handle.states == {"extract": "success", "load[0]": "success", "load[1]": "failed"}
    assert "extracting" in handle.logs("extract").data
    assert "Task failed: ValueError: no twos" in logs("sales").data
    assert logs("sales", search="no twos").data == [line for line in logs("sales").data if "no twos" in line]
    assert handle.why().data == {"load[1]": "ValueError: no twos"}

    async def await_handle() -> str:
        return str(await handle)

    assert asyncio.run(await_handle()) == "failed"
    # And its graph counts the mapped instances
    [load_view] = [view for view in handle.graph().tasks if view.task_id == "load"]
    assert (load_view.mapped, load_view.state, load_view.note) == (2, "failed", "1 of 2 done")
    # And an unknown task raises
    with pytest.raises(TaskNotFound, match=r"DAG 'sales' has no task 'lod'\. Did you mean 'load'\?"):
        handle.logs("lod")


def test_the_graph_of_a_run_of_a_paused_dag_shows_how_to_unpause(file: Path) -> None:
    # Given a DAG file that the scheduler has parsed, and whose DAG is paused
    from nbflow.services import schedulers

    session = current_session()
    schedulers.ensure(session.app)
    until("the file is parsed", lambda: session.app.store.dag("sales"))
    # When it is run by its id
    handle = run("sales")
    # Then the timeout error says why it waits
    with pytest.raises(NbflowError, match=r"is still queued after 0\.2 s\. .*paused"):
        handle.wait(0.2)
    assert handle.graph().footer[-1] == "sales is paused, so this run waits. Unpause it with: %dag unpause sales"
    # And it runs after it is unpaused; unpausing again changes nothing
    assert (unpause("sales").data, unpause("sales").data) == (True, False)
    assert handle.wait(60) == "failed"
    assert handle.graph().footer[-1].startswith("scheduler running (pid ")
    assert list(list_dags("daily").data) == ["sales"]


def test_a_backfill_creates_the_runs_of_its_dry_run(file: Path) -> None:
    # Given a dry run of three days
    from nbflow.sources.loading import load_source

    [dag] = load_source(file).dags
    dry_run = backfill(dag, "2024-01-01", "2024-01-03", dry_run=True)
    # When the same backfill is created
    created = backfill(dag, "2024-01-01", "2024-01-03", max_active_runs=2)
    states = created.wait(60)
    # Then exactly those runs were created, and have ended
    assert created.dates == dry_run.dates
    assert list(states.values()) == ["failed", "failed", "failed"]
    # And a second backfill keeps them, unless it reprocesses failed runs
    again = backfill(dag, "2024-01-01", "2024-01-04", dry_run=True)
    assert [f"{date:%d}" for date in again.dates] == ["04"]
    failed = backfill(dag, "2024-01-01", "2024-01-03", reprocess="failed", dry_run=True)
    assert failed.dates == created.dates


def test_the_hint_for_a_dag_file_that_is_not_parsed_yet_is_to_start_the_scheduler(
    file: Path, notebook_home: Path
) -> None:
    # Given a DAG file, and no scheduler that has parsed it
    with pytest.raises(DagNotFound, match=r"are parsed only while a scheduler runs\. Start it with: %nbflow start"):
        show("sales")


def test_a_script_that_runs_its_own_dag_gets_an_error_instead_of_a_recursion(
    notebook_home: Path, tmp_path: Path
) -> None:
    # Given a script that runs its DAG at the top level
    script = tmp_path / "script.py"
    script.write_text(
        "from nbflow import DAG, task\nfrom nbflow.notebook import run\n"
        "with DAG('mine') as dag:\n    task(lambda: 1, task_id='one')()\nrun(dag)\n"
    )
    # When it is started
    ended = subprocess.run(
        [sys.executable, str(script)], env=os.environ, capture_output=True, text=True, timeout=60, check=False
    )
    # Then it ends with an error that says what to do
    assert ended.returncode == 1
    assert "script.py runs its own DAG. Put that call under: if __name__ == '__main__'." in ended.stderr


def test_wait_raises_if_no_scheduler_is_running(file: Path) -> None:
    # Given a run that is triggered after the scheduler was stopped
    from nbflow.services import schedulers
    from nbflow.sources.loading import load_source

    session = current_session()
    [dag] = load_source(file).dags
    run(dag).wait(60)
    schedulers.stop(session.app)
    dag_run = session.operations.trigger("sales")
    handle = show("sales", run=dag_run.run_id)
    handle.scheduler_timeout_seconds = 0.1  # type: ignore[union-attr]
    # Then `wait` and `await` raise
    with pytest.raises(NbflowError, match=r"No scheduler is running\. Start it with: %nbflow start\."):
        handle.wait()  # type: ignore[union-attr]

    async def await_handle() -> None:
        await handle  # type: ignore[misc]

    with pytest.raises(NbflowError, match="No scheduler is running"):
        asyncio.run(await_handle())
