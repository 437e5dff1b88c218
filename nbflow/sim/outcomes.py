"""What simulated tasks do: scripted, drawn from a seed, or as they did in the last real run.

A simulation runs no user code, so somebody has to say how each attempt ends. That is an :class:`Outcomes` object: it is
asked once for each attempt and answers with a :class:`Does`. Whatever it takes for granted it can say in sentences
(``assumptions``), which every simulation prints: a timeline whose premises are hidden teaches the wrong thing.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, Protocol, TypeVar

from nbflow.core.snapshot import Run, TaskKey
from nbflow.core.spec import DagSpec, TaskSpec
from nbflow.store.base import Store

N = TypeVar("N", int, float)
SimulatedEnd = Literal["success", "fail", "fail_hard", "skip", "reschedule", "defer", "die", "time_out"]
"""How an attempt ends. ``fail_hard`` forbids a retry; ``die``: its process is killed, which its supervisor notices."""

DEFAULT_SECONDS = 60.0
"""Duration of a task without a scripted or recorded one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Does:
    """The behaviour of an attempt."""

    ending: SimulatedEnd = "success"
    seconds: float = DEFAULT_SECONDS
    """Simulated running time; cut short by the task's execution_timeout."""
    follow: tuple[str, ...] | None = None
    """The tasks that a branch chooses; None: it does not branch."""
    skip: Literal["none", "direct", "all"] = "none"
    """The downstream tasks that a short circuit skips."""
    length: int | None = None
    """Length of the result, if tasks are mapped over it."""
    wait_seconds: float = 60.0
    """Of ``reschedule``: until the next check; of ``defer``: until the trigger fires."""
    timeout_seconds: float | None = None
    """Of ``defer``: how long the trigger may take."""


class Outcomes(Protocol):
    """Decides the behaviour of simulated tasks."""

    def of(self, dag: DagSpec, run: Run, task: TaskSpec, key: TaskKey, try_number: int, visit: int) -> Does:
        """The behaviour of this attempt. ``try_number`` counts from 1; ``visit`` counts the attempts of this try from
        0: a rescheduled sensor or a deferred task has several."""

    def assumptions(self, dag: DagSpec) -> list[str]:
        """The assumptions about ``dag``, as sentences."""


def is_branch(task: TaskSpec) -> bool:
    """Whether a task is a branch, by its operator's name: the spec has no code."""
    return "branch" in task.operator.lower()


def first_choice(dag: DagSpec, task: TaskSpec) -> tuple[str, ...] | None:
    """The default choice of a branch: the first downstream task. None for other tasks."""
    return dag.downstream[task.task_id][:1] if is_branch(task) else None


def _result_length(task: TaskSpec, key: TaskKey, length: int) -> int | None:
    """One instance of a mapped task counts as one item; a plain task's result has the given length."""
    return None if not task.feeds_mapping else 1 if key.map_index >= 0 else length


Tries = Does | Sequence[Does]
"""One behaviour for every try, or one for each (the last one for all later tries)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """Answers by task id, by ``"task_id[3]"`` for one map index, or by (run, task id) where a run is to differ.

    A run is named by its run id, or by its logical date in ISO format (or the beginning of it: ``"2024-01-03"``).
    """

    tasks: Mapping[str, Tries] = field(default_factory=dict)
    runs: Mapping[tuple[str, str], Tries] = field(default_factory=dict)
    default: Does = field(default_factory=Does)
    known_from: str = ""
    """The source of durations, choices and lengths, for the assumptions: ``"run scheduled__2024-..."``."""

    def of(self, dag: DagSpec, run: Run, task: TaskSpec, key: TaskKey, try_number: int, visit: int) -> Does:
        said = self._said(run, key)
        tries: Sequence[Does] = [said] if isinstance(said, Does) else said
        does = tries[min(try_number, len(tries)) - 1]
        follow = does.follow if does.follow is not None else first_choice(dag, task)
        length = does.length if does.length is not None else 1
        return replace(does, follow=follow, length=_result_length(task, key, length))

    def _said(self, run: Run, key: TaskKey) -> Tries:
        date = run.logical_date.isoformat() if run.logical_date else ""
        for name in (str(key), key.task_id):
            for (which, task_id), tries in self.runs.items():
                if task_id == name and (which == run.run_id or (which and date.startswith(which))):
                    return tries
            if name in self.tasks:
                return self.tasks[name]
        return self.default

    def assumptions(self, dag: DagSpec) -> list[str]:
        source = f"in {self.known_from}" if self.known_from else "scripted"
        lines = []
        if self.tasks or self.runs:
            known_tasks = len({*self.tasks} | {task for _, task in self.runs})
            lines.append(f"{known_tasks} {'task behaves' if known_tasks == 1 else 'tasks behave'} as {source}.")
        lines.append(f"Every other task succeeds after {_seconds(self.default.seconds)}.")
        for task in dag.tasks.values():
            said = self.tasks.get(task.task_id)
            known = said if isinstance(said, Does) else said[0] if said else None
            if is_branch(task) and (known is None or known.follow is None):
                lines.append(
                    f"Branch {task.task_id} follows its first choice: {', '.join(first_choice(dag, task) or ())}."
                )
            if task.feeds_mapping and (known is None or known.length is None):
                lines.append(f"The result of {task.task_id} has length 1.")
        return lines


def _seconds(seconds: float) -> str:
    minutes, rest = divmod(seconds, 60)
    return f"{seconds:g} s" if minutes == 0 or rest else f"{minutes:g} min"


@dataclass(frozen=True, slots=True, kw_only=True)
class Seeded:
    """Behaviour drawn from a seed. Each draw depends on the seed and the attempt, not on the order of the draws, so
    that an attempt behaves the same whatever else happens."""

    seed: int
    fail: float = 0.1
    """Probability that an attempt raises; the others likewise."""
    fail_hard: float = 0.0
    die: float = 0.0
    skip: float = 0.0
    close: float = 0.3
    """Probability that a short circuit skips its downstream tasks."""
    trigger_timeout: float = 0.1
    """Probability that the trigger of a deferred task times out."""
    reschedules: int = 2
    """Maximum number of reschedules of a sensor in reschedule mode before it succeeds."""
    seconds: tuple[float, float] = (1.0, 600.0)
    lengths: tuple[int, int] = (0, 4)

    def of(self, dag: DagSpec, run: Run, task: TaskSpec, key: TaskKey, try_number: int, visit: int) -> Does:
        draw = random.Random(f"{self.seed}|{run.dag_id}|{run.run_id}|{key}|{try_number}|{visit}|{run.clear_number}")
        seconds = round(draw.uniform(*self.seconds), 3)
        if task.reschedules and visit < draw.randint(0, self.reschedules):
            return Does(ending="reschedule", seconds=min(seconds, 1.0), wait_seconds=60.0)
        if task.deferrable and visit == 0:
            timeout = seconds / 2 if draw.random() < self.trigger_timeout else None
            return Does(ending="defer", seconds=min(seconds, 1.0), wait_seconds=seconds, timeout_seconds=timeout)
        return Does(
            ending=self._ending(draw),
            seconds=seconds,
            follow=self._choice(draw, dag, task),
            skip=draw.choice(("direct", "all")) if self._closes(draw, task) else "none",
            length=_result_length(task, key, draw.randint(*self.lengths)),
        )

    def _ending(self, draw: random.Random) -> SimulatedEnd:
        at = draw.random()
        odds: tuple[tuple[SimulatedEnd, float], ...] = (
            ("fail", self.fail),
            ("fail_hard", self.fail_hard),
            ("die", self.die),
            ("skip", self.skip),
        )
        for ending, probability in odds:
            if at < probability:
                return ending
            at -= probability
        return "success"

    def _choice(self, draw: random.Random, dag: DagSpec, task: TaskSpec) -> tuple[str, ...] | None:
        if not is_branch(task):
            return None
        down = dag.downstream[task.task_id]
        return tuple(sorted(draw.sample(down, draw.randint(min(1, len(down)), len(down)))))

    def _closes(self, draw: random.Random, task: TaskSpec) -> bool:
        return "shortcircuit" in task.operator.lower().replace("_", "") and draw.random() < self.close

    def assumptions(self, dag: DagSpec) -> list[str]:
        low, high = self.seconds
        return [
            f"Outcomes are drawn from seed {self.seed}: an attempt fails with probability {self.fail:g}, "
            f"and takes {low:g} to {high:g} s.",
            f"Branches follow random choices; results that tasks are mapped over have {self.lengths[0]} to "
            f"{self.lengths[1]} items.",
        ]


def as_last_time(store: Store, dag_id: str, *, changes: Mapping[str, Tries] | None = None) -> Script:
    """A script with the durations, branch choices and result lengths of the DAG's last successful run. Tasks that did
    not run then take :data:`DEFAULT_SECONDS`. ``changes`` override the script."""
    last = next((run for run in store.runs(dag_id, limit=20) if run.state == "success"), None)
    if last is None:
        return Script(tasks=dict(changes or {}))
    known: dict[str, Tries] = {}
    for ti in store.instances(last.key):
        if ti.start_date is None or ti.end_date is None or ti.state != "success":
            continue
        seconds = max((ti.end_date - ti.start_date).total_seconds(), 0.0)
        known[str(ti.key)] = Does(seconds=seconds, length=ti.length)
    for event in store.events(run=last.key):
        if event.key is not None and "follow" in event.detail and isinstance(known.get(str(event.key)), Does):
            known[str(event.key)] = replace(known[str(event.key)], follow=tuple(event.detail["follow"]))  # type: ignore[type-var]
    return Script(tasks={**known, **(changes or {})}, known_from=f"run {last.run_id}")


def script_of(lines: Iterable[str]) -> Script:
    """Parse a script, for command lines and magics::

        extract=fail,success      the first try fails, the second succeeds
        extract@2024-01-03=fail   in that run only
        extract.seconds=120       duration of the task
        choose.follow=left,right  the tasks that a branch chooses
        list_files.length=3       number of items in the result

    Raises ValueError, which names the invalid part.
    """
    facts: dict[tuple[str, str], dict[str, str]] = {}
    for line in lines:
        left, equals, value = line.partition("=")
        left, _, run = left.partition("@")
        task_id, dot, what = left.rpartition(".")
        if not dot or what not in _FACTS:
            task_id, what = left, "ending"
        if not equals or not task_id:
            raise ValueError(f"{line!r} is invalid. Write TASK=fail, TASK@DATE=fail, TASK.seconds=120 ...")
        facts.setdefault((run, task_id), {})[what] = value
    tasks: dict[str, Tries] = {}
    runs: dict[tuple[str, str], Tries] = {}
    for (run, task_id), words in facts.items():
        tries = _tries(task_id, words)
        if run:
            runs[run, task_id] = tries
        else:
            tasks[task_id] = tries
    return Script(tasks=tasks, runs=runs)


_FACTS = frozenset({"seconds", "follow", "length", "skip"})
_ENDINGS: tuple[SimulatedEnd, ...] = ("success", "fail", "fail_hard", "skip", "reschedule", "defer", "die", "time_out")


def _fact(task_id: str, words: Mapping[str, str], name: str, read: Callable[[str], N], expected: str) -> N | None:
    """The number after ``task_id.name=``, or None. Raises ValueError."""
    if name not in words:
        return None
    try:
        return read(words[name])
    except ValueError:
        raise ValueError(f"{task_id}.{name}={words[name]} is invalid; write {expected}.") from None


def _tries(task_id: str, words: Mapping[str, str]) -> Tries:
    endings = words.get("ending", "success").split(",")
    unknown = [word for word in endings if word not in _ENDINGS]
    if unknown:
        raise ValueError(f"{task_id}={unknown[0]} is invalid; an outcome is one of {', '.join(_ENDINGS)}.")
    seconds = _fact(task_id, words, "seconds", float, "a number of seconds")
    like = Does(
        seconds=DEFAULT_SECONDS if seconds is None else seconds,
        follow=tuple(words["follow"].split(",")) if "follow" in words else None,
        length=_fact(task_id, words, "length", int, "a whole number"),
    )
    if "skip" in words:
        if words["skip"] not in ("none", "direct", "all"):
            raise ValueError(f"{task_id}.skip={words['skip']} is invalid; write none, direct or all.")
        like = replace(like, skip=words["skip"])  # type: ignore[arg-type]
    return tuple(replace(like, ending=ending) for ending in endings if ending in _ENDINGS)
