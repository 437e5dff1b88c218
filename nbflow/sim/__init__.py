"""The simulator: the shipped scheduler on a virtual clock, which simulates a week of scheduling in less than a second.

``simulate`` shows what one DAG's schedule will do. ``World`` is the simulator, for labs and tests: several DAGs, one to
four schedulers, user actions and faults. ``outcomes`` defines how simulated tasks end, ``fault_schedule`` the faults,
``invariants`` what must hold despite them and ``timeline`` the result; ``soak`` runs random worlds.
"""

from __future__ import annotations

from nbflow.sim.fault_schedule import FAULTS, NO_FAULTS, At, Draw
from nbflow.sim.invariants import InvariantBroken
from nbflow.sim.outcomes import (
    Behaviour,
    Outcomes,
    RandomOutcomes,
    ScriptedOutcomes,
    outcomes_of_last_run,
    parse_script,
)
from nbflow.sim.simulate import simulate
from nbflow.sim.timeline import Simulation, TimelineEntry, TimelineRun, timeline_runs
from nbflow.sim.world import World

__all__ = [
    "FAULTS",
    "NO_FAULTS",
    "At",
    "Behaviour",
    "Draw",
    "InvariantBroken",
    "Outcomes",
    "TimelineRun",
    "ScriptedOutcomes",
    "RandomOutcomes",
    "Simulation",
    "TimelineEntry",
    "World",
    "outcomes_of_last_run",
    "timeline_runs",
    "parse_script",
    "simulate",
]
