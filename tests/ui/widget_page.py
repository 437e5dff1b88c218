"""A page that mounts the browser module with a plain object as its model: no server, no kernel."""

from __future__ import annotations

import json

from nbflow.ui import js_bundler, live
from nbflow.ui.scene import scene
from nbflow.views.graph import GraphView, TaskView
from tests.ui.samples import NOW

ADDRESS = "http://nbflow.test/"
READY = "[data-nbflow-view=graph][data-ready='1']"
HOST = """<!doctype html><meta charset=utf-8><link rel=stylesheet href=/w.css>
<body data-jp-theme-light="%s"><div id=root style="width:980px"></div>
<script type=module>
import widget from "/widget.js";
const data = %s, listeners = {};
window.sent = [];
window.model = {
  get: key => data[key],
  send: message => window.sent.push(message),
  on: (event, f) => (listeners[event] ??= []).push(f),
  off: (event, f) => { listeners[event] = (listeners[event] ?? []).filter(g => g !== f); },
  push: patch => {
    Object.assign(data, patch);
    for (const key of Object.keys(patch)) (listeners["change:" + key] ?? []).forEach(f => f());
  },
  reply: message => (listeners["msg:custom"] ?? []).forEach(f => f(message)),
  count: () => Object.values(listeners).reduce((n, l) => n + l.length, 0),
};
window.unmount = widget.render({ model, el: document.querySelector("#root") });
</script>"""


def files_of(graph: GraphView, *, theme: str = "light") -> dict[str, tuple[str, str]]:
    """The files of the page: url ending -> (type, text)."""
    traits = live.widget_traits(graph, scene(graph), NOW)
    embedded = json.dumps(traits).replace("<", "\\u003c")
    return {
        "/widget.js": ("text/javascript", js_bundler.graph_esm()),
        "/w.css": ("text/css", js_bundler.css()),
        "nbflow.test/": ("text/html", HOST % ("false" if theme == "dark" else "true", embedded)),
    }


def many_tasks(count: int) -> GraphView:
    """A running run of `count` tasks without edges."""
    tasks = tuple(TaskView(task_id=f"t{i}") for i in range(count))
    return GraphView(dag_id="x", tasks=tasks, run="r", run_state="running")
