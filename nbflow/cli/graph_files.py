"""Saves a DAG's graph to a file: nbflow draws .svg, .dot is DOT source, and Graphviz renders .png and .pdf."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from nbflow.authoring.dot_renderer import digraph
from nbflow.core.spec import DagSpec
from nbflow.errors import NbflowError
from nbflow.ui.svg import graph_svg

if TYPE_CHECKING:
    from graphviz import Digraph

    from nbflow.views.graph import GraphView


def digraph_of(spec: DagSpec, view: GraphView) -> Digraph:
    """The graph for Graphviz; with the states of its tasks for the view of a run."""
    return digraph(spec, {task.task_id: task.state for task in view.tasks} if view.run_id else None)


def save(spec: DagSpec, view: GraphView, path: Path) -> None:
    """Write the graph in the format of the file's suffix (without one: DOT). Raises NbflowError."""
    file_format = path.suffix.lstrip(".").lower() or "dot"
    if file_format == "svg":
        path.write_text(graph_svg(view, theme="light").svg, encoding="utf-8")
    elif file_format in ("dot", "gv"):
        path.write_text(digraph_of(spec, view).source, encoding="utf-8")
    else:
        path.write_bytes(_render(digraph_of(spec, view), file_format, path))


def _render(graph: Digraph, file_format: str, path: Path) -> bytes:
    import graphviz

    if file_format not in graphviz.FORMATS:
        raise NbflowError(f"{path}: unknown format .{file_format}.", hint="Save as .svg, .dot, .png or .pdf.")
    try:
        return graph.pipe(format=file_format)
    except graphviz.ExecutableNotFound:
        raise NbflowError(
            f"A .{file_format} file needs Graphviz, and its program dot is not on PATH.",
            hint="Install Graphviz (apt-get install graphviz), or save as .svg or .dot.",
        ) from None
    except graphviz.CalledProcessError as error:
        raise NbflowError(f"dot could not render {path}: {error.stderr.decode(errors='replace').strip()}") from None
