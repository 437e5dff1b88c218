"""`%dag logs -f`: the display of a log while it grows, with a real scheduler."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from nbflow.notebook.session import current_session
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
    """The outputs of a cell; ``react`` is called with the text of each new output."""

    react: Callable[[str], None] = staticmethod(lambda text: None)

    def append(self, data: dict[str, Any]) -> None:
        super().append(data)
        self.react(data.get("text/plain", ""))

    @property
    def texts(self) -> list[str]:
        return [data["text/plain"] for data in self]


def in_order(reactions: Iterator[tuple[str, Callable[[], object]]]) -> Callable[[str], None]:
    """Call each function once after an output that contains its text, in the given order."""
    text, react = next(reactions)

    def on_output(output: str) -> None:
        nonlocal text, react
        if text and text in output:
            current, (text, react) = react, next(reactions, ("", react))
            current()

    return on_output


@pytest.fixture
def gate(tmp_path: Path) -> Path:
    """A named pipe that the task opens for reading, which blocks until the test opens it for writing."""
    path = tmp_path / "gate"
    os.mkfifo(path)
    return path


@pytest.fixture
def outputs(shell: Shell, notebook_home: Path, gate: Path) -> Outputs:
    """The outputs of a shell whose home has a queued run of a task that waits for the gate. The run starts when its DAG
    is unpaused."""
    from nbflow.services import schedulers

    path = notebook_home / "dags" / "gated.py"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(FILE.format(gate=str(gate)))
    session = current_session()
    schedulers.ensure(session.app)
    until("the file is parsed", lambda: session.app.store.dag("gated"))
    session.operations.trigger("gated")
    shell.outputs = Outputs()
    return shell.outputs


def test_a_log_is_displayed_while_it_grows(shell: Shell, outputs: Outputs, gate: Path) -> None:
    # Given a run that starts when the empty log is displayed, and a task that continues when its first line is
    reactions = iter([("empty so far", lambda: current_session().operations.set_paused("gated", False)),
                      ("first", lambda: gate.write_text(""))])  # fmt: skip
    outputs.react = in_order(reactions)
    # When its log is followed
    log = shell.run("%dag logs gated load -f")
    displayed = [*outputs]
    # Then the cell ends with the try, and the lines were appended to one output
    assert current_session().app.store.instances(current_session().find_run("gated").key)[0].state == "success"
    assert "first" not in outputs.texts[0]
    assert [text for text in ("first", "last") if text in log.data] == ["first", "last"]
    # And the last output is the log, which the value displays in another cell
    assert displayed[-1].keys() == {"text/html", "text/plain"}
    shell.run("log = _")
    shell.run("log")
    assert [*outputs] == [displayed[-1]]
    # And `%dag logs` returns the same lines
    assert log.data == shell.run("%dag logs gated load").data[: len(log)]


def test_an_interrupt_ends_the_cell_and_keeps_its_output(shell: Shell, outputs: Outputs, gate: Path) -> None:
    # Given an interrupt of the kernel after the first line is displayed
    def interrupt() -> None:
        raise KeyboardInterrupt

    current_session().operations.set_paused("gated", False)
    outputs.react = in_order(iter([("first", interrupt)]))
    # Then the cell fails with one line, so that no cell after it runs, and the log is still displayed
    assert shell.fails("%dag logs gated load -f") == ["Error: Stopped following load; the task is not affected."]
    assert "first" in outputs.texts[-1]
    # And the task keeps running
    gate.write_text("")
    until("it has ended", lambda: current_session().find_run("gated").state == "success")


def test_the_log_of_an_ended_try_is_displayed_at_once(shell: Shell, outputs: Outputs, gate: Path) -> None:
    current_session().operations.set_paused("gated", False)
    gate.write_text("")
    until("it has ended", lambda: current_session().find_run("gated").state == "success")
    log = shell.run("%dag logs gated -f --search LAST")
    assert (log.data, {text == outputs.texts[0] for text in outputs.texts}) == (["last"], {True})
