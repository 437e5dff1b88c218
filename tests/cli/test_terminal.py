"""Commands on a terminal: colours, progress bars, confirmation."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from pathlib import Path

import pytest
from rich.cells import cell_len

from nbflow.state_colors import palettes
from tests.cli.conftest import FAILING, SALES

TERMINAL_VARIABLES = ("NO_COLOR", "COLUMNS", "COLORTERM", "COLORFGBG", "TTY_COMPATIBLE", "FORCE_COLOR")
NBFLOW = ("-m", "nbflow")


def on_terminal(
    *words: str, typed: str = "", width: int = 80, python: tuple[str, ...] = NBFLOW, **environ: str
) -> tuple[int, str]:
    """Run a command on a pseudo-terminal; returns its exit code and its output."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, width, 0, 0))
    inherited = {name: value for name, value in os.environ.items() if name not in TERMINAL_VARIABLES}
    os.write(master, typed.encode())
    with subprocess.Popen(
        [sys.executable, *python, *words],
        stdin=slave,
        stdout=slave,
        stderr=slave,
        env=inherited | {"TERM": "xterm"} | environ,
    ) as process:
        os.close(slave)
        output = b""
        try:
            while chunk := os.read(master, 65536):
                output += chunk
        except OSError:  # Linux: the slave is closed
            pass
        code = process.wait()
    os.close(master)
    return code, output.decode()


def plain(output: str) -> str:
    """The output without colours, and with "\\n" as line ends."""
    return re.sub(r"\x1b\[[\d;]*m", "", output).replace("\r\n", "\n")


def test_an_error_is_red(home):
    code, shown = on_terminal("dgas")
    assert code == 2
    assert shown == "\x1b[31mnbflow: Unknown command 'dgas'. Did you mean 'dags'? See: nbflow --help.\x1b[0m\r\n"


# --------------------------------------------------------------------------------------------------------------- tables

LONG_ID = "a_rather_long_dag_id_of_the_finance_department.daily_ledger_reconciliation"


@pytest.fixture
def dag_ids(in_folder) -> list[str]:
    """The ids of DAGs in the DAGs folder."""
    in_folder(
        "dags.py",
        f"""
        from datetime import datetime
        from nbflow import DAG, task
        for dag_id, tags in (({LONG_ID!r}, ["[red]x[/red]", "\\x1b[31mred"]), ("東京.orders", []), ("sales", ["a b"])):
            with DAG(dag_id, schedule="@daily", start_date=datetime(2024, 1, 1), tags=tags) as dag:
                @task
                def first(): ...
                first()
            globals()[dag_id] = dag
        """,
    )
    return [LONG_ID, "sales", "東京.orders"]


@pytest.mark.parametrize("width", [60, 100, 200])
def test_a_listing_is_as_wide_as_the_terminal_and_its_ids_are_whole(dag_ids, width):
    # When DAGs are listed on a terminal
    code, shown = on_terminal("dags", "list", "--local", width=width)
    lines = plain(shown).splitlines()
    # Then each id is on one line, and only an id that is longer than the terminal makes a line wider
    assert code == 0
    assert [dag_id for dag_id in dag_ids if not any(dag_id in line for line in lines)] == []
    assert [line for line in lines if cell_len(line) > width and LONG_ID not in line] == []
    # And markup and control characters in tags are printed as text
    assert "[red]x[/red]" in plain(shown)
    assert "\\x1b[31mred" in plain(shown)
    assert "\x1b[31m" not in shown


def test_columns_overrides_the_width_of_the_terminal(dag_ids):
    wide = plain(on_terminal("dags", "list", "--local", width=200)[1])
    assert plain(on_terminal("dags", "list", "--local", width=60, COLUMNS="200")[1]) == wide


def test_the_states_of_a_run_are_coloured(nbflow, dag_file):
    nbflow("dags", "test", "failing", "2024-01-05", "-S", dag_file("failing.py", FAILING))
    state = palettes()[1].states["upstream_failed"]
    text, fill = (";".join(str(int(code[at : at + 2], 16)) for at in (1, 3, 5)) for code in (state.text, state.fill))
    words = ("tasks", "states-for-dag-run", "failing", "2024-01-05")
    # Given a terminal with true colours, then states have their colours
    _, colourful = on_terminal(*words, width=200, TERM="xterm-256color", COLORTERM="truecolor")
    assert f"\x1b[38;2;{text};48;2;{fill}mupstream_failed\x1b[0m" in colourful
    # Given NO_COLOR or a terminal without colours, then states have none
    _, colourless = on_terminal(*words, width=200, NO_COLOR="1", TERM="xterm-256color", COLORTERM="truecolor")
    assert set(re.findall(r"\x1b\[[\d;]*m", colourless)) == {"\x1b[1m", "\x1b[0m"}
    _, dumb = on_terminal(*words, width=200, TERM="dumb")
    assert "\x1b" not in dumb
    assert plain(colourful) == plain(colourless) == plain(dumb)


def final_lines(output: str) -> list[str]:
    """The lines on the terminal at the end, since a bar is erased before it is redrawn."""
    lines, row, column = [""], 0, 0
    for part in re.split(r"(\r|\n|\x1b\[\??\d*[A-Za-z])", plain(output)):
        if part == "\n":
            row, column = row + 1, 0
            lines += [""] * (row + 1 - len(lines))
        elif part == "\r":
            column = 0
        elif part == "\x1b[1A":
            row -= 1
        elif part == "\x1b[2K":
            lines[row] = ""
        elif not part.startswith("\x1b"):
            lines[row] = lines[row][:column].ljust(column) + part + lines[row][column + len(part) :]
            column += len(part)
    return [line.rstrip() for line in lines]


RUN_AND_LIST_MODULES = """
import sys
from nbflow.cli.main import main
code = main(sys.argv[2:])
open(sys.argv[1], "w").write(" ".join(sys.modules))
sys.exit(code)
"""


@pytest.mark.parametrize("output_format", ["json", "yaml", "plain"])
def test_machine_readable_output_is_the_same_on_a_terminal_and_needs_no_rich(nbflow, sales, tmp_path, output_format):
    # Given a run
    nbflow("dags", "test", "sales", "2024-01-05", "-S", sales)
    words = ("tasks", "states-for-dag-run", "sales", "2024-01-05", "-o", output_format)
    # When its instances are listed on a narrow terminal, in a machine-readable format
    modules = tmp_path / "modules"
    code, shown = on_terminal(str(modules), *words, width=40, python=("-c", RUN_AND_LIST_MODULES))
    # Then the output is the same as in a pipe
    assert (code, shown.replace("\r\n", "\n")) == (0, nbflow(*words).out)
    assert "rich" not in modules.read_text().split()


@pytest.mark.parametrize(
    "words",
    [
        ("dags", "list", "--local"),
        ("dags", "test", "sales", "2024-01-05"),
        ("dags", "backfill", "sales", "-s", "2024-02-01", "-e", "2024-02-03"),
        ("lint",),
    ],
)
def test_without_a_terminal_no_command_needs_rich(in_folder, tmp_path: Path, monkeypatch, words):
    # Given DAGs, and commands that print tables or progress bars on a terminal
    monkeypatch.setenv("NBFLOW__CORE__EXECUTOR", "SequentialExecutor")
    in_folder("sales.py", SALES)
    in_folder("more.py", SALES.replace('"sales"', '"more"'))
    # When one runs in pipes
    modules = tmp_path / "modules"
    command = [sys.executable, "-c", RUN_AND_LIST_MODULES, str(modules), *words]
    result = subprocess.run(command, capture_output=True, text=True)
    # Then it does not import rich, and prints no escape sequences
    assert "rich" not in modules.read_text().split()
    assert "\x1b" not in result.stdout + result.stderr


# ------------------------------------------------------------------------------------------------------------- progress


@pytest.mark.parametrize("width", [60, 200])
def test_a_backfill_shows_its_progress(sales, monkeypatch, width):
    # Given a terminal, and no scheduler
    monkeypatch.setenv("NBFLOW__CORE__EXECUTOR", "SequentialExecutor")
    # When ten days are backfilled
    code, shown = on_terminal(
        "dags", "backfill", "sales", "-s", "2024-02-01", "-e", "2024-02-10", "-S", sales, width=width
    )
    # Then the bar fills, and is still shown at the end
    counts = [int(count) for count in re.findall(r"(\d+)/10 runs", shown)]
    assert code == 0
    assert (counts[0], counts[-1]) == (0, 10)
    assert counts == sorted(counts)
    assert [line for line in final_lines(shown) if re.fullmatch(r"━+ 10/10 runs [\d:]+ [\d:]+", line)]


def test_log_lines_are_printed_above_the_bar(dag_file, monkeypatch):
    # Given a backfill whose tasks fail, with the traceback in the log
    monkeypatch.setenv("NBFLOW__CORE__EXECUTOR", "SequentialExecutor")
    file = dag_file("failing.py", FAILING.replace("schedule=None", 'schedule="@daily"'))
    code, shown = on_terminal("dags", "backfill", "failing", "-s", "2024-02-01", "-e", "2024-02-02", "-S", file)
    # Then no line of the log is on the line of a bar
    assert code == 1
    assert "ValueError: no such customer" in shown
    assert [
        line for line in plain(shown).splitlines() if "ValueError" in line and "━" in line.rpartition("\r")[2]
    ] == []
    assert "2/2 runs, 2 failed" in plain(shown)


def test_lint_shows_a_transient_bar(in_folder):
    for name in ("one", "two", "three"):
        in_folder(f"{name}.py", SALES.replace('"sales"', f'"{name}"'))
    code, shown = on_terminal("lint")
    assert code == 0
    assert re.findall(r"(\d)/3 files", shown)[0] == "0"
    # Then only the results are on the terminal at the end
    lines = final_lines(shown)
    assert [line for line in lines if line] == [line for line in lines if line.endswith("no errors")]
    assert len([line for line in lines if line]) == 3


def test_a_dag_test_prints_each_ended_task(dag_file):
    code, shown = on_terminal("dags", "test", "failing", "-S", dag_file("failing.py", FAILING))
    assert code == 1
    steps = re.findall(r"^[━╸╺]+ (\d/\d) tasks (\S+) (\S+)", plain(shown), re.M)
    assert steps == [("1/2", "wrong", "failed"), ("2/2", "after", "upstream_failed")]
    # Then no line is redrawn, so that a debugger can use the terminal
    assert "\x1b[2K" not in shown
    assert "\x1b[?25l" not in shown


def test_an_interrupted_bar_shows_the_cursor_again(home):
    code = """
from nbflow.cli.progress import Progress
with Progress(9, "runs") as bar:
    bar.update(3)
    raise KeyboardInterrupt
"""
    _, shown = on_terminal(python=("-c", code))
    assert shown.rindex("\x1b[?25h") > shown.rindex("\x1b[?25l")


# --------------------------------------------------------------------------------------------------------- confirmation


@pytest.mark.parametrize(("typed", "deleted"), [("y\n", True), ("n\n", False), ("\n", False)])
def test_deleting_a_dag_asks_for_confirmation(nbflow, in_folder, app, typed, deleted):
    in_folder("sales.py", SALES)
    nbflow("dags", "unpause", "sales")
    code, shown = on_terminal("dags", "delete", "sales", typed=typed)
    assert "Delete DAG sales with all its runs and history? [y/N] " in shown
    assert (app.store.dag("sales") is None, code) == (deleted, 0 if deleted else 1)
