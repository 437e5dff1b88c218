"""One fetch and one patch a query, when something concerns it; nothing lost, whoever is late or fails."""

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
from nbflow.live.shared_views import Change, SharedViews, Snapshot, Trouble, concerned_by
from nbflow.store import open_store
from nbflow.store.base import Cursor, DagImportError, History, Job, Pool, Store
from nbflow.views.backfill import BackfillQuery
from nbflow.views.graph import GraphQuery
from nbflow.views.why_run import WhyRunQuery
from nbflow.views.why_task import WhyTaskQuery
from tests.live.views import T0, Hands, Shown, StatesQuery, StatesView, fetch
from tests.store.worlds import a_run, after, dispatch, plan, queued, register, run_move, scheduled, spec, started_run

EVERYTHING = StatesQuery()
SALES = StatesQuery(dag_id="sales")
JOB = Job(job_id="j", kind="scheduler", hostname="h", pid=1, started_at=T0, heartbeat_at=T0)


@dataclass
class Counting:
    """Fetches views, and keeps which."""

    fetched: list[Any]
    error: Exception | None = None

    def fetch(self, store: Store, query: Any, now: datetime) -> StatesView:
        self.fetched.append(query)
        if self.error is not None:
            raise self.error
        return fetch(store, query, now)


@pytest.fixture
def store() -> Store:
    made = open_store("memory://")
    register(made)
    register(made, spec(dag_id="other"))
    return made


@pytest.fixture
def clock() -> Hands:
    return Hands()


@pytest.fixture
def counting() -> Counting:
    return Counting([])


@pytest.fixture
def views(store: Store, clock: Hands, counting: Counting) -> SharedViews:
    return SharedViews(store, clock, counting.fetch)


def test_a_watch_begins_with_the_whole_view_and_goes_on_with_changes(views: SharedViews, store: Store) -> None:
    # Given somebody who watches a DAG
    run = started_run(store)
    watch, shown = views.watch(SALES), Shown()
    shown.draw(watch.take())

    # When a task of it moves
    store.apply([plan(scheduled(run, "extract"))], actor="x")
    views.look()
    shown.draw(watch.take())

    # Then they see it, by a patch that holds no more than that
    [_, change] = shown.messages
    assert isinstance(change, Change)
    assert change.patch == [{"op": "set", "path": ["runs", "r1", "tasks", "extract"], "value": "scheduled"}]
    assert shown.json == fetch(store, SALES, T0).to_json()
    assert watch.take() is None


def test_all_who_watch_a_query_share_its_fetches_and_patches(
    views: SharedViews, store: Store, counting: Counting
) -> None:
    # Given fifty who watch equal queries
    run = started_run(store)
    watches = [views.watch(StatesQuery(dag_id="sales")) for _ in range(50)]
    first = [watch.take() for watch in watches]

    # When something changes twice
    for task in ("extract", "load"):
        store.apply([plan(scheduled(run, task))], actor="x")
        views.look()
        taken = [watch.take() for watch in watches]
        assert all(one.patch is taken[0].patch for one in taken)  # type: ignore[union-attr]

    # Then the view was fetched once for all at first and after each change, and all were given the same patches
    assert {type(message) for message in first} == {Snapshot}
    assert counting.fetched == [SALES] * 3


# ------------------------------------------------------------------------------------------------ what concerns whom


def test_an_event_fetches_only_what_it_concerns(views: SharedViews, store: Store, counting: Counting) -> None:
    # Given watchers of all, of two DAGs, and of two runs of one DAG
    one, two = started_run(store, a_run("r1", 0)), started_run(store, a_run("r2", 1))
    queries = [EVERYTHING, SALES, StatesQuery(dag_id="other")]
    queries += [StatesQuery(dag_id="sales", run_id=run.run_id) for run in (one, two)]
    for query in queries:
        views.watch(query)
    counting.fetched.clear()

    # When a task of the first run moves
    store.apply([plan(scheduled(one, "extract"))], actor="x")
    views.look()

    # Then neither the other DAG nor the other run is looked at
    assert counting.fetched == [EVERYTHING, SALES, StatesQuery(dag_id="sales", run_id="r1")]


def test_what_may_wait_for_others_is_concerned_by_all() -> None:
    """A task may wait for the slot that another DAG's task holds."""
    other = RunKey("other", "r1")

    assert concerned_by(WhyTaskQuery(dag_id="sales", run_id="r1", task_id="t"), other)
    assert concerned_by(WhyRunQuery(dag_id="sales", run_id="r1"), other)
    assert not concerned_by(GraphQuery(dag_id="sales", run_id="r1"), other)
    assert concerned_by(BackfillQuery(backfill_id=1), other)


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
def test_a_change_that_the_history_does_not_tell_is_seen(
    views: SharedViews, store: Store, change: Callable[[Store], Any]
) -> None:
    watch, shown = views.watch(SALES), Shown()
    shown.draw(watch.take())

    change(store)
    views.look()
    shown.draw(watch.take())

    assert shown.kinds == ["Snapshot", "Change"]
    assert shown.json == fetch(store, SALES, T0).to_json()


def test_where_nothing_happened_one_statement_is_all(views: SharedViews, store: Store, counting: Counting) -> None:
    watch = views.watch(SALES)
    watch.take()
    store.put_job(replace(JOB, heartbeat_at=after(1)))

    views.look()
    views.look()

    assert (counting.fetched, watch.take()) == ([SALES], None)


def test_a_change_that_does_not_show_is_no_message(views: SharedViews, store: Store, counting: Counting) -> None:
    watch = views.watch(SALES)
    watch.take()
    store.set_variable("k", "v", actor="ada", now=T0)

    views.look()

    assert (counting.fetched, watch.take()) == ([SALES, SALES], None)


def test_a_view_that_changes_by_time_is_fetched_at_its_time(store: Store, clock: Hands) -> None:
    # Given a view that looks different after half a minute
    def by_time(_: Store, __: Any, now: datetime) -> StatesView:
        return StatesView(dags={"alive": now < after(30)}, wake_at=after(30))

    views = SharedViews(store, clock, by_time)
    watch = views.watch(EVERYTHING)
    watch.take()
    views.look()
    before = (views.due(), watch.take())

    # When its time has come
    clock.pass_by(30)
    due = views.due()
    views.look()

    # Then it is fetched though nothing was committed
    assert before == (False, None)
    assert due
    change = [{"op": "set", "path": ["dags", "alive"], "value": False}]
    assert watch.take() == Change(patch=change, view=by_time(store, 0, after(30)), cursor=store.history_end())


# ------------------------------------------------------------------------------------------- who is late, who leaves


def test_who_was_late_is_given_one_patch_to_the_newest(views: SharedViews, store: Store) -> None:
    # Given somebody who does not look while much happens
    run = started_run(store)
    watch, shown = views.watch(SALES), Shown()
    shown.draw(watch.take())
    for task in ("extract", "load"):
        store.apply([plan(scheduled(run, task))], actor="x")
        views.look()
    store.apply([plan(queued(run, "extract"))], actor="x")
    views.look()

    # When they look again
    shown.draw(watch.take())

    # Then one patch leads there
    assert shown.kinds == ["Snapshot", "Change"]
    assert shown.json == fetch(store, SALES, T0).to_json()
    assert watch.take() is None


def test_who_was_late_for_what_came_and_went_is_told_nothing(views: SharedViews, store: Store) -> None:
    watch = views.watch(SALES)
    watch.take()
    for paused in (True, False):
        store.set_paused("sales", paused, actor="ada", now=T0)
        views.look()

    assert watch.take() is None


def test_the_last_one_to_leave_ends_the_work(views: SharedViews, store: Store, counting: Counting) -> None:
    # Given two who watch, one of whom leaves
    run = started_run(store)
    with views.watch(SALES), views.watch(SALES):
        pass

    # When something happens after both are gone
    still = views.watched
    store.apply([plan(scheduled(run, "extract"))], actor="x")
    views.look()

    # Then it is not fetched, and who comes next begins anew
    assert (still, counting.fetched) == (False, [SALES])
    message = views.watch(SALES).take()
    assert isinstance(message, Snapshot)
    assert message.json == fetch(store, SALES, T0).to_json()


def test_a_closed_watch_ends_whoever_waits_for_it(views: SharedViews) -> None:
    watch = views.watch(SALES)
    messages = iter(watch)
    next(messages)

    watch.close()

    assert (list(messages), watch.next()) == ([], None)


def test_a_wake_that_fails_keeps_nobody_else_from_being_told(
    views: SharedViews, store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    def broken() -> None:
        raise RuntimeError("the loop is closed")

    woken: list[int] = []
    views.watch(SALES, broken)
    views.watch(SALES, lambda: woken.append(1))
    woken.clear()
    store.set_paused("sales", True, actor="ada", now=T0)

    views.look()

    assert woken == [1]
    assert "Error in a watcher's wake callback" in caplog.text


# ------------------------------------------------------------------------------------------------------ what goes wrong


def test_a_fetch_that_fails_is_told_and_tried_again(
    views: SharedViews, counting: Counting, clock: Hands, caplog: pytest.LogCaptureFixture
) -> None:
    # Given a view that cannot be fetched after a while
    watch = views.watch(SALES)
    first = watch.take()
    counting.error = NbflowError("No such DAG.", hint="See: %dag list.")
    views.store.set_paused("sales", True, actor="ada", now=T0)

    # When it is looked at again and again, and time passes
    views.look()
    told = [watch.take()]
    views.look()
    told.append(watch.take())
    clock.pass_by(1)
    views.look()
    told.append(watch.take())

    # Then it was tried twice, its watcher was told each time, and the log once
    text = "No such DAG. See: %dag list."
    assert told == [
        Trouble(error=text, retry_at=after(1)),
        None,
        Trouble(error=text, retry_at=after(1) + timedelta(seconds=2)),
    ]
    assert (len(counting.fetched), [r.levelno for r in caplog.records]) == (3, [logging.WARNING])

    # And when it can be fetched again, then it goes on with the whole view
    counting.error = None
    clock.pass_by(2)
    views.look()
    again = watch.take()
    assert isinstance(first, Snapshot)
    assert isinstance(again, Snapshot)
    assert (again.json["dags"]["sales"][1], watch.take()) == (True, None)


def test_a_first_fetch_that_fails_is_told_too(views: SharedViews, counting: Counting, clock: Hands) -> None:
    counting.error = ZeroDivisionError("division by zero")

    watch = views.watch(SALES)
    told = watch.take()
    counting.error = None
    clock.pass_by(1)
    views.look()

    assert told == Trouble(error="ZeroDivisionError: division by zero", retry_at=after(1))
    assert isinstance(watch.take(), Snapshot)


def test_one_view_that_fails_does_not_stop_the_others(store: Store) -> None:
    class Unreadable(StatesView):
        def to_json(self) -> dict[str, Any]:
            raise RuntimeError("no")

    def fetched(store: Store, query: StatesQuery, now: datetime) -> StatesView:
        return Unreadable(dags={}) if query.dag_id == "other" else fetch(store, query, now)

    views = SharedViews(store, Hands(), fetched)
    bad, good = views.watch(StatesQuery(dag_id="other")), views.watch(SALES)
    good.take()
    store.set_paused("sales", True, actor="ada", now=T0)

    views.look()

    assert (type(bad.take()), type(good.take())) == (Trouble, Change)


def test_a_store_that_does_not_answer_is_trouble_for_all_until_it_does(
    views: SharedViews, store: Store, clock: Hands, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given two views, and a store that goes away
    watches = [views.watch(SALES), views.watch(EVERYTHING)]
    for watch in watches:
        watch.take()
    with monkeypatch.context() as away:

        def gone(*_: Any, **__: Any) -> Any:
            raise StoreError("It does not answer.")

        away.setattr(store, "history", gone)
        away.setattr(store, "runs", gone)
        views.look()
        views.look()
        told = [watch.take() for watch in watches]

    # When it is there again, and something was committed meanwhile
    store.set_paused("sales", True, actor="ada", now=T0)
    clock.pass_by(1)
    views.look()

    # Then both were told, once, and see what is now
    assert told == [Trouble(error="It does not answer.", retry_at=after(1))] * 2
    assert [watch.take().json["dags"]["sales"][1] for watch in watches] == [True, True]  # type: ignore[union-attr]


def test_a_history_that_was_cut_fetches_all_anew(views: SharedViews, store: Store, counting: Counting) -> None:
    # Given a watcher, and history that nobody has read when it is deleted
    watch, shown = views.watch(SALES), Shown()
    shown.draw(watch.take())
    run = started_run(store, a_run("r1", 0, run_type="manual"))
    _end(store, run)
    store.prune(before=after(1))
    started_run(store, a_run("r2", 1))

    # When it is looked at
    views.look()
    shown.draw(watch.take())

    # Then the view is whole, and the feed goes on
    assert shown.json == fetch(store, SALES, T0).to_json()
    views.look()
    assert (len(counting.fetched), watch.take()) == (2, None)


def test_what_the_feed_reads_while_another_thread_fetches_is_not_forgotten(store: Store, clock: Hands) -> None:
    # Given a view whose first fetch is slow: something is committed after it read, and the feed's thread has seen that
    def slowly(store: Store, query: StatesQuery, now: datetime) -> StatesView:
        view = fetch(store, query, now)
        if not store.dags()[0].paused:
            store.set_paused("other", True, actor="ada", now=T0)
            views._read_history()
        return view

    views = SharedViews(store, clock, slowly)
    watch, shown = views.watch(EVERYTHING), Shown()
    shown.draw(watch.take())

    # When the feed looks again, though nothing more was committed
    views.look()
    shown.draw(watch.take())

    # Then it fetches the view again
    assert shown.json == fetch(store, EVERYTHING, T0).to_json()
    assert shown.json["dags"]["other"][1]


def test_more_events_than_a_page_are_not_read_one_by_one(
    views: SharedViews, store: Store, counting: Counting, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nbflow.live.shared_views.PAGE", 3)
    other = views.watch(StatesQuery(dag_id="other"))
    other.take()
    for day in range(3):
        started_run(store, a_run(f"r{day}", day))

    views.look()
    views.look()

    assert counting.fetched == [StatesQuery(dag_id="other")] * 2


# ----------------------------------------------------------------------------------------------- whatever may happen

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
    over = run_move(run, RunState.RUNNING, RunState.SUCCESS, RunCause.ALL_TASKS_DONE, changes=changes)
    store.apply([over], actor="scheduler")


class World:
    """A store to which things happen; some of them while it is being read, as from other threads and processes."""

    def __init__(self) -> None:
        self.store = open_store("memory://")
        self.views = SharedViews(_Busy(self), Hands(), self.fetch)  # type: ignore[arg-type]
        self.at = 0
        self.meanwhile: list[tuple[str, int]] = []
        register(self.store)
        register(self.store, spec(dag_id="other"))

    def fetch(self, _: Any, query: Any, now: datetime) -> StatesView:
        return self.amid(lambda: fetch(self.store, query, now))

    def amid(self, read: Callable[[], Any]) -> Any:
        """Something may happen before and after."""
        self.let_happen()
        found = read()
        self.let_happen()
        return found

    def let_happen(self) -> None:
        if self.meanwhile:
            what, which = self.meanwhile.pop()
            if which % 3:
                self.happen(what, which)
            else:  # the feed's thread reads the history while another one fetches a view
                self.views._read_history()

    def happen(self, what: str, which: int) -> None:
        self.at += 1
        dag_id = ("sales", "other")[which % 2]
        runs = self.store.runs(dag_id, limit=100)
        run = runs[which % len(runs)] if runs else None
        store, now = self.store, after(self.at)
        try:
            match what:
                case "run":
                    started_run(store, a_run(f"{dag_id}{self.at}", self.at, dag_id=dag_id, run_type="manual"))
                case "pause":
                    store.set_paused(dag_id, which % 3 == 0, actor="x", now=now)
                case "version":
                    register(store, spec("extract", "load", f"t{which}", dag_id=dag_id))
                case "job":
                    store.put_job(replace(JOB, job_id=f"j{which}", ended_at=now if which % 2 else None))
                case "next run":
                    store.set_next_run(dag_id, run_after=now)
                case "pool":
                    store.set_pool(Pool(name="p", slots=which), actor="x", now=now)
                case "prune":
                    store.prune(before=now)
                case "delete":
                    store.delete_dag(dag_id, actor="x", now=now)
                    register(store, spec(dag_id=dag_id))
                case "schedule" if run:
                    store.apply([plan(scheduled(run.key, ("extract", "load")[which % 2]))], actor="x")
                case "dispatch" if run:
                    dispatch(store, run.key, ("load", "extract")[which % 2])
                case "end run" if run:
                    _end(store, run.key)
        except NbflowError:  # it was not possible just now: a running run of the DAG, a task that has moved on
            pass


@dataclass
class _Busy:
    """A store in which something may happen before and after each reading of the history."""

    world: World

    def history(self, after: Cursor, *, limit: int) -> History:
        found: History = self.world.amid(lambda: self.world.store.history(after, limit=limit))
        return found

    def history_end(self) -> Cursor:
        found: Cursor = self.world.amid(self.world.store.history_end)
        return found


happenings = st.tuples(st.sampled_from(OPERATIONS), st.integers(0, 11))
steps = st.one_of(
    happenings.map(lambda happening: ("happen", happening)),
    happenings.map(lambda happening: ("meanwhile", happening)),
    st.just(("look", None)),
    st.tuples(st.just("take"), st.integers(0, 9)),
    st.tuples(st.just("come"), st.integers(0, 4)),
    st.tuples(st.just("leave"), st.integers(0, 9)),
)
QUERIES = (
    EVERYTHING,
    SALES,
    StatesQuery(dag_id="other"),
    StatesQuery(dag_id="sales", run_id="sales1"),
    StatesQuery(dag_id="other", run_id="other3"),
)


@settings(max_examples=200)
@given(st.lists(steps, min_size=20, max_size=80))
def test_patches_lead_from_the_first_snapshot_to_what_is(taken: list[tuple[str, Any]]) -> None:
    # Given watchers that come, look, are late and leave, while anything is committed at any moment
    world = World()
    views = world.views
    watches = [(query, views.watch(query), Shown()) for query in QUERIES]
    for what, which in taken:
        match what:
            case "happen":
                world.happen(*which)
            case "meanwhile":
                world.meanwhile.append(which)
            case "look":
                views.look()
            case "come":
                watches.append((QUERIES[which], views.watch(QUERIES[which]), Shown()))
            case "take" if watches:
                _, watch, shown = watches[which % len(watches)]
                shown.draw(watch.take())
            case "leave" if watches:
                watches.pop(which % len(watches))[1].close()

    # When nothing more happens, and all have looked
    world.meanwhile.clear()
    views.look()
    for _, watch, shown in watches:
        shown.draw(watch.take())

    # Then each sees exactly what a fetch gives now, and was given one snapshot
    for query, watch, shown in watches:
        assert shown.json == fetch(world.store, query, T0).to_json()
        assert (shown.kinds.count("Snapshot"), watch.take()) == (1, None)


def test_the_operations_of_the_property_do_something() -> None:
    """A property over operations that all fail would prove nothing."""
    world = World()
    did = {}
    for what in OPERATIONS:
        before = world.store.history_end()
        world.happen(what, 0)
        did[what] = world.store.history_end() != before
    assert did == dict.fromkeys(OPERATIONS, True)
