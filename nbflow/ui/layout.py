"""A layered, left-to-right layout for DAGs with nested groups.

Invariants, each with a property test: nodes do not overlap, a group's frame contains its members and nothing else,
every edge goes from left to right, and the same input gives the same layout, to the pixel.

The algorithm follows Sugiyama, Tagawa and Toda (1981), with groups as in Sander (1996):

1. *Ranks.* A node is placed one column right of its furthest predecessor; sources are then moved towards their
   successors. Ranks are global and ignore groups, so that a chain may leave a group and return to it (a task inside,
   one outside, one inside again) and its edges still go rightwards. Only folding can create a cycle; one of its edges
   is then reversed for the ranks and marked `back`.
2. *Waypoints.* An edge that spans several columns gets a waypoint in each; long edges from one source share them, which
   draws a bundle instead of a comb. A group that spans a column without a node there gets an empty *filler*. So in each
   column every group that passes is present, and "the frame holds nothing foreign" becomes a fact about orders.
3. *Order.* Columns are sorted by the barycentre of their neighbours, in both directions, keeping the order with the
   fewest crossings. The sort key of a node is the path of (key, id) pairs of its groups, then its own. Groups are hence
   contiguous in each column, and, having one key for all columns, never change sides.
4. *Heights.* Each column is moved towards its neighbours' heights by weighted isotonic regression (pool adjacent
   violators). Frames tie columns together: their tops and bottoms are variables too, and all distances form one DAG of
   constraints `y[b] - y[a] >= d`. Pushing everything down until all hold gives one solution, pushing up another, and
   the mean of two solutions is a solution, the balanced one. This requires the group order of (3) to be the same in all
   columns: a change of the sort key must preserve that.
5. *Columns* are as wide as their widest node, the gaps as wide as frames and edge labels require.

Connected components are laid out separately and stacked; tasks without any edge or group are packed into rows.
"""

from __future__ import annotations

from bisect import bisect_right, insort
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Literal

COLUMN_GAP = 44
ROW_GAP = 16
WAYPOINT_GAP = 13
FRAME_PAD = 12
FRAME_HEAD = 26  # room for the group's name
PACKED_COLUMNS = 6
WAYPOINT_WEIGHT = 6.0  # weight of the straightness of a long edge, relative to the height of a node
COHESION = 2.0  # weight of a group's middle for the heights of its members, relative to an edge; keeps frames flat
SWEEP_BUDGET = 14_000  # points visited by the ordering sweeps; keeps 300 nodes under 200 ms


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A node to place: its size in pixels and its group ("" for none)."""

    id: str
    width: float
    height: float
    group: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    id: str
    parent: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Box:
    """A rectangle: its id, left, top, width and height in pixels."""

    id: str
    x: float
    y: float
    w: float
    h: float

    def moved(self, dx: float, dy: float) -> Box:
        return replace(self, x=self.x + dx, y=self.y + dy)


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """The points of an edge, from the source's right side to the target's left side (swapped if `back`)."""

    source: str
    target: str
    points: tuple[tuple[float, float], ...]
    back: bool = False

    @property
    def path(self) -> str:
        """SVG path data: straight across columns, curved in the gaps between them."""
        (x0, y0), *rest = self.points
        parts = [f"M{x0:g} {y0:g}"]
        for x1, y1 in rest:
            if abs(y1 - y0) < 0.5:
                parts.append(f"H{x1:g}")
            else:
                middle = (x0 + x1) / 2
                parts.append(f"C{middle:g} {y0:g} {middle:g} {y1:g} {x1:g} {y1:g}")
            x0, y0 = x1, y1
        return "".join(parts)

    @property
    def label_at(self) -> tuple[float, float]:
        """The middle of an edge's label: on the line, half across its first gap."""
        (x0, y0), (x1, y1) = self.points[0], self.points[1]
        return (x0 + x1) / 2, (y0 + y1) / 2

    def moved(self, dx: float, dy: float) -> Route:
        return replace(self, points=tuple((x + dx, y + dy) for x, y in self.points))


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """The picture's geometry; `frames` are ordered outermost first."""

    nodes: tuple[Box, ...] = ()
    frames: tuple[Box, ...] = ()
    routes: tuple[Route, ...] = ()
    width: float = 0
    height: float = 0


Edge = tuple[str, str]
Neighbours = list[tuple[int, float]]  # points, and their weights
Require = Callable[[int, int, float], None]  # variable a, variable b, minimum distance of b below a


def layout(
    nodes: Sequence[Node],
    edges: Sequence[Edge],
    groups: Sequence[Group] = (),
    label_widths: Mapping[Edge, float] | None = None,
) -> Layout:
    """Place `nodes` and route `edges`.

    `label_widths` maps edges to the widths of their labels, in pixels. Raises ValueError for duplicate node ids, edges
    of unknown nodes, unknown groups, and groups that contain themselves. Loops at a node are omitted.
    """
    known = {node.id for node in nodes}
    if len(known) != len(nodes):
        raise ValueError("two nodes share an id; ids must be unique within a graph")
    for edge in edges:
        if not known.issuperset(edge):
            raise ValueError(f"edge {edge[0]} -> {edge[1]} names a node that the graph does not have")
    edges = [edge for edge in dict.fromkeys(edges) if edge[0] != edge[1]]
    paths = _group_paths(nodes, groups)
    forward, reversed_ = _without_cycles([node.id for node in nodes], edges)
    components, isolated = _components(nodes, forward, paths)
    placed = [
        _Component(own_nodes, own_edges, paths, label_widths or {}).place() for own_nodes, own_edges in components
    ]
    if isolated:
        placed.append(_packed(isolated, max((p.width for p in placed), default=0)))
    return _stacked(placed, [node.id for node in nodes], edges, reversed_)


def _group_paths(nodes: Sequence[Node], groups: Sequence[Group]) -> dict[str, tuple[str, ...]]:
    """Node id -> its groups, outermost first."""
    parent = {group.id: group.parent for group in groups}
    paths: dict[str, tuple[str, ...]] = {}
    for node in nodes:
        chain: list[str] = []
        group = node.group
        while group:
            if group not in parent:
                raise ValueError(f"{node.id} is in group {group!r}, which the graph does not have")
            if group in chain:
                raise ValueError(f"group {group!r} contains itself")
            chain.append(group)
            group = parent[group]
        paths[node.id] = tuple(reversed(chain))
    return paths


def _without_cycles(ids: Sequence[str], edges: Sequence[Edge]) -> tuple[list[Edge], set[Edge]]:
    """The edges, with those that close a cycle reversed, and the set of these. Depth-first search in input order."""
    after: dict[str, list[str]] = defaultdict(list)
    for source, target in edges:
        after[source].append(target)
    reversed_: set[Edge] = set()
    done: set[str] = set()
    for root in ids:
        if root in done:
            continue
        stack = [(root, iter(after[root]))]
        on_stack = {root}
        while stack:
            node, targets = stack[-1]
            for target in targets:
                if target in on_stack:
                    reversed_.add((node, target))
                elif target not in done:
                    on_stack.add(target)
                    stack.append((target, iter(after[target])))
                    break
            else:
                stack.pop()
                on_stack.discard(node)
                done.add(node)
    return list(dict.fromkeys((b, a) if (a, b) in reversed_ else (a, b) for a, b in edges)), reversed_


def _components(
    nodes: Sequence[Node], edges: Sequence[Edge], paths: Mapping[str, tuple[str, ...]]
) -> tuple[list[tuple[list[Node], list[Edge]]], list[Node]]:
    """The components, which edges and groups connect, in order of their first node; and the isolated nodes."""
    root: dict[str, str] = {}

    def find(item: str) -> str:
        while root.setdefault(item, item) != item:
            root[item] = root[root[item]]
            item = root[item]
        return item

    for source, target in edges:
        root[find(source)] = find(target)
    for node in nodes:
        if paths[node.id]:
            root[find(node.id)] = find("group:" + paths[node.id][0])
    members: dict[str, list[Node]] = defaultdict(list)
    for node in nodes:
        members[find(node.id)].append(node)
    own: dict[str, list[Edge]] = defaultdict(list)
    for edge in edges:
        own[find(edge[0])].append(edge)
    isolated = [own_nodes[0] for own_nodes in members.values() if len(own_nodes) == 1 and not paths[own_nodes[0].id]]
    isolated_ids = {node.id for node in isolated}
    components = [(own_nodes, own[key]) for key, own_nodes in members.items() if own_nodes[0].id not in isolated_ids]
    return components, isolated


def _ranks(ids: Sequence[str], edges: Sequence[Edge]) -> dict[str, int]:
    """Longest path from the left, then nodes with more edges to the right than to the left move right."""
    before: dict[str, list[str]] = defaultdict(list)
    after: dict[str, list[str]] = defaultdict(list)
    for source, target in edges:
        after[source].append(target)
        before[target].append(source)
    missing = {node: len(before[node]) for node in ids}
    ready = [node for node in ids if not missing[node]]
    rank = dict.fromkeys(ids, 0)
    for node in ready:  # grows while it is walked: a topological order
        for target in after[node]:
            rank[target] = max(rank[target], rank[node] + 1)
            missing[target] -= 1
            if not missing[target]:
                ready.append(target)
    for node in reversed(ready):
        if after[node] and len(after[node]) >= len(before[node]):
            rank[node] = min(rank[target] for target in after[node]) - 1
    lowest = min(rank.values(), default=0)
    return {node: value - lowest for node, value in rank.items()}


@dataclass(slots=True)
class _Point:
    """A node, a waypoint or a filler in one column."""

    rank: int
    half: float  # half its height
    path: tuple[str, ...]
    node: Node | None = None
    before: list[int] = field(default_factory=list)
    after: list[int] = field(default_factory=list)


class _Component:
    """One connected component, from nodes and edges to boxes and routes. `place` is called once."""

    def __init__(
        self,
        nodes: Sequence[Node],
        edges: Sequence[Edge],
        paths: Mapping[str, tuple[str, ...]],
        label_widths: Mapping[Edge, float],
    ) -> None:
        self.edges, self.label_widths = edges, label_widths
        ranks = _ranks([node.id for node in nodes], edges)
        self.points = [_Point(ranks[n.id], n.height / 2, paths[n.id], n) for n in nodes]
        self.index = {node.id: place for place, node in enumerate(nodes)}
        self.last = max(ranks.values(), default=0)
        self.span: dict[str, tuple[int, int]] = {}  # group -> first and last rank
        self.parent_path: dict[str, tuple[str, ...]] = {}
        for point in self.points:
            for depth, group in enumerate(point.path):
                low, high = self.span.get(group, (point.rank, point.rank))
                self.span[group] = min(low, point.rank), max(high, point.rank)
                self.parent_path[group] = point.path[: depth + 1]
        self.chains = self._waypoints()
        self._fillers()
        self.y = [0.0] * len(self.points)

    def place(self) -> Layout:
        self._order()
        self._heights()
        return self._geometry()

    # -- 2. waypoints and fillers

    def _waypoints(self) -> dict[Edge, list[int]]:
        """Edge -> its points, ends included. Edges of one source share the waypoints that lie in the same groups."""
        shared: dict[tuple[int, int, tuple[str, ...]], int] = {}
        chains: dict[Edge, list[int]] = {}
        linked: set[tuple[int, int]] = set()
        for source, target in self.edges:
            start, end = self.index[source], self.index[target]
            chain = [start]
            for rank in range(self.points[start].rank + 1, self.points[end].rank):
                path = self._groups_at(self.points[start], self.points[end], rank)
                key = (start, rank, path)
                if key not in shared:
                    shared[key] = len(self.points)
                    self.points.append(_Point(rank, 2, path))
                chain.append(shared[key])
            chain.append(end)
            chains[source, target] = chain
            for a, b in pairwise(chain):
                if (a, b) not in linked:
                    linked.add((a, b))
                    self.points[a].after.append(b)
                    self.points[b].before.append(a)
        return chains

    def _groups_at(self, start: _Point, end: _Point, rank: int) -> tuple[str, ...]:
        """The groups that an edge passes at a rank: those of its source up to their ends, then those of its target."""
        inside = [group for group in start.path if rank <= self.span[group][1]]
        if len(inside) > _common(start.path, end.path):
            return start.path[: len(inside)]
        inside = [group for group in end.path if rank >= self.span[group][0]]
        return end.path[: len(inside)]

    def _fillers(self) -> None:
        present = {(group, point.rank) for point in self.points for group in point.path}
        for group in sorted(self.span, key=lambda g: (-len(self.parent_path[g]), g)):
            low, high = self.span[group]
            for rank in range(low, high + 1):
                if (group, rank) not in present:
                    self.points.append(_Point(rank, 0, self.parent_path[group]))
                    present.update((outer, rank) for outer in self.parent_path[group])

    # -- 3. order

    def _order(self) -> None:
        """Set `layers`: for each rank its points, top to bottom."""
        points = self.points
        layers: list[list[int]] = [[] for _ in range(self.last + 1)]
        for place in self._depth_first():
            layers[points[place].rank].append(place)
        self.y = [0.0] * len(points)
        self._spread(layers)
        self._sort_all(layers)
        best, best_layers = self._crossings(layers), [list(layer) for layer in layers]
        without_gain = 0
        for sweep in range(max(4, min(24, SWEEP_BUDGET // (len(points) + 1)))):
            if not best or without_gain > 5:
                break
            rightwards = sweep % 2 == 0
            keys = self._group_keys()
            for layer in layers if rightwards else reversed(layers):
                for place in layer:
                    near = points[place].before if rightwards else points[place].after
                    if near:
                        self.y[place] = self._median([self.y[other] for other in near])
                self._sort(layer, keys)
                self._spread([layer])
            self._sort_all(layers)
            self._transpose(layers)
            crossings = self._crossings(layers)
            if crossings < best:
                best, best_layers, without_gain = crossings, [list(layer) for layer in layers], 0
            else:
                without_gain += 1
        self.layers = best_layers

    def _depth_first(self) -> list[int]:
        seen: set[int] = set()
        order: list[int] = []
        for root in sorted(range(len(self.points)), key=lambda i: self.points[i].rank):
            stack = [root]
            while stack:
                place = stack.pop()
                if place not in seen:
                    seen.add(place)
                    order.append(place)
                    stack.extend(reversed(self.points[place].after))
        return order

    @staticmethod
    def _median(values: list[float]) -> float:
        values.sort()
        half = len(values) // 2
        middle = values[half] if len(values) % 2 else (values[half - 1] + values[half]) / 2
        return middle + sum(values) / len(values) * 1e-3  # breaks ties between equal medians

    def _spread(self, layers: Sequence[Sequence[int]]) -> None:
        """Provisional heights: each layer stacked around the axis, so that ranks of any length compare."""
        for layer in layers:
            top = -sum(self.points[p].half * 2 + ROW_GAP for p in layer) / 2
            for place in layer:
                height = self.points[place].half * 2 + ROW_GAP
                self.y[place] = top + height / 2
                top += height

    def _group_keys(self) -> dict[str, float]:
        sums: dict[str, list[float]] = defaultdict(lambda: [0.0, 0])
        for place, point in enumerate(self.points):
            for group in point.path:
                sums[group][0] += self.y[place]
                sums[group][1] += 1
        return {group: total / number for group, (total, number) in sums.items()}

    def _sort(self, layer: list[int], keys: Mapping[str, float]) -> None:
        def key(place: int) -> tuple[tuple[float, str, int], ...]:
            own = (self.y[place], "", place)
            return (*((keys[group], group, -1) for group in self.points[place].path), own)

        layer.sort(key=key)

    def _sort_all(self, layers: list[list[int]]) -> None:
        """One set of group keys for all layers: afterwards no group changes sides between them."""
        if self.span:
            keys = self._group_keys()
            for layer in layers:
                self._sort(layer, keys)
        self._spread(layers)

    def _transpose(self, layers: Sequence[list[int]]) -> None:
        """Swap neighbours of one group where that saves crossings."""
        y, points = self.y, self.points
        for layer in layers:
            for i in range(len(layer) - 1):
                a, b = layer[i], layer[i + 1]
                if points[a].path != points[b].path:
                    continue
                gain = 0
                for left, right in ((points[a].before, points[b].before), (points[a].after, points[b].after)):
                    if len(left) * len(right) > 64:
                        continue
                    for p in left:
                        for q in right:
                            gain += (y[p] > y[q]) - (y[p] < y[q])
                if gain > 0:
                    layer[i], layer[i + 1] = b, a
                    y[a], y[b] = y[b], y[a]

    def _crossings(self, layers: Sequence[Sequence[int]]) -> int:
        position = {place: i for layer in layers for i, place in enumerate(layer)}
        total = 0
        for layer in layers[1:]:
            seen: list[int] = []
            for place in layer:
                near = sorted(position[other] for other in self.points[place].before)
                total += sum(len(seen) - bisect_right(seen, p) for p in near)
                for p in near:
                    insort(seen, p)
        return total

    # -- 4. heights

    def _heights(self) -> None:
        points, y = self.points, self.y
        gaps = [[self._distance(a, b) for a, b in pairwise(layer)] for layer in self.layers]
        for layer, gap in zip(self.layers, gaps, strict=True):
            at = -sum(gap) / 2
            for i, place in enumerate(layer):
                y[place] = at
                at += gap[i] if i < len(gap) else 0
        balance = self._constraints() if self.span else None
        left, right = self._neighbours("before"), self._neighbours("after")
        both = [before + after for before, after in zip(left, right, strict=True)]
        rounds = 14
        for turn in range(rounds):
            rightwards = turn % 2 == 0
            order = range(len(self.layers)) if rightwards else range(len(self.layers) - 1, -1, -1)
            neighbours = both if turn >= rounds // 2 else left if rightwards else right
            middles = self._middles()
            for rank in order:
                self._align(self.layers[rank], gaps[rank], middles, neighbours)
            if balance is not None:
                balance()
        self._straighten(gaps)
        if balance is not None:
            balance()
        for place in range(len(points)):
            y[place] = round(y[place])

    def _distance(self, a: int, b: int) -> float:
        """The minimum distance of two neighbours in a column, including the frames between them."""
        p, q = self.points[a], self.points[b]
        shared = _common(p.path, q.path)
        closing, opening = len(p.path) - shared, len(q.path) - shared
        slim = not (closing or opening) and (p.node is None or q.node is None)
        frames = closing * FRAME_PAD + opening * FRAME_HEAD
        return p.half + q.half + frames + (WAYPOINT_GAP if slim else ROW_GAP)

    def _middles(self) -> dict[str, float]:
        """The middle of each frame, by the nodes in it."""
        reach: dict[str, tuple[float, float]] = {}
        for place, point in enumerate(self.points):
            for group in point.path if point.half else ():
                low, high = reach.get(group, (self.y[place], self.y[place]))
                reach[group] = min(low, self.y[place]), max(high, self.y[place])
        return {group: (low + high) / 2 for group, (low, high) in reach.items()}

    def _neighbours(self, side: Literal["before", "after"]) -> list[Neighbours]:
        """For each point its neighbours on a side, and the weights of their heights."""
        points = self.points
        return [
            [
                (other, WAYPOINT_WEIGHT if point.node is None and points[other].node is None else 1.0)
                for other in getattr(point, side)
            ]
            for point in points
        ]

    def _align(
        self,
        layer: Sequence[int],
        gaps: Sequence[float],
        middles: Mapping[str, float],
        neighbours: Sequence[Neighbours],
    ) -> None:
        y = self.y
        targets, weights = [], []
        for place in layer:
            total = weight = 0.0
            for other, w in neighbours[place]:
                total += y[other] * w
                weight += w
            for group in self.points[place].path:
                total += middles[group] * COHESION
                weight += COHESION
            targets.append(total / weight if weight else y[place])
            weights.append(weight or 0.1)
        for place, value in zip(layer, _isotonic(targets, weights, gaps), strict=True):
            y[place] = value

    def _straighten(self, gaps: Sequence[Sequence[float]]) -> None:
        """Remove small kinks from chains: a point with one neighbour on each side is aligned with it."""
        for layer, gap in zip(self.layers, gaps, strict=True):
            targets, weights = [], []
            for place in layer:
                before = self.points[place].before
                chained = len(before) == 1 and len(self.points[before[0]].after) == 1
                targets.append(self.y[before[0]] if chained else self.y[place])
                weights.append(1.0)
            for place, value in zip(layer, _isotonic(targets, weights, gap), strict=True):
                self.y[place] = value

    def _constraints(self) -> Callable[[], None]:
        """A function that moves `y` to the balanced solution of all distances, frames included.

        Variables are the points, then a top and a bottom for each group.
        """
        count = len(self.points)
        groups = sorted(self.span)
        top = {group: count + 2 * i for i, group in enumerate(groups)}
        bottom = {group: count + 2 * i + 1 for i, group in enumerate(groups)}
        below: dict[int, dict[int, float]] = defaultdict(dict)
        above: dict[int, dict[int, float]] = defaultdict(dict)

        def require(a: int, b: int, distance: float) -> None:
            distance = max(distance, below[a].get(b, 0.0))
            below[a][b] = distance
            above[b][a] = distance

        for layer in self.layers:
            self._add_distances(layer, top, bottom, require)
        total = count + 2 * len(groups)
        order = _topological(total, below, above)
        members = self._members()

        def balance() -> None:
            target = self.y + [0.0] * (2 * len(groups))
            for group in groups:
                inside = members[group]
                target[top[group]] = min(self.y[p] - self.points[p].half for p in inside) - FRAME_HEAD
                target[bottom[group]] = max(self.y[p] + self.points[p].half for p in inside) + FRAME_PAD
            down, up = list(target), list(target)
            for v in order:
                for a, distance in above[v].items():
                    down[v] = max(down[v], down[a] + distance)
            for v in reversed(order):
                for b, distance in below[v].items():
                    up[v] = min(up[v], up[b] - distance)
            self.y[:] = [(d + u) / 2 for d, u in zip(down[:count], up[:count], strict=True)]

        return balance

    def _members(self) -> dict[str, list[int]]:
        """Group -> the points in it that have a height."""
        members: dict[str, list[int]] = defaultdict(list)
        for place, point in enumerate(self.points):
            for group in point.path if point.half else ():
                members[group].append(place)
        return members

    def _add_distances(
        self, layer: Sequence[int], top: Mapping[str, int], bottom: Mapping[str, int], require: Require
    ) -> None:
        """Add the distances along one column, read as brackets: frames open and close around points."""
        path: tuple[str, ...] = ()
        last: int | None = None
        after_last = 0.0  # from the last variable to the edge of what it stands for
        for place in [*layer, None]:
            to = self.points[place].path if place is not None else ()
            shared = _common(path, to)
            for group in reversed(path[shared:]):
                assert last is not None
                require(last, bottom[group], after_last + FRAME_PAD)
                last, after_last = bottom[group], 0.0
            opened = False
            for group in to[shared:]:
                if last is not None:
                    require(
                        last, top[group], after_last + (FRAME_HEAD if opened or self._is_top(last, top) else ROW_GAP)
                    )
                last, after_last, opened = top[group], 0.0, True
            path = to
            if place is None:
                break
            half = self.points[place].half
            if last is not None:
                slim = last < len(self.points) and (self.points[last].node is None or self.points[place].node is None)
                gap = FRAME_HEAD if opened else WAYPOINT_GAP if slim else ROW_GAP
                require(last, place, after_last + gap + half)
            last, after_last = place, half

    def _is_top(self, variable: int, top: Mapping[str, int]) -> bool:
        return variable >= len(self.points) and (variable - len(self.points)) % 2 == 0

    # -- 5. geometry

    def _geometry(self) -> Layout:
        points, y = self.points, self.y
        nodes = [[node for p in layer if (node := points[p].node) is not None] for layer in self.layers]
        widths = [max((node.width for node in column), default=0) for column in nodes]
        left, x = [], 0.0
        for gap, width in zip(self._column_gaps(), widths, strict=True):
            x += gap
            left.append(x)
            x += width
        boxes = {}
        for place, point in enumerate(points):
            if point.node is not None:
                box_y = round(y[place] - point.half)
                boxes[place] = Box(
                    id=point.node.id, x=left[point.rank], y=box_y, w=widths[point.rank], h=point.node.height
                )
        frames = self._frames(left, widths)
        routes = []
        for (source, target), chain in self.chains.items():
            waypoints = []
            for place in chain[1:-1]:
                rank = points[place].rank
                waypoints += [(left[rank], y[place]), (left[rank] + widths[rank], y[place])]
            a, b = boxes[chain[0]], boxes[chain[-1]]
            ends = (a.x + a.w, a.y + a.h / 2), (b.x, b.y + b.h / 2)
            routes.append(Route(source=source, target=target, points=(ends[0], *waypoints, ends[1])))
        drawn = [*boxes.values(), *frames]
        lines = [py for route in routes for _, py in route.points]
        x0, y0 = min(b.x for b in drawn), min([b.y for b in drawn] + lines)
        x1, y1 = max(b.x + b.w for b in drawn), max([b.y + b.h for b in drawn] + lines)
        return Layout(
            nodes=tuple(b.moved(-x0, -y0) for b in boxes.values()),
            frames=tuple(f.moved(-x0, -y0) for f in frames),
            routes=tuple(r.moved(-x0, -y0) for r in routes),
            width=x1 - x0, height=y1 - y0,
        )  # fmt: skip

    def _column_gaps(self) -> list[float]:
        """The gap left of each column: room for the frames that close and open in it, and for its widest edge label."""
        closing, opening = [0] * (self.last + 2), [0] * (self.last + 2)
        labels: list[float] = [0] * (self.last + 2)
        for path in {point.path for point in self.points}:
            for rank, number in Counter(self.span[group][1] + 1 for group in path).items():
                closing[rank] = max(closing[rank], number)
            for rank, number in Counter(self.span[group][0] for group in path).items():
                opening[rank] = max(opening[rank], number)
        for edge in self.edges:
            rank = self.points[self.index[edge[0]]].rank + 1
            labels[rank] = max(labels[rank], self.label_widths.get(edge, 0))
        frames = [FRAME_PAD * (closing[rank] + opening[rank]) for rank in range(self.last + 1)]
        return [frames[0], *(max(COLUMN_GAP + frames[rank], labels[rank] + 28) for rank in range(1, self.last + 1))]

    def _frames(self, left: Sequence[float], widths: Sequence[float]) -> list[Box]:
        """Innermost first, so that an outer frame can enclose them; returned outermost first."""
        frames: dict[str, Box] = {}
        enclosed: dict[str, list[Box]] = defaultdict(list)
        members = self._members()
        for group in sorted(self.span, key=lambda g: (-len(self.parent_path[g]), g)):
            low, high = self.span[group]
            own, inner = members[group], enclosed[group]
            x0 = min([left[low], *(f.x for f in inner)]) - FRAME_PAD
            x1 = max([left[high] + widths[high], *(f.x + f.w for f in inner)]) + FRAME_PAD
            y0 = min([self.y[p] - self.points[p].half for p in own] + [f.y for f in inner]) - FRAME_HEAD
            y1 = max([self.y[p] + self.points[p].half for p in own] + [f.y + f.h for f in inner]) + FRAME_PAD
            frames[group] = Box(id=group, x=x0, y=round(y0), w=x1 - x0, h=round(y1) - round(y0))
            for outer in self.parent_path[group][-2:-1]:
                enclosed[outer].append(frames[group])
        return sorted(frames.values(), key=lambda f: (len(self.parent_path[f.id]), f.id))


def _common(a: Sequence[str], b: Sequence[str]) -> int:
    """Length of the common prefix of two paths."""
    number = 0
    for x, y in zip(a, b, strict=False):
        if x != y:
            break
        number += 1
    return number


def _isotonic(targets: Sequence[float], weights: Sequence[float], gaps: Sequence[float]) -> list[float]:
    """The values nearest to `targets` (least weighted squares) that keep `gaps` between neighbours."""
    offset = [0.0]
    for gap in gaps:
        offset.append(offset[-1] + gap)
    blocks: list[list[float]] = []  # weighted sum, weight, length
    for i, (target, weight) in enumerate(zip(targets, weights, strict=True)):
        blocks.append([(target - offset[i]) * weight, weight, 1])
        while len(blocks) > 1 and blocks[-2][0] * blocks[-1][1] > blocks[-1][0] * blocks[-2][1]:
            total, weight_, length = blocks.pop()
            blocks[-1][0] += total
            blocks[-1][1] += weight_
            blocks[-1][2] += length
    flat = [total / weight for total, weight, length in blocks for _ in range(int(length))]
    return [value + o for value, o in zip(flat, offset, strict=True)]


def _topological(
    count: int, below: Mapping[int, Mapping[int, float]], above: Mapping[int, Mapping[int, float]]
) -> list[int]:
    missing = [len(above[v]) if v in above else 0 for v in range(count)]
    order = [v for v in range(count) if not missing[v]]
    for v in order:
        for b in below.get(v, ()):
            missing[b] -= 1
            if not missing[b]:
                order.append(b)
    if len(order) != count:
        raise AssertionError("the columns order the groups differently; see step 3 of the layout")
    return order


def _packed(isolated: Sequence[Node], at_least: float) -> Layout:
    """Nodes without edges, in rows as wide as the rest of the picture or six nodes."""
    width = max(node.width for node in isolated)
    columns = max(PACKED_COLUMNS, int((at_least + ROW_GAP) // (width + ROW_GAP)))
    height = max(node.height for node in isolated)
    boxes = tuple(
        Box(id=n.id, x=i % columns * (width + ROW_GAP), y=i // columns * (height + ROW_GAP), w=width, h=n.height)
        for i, n in enumerate(isolated)
    )
    return Layout(nodes=boxes, width=max(b.x + b.w for b in boxes), height=max(b.y + b.h for b in boxes))


def _stacked(components: Sequence[Layout], ids: Sequence[str], edges: Sequence[Edge], reversed_: set[Edge]) -> Layout:
    """The components below each other; nodes and routes in the order of the input."""
    nodes: dict[str, Box] = {}
    frames: list[Box] = []
    routes: dict[Edge, Route] = {}
    top = 0.0
    for component in components:
        nodes.update((box.id, box.moved(0, top)) for box in component.nodes)
        frames += [frame.moved(0, top) for frame in component.frames]
        routes.update(((r.source, r.target), r.moved(0, top)) for r in component.routes)
        top += component.height + ROW_GAP * 2
    ordered = []
    for a, b in edges:
        back = (a, b) in reversed_
        route = routes[(b, a) if back else (a, b)]
        ordered.append(replace(route, source=a, target=b, back=back))
    return Layout(
        nodes=tuple(nodes[i] for i in ids), frames=tuple(frames), routes=tuple(ordered),
        width=max((component.width for component in components), default=0), height=max(top - ROW_GAP * 2, 0),
    )  # fmt: skip
