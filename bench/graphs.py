"""Graphs to lay out, of any size and always the same: numbers are drawn by ``random()`` alone, whose sequence Python
keeps from release to release."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from random import Random

from nbflow.ui.layout import Edge, Group, Node

Graph = tuple[list[Node], list[Edge], list[Group]]


def chain(count: int) -> Graph:
    """One task after the other."""
    return _nodes(count), [(f"t{i - 1}", f"t{i}") for i in range(1, count)], []


def fan(count: int) -> Graph:
    """One task, then all but two side by side, then one."""
    middle = [f"t{i}" for i in range(1, count - 1)]
    return _nodes(count), [("t0", one) for one in middle] + [(one, f"t{count - 1}") for one in middle], []


def layered(count: int) -> Graph:
    """Each task after one or two of the 25 before it."""
    draw = Random(1).random
    edges = [(f"t{_of(max(0, b - 25), b, draw())}", f"t{b}") for b in range(1, count) for _ in range(_of(1, 3, draw()))]
    return _nodes(count), edges, []


def grouped(count: int) -> Graph:
    """The same, with most tasks in one of twenty groups, some of these in others."""
    draw = Random(2).random
    groups = [
        Group(id=f"g{i}", parent=f"g{_of(0, i, draw())}" if i and draw() < 0.3 else "") for i in range(min(20, count))
    ]
    nodes = [
        Node(id=f"t{i}", width=130, height=38, group=groups[_of(0, len(groups), draw())].id if draw() < 0.7 else "")
        for i in range(count)
    ]
    return nodes, layered(count)[1], groups


def scattered(seed: int) -> tuple[Graph, dict[Edge, float]]:
    """A small graph of any shape, cycles and nested groups included, with labels on some edges."""
    draw = Random(seed).random
    groups = [
        Group(id=f"g{i}", parent=f"g{_of(0, i, draw())}" if i and draw() < 0.5 else "") for i in range(int(draw() * 7))
    ]
    names = ["", *(group.id for group in groups)]
    nodes = [
        Node(
            id=f"t{i}",
            width=_of(40, 220, draw()),
            height=(38, 38, 20, 55)[int(draw() * 4)],
            group=names[int(draw() * len(names))],
        )
        for i in range(1 + int(draw() * 40))
    ]
    edges = [(f"t{int(draw() * len(nodes))}", f"t{int(draw() * len(nodes))}") for _ in range(int(draw() * 80))]
    return (nodes, edges, groups), {edge: _of(10, 200, draw()) for edge in edges if draw() < 0.2}


GRAPHS: Mapping[str, Callable[[int], Graph]] = {"chain": chain, "fan": fan, "layered": layered, "grouped": grouped}


def _nodes(count: int) -> list[Node]:
    return [Node(id=f"t{i}", width=130, height=38) for i in range(count)]


def _of(low: int, high: int, drawn: float) -> int:
    """A number from ``low`` up to, and not with, ``high``."""
    return low + int(drawn * (high - low))
