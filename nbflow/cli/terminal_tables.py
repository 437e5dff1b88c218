"""Listings on a terminal: as wide as it is, states coloured. Only a terminal imports this module, and rich with it.

The first of these layouts that fits is taken: a table whose long texts are wrapped; the same, with what is alike in all
rows told once above it, and at last with times on two lines; and the fields of each row below each other. In each of
them an id is whole and on one line, so that it can be copied: the terminal itself wraps one that is longer than that.

Texts come from DAG files and metastores. They reach rich as plain text, never as markup, without control characters.
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

from nbflow.cli.output import Row, cell_text, harmless
from nbflow.ui.state_colors import Palette, glyphs, palettes
from nbflow.ui.tables import MAX_CELL

GAP = 2
"""Blanks between columns."""
CHUNK = 500
"""Rows that are laid out at once, a fifth of a second: a long listing begins to show at once."""
LEAST_VALUE = 20
"""Width of a value beside its name on a terminal that is narrower than that."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """``text``: the least width of a text; ``word``: a word of it that is longer is broken. ``above``: what is alike in
    all rows stands above the table."""

    text: int = 24
    word: int = 40
    above: bool = True
    halved_times: bool = False


LAYOUTS = (Layout(above=False), Layout(), Layout(halved_times=True), Layout(halved_times=True, text=14, word=24))


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A column of a listing. ``kind``: id, time, number, state or text."""

    name: str
    kind: str
    cells: tuple[str, ...]

    @property
    def alike(self) -> bool:
        return len(set(self.cells)) == 1 < len(self.cells)

    def natural(self, layout: Layout) -> int:
        """The width above which it gains nothing."""
        if self.kind == "time" and layout.halved_times:
            return self.least(layout)
        return max(cell_len(self.name), *map(cell_len, self.cells))

    def least(self, layout: Layout) -> int:
        """The width below which it cannot be read."""
        heading = max(map(cell_len, self.name.split("_")))
        if self.kind == "time" and layout.halved_times:
            return max(heading, _longest(map(_halved, self.cells)))
        content = max(map(cell_len, self.cells))
        if self.kind == "text":
            content = min(content, max(layout.text, min(_longest(self.cells), layout.word)))
        return max(heading, content)


def print_rows(names: Sequence[str], rows: Sequence[Row], empty: str) -> None:
    """A listing; columns that are empty throughout are left out."""
    columns = [column for at, name in enumerate(names) if any((column := _column(name, rows, first=at == 0)).cells)]
    if not columns:
        print(empty)
        return
    for layout in LAYOUTS:
        told = [column for column in columns if layout.above and column.alike]
        shown = [column for column in columns if column not in told]
        room = shutil.get_terminal_size().columns - GAP * (len(shown) - 1)
        natural, least = ([width(column, layout) for column in shown] for width in (Column.natural, Column.least))
        if widths := fitted(natural, least, room):
            if told:
                _print_fields((column.name, column.kind, column.cells[0]) for column in told)
                print()
            _print_table(shown, widths)
            return
    for number in range(len(rows)):
        if number:
            print()
        _print_fields((column.name, column.kind, column.cells[number]) for column in columns)


def print_fields(row: Row) -> None:
    """One object: its fields below each other."""
    _print_fields((harmless(name), _kind(name, [value]), _text(value)) for name, value in row.items())


def fitted(natural: Sequence[int], least: Sequence[int], room: int) -> list[int] | None:
    """Widths that together need at most ``room``. The widest give way first, none below its least; None: too narrow."""
    widths = list(natural)
    while sum(widths) > room:
        wide = [at for at, width in enumerate(widths) if width > least[at]]
        if not wide:
            return None
        widths[max(wide, key=widths.__getitem__)] -= 1
    return widths


# ---------------------------------------------------------------------------------------------------------------- cells


def _column(name: str, rows: Sequence[Row], *, first: bool) -> Column:
    values = [row.get(name) for row in rows]
    kind = _kind(name, values)
    kind = "id" if first and kind == "text" else kind
    return Column(name=harmless(name), kind=kind, cells=tuple(map(_text, values)))


def _kind(name: str, values: Iterable[Any]) -> str:
    types = {type(value) for value in values if value is not None}
    if types and types <= {datetime}:
        return "time"
    if types and types <= {int, float}:
        return "number"
    return "state" if name == "state" else "id" if name.endswith("_id") else "text"


def _text(value: Any) -> str:
    text = " ".join(harmless(cell_text(value)).split())
    return text if len(text) <= MAX_CELL else f"{text[: MAX_CELL - 1]}…"


def _longest(cells: Iterable[str]) -> int:
    """Width of the longest word."""
    return max((cell_len(word) for cell in cells for word in cell.split()), default=0)


def _halved(time: str) -> str:
    """``2024-01-02 03:04:05Z``, to be wrapped at the blank."""
    return time.replace("T", " ").replace("+00:00", "Z")


def styled(text: str, kind: str, console: Console) -> Text:
    """The text as rich prints it; a state has its colours."""
    if not text:
        return Text("–", style="dim")
    if kind != "state" or text not in glyphs():
        return Text(text)
    tint = palette().states[text]
    if console.color_system == "standard":  # of 16 colours, those nearest to the two are often the same
        return Text.assemble((text, Style(color=tint.line)))
    return Text.assemble((text, Style(color=tint.text, bgcolor=tint.fill)))


def palette() -> Palette:
    """That of light backgrounds if the terminal says that it has one. A state's colours can be read on each other, and
    so on any background."""
    says = os.environ.get("COLORFGBG", "").rpartition(";")[2]
    light, dark = palettes()
    return light if says in ("7", "15") else dark


# -------------------------------------------------------------------------------------------------------------- layouts


def console_on(stream: TextIO) -> Console:
    """rich sees to NO_COLOR, TERM and what colours the terminal has; its width is COLUMNS, or as wide as it is."""
    width, height = shutil.get_terminal_size()
    return Console(file=stream, force_terminal=True, force_jupyter=False, width=width, height=height)


def _print_table(columns: Sequence[Column], widths: Sequence[int]) -> None:
    console = console_on(sys.stdout)
    for start in range(0, len(columns[0].cells), CHUNK):
        table = Table(box=None, pad_edge=False, padding=(0, GAP, 0, 0), show_header=start == 0, header_style="bold")
        for column, width in zip(columns, widths, strict=True):
            heading = column.name if width >= cell_len(column.name) else column.name.replace("_", " ")
            table.add_column(
                Text(heading.upper()),
                width=width,
                justify="right" if column.kind == "number" else "left",
                overflow="fold",
            )
        for cells in zip(*(column.cells[start : start + CHUNK] for column in columns), strict=True):
            table.add_row(*(_cell(*of, console) for of in zip(cells, columns, widths, strict=True)))
        console.print(table)


def _cell(text: str, column: Column, width: int, console: Console) -> Text:
    if column.kind == "time" and cell_len(text) > width:
        text = _halved(text)
    return styled(text, column.kind, console)


def _print_fields(fields: Iterable[tuple[str, str, str]]) -> None:
    """(name, kind, text) of each field."""
    console, shown = console_on(sys.stdout), list(fields)
    indent = max((cell_len(name) for name, _, _ in shown), default=0) + GAP
    room = max(console.width - indent, LEAST_VALUE)
    for name, kind, text in shown:
        value = styled(text, kind, console)
        lines = value.wrap(console, room, overflow="fold") if kind == "text" else [value]
        for number, line in enumerate(lines):
            line.rstrip()
            label = Text("" if number else name, style="bold")
            label.pad_right(indent - label.cell_len)
            console.print(Text.assemble(label, line), soft_wrap=True)
