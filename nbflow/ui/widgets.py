"""The live graph as an anywidget. Only `live` imports this module, and only when a graph is shown: it needs the lab
extra.

ipywidgets objects are not thread-safe (`hold_sync` from two threads loses final values), so only the publisher's thread
sets traits. Messages from the browser arrive on the main thread or on a subshell's thread, depending on ipykernel's
version: the handler only forwards them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import anywidget
import traitlets

from nbflow.ui.js_bundler import css, graph_esm

Request = Callable[[int, str, dict[str, Any]], None]


class GraphWidget(anywidget.AnyWidget):
    """The widget; its traits are the results of `live.widget_traits`."""

    _esm = graph_esm()
    _css = css()

    scene = traitlets.Dict().tag(sync=True)
    """The drawing; changes only with the DAG or a fold."""
    meanings = traitlets.Dict().tag(sync=True)
    """State -> its meaning."""
    base = traitlets.Dict().tag(sync=True)
    """A number, and a document as `live.document` makes it. The number makes each base differ from the one before."""
    patch: traitlets.List = traitlets.List().tag(sync=True)
    """The patch from the base to the newest document."""
    now = traitlets.Float(0).tag(sync=True)
    """Time of the last message in ms since the epoch, by the kernel's clock."""

    def __init__(self, *, on_request: Request | None = None, **traits: Any) -> None:
        super().__init__(**traits)
        self._on_request = on_request
        self.on_msg(self._receive)

    def _receive(self, _widget: Any, content: Any, _buffers: Any) -> None:
        if self._on_request is None or not isinstance(content, dict) or content.get("kind") != "request":
            return
        number, name, args = content.get("id"), content.get("name"), content.get("args")
        if isinstance(number, int) and isinstance(name, str) and isinstance(args, dict):
            self._on_request(number, name, args)

    def send_traits(self, traits: dict[str, Any]) -> None:
        """Set traits, and send those that differ in one message. Called only by the publisher's thread."""
        with self.hold_sync():
            for name, value in traits.items():
                setattr(self, name, value)

    def reply(self, number: int, data: Any = None, error: str = "") -> None:
        self.send({"kind": "reply", "id": number, **({"error": error} if error else {"data": data})})
