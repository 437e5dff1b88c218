"""Scenes: the drawable form of a graph, with folded groups, truncated labels and geometry, for pictures and widgets.

A scene holds no task states and no times: it changes only when the DAG or a fold changes, so a widget sends it once.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from nbflow.ui.layout import Box, Group, Layout, Node, layout
from nbflow.ui.text_width import fit, text_width
from nbflow.views.graph import GraphView, TaskView

NODE_HEIGHT = 38
NODE_MIN, NODE_MAX = 132, 224  # the minimum fits "try 2 of 4 in 38 s", so that a note never changes the layout
LABEL_LEFT = 27
LABEL_SIZE, NOTE_SIZE = 12, 11
EDGE_LABEL_MAX = 120
MARGIN = 16
MAX_DRAWN = 600  # nodes; a larger graph is not legible, and slow in a browser
MAX_EDGES = 3_000  # for the same reason; also bounds the layout's time


@dataclass(frozen=True, slots=True, kw_only=True)
class SceneNode:
    """A task, or a folded group with its `members`. `title` is the full name, `label` the truncated one."""

    id: str
    label: str
    title: str
    kind: str  # task, setup, teardown or group
    mapped: bool
    members: tuple[str, ...]
    x: float
    y: float
    w: float
    h: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SceneFrame:
    id: str
    label: str
    x: float
    y: float
    w: float
    h: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SceneEdge:
    source: str
    target: str
    path: str
    head: str  # the arrow's two strokes
    label: str = ""
    label_x: float = 0  # the middle of the label
    label_y: float = 0
    label_w: float = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    nodes: tuple[SceneNode, ...] = ()
    frames: tuple[SceneFrame, ...] = ()
    edges: tuple[SceneEdge, ...] = ()
    width: float = 0
    height: float = 0
    hidden: int = 0  # number of nodes, if they are too many to draw

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def scene(graph: GraphView, *, max_drawn: int = MAX_DRAWN) -> Scene:
    """Geometry and labels of the graph, with each folded group as one node."""
    representatives = _representatives(graph)
    members: dict[str, list[str]] = defaultdict(list)
    for task in graph.tasks:
        members[representatives[task.task_id]].append(task.task_id)
    if len(members) > max_drawn:
        return Scene(hidden=len(members))
    tasks = {task.task_id: task for task in graph.tasks}
    groups = {group.group_id: group for group in graph.groups}
    names: dict[str, str] = {}
    nodes: list[Node] = []
    for key in members:
        if key in tasks:
            names[key], parent = tasks[key].shown, tasks[key].group
        else:
            names[key], parent = f"{groups[key].shown} ({len(members[key])})", groups[key].parent
        width = min(NODE_MAX, max(NODE_MIN, LABEL_LEFT + text_width(names[key], LABEL_SIZE) + 12))
        nodes.append(Node(id=key, width=round(width), height=NODE_HEIGHT, group=parent))
    labels: dict[tuple[str, str], str] = {}
    edges: dict[tuple[str, str], None] = {}
    for edge in graph.edges:
        pair = representatives[edge.source], representatives[edge.target]
        if pair[0] != pair[1]:
            edges[pair] = None
            if edge.label:
                labels.setdefault(pair, fit(edge.label, EDGE_LABEL_MAX, NOTE_SIZE))
    if len(edges) > MAX_EDGES:
        return Scene(hidden=len(members))
    widths = {pair: text_width(label, NOTE_SIZE) for pair, label in labels.items()}
    hidden_groups = {g for g in groups if _folded_outside(g, groups) is not None}
    open_groups = [Group(id=g.group_id, parent=g.parent) for g in graph.groups if g.group_id not in hidden_groups]
    plan = layout(nodes, list(edges), open_groups, widths)
    return _scene(graph, plan, names, members, labels)


def same_scene(a: GraphView, b: GraphView) -> bool:
    """Whether two graphs have the same scene: the same names, edges and groups, whatever their states."""
    return _structure(a) == _structure(b)


def _structure(graph: GraphView) -> tuple[Any, ...]:
    tasks = [(task.task_id, task.shown, task.group, task.kind) for task in graph.tasks]
    return tasks, graph.edges, graph.groups


def _folded_outside(group: str, groups: Mapping[str, Any]) -> str | None:
    """The outermost folded group at or above `group`."""
    outermost = None
    while group:
        if groups[group].folded:
            outermost = group
        group = groups[group].parent
    return outermost


def _representatives(graph: GraphView) -> dict[str, str]:
    """Map each task id to the id of the node that shows it: its own, or that of its outermost folded group."""
    groups = {group.group_id: group for group in graph.groups}
    return {t.task_id: _folded_outside(t.group, groups) or t.task_id for t in graph.tasks}


def _scene(
    graph: GraphView,
    plan: Layout,
    names: Mapping[str, str],
    members: Mapping[str, list[str]],
    labels: Mapping[tuple[str, str], str],
) -> Scene:
    tasks: dict[str, TaskView] = {task.task_id: task for task in graph.tasks}
    groups = {group.group_id: group for group in graph.groups}

    def node(box: Box) -> SceneNode:
        task = tasks.get(box.id)
        return SceneNode(
            id=box.id, label=fit(names[box.id], box.w - LABEL_LEFT - 8, LABEL_SIZE), title=box.id,
            kind=task.kind if task else "group", mapped=bool(task and task.mapped is not None),
            members=tuple(members[box.id]), x=box.x + MARGIN, y=box.y + MARGIN, w=box.w, h=box.h,
        )  # fmt: skip

    def frame(box: Box) -> SceneFrame:
        label = fit(groups[box.id].shown, box.w - 34, NOTE_SIZE)
        return SceneFrame(id=box.id, label=label, x=box.x + MARGIN, y=box.y + MARGIN, w=box.w, h=box.h)

    edges = []
    for route in plan.routes:
        moved = route.moved(MARGIN, MARGIN)
        tip_x, tip_y = moved.points[0] if route.back else moved.points[-1]
        toward = 6 if route.back else -6
        x, y = moved.label_at
        label = labels.get((route.source, route.target), "")
        edges.append(
            SceneEdge(
                source=route.source,
                target=route.target,
                path=moved.path,
                head=f"M{tip_x + toward:g} {tip_y - 4:g}L{tip_x:g} {tip_y:g}L{tip_x + toward:g} {tip_y + 4:g}",
                label=label,
                label_x=round(x, 1),
                label_y=round(y, 1),
                label_w=round(text_width(label, NOTE_SIZE)),
            )
        )
    return Scene(
        nodes=tuple(map(node, plan.nodes)), frames=tuple(map(frame, plan.frames)), edges=tuple(edges),
        width=plan.width + 2 * MARGIN if plan.nodes else 0, height=plan.height + 2 * MARGIN if plan.nodes else 0,
    )  # fmt: skip
