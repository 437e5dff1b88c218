"""Live graphs: the thread that owns the widgets, the rate of updates, and the final output of a cell.

- One `Publisher` thread per process owns all widgets. Producers, on any thread, only `put`. The publisher collects the
  items of a tenth of a second and passes each view its batch. `close` does not wait for the period, and loses nothing.
- A `LiveGraph` shows widget, image and text in one output. The widget has a base document and a patch from it to the
  newest one (`nbflow.views.patches`), so that a browser that opens late has both. Without widgets (no lab extra, or no
  front end) the image itself is updated, at most once a second.
- `finish` replaces the output by the final image and text, on the thread that calls it: a saved notebook then holds the
  final picture, and never "model not found". nbclient stores only messages of the cell that it executes; those of
  another thread may belong to an earlier cell.
- An error in a view never fails a run: it is logged, and the other views are still published.
"""

from __future__ import annotations

import atexit
import logging
import queue
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any, Protocol

from nbflow.core.states import STATE_MEANINGS
from nbflow.ui import formatting
from nbflow.ui.mime_bundle import Bundle
from nbflow.ui.scene import Scene, same_scene, scene
from nbflow.ui.view_bundles import graph_bundle
from nbflow.views.graph import GraphView, folded_for_size, with_folded
from nbflow.views.patches import Operation, patch
from nbflow.views.shared import group_note, group_state, state_counts

log = logging.getLogger(__name__)

MAX_HZ = 10  # faster updates are not visible
MAX_OPERATIONS = 200
"""Maximum length of a widget's patch. Each message holds the whole patch; after more operations, the newest document
becomes the base."""
PICTURE_PERIOD_S = 1.0  # images flicker when they change more often
WIDGET_SECONDS = 5.0
"""Minimum lifetime of a widget: if it is closed while the front end creates its model, that fails with "Failed to
initialize model". The final picture does not wait for this."""
WIDGET_MIME = "application/vnd.jupyter.widget-view+json"


class Published(Protocol):
    """A view of the publisher; ``publish`` is called on the publisher's thread only."""

    def publish(self, batch: list[Any]) -> None: ...


class Publisher:
    """One thread that collects items for views and publishes them in batches, at most `hz` times a second."""

    def __init__(self, *, hz: float = MAX_HZ) -> None:
        self._period_s = 1 / hz
        self._queue: queue.SimpleQueue[tuple[Published, Any] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="nbflow-publisher", daemon=True)
        self._thread.start()

    def put(self, view: Published, item: Any) -> None:
        """Add an item for a view. Call on any thread; never blocks."""
        self._queue.put((view, item))

    def close(self, timeout_s: float = 5) -> None:
        """Publish the remaining items and end the thread."""
        self._queue.put(None)
        self._thread.join(timeout_s)

    def _run(self) -> None:
        closed = False
        while not closed:
            batches, closed = self._collect(self._queue.get())
            for view, batch in batches:
                try:
                    view.publish(batch)
                except Exception:
                    log.exception("Error in a live view")

    def _collect(self, item: tuple[Published, Any] | None) -> tuple[list[tuple[Published, list[Any]]], bool]:
        """The items of one period, by view, the first of which is ``item``; and whether the publisher was closed."""
        batches: dict[int, tuple[Published, list[Any]]] = {}
        until = time.monotonic() + self._period_s
        while item is not None:
            view, view_item = item
            batches.setdefault(id(view), (view, []))[1].append(view_item)
            try:
                item = self._queue.get(timeout=max(0.0, until - time.monotonic()))
            except queue.Empty:
                return list(batches.values()), False
        return list(batches.values()), True


@cache
def publisher() -> Publisher:
    """The publisher of the process, created with the first live view and closed when the process ends."""
    created = Publisher()
    atexit.register(created.close, 2)
    return created


# -- traits of the widget


def _ms(at: datetime) -> float:
    return at.timestamp() * 1000


def widget_traits(view: GraphView, drawn: Scene, now: datetime) -> dict[str, Any]:
    """The traits of a widget that shows the view."""
    meanings = {state.value: meaning for state, meaning in STATE_MEANINGS.items()}
    base = {"number": 0, "document": document(view, drawn)}
    return {"scene": drawn.as_json(), "meanings": meanings, "base": base, "patch": [], "now": _ms(now)}


def document(view: GraphView, drawn: Scene) -> dict[str, Any]:
    """What changes during a run, as JSON: state and note of each node of the scene, counts, header and footer."""
    tasks = {task.task_id: task for task in view.tasks}
    states: dict[str, dict[str, Any]] = {}
    for node in drawn.nodes:
        counts = state_counts(tasks[member].state for member in node.members)
        if node.kind == "group":
            states[node.id] = {"state": group_state(counts), "note": group_note(counts)}
        else:
            task = tasks[node.id]
            states[node.id] = {"state": task.state, "note": formatting.note_stem(task)}
            times = {} if task.note else {"due": task.due, "since": task.since}
            states[node.id] |= {name: _ms(at) for name, at in times.items() if at is not None}
    header: dict[str, Any] = {"title": view.dag_id, "schedule": view.schedule, "paused": view.paused}
    if view.run:
        header |= {"run": view.run, "run_state": view.run_state}
    if view.next_run is not None:
        header |= {"next": _ms(view.next_run), "next_exact": formatting.exact(view.next_run)}
    footer = [part for part in view.footer if part]
    # rows, since a patch keeps the order of rows, but not of the members of an object
    rows = [{"id": state, "count": count} for state, count in view.counts().items()] if view.run else []
    return {"states": states, "counts": rows, "header": header, "footer": footer}


# -- one live graph


Details = Callable[[str], Mapping[str, Any]]
Command = Callable[[str, Mapping[str, Any]], Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class _Request:
    """A message from the browser, which expects a reply with the same number."""

    number: int
    name: str
    args: Mapping[str, Any]


_UPDATE, _CLOSE_WIDGET = "update", "close widget"


class LiveGraph:
    """A graph in a cell's output that follows its run.

    `details(task_id)` returns the content of a task's panel (`Details` in js/panel.js), and `command(name, args)`
    executes the action of a button in it; both are called on the publisher's thread and should take a few ms. `now`
    is the clock for the times shown. `mime` makes the output's MIME bundle (default: image and text). Use: `show()`,
    any number of `update`, `finish()`.
    """

    def __init__(
        self,
        view: GraphView,
        *,
        now: Callable[[], datetime],
        details: Details | None = None,
        command: Command | None = None,
        mime: Callable[[Bundle], Mapping[str, str]] = Bundle.mime,
        publisher_: Publisher | None = None,
    ) -> None:
        self._newest = view
        self._folded = frozenset(group.group_id for group in folded_for_size(view).groups if group.folded)
        self._now, self._details, self._command = now, details, command
        self._publisher = publisher_ or publisher()
        self._mime_of = mime
        self._widget: Any = None
        self._handle: Any = None
        self._pictured_at = 0.0
        self._shown_at = 0.0
        self._timer: threading.Timer | None = None
        self._sending = threading.Lock()
        self._finished = False
        # What the browser shows; the publisher's thread changes it.
        self._drawn_view = self.view
        self._scene = scene(self._drawn_view)
        self._document = document(self._drawn_view, self._scene)
        self._base_number = 0
        self._patch: list[Operation] = []

    # any thread

    @property
    def view(self) -> GraphView:
        """The newest view, with the groups folded as the user has folded them."""
        return with_folded(self._newest, self._folded)

    def update(self, view: GraphView) -> None:
        """Show a newer view. Never blocks."""
        if view != self._newest:
            self._newest = view
            self._publisher.put(self, _UPDATE)

    def finish(self) -> None:
        """Replace the output by a picture of the newest view, in a message of the calling thread. May be called again,
        by another cell or after another update."""
        with self._sending:  # no older picture is sent after this one
            first, self._finished = not self._finished, True
            if self._handle is not None:
                self._handle.update(self._mime(live=False), raw=True)
        if first and self._widget is not None:
            self._put_later(_CLOSE_WIDGET, self._shown_at + WIDGET_SECONDS - time.monotonic())

    def show(self, *, widgets: bool = True) -> None:
        """Display it in the running cell. `widgets=False` shows the picture alone."""
        from IPython.display import display

        if widgets:
            self._widget = self._make_widget()
        self._shown_at = time.monotonic()
        self._handle = display(self._mime(live=True), raw=True, display_id=True)

    def bundle(self) -> Bundle:
        """The newest view as HTML, text and SVG."""
        return graph_bundle(self.view, self._now())

    # the publisher's thread

    def publish(self, batch: list[Any]) -> None:
        """Reply to the requests of a batch, and send the newest view."""
        for item in batch:
            if isinstance(item, _Request):
                self._reply(item)
        with self._sending:
            if not self._finished and self._widget is not None:
                self._update_widget()
            elif not self._finished:
                self._update_picture()
        if _CLOSE_WIDGET in batch:
            self._widget.close()

    def _update_widget(self) -> None:
        """Send the widget the patch to the newest document, or a new base; nothing if the document is the same."""
        before, view = self._document, self.view
        redrawn = not same_scene(view, self._drawn_view)
        if redrawn:
            self._scene = scene(view)
        self._drawn_view, self._document = view, document(view, self._scene)
        operations = patch(before, self._document)
        self._patch = [*self._patch, *operations]
        traits: dict[str, Any] = {"now": _ms(self._now())}
        if redrawn or len(self._patch) > MAX_OPERATIONS:
            self._patch = []
            self._base_number += 1
            traits |= {"base": {"number": self._base_number, "document": self._document}, "patch": []}
        else:
            traits |= {"patch": self._patch}
        if redrawn:
            traits |= {"scene": self._scene.as_json()}
        if redrawn or operations:
            self._widget.send_traits(traits)

    def _update_picture(self) -> None:
        """Update the image now, or at the end of the period."""
        if self._handle is None:
            return
        wait_s = self._pictured_at + PICTURE_PERIOD_S - time.monotonic()
        if wait_s <= 0:
            self._pictured_at = time.monotonic()
            self._handle.update(self._mime(live=False), raw=True)
        elif self._timer is None or not self._timer.is_alive():
            self._timer = self._put_later(_UPDATE, wait_s)

    def _put_later(self, item: Any, seconds: float) -> threading.Timer:
        timer = threading.Timer(seconds, self._publisher.put, (self, item))
        timer.daemon = True
        timer.start()
        return timer

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
        return GraphWidget(on_request=self._receive, **widget_traits(self._drawn_view, self._scene, self._now()))

    def _receive(self, number: int, name: str, args: dict[str, Any]) -> None:
        self._publisher.put(self, _Request(number, name, args))

    def _reply(self, request: _Request) -> None:
        try:
            self._widget.reply(request.number, data=self._execute(request.name, request.args))
        except Exception as error:  # the panel shows the error
            log.debug("Request %s failed", request.name, exc_info=True)
            self._widget.reply(request.number, error=str(error) or type(error).__name__)

    def _execute(self, name: str, args: Mapping[str, Any]) -> Mapping[str, Any]:
        if name == "task":
            return self._panel(str(args.get("task_id", "")))
        if name == "fold":
            self._toggle(str(args.get("group_id", "")))
            return {"message": ""}
        if self._command is None:
            raise LookupError("This view is read-only. Use the %dag magic to change the run.")
        return self._command(name, args)

    def _panel(self, task_id: str) -> Mapping[str, Any]:
        view = self.view
        group = next((n for n in self._scene.nodes if n.id == task_id and n.kind == "group"), None)
        if group is not None:
            states = {task.task_id: task.state for task in view.tasks}
            members = [{"id": member, "state": states[member]} for member in group.members if member in states]
            unfold = {"label": "Unfold", "name": "fold", "args": {"group_id": task_id}}
            return {"members": members, "actions": [unfold]}
        task = next((task for task in view.tasks if task.task_id == task_id), None)
        if task is None:
            raise LookupError(f"There is no task {task_id!r} in {view.dag_id}.")
        if self._details is not None:
            return self._details(task_id)
        grounds = [note] if (note := formatting.note(task, self._now())) else []
        return {"why": {"headline": f"{task_id} is {task.state}.", "grounds": grounds}}

    def _toggle(self, group_id: str) -> None:
        """Fold or unfold a group; the update that follows in this batch sends the new scene."""
        if all(group.group_id != group_id for group in self._newest.groups):
            raise LookupError(f"There is no group {group_id!r} in {self._newest.dag_id}.")
        self._folded ^= {group_id}
