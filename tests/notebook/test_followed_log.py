"""`%dag logs -f`: a log that is displayed while it grows, beside a real scheduler."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from nbflow.notebook.session import session
from tests.notebook.conftest import Shell, until

FILE = """\
from nbflow import DAG, task

with DAG("gated", schedule=None):
    @task
    def load():
        print("first")
        open({gate!r}).close()
        print("last")

    load()
"""


class Outputs(list[dict[str, Any]]):
    """What a cell shows; ``react`` is told the text of each output when it comes."""

    react: Callable[[str], None] = staticmethod(lambda text: None)

    def append(self, data: dict[str, Any]) -> None:
        super().append(data)
        self.react(data.get("text/plain", ""))

    @property
    def texts(self) -> list[str]:
        return [data["text/plain"] for data in self]


def in_turn(reactions: Iterator[tuple[str, Callable[[], object]]]) -> Callable[[str], None]:
    """Do each once an output with its text has come, one after the other."""
    text, react = next(reactions)

    def look(shown: str) -> None:
        nonlocal text, react
        if text and text in shown:
            done, (text, react) = react, next(reactions, ("", react))
            done()

    return look


@pytest.fixture
def gate(tmp_path: Path) -> Path:
    """A pipe that the task opens to read, so that it waits until somebody opens it to write."""
    path = tmp_path / "gate"
    os.mkfifo(path)
    return path


@pytest.fixture
def outputs(shell: Shell, own_home: Path, gate: Path) -> Outputs:
    """The outputs of a shell whose home has a run of a task that waits for the gate. The run begins when its DAG is
    unpaused."""
    from nbflow.services import schedulers

    path = own_home / "dags" / "gated.py"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(FILE.format(gate=str(gate)))
    here = session()
    schedulers.ensure(here.app)
    until("the file is read", lambda: here.app.store.dag("gated"))
    here.operations.trigger("gated")
    shell.shown = Outputs()
    return shell.shown


def test_a_log_is_displayed_while_it_grows_and_stays(shell: Shell, outputs: Outputs, gate: Path) -> None:
    # Given a run that begins once the empty log is displayed, and a task that goes on once its first line is
    reactions = iter([("empty so far", lambda: session().operations.set_paused("gated", False)),
                      ("first", lambda: gate.write_text(""))])  # fmt: skip
    outputs.react = in_turn(reactions)
    # When its log is followed
    log = shell.run("%dag logs gated load -f")
    shown = [*outputs]
    # Then the cell has ended with the try: its lines came one after the other into one output
    assert session().app.store.instances(session().find_run("gated").key)[0].state == "success"
    assert "first" not in outputs.texts[0]
    assert [text for text in ("first", "last") if text in log.data] == ["first", "last"]
    # And what stays is the picture of the log, which the value shows in another cell
    assert shown[-1].keys() == {"text/html", "text/plain"}
    shell.run("log = _")
    shell.run("log")
    assert [*outputs] == [shown[-1]]
    # And so does `%dag logs`, as far as it has read
    assert log.data == shell.run("%dag logs gated load").data[: len(log)]


def test_an_interrupt_leaves_what_was_shown_and_ends_the_cell(shell: Shell, outputs: Outputs, gate: Path) -> None:
    # Given somebody who interrupts the kernel once the first line is displayed
    def interrupt() -> None:
        raise KeyboardInterrupt

    session().operations.set_paused("gated", False)
    outputs.react = in_turn(iter([("first", interrupt)]))
    # Then the cell has failed in one line, so that no cell after it runs, and the log is still shown
    assert shell.fails("%dag logs gated load -f") == ["Error: Stopped following load; the task is not affected."]
    assert "first" in outputs.texts[-1]
    # And the task goes on
    gate.write_text("")
    until("it has ended", lambda: session().find_run("gated").state == "success")


def test_a_log_that_is_over_is_displayed_at_once(shell: Shell, outputs: Outputs, gate: Path) -> None:
    session().operations.set_paused("gated", False)
    gate.write_text("")
    until("it has ended", lambda: session().find_run("gated").state == "success")
    log = shell.run("%dag logs gated -f --search LAST")
    assert (log.data, {text == outputs.texts[0] for text in outputs.texts}) == (["last"], {True})
