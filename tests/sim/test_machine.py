"""User actions in a simulated world, in random order (a Hypothesis state machine), on a memory store and on SQLite.

The world checks the invariants after each commit. These tests check in addition that the world can be drained after
any actions, and that the histories in both stores are equal.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from nbflow.core.states import RunState, TaskState
from nbflow.errors import NbflowError
from nbflow.services.operations import Operations
from nbflow.sim import Draw, RandomOutcomes, World
from nbflow.sim.random_dags import POOLS, START, random_dag
from nbflow.sim.world import SLOW_BEATS, attempt_ids
from nbflow.store import open_store

SETTINGS = settings(
    max_examples=max(settings.default.max_examples // 10, 1),
    stateful_step_count=15,
)
FAULT_PROBABILITIES = st.sampled_from((0.0, 0.001, 0.01))
"""Probability of a fault at each store call."""


class Users(RuleBasedStateMachine):
    """One DAG in one world. Each rule is a user action, or time that passes."""

    @initialize(
        draw=st.randoms(use_true_random=False), seed=st.integers(0, 1000), fault_probability=FAULT_PROBABILITIES
    )
    def create_dag_and_worlds(self, draw: random.Random, seed: int, fault_probability: float) -> None:
        self.create_worlds([random_dag(draw, dag_id="d", most_tasks=5)], seed, fault_probability)

    def create_worlds(self, dags: list, seed: int, fault_probability: float) -> None:
        self.worlds = [
            World(
                dags,
                start=START,
                outcomes=RandomOutcomes(seed=seed, fail=0.2),
                faults=Draw(seed, switch=0.0, fault=fault_probability),
                beats=SLOW_BEATS,
                pools=POOLS,
                slots=4,
            )
        ]

    def in_each_world(self, action: Callable[[World], object]) -> None:
        """Call ``action`` with every world, and check that all raise the same error or none."""
        errors = []
        for world in self.worlds:
            try:
                action(world)
                errors.append("")
            except NbflowError as error:
                errors.append(str(error))
        assert len(set(errors)) == 1, errors

    def act(self, action: Callable[[Operations], object]) -> None:
        self.in_each_world(lambda world: world.act(action))

    # --- time

    @rule(minutes=st.integers(1, 300))
    def time_passes(self, minutes: int) -> None:
        self.in_each_world(lambda world: world.run_until(world.clock.now() + timedelta(minutes=minutes)))

    # --- user actions

    @rule()
    def trigger_a_run(self) -> None:
        self.act(lambda user: user.trigger("d"))

    @rule(paused=st.booleans())
    def pause_or_unpause(self, paused: bool) -> None:
        self.act(lambda user: user.set_paused("d", paused))

    @rule(run_index=st.integers(0, 20), downstream=st.booleans(), only_failed=st.booleans(), task=st.integers(0, 8))
    def clear_tasks(self, run_index: int, downstream: bool, only_failed: bool, task: int) -> None:
        def clear(user: Operations) -> None:
            run = self.run(user, run_index)
            if run is not None:
                task_ids = sorted(user.snapshot(run).dag.tasks)
                selected = None if task == 0 else [task_ids[task % len(task_ids)]]
                user.clear(run, selected, downstream=downstream, only_failed=only_failed)

        self.act(clear)

    @rule(run_index=st.integers(0, 20), task=st.integers(0, 8), state=st.sampled_from(("success", "failed", "skipped")))
    def mark_a_task(self, run_index: int, task: int, state: str) -> None:
        def mark(user: Operations) -> None:
            run = self.run(user, run_index)
            if run is not None:
                keys = sorted(user.snapshot(run).instances)
                user.mark_tasks(run, [keys[task % len(keys)]], TaskState(state))

        self.act(mark)

    @rule(run_index=st.integers(0, 20), state=st.sampled_from((RunState.SUCCESS, RunState.FAILED)))
    def mark_a_run(self, run_index: int, state: RunState) -> None:
        def mark(user: Operations) -> None:
            run = self.run(user, run_index)
            if run is not None:
                user.mark_run(run, state)

        self.act(mark)

    @rule(
        first=st.integers(-5, 10),
        hours=st.integers(0, 6),
        backwards=st.booleans(),
        reprocess=st.sampled_from(("none", "failed", "completed")),
    )
    def create_a_backfill(self, first: int, hours: int, backwards: bool, reprocess: str) -> None:
        start = START + timedelta(hours=first)
        self.act(
            lambda user: user.backfill(
                "d",
                start,
                start + timedelta(hours=hours),
                reprocess=reprocess,
                run_backwards=backwards,
                max_active_runs=2,
            )
        )

    @rule(cancel=st.booleans())
    def change_backfills(self, cancel: bool) -> None:
        def change(user: Operations) -> None:
            for row in user.store.backfills(active=True):
                if cancel:
                    user.cancel_backfill(row.backfill_id)
                else:
                    user.store.update_backfill(row.backfill_id, paused=not row.paused)

        self.act(change)

    @rule(draw=st.randoms(use_true_random=False))
    def edit_the_dag(self, draw: random.Random) -> None:
        dag = random_dag(draw, dag_id="d", most_tasks=5)
        self.in_each_world(lambda world: world.add(dag))

    # --- checks

    @staticmethod
    def run(user: Operations, run_index: int):
        runs = user.store.runs("d", limit=20)
        return runs[run_index % len(runs)].key if runs else None

    @invariant()
    def the_histories_of_all_stores_are_equal(self) -> None:
        if hasattr(self, "worlds"):
            assert len({world.trace for world in self.worlds}) == 1

    def teardown(self) -> None:
        if not hasattr(self, "worlds"):
            return
        self.in_each_world(lambda world: world.end_faults())
        self.act(lambda user: user.set_paused("d", False))
        for world in self.worlds:
            for row in world.store.backfills(active=True):
                world.store.update_backfill(row.backfill_id, paused=False)
            world.drain()
            wait_kinds = {wait.kind for wait in world.waits().waits.values()} if world.active.snapshots else set()
            world.close()
            assert not world.active.snapshots or wait_kinds & {"past", "past_downstream"}, wait_kinds
        self.the_histories_of_all_stores_are_equal()


class UsersOfTwoStores(Users):
    """The same actions in two worlds, one with a memory store and one with SQLite."""

    def create_worlds(self, dags: list, seed: int, fault_probability: float) -> None:
        super().create_worlds(dags, seed, fault_probability)
        self.folder = TemporaryDirectory()
        store = open_store(f"sqlite:///{Path(self.folder.name) / 'nbflow.db'}", new_id=attempt_ids())
        store.migrate()
        self.worlds.append(
            World(
                dags,
                start=START,
                outcomes=RandomOutcomes(seed=seed, fail=0.2),
                faults=Draw(seed, switch=0.0, fault=fault_probability),
                beats=SLOW_BEATS,
                pools=POOLS,
                slots=4,
                store=store,
            )
        )

    def teardown(self) -> None:
        try:
            super().teardown()
        finally:
            if hasattr(self, "folder"):
                self.worlds[-1].store.close()
                self.folder.cleanup()


TestUsers = Users.TestCase
TestUsers.settings = SETTINGS
TestUsersOfTwoStores = UsersOfTwoStores.TestCase
TestUsersOfTwoStores.settings = settings(
    SETTINGS, max_examples=max(SETTINGS.max_examples // 3, 1), stateful_step_count=8
)
