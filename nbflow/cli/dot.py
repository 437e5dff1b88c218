"""A DAG as DOT, Graphviz's language, and as a picture where ``dot`` is installed."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

from nbflow.core.spec import DagSpec
from nbflow.errors import NbflowError


def dot_text(spec: DagSpec, colours: Mapping[str, str] | None = None) -> str:
    """The graph, left to right, groups as clusters. ``colours``: task id -> fill."""
    lines = [f"digraph {_quoted(spec.dag_id)} {{", "  rankdir=LR", f"  label={_quoted(spec.dag_id)}; labelloc=t"]
    lines.append('  node [shape=box style="rounded,filled" fillcolor="#ffffff" fontname="sans-serif"]')
    lines += _inside(spec, None, colours or {}, "  ")
    for task in spec.tasks.values():
        for up in task.upstream:
            label = spec.edge_labels.get(f"{up}>{task.task_id}")
            lines.append(
                f"  {_quoted(up)} -> {_quoted(task.task_id)}" + (f" [label={_quoted(label)}]" if label else "")
            )
    return "\n".join([*lines, "}"])


def _inside(spec: DagSpec, group_id: str | None, colours: Mapping[str, str], indent: str) -> Iterator[str]:
    for task in spec.tasks.values():
        if task.group == group_id:
            name = task.label or task.task_id.removeprefix(f"{group_id}." if group_id else "")
            mapped = " [ ]" if spec.length_expr(task.task_id) is not None else ""
            fill = f" fillcolor={_quoted(colours[task.task_id])}" if task.task_id in colours else ""
            yield f"{indent}{_quoted(task.task_id)} [label={_quoted(name + mapped)}{fill}]"
    for group in spec.groups.values():
        if group.parent == group_id:
            yield f"{indent}subgraph {_quoted('cluster_' + group.group_id)} {{"
            yield f"{indent}  label={_quoted(group.label or group.group_id)}"
            yield from _inside(spec, group.group_id, colours, indent + "  ")
            yield f"{indent}}}"


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def save(text: str, path: Path) -> None:
    """Write the graph in the form that the file's suffix names: DOT itself, or a picture made by ``dot``."""
    form = path.suffix.lstrip(".").lower() or "dot"
    if form in ("dot", "gv"):
        path.write_text(text + "\n", encoding="utf-8")
        return
    program = shutil.which("dot")
    if program is None:
        raise NbflowError(
            f"A .{form} file needs Graphviz, and there is no dot on PATH.",
            hint="Install Graphviz, or save as .dot or .svg.",
        )
    done = subprocess.run([program, f"-T{form}", "-o", str(path)], input=text.encode(), capture_output=True)
    if done.returncode != 0:
        raise NbflowError(f"dot could not write {path}: {done.stderr.decode(errors='replace').strip()}")


def save_svg(spec: DagSpec, path: Path) -> None:
    """Write nbflow's own drawing, for which nothing need be installed."""
    from nbflow.ui.svg import graph_svg
    from nbflow.views.graph import graph_view

    path.write_text(graph_svg(graph_view(spec), theme="light").svg, encoding="utf-8")
