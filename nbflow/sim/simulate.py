"""``simulate``: the runs of a DAG in the coming days."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta

from nbflow.core.spec import DagSpec
from nbflow.core.timetables import TimeRestriction, timetable_from_spec
from nbflow.core.wait_reasons import WaitReason
from nbflow.errors import InvalidArgument
from nbflow.sim.outcomes import Outcomes, ScriptedOutcomes, outcomes_of_last_run
from nbflow.sim.timeline import Simulation, timeline_runs
from nbflow.sim.world import SLOTS, World
from nbflow.store.base import Store

DAYS = 7
"""Default number of simulated days."""
MAX_RUNS = 20_000
"""Maximum number of simulated runs: two weeks of a run each minute. They take about a minute."""


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
    progress: Callable[[int], None] | None = None,
) -> Simulation:
    """Simulate the schedule of ``dag`` from ``start`` (aware) until ``until``, or for ``days``. Runs that are still
    active at the end are simulated until they finish or can only wait.

    ``outcomes``: the behaviour of the tasks. By default they behave as in the last successful run in ``store``
    (durations, branch choices, lengths of results). Tasks without such a run succeed after a minute; branches follow
    their first choice and results have one item. ``pools`` default to those of ``store``. ``check``: check the
    invariants at every step (raises :class:`~nbflow.sim.invariants.InvariantBroken`). ``progress``: called with the
    percentage of the time that has been simulated. Raises InvalidArgument for more than MAX_RUNS scheduled runs.
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
    _check_number_of_runs(simulated_dag, start, end)
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
        for percent in range(1, 101) if progress is not None else (100,):
            world.run_until(end if percent == 100 else start + (end - start) * percent / 100)
            if progress is not None:
                progress(percent)
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


def _check_number_of_runs(dag: DagSpec, start: datetime, end: datetime) -> None:
    """Raise InvalidArgument for more than MAX_RUNS scheduled runs from ``start`` to ``end``."""
    timetable = timetable_from_spec(dag.schedule)
    if not timetable.can_be_scheduled or timetable.active_runs_limit is not None:
        return
    restriction = TimeRestriction(dag.start_date, dag.end_date, dag.catchup)
    info, count = timetable.next_run(None, restriction, start), 0
    while info is not None and info.run_after <= end:
        count += 1
        if count > MAX_RUNS:
            raise InvalidArgument(
                f"DAG {dag.dag_id} would have more than {MAX_RUNS:,} runs from {start.isoformat()} to "
                f"{end.isoformat()}, too many to simulate.",
                hint="Choose an earlier end, or fewer days.",
            )
        info = timetable.next_run(info, restriction, info.run_after)


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
