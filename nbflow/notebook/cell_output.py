"""What a ``%%dag`` cell shows: the graph, what travels with it, and what serves it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nbflow.ui.escaping import escape
from nbflow.ui.html import card, graph_text, picture_html
from nbflow.ui.mime_bundle import Bundle
from nbflow.ui.svg import graph_svg
from nbflow.views.graph import GraphQuery, folded_for_size
from nbflow.views.values import zone_of

if TYPE_CHECKING:
    from nbflow.notebook.session import KernelDag, Session


LEAST_WIDTH = 480
"""Pixels in which a list of imports is still read with ease."""


def dag_picture(here: Session, kept: KernelDag) -> Bundle:
    """The graph of a DAG that a cell has just made."""
    from nbflow.notebook.functions import with_kernel

    version = kept.version
    graph = here.fetch(GraphQuery(dag_id=version.dag_id, version=version.number))
    view = with_kernel(here, graph, version.number)
    now = here.app.clock.now().astimezone(zone_of(version.spec))
    drawn = graph_svg(folded_for_size(view), now)
    picture = Bundle(html=picture_html(drawn, "graph"), text=graph_text(view, now), svg=drawn.svg)
    travels = kept.cell.source.dependencies
    warned = [text for text in kept.cell.loaded.warnings if text]
    if not travels and not warned:
        return picture
    parts, lines = [], []
    if travels:
        listed = " · ".join(
            f'<code style="background-color:transparent">{escape(t)}</code> {escape(c)}' for t, c in travels
        )
        parts.append(f"Travels with it: {listed}")
        lines.append("Travels with it: " + " · ".join(f"{text} ({cell})" for text, cell in travels))
    parts += [escape(text) for text in warned]
    lines += warned
    inner = "".join(f'<div class="nf-muted" style="padding:4px 12px;font-size:11.5px">{part}</div>' for part in parts)
    below = f'<div style="max-width:{max(drawn.width, LEAST_WIDTH)}px">{card("travels", "", inner)}</div>'
    return Bundle(html=picture.html + below, text="\n".join([picture.text, *lines]), svg=picture.svg)
