"""Views as cell outputs: each function takes a view (and `now`, where it shows times) and returns a `Bundle`.

A card is one `<div class="nbflow">`. Its inline styles hold the light theme and survive a sanitiser; its `<style>`,
which only a trusted notebook keeps, adds the dark theme, thin borders and the colour scheme of pictures. The HTML
contains no link and no script, and loads nothing.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime

from nbflow.commands.surface_syntax import Surface, invocation
from nbflow.state_colors import drawn_state, glyphs, palettes
from nbflow.suggested_commands import SuggestedCommand
from nbflow.ui import formatting
from nbflow.ui.escaping import escape
from nbflow.ui.mime_bundle import Bundle, data_uri
from nbflow.ui.run_charts import gantt_svg, grid_svg, timeline_svg
from nbflow.ui.svg import Picture, graph_svg
from nbflow.ui.tables import (
    Cell,
    Table,
    chip_html,
    html_table,
    state_cell,
    text_table,
    when_cell,
)
from nbflow.views.backfill import BackfillView
from nbflow.views.dag_list import DagListRow, DagListView
from nbflow.views.gantt import GanttView
from nbflow.views.graph import GraphView, folded_for_size
from nbflow.views.grid import GridView
from nbflow.views.import_errors import ImportErrorsView
from nbflow.views.next_runs import NextRunsView
from nbflow.views.runs import RunsView
from nbflow.views.shared import EventRow, state_counts
from nbflow.views.task_instances import TaskInstancesView
from nbflow.views.task_log import TaskLogView
from nbflow.views.timeline import TimelineView
from nbflow.views.why_run import WhyRunView
from nbflow.views.why_task import WhyTaskView

MAX_LOG_LINES = 1_000
MAX_LINE = 2_000  # characters of one log line
MAX_EVENTS = 200
MAX_PLANNED = 60
_ANSI = re.compile(r"\x1b(?:\[[0-9;?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|.)")

_DARK_PAGES = ('body[data-jp-theme-light="false"]', "body.vscode-dark", "html[theme=dark]", ".nbflow-dark")
_LIGHT_PAGES = ('body[data-jp-theme-light="true"]', "body.vscode-light", ".nbflow-light")


def _magic(command: str, *words: str) -> str:
    """A command as a magic, since cards are shown in notebooks."""
    return invocation(command, Surface.NOTEBOOK, *words)


# -- the card


def _style(inner: str) -> str:
    """The CSS rules that this card needs: the dark theme of the states in it, and what inline styles cannot express."""
    dark = palettes()[1]
    rules = [
        ".nbflow .nfo-table tr{background:transparent!important;border-bottom:1px solid rgba(128,138,148,.25)}",
        ".nbflow .nfo-table tbody tr:last-child{border-bottom:0}",
        ".nbflow .nfo-table th,.nbflow .nfo-muted{color:var(--nf-muted,#59636e)}",
        ".nbflow .nfo-st svg{display:inline-block;vertical-align:-1.5px}",
        "@media(max-width:480px){.nbflow .nfo-table thead{display:none}"
        ".nbflow .nfo-table td{display:block;border:0;padding:2px 12px!important;text-align:left!important;"
        "white-space:normal!important}"
        ".nbflow .nfo-table td::before{content:attr(data-label) ' ';color:#848d97;font-size:11px}}",
    ]

    def under(pages: Sequence[str], selector: str, rule: str) -> str:
        return ",".join(f"{page} {selector}" for page in pages) + "{" + rule + "}"

    if "<img" in inner:
        rules += [
            under(_LIGHT_PAGES, ".nbflow img", "color-scheme:light"),
            under(_DARK_PAGES, ".nbflow img", "color-scheme:dark"),
        ]
    rules.append(under(_DARK_PAGES, ".nbflow", f"--nf-muted:{dark.muted};border-color:{dark.border}!important"))
    rules.append(under(_DARK_PAGES, ".nbflow .nfo-bar-line", f"border-color:{dark.border}!important"))
    rules.append(
        under(_DARK_PAGES, ".nbflow .nfo-log", f"background-color:{dark.raised}!important;color:{dark.text}!important")
    )
    rules.append(under(_DARK_PAGES, ".nbflow .nfo-track", f"background-color:{dark.states['queued'].fill}!important"))
    for state in glyphs():
        if f"nfo-{state}" not in inner:
            continue
        tint = dark.states[state]
        colours = (
            f"color:{tint.text}!important;background-color:{tint.fill}!important;border-color:{tint.line}!important"
        )
        rules.append(under(_DARK_PAGES, f".nbflow .nfo-st.nfo-{state}", colours))
        if f"nfo-bar nfo-{state}" in inner:
            rules.append(under(_DARK_PAGES, f".nbflow .nfo-bar.nfo-{state}", f"background-color:{tint.line}!important"))
        if f"nfo-ink nfo-{state}" in inner:
            rules.append(under(_DARK_PAGES, f".nbflow .nfo-ink.nfo-{state}", f"color:{tint.line}!important"))
    return "<style>" + "".join(rules) + "</style>"


def card(view: str, title: str, body: str, *, aside: str = "", foot: str = "", chips: str = "") -> str:
    """A titled card; `body`, `chips`, `aside` and `foot` are HTML, `title` is text."""
    light = palettes()[0]
    line = f"1px solid {light.border}"
    bar = ""
    if title:
        bar = (
            f'<div class="nfo-bar-line" style="padding:7px 12px;border-bottom:{line}"><b '
            f'style="font-size:14px">{escape(title)}</b> &nbsp;'
            f'{chips} <span class="nfo-muted" style="font-size:11.5px;margin-left:8px">{aside}</span></div>'
        )
    end = (
        f'<div class="nfo-bar-line nfo-muted" style="padding:6px 12px;border-top:{line};font-size:11.5px">{foot}</div>'
        if foot
        else ""
    )
    inner = bar + body + end
    return (
        f'<div class="nbflow" data-nbflow-view="{escape(view)}" '
        f'style="border:{line};border-radius:6px;margin:4px 0px;overflow:hidden;'
        f'font-size:13px;line-height:1.45">{_style(inner)}{inner}</div>'
    )


SHORT_HISTORY = 12
"""A history of up to this many events is shown unfolded."""


def _note(text: str) -> str:
    return f'<p style="padding:8px 12px;margin:0px">{escape(text)}</p>'


def _folded(summary: str, inner: str, *, open_: bool = False) -> str:
    opened = " open" if open_ else ""
    head = f'<summary style="padding:4px 12px 8px 12px">{escape(summary)}</summary>'
    return f"<details{opened}>{head}{inner}</details>"


def chips_html(counts: dict[str, int]) -> str:
    return " ".join(chip_html(state, f"{state} {number:,}") for state, number in counts.items())


MIN_SCALE = 0.75
"""Smallest scale of a picture: its texts then have 8 to 10 pixels."""


def picture_html(picture: Picture, view: str) -> str:
    """The picture as an `<img>`. A wide picture keeps its size and scrolls in its box; others shrink to `MIN_SCALE`."""
    min_width = round(picture.width * MIN_SCALE)
    scaled = f"max-width:100%;min-width:{min_width}px;height:auto" if picture.width <= 1_100 else "max-width:none"
    body = (
        f'<div style="overflow-x:auto"><img alt="{escape(picture.label)}" title="" width="{picture.width}" '
        f'height="{picture.height}" '
        f'style="{scaled}" src="{data_uri(picture.svg)}"></div>'
    )
    return f'<div class="nbflow" data-nbflow-view="{escape(view)}">{_style(body)}{body}</div>'


def _joined(*parts: str) -> str:
    return "\n".join(part for part in parts if part)


# -- pictures


def graph_bundle(graph: GraphView, now: datetime | None = None, *, theme: str = "auto") -> Bundle:
    """The graph of a DAG or a run; large graphs have folded groups. The text lists all tasks with their upstream."""
    picture = graph_svg(folded_for_size(graph), now, theme=theme)
    return Bundle(html=picture_html(picture, "graph"), text=graph_text(graph, now), svg=picture.svg)


def graph_text(graph: GraphView, now: datetime | None = None) -> str:
    upstream: dict[str, list[str]] = {}
    for edge in graph.edges:
        upstream.setdefault(edge.target, []).append(edge.source + (f" ({edge.label})" if edge.label else ""))
    rows = tuple(
        (t.task_id + t.times, t.state, formatting.note(t, now), ", ".join(upstream.get(t.task_id, ())))
        for t in graph.tasks
    )
    head = " · ".join(
        filter(None, [f"DAG {graph.dag_id}", graph.schedule, graph.run and f"{graph.run} {graph.run_state}"])
    )
    if graph.next_run is not None and now is not None and not graph.paused:
        head += f" · {formatting.next_run(graph.next_run, now)} ({formatting.short_time(graph.next_run)})"
    table = Table(columns=("task", "state", "note", "upstream"), rows=rows, empty="This DAG has no tasks yet.")
    counts = formatting.counts_line(graph.counts()) if graph.run else ""
    return _joined(head + (" · paused" if graph.paused else ""), text_table(table), counts, " · ".join(graph.footer))


def grid_bundle(view: GridView, *, theme: str = "auto") -> Bundle:
    picture = grid_svg(view, theme=theme)
    runs = view.runs[-12:]
    rows = tuple(
        ("· " * row.depth + row.label, *(row.states[-len(runs) :] if row.states else [""] * len(runs)))
        for row in view.rows
    )
    names = Counter(run.label for run in runs)
    columns = ("task", *(run.label if names[run.label] == 1 else run.run_id for run in runs))
    table = Table(columns=columns, rows=rows, empty=f"{view.dag_id} has no run yet.")
    text = _joined(f"Grid of {view.dag_id}, last {formatting.count(len(runs), 'run')}", text_table(table))
    return Bundle(html=picture_html(picture, "grid"), text=text, svg=picture.svg)


def gantt_bundle(view: GanttView, *, theme: str = "auto") -> Bundle:
    picture = gantt_svg(view, theme=theme)
    rows = tuple(
        (
            lane.label,
            bar.state,
            formatting.short_time(bar.start),
            formatting.duration(formatting.between(bar.start, bar.end)),
            bar.note,
        )
        for lane in view.lanes
        for bar in lane.bars
    )
    table = Table(columns=("task", "state", "start", "duration", "note"), rows=rows, empty="No task has started yet.")
    text = _joined(f"Gantt of {view.dag_id} {view.run}".rstrip(), text_table(table))
    return Bundle(html=picture_html(picture, "gantt"), text=text, svg=picture.svg)


def timeline_bundle(view: TimelineView, *, theme: str = "auto") -> Bundle:
    """The timeline as a picture, followed by its assumptions and its events with their causes."""
    picture = timeline_svg(view, theme=theme)
    events = _event_table(view.events)
    assumptions = "Assumptions: " + "; ".join(view.assumptions) if view.assumptions else ""
    below = ""
    if view.events or assumptions:
        summary = f"{formatting.count(len(view.events), 'event')} with causes"
        folded = _folded(summary, html_table(events)) if view.events else ""
        below = card("events", "", (_note(assumptions) if assumptions else "") + folded)
    rows = tuple(
        (lane.label, str(len(lane.bars)), formatting.counts_line(state_counts(b.state for b in lane.bars)))
        for lane in view.lanes
    )
    table = Table(columns=("lane", "runs", "states"), rows=rows, empty="No run is due in this period.")
    text = _joined(
        f"{view.title}: {formatting.short_time(view.start)} to {formatting.short_time(view.end)}",
        text_table(table), assumptions, text_table(events) if view.events else "",
    )  # fmt: skip
    return Bundle(html=picture_html(picture, "timeline") + below, text=text, svg=picture.svg)


# -- lists


def dags_bundle(view: DagListView, now: datetime) -> Bundle:
    """The DAGs with their latest runs and the next one."""
    table = Table(
        columns=("DAG", "last runs", "latest", "schedule", "next", "tags", "owner"),
        rows=tuple(_dag_row(row, now) for row in view.rows),
        empty="There is no DAG yet. Define one in a cell that begins with:  %%dag hello --schedule @daily",
        more=f"To narrow the list: {_magic('dags list', 'PATTERN')}.",
    )
    failing = sum(row.latest == "failed" for row in view.rows)
    aside = f"{failing} failing" if failing else ""
    stale = f"Not listed, because no file defines them any more: {', '.join(view.stale)}" if view.stale else ""
    html = card(
        "list", "DAGs", html_table(table), chips=_number(len(view.rows)), aside=escape(aside), foot=escape(stale)
    )
    return Bundle(html=html, text=_joined(text_table(table), stale))


def _dag_row(row: DagListRow, now: datetime) -> tuple[Cell, ...]:
    runs = row.last_runs[-14:]
    longest = max((run.duration or 0 for run in runs), default=0) or 1
    bars = tuple((run.state, (run.duration or 0) / longest) for run in runs)
    latest = state_cell(row.latest) if runs or row.latest != "none" else Cell(text="–", muted=True)
    next_run = Cell(text="paused", muted=True) if row.is_paused else when_cell(formatting.relative(row.next_run, now))
    return (
        Cell(text=row.dag_id, bold=True), Cell(bars=bars, hover=", ".join(run.state for run in runs)), latest,
        Cell(text=row.schedule or "none", mono=True), next_run, Cell(text=", ".join(row.tags), muted=True),
        Cell(text=", ".join(row.owners), muted=True),
    )  # fmt: skip


def _number(number: int) -> str:
    border = palettes()[0].border
    style = f"display:inline-block;padding:0px 8px;border-radius:10px;border:1px solid {border};font-size:11.5px"
    return f'<span class="nfo-bar-line" style="{style}">{number:,}</span>'


def runs_bundle(view: RunsView, now: datetime) -> Bundle:
    table = Table(
        columns=("run", "state", "type", "logical date", "started", "duration", "tasks"),
        rows=tuple(
            (
                Cell(text=r.run_id, mono=True), state_cell(r.state), Cell(text=r.run_type, muted=True),
                Cell(text=formatting.short_time(r.logical_date), hover=formatting.exact(r.logical_date)),
                when_cell(formatting.relative(r.start_date, now)),
                Cell(text=_duration(r.start_date, r.end_date, now), right=True),
                Cell(text=r.note or (formatting.counts_line(r.counts) if r.counts else ""), muted=True, wraps=True),
            )
            for r in view.rows
        ),
        empty=f"{view.dag_id or 'The DAG'} has no run yet. Start one with:  {_magic('dags trigger', view.dag_id)}",
        more=f"To see more: {_magic('dags list-runs', view.dag_id or 'DAG_ID', '--number', 'N')}.",
        total=view.total,
    )  # fmt: skip
    title = f"Runs of {view.dag_id}" if view.dag_id else "Runs"
    number = max(view.total or 0, len(view.rows))
    return Bundle(html=card("runs", title, html_table(table), chips=_number(number)), text=text_table(table))


def _duration(start: datetime | None, end: datetime | None, now: datetime) -> str:
    duration = formatting.duration(formatting.elapsed(start, end, now))
    return f"{duration} so far" if start is not None and end is None else duration


Spell = Callable[[SuggestedCommand], str]
"""How a surface spells a command; ``str`` is the terminal's spelling."""


def tasks_bundle(view: TaskInstancesView, now: datetime) -> Bundle:
    """The task instances of a run, followed by the number of them in each state."""
    title = f"{view.dag_id}, {view.run}: {view.run_state}" if view.dag_id else "Tasks"
    title = f"{title}. {view.note}" if view.note else title
    table = Table(
        columns=("task", "index", "state", "try", "started", "duration", "why"),
        rows=tuple(
            (
                Cell(text=r.task_id, bold=True), Cell(text=str(r.map_index) if r.map_index >= 0 else "", right=True),
                state_cell(r.state), Cell(text=formatting.tries(r.try_number, r.max_tries)),
                when_cell(formatting.relative(r.start_date, now)),
                Cell(text=_duration(r.start_date, r.end_date, now), right=True),
                Cell(text=r.reason),
            )
            for r in view.rows
        ),
        empty="This run has no tasks yet.",
        more=f"To see one task: {_magic('why', view.dag_id or 'DAG_ID', 'TASK')}.",
    )  # fmt: skip
    counts = state_counts(r.state for r in view.rows)
    html = card("tasks", title, html_table(table), foot=chips_html(counts))
    return Bundle(html=html, text=_joined(title, text_table(table), formatting.counts_line(counts) if counts else ""))


def next_runs_bundle(view: NextRunsView, now: datetime, *, remark: str = "") -> Bundle:
    """The next scheduled runs. ``remark`` is added to the title."""
    table = Table(
        columns=("starts", "", "logical date", "data interval"),
        rows=tuple(
            (
                Cell(text=formatting.short_time(r.run_after), bold=True),
                Cell(text=formatting.relative(r.run_after, now).relative if r.run_after > now else "now", muted=True),
                formatting.short_time(r.logical_date),
                Cell(text=_interval(r.data_interval_start, r.data_interval_end), muted=True),
            )
            for r in view.rows
        ),
        empty=f"{view.dag_id} has no scheduled run ahead; its schedule is {view.schedule}.",
    )
    remarks = [part for part in ("paused" if view.is_paused else "", remark) if part]
    title = " · ".join([f"Next runs of {view.dag_id}, {view.schedule} ({view.timezone})", *remarks])
    return table_bundle(title, table, view="next")


def _event_table(rows: Sequence[EventRow]) -> Table:
    return Table(
        columns=("at", "object", "from", "to", "cause", "by"),
        rows=tuple(
            (
                Cell(text=formatting.short_time(e.at), hover=formatting.exact(e.at), muted=True), Cell(text=e.subject),
                Cell(text=e.from_state, muted=True), state_cell(e.to_state), Cell(text=e.cause),
                Cell(text=e.actor, muted=True),
            )
            for e in rows[:MAX_EVENTS]
        ),
        empty="There is no event yet.",
        total=len(rows),
    )  # fmt: skip


def events_bundle(rows: Sequence[EventRow], *, title: str = "Events") -> Bundle:
    table = _event_table(rows)
    html = card("events", title, html_table(table), chips=_number(len(rows)))
    return Bundle(html=html, text=_joined(title, text_table(table)))


# -- one task


def plain(message: str) -> str:
    """A log message without terminal escapes and control characters, truncated to `MAX_LINE` characters."""
    message = "".join(c if c.isprintable() or c in "\n\t" else "\ufffd" for c in _ANSI.sub("", message))
    return message if len(message) <= MAX_LINE else message[:MAX_LINE] + f"… ({len(message):,} characters)"


_LEVEL_STATES = {"ERROR": "failed", "CRITICAL": "failed", "WARNING": "up_for_retry", "WARN": "up_for_retry"}


def _pre(lines: Iterable[str]) -> str:
    """Lines of HTML in a box that scrolls."""
    light = palettes()[0]
    return (
        f'<pre class="nfo-log" style="margin:0px;padding:10px '
        f"14px;font-size:12px;line-height:1.6;overflow:auto;max-height:420px;"
        f'color:{light.text};background-color:{light.raised}">' + "\n".join(lines) + "</pre>"
    )


def text_bundle(title: str, text: str) -> Bundle:
    """The last `MAX_LOG_LINES` lines of a text."""
    all_lines = text.splitlines()
    lines = [plain(line) for line in all_lines[-MAX_LOG_LINES:]]
    if dropped := len(all_lines) - len(lines):
        lines.insert(0, f"… {formatting.count(dropped, 'earlier line')}")
    html = card("text", title, _pre(map(escape, lines)), aside=formatting.count(len(all_lines), "line"))
    return Bundle(html=html, text=_joined(title, *lines))


def log_bundle(view: TaskLogView) -> Bundle:
    """The last `MAX_LOG_LINES` lines of a task's log."""
    lines = view.lines[-MAX_LOG_LINES:]
    dropped = view.dropped + len(view.lines) - len(lines)
    light = palettes()[0]
    earlier = f"… {formatting.count(dropped, 'earlier line')}" if dropped else ""
    html_lines, text_lines = [escape(earlier)] if earlier else [], [earlier] if earlier else []
    for entry in lines:
        stamp = f"{entry.at:%H:%M:%S}.{entry.at.microsecond // 1000:03d}" if entry.at else ""
        head = " ".join(filter(None, [stamp, f"{entry.level:<7}", entry.source]))
        message = plain(entry.message)
        text_lines.append(f"{head}  {message}")
        line = escape(
            f"{entry.level:<7} {entry.source}  {message}".replace("   ", "  ")
            if entry.source
            else f"{entry.level:<7} {message}"
        )
        if state := _LEVEL_STATES.get(entry.level.upper()):
            colour = light.states[state].line if state == "failed" else light.states[state].text
            line = f'<span class="nfo-ink nfo-{state}" style="color:{colour}">{line}</span>'
        html_lines.append(f'<span class="nfo-muted">{stamp}</span> {line}' if stamp else line)
    zone = next((formatting.zone(e.at) for e in lines if e.at), "")
    body = _pre(html_lines)
    if not lines:
        body, text_lines = _note(view.empty), [view.empty]
    aside = f"{formatting.count(len(view.lines) + view.dropped, 'line')}" + (f" · times in {zone}" if zone else "")
    html = card("log", view.title, body, aside=escape(aside))
    return Bundle(html=html, text=_joined(f"{view.title} ({aside})", *text_lines))


def why_bundle(view: WhyTaskView, now: datetime | None = None, spell: Spell = str) -> Bundle:
    """Why a task is in its state: the headline, its grounds, the commands that change it, and the history."""
    state = drawn_state(view.state)
    tint = palettes()[0].states[state]
    lines = list(view.grounds)
    if view.until is not None and now is not None:
        lines.insert(0, f"Until {formatting.short_time(view.until)}, {formatting.relative(view.until, now).relative}.")
    grounds = "".join(f'<div style="margin-top:2px">{escape(line)}</div>' for line in lines)
    suggestions = [command for command in map(spell, view.suggestions) if command not in view.headline]
    next_step = ""
    if suggestions:
        commands = " or ".join(
            f'<code style="background-color:transparent;color:inherit">{escape(w)}</code>' for w in suggestions
        )
        next_step = f'<div style="margin-top:4px">Next step: {commands}</div>'
    body = (
        f'<div class="nfo-st nfo-{state}" style="margin:12px;padding:10px 14px;border-left:3px solid {tint.line};'
        f'background-color:{tint.fill};color:{tint.text}"><b>{escape(view.headline)}</b>{grounds}{next_step}</div>'
    )
    history = _event_table(view.history)
    if view.history:
        short = len(view.history) <= SHORT_HISTORY
        body += _folded(formatting.count(len(view.history), "event"), html_table(history), open_=short)
    text = _joined(
        f"{view.subject} is {view.state}: {view.headline}",
        *(f"  {line}" for line in lines),
        "  Next step: " + " or ".join(suggestions) if suggestions else "",
        text_table(history) if view.history else "",
    )
    return Bundle(html=card("why", view.subject, body, chips=chip_html(view.state)), text=text)


def why_run_bundle(view: WhyRunView, now: datetime, spell: Spell = str) -> Bundle:
    """Why a run has ended, and its tasks that wait or failed, each with its reason and the time at which its wait
    ends."""
    title = f"{view.dag_id}, {view.run}: {view.run_state}"
    if view.end:
        steps = " or ".join(map(spell, view.suggestions))
        title = f"{title}. {view.end}{f' Next step: {steps}' if steps else ''}"
    if not view.rows:
        return message_bundle(title if view.end else f"{title}. No task waits.", state=view.run_state)
    table = Table(
        columns=("task", "state", "why", "until"),
        rows=tuple(
            (
                Cell(text=row.id, bold=True),
                state_cell(row.state),
                row.text,
                when_cell(formatting.relative(row.until, now)) if row.until is not None else Cell(),
            )
            for row in view.rows
        ),
    )
    return table_bundle(title, table, view="why")


# -- backfill


#: action of the plan -> its past participle in the summary.
_OTHER_ACTIONS = {"rerun": "rerun", "keep": "kept"}


def backfill_bundle(view: BackfillView, now: datetime | None = None) -> Bundle:
    """The runs of a backfill that are created, rerun and kept, each with its data interval and reason."""
    number = Counter(run.action for run in view.runs)
    created = number["create"]
    verb = "will be" if view.dry_run else "were" if created != 1 else "was"
    sentence = f"{formatting.count(created, 'run')} {verb} created"
    others = ", ".join(
        f"{number[action]:,} {participle}"
        for action, participle in _OTHER_ACTIONS.items()
        if action != "keep" or number[action]
    )
    table = Table(
        columns=("logical date", "interval", "action", "state", "reason"),
        rows=tuple(
            (
                Cell(text=formatting.short_time(r.logical_date), hover=formatting.exact(r.logical_date)),
                Cell(text=_interval(r.interval_start, r.interval_end), muted=True), Cell(text=r.action),
                state_cell(r.state) if r.state else Cell(), Cell(text=r.reason),
            )
            for r in view.runs[:MAX_PLANNED]
        ),
        empty="No data interval lies in this range. "
        f"Widen it, or check the schedule: {_magic('dags next-execution', view.dag_id)}",
        total=len(view.runs),
    )  # fmt: skip
    counts = state_counts(r.state for r in view.runs if r.state)
    # Without kept runs: the bar is full when the last run of the backfill has ended.
    progress = _progress(counts, number["create"] + number["rerun"]) if counts else ""
    body = (
        f'<p style="padding:10px 12px 4px 12px;margin:0px"><b>{escape(sentence)}</b>, {escape(others)}.</p>'
        + "".join(
            f'<p class="nfo-muted" style="padding:0px 12px 4px 12px;margin:0px">{escape(r)}</p>' for r in view.remarks
        )
        + progress
        + html_table(table)
    )
    aside = "dry run: no run was created" if view.dry_run else ""
    html = card("backfill", f"Backfill {view.dag_id}", body, aside=aside, foot=chips_html(counts) if counts else "")
    text = _joined(f"Backfill {view.dag_id}: {sentence}, {others}.", *view.remarks, text_table(table),
                   formatting.counts_line(counts) if counts else "", aside)  # fmt: skip
    return Bundle(html=html, text=text)


def _interval(start: datetime | None, end: datetime | None) -> str:
    if start is None or end is None:
        return ""
    hours = formatting.between(start, end) / 3600
    begin = formatting.short_time(start)
    if formatting.zone(start) == formatting.zone(end):
        begin = begin.removesuffix(f" {formatting.zone(start)}")
    return f"{begin} to {formatting.short_time(end)}" + (f" ({hours:g} h)" if hours % 24 and hours > 20 else "")


def _progress(counts: dict[str, int], total: int) -> str:
    light = palettes()[0]
    parts = "".join(
        f'<span title="{escape(f"{state} {number}")}" style="display:inline-block;height:8px;'
        f'width:{100 * number / total:.1f}%;background-color:{light.states[drawn_state(state)].line}"></span>'
        for state, number in counts.items()
        if state != "queued"
    )
    return (
        f'<div class="nfo-track" style="margin:6px 12px;height:8px;overflow:hidden;border-radius:4px;font-size:0px;'
        f'background-color:{light.states["queued"].fill}">{parts}</div>'
    )


# -- import errors


def import_errors_bundle(view: ImportErrorsView, now: datetime, *, folder: str = "") -> Bundle:
    """The DAG files with an import error; paths are relative to ``folder``."""
    table = Table(
        columns=("file", "line", "error", "seen"),
        rows=tuple(
            (
                Cell(text=_location(r.fileloc, r.cell, folder), mono=True),
                Cell(text=str(r.line) if r.line is not None else "", right=True), Cell(text=plain(r.error)),
                when_cell(formatting.relative(r.at, now)),
            )
            for r in view.rows
        ),
        empty="All DAG files were imported without errors.",
    )  # fmt: skip
    html = card("import-errors", "Import errors", html_table(table), chips=_number(len(view.rows)))
    return Bundle(html=html, text=text_table(table))


def _location(fileloc: str, cell: str | None, folder: str) -> str:
    file = os.path.relpath(fileloc, folder) if folder else fileloc
    return ", ".join(filter(None, [file, cell]))


# -- states, tables and messages


def states_bundle(meanings: Iterable[tuple[str, str]]) -> Bundle:
    """The legend: each state as drawn, with its meaning."""
    table = Table(columns=("state", "meaning"), rows=tuple((state_cell(s), Cell(text=m)) for s, m in meanings))
    html = card("states", "States", html_table(table), aside="each with its colour and glyph")
    return Bundle(html=html, text=text_table(table))


def table_bundle(title: str, table: Table, *, view: str = "table") -> Bundle:
    """A card with a table."""
    return Bundle(html=card(view, title, html_table(table), chips=_number(max(table.total or 0, len(table.rows)))),
                  text=_joined(title, text_table(table)))  # fmt: skip


def message_bundle(message: str, *, state: str = "") -> Bundle:
    """One line of text, with a state chip if ``state`` is set."""
    inner = f'<p style="margin:2px 0px">{chip_html(state) + " " if state else ""}{escape(message)}</p>'
    html = f'<div class="nbflow" data-nbflow-view="message" style="font-size:13px">{_style(inner)}{inner}</div>'
    return Bundle(html=html, text=f"{state}: {message}" if state else message)
