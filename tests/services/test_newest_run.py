"""The newest run is the same for all surfaces: the run that was created, or cleared, last."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from nbflow.app import App
from nbflow.cli.main import main
from nbflow.core.states import RunState
from nbflow.errors import DagRunNotFound
from nbflow.notebook import verbs
from nbflow.notebook.session import current_session, end_session
from nbflow.store.base import DagVersion
from nbflow.teach.checks import CheckContext
from tests.store.worlds import spec

TODAY, LAST_YEAR, LONG_AGO = (datetime(year, 3, 1, tzinfo=UTC) for year in (2024, 2023, 2001))


@pytest.fixture
def app(home: Path) -> App:
    """A home with a DAG of two runs: the run with the earlier date was created last."""
    with App.open() as opened:
        version = DagVersion(dag_id="sales", spec=spec(), fileloc="/dags/sales.py", files={"sales.py": "# sales"})
        opened.store.register(version, now=TODAY, paused=True)
        for name, date in (("today", TODAY), ("old", LAST_YEAR)):
            opened.operations().trigger("sales", run_id=name, logical_date=date)
        yield opened
        end_session()


def _by_command(app: App, capsys: pytest.CaptureFixture[str]) -> str:
    assert main(["tasks", "states-for-dag-run", "sales", "last", "-o", "json"]) == 0
    return str(json.loads(capsys.readouterr().out)[0]["run_id"])


FINDERS: dict[str, Callable[[App, pytest.CaptureFixture[str]], str]] = {
    "no run named": lambda app, _: app.operations().find_run("sales").run_id,
    "last": lambda app, _: app.operations().find_run("sales", "last").run_id,
    "a notebook's default": lambda app, _: current_session().find_run("sales").run_id,
    "a notebook's last": lambda app, _: str(verbs.show("sales", run="last").run.run_id),
    "a command's last": _by_command,
    "a lab's check": lambda app, _: CheckContext(app=app).newest_run("sales").run_id,
}


@pytest.mark.parametrize("surface", FINDERS)
def test_the_newest_run_was_created_last_for_all_surfaces(
    app: App, capsys: pytest.CaptureFixture[str], surface: str
) -> None:
    # Given a run of today, and one of last year that was triggered after it
    # Then the run that was created last is the newest
    assert FINDERS[surface](app, capsys) == "old"
    # And a run that is cleared is the newest
    today = app.operations().find_run("sales", "today").key
    app.operations().mark_run(today, RunState.FAILED)
    app.operations().clear(today)
    assert FINDERS[surface](app, capsys) == "today"


def test_a_run_with_the_id_last_takes_precedence(app: App) -> None:
    # Given a run that is called "last", and a later one
    app.operations().trigger("sales", run_id="last", logical_date=LONG_AGO)
    app.operations().trigger("sales", run_id="later")
    # Then "last" means that run
    assert app.operations().find_run("sales", "last").run_id == "last"


@pytest.mark.parametrize("which", [None, "last", "r1"])
def test_a_dag_without_runs_has_no_last_run_and_the_error_says_how_to_start_one(app: App, which: str | None) -> None:
    version = DagVersion(dag_id="idle", spec=spec(dag_id="idle"), fileloc="/dags/i.py", files={"i.py": ""})
    app.store.register(version, now=TODAY, paused=True)
    with pytest.raises(DagRunNotFound, match=r"DAG 'idle' has no run yet\. Start one with: nbflow dags trigger idle$"):
        app.operations().find_run("idle", which)
