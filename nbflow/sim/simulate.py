"""``simulate``: the runs of a DAG in the coming days."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta

from nbflow.core.spec import DagSpec
from nbflow.core.timetables import timetable_from_spec
from nbflow.core.wait_reasons import WaitReason
from nbflow.errors import InvalidArgument
from nbflow.sim.outcomes import Outcomes, ScriptedOutcomes, outcomes_of_last_run
from nbflow.sim.timeline import Simulation, timeline_runs
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
    """Simulate the schedule of ``dag`` from ``start`` (aware) until ``until``, or for ``days``. Runs that are still
    active at the end are simulated until they finish or can only wait.

    ``outcomes``: the behaviour of the tasks. By default they behave as in the last successful run in ``store``
    (durations, branch choices, lengths of results). Tasks without such a run succeed after a minute; branches follow
    their first choice and results have one item. ``pools`` default to those of ``store``. ``check``: check the
    invariants at every step (raises :class:`~nbflow.sim.invariants.InvariantBroken`).
    """
    end = until if until is not None else start + timedelta(days=days)
    if end <= start:
        raise InvalidArgument(
            f"The end of the simulation, {end.isoformat()}, must be after its start, {start.isoformat()}.",
            hint="Choose a later end, or more days.",
        )
    outcomes = outcomes or (outcomes_of_last_run(store, dag.dag_id) if store is not None else ScriptedOutcomes())
    pool_slots, pool_assumptions = _pools(dag, store, pools)
    simulated_dag, schedule_assumptions = _without_earlier_runs(dag, start)
    world = World(
        [simulated_dag],
        start=start,
        outcomes=outcomes,
        slots=slots,
        pools=pool_slots,
        check=check,
    )
    if not timetable_from_spec(dag.schedule).can_be_scheduled:
        world.act(lambda user: user.trigger(dag.dag_id))
        schedule_assumptions.append("The DAG has no schedule, so a run is triggered at the start.")
    try:
        world.run_until(end)
        world.drain()
    finally:
        world.close()
    return Simulation(
        dag_id=dag.dag_id,
        start=start,
        end=end,
        runs=timeline_runs(world.store.runs(dag.dag_id, limit=10**6), world.history),
        assumptions=(*outcomes.assumptions(dag), *pool_assumptions, *schedule_assumptions, _slots_assumption(slots)),
        waits=_still_waiting(world),
        incidents=tuple(world.happened),
        trace=world.trace,
    )


def _without_earlier_runs(dag: DagSpec, start: datetime) -> tuple[DagSpec, list[str]]:
    """The DAG without its runs before ``start``, and the assumption."""
    if dag.start_date is not None and dag.start_date >= start:
        return dag, []
    lines = [f"Runs before {start.isoformat()} are not simulated."] if dag.catchup else []
    return replace(dag, start_date=start if dag.catchup else dag.start_date), lines


def _pools(dag: DagSpec, store: Store | None, pools: Mapping[str, int] | None) -> tuple[dict[str, int], Iterable[str]]:
    """The slots of the pools, and the assumptions. A pool that is not defined is assumed to have no limit, because its
    tasks could not run otherwise."""
    defined = (
        dict(pools) if pools is not None else {p.name: p.slots for p in store.pools()} if store is not None else {}
    )
    undefined = sorted({task.pool for task in dag.tasks.values()} - defined.keys() - {"default_pool"})
    lines = [f"Pool {name} is not defined and is assumed to have no limit." for name in undefined]
    return {**defined, **dict.fromkeys(undefined, -1)}, lines


def _slots_assumption(slots: int | None) -> str:
    return "The number of executor slots is not limited." if slots is None else f"The executor has {slots} slots."


def _still_waiting(world: World) -> dict[str, WaitReason]:
    if not world.active.snapshots:
        return {}
    plan = world.waits()
    waits = {key.run_id: wait for key, wait in plan.run_waits.items()}
    return waits | {f"{run.run_id} {key}": wait for (run, key), wait in plan.waits.items()}
