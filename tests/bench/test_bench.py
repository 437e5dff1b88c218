"""The benchmark measures: every row at a tiny size, and the report that is made of it. What it takes is not judged."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from bench.__main__ import ROWS, measure
from bench.figures import Figure, load, report, save, table
from bench.machine import describe
from bench.world import Bench

TINY = Bench(
    runs=1, stores=("sqlite",), tasks=3, chain=3, days=2, files=2, tasks_a_file=2, history=100, idle_seconds=0.1,
    nodes=(3,), megabytes=0.001,
)  # fmt: skip
FIGURES = {
    "parallel": ["tasks/s"],
    "in_process": ["tasks/s"],
    "chain": ["ms", "ms"],
    "backfill": ["s"],
    "starts": ["s", "s", "s"],
    "parsing": ["s", "s", "s"],
    "daemons": ["s", "MiB", "% of a core"],
    "history": ["ms", "ms"],
    "layout": ["s", "s", "s", "s"],
    "masking": ["s", "s"],
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
def test_a_row_measures_what_it_says(row, request):
    # When a row is measured once at a tiny size
    bench = replace(TINY, browser=request.getfixturevalue("chromium_path")) if row == "widget" else TINY
    figures = measure(bench, [row])

    # Then it gives its figures, with a sample each: something took its time, unless a scheduler idled
    assert [(one.row, one.unit, len(one.samples)) for one in figures] == [(row, unit, 1) for unit in FIGURES[row]]
    assert [one.what for one in figures if one.unit != "% of a core" and not one.samples[0] > 0] == []
    assert [one.what for one in figures if one.unit == "% of a core" and not 0 <= one.samples[0] <= 100] == []


def test_a_figure_is_held_to_its_floor_and_its_target():
    # Given a figure of half the floor's speed, that was to reach two thirds of it, and 330
    figure = HALF_SPEED

    # Then both ratios say so, and the worse one is in the table
    assert (figure.middle, figure.floors, figure.short_by, figure.reached) == (100.0, 2.0, 3.3, False)
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


def test_a_kept_report_is_compared_with(tmp_path):
    # Given a report that was kept
    said = report(describe(), [HALF_SPEED], {"runs": 3})
    save(tmp_path / "kept.json", said)

    # When a later figure is printed beside it
    earlier = load(tmp_path / "kept.json")

    # Then it reads as it was written, and the change stands in the last column
    assert earlier == {HALF_SPEED.name: HALF_SPEED}
    assert set(json.loads((tmp_path / "kept.json").read_text())["machine"]) >= {"cpu", "python", "databases"}
    assert table([HALF_SPEED], earlier).splitlines()[2].endswith("100 (1.00x), floors 2.00")
