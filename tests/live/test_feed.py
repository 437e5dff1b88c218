"""The feed's thread: follows while anybody watches, on each kind of store, costs for many what it costs for one."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

import pytest
from sqlalchemy import event

from nbflow.clock import SystemClock
from nbflow.errors import NbflowError, StoreError
from nbflow.live import feed as feed_module
from nbflow.live.feed import Feed
from nbflow.live.shared_views import Snapshot, Trouble, Watch
from nbflow.store import open_store
from nbflow.store.base import Store
from tests.live.views import T0, Shown, StatesQuery, StatesView, fetch
from tests.store.worlds import plan, register, scheduled, started_run

SALES = StatesQuery(dag_id="sales")
WAIT = 60.0
"""Seconds for what comes within milliseconds; only a fault takes longer."""


DATABASES = ["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)]


@pytest.fixture(params=["memory", *DATABASES])
def url(request: pytest.FixtureRequest) -> str:
    if request.param == "memory":
        return "memory://"
    return str(request.getfixturevalue("sqlite_url" if request.param == "sqlite" else "empty_postgres"))


@pytest.fixture
def store(url: str) -> Iterator[Store]:
    opened = open_store(url)
    register(opened)
    yield opened
    opened.close()


@pytest.fixture
def feed(store: Store) -> Iterator[Feed]:
    made = Feed(store, SystemClock(), fetch)
    yield made
    made.close()


def _draw_until(watch: Watch, shown: Shown, true: Callable[[dict[str, Any]], bool]) -> None:
    while not true(shown.json):
        message = watch.next(WAIT)
        assert message is not None, f"nothing came; shown is {shown.json}"
        shown.draw(message)


def test_a_watcher_is_told_what_is_committed(feed: Feed, store: Store) -> None:
    # Given somebody who watches a DAG
    watch, shown = feed.watch(SALES), Shown()
    shown.draw(watch.next(WAIT))

    # When a run of it begins, a task of it moves, and it is paused
    run = started_run(store)
    store.apply([plan(scheduled(run, "extract"))], actor="x")
    store.set_paused("sales", True, actor="ada", now=T0)

    # Then the watcher comes to see all of it, by changes
    now = fetch(store, SALES, T0).to_json()
    _draw_until(watch, shown, lambda json: json == now)
    assert now["runs"][0]["tasks"] == {"extract": "scheduled", "load": "none"}
    assert now["dags"]["sales"][1]
    assert set(shown.kinds) == {"Snapshot", "Change"}


@pytest.mark.parametrize("url", DATABASES, indirect=True)
def test_what_another_process_commits_is_seen_too(url: str, feed: Feed) -> None:
    watch, shown = feed.watch(SALES), Shown()
    shown.draw(watch.next(WAIT))
    other = open_store(url)

    started_run(other)

    _draw_until(watch, shown, lambda json: [run["state"] for run in json["runs"]] == ["running"])
    other.close()


def test_a_next_run_that_nudges_nobody_is_seen_all_the_same(feed: Feed, store: Store) -> None:
    watch, shown = feed.watch(SALES), Shown()
    shown.draw(watch.next(WAIT))

    store.set_next_run("sales", run_after=T0)

    _draw_until(watch, shown, lambda json: json["dags"]["sales"][3] is not None)


def test_fifty_watchers_cost_the_statements_of_one(sqlite_url: str) -> None:
    def statements(watchers: int) -> list[str]:
        """What is sent while a task moves, with so many watching."""
        store = open_store(sqlite_url)
        made, fetched = Feed(store, SystemClock(), fetch), []
        watches = [made.watch(SALES) for _ in range(watchers)]
        for watch in watches:
            assert isinstance(watch.next(WAIT), Snapshot)
        other = open_store(sqlite_url)
        event.listen(
            store._engine,  # type: ignore[attr-defined]
            "before_cursor_execute",
            lambda _, __, statement, *___: fetched.append(statement),
        )
        other.set_paused("sales", watchers == 1, actor="ada", now=T0)
        for watch in watches:
            assert watch.next(WAIT) is not None
        made.close()
        other.close()
        store.close()
        return [statement for statement in fetched if "history_head" not in statement]

    register(open_store(sqlite_url))
    one, fifty = statements(1), statements(50)

    assert one == fifty
    assert 0 < len(one) < 10


def test_the_thread_ends_with_the_last_watcher_and_begins_with_the_next(feed: Feed, store: Store) -> None:
    # Given a watcher who leaves
    with feed.watch(SALES) as watch:
        watch.next(WAIT)
        thread = feed._thread
    assert thread is not None
    thread.join(WAIT)

    # When somebody comes after that
    ended = (thread.is_alive(), feed._thread)
    watch, shown = feed.watch(SALES), Shown()
    store.set_paused("sales", True, actor="ada", now=T0)

    # Then they are told as the first one was
    assert ended == (False, None)
    _draw_until(watch, shown, lambda json: bool(json) and json["dags"]["sales"][1])


def test_a_watcher_who_takes_nothing_blocks_nobody(feed: Feed, store: Store) -> None:
    # Given somebody whose wake is called and who never takes, and somebody who does
    feed.watch(SALES)
    watch, shown = feed.watch(SALES), Shown()

    for paused in (True, False, True):
        store.set_paused("sales", paused, actor="ada", now=T0)
        _draw_until(watch, shown, lambda json, paused=paused: bool(json) and json["dags"]["sales"][1] is paused)  # type: ignore[misc]


def test_a_feed_that_is_closed_ends_its_watches_and_takes_no_more(feed: Feed) -> None:
    watch = feed.watch(SALES)
    got: list[Any] = []
    reader = threading.Thread(target=lambda: got.extend(watch))
    reader.start()

    feed.close()
    reader.join(WAIT)

    assert (reader.is_alive(), [type(message) for message in got], feed._thread) == (False, [Snapshot], None)
    with pytest.raises(NbflowError, match=r"feed was closed"):
        feed.watch(SALES)


def test_a_fetch_that_fails_does_not_end_the_thread(
    store: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    # Given a view that fails when the DAG is paused
    def fetched(store: Store, query: StatesQuery, now: datetime) -> StatesView:
        if store.dags()[0].paused:
            raise RuntimeError("not now")
        return fetch(store, query, now)

    feed = Feed(store, SystemClock(), fetched)
    watch = feed.watch(SALES)
    messages = [watch.next(WAIT)]

    # When that comes and goes
    store.set_paused("sales", True, actor="ada", now=T0)
    messages.append(watch.next(WAIT))
    store.set_paused("sales", False, actor="ada", now=T0)
    while not isinstance(messages[-1], Snapshot):
        messages.append(watch.next(WAIT))

    # Then it was told, and the view goes on whole
    assert {type(message) for message in messages[1:-1]} == {Trouble}
    feed.close()


def test_a_store_that_goes_away_and_comes_back_is_followed_on(
    store: Store, feed: Feed, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    # Given a watcher, and a store that answers nobody
    monkeypatch.setattr(feed_module, "LOOK_SECONDS", 0.01)
    watch, shown = feed.watch(SALES), Shown()
    shown.draw(watch.next(WAIT))
    with monkeypatch.context() as away:

        def gone(*_: Any, **__: Any) -> Any:
            raise StoreError("It does not answer.")

        for name in ("history", "change_token", "runs"):
            away.setattr(store, name, gone)
        message = watch.next(WAIT)

    # When it is back
    store.set_paused("sales", True, actor="ada", now=T0)

    # Then the watcher was told, and sees what is now
    assert isinstance(message, Trouble)
    assert message.error == "It does not answer."
    _draw_until(watch, shown, lambda json: json["dags"]["sales"][1])
