"""Charts: the grid of the latest runs, the gantt of a run, and the timeline of a simulation.

Each truncates names by `text_width`, draws a limited number of elements, and states how many it omits.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from nbflow.commands.surface_syntax import Surface, invocation
from nbflow.state_colors import drawn_state, palettes
from nbflow.ui import formatting
from nbflow.ui.escaping import escape
from nbflow.ui.svg import (
    BAR_HEIGHT,
    CARD_MIN,
    Picture,
    box,
    footer,
    glyph,
    header,
    line,
    picture,
    state_text,
    text,
)
from nbflow.ui.text_width import fit, text_width
from nbflow.views.gantt import GanttView
from nbflow.views.grid import GridRun, GridView
from nbflow.views.shared import Bar, Lane, state_counts
from nbflow.views.timeline import TimelineView

WIDTH = 980
NAMES = 190  # width of the column of names
MAX_LANES = 200
MAX_GRID_RUNS = 25  # as many columns as fit beside the names at a notebook's width
MAX_BARS = 2_000
BAR = 18  # height of a bar
LANE = 27  # height of a lane


def _omitted(shown: int, total: int, noun: str) -> str:
    return "" if shown >= total else f"{total - shown:,} of {formatting.count(total, noun)} not drawn"


def _empty(title: str, message: str, view: str, theme: str) -> Picture:
    body = [
        header(title, CARD_MIN),
        text(CARD_MIN / 2, BAR_HEIGHT + 44, fit(message, CARD_MIN - 40), muted=True, anchor="middle"),
    ]
    return picture(
        body, width=CARD_MIN, height=BAR_HEIGHT + 80, label=f"{title}: {message}", view=view, theme=theme
    )  # fmt: skip


# -- grid


def grid_svg(view: GridView, *, theme: str = "auto") -> Picture:
    """The latest runs as columns (bar height: duration), tasks as rows, states as cells."""
    if not view.runs:
        start = invocation("dags trigger", Surface.NOTEBOOK, view.dag_id)
        message = f"{view.dag_id} has no run yet. Start one with: {start}"
        return _empty(view.dag_id, message, "grid", theme)
    runs = view.runs[-MAX_GRID_RUNS:]
    first = len(view.runs) - len(runs)
    rows = view.rows[:MAX_LANES]
    step, left, top = 30, NAMES + 17, BAR_HEIGHT + 1
    body = [header(view.dag_id, WIDTH, right=f"last {formatting.count(len(runs), 'run')} · bar height is the duration")]
    body += _grid_runs(runs, left, top + 56, step)
    y = top + 84.0
    for row in rows:
        indent = 16 + 14 * row.depth
        name = fit(row.label, NAMES - indent, 12)
        if not row.states:
            body.append(text(indent, y + 12, f"▾ {name}", muted=True))
        else:
            body.append(text(indent, y + 12, name, title=row.label if name != row.label else ""))
            states = row.states[first:]
            for i, state in enumerate(states):
                if state:
                    body.append(_cell(left + i * step - 3, y, state, f"{row.label}, {runs[i].label}: {state}"))
        y += 24
    latest = state_counts(row.states[-1] for row in rows if row.states and row.states[-1])
    notes = (*view.footer, _omitted(len(rows), len(view.rows), "row"), _omitted(len(runs), len(view.runs), "run"))
    foot, height = footer(y + 6, WIDTH, latest, notes or ("the latest run's states",))
    body.append(foot)
    counts = formatting.counts_line(state_counts(run.state for run in runs))
    label = f"Grid of {view.dag_id}, {formatting.count(len(runs), 'run')}: {counts}"
    return picture(body, width=WIDTH, height=y + 6 + height, label=label, view="grid", theme=theme)


def _grid_runs(runs: Sequence[GridRun], left: float, base: float, step: float) -> Iterable[str]:
    longest = max((run.duration or 0 for run in runs), default=0) or 1
    free_from = 0.0
    for i, run in enumerate(runs):
        height = 6 + 36 * (run.duration or 0) / longest
        state = drawn_state(run.state)
        x = left + i * step
        hover = f"{run.run_id}: {run.state}, {formatting.duration(run.duration)}"
        fill = palettes()[0].states[state].line
        yield (
            f'<rect class="s-{state}" x="{x:g}" y="{base - height:.1f}" width="14" height="{height:.1f}" rx="2" '
            f'fill="{fill}">'
            f"<title>{escape(hover)}</title></rect>"
        )
        width = text_width(run.label, 11)
        if x + 7 - width / 2 >= free_from:
            yield text(x + 7, base + 15, run.label, muted=True, size=11, anchor="middle")
            free_from = x + 7 + width / 2 + 22


def _cell(x: float, y: float, state: str, hover: str) -> str:
    drawn = box(state, x, y, 20, 16, radius=3) + glyph(state, x + 4, y + 2)
    return f'<g data-state="{escape(state)}"><title>{escape(hover)}</title>{drawn}</g>'


# -- gantt


def gantt_svg(view: GanttView, *, theme: str = "auto") -> Picture:
    """The tasks of a run on an axis of seconds since its first task was queued; grey is time in the queue."""
    lanes = view.lanes[:MAX_LANES]
    bars = [bar for lane in lanes for bar in lane.bars]
    if not bars:
        return _empty(view.dag_id, f"No task of {view.run or 'this run'} has started yet.", "gantt", theme)
    start = min(bar.queued_from or bar.start for bar in bars)
    span = max(formatting.between(start, max(bar.end for bar in bars)), 0.001)
    tick = _tick_seconds(span / 8)
    end = tick * (int(span / tick) + 1)
    left, right, top = NAMES, WIDTH - 28, BAR_HEIGHT + 1
    scale = (right - left) / end
    bottom = top + 34 + len(lanes) * LANE
    state = (view.run_state, f"{view.run} {view.run_state}") if view.run else None
    body = [header(view.dag_id, WIDTH, state=state, right="grey: time in the queue")]
    for i in range(round(end / tick) + 1):
        x = left + i * tick * scale
        body.append(line(round(x) + 0.5, top + 24, round(x) + 0.5, bottom))
        body.append(text(x, top + 17, _axis_seconds(i * tick), muted=True, size=11, anchor="middle"))
    for i, lane in enumerate(lanes):
        y = top + 34 + i * LANE
        body.append(_lane_name(lane, y))
        body += [_bar(bar, start, left, scale, right, y) for bar in lane.bars]
    notes = (*view.footer, _omitted(len(lanes), len(view.lanes), "task"))
    ends = state_counts(lane.bars[-1].state for lane in lanes if lane.bars)
    foot, height = footer(bottom + 6, WIDTH, ends, [*notes, f"{formatting.duration(span)} in total"])
    body.append(foot)
    label = f"Gantt of {view.dag_id}, {view.run}: {formatting.count(len(lanes), 'task')} in {formatting.duration(span)}"
    return picture(body, width=WIDTH, height=bottom + 6 + height, label=label, view="gantt", theme=theme)


def _lane_name(lane: Lane, y: float) -> str:
    name = fit(lane.label, NAMES - 32, 12)
    return text(16, y + 13, name, title=lane.label if name != lane.label else "")


def _bar(bar: Bar, start: datetime, left: float, scale: float, right: float, y: float) -> str:
    x = left + formatting.between(start, bar.start) * scale
    w = max(formatting.between(bar.start, bar.end) * scale, 3)
    length = formatting.duration(formatting.between(bar.start, bar.end))
    parts = [f"<g><title>{escape(f'{bar.state}, {length}' + (f', {bar.note}' if bar.note else ''))}</title>"]
    if bar.queued_from is not None and bar.queued_from < bar.start:
        qx = left + formatting.between(start, bar.queued_from) * scale
        grey = palettes()[0].states["queued"].line
        parts.append(
            f'<rect class="s-queued" x="{qx:.1f}" y="{y:g}" width="{max(x - qx, 1.5):.1f}" height="{BAR}" '
            f'fill="{grey}"/>'
        )
    parts.append(box(bar.state, round(x, 1), y, round(w, 1), BAR, radius=3, dashed=bar.dashed))
    room = x + 5
    if w >= 22:
        parts.append(glyph(bar.state, round(x + 5, 1), y + 3))
        room = x + 22
    note = bar.note or length
    if text_width(note, 11) <= x + w - room - 6:
        parts.append(state_text(bar.state, round(room, 1), y + 13, note, size=11))
    elif x + w + 6 + text_width(note, 11) <= right:
        parts.append(text(round(x + w + 6, 1), y + 13, note, muted=True, size=11))
    parts.append("</g>")
    return "".join(parts)


def _tick_seconds(seconds: float) -> float:
    """The next larger tick of an axis: 1, 2 or 5 times a power of ten, from a minute on whole minutes, hours, days."""
    for step in (60, 120, 300, 600, 900, 1_800, 3_600, 7_200, 10_800, 21_600, 43_200, 86_400, 172_800, 604_800):
        if 50 < seconds <= step:
            return step
    power = 10.0 ** (len(str(int(seconds))) - 1) if seconds >= 1 else 1.0
    while power > seconds:
        power /= 10
    return next(power * k for k in (1, 2, 5, 10) if power * k >= seconds)


def _axis_seconds(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:g} s" if seconds >= 0.1 or not seconds else f"{seconds * 1000:g} ms"
    return formatting.duration(seconds)


# -- timeline


def timeline_svg(view: TimelineView, *, theme: str = "auto") -> Picture:
    """The runs of each DAG in a lane, as bars in the colours of their states; days on the axis."""
    lanes = view.lanes[:MAX_LANES]
    if not any(lane.bars for lane in lanes):
        return _empty(view.title, "No run is due in this period.", "timeline", theme)
    span = max(formatting.between(view.start, view.end), 1)
    left, right, top = NAMES, WIDTH - 28, BAR_HEIGHT + 1
    scale = (right - left) / span
    rows = [row for lane in lanes for row in _rows(lane, scale)]
    bottom = top + 34 + len(rows) * LANE
    period = f"{formatting.short_time(view.start)} to {formatting.short_time(view.end)}"
    body = [header(view.title, WIDTH, right=period)]
    body += _calendar_axis(view.start, view.end, left, scale, top, bottom)
    for i, (name, bars) in enumerate(rows):
        y = top + 34 + i * LANE
        if name is not None:
            body.append(_lane_name(name, y))
        body += [_run_bar(bar, view.start, left, scale, y) for bar in bars]
    all_bars = [bar for lane in lanes for bar in lane.bars]
    notes = (*view.footer, _omitted(len(lanes), len(view.lanes), "lane"))
    foot, height = footer(bottom + 6, WIDTH, state_counts(b.state for b in all_bars), notes)
    body.append(foot)
    label = f"Timeline of {view.title}, {period}: {formatting.counts_line(state_counts(b.state for b in all_bars))}"
    return picture(body, width=WIDTH, height=bottom + 6 + height, label=label, view="timeline", theme=theme)


def _rows(lane: Lane, scale: float) -> list[tuple[Lane | None, list[Bar]]]:
    """A lane's bars in rows without overlaps, four rows at most; only the first row has the lane for its name."""
    rows: list[list[Bar]] = [[]]
    for bar in sorted(lane.bars[:MAX_BARS], key=lambda b: (b.start, b.end)):
        free = [row for row in rows if not row or row[-1].end <= bar.start]
        if free:
            free[0].append(bar)
        elif len(rows) < 4:
            rows.append([bar])
        else:
            min(rows, key=lambda row: row[-1].end).append(bar)
    return [(lane if i == 0 else None, row) for i, row in enumerate(rows)]


def _run_bar(bar: Bar, start: datetime, left: float, scale: float, y: float) -> str:
    x = left + formatting.between(start, bar.start) * scale
    w = max(formatting.between(bar.start, bar.end) * scale, 2.5)
    state = drawn_state(bar.state)
    duration = formatting.duration(formatting.between(bar.start, bar.end))
    title = f"{bar.state}, {formatting.short_time(bar.start)}, {duration}"
    hover = f"<title>{escape(title + (f': {bar.note}' if bar.note else ''))}</title>"
    if w < 14:  # too narrow for a border and a glyph
        fill = palettes()[0].states[state].line
        return (
            f'<rect class="s-{state}" x="{x:.1f}" y="{y}" width="{w:.1f}" height="{BAR}" rx="1" '
            f'fill="{fill}">{hover}</rect>'
        )
    drawn = box(state, round(x, 1), y, round(w, 1), BAR, radius=3, dashed=bar.dashed)
    if w >= 20:
        drawn += glyph(state, round(x + w / 2 - 6, 1), y + 3)
    return f"<g>{hover}{drawn}</g>"


def _calendar_axis(
    start: datetime, end: datetime, left: float, scale: float, top: float, bottom: float
) -> Iterable[str]:
    """Ticks at whole hours or days of wall time in the zone of ``start``, so that a day with a DST change fits."""
    span = formatting.between(start, end)
    hours = next(
        (h for h in (1, 2, 3, 6, 12, 24, 48, 168) if span / 3600 / h <= 10), 24 * (int(span / 86_400 / 10) + 1)
    )
    wall = start.replace(hour=start.hour - start.hour % min(hours, 24), minute=0, second=0, microsecond=0)
    free_from = left - 40
    while wall <= end:
        if wall >= start:
            x = left + formatting.between(start, wall) * scale
            yield line(round(x) + 0.5, top + 24, round(x) + 0.5, bottom)
            label = f"{wall:%a} {wall.day} {wall:%b}" if wall.hour == 0 else f"{wall:%H:%M}"
            half = text_width(label, 11) / 2
            if free_from <= x - half and x + half <= WIDTH - 6:
                yield text(x, top + 17, label, muted=True, size=11, anchor="middle")
                free_from = x + half + 8
        wall = wall + timedelta(hours=hours)
