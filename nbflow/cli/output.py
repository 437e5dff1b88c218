"""The output of commands: results on stdout in four formats, everything else on stderr.

A row is a mapping from names to values. The machine-readable formats (json, yaml, plain) contain times as ISO 8601 with
microseconds and offset. A table omits microseconds and empty columns, and truncates long texts. Control characters in
texts of DAG files and databases are escaped, since they could control the terminal.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, TextIO

from nbflow.cli.value_text import Row, cell_text, plain, printable
from nbflow.cli.value_text import iso as iso

RED, YELLOW, DIM, OFF = "\x1b[31m", "\x1b[33m", "\x1b[2m", "\x1b[0m"


def fields_of(value: Any, names: Iterable[str]) -> dict[str, Any]:
    """Fields of a view or of one of its rows, as a row to print. Times are converted to UTC, and the state "none" to
    None, as in Airflow."""
    row = {name: getattr(value, name) for name in names}
    row |= {name: item.astimezone(UTC) for name, item in row.items() if isinstance(item, datetime)}
    return row | {"state": None} if row.get("state") == "none" else row


# ------------------------------------------------------------------------------------------------------------- results


def show(
    rows: Iterable[Row], output_format: str, *, empty: str = "Nothing to show.", columns: Sequence[str] = ()
) -> None:
    """Print a listing. ``columns``: the headings of a listing that may have no rows. ``empty``: the text of a table
    without rows."""
    row_list = [dict(row) for row in rows]
    names = list(columns) or list(dict.fromkeys(name for row in row_list for name in row))
    if output_format == "json":
        write_json(row_list)
    elif output_format == "yaml":
        write_yaml(row_list)
    elif output_format == "plain":
        _print_plain(names, row_list)
    elif sys.stdout.isatty():
        from nbflow.cli.terminal_tables import print_rows

        print_rows(names, row_list, empty)
    else:
        _print_table(names, row_list, empty)


def show_one(row: Row, output_format: str) -> None:
    """Print an object: as JSON or YAML, otherwise one field per line."""
    if output_format == "json":
        write_json(row)
    elif output_format == "yaml":
        write_yaml(row)
    elif output_format == "table" and sys.stdout.isatty():
        from nbflow.cli.terminal_tables import print_fields

        print_fields(row)
    else:
        timespec = "seconds" if output_format == "table" else "microseconds"
        width = max((len(name) for name in row), default=0)
        for name, value in row.items():
            print(f"{name.ljust(width)}  {printable(cell_text(value, timespec))}".rstrip())


def write_json(value: Any) -> None:
    """Print a value as JSON."""
    print(json.dumps(plain(value), indent=2, ensure_ascii=not _is_utf8()))


def write_yaml(value: Any) -> None:
    """Print a value as a YAML document."""
    from nbflow.yaml_files import yaml_text

    sys.stdout.write(yaml_text(plain(value), unicode=_is_utf8()))


def _is_utf8() -> bool:
    """Whether stdout can encode every character."""
    return (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"


def _print_table(names: Sequence[str], rows: Sequence[Row], empty: str) -> None:
    from nbflow.ui.tables import Cell, Table, text_table

    def cell(value: Any) -> Cell:
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        return Cell(text=printable(cell_text(value, "seconds")), right=number)

    cells = tuple(tuple(cell(row.get(name)) for name in names) for row in rows)
    print(text_table(Table(columns=tuple(names), rows=cells, empty=empty), limit=len(rows)))


def _print_plain(names: Sequence[str], rows: Sequence[Row]) -> None:
    """Print aligned columns for ``awk`` and ``cut``: no text is truncated, and no column or cell is empty."""
    lines = [list(names)]
    lines += [
        [" ".join(printable(cell_text(row.get(name), "microseconds")).split()) or "-" for name in names] for row in rows
    ]
    widths = [max(len(line[index]) for line in lines) for index in range(len(names))]
    for line in lines:
        print("  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip())


# -------------------------------------------------------------------------------------------------------------- stderr


def coloured(text: str, colour: str, stream: TextIO | None = None) -> str:
    """The text in a colour, if the stream is a terminal and NO_COLOR is not set."""
    stream = stream or sys.stderr
    has_colour = stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    return f"{colour}{text}{OFF}" if has_colour else text


def note(text: str) -> None:
    """Print a note to stderr."""
    print(coloured(printable(text), DIM), file=sys.stderr)


def warn(text: str) -> None:
    """Print a warning to stderr."""
    print(coloured(printable(text), YELLOW), file=sys.stderr)


def print_error(text: str) -> None:
    """Print an error as one red line to stderr."""
    line = " ".join(printable(text).split())
    print(coloured(line if line.startswith("nbflow ") else f"nbflow: {line}", RED), file=sys.stderr)
