"""Save a DAG's graph as a file: .svg is nbflow's own picture, .dot is DOT source, Graphviz renders .png and .pdf."""

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
    """Return the graph; with the states of its tasks if the view is that of a run."""
    return digraph(spec, {task.task_id: task.state for task in view.tasks} if view.run_id else None)


def save(spec: DagSpec, view: GraphView, path: Path) -> None:
    """Write the graph in the format of the file's suffix (without one: DOT). Raises NbflowError."""
    form = path.suffix.lstrip(".").lower() or "dot"
    if form == "svg":
        path.write_text(graph_svg(view, theme="light").svg, encoding="utf-8")
    elif form in ("dot", "gv"):
        path.write_text(digraph_of(spec, view).source, encoding="utf-8")
    else:
        path.write_bytes(_rendered(digraph_of(spec, view), form, path))


def _rendered(graph: Digraph, form: str, path: Path) -> bytes:
    import graphviz

    if form not in graphviz.FORMATS:
        raise NbflowError(f"{path}: unknown format .{form}.", hint="Save as .svg, .dot, .png or .pdf.")
    try:
        return graph.pipe(format=form)
    except graphviz.ExecutableNotFound:
        raise NbflowError(
            f"A .{form} file needs Graphviz, and its program dot is not on PATH.",
            hint="Install Graphviz (apt-get install graphviz), or save as .svg or .dot.",
        ) from None
    except graphviz.CalledProcessError as error:
        raise NbflowError(f"dot could not render {path}: {error.stderr.decode(errors='replace').strip()}") from None
