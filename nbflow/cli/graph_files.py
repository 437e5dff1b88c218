"""A DAG's graph as a file: nbflow's own picture as .svg, DOT as .dot, and pictures that Graphviz makes of that."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from nbflow.core.spec import DagSpec
from nbflow.errors import NbflowError

if TYPE_CHECKING:
    from graphviz import Digraph

    from nbflow.core.snapshot import Instance


def states_of(instances: Iterable[Instance]) -> dict[str, str]:
    """Task id -> the state of its instance, or the one that says most of the instances of a mapped task."""
    from nbflow.views.values import group_state, state_counts

    found: dict[str, list[str]] = {}
    for one in instances:
        found.setdefault(one.task_id, []).append(one.state.value)
    return {task_id: group_state(state_counts(words)) for task_id, words in found.items()}


def coloured_digraph(spec: DagSpec, states: Mapping[str, str]) -> Digraph:
    """The graph with the colours of states: task id -> state."""
    from nbflow.authoring.digraph import digraph
    from nbflow.ui.state_colors import known, palettes

    graph, tints = digraph(spec, states), palettes()[0].states
    for task_id, state in states.items():
        tint = tints[known(state)]
        graph.node(task_id, fillcolor=tint.fill, color=tint.line, fontcolor=tint.text)
    return graph


def save(spec: DagSpec, states: Mapping[str, str], path: Path) -> None:
    """Write the graph in the form that the file's suffix names; with none, as DOT."""
    form = path.suffix.lstrip(".").lower() or "dot"
    if form == "svg":
        path.write_text(_own_svg(spec, states), encoding="utf-8")
    elif form in ("dot", "gv"):
        path.write_text(coloured_digraph(spec, states).source, encoding="utf-8")
    else:
        path.write_bytes(_picture(coloured_digraph(spec, states), form, path))


def _picture(graph: Digraph, form: str, path: Path) -> bytes:
    import graphviz

    if form not in graphviz.FORMATS:
        raise NbflowError(f"{path}: there is no form .{form}.", hint="Save as .svg, .dot, .png or .pdf.")
    try:
        return graph.pipe(format=form)
    except graphviz.ExecutableNotFound:
        raise NbflowError(
            f"A .{form} file needs Graphviz, and there is no dot on PATH.",
            hint="Install it (apt-get install graphviz), or save as .svg or .dot.",
        ) from None
    except graphviz.CalledProcessError as error:
        raise NbflowError(f"dot could not make {path}: {error.stderr.decode(errors='replace').strip()}") from None


def _own_svg(spec: DagSpec, states: Mapping[str, str]) -> str:
    """nbflow's own picture, for which nothing need be installed."""
    from nbflow.ui.svg import graph_svg
    from nbflow.views.graph import graph_view

    view = graph_view(spec).with_states({task_id: {"state": state} for task_id, state in states.items()})
    return graph_svg(view, theme="light").svg
