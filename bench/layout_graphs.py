"""Graphs to lay out, of any size. Deterministic: only ``random()`` is drawn from, whose sequence for a seed is the same
in every release of Python."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from random import Random

from nbflow.ui.layout import Edge, Group, Node

Graph = tuple[list[Node], list[Edge], list[Group]]


def chain(count: int) -> Graph:
    """A chain of tasks."""
    return _nodes(count), [(f"t{i - 1}", f"t{i}") for i in range(1, count)], []


def fan(count: int) -> Graph:
    """One task, then all but two tasks in parallel, then one task."""
    middle = [f"t{i}" for i in range(1, count - 1)]
    return _nodes(count), [("t0", task) for task in middle] + [(task, f"t{count - 1}") for task in middle], []


def layered(count: int) -> Graph:
    """Each task is downstream of one or two of the 25 tasks before it."""
    draw = Random(1).random
    edges = [
        (f"t{_in_range(max(0, b - 25), b, draw())}", f"t{b}")
        for b in range(1, count)
        for _ in range(_in_range(1, 3, draw()))
    ]
    return _nodes(count), edges, []


def grouped(count: int) -> Graph:
    """A layered graph with most tasks in one of twenty groups, some of them nested."""
    draw = Random(2).random
    groups = [
        Group(id=f"g{i}", parent=f"g{_in_range(0, i, draw())}" if i and draw() < 0.3 else "")
        for i in range(min(20, count))
    ]
    nodes = [
        Node(
            id=f"t{i}", width=130, height=38, group=groups[_in_range(0, len(groups), draw())].id if draw() < 0.7 else ""
        )
        for i in range(count)
    ]
    return nodes, layered(count)[1], groups


def scattered(seed: int) -> tuple[Graph, dict[Edge, float]]:
    """A small graph of any shape, also with cycles and nested groups, and the widths of labels on some edges."""
    draw = Random(seed).random
    groups = [
        Group(id=f"g{i}", parent=f"g{_in_range(0, i, draw())}" if i and draw() < 0.5 else "")
        for i in range(int(draw() * 7))
    ]
    names = ["", *(group.id for group in groups)]
    nodes = [
        Node(
            id=f"t{i}",
            width=_in_range(40, 220, draw()),
            height=(38, 38, 20, 55)[int(draw() * 4)],
            group=names[int(draw() * len(names))],
        )
        for i in range(1 + int(draw() * 40))
    ]
    edges = [(f"t{int(draw() * len(nodes))}", f"t{int(draw() * len(nodes))}") for _ in range(int(draw() * 80))]
    return (nodes, edges, groups), {edge: _in_range(10, 200, draw()) for edge in edges if draw() < 0.2}


GRAPHS: Mapping[str, Callable[[int], Graph]] = {"chain": chain, "fan": fan, "layered": layered, "grouped": grouped}


def _nodes(count: int) -> list[Node]:
    return [Node(id=f"t{i}", width=130, height=38) for i in range(count)]


def _in_range(low: int, high: int, drawn: float) -> int:
    """A number from ``low`` to ``high - 1``; ``drawn``: from 0 to 1."""
    return low + int(drawn * (high - low))
