"""JupyterLab in a real browser: what a person sees."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

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
    # Given a notebook with a DAG cell, open in JupyterLab
    page = open_notebook("forex.ipynb", notebook(*CELLS))
    page.run_cell(0)
    page.run_cell(1)
    page.run_cell(2)
    # Then the cell shows the graph as a picture
    picture = page.cell(2).locator("[data-nbflow-view=graph] img")
    picture.wait_for()
    assert "4 tasks" in picture.get_attribute("alt")
    # When it is run and waited for
    page.run_cell(3)
    page.run_cell(4)
    assert page.outputs(4)[0]["data"]["text/plain"] == "'failed'"
    # Then the cell that started it has the picture of the end, and no widget is left to be missed later
    shown = until("the final picture", lambda: _final(page.outputs(3)))
    assert "failed 1, success 3" in shown["text/plain"]
    assert "data:image/svg+xml;base64," in shown["text/html"]
    # And every other view shows itself; a mistake is one red line
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


def _final(outputs: list[dict[str, Any]]) -> dict[str, Any] | None:
    shown = [output["data"] for output in outputs if "data" in output]
    graphs = [data for data in shown if "DAG sales" in str(data.get("text/plain"))]
    return next((data for data in graphs if "application/vnd.jupyter.widget-view+json" not in data), None)
