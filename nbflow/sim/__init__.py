"""The simulator: nbflow's core on a virtual clock, which simulates a week of scheduling in less than a second.

``simulate`` shows what one DAG's schedule will do. ``World`` is the simulator, for labs and tests: several DAGs, user
actions and faults. ``outcomes`` defines how simulated tasks end, ``fault_injection`` the faults, ``invariants`` what
must hold despite them and ``timeline`` the result; ``soak`` runs random worlds.
"""

from __future__ import annotations

from nbflow.sim.fault_injection import FAULTS, NO_FAULTS, Faults, every_fault
from nbflow.sim.invariants import InvariantBroken
from nbflow.sim.outcomes import Does, Outcomes, Script, Seeded, as_last_time, script_of
from nbflow.sim.simulate import simulate
from nbflow.sim.timeline import RunLine, Simulation, Stretch, run_lines
from nbflow.sim.world import World

__all__ = [
    "FAULTS",
    "NO_FAULTS",
    "Does",
    "Faults",
    "InvariantBroken",
    "Outcomes",
    "RunLine",
    "Script",
    "Seeded",
    "Simulation",
    "Stretch",
    "World",
    "as_last_time",
    "every_fault",
    "run_lines",
    "script_of",
    "simulate",
]
