"""Listings on a terminal: a layout for each width, whole ids, and escaped control characters."""

from __future__ import annotations

import contextlib
import io
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from nbflow.cli.terminal_tables import fitted_widths, print_fields, print_rows
from nbflow.state_colors import palettes

RUNS = [
    {
        "dag_id": "sales",
        "run_id": f"scheduled__2024-01-0{day}T00:00:00+00:00",
        "state": state,
        "logical_date": datetime(2024, 1, day, tzinfo=UTC),
        "tries": day,
        "note": note,
        "nothing": None,
    }
    for day, state, note in [(1, "success", None), (2, "upstream_failed", "the database was not there, twice in a row")]
]


@pytest.fixture
def render(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Any:
    """``render(rows, width)``: the listing on a terminal of ``width`` columns, without colours and trailing blanks."""

    def show(rows: list[dict[str, Any]], width: int) -> str:
        monkeypatch.setenv("COLUMNS", str(width))
        print_rows(list(rows[0]), rows, "There are none.")
        text = re.sub(r"\x1b\[[\d;]*m", "", capsys.readouterr().out)
        return "".join(f"{line.rstrip()}\n" for line in text.splitlines())

    return show


def test_on_a_wide_terminal_each_row_is_one_line(render):
    assert render(RUNS, 160) == (
        "DAG_ID  RUN_ID                                STATE            LOGICAL_DATE               TRIES  NOTE\n"
        "sales   scheduled__2024-01-01T00:00:00+00:00  success          2024-01-01T00:00:00+00:00      1  –\n"
        "sales   scheduled__2024-01-02T00:00:00+00:00  upstream_failed  2024-01-02T00:00:00+00:00      2  "
        "the database was not there, twice in a row\n"
    )


def test_texts_are_wrapped_first(render):
    assert render(RUNS, 130) == (
        "DAG_ID  RUN_ID                                STATE            LOGICAL_DATE               TRIES  NOTE\n"
        "sales   scheduled__2024-01-01T00:00:00+00:00  success          2024-01-01T00:00:00+00:00      1  –\n"
        "sales   scheduled__2024-01-02T00:00:00+00:00  upstream_failed  2024-01-02T00:00:00+00:00      2  "
        "the database was not there, twice\n" + " " * 97 + "in a row\n"
    )


def test_then_constant_columns_are_factored_out_and_times_take_two_lines(render):
    assert render(RUNS, 100) == (
        "dag_id  sales\n"
        "\n"
        "                                                       LOGICAL\n"
        "RUN_ID                                STATE            DATE        TRIES  NOTE\n"
        "scheduled__2024-01-01T00:00:00+00:00  success          2024-01-01      1  –\n"
        "                                                       00:00:00Z\n"
        "scheduled__2024-01-02T00:00:00+00:00  upstream_failed  2024-01-02      2  the database was not\n"
        "                                                       00:00:00Z          there, twice in a row\n"
    )


def test_on_a_narrow_terminal_each_field_is_one_line(render):
    assert render(RUNS, 60) == (
        "dag_id        sales\n"
        "run_id        scheduled__2024-01-01T00:00:00+00:00\n"
        "state         success\n"
        "logical_date  2024-01-01T00:00:00+00:00\n"
        "tries         1\n"
        "note          –\n"
        "\n"
        "dag_id        sales\n"
        "run_id        scheduled__2024-01-02T00:00:00+00:00\n"
        "state         upstream_failed\n"
        "logical_date  2024-01-02T00:00:00+00:00\n"
        "tries         2\n"
        "note          the database was not there, twice in a row\n"
    )


def test_without_rows_the_empty_text_is_printed(capsys):
    print_rows(["a"], [], "There are no DAGs.")
    assert capsys.readouterr().out == "There are no DAGs.\n"


texts = st.text(st.characters(exclude_categories=("Cs",)), max_size=60)
NAMES = ("dag_id", "task_id", "state", "at", "number", "tags", "error")
ids = st.text("abc-_.é東", min_size=1, max_size=90)
rows = st.lists(
    st.fixed_dictionaries(
        {
            "dag_id": ids,
            "task_id": ids,
            "state": st.sampled_from(["success", "failed", "odd", None]),
            "at": st.none() | st.datetimes(timezones=st.just(UTC)),
            "number": st.none() | st.integers(0, 10**9),
            "tags": st.lists(texts, max_size=3),
            "error": texts,
        }
    ),
    min_size=1,
    max_size=5,
)


@given(rows=rows, width=st.integers(20, 220))
def test_ids_are_whole_and_no_other_line_is_wider_than_the_terminal(rows, width):
    # Given any rows and a terminal of any width
    out = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(out):
        patch.setenv("COLUMNS", str(width))
        patch.setenv("NO_COLOR", "1")
        print_rows(NAMES, rows, "")
    lines = re.sub(r"\x1b\[[\d;]*m", "", out.getvalue()).splitlines()
    # Then each id is whole on some line
    for row in rows:
        assert all(any(row[name] in line for line in lines) for name in ("dag_id", "task_id"))
    # And a line is wider than the terminal only because of an id, a number or a time
    widest = max(
        cell_len(word) for row in rows for word in (row["dag_id"], row["task_id"], "2024-01-01T00:00:00+00:00")
    )
    assert all(cell_len(line) <= max(width, widest + len("task_id") + 2) for line in lines)


def test_control_characters_and_markup_are_printed_as_text(render):
    # Given texts with control sequences of terminals and with markup of rich
    hostile = "\x1b[31mred\x1b]0;title\x07 [red]x[/red] [link=file:///]y[/link] :smile: \u202eabc\r\x00\n\ttab"
    # Then they are printed as text, on one line
    assert render([{"dag_id": hostile}, {"dag_id": "[/]"}], 200) == (
        "DAG_ID\n"
        "\\x1b[31mred\\x1b]0;title\\x07 [red]x[/red] [link=file:///]y[/link] :smile: \\x202eabc\\x0d\\x00 tab\n"
        "[/]\n"
    )
    assert render([{"[bold]a[/bold]": "x", "b\x1b[31m": "y"}], 200) == "[BOLD]A[/BOLD]  B\\X1B[31M\nx               y\n"


@pytest.mark.parametrize(("colorfgbg", "theme"), [("", 1), ("15;0", 1), ("0;15", 0), ("0;default;15", 0), ("7", 0)])
def test_states_are_coloured(capsys, monkeypatch, colorfgbg, theme):
    # Given a terminal with true colours, with or without COLORFGBG
    monkeypatch.delenv("NO_COLOR")
    environ = {"TERM": "xterm-256color", "COLORTERM": "truecolor", "COLORFGBG": colorfgbg, "COLUMNS": "80"}
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    print_rows(["state"], [{"state": "failed"}, {"state": "unknown"}], "")
    # Then a state has the colours of the theme, and an unknown state has none
    state = palettes()[theme].states["failed"]
    text, fill = (";".join(str(int(code[at : at + 2], 16)) for at in (1, 3, 5)) for code in (state.text, state.fill))
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].rstrip() == f"\x1b[38;2;{text};48;2;{fill}mfailed\x1b[0m"
    assert lines[2].rstrip() == "unknown"


def test_states_have_different_colours_on_a_terminal_with_16_colours(capsys, monkeypatch):
    monkeypatch.delenv("NO_COLOR")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("COLORTERM", raising=False)
    print_rows(["state"], [{"state": "failed"}, {"state": "success"}, {"state": "running"}], "")
    codes = [re.findall(r"\x1b\[(\d+)m", line)[0] for line in capsys.readouterr().out.splitlines()[1:]]
    assert len(set(codes)) == 3


def test_an_object_is_printed_as_one_field_per_line(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    print_fields(
        {
            "dag_id": "a" * 50,
            "state": "success",
            "description": "words that are more than fit one line of it",
            "tags": [],
            "timeout": timedelta(hours=1),
        }
    )
    out = re.sub(r"\x1b\[[\d;]*m", "", capsys.readouterr().out)
    assert out == (
        f"dag_id       {'a' * 50}\n"
        "state        success\n"
        "description  words that are more than\n"
        "             fit one line of it\n"
        "tags         –\n"
        "timeout      1:00:00\n"
    )


@given(st.lists(st.tuples(st.integers(1, 60), st.integers(1, 60)), min_size=1, max_size=8), st.integers(1, 300))
def test_widths_fill_the_available_width_or_are_none(columns, available):
    bounds = [(min(pair), max(pair)) for pair in columns]
    widths = fitted_widths(bounds, available)
    if widths is None:
        assert sum(minimum for minimum, _ in bounds) > available
    else:
        assert sum(widths) == min(sum(maximum for _, maximum in bounds), available)
        assert all(low <= width <= high for (low, high), width in zip(bounds, widths, strict=True))
