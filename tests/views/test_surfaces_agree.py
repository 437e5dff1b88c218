"""Commands and magics return the same data for one home, because they fetch the same views."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from nbflow import notebook
from nbflow.command_arguments import UsageError
from nbflow.core.snapshot import Run
from nbflow.errors import TaskNotFound
from nbflow.notebook import admin_verbs, dag_line_magic
from nbflow.notebook.magics import parse_nbflow_line
from nbflow.notebook.session import current_session, end_session
from nbflow.surface_entry_points import main
from nbflow.views.base import plain
from tests.store.worlds import register, spec

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
    stored = current_session().app.store.register(version, now=T0, paused=False, activate=False)
    current_session().dags["mine"] = stored  # type: ignore[assignment]

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
    newest: Run = current_session().find_run(dag_id)
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

    # Each names the command to start a scheduler in its own syntax
    reasons = {_name(row): row["reason"].replace("nbflow scheduler", "%nbflow start") for row in listed}
    assert reasons == notebook.why("sales", run="2024-01-05").data
    assert len(listed) == 2
    # And no task waits in a run that has ended
    assert command("why", "failing") == []
    assert notebook.why("failing").data == {
        "wrong": "ValueError: no such customer",
        "after": "`wrong` failed (ValueError: no such customer); `all_success` needs it: "
        "all upstream tasks must succeed.",
    }


def test_the_same_next_runs(command: Command) -> None:
    listed = command("dags", "next-execution", "sales", "-n", "3")

    assert [row["logical_date"] for row in listed] == [utc(at) for at in notebook.next_runs("sales", 3).data]
    assert len(listed) == 3


def test_the_same_pools_variables_and_connections(command: Command) -> None:
    # Given a pool, a variable and a connection
    command("pools", "set", "api", "3", "calls of the API")
    main(["variables", "set", "region", "hush", "--description", "where the shop is"])
    main(["connections", "add", "shop", "--conn-uri", "postgres://ada:hush@db:5432/sales?sslmode=hush"])

    # Then a command and a magic list the same, and no secret
    for verb in ("pools", "variables", "connections"):
        listed, shown = command(verb, "list"), _magic(verb)
        assert listed == [
            {name: value for name, value in plain(row).items() if name != "id"} for row in shown.data.values()
        ]
        assert "hush" not in json.dumps(listed) + repr(shown) + json.dumps(shown._repr_mimebundle_())
    # And one connection alone
    assert list(_magic("connections --conn-id shop").data) == ["shop"]
    assert _magic("connections --conn-id other").data == {}


def test_the_same_status(command: Command) -> None:
    listed, view = command("status"), _magic("status").data

    assert listed.pop("scheduler") == "not running"
    assert listed == {name: plain(getattr(view, name)) for name in listed} | {
        "schedulers": len(view.schedulers),
        "next_run": utc(view.next_run),
    }


def _magic(line: str) -> Any:
    verb, _, args = parse_nbflow_line(line)
    return admin_verbs.CALLS[verb](args)


OUTCOMES = "simulate sales extract=fail,success extract.seconds=120 --start 2024-03-01 --end 2024-03-03"


def test_the_same_simulation(command: Command) -> None:
    # When both surfaces simulate two days with scripted outcomes
    listed, simulated = command(*OUTCOMES.split()), dag_line_magic.call(*dag_line_magic.parse(OUTCOMES)).data

    # Then they show the same runs with the same tries
    assert [
        (row["run_id"], row["state"], [(ti["task_id"], ti["state"], ti["start"], ti["end"]) for ti in row["tasks"]])
        for row in listed
    ] == [
        (
            run.key.run_id,
            run.state,
            [(ti.key.task_id, ti.state, utc(ti.start), utc(ti.end)) for ti in run.entries],
        )
        for run in simulated.runs
    ]
    assert [ti["state"] for ti in listed[0]["tasks"]][:2] == ["failed", "upstream_failed"]
    assert len(listed) == 2


def test_the_same_history_of_a_simulation(command: Command, capsys: pytest.CaptureFixture[str]) -> None:
    main([*OUTCOMES.split(), "--trace"])

    shown = dag_line_magic.call(*dag_line_magic.parse(f"{OUTCOMES} --trace"))

    assert capsys.readouterr().out.rstrip() == shown.data.trace.rstrip()
    assert shown.data.trace.splitlines()[-1] in repr(shown)


SIMULATION_ERRORS = {
    "sales extract=explode": "simulate: extract=explode is invalid; an outcome is one of success, fail,",
    "sales extract.seconds=long": "simulate: extract.seconds=long is invalid; write a number of seconds.",
    "sales list.length=2.5": "simulate: list.length=2.5 is invalid; write a whole number.",
    "sales extract=fail --seed 3": "simulate: TASK=OUTCOME and --seed exclude each other.",
    "sales -s 2024-03-04 -e 2024-03-04": "The end of the simulation, 2024-03-04T00:00:00+00:00, must be after",
    "sales --days 0": "The end of the simulation, ",
}


def test_the_same_errors_of_a_simulation(command: Command, capsys: pytest.CaptureFixture[str]) -> None:
    for line, error in SIMULATION_ERRORS.items():
        assert main(["simulate", *line.split()]) == 2
        assert error in capsys.readouterr().err
        with pytest.raises(UsageError, match=re.escape(error)):
            dag_line_magic.call(*dag_line_magic.parse(f"simulate {line}"))


@pytest.mark.parametrize("verb", ["why", "logs"])
def test_the_same_error_for_a_word_that_is_neither_a_task_nor_a_run(
    command: Command, capsys: pytest.CaptureFixture[str], verb: str
) -> None:
    error = "DAG 'sales' has no task or run 'extrct'. Did you mean task 'extract'?"

    assert main([verb, "sales", "extrct"]) == 1
    assert error in capsys.readouterr().err
    with pytest.raises(TaskNotFound, match=re.escape(error)):
        dag_line_magic.call(*dag_line_magic.parse(f"{verb} sales extrct"))


def test_a_task_that_only_the_newest_run_has_is_found(command: Command) -> None:
    # Given a run of the DAG's first version, whose tasks the second version does not have
    command("dags", "trigger", "sales", "-l", "2024-01-09")
    register(current_session().app.store, spec("other"))

    assert {row["task_id"] for row in command("why", "sales", "double")} == {"double"}
