"""Accidents on purpose: each has a name, a point in the loop at which it strikes, and a probability.

Whether a fault strikes is drawn from the seed, the fault's name and the thing that it would strike, never from the
order of the draws. So one seed gives one world, and a fault that is switched off does not change where the others
strike: a failing seed can be reduced by leaving faults away.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from nbflow.errors import NbflowError, did_you_mean

FAULTS: Mapping[str, str] = MappingProxyType(
    {
        "submit_lost": "the scheduler dies after the commit that queues an attempt, before it submits it",
        "claim_lost": "a worker takes an attempt and dies before it begins",
        "worker_killed": "a worker dies halfway, and nobody reports it",
        "outcome_lost": "the task ends, but its outcome never arrives",
        "duplicate_delivery": "an attempt is delivered twice",
        "duplicate_event": "an outcome is reported twice",
        "reordered_events": "the outcome arrives before the report that the attempt started",
        "late_event": "a worker that was given up reports its outcome after all",
        "store_busy": "the world moved while the scheduler decided: its plan is stale",
        "scheduler_restart": "the scheduler forgets all it knew and reads it again",
        "clock_forward": "the wall clock jumps forward, beyond every lease",
        "clock_back": "the wall clock is set back",
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Faults:
    """Which faults strike how often. ``odds``: fault -> probability at each of its occasions."""

    seed: int = 0
    odds: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in self.odds:
            if name not in FAULTS:
                raise NbflowError(f"There is no fault {name!r}.", hint=did_you_mean(name, FAULTS).strip())

    def strikes(self, name: str, *what: object) -> bool:
        """Whether the fault strikes this time. ``what`` names the occasion."""
        odds = self.odds.get(name, 0.0)
        return odds > 0 and self.draw(name, *what).random() < odds

    def draw(self, *what: object) -> random.Random:
        """A source of chance for one occasion."""
        return random.Random("|".join([str(self.seed), *map(str, what)]))

    def without(self, *names: str) -> Faults:
        """The same world, with these faults left away."""
        return replace(self, odds={name: odds for name, odds in self.odds.items() if name not in names})


def every_fault(seed: int, odds: float = 0.03) -> Faults:
    """All faults, each with the same probability."""
    return Faults(seed=seed, odds=dict.fromkeys(FAULTS, odds))


NO_FAULTS = Faults()
