"""``simulate``: what a DAG's schedule will do in the coming days, in well under a second."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta

from nbflow.core.spec import DagSpec
from nbflow.core.timetables import timetable_from_spec
from nbflow.core.wait_reasons import WaitReason
from nbflow.errors import InvalidArgument
from nbflow.sim.outcomes import Outcomes, Script, as_last_time
from nbflow.sim.timeline import Simulation, run_lines
from nbflow.sim.world import SLOTS, World
from nbflow.store.base import Store

DAYS = 7
"""Default number of simulated days."""


def simulate(
    dag: DagSpec,
    *,
    start: datetime,
    until: datetime | None = None,
    days: float = DAYS,
    outcomes: Outcomes | None = None,
    store: Store | None = None,
    slots: int | None = SLOTS,
    pools: Mapping[str, int] | None = None,
    check: bool = True,
) -> Simulation:
    """Simulate the schedule of ``dag`` from ``start`` (aware) until ``until``, or for ``days``; runs that are active
    then are completed.

    ``outcomes``: the behaviour of the tasks. By default they behave as in the last successful run in ``store``
    (durations, branch choices, lengths of results); tasks without such a run succeed after a minute, with the first
    choice and a single item. ``pools`` default to those of ``store``. With ``check`` the invariants are checked at
    every step (:class:`~nbflow.sim.invariants.InvariantBroken`).
    """
    end = until if until is not None else start + timedelta(days=days)
    if end <= start:
        raise InvalidArgument(
            f"The end of the simulation, {end.isoformat()}, must be after its start, {start.isoformat()}.",
            hint="Choose a later end, or more days.",
        )
    chosen = outcomes or (as_last_time(store, dag.dag_id) if store is not None else Script())
    sizes, assumed = _pools(dag, store, pools)
    shown, more = _from(dag, start)
    world = World(
        [shown],
        start=start,
        outcomes=chosen,
        slots=slots,
        pools=sizes,
        check=check,
    )
    if not timetable_from_spec(dag.schedule).can_be_scheduled:
        world.act(lambda user: user.trigger(dag.dag_id))
        more.append("The DAG has no schedule, so a run is triggered at the start.")
    try:
        world.run_until(end)
        world.drain()
    finally:
        world.close()
    return Simulation(
        dag_id=dag.dag_id,
        start=start,
        end=end,
        runs=run_lines(world.store.runs(dag.dag_id, limit=10**6), world.history),
        assumptions=(*chosen.assumptions(dag), *assumed, *more, _capacity(slots)),
        waits=_still_waiting(world),
        happened=tuple(world.happened),
        trace=world.trace,
    )


def _from(dag: DagSpec, start: datetime) -> tuple[DagSpec, list[str]]:
    """The DAG as if all its runs before ``start`` existed."""
    if dag.start_date is not None and dag.start_date >= start:
        return dag, []
    lines = [f"Runs before {start.isoformat()} are not simulated."] if dag.catchup else []
    return replace(dag, start_date=start if dag.catchup else dag.start_date), lines


def _pools(dag: DagSpec, store: Store | None, pools: Mapping[str, int] | None) -> tuple[dict[str, int], Iterable[str]]:
    """The sizes of the pools. A pool that is not defined would block its tasks, so it is assumed to have no limit."""
    known = dict(pools) if pools is not None else {p.name: p.slots for p in store.pools()} if store is not None else {}
    unknown = sorted({task.pool for task in dag.tasks.values()} - known.keys() - {"default_pool"})
    lines = [f"Pool {name} is not defined and is assumed to have no limit." for name in unknown]
    return {**known, **dict.fromkeys(unknown, -1)}, lines


def _capacity(slots: int | None) -> str:
    return "The number of executor slots is not limited." if slots is None else f"The executor has {slots} slots."


def _still_waiting(world: World) -> dict[str, WaitReason]:
    if not world.active.snapshots:
        return {}
    plan = world.waits()
    waits = {key.run_id: wait for key, wait in plan.run_waits.items()}
    return waits | {f"{run.run_id} {key}": wait for (run, key), wait in plan.waits.items()}
