"""Notebooks with nbflow's magics in JupyterLab, in a real browser."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.gates import Gate
from tests.notebook.conftest import until
from tests.notebook.notebooks import notebook

pytestmark = pytest.mark.browser

CELLS = (
    "%load_ext nbflow\nimport json\nfrom nbflow import task",
    "%%dag --shared\ndef text(rows):\n    return json.dumps(rows)",
    """%%dag sales --schedule "0 6 * * 1-5" --start 2024-01-01 --timezone Europe/Berlin
@task
def extract():
    return text([1, 2, 3])

@task
def validate(rows):
    return rows

@task
def load(rows):
    print("loading", rows)

@task(retries=0)
def report(rows):
    raise RuntimeError("no printer")

rows = validate(extract())
load(rows)
report(rows)
""",
    "run = %dag run sales",
    "run.wait(60)",
    "%dag why sales report",
    "%dag backfill sales 2024-03-28 2024-04-02 --dry-run",
    "%dag shwo sales",
    "%dag logs sales report",
    "%dag simulate sales --days 7",
    "%dag list",
    "%dag next sales",
    "run.tasks",
    "%dag states",
)


def test_a_dag_is_defined_run_and_watched(open_notebook: Callable[..., Any], tmp_path: Path) -> None:
    # Given a notebook with a DAG cell in JupyterLab
    page = open_notebook("forex.ipynb", notebook(*CELLS))
    page.run_cell(0)
    page.run_cell(1)
    page.run_cell(2)
    # Then the cell shows the graph as a picture
    picture = page.cell(2).locator("[data-nbflow-view=graph] img")
    picture.wait_for()
    assert "4 tasks" in picture.get_attribute("alt")
    # When the DAG is run and has ended
    page.run_cell(3)
    page.run_cell(4)
    assert page.outputs(4)[0]["data"]["text/plain"] == "'failed'"
    # Then the output of the cell that started it is the final picture without a widget
    final = until("the final picture", lambda: _final(page.outputs(3)))
    assert "failed 1, success 3" in final["text/plain"]
    assert "data:image/svg+xml;base64," in final["text/html"]
    # And every other view is displayed; a mistake is one red line
    for index in range(5, len(CELLS)):
        page.run_cell(index)
    assert [output["output_type"] for output in page.outputs(7)] == ["error"]
    assert page.cell(7).locator(".jp-OutputArea").inner_text().strip() == (
        "Error: %dag has no verb 'shwo'. Did you mean 'show'?"
    )
    for index in (5, 6, 8, 9, 10, 11, 12, 13):
        assert {"text/html", "text/plain"} <= page.outputs(index)[0]["data"].keys(), index
    for index in range(2, len(CELLS)):
        page.cell(index).screenshot(path=tmp_path / f"cell{index:02}.png")


def test_the_graph_of_a_run_is_live(open_notebook: Callable[..., Any], lab: Any, tmp_path: Path) -> None:
    # Given a notebook with a DAG whose task waits at a gate
    path = lab.root / "continue"
    gate = Gate(path)
    waits = f"""%%dag slow
import fcntl
@task
def waits():
    print("I am waiting")
    with open({str(path)!r}) as gate:
        fcntl.flock(gate, fcntl.LOCK_SH)
@task
def after(x): ...
after(waits())"""
    page = open_notebook("slow.ipynb", notebook("%load_ext nbflow\nfrom nbflow import task", waits, "%dag run slow"))
    for index in range(3):
        page.run_cell(index)
    # When it runs, then one live graph shows the state of the task
    graph = page.cell(2)
    graph.locator("g[data-task-id=waits][data-state=running]").wait_for()
    assert graph.locator("g[data-task-id=waits]").count() == 1
    # And a click opens the task's panel with its reason and its log
    graph.locator("g[data-task-id=waits]").click()
    graph.get_by_text("Running.", exact=True).wait_for()
    graph.screenshot(path=tmp_path / "panel.png")
    graph.get_by_role("tab", name="log").click()
    graph.get_by_text("I am waiting").wait_for()
    graph.screenshot(path=tmp_path / "log.png")
    # When the task ends, then the graph is updated, and the output becomes the final picture
    gate.open()
    final = until("the final picture", lambda: _final(page.outputs(2), "slow"))
    assert "success 2" in final["text/plain"]
    graph.screenshot(path=tmp_path / "end.png")


def test_the_graph_of_a_dag_test_is_live(open_notebook: Callable[..., Any], lab: Any, tmp_path: Path) -> None:
    # Given a DAG whose second task waits at a gate
    path = lab.root / "continue the test"
    gate = Gate(path)
    waits = f"""%%dag tested
import fcntl
@task
def first():
    print("a print of the first")
@task
def waits():
    with open({str(path)!r}) as gate:
        fcntl.flock(gate, fcntl.LOCK_SH)
first() >> waits()"""
    cells = ("%load_ext nbflow\nfrom nbflow import task", waits, "%dag test tested")
    page = open_notebook("tested.ipynb", notebook(*cells))
    page.run_cell(0)
    page.run_cell(1)
    # When it is tested, so that the kernel is busy
    page.start_cell(2)
    graph = page.cell(2)
    # Then the graph shows the ended and the running task, with prints below it
    graph.locator("g[data-task-id=first][data-state=success]").wait_for()
    graph.locator("g[data-task-id=waits][data-state=running]").wait_for()
    graph.get_by_text("a print of the first").wait_for()
    graph.screenshot(path=tmp_path / "running.png")
    # When the task ends, then the output is one final picture
    gate.open()
    final = until("the final picture", lambda: _final(page.outputs(2), "tested"))
    assert "success 2" in final["text/plain"]
    assert len([output for output in page.outputs(2) if "data" in output]) == 1


def test_runs_that_end_at_once_cause_no_page_error(open_notebook: Callable[..., Any]) -> None:
    # Given a DAG whose run ends before the browser has created the widget's model
    quick = "%%dag quick\n@task\ndef t(): ...\nt()"
    cells = ("%load_ext nbflow\nfrom nbflow import task", quick, "%dag run quick --wait", "%dag test quick")
    page = open_notebook("quick.ipynb", notebook(*cells, "%dag runs quick"))
    page.run_cell(0)
    page.run_cell(1)
    # When it runs several times (an error of the page fails the test: see open_notebook)
    for _ in range(6):
        page.run_cell(2)
        page.run_cell(3)
    # Then each run is in the table, and the text of its state fits into its chip
    page.run_cell(4)
    chips = page.cell(4).locator(".nfo-st")
    assert chips.count() == 12
    assert chips.evaluate_all("chips => chips.every(chip => chip.scrollWidth <= chip.clientWidth)")


def _final(outputs: list[dict[str, Any]], dag_id: str = "sales") -> dict[str, Any] | None:
    displayed = [output["data"] for output in outputs if "data" in output]
    graphs = [data for data in displayed if f"DAG {dag_id}" in str(data.get("text/plain"))]
    return next((data for data in graphs if "application/vnd.jupyter.widget-view+json" not in data), None)
