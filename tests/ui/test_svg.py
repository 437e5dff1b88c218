"""Pictures: well-formed, safe, legible without colour, and limited in size."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nbflow.core.states import TaskState
from nbflow.state_colors import glyphs, palettes
from nbflow.ui.run_charts import MAX_LANES, gantt_svg, grid_svg, timeline_svg
from nbflow.ui.scene import MAX_DRAWN, scene
from nbflow.ui.svg import CARD_MIN, Picture, graph_svg
from nbflow.ui.text_width import text_width
from nbflow.views.gantt import GanttView
from nbflow.views.graph import EdgeView, GraphView, GroupView, TaskView, folded_for_size
from nbflow.views.grid import GridRow, GridRun, GridView
from nbflow.views.shared import Bar, Lane
from nbflow.views.timeline import TimelineView
from tests.ui.samples import BERLIN, NOW

NS = {"s": "http://www.w3.org/2000/svg"}


def parsed(picture: Picture) -> ET.Element:
    return ET.fromstring(picture.svg)


def texts(root: ET.Element) -> list[str]:
    return [element.text or "" for element in root.iter("{http://www.w3.org/2000/svg}text")]


def test_every_state_has_colours_in_both_themes_and_a_unique_glyph() -> None:
    states = {state.value for state in TaskState}
    assert set(glyphs()) == states
    assert all(set(palette.states) == states for palette in palettes())
    assert len(set(glyphs().values())) == len(states)


def test_a_task_shows_its_state_as_colour_glyph_and_word(forex: GraphView, now: datetime) -> None:
    root = parsed(graph_svg(forex, now))
    load = root.find(".//s:g[@data-task-id='load']", NS)
    assert load is not None
    tint = palettes()[0].states["up_for_retry"]
    rect, glyph = load.find("s:rect", NS), load.find("s:path", NS)
    assert rect is not None
    assert glyph is not None
    assert load.get("data-state") == "up_for_retry"
    assert (rect.get("fill"), rect.get("stroke")) == (tint.fill, tint.line)
    assert glyph.get("d") == glyphs()["up_for_retry"]
    assert load.findtext("s:title", namespaces=NS) == "load: up_for_retry, try 2 of 4 in 38 s"
    assert [t.text for t in load.findall("s:text", NS)] == ["load", "try 2 of 4 in 38 s"]


def test_the_graph_has_a_description_and_its_footer(forex: GraphView, now: datetime) -> None:
    picture = graph_svg(forex, now)
    root = parsed(picture)
    assert root.get("role") == "img"
    assert root.get("aria-label") == (
        "Graph of forex, run 2026-11-20 running, 7 tasks: up_for_retry 1, success 4, skipped 1, none 1"
    )
    shown = texts(root)
    assert "version 7 · forex.ipynb, cell 3 · scheduler running (pid 4121)" in [
        (t.tail or "") for t in root.iter("{http://www.w3.org/2000/svg}title")
    ]
    for words in ("forex", "0 6 * * 1-5", "run 2026-11-20 running", "success 4", "moves > 1 %"):
        assert words in shown


def test_the_same_graph_is_the_same_picture(forex: GraphView, now: datetime) -> None:
    assert graph_svg(forex, now) == graph_svg(forex, now)


def test_dark_colours_follow_the_viewer_or_the_caller(forex: GraphView) -> None:
    auto, light, dark = (graph_svg(forex, theme=theme).svg for theme in ("auto", "light", "dark"))
    page = palettes()[1].page
    assert "@media (prefers-color-scheme:dark)" in auto
    assert "<style>" not in light
    assert page in dark
    assert "@media" not in dark
    with pytest.raises(ValueError, match="auto, light, dark"):
        graph_svg(forex, theme="blue")


HOSTILE = ["<script>alert(1)</script>", '"><img src=x onerror=1>', "a & b", "nul\x00\x1b[31m", "]]>", "日本", "\ud800"]


@pytest.mark.parametrize("name", HOSTILE)
def test_names_are_text_and_never_markup(name: str) -> None:
    graph = GraphView(
        dag_id=name, schedule=name, run=name, run_state=name, footer=(name,), groups=(GroupView(group_id=name),),
        tasks=(TaskView(task_id="a", label=name, group=name, note=name, state=name), TaskView(task_id=name)),
        edges=(EdgeView(source="a", target=name, label=name),),
    )  # fmt: skip
    root = ET.fromstring(graph_svg(graph).svg.encode("utf-8"))
    tags = {element.tag.split("}")[1] for element in root.iter()}
    assert tags <= {"svg", "style", "rect", "path", "text", "title", "g"}
    assert not [a for e in root.iter() for a in e.attrib if a.startswith("on") or a.endswith("href")]


@settings(max_examples=50, deadline=None)
@given(st.text(max_size=40))
def test_any_text_gives_a_well_formed_picture(name: str) -> None:
    graph = GraphView(dag_id=name, tasks=(TaskView(task_id="t", label=name, note=name),), footer=(name,))
    ET.fromstring(graph_svg(graph).svg.encode("utf-8"))


def test_an_empty_dag_shows_what_to_do() -> None:
    assert any("no tasks yet" in text for text in texts(parsed(graph_svg(GraphView(dag_id="x")))))


def many(number: int, *, group: str = "") -> GraphView:
    groups = (GroupView(group_id=group),) if group else ()
    return GraphView(
        dag_id="big",
        groups=groups,
        tasks=tuple(TaskView(task_id=f"t{i}", group=group, state="success") for i in range(number)),
    )


def test_too_many_nodes_are_counted_and_not_drawn() -> None:
    picture = graph_svg(many(MAX_DRAWN + 1))
    assert "data-task-id" not in picture.svg
    assert "601 nodes with 0 edges are too many to draw" in picture.svg
    assert "success 601" in picture.svg


def test_too_many_edges_are_counted_and_not_drawn() -> None:
    graph = many(120)
    edges = tuple(EdgeView(source=f"t{a}", target=f"t{b}") for a in range(60) for b in range(60, 120))
    picture = graph_svg(replace(graph, edges=edges))
    assert "data-task-id" not in picture.svg
    assert "120 nodes with 3,600 edges are too many to draw" in picture.svg


def test_groups_of_more_than_sixty_tasks_start_folded() -> None:
    assert [n.id for n in scene(folded_for_size(many(60, group="g"))).nodes][:2] == ["t0", "t1"]
    folded = scene(folded_for_size(many(61, group="g")))
    assert [(n.id, n.kind, len(n.members), n.label) for n in folded.nodes] == [("g", "group", 61, "g (61)")]


def test_a_folded_group_shows_the_state_that_matters_most() -> None:
    graph = many(4, group="g")
    tasks = tuple(
        replace(t, state=s) for t, s in zip(graph.tasks, ("success", "failed", "running", "none"), strict=True)
    )
    graph = replace(graph, tasks=tasks, groups=(GroupView(group_id="g", folded=True),))
    node = parsed(graph_svg(graph)).find(".//s:g[@data-task-id='g']", NS)
    assert node is not None
    assert node.get("data-state") == "failed"
    assert [t.text for t in node.findall("s:text", NS)] == ["▸ g (4)", "1 of 4 done"]


def test_a_folded_group_has_the_outer_edges_of_its_members() -> None:
    graph = GraphView(
        dag_id="x",
        tasks=tuple(TaskView(task_id=t, group="g" if t in "bc" else "") for t in "abcd"),
        edges=tuple(EdgeView(source=a, target=b) for a, b in ("ab", "bc", "cd", "ac")),
        groups=(GroupView(group_id="g", folded=True),),
    )
    assert [(e.source, e.target) for e in scene(graph).edges] == [("a", "g"), ("g", "d")]


@pytest.mark.parametrize(("mapped", "shown"), [(None, "t"), (3, "t [3]"), (0, "t [0]"), (-1, "t [?]")])
def test_a_mapped_task_shows_its_length(mapped: int | None, shown: str) -> None:
    assert scene(GraphView(dag_id="x", tasks=(TaskView(task_id="t", mapped=mapped),))).nodes[0].label == shown


def at(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def test_the_gantt_draws_lengths_in_proportion() -> None:
    """Given tasks of 1 s and 3 s, when drawn, then one bar is three times as wide and starts where the other ends."""
    lanes = (
        Lane(label="a", bars=(Bar(start=at(0), end=at(1), state="success"),)),
        Lane(label="b", bars=(Bar(start=at(1), end=at(4), state="failed", queued_from=at(0.5)),)),
    )
    root = parsed(gantt_svg(GanttView(dag_id="x", run="r", run_state="failed", lanes=lanes)))
    a, b = (
        next(
            r for r in root.iter("{http://www.w3.org/2000/svg}rect") if r.get("class") == c and r.get("height") == "18"
        )
        for c in ("b-success", "b-failed")
    )
    ax, aw, bx, bw = (float(v) for r in (a, b) for v in (r.get("x") or 0, r.get("width") or 0))
    assert bw == pytest.approx(3 * aw, abs=0.2)
    assert bx == pytest.approx(ax + aw, abs=0.2)
    assert [t for t in texts(root) if t.endswith(" s")][:3] == ["0 s", "0.5 s", "1 s"]


def test_the_timeline_is_proportional_to_elapsed_time_and_not_to_wall_time() -> None:
    """Given 25 October, when two runs lie 12 h after midnight, then the day of 25 hours is drawn longer."""
    start = datetime(2026, 10, 24, tzinfo=BERLIN)
    midnights = [datetime(2026, 10, day, tzinfo=BERLIN) for day in (24, 25, 26)]
    bars = tuple(Bar(start=m, end=m + timedelta(minutes=5), state="success") for m in midnights)
    view = TimelineView(
        title="x", start=start, end=datetime(2026, 10, 27, tzinfo=BERLIN), lanes=(Lane(label="l", bars=bars),)
    )
    root = parsed(timeline_svg(view))
    xs = [
        float(r.get("x") or 0) for r in root.iter("{http://www.w3.org/2000/svg}rect") if r.get("class") == "s-success"
    ]
    assert (xs[2] - xs[1]) / (xs[1] - xs[0]) == pytest.approx(25 / 24, abs=0.005)


def test_overlapping_runs_are_drawn_in_several_rows() -> None:
    bars = tuple(Bar(start=at(i * 60), end=at(i * 60 + 90), state="success") for i in range(4))
    view = TimelineView(title="x", start=at(0), end=at(600), lanes=(Lane(label="l", bars=bars),))
    root = parsed(timeline_svg(view))
    ys = [r.get("y") for r in root.iter("{http://www.w3.org/2000/svg}rect") if r.get("class") == "b-success"]
    assert len(set(ys[:4])) == 2


def test_the_grid_shows_the_latest_runs_and_counts_the_others() -> None:
    runs = tuple(GridRun(run_id=f"r{i}", label=str(i), state="success", duration=i) for i in range(40))
    rows = (GridRow(label="group"), GridRow(label="t", depth=1, states=("failed", *["success"] * 39)))
    picture = grid_svg(GridView(dag_id="x", runs=runs, rows=rows))
    assert "15 of 40 runs not drawn" in picture.svg
    cells = parsed(picture).findall(".//s:g[@data-state]", NS)
    assert [cell.get("data-state") for cell in cells] == ["success"] * 25


@pytest.mark.parametrize(
    "draw",
    [
        lambda: graph_svg(GraphView(dag_id="x")),
        lambda: grid_svg(GridView(dag_id="x")),
        lambda: gantt_svg(GanttView(dag_id="x")),
        lambda: timeline_svg(TimelineView(title="x", start=at(0), end=at(60))),
        lambda: gantt_svg(
            GanttView(
                dag_id="x",
                lanes=tuple(
                    Lane(label="n" * 90, bars=(Bar(start=at(i), end=at(i), state="odd"),))
                    for i in range(MAX_LANES + 50)
                ),
            )
        ),
    ],
)
def test_empty_and_huge_views_are_drawn_and_labelled(draw: Callable[[], Picture]) -> None:
    picture = draw()
    root = parsed(picture)
    assert (root.get("role"), root.get("aria-label")) == ("img", picture.label)
    assert picture.label
    assert len(picture.svg) < 400_000
    assert re.search(r'data-nbflow-view="\w+"', picture.svg)


def test_the_parts_of_a_header_never_overlap(now: datetime) -> None:
    """Given long names, when the header is drawn, then its chips end before the text at the right."""
    graph = GraphView(
        dag_id="dag_" * 30, schedule="0 6 * * 1-5 · " * 9, run="manual__" * 20, run_state="running",
        next_run=now + timedelta(days=300), tasks=(TaskView(task_id="t"),),
    )  # fmt: skip
    root = parsed(graph_svg(graph, now))
    chips = [
        r for r in root.iter("{http://www.w3.org/2000/svg}rect") if r.get("height") == "20" and r.get("y") == "10.5"
    ]
    ends = [float(c.get("x") or 0) + float(c.get("width") or 0) for c in chips]
    starts = [float(c.get("x") or 0) for c in chips]
    title = next(t for t in root.iter("{http://www.w3.org/2000/svg}text") if t.get("font-weight") == "600")
    right = next(t for t in root.iter("{http://www.w3.org/2000/svg}text") if t.get("text-anchor") == "end")
    assert starts[0] > 12 + text_width(title.text or "", 14)
    assert all(b > a for a, b in zip(ends[:-1], starts[1:], strict=True))
    assert ends[-1] < CARD_MIN - 12 - text_width("next in 300 d", 11.5)
    assert right.get("x") == f"{CARD_MIN - 12}"
