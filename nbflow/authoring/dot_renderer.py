"""A DAG as a ``graphviz.Digraph``, drawn as Airflow draws it: left to right, task groups as clusters, labels on edges.
The package ``graphviz`` quotes names and labels; labels are shown verbatim, without DOT's escapes."""

from __future__ import annotations

from collections.abc import Mapping

import graphviz

from nbflow.core.spec import DagSpec, display_name
from nbflow.errors import TaskNotFound
from nbflow.state_colors import drawn_state, palettes

NODE_STYLE = {"shape": "box", "style": "rounded,filled", "fillcolor": "#ffffff", "fontname": "sans-serif"}


def digraph(spec: DagSpec, states: Mapping[str, str] | None = None) -> graphviz.Digraph:
    """Return the graph. Node names are task ids. ``states``: task id -> state, shown by its name and colours. Raises
    TaskNotFound for the state of an unknown task."""
    states = states or {}
    for task_id in states:
        if task_id not in spec.tasks:
            raise TaskNotFound.among(spec.dag_id, task_id, spec.tasks)
    graph = graphviz.Digraph(
        spec.dag_id,
        graph_attr={"rankdir": "LR", "label": verbatim(spec.dag_id), "labelloc": "t", "fontname": "sans-serif"},
        node_attr=NODE_STYLE,
        edge_attr={"fontname": "sans-serif", "fontsize": "11"},
    )
    _fill(graph, spec, None, states)
    for source, target, label in spec.edges:
        graph.edge(source, target, label=verbatim(label) if label else None)
    tints = palettes()[0].states
    for task_id, state in states.items():
        tint = tints[drawn_state(state)]
        graph.node(task_id, fillcolor=tint.fill, color=tint.line, fontcolor=tint.text)
    return graph


def _fill(graph: graphviz.Digraph, spec: DagSpec, group_id: str | None, states: Mapping[str, str]) -> None:
    """Add the tasks of a task group (None: of the DAG's root group) as nodes, and its groups as clusters."""
    for task in spec.tasks.values():
        if task.group == group_id:
            name = display_name(task.task_id, task.label, group_id)
            mapped = " [ ]" if spec.length_expr(task.task_id) is not None else ""
            state = f"\n{states[task.task_id]}" if task.task_id in states else ""
            graph.node(task.task_id, label=verbatim(name + mapped + state))
    for group in spec.groups.values():
        if group.parent == group_id:
            with graph.subgraph(name=f"cluster_{group.group_id}") as cluster:
                cluster.attr(label=verbatim(display_name(group.group_id, group.label, group_id)), style="rounded")
                _fill(cluster, spec, group.group_id, states)


def verbatim(text: str) -> str:
    """Escape a label so that it is shown as it is. The package escapes backslashes and ``<...>``, but neither entities
    (``&lt;``), which Graphviz replaces, nor control characters, which are invalid in SVG."""
    printable = "".join(char if char.isprintable() or char in "\n\t" else "\ufffd" for char in text)
    return graphviz.escape(printable.replace("&", "&amp;"))
