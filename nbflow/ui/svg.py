"""Static pictures. A picture is shown as `<img src="data:...">`, the only form that an untrusted notebook shows too.

An SVG in an `<img>` cannot use the stylesheets, JupyterLab variables or scripts of its page. Therefore:

- Light colours are plain attributes, which every renderer supports; dark colours are a `prefers-color-scheme` rule in
  the picture's own `<style>`. A browser evaluates that rule by the *used color-scheme* of the `<img>`, which a trusted
  notebook sets (see `view_bundles`); elsewhere it follows the system.
- The background is opaque: with the wrong colour scheme the picture is a light card on a dark page, and legible.
- Text that must not overlap is truncated by `text_width`, since nothing here can measure it.

Every text of a DAG passes through `escape`; ids are never used in a URL or a style.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from nbflow.state_colors import Palette, drawn_state, glyphs, palettes
from nbflow.ui import formatting
from nbflow.ui.escaping import escape
from nbflow.ui.scene import LABEL_LEFT, NOTE_SIZE, Scene, SceneNode, scene
from nbflow.ui.text_width import fit, text_width
from nbflow.views.graph import GraphView, TaskView
from nbflow.views.shared import group_note, group_state, state_counts

FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'DejaVu Sans', sans-serif"
CARD_MIN = 720  # minimum width: room for header and footer even with a single node
CARD_READABLE = 1100  # headers and footers of wider pictures end here, so that they are visible without scrolling
BAR_HEIGHT = 40
FOOT_HEIGHT = 34
CHIP_HEIGHT = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """An SVG, its size in pixels, and its description for screen readers."""

    svg: str
    width: int
    height: int
    label: str


def picture(body: Iterable[str], *, width: float, height: float, label: str, view: str, theme: str = "auto") -> Picture:
    """Wrap SVG elements as a picture. `theme` is "auto" (follows the viewer), "light" or "dark", else ValueError."""
    drawn = "".join(body)
    w, h = round(width), round(height)
    dark = palettes()[1]
    if theme == "dark":
        style = _rules(dark, drawn)
    elif theme == "light":
        style = ""
    elif theme == "auto":
        style = f"@media (prefers-color-scheme:dark){{{_rules(dark, drawn)}}}"
    else:
        raise ValueError(f"theme {theme!r} is not one of auto, light, dark")
    light = palettes()[0]
    svg = (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="nbf" width="{w}" height="{h}" viewBox="0 0 {w} {h}" '
        f'role="img" '
        f'aria-label="{escape(label)}" data-nbflow-view="{escape(view)}" font-family="{FONT}" font-size="12">'
        + (f"<style>{style}</style>" if style else "")
        + f'<rect class="c" x=".5" y=".5" width="{w - 1}" height="{h - 1}" rx="6" fill="{light.page}" '
        f'stroke="{light.border}"/>' + drawn + "</svg>"
    )
    return Picture(svg=svg, width=w, height=h, label=label)


# One short class for each role: a picture of 300 tasks repeats them a thousand times.
def _rules(p: Palette, drawn: str) -> str:
    rules = {
        "c": f"fill:{p.page};stroke:{p.border}", "t": f"fill:{p.text}", "m": f"fill:{p.muted}",
        "e": f"stroke:{p.edge}", "l": f"stroke:{p.border}", "a": f"stroke:{p.accent}", "p": f"fill:{p.page}",
    }  # fmt: skip
    for state, tint in p.states.items():
        if f'-{state}"' in drawn or f"-{state} " in drawn:
            rules[f"b-{state}"] = f"fill:{tint.fill};stroke:{tint.line}"
            rules[f"g-{state}"] = f"stroke:{tint.line}"
            rules[f"x-{state}"] = f"fill:{tint.text}"
            rules[f"s-{state}"] = f"fill:{tint.line}"
    return "".join(f".nbf .{name}{{{rule}}}" for name, rule in rules.items())


# -- parts; coordinates are pixels, colours the light ones


def text(x: float, y: float, content: str, *, muted: bool = False, bold: bool = False, size: float = 12,
         anchor: str = "start", title: str = "") -> str:  # fmt: skip
    p = palettes()[0]
    attributes = f'class="{"m" if muted else "t"}" fill="{p.muted if muted else p.text}"'
    extra = (' font-weight="600"' if bold else "") + (f' font-size="{size:g}"' if size != 12 else "")
    extra += f' text-anchor="{anchor}"' if anchor != "start" else ""
    hover = f"<title>{escape(title)}</title>" if title else ""
    return f'<text x="{x:g}" y="{y:g}" {attributes}{extra}>{hover}{escape(content)}</text>'


def line(x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<path class="l" d="M{x1:g} {y1:g}L{x2:g} {y2:g}" stroke="{palettes()[0].border}"/>'


def glyph(state: str, x: float, y: float) -> str:
    state = drawn_state(state)
    return (
        f'<path class="g-{state}" transform="translate({x:g} {y:g})" d="{glyphs()[state]}" fill="none" '
        f'stroke="{palettes()[0].states[state].line}" stroke-width="1.7" stroke-linecap="round" '
        f'stroke-linejoin="round"/>'
    )


def box(state: str, x: float, y: float, w: float, h: float, *, radius: float = 6, dashed: bool = False) -> str:
    """A rectangle in a state's colours; the border of `removed` is dashed."""
    state = drawn_state(state)
    tint = palettes()[0].states[state]
    dash = ' stroke-dasharray="4 3"' if dashed or state == "removed" else ""
    return (
        f'<rect class="b-{state}" x="{x:g}" y="{y:g}" width="{w:g}" height="{h:g}" rx="{radius:g}" '
        f'fill="{tint.fill}" stroke="{tint.line}"{dash}/>'
    )


def state_text(state: str, x: float, y: float, content: str, *, size: float = 12, bold: bool = False) -> str:
    state = drawn_state(state)
    extra = f' font-size="{size:g}"' if size != 12 else ""
    weight = ' font-weight="500"' if bold else ""
    fill = palettes()[0].states[state].text
    return f'<text class="x-{state}" x="{x:g}" y="{y:g}" fill="{fill}"{extra}{weight}>{escape(content)}</text>'


def chip(state: str, label: str, x: float, y: float) -> tuple[str, float]:
    """A state as colour, glyph and label; returns the SVG and its width."""
    width = round(text_width(label, 11.5) + 32)
    drawn = (
        box(state, x, y, width, CHIP_HEIGHT, radius=10)
        + glyph(state, x + 7, y + 4)
        + state_text(state, x + 23, y + 14, label, size=11.5)
    )
    return drawn, width


def label_chip(label: str, x: float, y: float) -> tuple[str, float]:
    """A neutral chip (of a schedule); returns the SVG and its width."""
    p = palettes()[0]
    width = round(text_width(label, 11.5) + 18)
    rect = (
        f'<rect class="c" x="{x:g}" y="{y:g}" width="{width}" height="{CHIP_HEIGHT}" rx="10" '
        f'fill="{p.page}" stroke="{p.border}"/>'
    )
    return rect + text(x + 9, y + 14, label, size=11.5), width


def header(title: str, width: float, *, chips: Iterable[str] = (), state: tuple[str, str] | None = None,
           right: str = "", right_title: str = "") -> str:  # fmt: skip
    """The bar at the top: bold title, neutral chips, a state chip, and a muted text at the right."""
    visible = min(width, CARD_READABLE)
    right = fit(right, visible / 3, 11.5)
    right_width = text_width(right, 11.5) + 24 if right else 12
    # space is given to the title, then to the state of the run, then to the schedule
    title = fit(title, max(120.0, (visible - right_width) * 0.4), 14)
    parts = [text(12, 25, title, bold=True, size=14)]
    x = 12 + text_width(title, 14) * 1.09 + 14  # bold runs about a tenth wider
    end = visible - right_width
    state_label = fit(state[1], min(260, end - x - 40), 11.5) if state is not None else ""
    for label in chips:
        room = end - x - (text_width(state_label, 11.5) + 40 if state_label else 0) - 26
        if room < 60:
            break
        drawn, w = label_chip(fit(label, min(220, room), 11.5), x, 10.5)
        parts.append(drawn)
        x += w + 8
    if state is not None:
        parts.append(chip(state[0], state_label, x, 10.5)[0])
    if right:
        parts.append(text(visible - 12, 24.5, right, muted=True, size=11.5, anchor="end", title=right_title))
    parts.append(line(0, BAR_HEIGHT + 0.5, width, BAR_HEIGHT + 0.5))
    return "".join(parts)


def footer(y: float, width: float, counts: Mapping[str, int], notes: Iterable[str]) -> tuple[str, float]:
    """The bar at the bottom: a chip for each state with its count, then notes. Returns the SVG and its height.

    Chips wrap; the notes are at the right end if they fit, else on a line below.
    """
    visible = min(width, CARD_READABLE)
    parts = [line(0, y + 0.5, width, y + 0.5)]
    x, row = 12.0, y + 7.5
    for state, number in counts.items():
        label = f"{state} {number:,}"
        chip_width = text_width(label, 11.5) + 32
        if x + chip_width > visible - 12 and x > 12:
            x, row = 12.0, row + 26
        drawn, w = chip(state, label, x, row)
        parts.append(drawn)
        x += w + 8
    joined = " · ".join(note for note in notes if note)
    if joined:
        if counts and x + text_width(joined, 11.5) + 24 > visible:
            x, row = 12.0, row + 26
        shown = fit(joined, visible - x - 12, 11.5)
        parts.append(text(visible - 12, row + 14, shown, muted=True, size=11.5, anchor="end", title=joined))
    height = row + FOOT_HEIGHT - 7.5 - y
    return "".join(parts), height


# -- the graph


def graph_svg(
    graph: GraphView, now: datetime | None = None, *, theme: str = "auto", drawn: Scene | None = None
) -> Picture:
    """The graph of a DAG or of a run. Pass `drawn` to reuse a scene with other states."""
    drawing = drawn if drawn is not None else scene(graph)
    message = _placeholder(graph, drawing)
    inner_w = drawing.width if not message else CARD_MIN
    inner_h = drawing.height if not message else 96
    width = max(CARD_MIN, inner_w)
    top = BAR_HEIGHT + 1
    body = [_graph_header(graph, width, now)]
    if message:
        body.append(text(width / 2, top + 52, fit(message, width - 40), muted=True, anchor="middle"))
    else:
        body += [f'<g transform="translate(0 {top})">', *_graph_parts(graph, drawing, now), "</g>"]
    counts = graph.counts() if graph.run or any(t.state != "none" for t in graph.tasks) else {}
    foot, foot_height = footer(
        top + inner_h, width, counts, graph.footer or (formatting.count(len(graph.tasks), "task"),)
    )
    body.append(foot)
    return picture(
        body, width=width, height=top + inner_h + foot_height, label=graph_label(graph), view="graph", theme=theme
    )  # fmt: skip


def graph_label(graph: GraphView) -> str:
    """The description of the picture for screen readers."""
    run = f", {graph.run} {graph.run_state}" if graph.run else ""
    states = f": {formatting.counts_line(graph.counts())}" if graph.run else ""
    return f"Graph of {graph.dag_id}{run}, {formatting.count(len(graph.tasks), 'task')}{states}"


def _placeholder(graph: GraphView, drawing: Scene) -> str:
    """The text that replaces a graph without nodes or with too many; "" for others."""
    if not graph.tasks:
        return "This DAG has no tasks yet. Define a function with @task in its cell, and call it."
    if drawing.hidden:
        size = f"{formatting.count(drawing.hidden, 'node')} with {formatting.count(len(graph.edges), 'edge')}"
        return f"{size} are too many to draw. Put the tasks into groups, which can be folded, or list their states."
    return ""


def _graph_header(graph: GraphView, width: float, now: datetime | None) -> str:
    right, hover = "", ""
    if graph.paused:
        right = "paused"
    elif graph.next_run is not None and now is not None:
        right, hover = formatting.next_run(graph.next_run, now), formatting.exact(graph.next_run)
    state = (graph.run_state, f"{graph.run} {graph.run_state}") if graph.run else None
    return header(
        graph.dag_id, width, chips=filter(None, [graph.schedule]), state=state, right=right, right_title=hover
    )


def _graph_parts(graph: GraphView, drawing: Scene, now: datetime | None) -> Iterable[str]:
    light = palettes()[0]
    tasks = {task.task_id: task for task in graph.tasks}
    for frame in drawing.frames:
        yield (
            f'<rect class="l" x="{frame.x:g}" y="{frame.y:g}" width="{frame.w:g}" height="{frame.h:g}" rx="8" '
            f'fill="none" '
            f'stroke="{light.border}" stroke-dasharray="3 3"/>'
        )
        yield text(frame.x + 10, frame.y + 17, f"▾ {frame.label}", muted=True, size=NOTE_SIZE, title=frame.id)
    yield f'<g class="e" fill="none" stroke="{light.edge}" stroke-width="1.2">'
    for edge in drawing.edges:
        yield f'<path d="{edge.path}"/><path d="{edge.head}"/>'
    yield "</g>"
    for edge in drawing.edges:
        if edge.label:
            left, top = edge.label_x - edge.label_w / 2 - 4, edge.label_y - 8
            yield (
                f'<rect class="p" x="{left:g}" y="{top:g}" width="{edge.label_w + 8:g}" height="16" '
                f'fill="{light.page}"/>'
            )
            yield text(edge.label_x, edge.label_y + 4, edge.label, muted=True, size=NOTE_SIZE, anchor="middle")
    for node in drawing.nodes:
        yield graph_node(node, [tasks[member] for member in node.members], now)


def graph_node(node: SceneNode, members: list[TaskView], now: datetime | None) -> str:
    """One task or folded group: colours, glyph, name and note; its state is in the tooltip."""
    counts = state_counts(t.state for t in members)
    state = group_state(counts)
    below = group_note(counts) if node.kind == "group" else formatting.note(members[0], now)
    below = fit(below, node.w - LABEL_LEFT - 6, NOTE_SIZE)
    x, y, w, h = node.x, node.y, node.w, node.h
    hover = f"{node.title}: {formatting.counts_line(counts) if node.kind == 'group' else state}"
    if below and node.kind != "group":
        hover += f", {below}"
    parts = [f'<g data-task-id="{escape(node.id)}" data-state="{escape(state)}"><title>{escape(hover)}</title>']
    if node.mapped or node.kind == "group":  # a second border below: the node stands for several task instances
        parts.append(_stack(state, x, y, w, h))
    parts.append(box(state, x, y, w, h))
    parts.append(_kind_mark(state, node.kind, x, y, w, h))
    parts.append(glyph(state, x + 9, y + 13))
    parts.append(state_text(state, x + LABEL_LEFT, y + (16 if below else 23), _node_label(node), bold=True))
    if below:
        parts.append(text(x + LABEL_LEFT, y + 30, below, muted=True, size=NOTE_SIZE))
    parts.append("</g>")
    return "".join(parts)


def _node_label(node: SceneNode) -> str:
    return f"▸ {node.label}" if node.kind == "group" else node.label


def _stack(state: str, x: float, y: float, w: float, h: float) -> str:
    state = drawn_state(state)
    colour = palettes()[0].states[state].line
    return (
        f'<path class="g-{state}" d="M{x + 5:g} {y + h + 3:g}H{x + w - 3:g}Q{x + w + 3:g} {y + h + 3:g} '
        f'{x + w + 3:g} {y + h - 3:g}V{y + 5:g}" '
        f'fill="none" stroke="{colour}"/>'
    )


def _kind_mark(state: str, kind: str, x: float, y: float, w: float, h: float) -> str:
    """A bar at the left side of a setup task, at the right side of a teardown task."""
    if kind not in ("setup", "teardown"):
        return ""
    state = drawn_state(state)
    at = x + 3.5 if kind == "setup" else x + w - 3.5
    colour = palettes()[0].states[state].line
    return f'<path class="g-{state}" d="M{at:g} {y + 6:g}V{y + h - 6:g}" stroke="{colour}" stroke-width="2"/>'
