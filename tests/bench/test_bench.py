"""The benchmarks: every row measures at a tiny size, and the report has the figures. Times are not asserted."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from bench.__main__ import ROWS, measure
from bench.harness import Bench
from bench.machine import describe
from bench.results import Figure, load, report, save, table

TINY = Bench(
    runs=1, stores=("sqlite",), tasks=3, chain=3, days=2, files=2, tasks_per_file=2, history=100, idle_seconds=0.1,
    nodes=(3,), megabytes=0.001,
)  # fmt: skip
FIGURES = {
    "parallel": ["tasks/s"],
    "in_process": ["tasks/s"],
    "chain": ["ms", "ms"],
    "backfill": ["s"],
    "process_starts": ["s", "s", "s"],
    "parsing": ["s", "s", "s"],
    "idle_processes": ["s", "MiB", "% of a core"],
    "history": ["ms", "ms"],
    "layout": ["s", "s", "s", "s"],
    "masking": ["s", "s", "s"],
    "widget": ["ms"],
}
HALF_SPEED = Figure(
    row="parallel",
    what="2 tasks",
    store="sqlite",
    unit="tasks/s",
    samples=(100.0, 90.0, 110.0),
    more_is_better=True,
    target=330.0,
    floor=(200.0,),
    floor_is="forks",
    most_floors=1.5,
)


@pytest.mark.parametrize("row", ROWS)
def test_a_row_returns_its_figures(row, request):
    # When a row is measured once at a tiny size
    bench = replace(TINY, browser=request.getfixturevalue("chromium_path")) if row == "widget" else TINY
    figures = measure(bench, [row])

    # Then it returns its figures with a sample each, all above 0 except the CPU of an idle scheduler
    assert [(figure.row, figure.unit, len(figure.samples)) for figure in figures] == [
        (row, unit, 1) for unit in FIGURES[row]
    ]
    assert [figure.what for figure in figures if figure.unit != "% of a core" and not figure.samples[0] > 0] == []
    cpu = [figure for figure in figures if figure.unit == "% of a core"]
    assert [figure.what for figure in cpu if not 0 <= figure.samples[0] <= 100] == []


def test_a_figure_is_compared_with_its_floor_and_its_target():
    # Given a figure of half the floor's speed, whose targets are two thirds of the floor, and 330
    figure = HALF_SPEED

    # Then it has both ratios, and the table has the worse one
    assert (figure.median, figure.floor_ratio, figure.target_ratio, figure.reached) == (100.0, 2.0, 3.3, False)
    heading, _, line = table([figure]).splitlines()[:3]
    assert heading.split("  ")[0] == "row"
    assert [cell.strip() for cell in line.split("  ") if cell] == [
        "parallel",
        "2 tasks",
        "sqlite",
        "100 tasks/s [90-110]",
        "200",
        "2.00",
        ">= 330, <= 1.5 floors",
        "short by 3.30x",
    ]


def test_a_figure_is_compared_with_a_saved_report(tmp_path):
    # Given a saved report
    save(tmp_path / "saved.json", report(describe(), [HALF_SPEED], {"runs": 3}))

    # When it is loaded
    earlier = load(tmp_path / "saved.json")

    # Then its figures are the saved ones, and the table of a later run has the change in the last column
    assert earlier == {HALF_SPEED.name: HALF_SPEED}
    assert set(json.loads((tmp_path / "saved.json").read_text())["machine"]) >= {"cpu", "python", "databases"}
    assert table([HALF_SPEED], earlier).splitlines()[2].endswith("100 (1.00x), floors 2.00")
