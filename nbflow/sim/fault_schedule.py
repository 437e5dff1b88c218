"""Faults, and where they strike: at the n-th time that an actor makes a call to the store.

A fault is an :class:`At`: actor, call, number, fault. A :class:`Script` is a list of them, which a test writes down; a
:class:`Draw` draws them from a seed and notes what it drew, so what a seed finds can be replayed as a script, shrunk
and kept. Each actor has a stream of draws with one draw a call: a fault that is left away does not move the others of
that actor as long as it makes the same calls.

``transaction`` is a call too: the moment at which a transaction has its locks and has written nothing yet.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Protocol

from nbflow.errors import NbflowError, did_you_mean

FAULTS: Mapping[str, str] = MappingProxyType(
    {
        "switch": "another actor goes on first",
        "stall": "the process stands still (SIGSTOP, a suspended laptop) and then goes on",
        "hang": "a transaction hangs with its locks and then goes on",
        "crash": "the process is killed; another one starts after some seconds",
        "restart": "the scheduler is stopped (SIGTERM); another one starts after some seconds",
        "refuse": "the store refuses every call of everybody (a restart, a full disk)",
        "cut_off": "the store refuses every call of this process (a network failure)",
        "reply_lost": "the store does what was asked, but the reply is lost",
        "clock_off": "the clock of this host is off by some seconds from now on",
        "clock_set": "all wall clocks are set",
        "alone": "the scheduler believes that it is alone",
        "worker_killed": "the process of the oldest running task is killed, which its supervisor notices",
        "duplicate_event": "the executor reports every event twice from now on",
    }
)
SECONDS: Mapping[str, Sequence[float]] = MappingProxyType(
    {
        "stall": (1.0, 20.0, 40.0, 70.0, 300.0),
        "hang": (1.0, 8.0, 40.0, 90.0),
        "crash": (0.0, 1.0, 10.0, 60.0),
        "restart": (0.0, 1.0, 10.0, 60.0),
        "refuse": (0.2, 3.0, 15.0, 60.0),
        "cut_off": (0.2, 3.0, 15.0, 60.0),
        "clock_off": (-60.0, -5.0, 5.0, 60.0),
        "clock_set": (-3600.0, -60.0, 60.0, 3600.0),
    }
)
"""What a draw chooses from. The leases are 30 s and 60 s by default."""
USERS_FAULTS = frozenset({"switch", "hang", "refuse", "reply_lost"})
"""Faults that strike users too; the others strike schedulers."""
IN_TRANSACTION = frozenset({"hang"})


@dataclass(frozen=True, slots=True)
class At:
    """One fault. ``nth`` counts the actor's calls of that name from 1."""

    actor: str
    call: str
    nth: int
    fault: str
    seconds: float = 0.0

    def __post_init__(self) -> None:
        if self.fault not in FAULTS:
            raise NbflowError(f"There is no fault {self.fault!r}.", hint=did_you_mean(self.fault, FAULTS).strip())

    def __str__(self) -> str:
        seconds = f", {self.seconds:g}" if self.seconds else ""
        return f'At("{self.actor}", "{self.call}", {self.nth}, "{self.fault}"{seconds})'


class FaultSchedule(Protocol):
    """Says which fault strikes at a call."""

    def at(self, actor: str, call: str) -> At | None:
        """Called once for each call, in order."""


class Script:
    """These faults and no others."""

    def __init__(self, faults: Iterable[At] = ()) -> None:
        self._faults = {(fault.actor, fault.call, fault.nth): fault for fault in faults}
        self.count = len(self._faults)
        self._calls: Counter[tuple[str, str]] = Counter()

    def at(self, actor: str, call: str) -> At | None:
        if not self._faults:
            return None
        self._calls[actor, call] += 1
        return self._faults.pop((actor, call, self._calls[actor, call]), None)


@dataclass
class Draw:
    """Faults from a seed. ``switch``: probability of a change of turns at each call; ``fault``: of another fault.
    ``drawn`` has what struck so far."""

    seed: int
    switch: float = 0.1
    fault: float = 0.001
    without: frozenset[str] = frozenset()
    drawn: list[At] = field(default_factory=list)
    _streams: dict[str, random.Random] = field(default_factory=dict)
    _calls: Counter[tuple[str, str]] = field(default_factory=Counter)

    def at(self, actor: str, call: str) -> At | None:
        self._calls[actor, call] += 1
        stream = self._streams.get(actor)
        if stream is None:
            stream = self._streams[actor] = random.Random(f"{self.seed}|{actor}")
        chance = stream.random()
        if chance < self.switch:
            name = "switch"
        elif chance > 1 - self.fault:
            name = self._fault(stream, actor, call)
        else:
            return None
        seconds = stream.choice(SECONDS[name]) if name in SECONDS else 0.0
        if not name or name in self.without:
            return None
        fault = At(actor, call, self._calls[actor, call], name, seconds)
        self.drawn.append(fault)
        return fault

    @staticmethod
    def _fault(stream: random.Random, actor: str, call: str) -> str:
        if call == "transaction":
            return "hang"
        names = [name for name in FAULTS if name not in IN_TRANSACTION and name != "switch"]
        name = stream.choice(names)
        return name if actor.startswith("s") or name in USERS_FAULTS else ""


NO_FAULTS = Script()
