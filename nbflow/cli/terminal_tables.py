"""Tables on a terminal, rendered by rich: as wide as the terminal, with coloured states. Imported only for a terminal.

Layouts, in order; the first that fits the terminal is used:

1. a table; long texts are wrapped
2. columns with one value in all rows are printed above the table
3. times take two lines
4. records: one line per field of a row

Ids are never wrapped or truncated, so that they can be copied; the terminal wraps an id longer than its line. Texts
come from DAG files and the metastore, so rich gets them as plain text, not as markup, and without control characters.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TextIO

from rich.cells import cell_len
from rich.console import Console
from rich.style import Style
from rich.table import Table
from rich.text import Text

from nbflow.cli.value_text import Row, cell_text, printable
from nbflow.state_colors import Palette, glyphs, palettes
from nbflow.ui.tables import MAX_CELL

GAP = 2
"""Spaces between columns."""
CHUNK_ROWS = 500
"""Rows per rich table. rich renders about 3,000 rows per second, and prints a table only after rendering all of it."""
MIN_VALUE_WIDTH = 20
"""Minimum width of a record's value, on a terminal that is too narrow for its name and value."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """One layout of a table; see the module's docstring."""

    min_text: int = 24
    """Minimum width of a text column."""
    min_word: int = 40
    """Minimum length of a word that may be broken."""
    factor_out: bool = True
    """Print columns with one value in all rows above the table."""
    two_line_times: bool = False


LAYOUTS = (
    Layout(factor_out=False),
    Layout(),
    Layout(two_line_times=True),
    Layout(two_line_times=True, min_text=14, min_word=24),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A column of a listing. ``kind``: id, time, number, state or text."""

    name: str
    kind: str
    cells: tuple[str, ...]

    @property
    def constant(self) -> bool:
        """Whether there are several rows, and all have the same value."""
        return len(set(self.cells)) == 1 < len(self.cells)

    def max_width(self, layout: Layout) -> int:
        """The width at which no cell is wrapped."""
        if self.kind == "time" and layout.two_line_times:
            return self.min_width(layout)
        return max(cell_len(self.name), *map(cell_len, self.cells))

    def min_width(self, layout: Layout) -> int:
        """The minimum width of the column in the layout."""
        heading = max(map(cell_len, self.name.split("_")))
        if self.kind == "time" and layout.two_line_times:
            return max(heading, _longest_word(map(_date_and_time, self.cells)))
        content = max(map(cell_len, self.cells))
        if self.kind == "text":
            content = min(content, max(layout.min_text, min(_longest_word(self.cells), layout.min_word)))
        return max(heading, content)


def print_rows(names: Sequence[str], rows: Sequence[Row], empty: str) -> None:
    """Print a listing without its empty columns. Without rows, print ``empty``."""
    columns = [_column(name, rows, first=index == 0) for index, name in enumerate(names)]
    columns = [column for column in columns if any(column.cells)]
    if not columns:
        print(empty)
        return
    for layout in LAYOUTS:
        constant = [column for column in columns if layout.factor_out and column.constant]
        varying = [column for column in columns if column not in constant]
        available = shutil.get_terminal_size().columns - GAP * (len(varying) - 1)
        bounds = [(column.min_width(layout), column.max_width(layout)) for column in varying]
        if widths := fitted_widths(bounds, available):
            if constant:
                _print_fields((column.name, column.kind, column.cells[0]) for column in constant)
                print()
            _print_table(varying, widths)
            return
    for number in range(len(rows)):
        if number:
            print()
        _print_fields((column.name, column.kind, column.cells[number]) for column in columns)


def print_fields(row: Row) -> None:
    """Print an object, one field per line."""
    _print_fields((printable(name), _kind(name, [value]), _text(value)) for name, value in row.items())


def fitted_widths(bounds: Sequence[tuple[int, int]], available: int) -> list[int] | None:
    """Widths within the (minimum, maximum) bounds that sum up to at most ``available``; the widest columns shrink
    first. None if the minima exceed ``available``."""
    widths = [maximum for _, maximum in bounds]
    while sum(widths) > available:
        shrinkable = [index for index, (minimum, _) in enumerate(bounds) if widths[index] > minimum]
        if not shrinkable:
            return None
        widths[max(shrinkable, key=widths.__getitem__)] -= 1
    return widths


# ---------------------------------------------------------------------------------------------------------------- cells


def _column(name: str, rows: Sequence[Row], *, first: bool) -> Column:
    values = [row.get(name) for row in rows]
    kind = _kind(name, values)
    kind = "id" if first and kind == "text" else kind
    return Column(name=printable(name), kind=kind, cells=tuple(map(_text, values)))


def _kind(name: str, values: Iterable[Any]) -> str:
    types = {type(value) for value in values if value is not None}
    if types and types <= {datetime}:
        return "time"
    if types and types <= {int, float}:
        return "number"
    return "state" if name == "state" else "id" if name.endswith("_id") else "text"


def _text(value: Any) -> str:
    text = " ".join(printable(cell_text(value)).split())
    return text if len(text) <= MAX_CELL else f"{text[: MAX_CELL - 1]}…"


def _longest_word(cells: Iterable[str]) -> int:
    """The width of the longest word."""
    return max((cell_len(word) for cell in cells for word in cell.split()), default=0)


def _date_and_time(time: str) -> str:
    """``2024-01-02T03:04:05+00:00`` as ``2024-01-02 03:04:05Z``, which rich wraps at the space."""
    return time.replace("T", " ").replace("+00:00", "Z")


def styled(text: str, kind: str, console: Console) -> Text:
    """The text for rich: a state in its colours, a dash for an empty text."""
    if not text:
        return Text("–", style="dim")
    if kind != "state" or text not in glyphs():
        return Text(text)
    colours = palette().states[text]
    if console.color_system == "standard":  # with 16 colours, text and fill often become the same colour
        return Text.assemble((text, Style(color=colours.line)))
    return Text.assemble((text, Style(color=colours.text, bgcolor=colours.fill)))


def palette() -> Palette:
    """The light palette if COLORFGBG names a light background, otherwise the dark palette. States have text and fill
    colours, so both palettes are readable on any background."""
    background = os.environ.get("COLORFGBG", "").rpartition(";")[2]
    light, dark = palettes()
    return light if background in ("7", "15") else dark


# -------------------------------------------------------------------------------------------------------------- layouts


def console_on(stream: TextIO) -> Console:
    """A console with the width of the terminal, or of COLUMNS. rich respects NO_COLOR, TERM and COLORTERM."""
    width, height = shutil.get_terminal_size()
    return Console(file=stream, force_terminal=True, force_jupyter=False, width=width, height=height)


def _print_table(columns: Sequence[Column], widths: Sequence[int]) -> None:
    console = console_on(sys.stdout)
    for start in range(0, len(columns[0].cells), CHUNK_ROWS):
        table = Table(box=None, pad_edge=False, padding=(0, GAP, 0, 0), show_header=start == 0, header_style="bold")
        for column, width in zip(columns, widths, strict=True):
            heading = column.name if width >= cell_len(column.name) else column.name.replace("_", " ")
            table.add_column(
                Text(heading.upper()),
                width=width,
                justify="right" if column.kind == "number" else "left",
                overflow="fold",
            )
        for cells in zip(*(column.cells[start : start + CHUNK_ROWS] for column in columns), strict=True):
            row = zip(cells, columns, widths, strict=True)
            table.add_row(*(_cell(text, column, width, console) for text, column, width in row))
        console.print(table)


def _cell(text: str, column: Column, width: int, console: Console) -> Text:
    if column.kind == "time" and cell_len(text) > width:
        text = _date_and_time(text)
    return styled(text, column.kind, console)


def _print_fields(fields: Iterable[tuple[str, str, str]]) -> None:
    """``fields``: (name, kind, text)."""
    console, rows = console_on(sys.stdout), list(fields)
    indent = max((cell_len(name) for name, _, _ in rows), default=0) + GAP
    width = max(console.width - indent, MIN_VALUE_WIDTH)
    for name, kind, text in rows:
        value = styled(text, kind, console)
        lines = value.wrap(console, width, overflow="fold") if kind == "text" else [value]
        for number, line in enumerate(lines):
            line.rstrip()
            label = Text("" if number else name, style="bold")
            label.pad_right(indent - label.cell_len)
            console.print(Text.assemble(label, line), soft_wrap=True)
