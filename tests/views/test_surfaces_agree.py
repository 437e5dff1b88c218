"""Commands and magics return the same data for one home, because they fetch the same views."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from nbflow import notebook
from nbflow.core.snapshot import Run
from nbflow.entry_points import main
from nbflow.notebook.session import end_session, session

SALES = """
from datetime import datetime
from nbflow import DAG, task

with DAG("sales", schedule="@daily", start_date=datetime(2024, 1, 1), catchup=True, tags=["shop"]):
    @task
    def extract():
        return [1, 2]

    @task(retries=1)
    def double(number):
        return number * 2

    double.expand(number=extract())
"""
FAILING = """
from nbflow import DAG, task

with DAG("failing", schedule=None):
    @task
    def wrong():
        raise ValueError("no such customer")

    @task
    def after():
        pass

    wrong() >> after()
"""

Command = Callable[..., Any]


@pytest.fixture
def command(home: Path, capsys: pytest.CaptureFixture[str]) -> Iterator[Command]:
    """``command("dags", "list")``: the JSON output of a command. The home has two DAGs, three runs and a backfill."""

    def run(*words: str) -> Any:
        capsys.readouterr()
        main([*words, "-o", "json"])
        return json.loads(capsys.readouterr().out)

    (home / "dags").mkdir(parents=True)
    for name, text in (("sales", SALES), ("failing", FAILING)):
        (home / "dags" / f"{name}.py").write_text(text)
        main(["dags", "unpause", name])
    main(["dags", "test", "sales", "2024-01-06"])
    main(["dags", "test", "failing", "2024-01-05"])
    run("dags", "trigger", "sales", "-l", "2024-01-05")
    run("backfill", "create", "-d", "sales", "--from-date", "2024-02-01", "--to-date", "2024-02-02")
    end_session()
    yield run
    end_session()


def utc(at: datetime | None) -> str | None:
    from datetime import UTC

    return None if at is None else at.astimezone(UTC).isoformat(timespec="microseconds")


def test_the_same_dags(command: Command) -> None:
    listed = command("dags", "list")

    rows = notebook.list_dags()

    assert [
        (row["dag_id"], row["is_paused"], row["next_run"], row["tags"], row["owners"], row["fileloc"]) for row in listed
    ] == [
        (row.dag_id, row.is_paused, utc(row.next_run), ", ".join(row.tags), ", ".join(row.owners), row.fileloc)
        for row in rows.data.values()
    ]
    assert list(rows.data) == ["failing", "sales"]


def test_dags_of_the_kernel_are_listed_with_those_of_the_metastore(command: Command) -> None:
    from tests.store.worlds import T0, DagVersion, spec

    # Given a DAG that a cell of this kernel has defined
    version = DagVersion(dag_id="mine", spec=spec(dag_id="mine"), fileloc="<kernel 1>", origin="kernel")
    stored = session().app.store.register(version, now=T0, paused=False, activate=False)
    session().dags["mine"] = stored  # type: ignore[assignment]

    assert list(notebook.list_dags().data) == ["failing", "mine", "sales"]
    assert list(notebook.list_dags("MIN").data) == ["mine"]


@pytest.mark.parametrize("dag_id", ["sales", "failing"])
def test_the_same_newest_run_and_states(command: Command, dag_id: str) -> None:
    listed = command("tasks", "states-for-dag-run", dag_id, "last")

    for run in (None, "last"):
        rows = notebook.states(dag_id, run=run).data
        assert {
            name: (row.state if row.state != "none" else None, row.try_number, utc(row.start_date))
            for name, row in rows.items()
        } == {_name(row): (row["state"], row["try_number"], row["start_date"]) for row in listed}
    newest: Run = session().find_run(dag_id)
    assert {row["run_id"] for row in listed} == {newest.run_id}
    assert notebook.show(dag_id, run="last").run_id == newest.run_id  # type: ignore[union-attr]


def _name(row: dict[str, Any]) -> str:
    return row["task_id"] if row["map_index"] < 0 else f"{row['task_id']}[{row['map_index']}]"


def test_the_same_runs(command: Command) -> None:
    listed = command("dags", "list-runs", "sales")

    assert [(row["run_id"], row["run_type"], row["state"], row["logical_date"]) for row in listed] == [
        (row.run_id, row.run_type, row.state, utc(row.logical_date)) for row in notebook.runs("sales").data
    ]


def test_the_same_reasons(command: Command) -> None:
    listed = command("why", "sales", "2024-01-05")

    assert {_name(row): row["reason"] for row in listed} == notebook.why("sales", run="2024-01-05").data
    assert len(listed) == 2
    # And no task waits in a run that has ended
    assert command("why", "failing") == []
    assert notebook.why("failing").data == {"wrong": "ValueError: no such customer"}


def test_the_same_next_runs(command: Command) -> None:
    listed = command("dags", "next-execution", "sales", "-n", "3")

    assert [row["logical_date"] for row in listed] == [utc(at) for at in notebook.next_runs("sales", 3).data]
    assert len(listed) == 3
