"""Users in a simulated world, in any order that Hypothesis can think of, on a memory store and on SQLite.

Every step is followed by nbflow's promises (the world checks them itself); what is left to check here is that the
world comes to rest whatever was done to it, and that both stores have lived through the same history.
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
from nbflow.sim import Draw, Seeded, World
from nbflow.sim.random_dags import POOLS, START, random_dag
from nbflow.sim.world import SLOW_BEATS, attempt_ids
from nbflow.store import open_store

some = settings(
    max_examples=max(settings.default.max_examples // 10, 1),
    stateful_step_count=15,
)
ODDS = st.sampled_from((0.0, 0.001, 0.01))
"""Probability of a fault at each store call."""


class Users(RuleBasedStateMachine):
    """One DAG, one world; each rule is something that a person does, or time that passes."""

    @initialize(draw=st.randoms(use_true_random=False), seed=st.integers(0, 1000), odds=ODDS)
    def begin(self, draw: random.Random, seed: int, odds: float) -> None:
        self.begin_with([random_dag(draw, dag_id="d", most_tasks=5)], seed, odds)

    def begin_with(self, dags: list, seed: int, odds: float) -> None:
        self.worlds = [
            World(
                dags,
                start=START,
                outcomes=Seeded(seed=seed, fail=0.2),
                faults=Draw(seed, switch=0.0, fault=odds),
                beats=SLOW_BEATS,
                pools=POOLS,
                slots=4,
            )
        ]

    def each(self, deed: Callable[[World], object]) -> None:
        """Do it in every world; what one refuses, all refuse, in the same words."""
        answers = []
        for world in self.worlds:
            try:
                deed(world)
                answers.append("")
            except NbflowError as refusal:
                answers.append(str(refusal))
        assert len(set(answers)) == 1, answers

    def user(self, deed: Callable[[Operations], object]) -> None:
        self.each(lambda world: world.act(deed))

    # --- time

    @rule(minutes=st.integers(1, 300))
    def time_passes(self, minutes: int) -> None:
        self.each(lambda world: world.run_until(world.clock.now() + timedelta(minutes=minutes)))

    # --- people

    @rule()
    def somebody_triggers(self) -> None:
        self.user(lambda user: user.trigger("d"))

    @rule(paused=st.booleans())
    def somebody_pauses(self, paused: bool) -> None:
        self.user(lambda user: user.set_paused("d", paused))

    @rule(which=st.integers(0, 20), downstream=st.booleans(), only_failed=st.booleans(), task=st.integers(0, 8))
    def somebody_clears(self, which: int, downstream: bool, only_failed: bool, task: int) -> None:
        def clear(user: Operations) -> None:
            run = self.run(user, which)
            if run is not None:
                names = sorted(user.snapshot(run).dag.tasks)
                chosen = None if task == 0 else [names[task % len(names)]]
                user.clear(run, chosen, downstream=downstream, only_failed=only_failed)

        self.user(clear)

    @rule(which=st.integers(0, 20), task=st.integers(0, 8), state=st.sampled_from(("success", "failed", "skipped")))
    def somebody_marks_a_task(self, which: int, task: int, state: str) -> None:
        def mark(user: Operations) -> None:
            run = self.run(user, which)
            if run is not None:
                keys = sorted(user.snapshot(run).instances)
                user.mark_tasks(run, [keys[task % len(keys)]], TaskState(state))

        self.user(mark)

    @rule(which=st.integers(0, 20), state=st.sampled_from((RunState.SUCCESS, RunState.FAILED)))
    def somebody_marks_a_run(self, which: int, state: RunState) -> None:
        def mark(user: Operations) -> None:
            run = self.run(user, which)
            if run is not None:
                user.mark_run(run, state)

        self.user(mark)

    @rule(
        first=st.integers(-5, 10),
        hours=st.integers(0, 6),
        backwards=st.booleans(),
        reprocess=st.sampled_from(("none", "failed", "completed")),
    )
    def somebody_backfills(self, first: int, hours: int, backwards: bool, reprocess: str) -> None:
        start = START + timedelta(hours=first)
        self.user(
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
    def somebody_steers_a_backfill(self, cancel: bool) -> None:
        def steer(user: Operations) -> None:
            for row in user.store.backfills(active=True):
                if cancel:
                    user.cancel_backfill(row.backfill_id)
                else:
                    user.store.update_backfill(row.backfill_id, paused=not row.paused)

        self.user(steer)

    @rule(draw=st.randoms(use_true_random=False))
    def somebody_edits_the_dag(self, draw: random.Random) -> None:
        dag = random_dag(draw, dag_id="d", most_tasks=5)
        self.each(lambda world: world.add(dag))

    # --- what must hold

    @staticmethod
    def run(user: Operations, which: int):
        runs = user.store.runs("d", limit=20)
        return runs[which % len(runs)].key if runs else None

    @invariant()
    def every_store_has_the_same_history(self) -> None:
        if hasattr(self, "worlds"):
            assert len({world.trace for world in self.worlds}) == 1

    def teardown(self) -> None:
        if not hasattr(self, "worlds"):
            return
        self.each(lambda world: world.end_faults())
        self.user(lambda user: user.set_paused("d", False))
        for world in self.worlds:
            for row in world.store.backfills(active=True):
                world.store.update_backfill(row.backfill_id, paused=False)
            world.drain()
            held = {wait.kind for wait in world.waits().waits.values()} if world.active.snapshots else set()
            world.close()
            assert not world.active.snapshots or held & {"past", "past_downstream"}, held
        self.every_store_has_the_same_history()


class UsersOfTwoStores(Users):
    """The same, in a memory store and in SQLite at once."""

    def begin_with(self, dags: list, seed: int, odds: float) -> None:
        super().begin_with(dags, seed, odds)
        self.folder = TemporaryDirectory()
        store = open_store(f"sqlite:///{Path(self.folder.name) / 'nbflow.db'}", new_id=attempt_ids())
        store.migrate()
        self.worlds.append(
            World(
                dags,
                start=START,
                outcomes=Seeded(seed=seed, fail=0.2),
                faults=Draw(seed, switch=0.0, fault=odds),
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
TestUsers.settings = some
TestUsersOfTwoStores = UsersOfTwoStores.TestCase
TestUsersOfTwoStores.settings = settings(some, max_examples=max(some.max_examples // 3, 1), stateful_step_count=8)
