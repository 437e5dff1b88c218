"""One fetch and one patch per query and relevant change; no change is lost, also for slow watchers and after errors."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nbflow.core.snapshot import RunKey
from nbflow.core.states import RunCause, RunState
from nbflow.errors import NbflowError, StoreError
from nbflow.live.shared_views import Change, FetchError, SharedViews, Snapshot, affects
from nbflow.store import open_store
from nbflow.store.base import Cursor, DagImportError, History, Job, Pool, Store
from nbflow.views.backfill import BackfillQuery
from nbflow.views.graph import GraphQuery
from nbflow.views.why_run import WhyRunQuery
from nbflow.views.why_task import WhyTaskQuery
from tests.live.views import T0, Client, ManualClock, StatesQuery, StatesView, fetch
from tests.store.worlds import a_run, after, dispatch, plan, queued, register, run_move, scheduled, spec, started_run

ALL = StatesQuery()
SALES = StatesQuery(dag_id="sales")
JOB = Job(job_id="j", kind="scheduler", hostname="h", pid=1, started_at=T0, heartbeat_at=T0)


@dataclass
class RecordingFetch:
    """Fetches views, and records their queries."""

    queries: list[Any]
    error: Exception | None = None

    def fetch(self, store: Store, query: Any, now: datetime) -> StatesView:
        self.queries.append(query)
        if self.error is not None:
            raise self.error
        return fetch(store, query, now)


@pytest.fixture
def store() -> Store:
    opened = open_store("memory://")
    register(opened)
    register(opened, spec(dag_id="other"))
    return opened


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def fetches() -> RecordingFetch:
    return RecordingFetch([])


@pytest.fixture
def views(store: Store, clock: ManualClock, fetches: RecordingFetch) -> SharedViews:
    return SharedViews(store, clock, fetches.fetch)


def test_a_watch_receives_a_snapshot_and_then_changes(views: SharedViews, store: Store) -> None:
    # Given a watch of a DAG
    run = started_run(store)
    watch, client = views.watch(SALES), Client()
    client.receive(watch.take())

    # When a task changes its state
    store.apply([plan(scheduled(run, "extract"))], actor="x")
    views.poll()
    client.receive(watch.take())

    # Then the watch receives a patch with that change alone
    [_, change] = client.messages
    assert isinstance(change, Change)
    assert change.patch == [{"op": "set", "path": ["runs", "r1", "tasks", "extract"], "value": "scheduled"}]
    assert client.json == fetch(store, SALES, T0).to_json()
    assert watch.take() is None


def test_all_watches_of_a_query_share_its_fetches_and_patches(
    views: SharedViews, store: Store, fetches: RecordingFetch
) -> None:
    # Given fifty watches of equal queries
    run = started_run(store)
    watches = [views.watch(StatesQuery(dag_id="sales")) for _ in range(50)]
    first = [watch.take() for watch in watches]

    # When the view changes twice
    for task in ("extract", "load"):
        store.apply([plan(scheduled(run, task))], actor="x")
        views.poll()
        taken = [watch.take() for watch in watches]
        assert all(change.patch is taken[0].patch for change in taken)  # type: ignore[union-attr]

    # Then the view was fetched once at first and once per change, and all received the same patches
    assert {type(message) for message in first} == {Snapshot}
    assert fetches.queries == [SALES] * 3


# ------------------------------------------------------------------------------------------------------- affected views


def test_an_event_fetches_only_the_views_that_it_affects(
    views: SharedViews, store: Store, fetches: RecordingFetch
) -> None:
    # Given watches of all DAGs, of two DAGs, and of two runs of one DAG
    one, two = started_run(store, a_run("r1", 0)), started_run(store, a_run("r2", 1))
    queries = [ALL, SALES, StatesQuery(dag_id="other")]
    queries += [StatesQuery(dag_id="sales", run_id=run.run_id) for run in (one, two)]
    for query in queries:
        views.watch(query)
    fetches.queries.clear()

    # When a task of the first run changes its state
    store.apply([plan(scheduled(one, "extract"))], actor="x")
    views.poll()

    # Then neither the other DAG nor the other run is fetched
    assert fetches.queries == [ALL, SALES, StatesQuery(dag_id="sales", run_id="r1")]


def test_views_of_reasons_are_affected_by_all_runs() -> None:
    """A task may wait for the slot that another DAG's task holds."""
    other = RunKey("other", "r1")

    assert affects(other, WhyTaskQuery(dag_id="sales", run_id="r1", task_id="t"))
    assert affects(other, WhyRunQuery(dag_id="sales", run_id="r1"))
    assert not affects(other, GraphQuery(dag_id="sales", run_id="r1"))
    assert affects(other, BackfillQuery(backfill_id=1))


@pytest.mark.parametrize(
    "change",
    [
        lambda store: store.set_paused("sales", True, actor="ada", now=T0),
        lambda store: store.put_import_errors("/f.py", [DagImportError(fileloc="/f.py", line=1, error="E")], now=T0),
        lambda store: register(store, spec("a", "b")),
        lambda store: store.put_job(JOB),
        lambda store: store.set_next_run("sales", run_after=after(60)),
        lambda store: store.set_pool(Pool(name="p", slots=1), actor="ada", now=T0),
    ],
    ids=["pause", "import error", "version", "job", "next run", "pool"],
)
def test_a_change_outside_the_history_is_a_change_of_the_view(
    views: SharedViews, store: Store, change: Callable[[Store], Any]
) -> None:
    watch, client = views.watch(SALES), Client()
    client.receive(watch.take())

    change(store)
    views.poll()
    client.receive(watch.take())

    assert client.kinds == ["Snapshot", "Change"]
    assert client.json == fetch(store, SALES, T0).to_json()


def test_without_a_change_nothing_is_fetched(views: SharedViews, store: Store, fetches: RecordingFetch) -> None:
    watch = views.watch(SALES)
    watch.take()
    store.put_job(replace(JOB, heartbeat_at=after(1)))

    views.poll()
    views.poll()

    assert (fetches.queries, watch.take()) == ([SALES], None)


def test_a_change_that_does_not_change_the_view_is_no_message(
    views: SharedViews, store: Store, fetches: RecordingFetch
) -> None:
    watch = views.watch(SALES)
    watch.take()
    store.set_variable("k", "v", actor="ada", now=T0)

    views.poll()

    assert (fetches.queries, watch.take()) == ([SALES, SALES], None)


def test_a_view_that_changes_with_time_is_fetched_at_its_wake_at(store: Store, clock: ManualClock) -> None:
    # Given a view that changes after half a minute
    def by_time(_: Store, __: Any, now: datetime) -> StatesView:
        return StatesView(dags={"alive": now < after(30)}, wake_at=after(30))

    views = SharedViews(store, clock, by_time)
    watch = views.watch(ALL)
    watch.take()
    views.poll()
    before = (views.due(), watch.take())

    # When that time has passed
    clock.advance(30)
    due = views.due()
    views.poll()

    # Then it is fetched without a commit
    assert before == (False, None)
    assert due
    change = [{"op": "set", "path": ["dags", "alive"], "value": False}]
    assert watch.take() == Change(patch=change, view=by_time(store, 0, after(30)), cursor=store.history_end())


# ---------------------------------------------------------------------------------------------- slow and closed watches


def test_a_slow_watch_receives_one_patch_to_the_newest_view(views: SharedViews, store: Store) -> None:
    # Given a watch from which no message is taken during three changes
    run = started_run(store)
    watch, client = views.watch(SALES), Client()
    client.receive(watch.take())
    for task in ("extract", "load"):
        store.apply([plan(scheduled(run, task))], actor="x")
        views.poll()
    store.apply([plan(queued(run, "extract"))], actor="x")
    views.poll()

    # When the next message is taken
    client.receive(watch.take())

    # Then it is one patch to the newest view
    assert client.kinds == ["Snapshot", "Change"]
    assert client.json == fetch(store, SALES, T0).to_json()
    assert watch.take() is None


def test_a_slow_watch_receives_nothing_for_a_change_that_was_reverted(views: SharedViews, store: Store) -> None:
    watch = views.watch(SALES)
    watch.take()
    for paused in (True, False):
        store.set_paused("sales", paused, actor="ada", now=T0)
        views.poll()

    assert watch.take() is None


def test_a_view_without_watches_is_not_fetched(views: SharedViews, store: Store, fetches: RecordingFetch) -> None:
    # Given two watches that are closed
    run = started_run(store)
    with views.watch(SALES), views.watch(SALES):
        pass

    # When the view changes afterwards
    watched = views.watched
    store.apply([plan(scheduled(run, "extract"))], actor="x")
    views.poll()

    # Then it is not fetched, and the next watch receives a snapshot
    assert (watched, fetches.queries) == (False, [SALES])
    message = views.watch(SALES).take()
    assert isinstance(message, Snapshot)
    assert message.json == fetch(store, SALES, T0).to_json()


def test_closing_a_watch_ends_its_iterator(views: SharedViews) -> None:
    watch = views.watch(SALES)
    messages = iter(watch)
    next(messages)

    watch.close()

    assert (list(messages), watch.next()) == ([], None)


def test_an_error_in_wake_does_not_affect_other_watches(
    views: SharedViews, store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    def broken() -> None:
        raise RuntimeError("the loop is closed")

    woken: list[int] = []
    views.watch(SALES, broken)
    views.watch(SALES, lambda: woken.append(1))
    woken.clear()
    store.set_paused("sales", True, actor="ada", now=T0)

    views.poll()

    assert woken == [1]
    assert "Error in a watcher's wake callback" in caplog.text


# --------------------------------------------------------------------------------------------------------------- errors


def test_a_failed_fetch_is_a_message_and_is_retried(
    views: SharedViews, fetches: RecordingFetch, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    # Given a view that was fetched once and then cannot be fetched
    watch = views.watch(SALES)
    first = watch.take()
    fetches.error = NbflowError("No such DAG.", hint="See: %dag list.")
    views.store.set_paused("sales", True, actor="ada", now=T0)

    # When the feed polls twice, and once more after the retry delay
    views.poll()
    messages = [watch.take()]
    views.poll()
    messages.append(watch.take())
    clock.advance(1)
    views.poll()
    messages.append(watch.take())

    # Then it was retried once, with a message for each failure and one log record
    text = "No such DAG. See: %dag list."
    assert messages == [
        FetchError(error=text, retry_at=after(1)),
        None,
        FetchError(error=text, retry_at=after(1) + timedelta(seconds=2)),
    ]
    assert (len(fetches.queries), [r.levelno for r in caplog.records]) == (3, [logging.WARNING])

    # And when it can be fetched again, the next message is a snapshot
    fetches.error = None
    clock.advance(2)
    views.poll()
    again = watch.take()
    assert isinstance(first, Snapshot)
    assert isinstance(again, Snapshot)
    assert (again.json["dags"]["sales"][1], watch.take()) == (True, None)


def test_a_failed_first_fetch_is_a_message(views: SharedViews, fetches: RecordingFetch, clock: ManualClock) -> None:
    fetches.error = ZeroDivisionError("division by zero")

    watch = views.watch(SALES)
    message = watch.take()
    fetches.error = None
    clock.advance(1)
    views.poll()

    assert message == FetchError(error="ZeroDivisionError: division by zero", retry_at=after(1))
    assert isinstance(watch.take(), Snapshot)


def test_an_error_in_one_view_does_not_affect_others(store: Store) -> None:
    class Unreadable(StatesView):
        def to_json(self) -> dict[str, Any]:
            raise RuntimeError("no")

    def fetch_or_fail(store: Store, query: StatesQuery, now: datetime) -> StatesView:
        return Unreadable(dags={}) if query.dag_id == "other" else fetch(store, query, now)

    views = SharedViews(store, ManualClock(), fetch_or_fail)
    failing, good = views.watch(StatesQuery(dag_id="other")), views.watch(SALES)
    good.take()
    store.set_paused("sales", True, actor="ada", now=T0)

    views.poll()

    assert (type(failing.take()), type(good.take())) == (FetchError, Change)


def test_a_metastore_that_does_not_respond_is_a_fetch_error_of_all_views(
    views: SharedViews, store: Store, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given two views, and a metastore that does not respond
    watches = [views.watch(SALES), views.watch(ALL)]
    for watch in watches:
        watch.take()
    with monkeypatch.context() as outage:

        def fail(*_: Any, **__: Any) -> Any:
            raise StoreError("The metastore does not respond.")

        outage.setattr(store, "history", fail)
        outage.setattr(store, "runs", fail)
        views.poll()
        views.poll()
        messages = [watch.take() for watch in watches]

    # When it responds again after a commit
    store.set_paused("sales", True, actor="ada", now=T0)
    clock.advance(1)
    views.poll()

    # Then both received one error, and then the current view
    assert messages == [FetchError(error="The metastore does not respond.", retry_at=after(1))] * 2
    assert [watch.take().json["dags"]["sales"][1] for watch in watches] == [True, True]  # type: ignore[union-attr]


def test_all_views_are_fetched_after_unread_history_was_pruned(
    views: SharedViews, store: Store, fetches: RecordingFetch
) -> None:
    # Given a watch, and events that are deleted before the feed has read them
    watch, client = views.watch(SALES), Client()
    client.receive(watch.take())
    run = started_run(store, a_run("r1", 0, run_type="manual"))
    _end(store, run)
    store.prune(before=after(1))
    started_run(store, a_run("r2", 1))

    # When the feed polls
    views.poll()
    client.receive(watch.take())

    # Then the view is complete, and the feed continues
    assert client.json == fetch(store, SALES, T0).to_json()
    views.poll()
    assert (len(fetches.queries), watch.take()) == (2, None)


def test_events_that_the_feed_reads_during_a_fetch_make_the_view_stale(store: Store, clock: ManualClock) -> None:
    # Given a slow first fetch: after its statements there is a commit, which the thread of the feed reads at once
    def fetch_slowly(store: Store, query: StatesQuery, now: datetime) -> StatesView:
        view = fetch(store, query, now)
        if not store.dags()[0].paused:
            store.set_paused("other", True, actor="ada", now=T0)
            views._read_history()
        return view

    views = SharedViews(store, clock, fetch_slowly)
    watch, client = views.watch(ALL), Client()
    client.receive(watch.take())

    # When the feed polls without a further commit
    views.poll()
    client.receive(watch.take())

    # Then it fetches the view again
    assert client.json == fetch(store, ALL, T0).to_json()
    assert client.json["dags"]["other"][1]


def test_all_views_are_fetched_after_the_maximum_number_of_events(
    views: SharedViews, store: Store, fetches: RecordingFetch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nbflow.live.shared_views.MAX_EVENTS", 3)
    other = views.watch(StatesQuery(dag_id="other"))
    other.take()
    for day in range(3):
        started_run(store, a_run(f"r{day}", day))

    views.poll()
    views.poll()

    assert fetches.queries == [StatesQuery(dag_id="other")] * 2


# ------------------------------------------------------------------------------------------- any sequence of operations

OPERATIONS = (
    "run",
    "schedule",
    "dispatch",
    "end run",
    "pause",
    "version",
    "job",
    "next run",
    "pool",
    "prune",
    "delete",
)


def _end(store: Store, run: RunKey) -> None:
    changes = {"end_date": T0}
    end = run_move(run, RunState.RUNNING, RunState.SUCCESS, RunCause.ALL_TASKS_DONE, changes=changes)
    store.apply([end], actor="scheduler")


class World:
    """A store on which operations are executed, some of them during reads, as by other threads and processes."""

    def __init__(self) -> None:
        self.store = open_store("memory://")
        self.views = SharedViews(_InterleavedStore(self), ManualClock(), self.fetch)  # type: ignore[arg-type]
        self.at = 0
        self.pending: list[tuple[str, int]] = []
        register(self.store)
        register(self.store, spec(dag_id="other"))

    def fetch(self, _: Any, query: Any, now: datetime) -> StatesView:
        return self.interleave(lambda: fetch(self.store, query, now))

    def interleave(self, read: Callable[[], Any]) -> Any:
        """Execute a pending operation before and after a read."""
        self.execute_pending()
        result = read()
        self.execute_pending()
        return result

    def execute_pending(self) -> None:
        if self.pending:
            operation, number = self.pending.pop()
            if number % 3:
                self.execute(operation, number)
            else:  # the thread of the feed reads the history while another thread fetches a view
                self.views._read_history()

    def execute(self, operation: str, number: int) -> None:
        self.at += 1
        dag_id = ("sales", "other")[number % 2]
        runs = self.store.runs(dag_id, limit=100)
        run = runs[number % len(runs)] if runs else None
        store, now = self.store, after(self.at)
        try:
            match operation:
                case "run":
                    started_run(store, a_run(f"{dag_id}{self.at}", self.at, dag_id=dag_id, run_type="manual"))
                case "pause":
                    store.set_paused(dag_id, number % 3 == 0, actor="x", now=now)
                case "version":
                    register(store, spec("extract", "load", f"t{number}", dag_id=dag_id))
                case "job":
                    store.put_job(replace(JOB, job_id=f"j{number}", ended_at=now if number % 2 else None))
                case "next run":
                    store.set_next_run(dag_id, run_after=now)
                case "pool":
                    store.set_pool(Pool(name="p", slots=number), actor="x", now=now)
                case "prune":
                    store.prune(before=now)
                case "delete":
                    store.delete_dag(dag_id, actor="x", now=now)
                    register(store, spec(dag_id=dag_id))
                case "schedule" if run:
                    store.apply([plan(scheduled(run.key, ("extract", "load")[number % 2]))], actor="x")
                case "dispatch" if run:
                    dispatch(store, run.key, ("load", "extract")[number % 2])
                case "end run" if run:
                    _end(store, run.key)
        except NbflowError:  # not possible in the current state: another run is running, or the task has changed
            pass


@dataclass
class _InterleavedStore:
    """A store that executes a pending operation before and after each read of the history."""

    world: World

    def history(self, after: Cursor, *, limit: int) -> History:
        found: History = self.world.interleave(lambda: self.world.store.history(after, limit=limit))
        return found

    def history_end(self) -> Cursor:
        found: Cursor = self.world.interleave(self.world.store.history_end)
        return found


operations = st.tuples(st.sampled_from(OPERATIONS), st.integers(0, 11))
steps = st.one_of(
    operations.map(lambda operation: ("execute", operation)),
    operations.map(lambda operation: ("pend", operation)),
    st.just(("poll", None)),
    st.tuples(st.just("take"), st.integers(0, 9)),
    st.tuples(st.just("watch"), st.integers(0, 4)),
    st.tuples(st.just("close"), st.integers(0, 9)),
)
QUERIES = (
    ALL,
    SALES,
    StatesQuery(dag_id="other"),
    StatesQuery(dag_id="sales", run_id="sales1"),
    StatesQuery(dag_id="other", run_id="other3"),
)


@settings(max_examples=200)
@given(st.lists(steps, min_size=20, max_size=80))
def test_patches_lead_from_the_first_snapshot_to_the_current_view(performed: list[tuple[str, Any]]) -> None:
    # Given watches that are opened, read late and closed, while any operation is executed at any time
    world = World()
    views = world.views
    watches = [(query, views.watch(query), Client()) for query in QUERIES]
    for step, argument in performed:
        match step:
            case "execute":
                world.execute(*argument)
            case "pend":
                world.pending.append(argument)
            case "poll":
                views.poll()
            case "watch":
                watches.append((QUERIES[argument], views.watch(QUERIES[argument]), Client()))
            case "take" if watches:
                _, watch, client = watches[argument % len(watches)]
                client.receive(watch.take())
            case "close" if watches:
                watches.pop(argument % len(watches))[1].close()

    # When all pending changes are read, and all messages taken
    world.pending.clear()
    views.poll()
    for _, watch, client in watches:
        client.receive(watch.take())

    # Then each client has the current view, and received one snapshot
    for query, watch, client in watches:
        assert client.json == fetch(world.store, query, T0).to_json()
        assert (client.kinds.count("Snapshot"), watch.take()) == (1, None)


def test_each_operation_of_the_property_changes_the_metastore() -> None:
    """Otherwise the property would prove nothing."""
    world = World()
    changed = {}
    for operation in OPERATIONS:
        before = world.store.history_end()
        world.execute(operation, 0)
        changed[operation] = world.store.history_end() != before
    assert changed == dict.fromkeys(OPERATIONS, True)
