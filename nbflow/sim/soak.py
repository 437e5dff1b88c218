"""Soak test: simulated worlds from seeds, with random DAGs, one to four schedulers, users and faults.

::

    python -m nbflow.sim.soak --minutes 10            # any seeds, from the clock
    python -m nbflow.sim.soak --minutes 10 --seed 7   # from this seed on
    python -m nbflow.sim.soak --replay 4711           # one seed, with its whole trace
    python -m nbflow.sim.soak --shrink 4711           # the faults and users that the seed needs to fail
    python -m nbflow.sim.soak --replay 4711 --without clock_off,stall

A seed is the whole world: replayed, it gives the same trace to the letter, and every heartbeat of every scheduler is
played. What a seed finds is kept in tests/sim as a named schedule: ``--shrink`` prints the lines.
"""

from __future__ import annotations

import argparse
import logging
import random
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

from nbflow.core.snapshot import RunKey
from nbflow.core.states import RunState, TaskState
from nbflow.errors import NbflowError
from nbflow.services.operations import Operations
from nbflow.sim.fault_schedule import FAULTS, At, Draw, FaultSchedule, Script
from nbflow.sim.outcomes import RandomOutcomes
from nbflow.sim.random_dags import POOLS, START, random_dag
from nbflow.sim.world import DEFAULT_BEATS, SLOW_BEATS, World
from nbflow.store.base import DagRow, Store

Part = TypeVar("Part")

SPAN = timedelta(hours=4)
"""Simulated time in which the schedule creates runs."""
SETTLES = timedelta(hours=60)
"""Simulated time within which everything ends, once faults and users are gone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a seed is made of. Left away parts make it smaller, for ``--shrink``."""

    seed: int
    faults: FaultSchedule | None = None
    """None: drawn from the seed."""
    deeds: Sequence[int] | None = None
    """Numbers of the users' deeds that are done. None: all of the seed's."""
    schedulers: int | None = None


def world_of(
    seed: int | Plan,
    *,
    faults: bool = True,
    users: bool = True,
    without: Sequence[str] = (),
    store: Store | None = None,
) -> World:
    """The world of a seed, at its beginning, with what users will do entered in its agenda."""
    plan = seed if isinstance(seed, Plan) else Plan(seed=seed)
    draw = random.Random(plan.seed)
    schedulers = draw.choice((1, 2, 2, 3, 4))
    switch, fault = draw.choice((0.0, 0.05, 0.3)), draw.choice((0.0, 0.0005, 0.003))
    drawn = Draw(plan.seed, switch=switch, fault=fault if faults else 0.0, without=frozenset(without))
    beats = draw.choice((DEFAULT_BEATS, SLOW_BEATS, SLOW_BEATS, SLOW_BEATS))
    world = World(
        [random_dag(draw, dag_id=f"drawn{number}") for number in range(draw.randint(1, 2))],
        start=START,
        outcomes=RandomOutcomes(seed=plan.seed, fail=0.2, die=0.03, skip=0.05, fail_hard=0.03),
        faults=plan.faults if plan.faults is not None else drawn,
        slots=draw.choice((1, 4, 32, None)),
        pools=POOLS,
        schedulers=plan.schedulers or (schedulers if store is None else 1),
        one_host=draw.random() < 0.5,
        beats=beats,
        store=store,
    )
    for number in range(draw.randint(0, 8) if users else 0):
        when, key = draw.uniform(0, SPAN.total_seconds()), draw.random()
        if plan.deeds is None or number in plan.deeds:
            world.later(when, _deed(world, key), name=f"user{number}")
    return world


def _deed(world: World, key: float) -> Callable[[], None]:
    return lambda: a_user_acts(world, random.Random(key))


def live_through(world: World) -> World:
    """Run the world for its span, then until all runs have ended. Raises InvariantBroken, or any other error."""
    try:
        world.run_until(START + SPAN)
        world.end_faults()
        for row in world.store.dags():
            world.act(lambda user, row=row: user.set_paused(row.dag_id, False))  # type: ignore[misc]
        for backfill in world.store.backfills(active=True):
            world.act(lambda user, backfill=backfill: user.store.update_backfill(backfill.backfill_id, paused=False))  # type: ignore[misc]
        world.drain(within=SETTLES)
    finally:
        world.close()
    return world


# --- users


def a_user_acts(world: World, draw: random.Random) -> None:
    """Execute a random user action. A refusal by nbflow is recorded, and is not an error."""
    deed = draw.choice(DEEDS)
    try:
        world.act(lambda user: deed(user, world, draw))
    except NbflowError as refusal:
        world.happened.append(f"{world.clock.now().isoformat()} {deed.__name__} refused: {refusal}")


def _some_dag(user: Operations, draw: random.Random) -> DagRow:
    rows = user.store.dags()
    if not rows:
        raise NbflowError("All DAGs are deleted.")
    return draw.choice(rows)


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
    row = _some_dag(user, draw)
    user.set_paused(row.dag_id, not row.paused)


def triggers(user: Operations, world: World, draw: random.Random) -> None:
    user.trigger(_some_dag(user, draw).dag_id)


def backfills(user: Operations, world: World, draw: random.Random) -> None:
    row = _some_dag(user, draw)
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
    world.add(random_dag(draw, dag_id=draw.choice(("drawn0", "drawn1"))))


def deletes(user: Operations, world: World, draw: random.Random) -> None:
    user.delete_dag(_some_dag(user, draw).dag_id)


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
    deletes,
)


# --- the command


def failure_of(plan: Plan, *, without: Sequence[str] = ()) -> tuple[str | None, World | None]:
    """The error in the world of a seed (None: there is none), and the world."""
    world: World | None = None
    try:
        world = world_of(plan, without=without)
        live_through(world)
    except Exception as error:
        return f"{type(error).__name__}: {error}", world
    return None, world


def kind_of(failure: str | None) -> str:
    """The first words of a failure, by which two failures are taken for the same."""
    return " ".join((failure or "").split()[:5])


def shrunk(seed: int) -> tuple[Plan, list[At], str]:
    """A part of the seed's faults and deeds that fails in the same way, from which nothing can be left away."""
    failure, world = failure_of(Plan(seed=seed))
    if failure is None or world is None:
        raise NbflowError(f"Seed {seed} does not fail.")
    kind, faults = kind_of(failure), list(world.drawn)

    def fails(faults: Iterable[At], deeds: Sequence[int]) -> bool:
        return kind_of(failure_of(Plan(seed=seed, faults=Script(faults), deeds=deeds))[0]) == kind

    deeds = list(range(8))
    if not fails(faults, deeds):
        raise NbflowError(f"Seed {seed} fails otherwise as a script.")
    deeds = _smallest(deeds, lambda part: fails(faults, part))
    faults = _smallest(faults, lambda part: fails(part, deeds))
    deeds = _smallest(deeds, lambda part: fails(faults, part))
    plan = Plan(seed=seed, faults=Script(faults), deeds=deeds)
    return plan, faults, failure_of(plan)[0] or ""


def _smallest(items: list[Part], fails: Callable[[list[Part]], bool]) -> list[Part]:
    """Leave parts away, half of them first, as long as it fails (delta debugging)."""
    size = max(len(items) // 2, 1)
    while items:
        kept = items
        for first in range(0, len(items), size):
            part = [item for item in kept if item not in items[first : first + size]]
            if fails(part):
                kept = part
        if size == 1 and len(kept) == len(items):
            break
        items, size = kept, max(min(size // 2, len(kept)), 1)
    return items


def soak(*, minutes: float, seed: int, say: Callable[[str], None] = print, max_failures: int = 5) -> int:
    """Simulate worlds from ``seed`` on for ``minutes``. Returns the number of failures."""
    end, failures, first, steps, turns = time.monotonic() + minutes * 60, 0, seed, 0, 0
    while time.monotonic() < end and failures < max_failures:
        failure, world = failure_of(Plan(seed=seed))
        if world is not None:
            steps, turns = steps + world.steps, turns + world.turns.turns
        if failure is not None:
            failures += 1
            say(f"seed {seed} fails: {failure}\n  shrink: python -m nbflow.sim.soak --shrink {seed}")
        seed += 1
    say(f"{seed - first} worlds, seeds {first} to {seed - 1}, {steps} store calls in {turns} turns: {failures} failed")
    return failures


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m nbflow.sim.soak", description="Simulate random worlds and check the invariants."
    )
    parser.add_argument("--minutes", type=float, default=1.0, help="how long (default: 1)")
    parser.add_argument("--seed", type=int, default=None, help="the first seed (default: from the clock)")
    parser.add_argument("--replay", type=int, metavar="SEED", help="Simulate a single world and print its trace.")
    parser.add_argument("--shrink", type=int, metavar="SEED", help="Print the faults that a failing seed needs.")
    parser.add_argument("--without", default="", help="comma-separated faults to disable")
    chosen = parser.parse_args(arguments)
    without = [name for name in chosen.without.split(",") if name]
    if unknown := [name for name in without if name not in FAULTS]:
        parser.error(f"there is no fault {unknown[0]}; they are {', '.join(FAULTS)}")
    if chosen.replay is not None:
        world = world_of(chosen.replay, without=without)
        try:
            live_through(world)
        finally:
            print(world.trace)
        return 0
    if chosen.shrink is not None:
        plan, faults, failure = shrunk(chosen.shrink)
        print(*(f"    {fault}," for fault in faults), f"deeds {plan.deeds}", failure, sep="\n")
        return 1
    logging.getLogger("nbflow").setLevel(logging.CRITICAL)  # a simulated store refuses often
    seed = chosen.seed if chosen.seed is not None else int(time.time())
    print(f"from seed {seed}")
    return 1 if soak(minutes=chosen.minutes, seed=seed) else 0


if __name__ == "__main__":
    sys.exit(main())
