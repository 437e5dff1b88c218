"""Tables: one model, rendered as HTML and as aligned text.

A cell is a string, or a `Cell` with a state (shown as a chip), an exact form (a tooltip) or a style. In an untrusted
notebook JupyterLab's sanitiser removes `<style>`, `<svg>` and `var()` colours. To stay legible there, a table carries
its meaning in text and its structure in inline styles with plain colours, and an SVG contains no words (the sanitiser
drops tags but keeps the text inside).
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from nbflow.state_colors import drawn_state, glyphs, palettes
from nbflow.ui.escaping import escape

if TYPE_CHECKING:
    from nbflow.ui.formatting import When  # at run time this import would load all views

MAX_ROWS = 500  # rows shown; a longer table states how many rows it has and how to narrow it
MAX_CELL = 400  # characters


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """A cell. ``state`` makes it a chip; ``hover`` is the exact form; ``bars`` is a small chart of (state, share);
    ``wraps``: the text may be wrapped in a narrow table."""

    text: str = ""
    state: str = ""
    hover: str = ""
    bold: bool = False
    mono: bool = False
    muted: bool = False
    right: bool = False
    wraps: bool = False
    bars: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A table. ``empty`` replaces it if there are no rows; ``more`` says how to narrow it if there are too many."""

    columns: tuple[str, ...]
    rows: tuple[tuple[Cell | str, ...], ...] = field(default=())
    empty: str = "Nothing to show."
    more: str = ""
    total: int | None = None  # number of all rows, if `rows` holds only a part


def when_cell(when: When) -> Cell:
    return Cell(text=when.relative, hover=when.exact, muted=True)


def state_cell(state: str) -> Cell:
    return Cell(text=state, state=state)


def _cell(cell: Cell | str) -> Cell:
    return cell if isinstance(cell, Cell) else Cell(text=cell)


def _truncated(text: str) -> str:
    return text if len(text) <= MAX_CELL else text[: MAX_CELL - 1] + "…"


def omitted(table: Table, shown: int) -> str:
    """The line below a table that shows only a part of its rows, else ""."""
    total = max(table.total or 0, len(table.rows))
    if total <= shown:
        return ""
    return f"{shown:,} of {total:,} shown." + (f" {table.more}" if table.more else "")


# -- text


def display_width(text: str) -> int:
    """Width of the text in columns of a terminal."""
    return sum(
        0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text
    )  # fmt: skip


def text_table(table: Table, *, limit: int = MAX_ROWS) -> str:
    """The table as text: columns aligned by spaces, right-aligned cells to the right, two spaces between."""
    if not table.rows:
        return table.empty
    cells = [[_cell(c) for c in row] for row in table.rows[:limit]]
    grid = [[_truncated(" ".join(c.text.split())) or "–" for c in row] for row in cells]
    keep = [i for i in range(len(table.columns)) if any(row[i].text for row in cells)]
    widths = {i: max(display_width(table.columns[i]), *(display_width(row[i]) for row in grid)) for i in keep}

    def joined(row: Sequence[str], source: Sequence[Cell] | None) -> str:
        parts = []
        for i in keep:
            pad = " " * (widths[i] - display_width(row[i]))
            parts.append(pad + row[i] if source is not None and source[i].right else row[i] + pad)
        return "  ".join(parts).rstrip()

    lines = [joined([c.upper() for c in table.columns], None)]
    lines += [joined(row, source) for row, source in zip(grid, cells, strict=True)]
    rest = omitted(table, len(grid))
    return "\n".join(lines + ([rest] if rest else []))


# -- HTML


def glyph_html(state: str) -> str:
    """The glyph for inline use, without a `<title>`: a sanitiser would keep its text."""
    return (
        # with JupyterLab's `max-width: 100%` the glyph would have no width in a narrow column
        '<svg width="12" height="12" viewBox="0 0 12 12" aria-hidden="true" style="max-width:none">'
        f'<path d="{glyphs()[drawn_state(state)]}" fill="none" stroke="currentColor" stroke-width="1.7" '
        f'stroke-linecap="round" '
        'stroke-linejoin="round"></path></svg>'
    )


def chip_html(state: str, word: str | None = None) -> str:
    """A state's colour, glyph and name. The inline colours are the light ones; the card's `<style>` has dark ones."""
    drawn = drawn_state(state)
    colors = palettes()[0].states[drawn]
    border = "dashed" if drawn == "removed" else "solid"
    return (
        f'<span class="nfo-st nfo-{drawn}" style="display:inline-block;margin:1px 0px;padding:0px '
        f"8px;border-radius:10px;font-size:11.5px;"
        f'white-space:nowrap;color:{colors.text};background-color:{colors.fill};border:1px {border} {colors.line}">'
        f"{glyph_html(state)} {escape(word or state)}</span>"
    )


def bars_html(bars: Sequence[tuple[str, float]]) -> str:
    """Small bars, oldest first; `share` (0 to 1) is the height. Spans, because a sanitiser would remove an SVG."""
    spans = []
    for state, share in bars:
        drawn = drawn_state(state)
        height = round(5 + 13 * min(max(share, 0), 1))
        spans.append(
            f'<span class="nfo-bar nfo-{drawn}" style="display:inline-block;width:5px;height:{height}px;'
            f'margin-right:2px;border-radius:1px;background-color:{palettes()[0].states[drawn].line}"></span>'
        )
    return "".join(spans)


def html_table(table: Table, *, limit: int = MAX_ROWS) -> str:
    if not table.rows:
        return f'<p class="nfo-empty" style="padding:12px;margin:0px">{escape(table.empty)}</p>'
    cells = [[_cell(c) for c in row] for row in table.rows[:limit]]
    keep = [i for i in range(len(table.columns)) if any(row[i].text or row[i].bars for row in cells)]
    head = "".join(_th(table.columns[i], right=any(row[i].right for row in cells)) for i in keep)
    rows = "".join("<tr>" + "".join(_td(row[i], table.columns[i]) for i in keep) + "</tr>" for row in cells)
    rest = omitted(table, len(table.rows[:limit]))
    foot = (
        f'<p class="nfo-muted" style="padding:6px 12px;margin:0px;font-size:11.5px">{escape(rest)}</p>' if rest else ""
    )
    return (
        '<div style="overflow-x:auto"><table class="nfo-table" style="border-collapse:collapse;'
        'table-layout:auto;margin:0px;width:100%">'
        f"<thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>{foot}"
    )


def _th(name: str, *, right: bool) -> str:
    align = "right" if right else "left"
    style = (
        f"padding:5px 12px;text-align:{align};vertical-align:middle;white-space:nowrap;font-weight:400;font-size:11.5px"
    )
    return f'<th style="{style}">{escape(name)}</th>'


def _td(cell: Cell, column: str) -> str:
    style = "padding:5px 12px;text-align:" + ("right" if cell.right else "left") + ";vertical-align:middle"
    wraps = len(cell.text) > 48
    if not cell.wraps:  # a long name has no spaces to break at
        style += ";overflow-wrap:anywhere" if wraps else ";white-space:nowrap"
    if cell.bold:
        style += ";font-weight:600"
    if cell.mono:
        style += ";font-family:monospace;font-size:12px"
    classes = ' class="nfo-muted"' if cell.muted else ""
    hover = f' title="{escape(cell.hover)}"' if cell.hover else ""
    if cell.state:
        inner = chip_html(cell.state, cell.text)
    else:
        inner = (bars_html(cell.bars) if cell.bars else "") + escape(_truncated(cell.text))
    return f'<td{classes}{hover} data-label="{escape(column)}" style="{style}">{inner}</td>'
