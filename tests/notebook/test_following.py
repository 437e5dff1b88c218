"""What is displayed of a run follows it by the session's feed, to its end."""

from __future__ import annotations

import queue
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from nbflow.core.states import RunCause, RunState
from nbflow.live.feed import Feed
from nbflow.notebook import handles
from nbflow.notebook.handles import RunHandle
from nbflow.notebook.session import Session, session
from nbflow.store.base import Store
from nbflow.views import fetch
from nbflow.views.graph import GraphView
from tests.store.worlds import plan, register, run_move, scheduled, started_run

WAIT = 60.0


class Displayed:
    """The output of a cell."""

    def __init__(self, first: dict[str, Any]) -> None:
        self.texts = [first["text/plain"]]

    def update(self, mime: dict[str, Any], raw: bool) -> None:
        self.texts.append(mime["text/plain"])


class World:
    """A session with one running run, whose views are counted."""

    def __init__(self, here: Session) -> None:
        self.here, self.store = here, here.app.store
        self.fetched: list[Any] = []
        here.__dict__["feed"] = Feed(self.store, here.app.clock, self._fetch)
        self.dag = register(self.store).spec
        self.run = started_run(self.store)
        self.seen: queue.SimpleQueue[tuple[str, str]] = queue.SimpleQueue()

    def _fetch(self, store: Store, query: Any, now: datetime) -> Any:
        self.fetched.append(query)
        return fetch(store, query, now, self.here.app.settings)

    def handle(self, name: str) -> RunHandle:
        """A handle on the run that notes in ``seen`` what it is told of the first task."""

        def complete(view: GraphView) -> GraphView:
            self.seen.put((name, view.tasks[0].state))
            return view

        run = self.store.run(self.run)
        assert run is not None
        return RunHandle(self.here, run, self.dag, complete)

    def until(self, *expected: tuple[str, str]) -> None:
        """Wait until all of this was seen."""
        left = set(expected)
        while left:
            left.discard(self.seen.get(timeout=WAIT))

    def end(self) -> None:
        over = run_move(self.run, RunState.RUNNING, RunState.SUCCESS, RunCause.ALL_TASKS_DONE)
        self.store.apply([over], actor="scheduler")


@pytest.fixture
def world(own_home: Path) -> World:
    return World(session())


@pytest.fixture
def outputs(monkeypatch: pytest.MonkeyPatch) -> list[Displayed]:
    """What cells display, without widgets."""
    made: list[Displayed] = []
    monkeypatch.setattr("IPython.display.display", lambda mime, **_: (made.append(Displayed(mime)), made[-1])[1])
    show: Callable[..., None] = handles.LiveGraph.show
    monkeypatch.setattr(handles.LiveGraph, "show", lambda self: show(self, widgets=False))
    return made


def test_two_outputs_of_a_run_share_what_is_fetched(world: World, outputs: list[Displayed]) -> None:
    # Given two cells that show one run
    shown = [world.handle("one"), world.handle("two")]
    for handle in shown:
        handle.show()
    world.until(("one", "none"), ("two", "none"))
    at_first = len(world.fetched)

    # When a task moves, and then the run ends
    world.store.apply([plan(scheduled(world.run, "extract"))], actor="scheduler")
    world.until(("one", "scheduled"), ("two", "scheduled"))
    after_change = len(world.fetched)
    world.end()
    for handle in shown:
        handle.settle()

    # Then the run was fetched once for both, each time, and both outputs end with its last picture
    assert (at_first, after_change, len(world.fetched)) == (1, 2, 3)
    assert [handle._follower.thread.is_alive() for handle in shown] == [False, False]  # type: ignore[union-attr]
    for output in outputs:
        assert "success" in output.texts[-1]
        assert ["extract", "scheduled"] in [line.split()[:2] for line in output.texts[-1].splitlines()]


def test_a_run_that_is_shown_again_is_followed_once(world: World, outputs: list[Displayed]) -> None:
    # Given a handle that is displayed by two cells, one after the other
    handle = world.handle("one")
    handle.show()
    first = handle._follower
    assert first is not None
    handle.show()

    # When the run goes on
    first.join(WAIT)
    world.end()
    handle.settle()

    # Then the second output has followed it, and the first was left as it was
    assert not first.thread.is_alive()
    assert ["success" in output.texts[-1] for output in outputs] == [False, True]


def test_a_session_that_ends_ends_what_follows(world: World, outputs: list[Displayed]) -> None:
    handle = world.handle("one")
    handle.show()
    follower = handle._follower
    assert follower is not None

    world.here.close()
    follower.join(WAIT)

    assert not follower.thread.is_alive()
