"""The publisher and the live graph: nothing lost, few messages, one thread, and a final picture."""

from __future__ import annotations

import json
import queue
import subprocess
import sys
import threading
from datetime import datetime
from typing import Any

import pytest

from nbflow.ui import js_bundler, live
from nbflow.ui.live import LiveGraph, Publisher
from nbflow.ui.scene import scene
from nbflow.views.graph import EdgeView, GraphView, GroupView, TaskView
from tests.ui.samples import NOW


class Recorder:
    """A view that keeps its batches and the threads that brought them."""

    def __init__(self) -> None:
        self.batches: list[list[Any]] = []
        self.threads: set[str] = set()
        self.first = threading.Event()

    def publish(self, batch: list[Any]) -> None:
        self.batches.append(batch)
        self.threads.add(threading.current_thread().name)
        self.first.set()


@pytest.fixture
def slow() -> Any:
    """A publisher whose period never ends by itself within a test."""
    made = Publisher(hz=1 / 60)
    yield made
    made.close()


def test_what_is_put_within_a_period_is_published_at_once(slow: Publisher) -> None:
    view = Recorder()
    for i in range(100):
        slow.put(view, i)
    assert slow.flush()
    assert view.batches == [list(range(100))]


def test_four_threads_lose_nothing_and_only_the_publisher_publishes(slow: Publisher) -> None:
    views = [Recorder(), Recorder()]

    def produce(number: int) -> None:
        for i in range(400):
            slow.put(views[number % 2], (number, i))

    threads = [threading.Thread(target=produce, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    slow.close()
    got = [item for view in views for batch in view.batches for item in batch]
    assert sorted(got) == [(n, i) for n in range(4) for i in range(400)]
    assert views[0].threads | views[1].threads == {"nbflow-publisher"}


def test_a_period_ends_by_itself() -> None:
    """Given nobody who flushes, when something is put, then it is published all the same."""
    publisher, view = Publisher(hz=200), Recorder()
    publisher.put(view, 1)
    assert view.first.wait(10)
    publisher.close()


def test_a_view_that_fails_does_not_stop_the_others(slow: Publisher, caplog: pytest.LogCaptureFixture) -> None:
    class Broken:
        def publish(self, batch: list[Any]) -> None:
            raise RuntimeError("no comm")

    view = Recorder()
    slow.put(Broken(), 1)
    slow.put(view, 2)
    assert slow.flush()
    assert view.batches == [[2]]
    assert "could not be brought up to date" in caplog.text


class FakeWidget:
    def __init__(self, **traits: Any) -> None:
        self.model_id = "m"
        self.on_request = traits.pop("on_request")
        self.traits = traits
        self.patches: list[dict[str, Any]] = []
        self.replies: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self.closed = threading.Event()

    def patch(self, traits: dict[str, Any]) -> None:
        self.patches.append(traits)

    def reply(self, number: int, data: Any = None, error: str = "") -> None:
        self.replies.put({"id": number, "data": data, "error": error})

    def close(self) -> None:
        self.closed.set()


class FakeHandle:
    def __init__(self) -> None:
        self.updates: list[dict[str, Any]] = []

    def update(self, mime: dict[str, Any], raw: bool) -> None:
        assert raw
        self.updates.append(mime)


@pytest.fixture
def shown(
    forex: GraphView, slow: Publisher, monkeypatch: pytest.MonkeyPatch
) -> tuple[LiveGraph, FakeWidget, FakeHandle]:
    """A live graph in a front end that is made of fakes."""
    from nbflow.ui import widgets

    handle = FakeHandle()
    first: list[dict[str, Any]] = []
    monkeypatch.setattr(widgets, "GraphWidget", FakeWidget)
    monkeypatch.setattr("IPython.display.display", lambda mime, **_: (first.append(mime), handle)[1])
    view = LiveGraph(forex, now=lambda: NOW, publisher_=slow)
    view.show()
    handle.updates += first
    return view, view._widget, handle


def test_the_output_holds_widget_image_and_text_while_it_runs(shown: tuple[LiveGraph, FakeWidget, FakeHandle]) -> None:
    _, _, handle = shown
    assert set(handle.updates[0]) == {live.WIDGET_MIME, "text/html", "text/plain"}
    assert handle.updates[0][live.WIDGET_MIME]["model_id"] == "m"


def test_changes_are_sent_together(shown: tuple[LiveGraph, FakeWidget, FakeHandle], slow: Publisher) -> None:
    view, widget, _ = shown
    view.put("load", state="running", since=NOW, due=None, try_number=2)
    view.put("report", state="scheduled")
    view.put("report", state="queued")
    slow.flush()
    [patch] = widget.patches
    assert patch["states"]["report"] == {"state": "queued", "note": ""}
    assert patch["states"]["load"] == {"state": "running", "note": "try 2 of 4", "since": NOW.timestamp() * 1000}
    assert patch["counts"] == {"running": 1, "queued": 1, "success": 4, "skipped": 1}


def test_the_end_leaves_the_final_picture_and_no_widget(
    shown: tuple[LiveGraph, FakeWidget, FakeHandle], forex: GraphView
) -> None:
    view, widget, handle = shown
    view.put("load", state="success", duration=1.0, due=None)
    view.put_graph(run_state="success")
    view.finish()
    view.put("load", state="failed")
    view.finish()
    assert len(handle.updates) == 2  # the first picture and the last one; what comes after the end changes nothing
    assert set(handle.updates[1]) == {"text/html", "text/plain"}
    assert "run 2026-11-20 success" in handle.updates[1]["text/plain"]
    assert not widget.closed.is_set()  # a browser may still be making its side of it


def test_a_widget_whose_time_is_over_is_let_go(
    shown: tuple[LiveGraph, FakeWidget, FakeHandle], monkeypatch: pytest.MonkeyPatch
) -> None:
    view, widget, _ = shown
    monkeypatch.setattr(live, "WIDGET_SECONDS", 0)
    view._publisher = quick = Publisher()
    view.finish()
    assert widget.closed.wait(10)
    quick.close()


def test_a_widget_that_is_kept_stays_above_the_final_picture(
    shown: tuple[LiveGraph, FakeWidget, FakeHandle],
) -> None:
    view, widget, handle = shown
    view._keep_widget = True
    view.put("load", state="failed", due=None)
    view.finish()
    assert set(handle.updates[1]) == {live.WIDGET_MIME, "text/html", "text/plain"}
    assert widget.patches[-1]["states"]["load"]["state"] == "failed"
    assert not widget.closed.is_set()


def test_without_widgets_the_picture_itself_is_updated_and_the_last_change_is_not_lost(
    forex: GraphView, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given two changes within a period, when nothing follows, then the picture shows the second all the same."""
    updates: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()

    class Handle:
        def update(self, mime: dict[str, Any], raw: bool) -> None:
            updates.put(mime)

    monkeypatch.setattr("IPython.display.display", lambda mime, **_: Handle())
    monkeypatch.setattr(live, "PICTURE_PERIOD_S", 0.05)
    publisher = Publisher(hz=1000)
    view = LiveGraph(forex, now=lambda: NOW, publisher_=publisher)
    view.show(widgets=False)
    view.put("load", state="running", due=None)
    publisher.flush()
    view.put("load", state="success")
    publisher.flush()
    assert "load                running" in updates.get(timeout=10)["text/plain"]
    assert "load                success" in updates.get(timeout=10)["text/plain"]
    publisher.close()


def test_a_click_is_answered_by_the_publisher(shown: tuple[LiveGraph, FakeWidget, FakeHandle], slow: Publisher) -> None:
    view, widget, _ = shown
    asked: list[str] = []

    def details(task_id: str) -> dict[str, Any]:
        asked.append(threading.current_thread().name)
        return {"subtitle": task_id}

    view._details = details
    widget.on_request(1, "task", {"task_id": "load"})
    widget.on_request(2, "task", {"task_id": "nope"})
    widget.on_request(3, "clear", {})
    slow.flush()
    replies = [widget.replies.get(timeout=1) for _ in range(3)]
    assert replies == [
        {"id": 1, "data": {"subtitle": "load"}, "error": ""},
        {"id": 2, "data": None, "error": "There is no task 'nope' in forex."},
        {"id": 3, "data": None, "error": "This view is read-only. Use the %dag magic to change the run."},
    ]
    assert asked == ["nbflow-publisher"]


def test_folding_sends_a_new_scene_with_its_states(
    shown: tuple[LiveGraph, FakeWidget, FakeHandle], slow: Publisher
) -> None:
    _, widget, _ = shown
    widget.on_request(1, "fold", {"group_id": "branches"})
    slow.flush()
    folded = widget.patches[0]
    assert "branches" in [node["id"] for node in folded["graph"]["nodes"]]
    assert folded["states"]["branches"] == {"state": "success", "note": "2 of 2 done"}


def test_what_the_browser_is_sent_is_json(forex: GraphView) -> None:
    drawn = scene(forex)
    traits = live.graph_traits(forex, drawn) | live.state_traits(forex, drawn, NOW)
    assert json.loads(json.dumps(traits)).keys() == traits.keys()


def test_states_of_300_tasks_stay_small() -> None:
    """Ten messages a second carry all states: they must stay some ten kB."""
    tasks = tuple(TaskView(task_id=f"extract_orders_{i}", state="running", since=NOW) for i in range(300))
    graph = GraphView(dag_id="x", tasks=tasks, run="r", run_state="running")
    assert len(json.dumps(live.state_traits(graph, scene(graph), NOW)).encode()) < 40_000


def test_the_module_that_each_widget_carries_is_small_and_whole() -> None:
    text = js_bundler.graph_esm()
    assert len(text.encode()) < 60_000
    assert "import " not in text
    assert [line for line in text.splitlines() if line.startswith("export")] == ["export default {"]
    assert "innerHTML" not in text
    assert "http" not in text.replace("http://www.w3.org/2000/svg", "")


def test_a_real_widget_has_these_traits_and_no_trait_named_layout_is_taken(forex: GraphView) -> None:
    from nbflow.ui import widgets

    drawn = scene(forex)
    asked: list[Any] = []
    widget = widgets.GraphWidget(
        on_request=lambda *a: asked.append(a), **live.graph_traits(forex, drawn), **live.state_traits(forex, drawn, NOW)
    )
    widget._receive(widget, {"kind": "request", "id": 1, "name": "task", "args": {"task_id": "a"}}, None)
    for odd in (None, 3, {}, {"kind": "request", "id": "1", "name": "task", "args": {}}, {"kind": "request"}):
        widget._receive(widget, odd, None)
    before = widget.version
    widget.patch(live.state_traits(forex.with_states({"load": {"state": "failed"}}), drawn, NOW))
    assert asked == [(1, "task", {"task_id": "a"})]
    assert widget.version == before + 1
    assert widget.states["load"]["state"] == "failed"
    widget.close()


def test_the_views_need_no_widget_library() -> None:
    """Given an interpreter, when all of nbflow.ui but widgets is imported, then no lab package is."""
    code = (
        "import sys, nbflow.ui.live, nbflow.ui.view_bundles, nbflow.ui.run_charts;"
        "print([m for m in ('anywidget', 'ipywidgets', 'IPython', 'traitlets') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"


def test_a_group_of_edges_survives_a_change_of_states() -> None:
    graph = GraphView(
        dag_id="x", tasks=(TaskView(task_id="a"), TaskView(task_id="b")), edges=(EdgeView(source="a", target="b"),),
        groups=(GroupView(group_id="g"),),
    )  # fmt: skip
    at: datetime = NOW
    changed = graph.with_states({"a": {"state": "running", "since": at}, "unknown": {"state": "failed"}})
    assert [t.state for t in changed.tasks] == ["running", "none"]
    assert (changed.edges, changed.groups) == (graph.edges, graph.groups)
