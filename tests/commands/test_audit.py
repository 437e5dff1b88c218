"""Every command that changes something leaves a row in the audit log, whether it succeeds or fails."""

from __future__ import annotations

import json
import textwrap
from dataclasses import dataclass
from typing import Any

import pytest

from nbflow.commands import all_commands
from nbflow.commands.base import Audit
from nbflow.errors import NbflowError

CHANGES = {name: command for name, command in all_commands().items() if command.changes}
FINE = """
    from datetime import datetime
    from nbflow import DAG, task

    with DAG("fine", schedule="@daily", start_date=datetime(2024, 1, 1)):
        @task
        def one():
            return 1

        one()
"""


@dataclass(frozen=True, kw_only=True)
class Case:
    """Arguments with which a command succeeds and fails in the home of :func:`home_with_all`. ``broken``: it fails
    because this function raises."""

    success: str | None = None
    failure: str = ""
    broken: str = ""


CASES = {
    "dags pause": Case(success="fine", failure="slaes"),
    "dags unpause": Case(success="sales", failure="slaes"),
    "dags delete": Case(success="sales -y", failure="slaes -y"),
    "dags delete-run": Case(success="sales last -y", failure="sales nope -y"),
    "dags trigger": Case(success="sales", failure="slaes"),
    "dags test": Case(success="fine", failure="slaes"),
    "dags backfill": Case(success="fine -s 2024-02-01", failure="slaes -s 2024-01-01"),
    "dags clear": Case(success="fine -y", failure="slaes -y"),
    "backfill create": Case(success="fine 2024-02-01", failure="slaes 2024-02-01"),
    "backfill pause": Case(success="1", failure="7"),
    "backfill unpause": Case(success="1", failure="7"),
    "backfill cancel": Case(success="1", failure="7"),
    "tasks test": Case(success="fine one", failure="fine two"),
    "tasks clear": Case(success="fine -y", failure="fine two -y"),
    "tasks mark": Case(success="fine --state failed -y", failure="fine two --state failed -y"),
    "variables set": Case(success="y 1", failure="y { --json"),
    "variables delete": Case(success="x", failure="y"),
    "variables import": Case(success="variables.json", failure="nothing.json"),
    "connections add": Case(success="y --conn-type http", failure="x --conn-type http"),
    "connections delete": Case(success="x", failure="y"),
    "connections import": Case(success="connections.json", failure="nothing.json"),
    "connections test": Case(success="x", failure="y"),
    "pools set": Case(success="y 1", failure="y -7"),
    "pools delete": Case(success="x", failure="y"),
    "pools import": Case(success="pools.json", failure="nothing.json"),
    "scheduler": Case(broken="nbflow.services.scheduler_process.serve"),
    "stop": Case(success="", broken="nbflow.services.schedulers.stop"),
    "standalone": Case(broken="nbflow.services.scheduler_process.serve"),
    "lab": Case(broken="nbflow.services.schedulers.find"),
    "labs": Case(success="", failure="nothing"),
    "quiz": Case(success="", failure="nothing"),
    "db init": Case(success="", broken="nbflow.services.db_maintenance.migrate_tables"),
    "db migrate": Case(success="", broken="nbflow.services.db_maintenance.migrate_tables"),
    "db downgrade": Case(success="-r 0004 -y", failure="-r 9999 -y"),
    "db reset": Case(success="-y", failure="-y", broken="nbflow.services.db_maintenance.empty"),
    "db clean": Case(
        success="--clean-before-timestamp 2100-01-01 -t job -y",
        failure="--clean-before-timestamp 2100-01-01 --dag-ids slaes -y",
    ),
    "db export-archived": Case(success="--output-path . --drop-archives -y", failure="--output-path nothing -y"),
    "db drop-archived": Case(success="-y", failure="-t job -y"),
    "db shell": Case(broken="shutil.which"),
    "rotate-fernet-key": Case(success="", broken="nbflow.services.db_maintenance.rotate_secrets"),
}


@pytest.fixture
def home_with_all(nbflow, app, sales, home, tmp_path, monkeypatch) -> None:
    """A DAG that succeeds and a run of it, a backfill, an archive, a variable, a connection, a pool, and files."""
    (home / "dags" / "fine.py").write_text(textwrap.dedent(FINE), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data.db").touch()
    monkeypatch.setenv("NBFLOW__CORE__TEST_CONNECTION", "Enabled")
    for name, content in (
        ("variables", {"z": "1"}),
        ("connections", {"z": {"conn_type": "http"}}),
        ("pools", {"z": {"slots": 1}}),
    ):
        (tmp_path / f"{name}.json").write_text(json.dumps(content), encoding="utf-8")
    for line in (
        "dags unpause fine",
        "dags test fine 2024-01-01",
        "backfill create sales 2024-01-01",
        "variables set x 1",
        f"connections add x --conn-type sqlite --conn-host {tmp_path / 'data.db'}",
        "pools set x 1",
        "db clean --clean-before-timestamp 2100-01-01 -t audit -y",
    ):
        assert nbflow(*line.split()).code == 0, line


def _rows(app) -> list[dict[str, Any]]:
    return [dict(row) for row in reversed(app.store.audit_log())]


def test_the_table_has_each_command_of_a_terminal_that_changes_something():
    assert CASES.keys() == {name for name, command in CHANGES.items() if command.terminal}
    assert {name for name, command in CHANGES.items() if not command.terminal} == {"schedule"}  # tested below


ACTIONS = {
    "dags pause": {"pause"},
    "dags unpause": {"unpause"},
    "dags delete": {"delete_dag"},
    "dags trigger": {"trigger"},
    "dags backfill": {"backfill"},
    "dags clear": {"clear"},
    "dags delete-run": {"delete_run"},
    "backfill create": {"backfill"},
    "backfill pause": {"pause_backfill"},
    "backfill unpause": {"unpause_backfill"},
    "backfill cancel": {"cancel_backfill"},
    "tasks clear": {"clear"},
    "tasks mark": {"mark_run"},
    "variables set": {"set_variable"},
    "variables delete": {"delete_variable"},
    "variables import": {"set_variable"},
    "connections add": {"set_connection"},
    "connections delete": {"delete_connection"},
    "connections import": {"set_connection"},
    "pools set": {"set_pool"},
    "pools delete": {"delete_pool"},
    "pools import": {"set_pool"},
    "db export-archived": {"db_drop_archived"},
}
"""The actions of a success; of the other commands it is their name with underscores."""
NAMES_OF_FAILURES = {
    "db export-archived": "db_export_archived",
    "tasks mark": "mark",  # of a task
}
"""The action of a failure, where a success has another or more than one."""


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.success is not None])
def test_a_success_is_recorded(nbflow, app, home_with_all, name):
    # Given the rows so far
    before = [row["seq"] for row in _rows(app)]
    # When the command succeeds
    result = nbflow(*name.split(), *(CASES[name].success or "").split())
    assert result.code == 0, result.err
    # Then there is a row of it, unless jobs or the learner's progress are the record
    rows = [row for row in _rows(app) if row["seq"] not in before or name == "db reset"]
    if CHANGES[name].audit is Audit.NOBODY:
        assert rows == []
        return
    actions = ACTIONS.get(name, {name.replace(" ", "_").replace("-", "_")})
    assert {(row["action"], row["ok"]) for row in rows} == {(action, True) for action in actions}
    if CHANGES[name].audit is Audit.COMMAND:
        assert [row["detail"]["command"] for row in rows] == [name]


@pytest.mark.parametrize("name", CASES)
def test_a_failure_is_recorded_once(nbflow, app, home_with_all, monkeypatch, name):
    # Given the rows so far, and perhaps an operation that fails
    def fail(*args: Any, **kwargs: Any) -> Any:
        raise NbflowError("No.")

    before = [row["seq"] for row in _rows(app)]
    if CASES[name].broken:
        monkeypatch.setattr(CASES[name].broken, fail)
    # When the command fails
    result = nbflow(*name.split(), *CASES[name].failure.split())
    assert result.code == 1, result.err
    # Then there is one row of it, with the action of a success and the class of the error
    rows = [row for row in _rows(app) if row["seq"] not in before and not row["ok"]]
    action = NAMES_OF_FAILURES.get(name) or "".join(ACTIONS.get(name, {name.replace(" ", "_").replace("-", "_")}))
    assert [(row["action"], row["detail"]["command"]) for row in rows] == [(action, name)]
    assert rows[0]["detail"]["error"]


def test_a_test_whose_run_fails_is_recorded_as_a_failure(nbflow, app, sales):
    assert nbflow("dags", "test", "sales", "2024-01-01").code == 1
    assert [(row["action"], row["ok"], row["detail"]) for row in _rows(app)] == [
        ("dags_test", False, {"command": "dags test", "dag_id": "sales"})
    ]


@pytest.mark.parametrize(
    ("line", "action"),
    [("test slaes", "dags_test"), ("schedule nothing.ipynb --cron @daily", "schedule"), ("run slaes", "trigger")],
)
def test_a_failed_magic_is_recorded(magic, app, sales, line, action):
    with pytest.raises(NbflowError):
        magic(line)
    assert [(row["action"], row["ok"]) for row in _rows(app)] == [(action, False)]


def test_a_notebook_records_its_tests_and_schedules(magic, app, sales, tmp_path, monkeypatch):
    # Given a notebook
    monkeypatch.chdir(tmp_path)
    (tmp_path / "report.ipynb").write_text('{"cells": []}', encoding="utf-8")
    # When it is scheduled, and a DAG is tested whose run fails
    magic("schedule report.ipynb --cron @daily")
    magic("test sales --date 2024-01-01")
    # Then both are recorded
    assert [(row["action"], row["ok"]) for row in _rows(app)] == [("schedule", True), ("dags_test", False)]


def test_an_error_that_is_not_of_nbflow_is_recorded_too(nbflow, app, sales, monkeypatch):
    # Given a disk that is full
    def fail(*args: Any, **kwargs: Any) -> Any:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("nbflow.services.dag_test.run_inline", fail)
    assert nbflow("dags", "test", "sales").code == 1
    assert [(row["action"], row["detail"]["error"]) for row in _rows(app)] == [("dags_test", "OSError")]
