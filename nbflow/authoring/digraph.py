"""A DAG as a graph of the package ``graphviz``, as Airflow draws it: left to right, task groups as clusters, labels on
edges. Quoting is the package's; a label is shown as it was written, whatever DOT would read into it."""

from __future__ import annotations

from collections.abc import Mapping

import graphviz

from nbflow.core.spec import DagSpec

LOOK = {"shape": "box", "style": "rounded,filled", "fillcolor": "#ffffff", "fontname": "sans-serif"}


def digraph(spec: DagSpec, states: Mapping[str, str] | None = None) -> graphviz.Digraph:
    """The graph. Nodes are named by their task ids. ``states``: task id -> word, shown below the label."""
    graph = graphviz.Digraph(
        spec.dag_id,
        graph_attr={"rankdir": "LR", "label": verbatim(spec.dag_id), "labelloc": "t", "fontname": "sans-serif"},
        node_attr=LOOK,
        edge_attr={"fontname": "sans-serif", "fontsize": "11"},
    )
    _fill(graph, spec, None, states or {})
    for task in spec.tasks.values():
        for up in task.upstream:
            label = spec.edge_labels.get(f"{up}>{task.task_id}")
            graph.edge(up, task.task_id, label=verbatim(label) if label else None)
    return graph


def _fill(graph: graphviz.Digraph, spec: DagSpec, group_id: str | None, states: Mapping[str, str]) -> None:
    """Add what lies in a task group (None: in the DAG itself), the groups in it as clusters."""
    prefix = f"{group_id}." if group_id else ""
    for task in spec.tasks.values():
        if task.group == group_id:
            name = task.label or task.task_id.removeprefix(prefix)
            mapped = " [ ]" if spec.length_expr(task.task_id) is not None else ""
            state = f"\n{states[task.task_id]}" if task.task_id in states else ""
            graph.node(task.task_id, label=verbatim(name + mapped + state))
    for group in spec.groups.values():
        if group.parent == group_id:
            with graph.subgraph(name=f"cluster_{group.group_id}") as cluster:
                cluster.attr(label=verbatim(group.label or group.group_id.removeprefix(prefix)), style="rounded")
                _fill(cluster, spec, group.group_id, states)


def verbatim(text: str) -> str:
    """A label that is shown as it is. The package escapes backslashes and ``<...>``, but neither entities (``&lt;``),
    which Graphviz replaces, nor control characters, which no SVG may hold."""
    held = "".join(char if char.isprintable() or char in "\n\t" else "\ufffd" for char in text)
    return graphviz.escape(held.replace("&", "&amp;"))
