"""Fault injection: each fault has a name, a point of the simulation at which it can occur, and a probability.

Whether a fault occurs depends on the seed, the fault's name and the object that it concerns, not on the order of the
draws. So a seed always gives the same simulation, and disabling a fault does not change when the others occur: a
failing seed can be reduced by disabling faults.
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
        "claim_lost": "a worker claims an attempt and dies before it starts",
        "worker_killed": "a worker dies while its task runs, and no report is sent",
        "outcome_lost": "the task ends, but its outcome is not reported",
        "duplicate_delivery": "an attempt is delivered twice",
        "duplicate_event": "an outcome is reported twice",
        "reordered_events": "the outcome arrives before the report that the attempt started",
        "late_event": "a worker whose lease has expired reports its outcome",
        "store_busy": "the store changes while the scheduler decides, so its plan is stale",
        "scheduler_restart": "the scheduler loses its memory and reads everything again",
        "clock_forward": "the wall clock jumps forward, beyond every lease",
        "clock_back": "the wall clock is set back",
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Faults:
    """The probabilities of faults. ``odds``: fault -> probability each time it can occur."""

    seed: int = 0
    odds: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in self.odds:
            if name not in FAULTS:
                raise NbflowError(f"There is no fault {name!r}.", hint=did_you_mean(name, FAULTS).strip())

    def strikes(self, name: str, *what: object) -> bool:
        """Whether the fault occurs this time. ``what`` identifies the occasion."""
        odds = self.odds.get(name, 0.0)
        return odds > 0 and self.draw(name, *what).random() < odds

    def draw(self, *what: object) -> random.Random:
        """A random generator for one occasion."""
        return random.Random("|".join([str(self.seed), *map(str, what)]))

    def without(self, *names: str) -> Faults:
        """The same simulation without these faults."""
        return replace(self, odds={name: odds for name, odds in self.odds.items() if name not in names})


def every_fault(seed: int, odds: float = 0.03) -> Faults:
    """All faults, each with the same probability."""
    return Faults(seed=seed, odds=dict.fromkeys(FAULTS, odds))


NO_FAULTS = Faults()
