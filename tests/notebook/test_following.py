"""The display of a run follows it through the session's feed until its end."""

from __future__ import annotations

import queue
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from nbflow.core.states import Cause, RunCause, RunState, TaskState
from nbflow.errors import NbflowError
from nbflow.live.feed import Feed
from nbflow.notebook import run_handles
from nbflow.notebook.run_handles import RunHandle
from nbflow.notebook.session import Session, current_session
from nbflow.store.base import Store
from nbflow.views import fetch
from nbflow.views.graph import GraphView
from tests.store.worlds import begin, ended, move, plan, queued, register, run_move, scheduled, started_run

WAIT_SECONDS = 60.0


class Displayed:
    """The output of a cell."""

    def __init__(self, first: dict[str, Any]) -> None:
        self.texts = [first["text/plain"]]

    def update(self, mime: dict[str, Any], raw: bool) -> None:
        self.texts.append(mime["text/plain"])


class World:
    """A session with one running run, whose fetches are recorded."""

    def __init__(self, session: Session) -> None:
        self.session, self.store = session, session.app.store
        self.fetches: list[Any] = []
        session.__dict__["feed"] = Feed(self.store, session.app.clock, self._fetch)
        self.dag = register(self.store).spec
        self.run = started_run(self.store)
        self.states: queue.SimpleQueue[tuple[str, str]] = queue.SimpleQueue()

    def _fetch(self, store: Store, query: Any, now: datetime) -> Any:
        self.fetches.append(query)
        return fetch(store, query, now, self.session.app.settings)

    def handle(self, name: str) -> RunHandle:
        """A handle of the run that puts (name, state of the first task) into ``states`` for each view."""

        def add_notes(view: GraphView) -> GraphView:
            self.states.put((name, view.tasks[0].state))
            return view

        run = self.store.run(self.run)
        assert run is not None
        return RunHandle(self.session, run, self.dag, add_notes)

    def until(self, *expected: tuple[str, str]) -> None:
        """Wait until all ``expected`` items are in ``states``."""
        missing = set(expected)
        while missing:
            missing.discard(self.states.get(timeout=WAIT_SECONDS))

    def end(self) -> None:
        end = run_move(self.run, RunState.RUNNING, RunState.SUCCESS, RunCause.ALL_TASKS_DONE)
        self.store.apply([end], actor="scheduler")


@pytest.fixture
def world(notebook_home: Path) -> World:
    return World(current_session())


@pytest.fixture
def outputs(monkeypatch: pytest.MonkeyPatch) -> list[Displayed]:
    """The outputs of cells, without widgets."""
    displayed: list[Displayed] = []
    monkeypatch.setattr(
        "IPython.display.display", lambda mime, **_: (displayed.append(Displayed(mime)), displayed[-1])[1]
    )
    show: Callable[..., None] = run_handles.LiveGraph.show
    monkeypatch.setattr(run_handles.LiveGraph, "show", lambda self, **_: show(self, widgets=False))
    return displayed


def follower_of(handle: RunHandle) -> run_handles._Follower:
    """The thread that follows the displayed run."""
    assert handle._follower is not None
    return handle._follower


def test_two_outputs_of_a_run_share_each_fetch(world: World, outputs: list[Displayed]) -> None:
    # Given two cells that display one run
    handles = [world.handle("one"), world.handle("two")]
    for handle in handles:
        handle.show()
    world.until(("one", "none"), ("two", "none"))
    at_start = len(world.fetches)

    # When a task changes its state, and then the run ends
    world.store.apply([plan(scheduled(world.run, "extract"))], actor="scheduler")
    world.until(("one", "scheduled"), ("two", "scheduled"))
    after_change = len(world.fetches)
    world.end()
    for handle in handles:
        follower_of(handle).thread.join(WAIT_SECONDS)

    # Then each change was fetched once for both outputs, and both end with the last state
    assert (at_start, after_change, len(world.fetches)) == (1, 2, 3)
    assert [follower_of(handle).thread.is_alive() for handle in handles] == [False, False]
    for output in outputs:
        assert "success" in output.texts[-1]
        assert ["extract", "scheduled"] in [line.split()[:2] for line in output.texts[-1].splitlines()]


def test_a_run_that_is_displayed_twice_is_followed_once(world: World, outputs: list[Displayed]) -> None:
    # Given a handle that two cells display, one after the other
    handle = world.handle("one")
    handle.show()
    first = follower_of(handle)
    handle.show()

    # When the run ends
    world.end()
    follower_of(handle).thread.join(WAIT_SECONDS)

    # Then the second output shows its end, and the first is unchanged
    assert not first.thread.is_alive()
    assert ["success" in output.texts[-1] for output in outputs] == [False, True]


def test_a_cell_that_waits_for_an_unfinished_run_leaves_its_output_live(world: World, outputs: list[Displayed]) -> None:
    # Given a displayed run
    handle = world.handle("one")
    handle.show()
    with pytest.raises(NbflowError, match="is still running after 0 s"):
        handle.wait(timeout=0)

    # When it ends after the cell that waited
    handle.settle()
    world.end()
    follower_of(handle).thread.join(WAIT_SECONDS)

    # Then its output shows the end
    assert "success" in outputs[0].texts[-1]


def test_the_panel_of_a_task_shows_the_state_in_which_each_attempt_ended(world: World) -> None:
    # Given a task whose first attempt has failed, and which is queued again
    attempt_id = begin(world.store, world.run, "extract")
    retry = ended(world.run, "extract", attempt_id, Cause.RAISED, TaskState.UP_FOR_RETRY)
    world.store.apply([plan(retry)], actor="worker")
    again = move(world.run, "extract", TaskState.UP_FOR_RETRY, Cause.RETRY_DUE, TaskState.SCHEDULED)
    world.store.apply([plan(again, queued(world.run, "extract"))], actor="scheduler")

    # When its panel is opened
    attempts = world.handle("one")._details("extract")["attempts"]

    # Then the first attempt has the state in which it ended, and the second one its own
    assert [attempt["state"] for attempt in attempts] == ["up_for_retry", "queued"]


def test_closing_the_session_ends_its_followers(
    world: World, outputs: list[Displayed], caplog: pytest.LogCaptureFixture
) -> None:
    handle = world.handle("one")
    handle.show()
    follower = follower_of(handle)

    world.session.close()
    follower.thread.join(WAIT_SECONDS)

    assert not follower.thread.is_alive()
    assert caplog.records == []


@pytest.mark.parametrize(
    ("error", "level", "has_traceback"),
    [
        (NbflowError("The notebook is not readable.", hint="Save it again."), "WARNING", False),
        (ZeroDivisionError("division by zero"), "ERROR", True),
    ],
    ids=["a mistake of the user", "an internal error"],
)
def test_an_error_that_ends_the_updates_of_an_output_is_logged(
    world: World,
    outputs: list[Displayed],
    caplog: pytest.LogCaptureFixture,
    error: Exception,
    level: str,
    has_traceback: bool,
) -> None:
    # Given a displayed run
    handle = world.handle("one")
    handle.show()
    world.until(("one", "none"))

    # When the next update of its output fails
    def fail(view: GraphView) -> GraphView:
        raise error

    handle._add_notes = fail
    world.store.apply([plan(scheduled(world.run, "extract"))], actor="scheduler")
    follower_of(handle).thread.join(WAIT_SECONDS)

    # Then one log record names the output and the error
    [record] = caplog.records
    assert record.getMessage().startswith("The output of GraphQuery(dag_id='sales', run_id='r1', version=None) is no")
    assert (record.levelname, record.exc_info is not None) == (level, has_traceback)
    assert str(error) in caplog.text
