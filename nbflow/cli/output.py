"""What commands print: results on stdout in four forms, everything else on stderr.

A row is a mapping of plain values and datetimes. Machine forms (json, yaml, plain) hold each time as ISO 8601 with
microseconds and offset; a table leaves the microseconds out, cuts long texts and drops columns that are empty
throughout. Text from DAG files and databases is printed without its control characters, which could steer the terminal.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, TextIO

from nbflow.cli.value_text import Row, cell_text, harmless, plain
from nbflow.cli.value_text import iso as iso

RED, YELLOW, DIM, OFF = "\x1b[31m", "\x1b[33m", "\x1b[2m", "\x1b[0m"


def fields_of(value: Any, names: Iterable[str]) -> dict[str, Any]:
    """The named fields of a view or of one of its rows, as a row to print. Times are in UTC, whatever zone the view
    shows, and a task without a state has none, as in Airflow."""
    found = {name: getattr(value, name) for name in names}
    found |= {name: item.astimezone(UTC) for name, item in found.items() if isinstance(item, datetime)}
    return found | {"state": None} if found.get("state") == "none" else found


# ------------------------------------------------------------------------------------------------------------- results


def show(rows: Iterable[Row], form: str, *, empty: str = "Nothing to show.", columns: Sequence[str] = ()) -> None:
    """Print a listing. ``columns`` gives the headings of a listing that may have no rows."""
    listed = [dict(row) for row in rows]
    names = list(columns) or list(dict.fromkeys(name for row in listed for name in row))
    if form == "json":
        write_json(listed)
    elif form == "yaml":
        write_yaml(listed)
    elif form == "plain":
        _print_plain(names, listed)
    elif sys.stdout.isatty():
        from nbflow.cli.terminal_tables import print_rows

        print_rows(names, listed, empty)
    else:
        _print_table(names, listed, empty)


def show_one(row: Row, form: str) -> None:
    """Print one object: in json and yaml itself, else its fields below each other."""
    if form == "json":
        write_json(row)
    elif form == "yaml":
        write_yaml(row)
    elif form == "table" and sys.stdout.isatty():
        from nbflow.cli.terminal_tables import print_fields

        print_fields(row)
    else:
        spec = "seconds" if form == "table" else "microseconds"
        width = max((len(name) for name in row), default=0)
        for name, value in row.items():
            print(f"{name.ljust(width)}  {harmless(cell_text(value, spec))}".rstrip())


def write_json(value: Any) -> None:
    """One JSON value on stdout, and a line's end."""
    print(json.dumps(plain(value), indent=2, ensure_ascii=not _unicode()))


def write_yaml(value: Any) -> None:
    """One YAML document on stdout."""
    from nbflow.yaml_files import yaml_text

    sys.stdout.write(yaml_text(plain(value), unicode=_unicode()))


def _unicode() -> bool:
    """Whether stdout can show every character."""
    return (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"


def _print_table(names: Sequence[str], rows: Sequence[Row], empty: str) -> None:
    from nbflow.ui.tables import Cell, Table, text_table

    def cell(value: Any) -> Cell:
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        return Cell(text=harmless(cell_text(value, "seconds")), right=number)

    cells = tuple(tuple(cell(row.get(name)) for name in names) for row in rows)
    print(text_table(Table(columns=tuple(names), rows=cells, empty=empty), limit=len(rows)))


def _print_plain(names: Sequence[str], rows: Sequence[Row]) -> None:
    """Aligned, never cut, every column there: for ``awk`` and ``cut``."""
    grid = [list(names)]
    grid += [
        [" ".join(harmless(cell_text(row.get(name), "microseconds")).split()) or "-" for name in names] for row in rows
    ]
    widths = [max(len(line[at]) for line in grid) for at in range(len(names))]
    for line in grid:
        print("  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip())


# --------------------------------------------------------------------------------------------------- beside the results


def coloured(text: str, colour: str, stream: TextIO | None = None) -> str:
    """The text in a colour, if the stream is a terminal and NO_COLOR is not set."""
    stream = stream or sys.stderr
    wanted = stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    return f"{colour}{text}{OFF}" if wanted else text


def note(text: str) -> None:
    """A note for people, on stderr."""
    print(coloured(harmless(text), DIM), file=sys.stderr)


def warn(text: str) -> None:
    """Something that people should know, on stderr."""
    print(coloured(harmless(text), YELLOW), file=sys.stderr)


def print_error(text: str) -> None:
    """An error, as one line in red on stderr."""
    line = " ".join(harmless(text).split())
    print(coloured(line if line.startswith("nbflow ") else f"nbflow: {line}", RED), file=sys.stderr)
