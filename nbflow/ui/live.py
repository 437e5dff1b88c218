"""Live views: the thread that owns the widgets, the rate of updates, and the final output of a cell.

- One `Publisher` thread per process owns all widgets. Producers, on any thread, only `put`. The publisher collects the
  items of a tenth of a second and passes each view its batch. `flush` and `close` do not wait for the period, and lose
  nothing.
- A `LiveGraph` shows widget, image and text in one output. When its run ends, the output is *updated* to the final
  image and text: a saved notebook then holds the final picture, and never "model not found". Without widgets (no lab
  extra, or no front end) the image itself is updated, at most once a second.
- An error in a view never fails a run: it is logged, and the other views go on.
"""

from __future__ import annotations

import atexit
import logging
import queue
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime
from functools import cache
from typing import Any, Protocol

from nbflow.core.states import STATE_MEANINGS
from nbflow.ui import formatting
from nbflow.ui.mime_bundle import Bundle
from nbflow.ui.scene import Scene, scene
from nbflow.ui.view_bundles import graph_bundle
from nbflow.views.graph import GraphView, folded_for_size, with_group_toggled
from nbflow.views.shared import group_note, group_state, state_counts

log = logging.getLogger(__name__)

MAX_HZ = 10  # faster updates are not visible, and each message holds all states
PICTURE_PERIOD_S = 1.0  # images flicker when they change more often
WIDGET_SECONDS = 5.0
"""Minimum lifetime of a widget: if it is closed while the front end creates its model, that fails with "Failed to
initialize model". The final picture does not wait for this."""
WIDGET_MIME = "application/vnd.jupyter.widget-view+json"


class View(Protocol):
    """A view of the publisher; ``publish`` is called on the publisher's thread only."""

    def publish(self, batch: list[Any]) -> None: ...


class Publisher:
    """One thread that collects items for views and publishes them in batches, at most `hz` times a second."""

    def __init__(self, *, hz: float = MAX_HZ) -> None:
        self._period_s = 1 / hz
        self._queue: queue.SimpleQueue[tuple[View, Any] | threading.Event | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="nbflow-publisher", daemon=True)
        self._thread.start()

    def put(self, view: View, item: Any) -> None:
        """Add an item for a view. Call on any thread; never blocks."""
        self._queue.put((view, item))

    def flush(self, timeout_s: float = 5) -> bool:
        """Publish all items put so far; False if that took longer than `timeout_s`."""
        if threading.current_thread() is self._thread:
            raise RuntimeError("flush() waits for the publisher, so the publisher's own thread must not call it")
        done = threading.Event()
        self._queue.put(done)
        return done.wait(timeout_s)

    def close(self, timeout_s: float = 5) -> None:
        """Publish the remaining items and end the thread."""
        self._queue.put(None)
        self._thread.join(timeout_s)

    def _run(self) -> None:
        ended = False
        while not ended:
            first = self._queue.get()
            batches, done, ended = self._collect(first)
            for view, batch in batches:
                try:
                    view.publish(batch)
                except Exception:
                    log.exception("a live view could not be brought up to date")
            for event in done:
                event.set()

    def _collect(self, item: Any) -> tuple[list[tuple[View, list[Any]]], list[threading.Event], bool]:
        """The items of one period, by view; a flush or the end shortens the period."""
        batches: dict[int, tuple[View, list[Any]]] = {}
        until = time.monotonic() + self._period_s
        while True:
            if item is None:
                return list(batches.values()), [], True
            if isinstance(item, threading.Event):
                return list(batches.values()), [item], False
            view, what = item
            batches.setdefault(id(view), (view, []))[1].append(what)
            try:
                item = self._queue.get(timeout=max(0.0, until - time.monotonic()))
            except queue.Empty:
                return list(batches.values()), [], False


@cache
def publisher() -> Publisher:
    """The publisher of the process, created with the first live view and closed when the process ends."""
    created = Publisher()
    atexit.register(created.close, 2)
    return created


# -- traits of the widget


def _ms(at: datetime | None) -> float | None:
    return None if at is None else at.timestamp() * 1000


def graph_traits(graph: GraphView, drawn: Scene) -> dict[str, Any]:
    """The traits that change only with the DAG or a fold."""
    meanings = {state.value: meaning for state, meaning in STATE_MEANINGS.items()}
    return {"graph": drawn.as_json(), "footer": [part for part in graph.footer if part], "meanings": meanings}


def state_traits(graph: GraphView, drawn: Scene, now: datetime) -> dict[str, Any]:
    """The traits that change during a run: state and note of each drawn node, counts, and the header."""
    tasks = {task.task_id: task for task in graph.tasks}
    states: dict[str, dict[str, Any]] = {}
    for node in drawn.nodes:
        counts = state_counts(tasks[member].state for member in node.members)
        if node.kind == "group":
            states[node.id] = {"state": group_state(counts), "note": group_note(counts)}
        else:
            task = tasks[node.id]
            entry = {"state": task.state, "note": formatting.note_stem(task)}
            times = {} if task.note else {"due": _ms(task.due), "since": _ms(task.since)}
            states[node.id] = entry | {name: at for name, at in times.items() if at is not None}
    header: dict[str, Any] = {"title": graph.dag_id, "schedule": graph.schedule, "paused": graph.paused}
    if graph.run:
        header |= {"run": graph.run, "run_state": graph.run_state}
    if graph.next_run is not None:
        header |= {"next": _ms(graph.next_run), "next_exact": formatting.exact(graph.next_run)}
    return {"states": states, "counts": graph.counts() if graph.run else {}, "header": header, "now": _ms(now)}


# -- one live graph


Details = Callable[[str], Mapping[str, Any]]
Command = Callable[[str, Mapping[str, Any]], Mapping[str, Any]]


class LiveGraph:
    """A graph in a cell's output that follows its run.

    `details(task_id)` returns the content of a task's panel (`Details` in js/panel.js), and `command(name, args)`
    carries out the action of a button in it; both are called on the publisher's thread and should take a few ms. `now`
    is the clock for the times shown. `mime` makes the output's MIME bundle (default: image and text). `keep_widget`
    leaves the widget above the final picture, so that its panels still open; a trusted notebook that is opened without
    its kernel then shows "model not found". Use: `show()`, any number of `put`, `finish()`.
    """

    def __init__(
        self,
        graph: GraphView,
        *,
        now: Callable[[], datetime],
        details: Details | None = None,
        command: Command | None = None,
        mime: Callable[[Bundle], Mapping[str, str]] = Bundle.mime,
        keep_widget: bool = False,
        publisher_: Publisher | None = None,
    ) -> None:
        self.graph = folded_for_size(graph)
        self._now, self._details, self._command = now, details, command
        self._publisher = publisher_ or publisher()
        self._keep_widget, self._mime_of = keep_widget, mime
        self._scene = scene(self.graph)
        self._widget: Any = None
        self._handle: Any = None
        self._pictured_at = 0.0
        self._shown_at = 0.0
        self._timer: threading.Timer | None = None
        self._over = False

    # producers, any thread

    def put(self, task_id: str, **changed: Any) -> None:
        """Change fields (of `TaskView`) of a task: `put("load", state="running", since=at)`."""
        self._publisher.put(self, ("task", task_id, changed))

    def put_graph(self, **changed: Any) -> None:
        """Change fields of the `GraphView`: `put_graph(run_state="success")`."""
        self._publisher.put(self, ("graph", "", changed))

    def finish(self, *, timeout_s: float = 5) -> None:
        """Replace the output by the final picture. Returns after it was sent, so that nbclient stores it."""
        self._publisher.put(self, ("finish", "", {}))
        if not self._publisher.flush(timeout_s):
            log.warning("the final picture of %s was not sent within %s s", self.graph.dag_id, timeout_s)

    def show(self, *, widgets: bool = True) -> None:
        """Display it in the running cell. `widgets=False` shows the picture alone."""
        from IPython.display import display

        if widgets:
            self._widget = self._make_widget()
        self._shown_at = time.monotonic()
        self._handle = display(self._mime(live=True), raw=True, display_id=True)

    def bundle(self) -> Bundle:
        return graph_bundle(self.graph, self._now())

    # the publisher's thread

    def publish(self, batch: list[Any]) -> None:
        tasks: dict[str, dict[str, Any]] = {}
        requests = []
        finish = False
        for kind, key, value in batch:
            if kind == "task":
                tasks.setdefault(key, {}).update(value)
            elif kind == "graph":
                self.graph = replace(self.graph, **value)
            elif kind == "request":
                requests.append((key, value))
            elif kind == "finish":
                finish = True
            elif kind == "close":
                self._widget.close()
        self.graph = self.graph.with_states(tasks)
        for name, args in requests:
            self._answer(name, args)
        if self._over:
            return
        if finish:
            self._over = True
            self._end()
        elif self._widget is not None:
            self._widget.patch(state_traits(self.graph, self._scene, self._now()) | {"footer": list(self.graph.footer)})
        else:
            self._picture()

    def _picture(self) -> None:
        """Update the image now, or at the end of the period."""
        if self._handle is None:
            return
        wait_s = self._pictured_at + PICTURE_PERIOD_S - time.monotonic()
        if wait_s <= 0:
            self._pictured_at = time.monotonic()
            self._handle.update(self._mime(live=False), raw=True)
        elif self._timer is None or not self._timer.is_alive():
            self._timer = threading.Timer(wait_s, self._publisher.put, (self, ("tick", "", {})))
            self._timer.daemon = True
            self._timer.start()

    def _end(self) -> None:
        if self._handle is not None:
            self._handle.update(self._mime(live=self._keep_widget), raw=True)
        if self._widget is not None and self._keep_widget:
            self._widget.patch(state_traits(self.graph, self._scene, self._now()))
        elif self._widget is not None:
            left = threading.Timer(self._shown_at + WIDGET_SECONDS - time.monotonic(), self._let_go)
            left.daemon = True
            left.start()

    def _let_go(self) -> None:
        self._publisher.put(self, ("close", "", {}))

    def _mime(self, *, live: bool) -> dict[str, Any]:
        mime: dict[str, Any] = dict(self._mime_of(self.bundle()))
        if live and self._widget is not None:
            mime[WIDGET_MIME] = {"version_major": 2, "version_minor": 0, "model_id": self._widget.model_id}
        return mime

    def _make_widget(self) -> Any:
        try:
            from nbflow.ui.widgets import GraphWidget
        except ImportError:
            return None  # without the lab extra the picture itself is updated
        traits = graph_traits(self.graph, self._scene) | state_traits(self.graph, self._scene, self._now())
        return GraphWidget(on_request=self._requested, **traits)

    def _requested(self, number: int, name: str, args: dict[str, Any]) -> None:
        self._publisher.put(self, ("request", name, {"number": number, **args}))

    def _answer(self, name: str, args: dict[str, Any]) -> None:
        number = args.pop("number")
        try:
            self._widget.reply(number, data=self._carried_out(name, args))
        except Exception as error:  # the panel shows the error
            log.debug("request %s refused", name, exc_info=True)
            self._widget.reply(number, error=str(error) or type(error).__name__)

    def _carried_out(self, name: str, args: dict[str, Any]) -> Mapping[str, Any]:
        if name == "task":
            return self._panel(str(args.get("task_id", "")))
        if name == "fold":
            self._fold(str(args.get("group_id", "")))
            return {"message": ""}
        if self._command is None:
            raise LookupError("This view is read-only. Use the %dag magic to change the run.")
        return self._command(name, args)

    def _panel(self, task_id: str) -> Mapping[str, Any]:
        group = next((n for n in self._scene.nodes if n.id == task_id and n.kind == "group"), None)
        if group is not None:
            states = {task.task_id: task.state for task in self.graph.tasks}
            unfold = {"label": "Unfold", "name": "fold", "args": {"group_id": task_id}}
            return {"members": [{"id": m, "state": states[m]} for m in group.members], "actions": [unfold]}
        task = next((task for task in self.graph.tasks if task.task_id == task_id), None)
        if task is None:
            raise LookupError(f"There is no task {task_id!r} in {self.graph.dag_id}.")
        if self._details is not None:
            return self._details(task_id)
        return {
            "why": {
                "headline": f"{task_id} is {task.state}.",
                "grounds": [g for g in (formatting.note(task, self._now()),) if g],
            }
        }

    def _fold(self, group_id: str) -> None:
        if all(group.group_id != group_id for group in self.graph.groups):
            raise LookupError(f"There is no group {group_id!r} in {self.graph.dag_id}.")
        self.graph = with_group_toggled(self.graph, group_id)
        self._scene = scene(self.graph)
        traits = graph_traits(self.graph, self._scene) | state_traits(self.graph, self._scene, self._now())
        self._widget.patch(traits)
