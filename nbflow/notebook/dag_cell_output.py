"""The output of a ``%%dag`` cell: the graph, the cells that are part of the DAG's source, and warnings."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nbflow.ui.escaping import escape
from nbflow.ui.mime_bundle import Bundle
from nbflow.ui.svg import graph_svg
from nbflow.ui.view_bundles import card, graph_text, picture_html
from nbflow.views.graph import GraphQuery, folded_for_size
from nbflow.views.shared import zone_of

if TYPE_CHECKING:
    from nbflow.notebook.session import KernelDag, Session


MIN_WIDTH = 480
"""Minimum width, in pixels, of the list of dependencies."""


def dag_picture(session: Session, kernel_dag: KernelDag) -> Bundle:
    """The graph of a DAG that a cell has just defined."""
    from nbflow.notebook.verbs import with_kernel_notes

    version = kernel_dag.version
    graph = session.fetch(GraphQuery(dag_id=version.dag_id, version=version.number))
    view = with_kernel_notes(session, graph, version.number)
    now = session.app.clock.now().astimezone(zone_of(version.spec))
    drawn = graph_svg(folded_for_size(view), now)
    picture = Bundle(html=picture_html(drawn, "graph"), text=graph_text(view, now), svg=drawn.svg)
    dependencies = kernel_dag.cell.source.dependencies
    warnings = [text for text in kernel_dag.cell.loaded.warnings if text]
    if not dependencies and not warnings:
        return picture
    parts, lines = [], []
    if dependencies:
        listed = " · ".join(
            f'<code style="background-color:transparent">{escape(text)}</code> {escape(cell)}'
            for text, cell in dependencies
        )
        parts.append(f"Included from other cells: {listed}")
        lines.append("Included from other cells: " + " · ".join(f"{text} ({cell})" for text, cell in dependencies))
    parts += [escape(text) for text in warnings]
    lines += warnings
    inner = "".join(f'<div class="nf-muted" style="padding:4px 12px;font-size:11.5px">{part}</div>' for part in parts)
    below = f'<div style="max-width:{max(drawn.width, MIN_WIDTH)}px">{card("dependencies", "", inner)}</div>'
    return Bundle(html=picture.html + below, text="\n".join([picture.text, *lines]), svg=picture.svg)
