"""The demo runs, prints its results, and detects a wrong row in either database."""

from __future__ import annotations

import importlib.util
import json
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.notebooks.conftest import ROOT

pytestmark = [pytest.mark.kernel, pytest.mark.slow]


def load_program() -> Any:
    spec = importlib.util.spec_from_file_location("run_demo", ROOT / "notebooks" / "run_demo.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["run_demo"] = module
    spec.loader.exec_module(module)
    return module


run_demo = load_program()
RATES = run_demo.published()


@pytest.fixture(scope="module")
def ran(tmp_path_factory) -> tuple[Any, subprocess.CompletedProcess[str]]:
    folder = tmp_path_factory.mktemp("demo") / "folder"
    command = [sys.executable, str(ROOT / "notebooks" / "run_demo.py"), "--folder", str(folder)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=110, check=False)
    return run_demo.Demo(folder), result


@pytest.fixture
def copy(ran, tmp_path) -> Any:
    """A copy of the demo's folder, for tests that change it."""
    shutil.copytree(ran[0].folder, tmp_path / "copy")
    return run_demo.Demo(tmp_path / "copy")


def change(database: Path, sql: str) -> None:
    with closing(sqlite3.connect(database)) as connection, connection:
        assert connection.execute(sql).rowcount > 0


def test_the_source_has_the_rates_of_the_month():
    """A changed source, or an error in reading it, fails this test instead of the tests of the demo."""
    dollar = [(day, rate) for day, currency, rate in RATES if currency == "USD"]
    assert (len(RATES), len(dollar)) == (700, 21)
    assert (dollar[0], dollar[-1]) == (("2008-12-01", 1.2608), ("2008-12-31", 1.3917))


def test_the_demo_succeeds_and_prints_its_runs(ran):
    demo, result = ran
    assert (result.returncode, result.stderr) == (0, "")
    lines = result.stdout.splitlines()
    assert "31 runs of ecb_rates" in lines
    assert "  Mon 2008-12-01  manual    ✓ success   skipped 2, success 7" in lines
    assert "  Sat 2008-12-06  backfill  ✓ success   skipped 5, success 4" in lines
    assert "  » skipped   weekend            ← is_weekday" in lines
    assert f"Report:             {demo.folder}/quickstart-data/report-2008-12.html" in lines
    assert lines[-1].startswith("700 rates of 21 trading days, each as published.")


def test_the_executed_notebook_and_its_page_are_saved(ran):
    demo, _ = ran
    executed = json.loads(demo.notebook.read_text("utf-8"))
    code = [cell for cell in executed["cells"] if cell["cell_type"] == "code"]
    assert [cell["source"] for cell in code if cell["execution_count"] is None] == []
    page = demo.notebook.with_suffix(".html").read_text("utf-8")
    assert "ecb_rates" in page
    assert 'src="http' not in page


def test_the_result_of_the_report_is_the_glued_value(ran):
    demo, _ = ran
    rows = run_demo.query(
        demo.home / "nbflow.db", "SELECT value FROM xcom WHERE task_id = 'report' AND key = ?", "return_value"
    )
    first, last = (
        {currency: rate for day, currency, rate in RATES if day == wanted} for wanted in ("2008-12-01", "2008-12-31")
    )
    most = max(first.keys() & last.keys(), key=lambda currency: last[currency] / first[currency])
    assert [json.loads(text) for (text,) in rows] == [{"days": 21, "rates": 700, "gained most against": most}]


def test_the_demo_stops_its_scheduler(ran):
    from nbflow.app import App
    from nbflow.services import schedulers

    with App.open(home=ran[0].home, environ={}) as app:
        assert schedulers.find(app) is None


def test_an_unchanged_demo_has_no_differences(copy):
    assert list(run_demo.differences(copy, RATES)) == []


def test_the_notebook_can_be_executed_again_in_the_same_home(copy):
    shutil.copy(ROOT / "notebooks" / "quickstart.ipynb", copy.notebook)
    try:
        copy.execute()
    finally:
        copy.stop()
    assert list(run_demo.differences(copy, RATES)) == []


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        ("DELETE FROM rates WHERE day = '2008-12-31' AND currency = 'USD'", "rates.db holds 699 rates"),
        ("UPDATE rates SET per_euro = per_euro + 0.0001 WHERE currency = 'USD'", "rates.db holds 700 rates, not"),
        ("UPDATE rates SET in_euro = 0 WHERE currency = 'USD'", "the values in euros sum up to"),
    ],
)
def test_wrong_data_are_detected(copy, sql, message):
    change(copy.rates, sql)
    assert any(difference.startswith(message) for difference in run_demo.differences(copy, RATES))


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        ("UPDATE dag_run SET state = 'failed' WHERE logical_date LIKE '2008-12-24%'", "the runs are"),
        ("DELETE FROM dag_run WHERE logical_date LIKE '2008-12-24%'", "the runs cover 30 days"),
        ("UPDATE task_instance SET state = 'success' WHERE task_id = 'weekend'", "the states of the tasks differ"),
        ("DELETE FROM task_event WHERE target = 'up_for_retry'", "the retried tasks are []"),
    ],
)
def test_a_wrong_history_is_detected(copy, sql, message):
    change(copy.home / "nbflow.db", sql)
    assert any(difference.startswith(message) for difference in run_demo.differences(copy, RATES))


def test_a_folder_that_the_demo_did_not_create_is_not_deleted(tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(SystemExit, match="was not created by this program"):
        run_demo.Demo(tmp_path).make()
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize("name", ["quickstart", "report"])
def test_notebooks_are_stored_without_outputs(name):
    raw = json.loads((ROOT / "notebooks" / f"{name}.ipynb").read_text("utf-8"))
    assert [cell for cell in raw["cells"] if cell.get("outputs") or cell.get("execution_count")] == []
