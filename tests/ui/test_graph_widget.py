"""The browser module with a plain object as its model, in Chromium: no server, no kernel."""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from itertools import pairwise
from typing import Any

import pytest

from nbflow.core.states import STATE_MEANINGS
from nbflow.state_colors import glyphs, palettes
from nbflow.ui import live
from nbflow.ui.scene import scene
from nbflow.ui.view_bundles import graph_bundle
from nbflow.views.graph import EdgeView, GraphView, TaskView, with_folded
from nbflow.views.patches import patch
from tests.ui.samples import NOW, with_task
from tests.ui.widget_page import ADDRESS, READY, files_of, many_tasks

pytestmark = pytest.mark.browser


@pytest.fixture
def shown(new_page: Callable[..., Any]) -> Callable[..., Any]:
    """Mount a graph and return its page."""

    def show(graph: GraphView, *, theme: str = "light", **options: Any) -> Any:
        page = new_page(files_of(graph, theme=theme), **options)
        page.goto(ADDRESS)
        page.wait_for_selector(READY)
        return page

    return show


def send_patch(page: Any, before: GraphView, after: GraphView) -> None:
    """Send the patch from the mounted graph to another one."""
    operations = patch(*(live.document(graph, scene(graph)) for graph in (before, after)))
    page.evaluate("traits => window.model.push(traits)", {"patch": operations, "now": NOW.timestamp() * 1000})


def colour(value: str) -> str:
    return "rgb({}, {}, {})".format(*(int(value[i : i + 2], 16) for i in (1, 3, 5)))


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_each_state_has_its_colour_its_glyph_and_its_name(shown: Callable[..., Any], theme: str) -> None:
    tasks = tuple(TaskView(task_id=f"t_{s}", state=s) for s in glyphs())
    page = shown(GraphView(dag_id="x", tasks=tasks, run="r", run_state="running"), theme=theme)
    seen = page.eval_on_selector_all(
        ".nf-node",
        """nodes => nodes.map(n => [n.dataset.state, getComputedStyle(n.querySelector("rect")).fill,
             getComputedStyle(n.querySelector("rect")).stroke, n.querySelector(".nf-glyph").getAttribute("d"),
             n.getAttribute("aria-label")])""",
    )
    tints = palettes()[theme == "dark"].states
    assert seen == [
        [s, colour(tints[s].fill), colour(tints[s].line), glyphs()[s], f"t_{s}, {s}"] for s in glyphs()
    ]  # fmt: skip


def test_the_legend_explains_each_state(shown: Callable[..., Any]) -> None:
    # Given a graph with a task in each state, and one in a state of a newer nbflow
    tasks = tuple(TaskView(task_id=f"t_{s}", state=s) for s in [*STATE_MEANINGS, "hibernating"])
    page = shown(GraphView(dag_id="x", tasks=tasks, run="r", run_state="running"))
    # Then the legend explains those that are known
    titles = page.eval_on_selector_all(
        ".nf-legend .nf-chip", "chips => chips.map(c => [c.textContent.trim().split(' ')[0], c.getAttribute('title')])"
    )
    assert dict(titles) == {state.value: meaning for state, meaning in STATE_MEANINGS.items()} | {"hibernating": None}


def test_states_are_patched_in_place(shown: Callable[..., Any], forex: GraphView) -> None:
    """Given a mounted graph, when a state changes, then the same element shows it, and the live region announces it."""
    page = shown(forex)
    page.evaluate("window.before = document.querySelector('[data-task-id=load]')")
    send_patch(page, forex, with_task(forex, "load", state="success", duration=0.6, due=None))
    page.wait_for_selector("[data-task-id=load][data-state=success]")
    assert page.evaluate("window.before === document.querySelector('[data-task-id=load]')")
    assert page.text_content("[data-task-id=load] .nf-note") == "0.6 s"
    assert page.text_content("[aria-live]") == "load success"
    assert page.locator(".nf-legend .nf-chip").all_text_contents() == ["success 5", "skipped 1", "none 1"]


def test_a_view_that_opens_late_shows_the_newest_state(shown: Callable[..., Any], forex: GraphView) -> None:
    # Given an output that is closed while a state changes
    page = shown(forex)
    page.evaluate("window.unmount()")
    send_patch(page, forex, with_task(forex, "load", state="running", due=None))
    # When the output is opened again
    page.evaluate(
        """async () => (await import("/widget.js")).default.render(
            { model: window.model, el: document.querySelector("#root") })"""
    )
    # Then it shows the state
    page.wait_for_selector("[data-task-id=load][data-state=running]")


def test_the_header_shows_the_run_and_the_footer_its_origin(shown: Callable[..., Any], forex: GraphView) -> None:
    # Given a next run whose minutes do not change while the page is opened
    assert forex.next_run is not None
    page = shown(replace(forex, next_run=forex.next_run + timedelta(seconds=30)))
    # Then header and footer show the texts of the view
    header = page.inner_text(".nf-bar >> nth=0")
    assert [part for part in header.split("\n") if part] == [
        "forex", "0 6 * * 1-5", "run 2026-11-20 running", "next in 21 h 26 min",
    ]  # fmt: skip
    assert page.get_attribute(".nf-bar .nf-muted", "title") == "Sat 2026-11-21 03:29:33 CET (02:29:33 UTC)"
    assert page.inner_text(".nf-notes") == "version 7 · forex.ipynb, cell 3 · scheduler running (pid 4121)"


def test_a_click_opens_the_panel_and_escape_closes_it(shown: Callable[..., Any], forex: GraphView) -> None:
    page = shown(forex)
    page.click("[data-task-id=load]")
    request = page.evaluate("window.sent[0]")
    assert request == {"kind": "request", "id": 1, "name": "task", "args": {"task_id": "load"}}
    details = {
        "subtitle": "try 1 of 4 failed",
        "why": {
            "headline": "Waits for its second try.",
            "grounds": ["<b>retries=3"],
            "suggestions": ["%dag clear forex load"],
        },
        "log": [{"at": "06:03:02", "level": "ERROR", "source": "load", "message": "<img src=x onerror=alert(1)>"}],
        "attempts": [{"try": 1, "state": "failed", "duration": "0.6 s"}],
    }
    page.evaluate("m => window.model.reply(m)", {"kind": "reply", "id": 1, "data": details})
    page.wait_for_selector(".nf-why")
    assert page.inner_text(".nf-why").split("\n") == [
        "Waits for its second try.", "<b>retries=3", "Next step: %dag clear forex load",
    ]  # fmt: skip
    page.click("text=Log")
    assert page.inner_text(".nf-log").strip() == "06:03:02 ERROR   load <img src=x onerror=alert(1)>"
    assert page.locator(".nf-panel img").count() == 0
    page.click("text=Attempts")
    assert page.inner_text(".nf-body tbody tr").split() == ["1", "failed", "–", "0.6", "s"]
    page.keyboard.press("Escape")
    assert page.is_hidden(".nf-panel")
    assert page.evaluate("document.activeElement.dataset.taskId") == "load"


def test_the_panel_keeps_its_tab_while_states_change(shown: Callable[..., Any], forex: GraphView) -> None:
    page = shown(forex)
    page.click("[data-task-id=load]")
    page.evaluate("m => window.model.reply(m)", {"kind": "reply", "id": 1, "data": {"why": {"headline": "Waits."}}})
    page.wait_for_selector(".nf-why")
    place = page.locator(".nf-panel").bounding_box()
    send_patch(page, forex, with_task(forex, "load", state="running", due=None))
    page.wait_for_selector(".nf-panel [data-state=running]")
    assert page.locator(".nf-panel").bounding_box() == place
    assert page.inner_text(".nf-why") == "Waits."


def test_the_node_of_the_open_panel_stays_marked_in_a_new_scene(shown: Callable[..., Any], forex: GraphView) -> None:
    page = shown(forex)
    page.click("[data-task-id=load]")
    page.wait_for_selector("[data-task-id=load].nf-open")
    folded = with_folded(forex, {"branches"})
    page.evaluate("traits => window.model.push(traits)", live.widget_traits(folded, scene(folded), NOW))
    page.wait_for_selector("[data-task-id=branches]")
    page.wait_for_selector("[data-task-id=load].nf-open")


def test_a_late_reply_does_not_fill_the_panel_of_another_task(shown: Callable[..., Any], forex: GraphView) -> None:
    page = shown(forex)
    page.click("[data-task-id=load]")
    page.click("[data-task-id=report]")
    for number, headline in ((2, "of report"), (1, "of load")):
        page.evaluate(
            "m => window.model.reply(m)", {"kind": "reply", "id": number, "data": {"why": {"headline": headline}}}
        )
    page.wait_for_selector(".nf-why")
    assert page.inner_text(".nf-why") == "of report"


def test_an_error_reply_is_shown_in_the_panel(shown: Callable[..., Any], forex: GraphView) -> None:
    page = shown(forex)
    page.click("[data-task-id=load]")
    page.evaluate("m => window.model.reply(m)", {"kind": "reply", "id": 1, "error": "The store is busy."})
    page.wait_for_selector("text=The store is busy.")


def test_an_action_with_confirm_needs_a_second_press(shown: Callable[..., Any], forex: GraphView) -> None:
    page = shown(forex)
    page.click("[data-task-id=load]")
    actions = [
        {"label": "Clear", "name": "clear", "args": {"task_id": "load"}, "confirm": "This forgets 1 attempt."},
        {"label": "Retry now", "name": "retry", "refused": "no slot is free"},
    ]
    page.evaluate("m => window.model.reply(m)", {"kind": "reply", "id": 1, "data": {"actions": actions}})
    page.wait_for_selector("text=Retry now")
    assert page.is_disabled("text=Retry now")
    assert page.get_attribute("text=Retry now", "title") == "no slot is free"
    page.click("text=Clear")
    assert page.inner_text(".nf-panel [role=status]") == "This forgets 1 attempt."
    assert page.evaluate("window.sent.length") == 1
    page.click("text=Yes, Clear")
    assert page.evaluate("window.sent[1]") == {"kind": "request", "id": 2, "name": "clear", "args": {"task_id": "load"}}
    page.evaluate("m => window.model.reply(m)", {"kind": "reply", "id": 2, "data": {"message": "Cleared 1 task."}})
    page.wait_for_selector("text=Cleared 1 task.")


def test_arrow_keys_move_along_the_edges(shown: Callable[..., Any], forex: GraphView) -> None:
    page = shown(forex)
    page.focus("[data-task-id=wait_for_rates]")
    walked = []
    for key in (
        "ArrowRight",
        "ArrowRight",
        "ArrowRight",
        "ArrowDown",
        "ArrowUp",
        "ArrowRight",
        "ArrowLeft",
        "Home",
        "End",
    ):
        page.keyboard.press(key)
        walked.append(page.evaluate("document.activeElement.dataset.taskId"))
    assert walked[:2] == ["download", "validate"]
    assert set(walked[2:5]) == {"branches.big_move", "branches.quiet_day"}
    assert walked[3] == "branches.quiet_day"
    assert walked[4] == "branches.big_move"
    assert walked[5:] == ["load", "branches.big_move", "wait_for_rates", "report"]
    page.keyboard.press("Enter")
    assert page.evaluate("window.sent.at(-1).args") == {"task_id": "report"}
    assert page.locator(".nf-node[tabindex='0']").count() == 1


def test_a_folded_group_lists_its_tasks_and_unfolds(shown: Callable[..., Any], forex: GraphView) -> None:
    page = shown(replace(forex, groups=(replace(forex.groups[0], folded=True),)))
    assert page.text_content("[data-task-id=branches] .nf-note") == "2 of 2 done"
    page.click("[data-task-id=branches]")
    members = [{"id": "branches.big_move", "state": "skipped"}]
    unfold = {"label": "Unfold", "name": "fold", "args": {"group_id": "branches"}}
    page.evaluate(
        "m => window.model.reply(m)", {"kind": "reply", "id": 1, "data": {"members": members, "actions": [unfold]}}
    )
    page.wait_for_selector("text=branches.big_move")
    page.click("text=Unfold")
    assert page.evaluate("window.sent[1]") == {
        "kind": "request",
        "id": 2,
        "name": "fold",
        "args": {"group_id": "branches"},
    }
    page.evaluate("traits => window.model.push(traits)", live.widget_traits(forex, scene(forex), NOW))
    page.wait_for_selector("[data-task-id='branches.big_move'][data-state=skipped]")


def chain(count: int) -> GraphView:
    names = [f"t{i}" for i in range(count)]
    edges = tuple(EdgeView(source=a, target=b) for a, b in pairwise(names))
    return GraphView(dag_id="x", tasks=tuple(TaskView(task_id=name) for name in names), edges=edges)


SCALE_AND_SCROLLS = """() => { const box = document.querySelector(".nf-canvas"), picture = box.querySelector("svg");
    const scale = picture.getBoundingClientRect().width / picture.viewBox.baseVal.width;
    return [Math.round(100 * scale) / 100, box.scrollWidth > box.clientWidth,
            document.documentElement.scrollWidth > innerWidth]; }"""


def test_a_wide_graph_scrolls_in_its_box_and_can_be_fitted(shown: Callable[..., Any]) -> None:
    # Given a graph of twice the width of its box: it shrinks as its picture does, and its box scrolls
    page = shown(chain(12))
    assert page.evaluate(SCALE_AND_SCROLLS) == [0.75, True, False]
    # When the user chooses the whole graph, and then its full size
    page.click("text=Fit")
    fitted = page.evaluate(SCALE_AND_SCROLLS)
    assert page.get_attribute("text=Fit", "aria-pressed") == "true"
    page.click("text=1:1")
    # Then it has that size
    assert fitted[0] < 0.5
    assert fitted[1:] == [False, False]
    assert page.evaluate(SCALE_AND_SCROLLS) == [1, True, False]


def test_a_graph_that_is_little_wider_than_its_box_is_shown_completely(shown: Callable[..., Any]) -> None:
    page = shown(chain(6))
    scale, scrolls, page_scrolls = page.evaluate(SCALE_AND_SCROLLS)
    assert 0.9 < scale < 1
    assert not scrolls
    assert not page_scrolls


@pytest.mark.parametrize(("motion", "animation"), [("no-preference", "nf-turn"), ("reduce", "none")])
def test_running_rotates_except_with_reduced_motion(shown: Callable[..., Any], motion: str, animation: str) -> None:
    graph = GraphView(
        dag_id="x", tasks=(TaskView(task_id="t", state="running", since=NOW),), run="r", run_state="running"
    )
    page = shown(graph, reduced_motion=motion)
    assert page.eval_on_selector(".nf-node .nf-glyph", "e => getComputedStyle(e).animationName") == animation


def test_an_empty_graph_and_an_unknown_state_are_shown_as_text(shown: Callable[..., Any]) -> None:
    page = shown(GraphView(dag_id="x"))
    assert page.inner_text(".nf-empty") == "This DAG has no tasks yet."
    odd = GraphView(dag_id="x", tasks=(TaskView(task_id="t", state="hibernating"),), run="r", run_state="odd")
    page = shown(odd)
    assert page.get_attribute("[data-task-id=t]", "aria-label") == "t, hibernating"
    assert page.inner_text(".nf-legend") == "hibernating 1"


def test_the_view_fits_the_width_of_a_phone(shown: Callable[..., Any], forex: GraphView) -> None:
    page = shown(forex, viewport={"width": 390, "height": 800})
    page.evaluate("document.querySelector('#root').style.width = 'auto'")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_new_states_change_only_the_nodes_that_differ(shown: Callable[..., Any]) -> None:
    """`make bench` measures the time."""
    # Given a graph of many tasks, and an observer of the page's elements
    page = shown(many_tasks(300))
    page.evaluate(
        """() => { window.nodes = [...document.querySelectorAll(".nf-node")]; window.changed = new Set();
        window.watching = new MutationObserver(seen => seen.forEach(one =>
            window.changed.add(one.target.closest?.("[data-task-id]")?.dataset.taskId ?? "")));
        watching.observe(document.querySelector(".nf-canvas"), {subtree: true, childList: true, attributes: true}); }"""
    )
    # When one task gets another state, and then all of them
    few = """ids => model.push({patch: [...model.get('patch'),
        ...ids.map(id => ({op: 'set', path: ['states', id, 'state'], value: 'running'}))]})"""
    page.evaluate(few, ["t7"])
    one = page.evaluate("async () => { await null; const seen = [...changed]; changed.clear(); return seen; }")
    page.evaluate(few, [f"t{i}" for i in range(300)])
    rest = page.evaluate("async () => { await null; return [...changed]; }")
    # Then first that node alone changed, then the others alone, and all nodes are the same elements
    assert one == ["t7"]
    assert sorted(rest) == sorted(f"t{i}" for i in range(300) if i != 7)
    assert page.evaluate("nodes.every((node, i) => node === document.querySelectorAll('.nf-node')[i])")
    assert page.locator("[data-state=running]").count() == 300


def test_unmounting_removes_all_elements_and_listeners(shown: Callable[..., Any], forex: GraphView) -> None:
    page = shown(forex)
    assert page.evaluate("window.model.count()") > 0
    page.evaluate("window.unmount()")
    assert page.evaluate("[window.model.count(), document.querySelector('#root').childElementCount]") == [0, 0]


@pytest.mark.parametrize(("theme", "scheme"), [("light", "dark"), ("dark", "light")])
def test_a_picture_follows_the_theme_of_the_page_and_not_of_the_system(
    new_page: Callable[..., Any], forex: GraphView, theme: str, scheme: str
) -> None:
    """Given a dark notebook on a light system (or the reverse), when it is shown, then it has the notebook's theme."""
    body = graph_bundle(forex, NOW).html
    light = "true" if theme == "light" else "false"
    files = {"nbflow.test/": ("text/html", f'<!doctype html><body data-jp-theme-light="{light}">{body}')}
    page = new_page(files, color_scheme=scheme)
    page.goto("http://nbflow.test/")
    pixel = page.evaluate(
        """async () => { const img = document.querySelector("img"); await img.decode();
        return getComputedStyle(img).colorScheme; }"""
    )
    assert pixel == theme
    shot = page.locator("img").screenshot()
    seen = page.evaluate(
        """async data => { const img = new Image(); img.src = "data:image/png;base64," + data; await img.decode();
        const c = document.createElement("canvas").getContext("2d"); c.drawImage(img, 0, 0);
        return [...c.getImageData(6, 90, 1, 1).data].slice(0, 3); }""",
        base64.b64encode(shot).decode(),
    )
    page_colour = palettes()[theme == "dark"].page
    assert seen == [int(page_colour[i : i + 2], 16) for i in (1, 3, 5)]
