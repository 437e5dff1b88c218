"""``simulate``: what a DAG's schedule will do in the coming days, in well under a second."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta

from nbflow.core.reasons import WaitReason
from nbflow.core.spec import DagSpec
from nbflow.core.timetables import Timetable, timetable_from_spec
from nbflow.errors import InvalidArgument
from nbflow.sim.fault_injection import NO_FAULTS, Faults
from nbflow.sim.outcomes import Outcomes, Script, as_last_time
from nbflow.sim.timeline import Simulation, run_lines
from nbflow.sim.world import SLOTS, World
from nbflow.store.base import Store

DAYS = 7
"""How long a simulation is, where nobody says."""


def simulate(
    dag: DagSpec,
    *,
    start: datetime,
    until: datetime | None = None,
    days: float = DAYS,
    outcomes: Outcomes | None = None,
    store: Store | None = None,
    faults: Faults = NO_FAULTS,
    slots: int | None = SLOTS,
    pools: Mapping[str, int] | None = None,
    timetable: Timetable | None = None,
    check: bool = True,
) -> Simulation:
    """Let ``dag`` run from ``start`` (aware) until ``until``, or for ``days``; what is under way then comes to its end.

    ``outcomes`` says what the tasks do. Without it they do as in the last successful run in ``store`` (durations,
    branch choices, lengths of results), and what that does not tell is assumed: success, one minute, the first choice,
    one item. ``pools`` are those of ``store`` unless given. ``timetable`` is needed for a user's own timetable class.
    With ``check`` nbflow's promises are checked at every step (:class:`~nbflow.sim.invariants.InvariantBroken`).
    """
    end = until if until is not None else start + timedelta(days=days)
    if end <= start:
        raise InvalidArgument(
            f"A simulation from {start.isoformat()} to {end.isoformat()} has no time in it.", hint="Give it days."
        )
    chosen = outcomes or (as_last_time(store, dag.dag_id) if store is not None else Script())
    sizes, assumed = _pools(dag, store, pools)
    shown, more = _from(dag, start)
    world = World(
        [shown],
        start=start,
        outcomes=chosen,
        faults=faults,
        slots=slots,
        pools=sizes,
        check=check,
        timetables={dag.dag_id: timetable} if timetable is not None else None,
    )
    if not (timetable or timetable_from_spec(dag.schedule)).can_be_scheduled:
        world.act(lambda user: user.trigger(dag.dag_id))
        more.append("The DAG has no schedule: one run is triggered at the beginning.")
    world.run_until(end)
    world.drain()
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
    """The DAG as if its runs before ``start`` had all been made."""
    if dag.start_date is not None and dag.start_date >= start:
        return dag, []
    lines = [f"Runs from before {start.isoformat()} are left out."] if dag.catchup else []
    return replace(dag, start_date=start if dag.catchup else dag.start_date), lines


def _pools(dag: DagSpec, store: Store | None, pools: Mapping[str, int] | None) -> tuple[dict[str, int], Iterable[str]]:
    """The pools' sizes. A pool that nobody knows would hold its tasks for ever: it is taken to have no limit."""
    known = dict(pools) if pools is not None else {p.name: p.slots for p in store.pools()} if store is not None else {}
    unknown = sorted({task.pool for task in dag.tasks.values()} - known.keys() - {"default_pool"})
    lines = [f"Pool {name} is not defined here; it is taken to have no limit." for name in unknown]
    return {**known, **dict.fromkeys(unknown, -1)}, lines


def _capacity(slots: int | None) -> str:
    return "There is no limit of executor slots." if slots is None else f"The executor has {slots} slots."


def _still_waiting(world: World) -> dict[str, WaitReason]:
    if not world.active.snapshots:
        return {}
    plan = world.waits()
    waits = {key.run_id: wait for key, wait in plan.run_waits.items()}
    return waits | {f"{run.run_id} {key}": wait for (run, key), wait in plan.waits.items()}
