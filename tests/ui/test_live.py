"""The publisher and the live graph: nothing lost, few messages, one thread, and a final picture."""

from __future__ import annotations

import json
import queue
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import pytest

from nbflow.ui import js_bundler, live
from nbflow.ui.live import LiveGraph, Published, Publisher
from nbflow.ui.scene import scene
from nbflow.views.graph import GraphView, TaskView
from nbflow.views.patches import apply_patch
from tests.ui.samples import NOW, with_task

ONE_MINUTE_HZ = 1 / 60
"""The rate of a publisher whose period does not end within a test."""


class Recorder:
    """A view that records its batches and the threads that publish them."""

    def __init__(self) -> None:
        self.batches: list[list[Any]] = []
        self.threads: set[str] = set()
        self.first = threading.Event()

    def publish(self, batch: list[Any]) -> None:
        self.batches.append(batch)
        self.threads.add(threading.current_thread().name)
        self.first.set()


# ------------------------------------------------------------------------------------------------------- the publisher


def test_items_of_one_period_are_one_batch() -> None:
    publisher, view = Publisher(hz=ONE_MINUTE_HZ), Recorder()
    for i in range(100):
        publisher.put(view, i)
    publisher.close()
    assert view.batches == [list(range(100))]


def test_items_of_four_threads_are_all_published_by_the_publisher_thread() -> None:
    # Given a publisher and two views
    publisher, views = Publisher(hz=ONE_MINUTE_HZ), [Recorder(), Recorder()]

    def produce(number: int) -> None:
        for i in range(400):
            publisher.put(views[number % 2], (number, i))

    # When four threads put items, and the publisher is closed
    threads = [threading.Thread(target=produce, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    publisher.close()
    # Then no item is lost, and the publisher's thread has published all
    published = [item for view in views for batch in view.batches for item in batch]
    assert sorted(published) == [(n, i) for n in range(4) for i in range(400)]
    assert views[0].threads | views[1].threads == {"nbflow-publisher"}


def test_an_item_is_published_at_the_end_of_the_period() -> None:
    publisher, view = Publisher(hz=200), Recorder()
    publisher.put(view, 1)
    assert view.first.wait(10)
    publisher.close()


def test_an_error_in_a_view_does_not_affect_other_views(caplog: pytest.LogCaptureFixture) -> None:
    class Broken:
        def publish(self, batch: list[Any]) -> None:
            raise RuntimeError("no comm")

    publisher, view = Publisher(hz=ONE_MINUTE_HZ), Recorder()
    publisher.put(Broken(), 1)
    publisher.put(view, 2)
    publisher.close()
    assert view.batches == [[2]]
    assert "Error in a live view" in caplog.text


# ------------------------------------------------------------------------------------------------------- a live graph


class ManualPublisher(Publisher):
    """A publisher without a thread: ``publish_batch`` publishes the items of one view."""

    def __init__(self) -> None:
        self.items: queue.SimpleQueue[tuple[Published, Any]] = queue.SimpleQueue()

    def put(self, view: Published, item: Any) -> None:
        self.items.put((view, item))

    def publish_batch(self) -> None:
        batch = []
        while not self.items.empty():
            view, item = self.items.get()
            batch.append(item)
        view.publish(batch)


class FakeWidget:
    """Records what the browser receives."""

    def __init__(self, **traits: Any) -> None:
        self.model_id = "m"
        self.on_request: Callable[[int, str, dict[str, Any]], None] = traits.pop("on_request")
        self.traits = traits
        self.messages: list[dict[str, Any]] = []
        self.replies: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self.closed = threading.Event()

    def send_traits(self, traits: dict[str, Any]) -> None:
        self.messages.append(traits)
        self.traits |= traits

    @property
    def document(self) -> Any:
        """What the browser draws."""
        return apply_patch(self.traits["base"]["document"], self.traits["patch"])

    def reply(self, number: int, data: Any = None, error: str = "") -> None:
        self.replies.put({"id": number, "data": data, "error": error})

    def close(self) -> None:
        self.closed.set()


class FakeHandle:
    """Records the contents of an output."""

    def __init__(self) -> None:
        self.contents: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self.threads: list[str] = []

    def update(self, mime: dict[str, Any], raw: bool) -> None:
        assert raw
        self.contents.put(mime)
        self.threads.append(threading.current_thread().name)

    def next(self) -> dict[str, Any]:
        return self.contents.get(timeout=10)


@pytest.fixture
def handle(monkeypatch: pytest.MonkeyPatch) -> FakeHandle:
    """The output of the cell."""
    output = FakeHandle()
    monkeypatch.setattr("IPython.display.display", lambda mime, **_: (output.contents.put(mime), output)[1])
    return output


@dataclass
class ShownGraph:
    """A live graph with a widget, in a front end made of fakes."""

    graph: LiveGraph
    widget: FakeWidget
    handle: FakeHandle
    publisher: ManualPublisher


@pytest.fixture
def shown(forex: GraphView, handle: FakeHandle, monkeypatch: pytest.MonkeyPatch) -> ShownGraph:
    from nbflow.ui import widgets

    monkeypatch.setattr(widgets, "GraphWidget", FakeWidget)
    publisher = ManualPublisher()
    graph = LiveGraph(forex, now=lambda: NOW, publisher_=publisher)
    graph.show()
    return ShownGraph(graph, graph._widget, handle, publisher)


def test_the_output_holds_widget_image_and_text_while_it_is_live(shown: ShownGraph) -> None:
    content = shown.handle.next()
    assert set(content) == {live.WIDGET_MIME, "text/html", "text/plain"}
    assert content[live.WIDGET_MIME]["model_id"] == "m"


def test_updates_of_one_period_are_sent_as_one_patch(shown: ShownGraph, forex: GraphView) -> None:
    # Given a live graph
    view = with_task(forex, "load", state="running", since=NOW, due=None, try_number=2)
    # When it is updated twice within a period
    shown.graph.update(with_task(view, "report", state="scheduled"))
    shown.graph.update(with_task(view, "report", state="queued"))
    shown.publisher.publish_batch()
    # Then the browser receives one patch, with the newest states only
    [message] = shown.widget.messages
    assert message["patch"] == [
        {"op": "remove", "path": ["states", "load", "due"]},
        {"op": "set", "path": ["states", "load", "state"], "value": "running"},
        {"op": "set", "path": ["states", "load", "since"], "value": NOW.timestamp() * 1000},
        {"op": "set", "path": ["states", "report", "state"], "value": "queued"},
        {"op": "remove", "path": ["counts", "up_for_retry"]},
        {"op": "remove", "path": ["counts", "none"]},
        {"op": "set", "path": ["counts", "queued"], "value": {"id": "queued", "count": 1}, "before": "success"},
        {"op": "set", "path": ["counts", "running"], "value": {"id": "running", "count": 1}, "before": "queued"},
    ]
    assert message.keys() == {"patch", "now"}


def test_an_update_without_a_visible_change_sends_nothing(shown: ShownGraph, forex: GraphView) -> None:
    shown.graph.update(replace(forex, run_id="another"))
    shown.publisher.publish_batch()
    assert shown.widget.messages == []


def test_any_updates_lead_the_browser_to_the_newest_view(
    shown: ShownGraph, forex: GraphView, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also when the patch becomes too long, and when the document is then the one it started from."""
    monkeypatch.setattr(live, "MAX_OPERATIONS", 12)
    changed = with_task(forex, "load", state="running", due=None)
    drawn = scene(forex)
    bases = []
    for number in range(7):
        view = forex if number % 2 else changed
        shown.graph.update(view)
        shown.publisher.publish_batch()
        assert shown.widget.document == live.document(view, drawn)
        bases.append(shown.widget.traits["base"]["number"])
    assert (bases[0], len(set(bases))) == (0, len(set(bases)))
    assert 1 < len(set(bases)) < 7


def test_another_structure_is_drawn_as_a_new_scene(shown: ShownGraph, forex: GraphView) -> None:
    # Given a graph whose mapped task is expanded, so that its label changes, and a task that is new
    new = TaskView(task_id="archive", state="scheduled")
    view = with_task(replace(forex, tasks=(*forex.tasks, new)), "load", mapped=3)
    # When the graph is updated
    shown.graph.update(view)
    shown.publisher.publish_batch()
    # Then one message has the new scene with its states
    [message] = shown.widget.messages
    labels = {node["id"]: node["label"] for node in message["scene"]["nodes"]}
    assert (labels["load"], labels["archive"]) == ("load [3]", "archive")
    assert shown.widget.document == live.document(view, scene(view))


def test_the_end_leaves_the_final_picture_without_a_widget(shown: ShownGraph, forex: GraphView) -> None:
    shown.handle.next()
    shown.graph.update(replace(with_task(forex, "load", state="success", duration=1.0, due=None), run_state="success"))
    shown.graph.finish()
    shown.publisher.publish_batch()
    content = shown.handle.next()
    assert set(content) == {"text/html", "text/plain"}
    assert "run 2026-11-20 success" in content["text/plain"]
    assert shown.widget.messages == []
    assert not shown.widget.closed.is_set()  # a browser may still be creating its model


def test_the_final_picture_is_sent_by_each_thread_that_finishes(shown: ShownGraph, forex: GraphView) -> None:
    # Given a live graph that a thread has finished
    thread = threading.Thread(target=shown.graph.finish, name="follower")
    thread.start()
    thread.join()
    # When the main thread finishes it with a newer view
    shown.graph.update(replace(forex, run_state="success"))
    shown.graph.finish()
    # Then the output holds the newest picture, in a message of the main thread
    contents = [shown.handle.next()["text/plain"] for _ in range(3)]
    assert shown.handle.threads == ["follower", "MainThread"]
    assert "run 2026-11-20 running" in contents[1]
    assert "run 2026-11-20 success" in contents[2]


def test_the_widget_is_closed_after_its_minimum_lifetime(shown: ShownGraph, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "WIDGET_SECONDS", 0)
    shown.graph._publisher = publisher = Publisher(hz=1000)
    shown.graph.finish()
    assert shown.widget.closed.wait(10)
    publisher.close()


def test_without_widgets_the_last_update_within_a_period_is_drawn_too(
    forex: GraphView, handle: FakeHandle, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a live graph without a widget
    monkeypatch.setattr(live, "PICTURE_PERIOD_S", 0.05)
    publisher = Publisher(hz=1000)
    view = LiveGraph(forex, now=lambda: NOW, publisher_=publisher)
    view.show(widgets=False)
    handle.next()
    # When it is updated again before the period of a picture ends
    view.update(with_task(forex, "load", state="running", due=None))
    assert "load                running" in handle.next()["text/plain"]
    view.update(with_task(forex, "load", state="success", due=None))
    # Then the picture is updated without a further update
    assert "load                success" in handle.next()["text/plain"]
    publisher.close()


def test_an_equal_view_is_not_drawn_again(shown: ShownGraph, forex: GraphView) -> None:
    shown.graph.update(replace(forex, footer=(*forex.footer,)))
    assert shown.publisher.items.empty()


def test_requests_are_answered_on_the_publisher_thread(shown: ShownGraph) -> None:
    # Given a live graph with the details of its tasks
    threads: list[str] = []

    def details(task_id: str) -> dict[str, Any]:
        threads.append(threading.current_thread().name)
        return {"subtitle": task_id}

    shown.graph._details = details
    shown.graph._publisher = publisher = Publisher(hz=1000)
    # When the browser requests a task, an unknown task, and a command
    shown.widget.on_request(1, "task", {"task_id": "load"})
    shown.widget.on_request(2, "task", {"task_id": "nope"})
    shown.widget.on_request(3, "clear", {})
    # Then each request has its reply
    replies = [shown.widget.replies.get(timeout=10) for _ in range(3)]
    publisher.close()
    assert replies == [
        {"id": 1, "data": {"subtitle": "load"}, "error": ""},
        {"id": 2, "data": None, "error": "There is no task 'nope' in forex."},
        {"id": 3, "data": None, "error": "This view is read-only. Use the %dag magic to change the run."},
    ]
    assert threads == ["nbflow-publisher"]


def test_folding_sends_a_new_scene_with_its_states_and_lasts(shown: ShownGraph, forex: GraphView) -> None:
    # Given a group that the user folds
    shown.widget.on_request(1, "fold", {"group_id": "branches"})
    shown.publisher.publish_batch()
    [folded] = shown.widget.messages
    assert "branches" in [node["id"] for node in folded["scene"]["nodes"]]
    assert shown.widget.document["states"]["branches"] == {"state": "success", "note": "2 of 2 done"}
    # When the graph is updated
    shown.graph.update(with_task(forex, "branches.quiet_day", state="running"))
    shown.publisher.publish_batch()
    # Then the group is still folded
    assert shown.widget.document["states"]["branches"] == {"state": "running", "note": "1 of 2 done"}
    assert "scene" not in shown.widget.messages[1]


def test_the_traits_are_json(forex: GraphView) -> None:
    traits = live.widget_traits(forex, scene(forex), NOW)
    assert json.loads(json.dumps(traits)).keys() == traits.keys()


def test_the_largest_patch_is_small(shown: ShownGraph) -> None:
    """Ten messages a second hold a whole patch: it must stay some ten kB."""
    graph = GraphView(dag_id="x", tasks=tuple(TaskView(task_id=f"extract_orders_{i}") for i in range(300)), run="r")
    shown.graph.update(graph)
    shown.publisher.publish_batch()
    sizes = []
    for i in range(300):
        graph = with_task(graph, f"extract_orders_{i}", state="running", since=NOW + timedelta(seconds=i))
        shown.graph.update(graph)
        shown.publisher.publish_batch()
        sizes.append(len(json.dumps(shown.widget.messages[-1]["patch"]).encode()))
    assert 15_000 < max(sizes) < 40_000


def test_the_module_of_the_widget_is_small_and_complete() -> None:
    text = js_bundler.graph_esm()
    assert len(text.encode()) < 60_000
    assert "import " not in text
    assert [line for line in text.splitlines() if line.startswith("export")] == ["export default {"]
    assert "innerHTML" not in text
    assert "http" not in text.replace("http://www.w3.org/2000/svg", "")


def test_a_real_widget_forwards_requests_and_holds_the_traits(forex: GraphView) -> None:
    from nbflow.ui import widgets

    # Given a real widget
    requests: list[Any] = []
    traits = live.widget_traits(forex, scene(forex), NOW)
    widget = widgets.GraphWidget(on_request=lambda *request: requests.append(request), **traits)
    # When it receives a request and messages that are none
    widget._receive(widget, {"kind": "request", "id": 1, "name": "task", "args": {"task_id": "a"}}, None)
    for other in (None, 3, {}, {"kind": "request", "id": "1", "name": "task", "args": {}}, {"kind": "request"}):
        widget._receive(widget, other, None)
    # Then it forwards the request alone
    assert requests == [(1, "task", {"task_id": "a"})]
    # And it holds what it was sent last
    patch = [{"op": "set", "path": ["header", "paused"], "value": True}]
    widget.send_traits({"patch": patch, "now": 5.0})
    assert (widget.patch, widget.now, widget.base) == (patch, 5.0, traits["base"])
    widget.close()


def test_the_views_need_no_widget_library() -> None:
    """When all of nbflow.ui but widgets is imported, then no package of the lab extra is."""
    code = (
        "import sys, nbflow.ui.live, nbflow.ui.view_bundles, nbflow.ui.run_charts;"
        "print([m for m in ('anywidget', 'ipywidgets', 'IPython', 'traitlets') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"
