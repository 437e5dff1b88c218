"""Random sequences of operations on all stores: the results must be equal, and the invariants must hold."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from nbflow.core.plan import AddInstances, DropInstance, Move, Plan, advance
from nbflow.core.snapshot import Instance, Run, RunKey, Snapshot, TaskKey
from nbflow.core.states import LIVE, RUN_TRANSITIONS, TRANSITIONS, RunCause, RunState, TaskState
from nbflow.errors import NbflowError, StaleCursor
from nbflow.store import open_store
from nbflow.store.base import PRUNABLE, Cursor, Store, TaskEvent
from tests.store.conftest import attempt_ids, empty
from tests.store.worlds import LEASE, T0, a_run, add, after, plan, register, run_move, spec, with_task

TASKS = ("a", "b", "c")
DAG = with_task(with_task(spec(*TASKS), "b", depends_on_past=True, pool="small"), "c", pool_slots=2)

EXAMPLES = int(os.environ.get("NBFLOW_STORE_EXAMPLES", "25"))


def result_of(call: Callable[[], Any]) -> Any:
    """The result of the call, or the name of the class of the error that it raises."""
    try:
        return call()
    except (NbflowError, ValueError) as error:
        return type(error).__name__


class EqualStores(RuleBasedStateMachine):
    """``stores`` are opened by the test below; the first is the MemoryStore."""

    stores: list[Store]
    opened: Callable[[], list[Store]]

    def __init__(self) -> None:
        super().__init__()
        self.stores = type(self).opened()
        self.clock = 0
        self.runs: list[RunKey] = []
        self.attempts: list[str] = []
        self.cursors: dict[int, Cursor] = {}
        self.all_stores(lambda store: register(store, DAG))

    def teardown(self) -> None:
        for store in self.stores:
            store.close()

    def all_stores(self, call: Callable[[Store], Any]) -> Any:
        """Call every store; the results must be equal."""
        results = [result_of(lambda store=store: call(store)) for store in self.stores]  # type: ignore[misc]
        for store, other in zip(self.stores[1:], results[1:], strict=True):
            assert other == results[0], f"{store.url} differs from memory"
        return results[0]

    def new_events(self, store: Store) -> list[TaskEvent]:
        """The events of a store since the last step; all events after StaleCursor."""
        cursor = self.cursors.get(id(store))
        try:
            new = store.history(cursor)
        except StaleCursor:
            new = store.history()
        self.cursors[id(store)] = new.cursor
        return list(new.events)

    def now(self) -> Any:
        self.clock += 1
        return after(self.clock)

    def snapshot(self, run: RunKey) -> Snapshot:
        snapshot = self.stores[0].snapshot(run)
        assert snapshot is not None
        return snapshot

    # --- operations
    @rule(day=st.integers(0, 3), kind=st.sampled_from(["scheduled", "manual", "backfill"]), name=st.integers(0, 5))
    def new_run(self, day: int, kind: str, name: int) -> None:
        run = a_run(f"r{name}", day, run_type=kind, queued_at=self.now(), conf={"n": name})
        if isinstance(self.all_stores(lambda store: store.apply([add(run, *TASKS)], actor="scheduler")), list):
            self.runs.append(run.key)

    @precondition(lambda self: self.runs)
    @rule(data=st.data())
    def run_moves(self, data: st.DataObject) -> None:
        run = self.snapshot(data.draw(st.sampled_from(self.runs))).run
        cause = data.draw(st.sampled_from(sorted(RUN_TRANSITIONS[run.state])))
        (target,) = RUN_TRANSITIONS[run.state][cause]
        changes = {"end_date": self.now() if target in ("success", "failed") else None}
        new_plan = run_move(run.key, run.state, target, cause, changes=changes)
        expect = {run.key: run.revision - data.draw(st.sampled_from([0, 0, 0, 1]))}
        self.apply(run.key, new_plan, expect)

    @precondition(lambda self: self.runs)
    @rule(data=st.data(), count=st.integers(1, 4))
    def instances_move(self, data: st.DataObject, count: int) -> None:
        """Several legal moves of a run's instances in one plan, possibly several per instance; some plans are stale."""
        start = self.snapshot(data.draw(st.sampled_from(self.runs)))
        current, ops = start, []
        for _ in range(count):
            ti = current.instances[data.draw(st.sampled_from(sorted(current.instances)))]
            op = self.draw_move(data, current.run, ti)
            if op is not None:
                current, ops = advance(current, [op]), [*ops, op]
        if data.draw(st.integers(0, 9)) == 0 and ops:
            ops.append(ops[0])
        self.apply(start.run.key, Plan(ops=tuple(ops)), None)

    def draw_move(self, data: st.DataObject, run: Run, ti: Instance) -> Move | None:
        if not TRANSITIONS[ti.state]:
            return None
        cause = data.draw(st.sampled_from(sorted(TRANSITIONS[ti.state])))
        target = data.draw(st.sampled_from(sorted(TRANSITIONS[ti.state][cause])))
        at = self.now()
        changes: dict[str, Any] = {"note": data.draw(st.sampled_from([None, "x\x01ä"]))} if cause == "cleared" else {}
        if target not in LIVE:
            changes |= {"attempt_id": None, "end_date": at}
        if target is TaskState.SCHEDULED and ti.state is not TaskState.DEFERRED:
            changes |= {"try_number": ti.try_number + 1, "start_date": None}
        if target is TaskState.RUNNING:
            changes |= {"start_date": at}
        if target is TaskState.SUCCESS:
            changes |= {"skips": ("c",), "length": 2}
        detail: dict[str, Any] = {"error": "E: ä"} if target is TaskState.FAILED else {}
        if target is TaskState.DEFERRED:
            changes |= {"next_method": "go"}
            detail = {"trigger": {"name": "t"}, "kwargs": {"n": 1}, "timeout_at": at.isoformat()}
        if cause == "trigger_fired":
            detail = {"event": [1, "x"]}
        guard = ti.attempt_id if data.draw(st.booleans()) else None
        return Move(
            run=run.key,
            key=ti.key,
            source=ti.state,
            target=target,
            cause=cause,
            at=at,
            changes=changes,
            detail=detail,
            attempt_id=guard,
        )

    @precondition(lambda self: self.runs)
    @rule(data=st.data(), length=st.integers(0, 3))
    def expand(self, data: st.DataObject, length: int) -> None:
        run, task = data.draw(st.sampled_from(self.runs)), data.draw(st.sampled_from(TASKS))
        copies = tuple(Instance(task_id=task, map_index=index) for index in range(length))
        at = self.now()
        drop = DropInstance(run=run, key=TaskKey(task), at=at, length=length)
        self.apply(run, plan(drop, AddInstances(run=run, instances=copies, at=at)), None)

    def apply(self, run: RunKey, new_plan: Plan, expect: dict[RunKey, int] | None) -> None:
        before = self.snapshot(run)
        attempts = self.all_stores(lambda store: store.apply([new_plan], actor="x", expect=expect))
        after_apply = self.snapshot(run)
        if isinstance(attempts, str):
            assert after_apply == before
            return
        self.attempts += [attempt.attempt_id for attempt in attempts]
        assert _without_ids(after_apply) == _without_ids(advance(before, new_plan.ops))

    @precondition(lambda self: self.attempts)
    @rule(data=st.data(), owner=st.sampled_from(["one", "two"]))
    def worker(self, data: st.DataObject, owner: str) -> None:
        attempt, now = data.draw(st.sampled_from(self.attempts)), self.now()
        match data.draw(st.sampled_from(["claim", "beat", "xcom", "rendered", "process"])):
            case "claim":
                self.all_stores(lambda store: store.claim(attempt, owner=owner, hostname="h", lease=LEASE, now=now))
            case "beat":
                ids = sorted({*self.attempts[:3], attempt})
                self.all_stores(lambda store: store.heartbeat(ids, owner=owner, lease=LEASE, now=now))
            case "xcom":
                self.all_stores(lambda store: store.xcom_push(attempt, owner, f'"{attempt}"', now=now))
            case "rendered":
                self.all_stores(lambda store: store.put_rendered(attempt, {"by": attempt}))
            case "process":
                self.all_stores(lambda store: store.set_process(attempt, pid=self.clock, pid_started=1.5))

    @rule(data=st.data(), owner=st.sampled_from(["one", "two"]))
    def other_writes(self, data: st.DataObject, owner: str) -> None:
        now = self.now()
        match data.draw(st.sampled_from(["lease", "singleton", "pause", "next", "pool", "prune"])):
            case "lease":
                self.all_stores(lambda store: store.lease_runs(owner, self.runs, lease=LEASE / 5, now=now))
            case "singleton":
                self.all_stores(lambda store: store.take_singleton("s", owner, lease=LEASE / 5, now=now))
            case "pause":
                paused = data.draw(st.booleans())
                self.all_stores(lambda store: store.set_paused("sales", paused, actor=owner, now=now))
            case "next":
                self.all_stores(lambda store: store.set_next_run("sales", run_after=now, interval=(T0, now)))
            case "pool":
                from nbflow.store.base import Pool

                pool = Pool(name="small", slots=self.clock, include_deferred=data.draw(st.booleans()))
                self.all_stores(lambda store: store.set_pool(pool, actor=owner, now=now))
            case "prune":
                tables = data.draw(st.lists(st.sampled_from(PRUNABLE), unique=True))
                self.all_stores(lambda store: store.prune(before=after(self.clock // 2), tables=tables))
                self.runs = [run for run in self.runs if self.stores[0].run(run) is not None]

    # --- invariants after each step
    @invariant()
    def stores_agree(self) -> None:
        now = after(self.clock + 40)
        self.all_stores(
            lambda store: (store.active_runs(), store.runs(), store.usage(), store.last_seq(), store.events())
        )
        self.all_stores(lambda store: self.new_events(store))
        self.all_stores(lambda store: (store.recent_runs(["sales"], limit=2), store.run_states(self.runs)))
        self.all_stores(lambda store: store.instances_of_runs(self.runs))
        self.all_stores(lambda store: (store.due_dags(now), store.next_due(), store.dags(), store.latest_run("sales")))
        self.all_stores(lambda store: store.newest_runs(["sales", "none"]))
        self.all_stores(
            lambda store: (store.expired(now), store.live_attempts(), store.triggers(), store.counts(self.runs)),
        )
        self.all_stores(lambda store: store.current_states(self.attempts))
        for run in self.runs[-2:]:
            self.all_stores(lambda store, run=run: (store.snapshot(run), store.attempts(run), store.xcoms(run)))  # type: ignore[misc]
            self.all_stores(
                lambda store, run=run: store.xcom_get(run, ["b", "a"], "one", prior_dates=True)  # type: ignore[misc]
            )
            self.all_stores(lambda store, run=run: (store.previous_success(run), store.rendered(run, TaskKey("a"))))  # type: ignore[misc]

    @invariant()
    def only_declared_transitions_are_in_the_history(self) -> None:
        for event in self.stores[0].events():
            if event.key is not None and event.cause != "expanded":
                assert event.target in TRANSITIONS[TaskState(event.source)][event.cause]  # type: ignore[index]
            elif event.key is None and event.cause != "created":
                assert event.target in RUN_TRANSITIONS[RunState(event.source)][RunCause(event.cause)]

    @invariant()
    def a_live_instance_has_at_most_one_live_attempt(self) -> None:
        live = [(attempt.run, attempt.key) for attempt in self.stores[0].live_attempts()]
        assert len(live) == len(set(live))

    @invariant()
    def one_scheduled_or_backfill_run_per_date(self) -> None:
        dates = [run.logical_date for run in self.stores[0].runs() if run.run_type != "manual"]
        assert len(dates) == len(set(dates))


def _without_ids(snapshot: Snapshot) -> Any:
    """The snapshot without the ids of attempts and triggers, which only the store assigns."""
    from dataclasses import replace

    tis = {key: replace(ti, attempt_id=None, trigger_id=None) for key, ti in snapshot.instances.items()}
    return replace(snapshot, instances=tis)


def _check(opened: Callable[[], list[Store]], examples: int) -> None:
    machine = type("EqualStores", (EqualStores,), {"opened": staticmethod(opened)})
    run_state_machine_as_test(machine, settings=settings(max_examples=examples, stateful_step_count=25, deadline=None))


def _sqlite(template: Path, folder: str) -> Store:
    path = shutil.copy(template, tempfile.mkdtemp(dir=folder))
    return open_store(f"sqlite:///{path}", **_ids())


def _ids() -> dict[str, Any]:
    return {"new_id": attempt_ids()}


def test_memory_and_sqlite_agree(sqlite_template: Path, tmp_path: Path) -> None:
    _check(lambda: [open_store("memory://", **_ids()), _sqlite(sqlite_template, str(tmp_path))], EXAMPLES)


@pytest.mark.postgres
def test_memory_sqlite_and_postgres_agree(sqlite_template: Path, tmp_path: Path, migrated_postgres: str) -> None:
    def opened() -> list[Store]:
        empty(migrated_postgres)
        sqlite = _sqlite(sqlite_template, str(tmp_path))
        return [open_store("memory://", **_ids()), sqlite, open_store(migrated_postgres, **_ids())]

    _check(opened, max(EXAMPLES // 3, 5))
