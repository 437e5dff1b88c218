"""On a terminal: colours, progress bars, questions."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys

import pytest

from tests.cli.conftest import SALES


def on_terminal(*words: str, typed: str = "") -> tuple[int, str]:
    """The exit code of a command, and all that its terminal showed."""
    ours, theirs = pty.openpty()
    environ = {**os.environ, "TERM": "xterm"}
    environ.pop("NO_COLOR", None)
    os.write(ours, typed.encode())
    with subprocess.Popen(
        [sys.executable, "-m", "nbflow", *words], stdin=theirs, stdout=theirs, stderr=theirs, env=environ
    ) as process:
        os.close(theirs)
        shown = b""
        try:
            while piece := os.read(ours, 65536):
                shown += piece
        except OSError:  # Linux: the other end is closed
            pass
        code = process.wait()
    os.close(ours)
    return code, shown.decode()


def test_an_error_is_red(home):
    code, shown = on_terminal("dgas")
    assert code == 2
    assert shown == "\x1b[31mnbflow: there is no command 'dgas'. Did you mean 'dags'? See: nbflow --help.\x1b[0m\r\n"


def test_a_backfill_shows_its_progress(sales, monkeypatch):
    # Given a terminal, and no scheduler
    monkeypatch.setenv("NBFLOW__CORE__EXECUTOR", "SequentialExecutor")
    # When ten days are backfilled
    code, shown = on_terminal("dags", "backfill", "sales", "-s", "2024-02-01", "-e", "2024-02-10", "-S", sales)
    # Then the bar fills from nothing to the whole
    bars = re.findall(r"\r\x1b\[K\[([#.]{30})\] (\d+)/10 runs", shown)
    assert code == 0
    assert bars[0] == ("." * 30, "0")
    assert bars[-1] == ("#" * 30, "10")
    counts = [int(count) for _, count in bars]
    assert counts == sorted(counts)


@pytest.mark.parametrize(("typed", "gone"), [("y\n", True), ("n\n", False), ("\n", False)])
def test_a_question_is_asked_before_something_is_deleted(nbflow, in_folder, app, typed, gone):
    in_folder("sales.py", SALES)
    nbflow("dags", "unpause", "sales")
    code, shown = on_terminal("dags", "delete", "sales", typed=typed)
    assert "Delete DAG sales with all its runs and history? [y/N] " in shown
    assert (app.store.dag("sales") is None, code) == (gone, 0 if gone else 1)
