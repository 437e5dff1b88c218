"""Soak test: simulated worlds from seeds, with random DAGs, outcomes, injected faults and user actions.

::

    python -m nbflow.sim.soak --minutes 10            # any seeds, from the clock
    python -m nbflow.sim.soak --minutes 10 --seed 7   # from this seed on
    python -m nbflow.sim.soak --replay 4711           # one seed, with its whole trace
    python -m nbflow.sim.soak --replay 4711 --without clock_back,late_event

A seed is the whole world: replayed, it gives the same trace to the letter. When one fails, its number is printed with
what broke and with the faults that it does not need to fail (each left away in turn), which is most of the way to
the cause.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections.abc import Callable, Sequence
from datetime import timedelta

from nbflow.core.snapshot import RunKey
from nbflow.core.states import RunState, TaskState
from nbflow.errors import NbflowError
from nbflow.services.operations import Operations
from nbflow.sim.fault_injection import FAULTS, NO_FAULTS, every_fault
from nbflow.sim.outcomes import Seeded
from nbflow.sim.random_dags import POOLS, START, random_dag
from nbflow.sim.world import World
from nbflow.store.base import Store

SPAN = timedelta(hours=25)
"""Simulated time in which the schedule makes runs: long enough for a daily one."""


def world_of(
    seed: int, *, faults: bool = True, users: bool = True, without: Sequence[str] = (), store: Store | None = None
) -> World:
    """The world of a seed, at its beginning, with what users will do entered in its agenda."""
    draw = random.Random(seed)
    odds = draw.choice((0.0, 0.02, 0.1)) if faults else 0.0
    world = World(
        [random_dag(draw, dag_id=f"drawn{number}") for number in range(draw.randint(1, 2))],
        start=START,
        outcomes=Seeded(seed=seed, fail=0.2, die=0.03, skip=0.05, fail_hard=0.03),
        faults=every_fault(seed, odds).without(*without) if odds else NO_FAULTS,
        slots=draw.choice((1, 4, 32, None)),
        pools=POOLS,
        store=store,
    )
    for _ in range(draw.randint(0, 8) if users else 0):
        when, number = draw.uniform(0, SPAN.total_seconds()), draw.random()
        world.later(when, lambda number=number: a_user_acts(world, random.Random(number)))  # type: ignore[misc]
    return world


def live_through(world: World) -> World:
    """Run the world for its span, then until all runs have ended. Raises InvariantBroken, or any other error."""
    world.run_until(START + SPAN)
    for row in world.store.dags():
        world.act(lambda user, row=row: user.set_paused(row.dag_id, False))  # type: ignore[misc]
    for backfill in world.store.backfills(active=True):
        world.act(lambda user, backfill=backfill: user.store.update_backfill(backfill.backfill_id, paused=False))  # type: ignore[misc]
    world.drain()
    return world


# --- users


def a_user_acts(world: World, draw: random.Random) -> None:
    """Execute a random user action. A refusal by nbflow is recorded, and is not an error."""
    deed = draw.choice(DEEDS)
    try:
        world.act(lambda user: deed(user, world, draw))
    except NbflowError as refusal:
        world.happened.append(f"{world.clock.now().isoformat()} {deed.__name__} refused: {refusal}")


def _some_run(user: Operations, draw: random.Random) -> RunKey | None:
    runs = user.store.runs(limit=20)
    return draw.choice(runs).key if runs else None


def clears(user: Operations, world: World, draw: random.Random) -> None:
    run = _some_run(user, draw)
    if run is not None:
        tasks = sorted(user.snapshot(run).dag.tasks)
        chosen = None if draw.random() < 0.4 else draw.sample(tasks, min(2, len(tasks)))
        user.clear(run, chosen, downstream=draw.random() < 0.5, only_failed=draw.random() < 0.3)


def marks_tasks(user: Operations, world: World, draw: random.Random) -> None:
    run = _some_run(user, draw)
    if run is not None:
        keys = sorted(user.snapshot(run).instances)
        state = draw.choice((TaskState.SUCCESS, TaskState.FAILED, TaskState.SKIPPED))
        user.mark_tasks(run, draw.sample(keys, min(2, len(keys))), state)


def marks_a_run(user: Operations, world: World, draw: random.Random) -> None:
    run = _some_run(user, draw)
    if run is not None:
        user.mark_run(run, draw.choice((RunState.SUCCESS, RunState.FAILED)))


def pauses(user: Operations, world: World, draw: random.Random) -> None:
    row = draw.choice(user.store.dags())
    user.set_paused(row.dag_id, not row.paused)


def triggers(user: Operations, world: World, draw: random.Random) -> None:
    user.trigger(draw.choice(user.store.dags()).dag_id)


def backfills(user: Operations, world: World, draw: random.Random) -> None:
    row = draw.choice(user.store.dags())
    start = START + timedelta(hours=draw.randint(-6, 6))
    user.backfill(
        row.dag_id,
        start,
        start + timedelta(hours=draw.randint(0, 6)),
        reprocess=draw.choice(("none", "failed", "completed")),
        run_backwards=draw.random() < 0.3,
        max_active_runs=draw.randint(1, 3),
    )


def steers_a_backfill(user: Operations, world: World, draw: random.Random) -> None:
    for row in user.store.backfills(active=True)[:1]:
        if draw.random() < 0.5:
            user.cancel_backfill(row.backfill_id)
        else:
            user.store.update_backfill(row.backfill_id, paused=not row.paused)


def edits(user: Operations, world: World, draw: random.Random) -> None:
    world.add(random_dag(draw, dag_id=draw.choice(user.store.dags()).dag_id))


DEEDS: tuple[Callable[[Operations, World, random.Random], None], ...] = (
    clears,
    clears,
    marks_tasks,
    marks_a_run,
    pauses,
    triggers,
    backfills,
    steers_a_backfill,
    edits,
)


# --- the command


def fault_of(seed: int, *, without: Sequence[str] = ()) -> str | None:
    """The error in the world of a seed; None if there is none."""
    world: World | None = None
    try:
        world = world_of(seed, without=without)
        live_through(world)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return None


def needless(seed: int) -> list[str]:
    """The injected faults without which the seed still fails."""
    gone: list[str] = []
    for name in FAULTS:
        if fault_of(seed, without=[*gone, name]) is not None:
            gone.append(name)
    return gone


def soak(*, minutes: float, seed: int, say: Callable[[str], None] = print, most_failures: int = 5) -> int:
    """Simulate worlds from ``seed`` on for ``minutes``. Returns the number of failures."""
    end, failures, first = time.monotonic() + minutes * 60, 0, seed
    while time.monotonic() < end and failures < most_failures:
        broken = fault_of(seed)
        if broken is not None:
            failures += 1
            say(f"seed {seed} fails: {broken}\n  replay: python -m nbflow.sim.soak --replay {seed}")
            say(f"  it fails without {', '.join(needless(seed)) or 'none of the faults'}, too")
        seed += 1
    say(f"{seed - first} worlds, seeds {first} to {seed - 1}: {failures} failed")
    return failures


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m nbflow.sim.soak", description="Simulate random worlds and check the invariants."
    )
    parser.add_argument("--minutes", type=float, default=1.0, help="how long (default: 1)")
    parser.add_argument("--seed", type=int, default=None, help="the first seed (default: from the clock)")
    parser.add_argument("--replay", type=int, metavar="SEED", help="Simulate a single world and print its trace.")
    parser.add_argument("--without", default="", help="comma-separated faults to disable")
    chosen = parser.parse_args(arguments)
    without = [name for name in chosen.without.split(",") if name]
    if chosen.replay is not None:
        world = world_of(chosen.replay, without=without)
        try:
            live_through(world)
        finally:
            print(world.trace)
        return 0
    seed = chosen.seed if chosen.seed is not None else int(time.time())
    print(f"from seed {seed}")
    return 1 if soak(minutes=chosen.minutes, seed=seed) else 0


if __name__ == "__main__":
    sys.exit(main())
