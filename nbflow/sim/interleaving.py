"""Actors that take turns: schedulers and users, each of which goes on until it waits or the schedule of faults says so.

An actor is a greenlet. It runs shipped code that knows nothing of turns: :meth:`Interleaver.pause` and
:meth:`Interleaver.wait` are called in the depth of that code, where it calls the store or the waiter, and return when
it is the actor's turn again. One actor runs at a time, and virtual time passes only while all of them wait, so the same
calls of ``pause`` give the same trace.

Why greenlets and not threads that pass a baton: a change of turns costs 0.3 µs with greenlets and 6 to 13 µs with two
threads and their locks (measured on the 2-core machine that tests this), as much as a whole call of a MemoryStore. A
killed process is an exception at the point where it stands, for either; and a world that has ended leaves no thread
behind. greenlet is one small wheel without dependencies; only this package imports it.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from datetime import datetime, timedelta
from itertools import count

from greenlet import GreenletExit, getcurrent, greenlet

from nbflow.clock import VirtualClock

TICK = timedelta(microseconds=1)
"""The unit of virtual time."""


class Killed(GreenletExit):
    """Raised in an actor at the point where its process is killed. No ``except Exception`` catches it, and from then on
    each of the actor's store calls raises it again: a killed process does nothing more."""


def never() -> bool:
    return False


class ActorClock:
    """The clock of an actor's host: ``offset`` off the world's."""

    def __init__(self, clock: VirtualClock) -> None:
        self._clock = clock
        self.offset = timedelta(0)

    def now(self) -> datetime:
        return self._clock.now() + self.offset

    def monotonic(self) -> float:
        return self._clock.monotonic()

    def wait(self, event: object, until: datetime | None) -> bool:
        raise NotImplementedError("An actor waits by its interleaver.")


class Actor:
    """One thread of control."""

    def __init__(self, name: str, body: Callable[[], None], clock: ActorClock) -> None:
        self.name, self.clock = name, clock
        self.greenlet = greenlet(body)
        self.killed = False
        self.waits = False
        self.until: datetime | None = None
        """On the actor's wall clock."""
        self.deadline: int | None = None
        """On the interleaver's monotonic clock."""
        self.ready: Callable[[], bool] = never

    @property
    def ended(self) -> bool:
        return self.greenlet.dead


class Interleaver:
    """Runs the actors of a world on its clock."""

    def __init__(self, clock: VirtualClock) -> None:
        self.clock = clock
        self.elapsed = 0
        """Virtual microseconds since the world began; never set back."""
        self.turns = 0
        """Number of changes of turns."""
        self.current: Actor | None = None
        self._queue: list[Actor] = []
        """In the order in which they get a turn."""
        self._agenda: list[tuple[int, int, Callable[[], None]]] = []
        self._order = count()

    # --- called by the world

    def start(self, name: str, body: Callable[[], None], clock: ActorClock | None = None) -> Actor:
        """Add an actor; it begins at its first turn."""
        actor = Actor(name, body, clock or ActorClock(self.clock))
        self._queue.append(actor)
        return actor

    def later(self, seconds: float, what: Callable[[], None]) -> None:
        """Call ``what``, outside of every actor, after ``seconds``."""
        due = self.elapsed + max(round(seconds * 1e6), 0)
        heapq.heappush(self._agenda, (due, next(self._order), what))

    def run(self, until: datetime) -> None:
        """Let the actors act until ``until`` on the world's clock; what is due at that very moment still happens."""
        while True:
            self._settle()
            at = self.next_moment()
            if at is None or at > until:
                break
            self._pass(at - self.clock.now())
        if until > self.clock.now():
            self._pass(until - self.clock.now())

    def next_moment(self) -> datetime | None:
        """The next moment at which an actor or the agenda has something to do. None: never."""
        now = self.clock.now()
        left: list[timedelta] = [actor.until - actor.clock.now() for actor in self._queue if actor.until is not None]
        dues = [actor.deadline for actor in self._queue if actor.deadline is not None]
        dues += [self._agenda[0][0]] if self._agenda else []
        left += [timedelta(microseconds=due - self.elapsed) for due in dues]
        return now + max(min(left), TICK) if left else None

    def end(self) -> None:
        """End all actors where they stand."""
        for actor in self._queue:
            actor.killed = True
            actor.greenlet.parent = getcurrent()
            actor.greenlet.throw(Killed)
        self._queue.clear()
        self._agenda.clear()

    @property
    def agenda_empty(self) -> bool:
        return not self._agenda

    def _pass(self, delta: timedelta) -> None:
        self.elapsed += round(delta / TICK)
        self.clock.advance(delta)

    def _settle(self) -> None:
        """All that happens at the present moment."""
        while True:
            while self._agenda and self._agenda[0][0] <= self.elapsed:
                heapq.heappop(self._agenda)[2]()
            actor = next((actor for actor in self._queue if self._may_go_on(actor)), None)
            if actor is None:
                return
            self._resume(actor)

    def _may_go_on(self, actor: Actor) -> bool:
        if not actor.waits or actor.killed:
            return True
        if actor.deadline is not None and actor.deadline <= self.elapsed:
            return True
        if actor.until is not None and actor.until <= actor.clock.now():
            return True
        return actor.ready()

    def _resume(self, actor: Actor) -> None:
        actor.waits, actor.until, actor.deadline, actor.ready = False, None, None, never
        actor.greenlet.parent = getcurrent()
        self.current = actor
        self.turns += 1
        try:
            if actor.killed:
                actor.greenlet.throw(Killed)
            else:
                actor.greenlet.switch()
        finally:
            self.current = None
            if actor.ended:
                self._queue.remove(actor)

    # --- called in the depth of an actor's code

    def pause(self) -> None:
        """The other actors that can go on get their turns first."""
        actor = self._me()
        self._queue.remove(actor)
        self._queue.append(actor)
        self._leave()

    def wait(
        self,
        seconds: float | None = None,
        *,
        until: datetime | None = None,
        ready: Callable[[], bool] = never,
    ) -> None:
        """Wait until ``seconds`` have passed, ``until`` has come on the actor's clock, or ``ready()`` is True."""
        actor = self._me()
        actor.waits, actor.ready, actor.until = True, ready, until
        actor.deadline = None if seconds is None else self.elapsed + max(round(seconds * 1e6), 0)
        self._leave()

    def _leave(self) -> None:
        self._me().greenlet.parent.switch()

    def kill(self, actor: Actor) -> None:
        """Kill the actor's process where it stands."""
        actor.killed = True
        if actor is self.current:
            raise Killed

    def _me(self) -> Actor:
        assert self.current is not None, "only an actor waits: the world itself lets time pass by run()"
        return self.current
