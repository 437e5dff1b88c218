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
    """The widget; its traits are the results of `live.graph_traits` and `live.state_traits`.

    `graph` is the scene; the name `layout` is taken by ipywidgets.
    """

    _esm = graph_esm()
    _css = css()

    graph = traitlets.Dict().tag(sync=True)
    states = traitlets.Dict().tag(sync=True)
    counts = traitlets.Dict().tag(sync=True)
    header = traitlets.Dict().tag(sync=True)
    meanings = traitlets.Dict().tag(sync=True)
    footer: traitlets.List = traitlets.List().tag(sync=True)
    now = traitlets.Float(0).tag(sync=True)  # ms since the epoch, by the kernel's clock
    version = traitlets.Int(0).tag(sync=True)

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

    def patch(self, traits: dict[str, Any]) -> None:
        """Set several traits in one message. Called only by the publisher's thread."""
        with self.hold_sync():
            for name, value in traits.items():
                setattr(self, name, value)
            self.version += 1

    def reply(self, number: int, data: Any = None, error: str = "") -> None:
        self.send({"kind": "reply", "id": number, **({"error": error} if error else {"data": data})})
