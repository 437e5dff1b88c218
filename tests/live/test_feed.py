"""The feed's thread: it runs while there are watches, on each store, at the same cost for many watches as for one."""

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
from nbflow.live.shared_views import FetchError, Snapshot, Watch
from nbflow.store import open_store
from nbflow.store.base import Store
from tests.live.views import T0, Client, StatesQuery, StatesView, fetch
from tests.store.worlds import plan, register, scheduled, started_run

SALES = StatesQuery(dag_id="sales")
TIMEOUT = 60.0
"""Timeout in seconds of waits that take milliseconds."""


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
    feed_ = Feed(store, SystemClock(), fetch)
    yield feed_
    feed_.close()


def _receive_until(watch: Watch, client: Client, condition: Callable[[dict[str, Any]], bool]) -> None:
    while not condition(client.json):
        message = watch.next(TIMEOUT)
        assert message is not None, f"no message; the client has {client.json}"
        client.receive(message)


def test_a_watcher_receives_each_commit(feed: Feed, store: Store) -> None:
    # Given a watch of a DAG
    watch, client = feed.watch(SALES), Client()
    client.receive(watch.next(TIMEOUT))

    # When a run of it starts, a task changes its state, and the DAG is paused
    run = started_run(store)
    store.apply([plan(scheduled(run, "extract"))], actor="x")
    store.set_paused("sales", True, actor="ada", now=T0)

    # Then the watch receives all of that as changes
    now = fetch(store, SALES, T0).to_json()
    _receive_until(watch, client, lambda json: json == now)
    assert now["runs"][0]["tasks"] == {"extract": "scheduled", "load": "none"}
    assert now["dags"]["sales"][1]
    assert set(client.kinds) == {"Snapshot", "Change"}


@pytest.mark.parametrize("url", DATABASES, indirect=True)
def test_a_watcher_receives_commits_of_another_process(url: str, feed: Feed) -> None:
    watch, client = feed.watch(SALES), Client()
    client.receive(watch.next(TIMEOUT))
    other = open_store(url)

    started_run(other)

    _receive_until(watch, client, lambda json: [run["state"] for run in json["runs"]] == ["running"])
    other.close()


def test_a_watcher_receives_a_next_run_although_it_sends_no_notification(feed: Feed, store: Store) -> None:
    watch, client = feed.watch(SALES), Client()
    client.receive(watch.next(TIMEOUT))

    store.set_next_run("sales", run_after=T0)

    _receive_until(watch, client, lambda json: json["dags"]["sales"][3] is not None)


def test_fifty_watchers_cost_as_many_statements_as_one(sqlite_url: str) -> None:
    def statements(watchers: int) -> list[str]:
        """The statements that one commit causes with this number of watchers."""
        store = open_store(sqlite_url)
        feed_, fetched = Feed(store, SystemClock(), fetch), []
        watches = [feed_.watch(SALES) for _ in range(watchers)]
        for watch in watches:
            assert isinstance(watch.next(TIMEOUT), Snapshot)
        other = open_store(sqlite_url)
        event.listen(
            store._engine,  # type: ignore[attr-defined]
            "before_cursor_execute",
            lambda _, __, statement, *___: fetched.append(statement),
        )
        other.set_paused("sales", watchers == 1, actor="ada", now=T0)
        for watch in watches:
            assert watch.next(TIMEOUT) is not None
        feed_.close()
        other.close()
        store.close()
        return [statement for statement in fetched if "history_head" not in statement]

    register(open_store(sqlite_url))
    one, fifty = statements(1), statements(50)

    assert one == fifty
    assert 0 < len(one) < 10


def test_the_thread_ends_with_the_last_watch_and_starts_with_the_next(feed: Feed, store: Store) -> None:
    # Given a watch that was closed
    with feed.watch(SALES) as watch:
        watch.next(TIMEOUT)
        thread = feed._thread
    assert thread is not None
    thread.join(TIMEOUT)

    # When there is another watch
    ended = (thread.is_alive(), feed._thread)
    watch, client = feed.watch(SALES), Client()
    store.set_paused("sales", True, actor="ada", now=T0)

    # Then it receives changes
    assert ended == (False, None)
    _receive_until(watch, client, lambda json: bool(json) and json["dags"]["sales"][1])


def test_a_watcher_that_takes_no_message_does_not_block_others(feed: Feed, store: Store) -> None:
    # Given a watch from which no message is taken, and another watch
    feed.watch(SALES)
    watch, client = feed.watch(SALES), Client()

    for paused in (True, False, True):
        store.set_paused("sales", paused, actor="ada", now=T0)
        _receive_until(watch, client, lambda json, paused=paused: bool(json) and json["dags"]["sales"][1] is paused)  # type: ignore[misc]


def test_a_closed_feed_closes_its_watches_and_refuses_new_ones(feed: Feed) -> None:
    watch = feed.watch(SALES)
    messages: list[Any] = []
    reader = threading.Thread(target=lambda: messages.extend(watch))
    reader.start()

    feed.close()
    reader.join(TIMEOUT)

    assert (reader.is_alive(), [type(message) for message in messages], feed._thread) == (False, [Snapshot], None)
    with pytest.raises(NbflowError, match=r"feed was closed"):
        feed.watch(SALES)


def test_a_failed_fetch_does_not_end_the_thread(
    store: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    # Given a view that fails when the DAG is paused
    def fetch_unpaused(store: Store, query: StatesQuery, now: datetime) -> StatesView:
        if store.dags()[0].paused:
            raise RuntimeError("not now")
        return fetch(store, query, now)

    feed = Feed(store, SystemClock(), fetch_unpaused)
    watch = feed.watch(SALES)
    messages = [watch.next(TIMEOUT)]

    # When the DAG is paused and unpaused
    store.set_paused("sales", True, actor="ada", now=T0)
    messages.append(watch.next(TIMEOUT))
    store.set_paused("sales", False, actor="ada", now=T0)
    while not isinstance(messages[-1], Snapshot):
        messages.append(watch.next(TIMEOUT))

    # Then the watch received the error, and afterwards the whole view
    assert {type(message) for message in messages[1:-1]} == {FetchError}
    feed.close()


def test_the_feed_continues_after_the_metastore_did_not_respond(
    store: Store, feed: Feed, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    # Given a watch, and a metastore that does not respond
    monkeypatch.setattr(feed_module, "POLL_SECONDS", 0.01)
    watch, client = feed.watch(SALES), Client()
    client.receive(watch.next(TIMEOUT))
    with monkeypatch.context() as outage:

        def fail(*_: Any, **__: Any) -> Any:
            raise StoreError("The metastore does not respond.")

        for name in ("history", "change_token", "runs"):
            outage.setattr(store, name, fail)
        message = watch.next(TIMEOUT)

    # When it responds again
    store.set_paused("sales", True, actor="ada", now=T0)

    # Then the watch received the error, and afterwards the current view
    assert isinstance(message, FetchError)
    assert message.error == "The metastore does not respond."
    _receive_until(watch, client, lambda json: json["dags"]["sales"][1])
