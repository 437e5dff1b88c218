"""The outcomes of simulated tasks: scripted, random from a seed, or those of the last successful run.

A simulation runs no user code. An :class:`Outcomes` object decides instead, once for each attempt, how long it runs and
how it ends: it returns a :class:`Behaviour`. Each simulation prints the object's ``assumptions``.
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
SimulatedOutcome = Literal["success", "fail", "fail_hard", "skip", "reschedule", "defer", "die", "time_out"]
"""How an attempt ends. ``fail_hard`` forbids a retry; ``die``: its process is killed, which its supervisor notices."""

DEFAULT_SECONDS = 60.0
"""Duration of a task without a scripted or recorded one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Behaviour:
    """The behaviour of an attempt."""

    outcome: SimulatedOutcome = "success"
    seconds: float = DEFAULT_SECONDS
    """Simulated running time; the task's execution_timeout limits it."""
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

    def of(
        self, dag: DagSpec, run: Run, task: TaskSpec, key: TaskKey, try_number: int, attempt_index: int
    ) -> Behaviour:
        """The behaviour of this attempt. ``try_number`` counts from 1; ``attempt_index`` counts the attempts of this
        try from 0: a rescheduled sensor or a deferred task has several."""

    def assumptions(self, dag: DagSpec) -> list[str]:
        """The assumptions about ``dag``, as sentences."""


def is_branch(task: TaskSpec) -> bool:
    """Whether a task is a branch, by its operator's name (a DagSpec has no code)."""
    return "branch" in task.operator.lower()


def first_choice(dag: DagSpec, task: TaskSpec) -> tuple[str, ...] | None:
    """The default choice of a branch: the first downstream task. None for other tasks."""
    return dag.downstream[task.task_id][:1] if is_branch(task) else None


def _result_length(task: TaskSpec, key: TaskKey, length: int) -> int | None:
    """None if no task is mapped over the result; 1 for an instance of a mapped task; otherwise ``length``."""
    return None if not task.feeds_mapping else 1 if key.map_index >= 0 else length


Tries = Behaviour | Sequence[Behaviour]
"""One behaviour for all tries, or a sequence with one for each (its last one is that of all later tries)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScriptedOutcomes:
    """Behaviour by task id, by ``"task_id[3]"`` for one map index, or by (run, task id) for one run.

    A run is a run id, a logical date in ISO format, or the beginning of one (``"2024-01-03"``).
    """

    tasks: Mapping[str, Tries] = field(default_factory=dict)
    runs: Mapping[tuple[str, str], Tries] = field(default_factory=dict)
    default: Behaviour = field(default_factory=Behaviour)
    source: str = ""
    """The source of durations, choices and lengths, for the assumptions (``"run scheduled__2024-..."``)."""

    def of(
        self, dag: DagSpec, run: Run, task: TaskSpec, key: TaskKey, try_number: int, attempt_index: int
    ) -> Behaviour:
        tries = _as_sequence(self._tries_of(run, key))
        behaviour = tries[min(try_number, len(tries)) - 1]
        follow = behaviour.follow if behaviour.follow is not None else first_choice(dag, task)
        length = behaviour.length if behaviour.length is not None else 1
        return replace(behaviour, follow=follow, length=_result_length(task, key, length))

    def _tries_of(self, run: Run, key: TaskKey) -> Tries:
        date = run.logical_date.isoformat() if run.logical_date else ""
        for name in (str(key), key.task_id):
            for (run_name, task_id), tries in self.runs.items():
                if task_id == name and (run_name == run.run_id or (run_name and date.startswith(run_name))):
                    return tries
            if name in self.tasks:
                return self.tasks[name]
        return self.default

    def assumptions(self, dag: DagSpec) -> list[str]:
        source = f"in {self.source}" if self.source else "scripted"
        lines = []
        if self.tasks or self.runs:
            number = len({*self.tasks} | {task for _, task in self.runs})
            lines.append(f"{number} {'task behaves' if number == 1 else 'tasks behave'} as {source}.")
        lines.append(f"Every other task succeeds after {_seconds(self.default.seconds)}.")
        for task in dag.tasks.values():
            tries = self.tasks.get(task.task_id)
            first = _as_sequence(tries)[0] if tries else None
            if is_branch(task) and (first is None or first.follow is None):
                lines.append(
                    f"Branch {task.task_id} follows its first choice: {', '.join(first_choice(dag, task) or ())}."
                )
            if task.feeds_mapping and (first is None or first.length is None):
                lines.append(f"The result of {task.task_id} has length 1.")
        return lines


def _as_sequence(tries: Tries) -> Sequence[Behaviour]:
    return [tries] if isinstance(tries, Behaviour) else tries


def _seconds(seconds: float) -> str:
    minutes, rest = divmod(seconds, 60)
    return f"{seconds:g} s" if minutes == 0 or rest else f"{minutes:g} min"


@dataclass(frozen=True, slots=True, kw_only=True)
class RandomOutcomes:
    """Random behaviour. It depends on the seed and the attempt only, not on the order in which attempts start."""

    seed: int
    fail: float = 0.1
    """Probability that an attempt raises. The following fields are probabilities too."""
    fail_hard: float = 0.0
    die: float = 0.0
    skip: float = 0.0
    skip_downstream: float = 0.3
    """Probability that a short circuit skips its downstream tasks."""
    trigger_timeout: float = 0.1
    """Probability that the trigger of a deferred task times out."""
    reschedules: int = 2
    """Maximum number of reschedules of a sensor in reschedule mode before it succeeds."""
    seconds: tuple[float, float] = (1.0, 600.0)
    lengths: tuple[int, int] = (0, 4)

    def of(
        self, dag: DagSpec, run: Run, task: TaskSpec, key: TaskKey, try_number: int, attempt_index: int
    ) -> Behaviour:
        draw = random.Random(
            f"{self.seed}|{run.dag_id}|{run.run_id}|{key}|{try_number}|{attempt_index}|{run.clear_number}"
        )
        seconds = round(draw.uniform(*self.seconds), 3)
        if task.reschedules and attempt_index < draw.randint(0, self.reschedules):
            return Behaviour(outcome="reschedule", seconds=min(seconds, 1.0), wait_seconds=60.0)
        if task.deferrable and attempt_index == 0:
            timeout = seconds / 2 if draw.random() < self.trigger_timeout else None
            return Behaviour(outcome="defer", seconds=min(seconds, 1.0), wait_seconds=seconds, timeout_seconds=timeout)
        return Behaviour(
            outcome=self._outcome(draw),
            seconds=seconds,
            follow=self._choice(draw, dag, task),
            skip=draw.choice(("direct", "all")) if self._skips_downstream(draw, task) else "none",
            length=_result_length(task, key, draw.randint(*self.lengths)),
        )

    def _outcome(self, draw: random.Random) -> SimulatedOutcome:
        number = draw.random()
        probabilities: tuple[tuple[SimulatedOutcome, float], ...] = (
            ("fail", self.fail),
            ("fail_hard", self.fail_hard),
            ("die", self.die),
            ("skip", self.skip),
        )
        for outcome, probability in probabilities:
            if number < probability:
                return outcome
            number -= probability
        return "success"

    def _choice(self, draw: random.Random, dag: DagSpec, task: TaskSpec) -> tuple[str, ...] | None:
        if not is_branch(task):
            return None
        downstream = dag.downstream[task.task_id]
        return tuple(sorted(draw.sample(downstream, draw.randint(min(1, len(downstream)), len(downstream)))))

    def _skips_downstream(self, draw: random.Random, task: TaskSpec) -> bool:
        return "shortcircuit" in task.operator.lower().replace("_", "") and draw.random() < self.skip_downstream

    def assumptions(self, dag: DagSpec) -> list[str]:
        low, high = self.seconds
        return [
            f"Outcomes are random (seed {self.seed}): an attempt fails with probability {self.fail:g}, "
            f"and takes {low:g} to {high:g} s.",
            f"Branches follow random choices; results that tasks are mapped over have {self.lengths[0]} to "
            f"{self.lengths[1]} items.",
        ]


def outcomes_of_last_run(store: Store, dag_id: str, *, changes: Mapping[str, Tries] | None = None) -> ScriptedOutcomes:
    """The durations, branch choices and result lengths of the DAG's last successful run. Tasks that did not succeed in
    it take :data:`DEFAULT_SECONDS`. ``changes`` override them."""
    last = next((run for run in store.runs(dag_id, limit=20) if run.state == "success"), None)
    if last is None:
        return ScriptedOutcomes(tasks=dict(changes or {}))
    recorded: dict[str, Tries] = {}
    for ti in store.instances(last.key):
        if ti.start_date is None or ti.end_date is None or ti.state != "success":
            continue
        seconds = max((ti.end_date - ti.start_date).total_seconds(), 0.0)
        recorded[str(ti.key)] = Behaviour(seconds=seconds, length=ti.length)
    for event in store.events(run=last.key):
        if event.key is not None and "follow" in event.detail and isinstance(recorded.get(str(event.key)), Behaviour):
            recorded[str(event.key)] = replace(recorded[str(event.key)], follow=tuple(event.detail["follow"]))  # type: ignore[type-var]
    return ScriptedOutcomes(tasks={**recorded, **(changes or {})}, source=f"run {last.run_id}")


def parse_script(lines: Iterable[str]) -> ScriptedOutcomes:
    """Parse outcomes, for commands and magics::

        extract=fail,success      the first try fails, the second succeeds
        extract@2024-01-03=fail   in that run only
        extract.seconds=120       duration of the task
        choose.follow=left,right  the tasks that a branch chooses
        list_files.length=3       number of items in the result

    Raises ValueError, which names the invalid part.
    """
    fields: dict[tuple[str, str], dict[str, str]] = {}
    for line in lines:
        left, equals, value = line.partition("=")
        left, _, run = left.partition("@")
        task_id, dot, name = left.rpartition(".")
        if not dot or name not in _FIELDS:
            task_id, name = left, "outcome"
        if not equals or not task_id:
            raise ValueError(f"{line!r} is invalid. Write TASK=fail, TASK@DATE=fail, TASK.seconds=120 ...")
        fields.setdefault((run, task_id), {})[name] = value
    tasks: dict[str, Tries] = {}
    runs: dict[tuple[str, str], Tries] = {}
    for (run, task_id), values in fields.items():
        tries = _tries(task_id, values)
        if run:
            runs[run, task_id] = tries
        else:
            tasks[task_id] = tries
    return ScriptedOutcomes(tasks=tasks, runs=runs)


_FIELDS = frozenset({"seconds", "follow", "length", "skip"})
_OUTCOMES: tuple[SimulatedOutcome, ...] = (
    "success",
    "fail",
    "fail_hard",
    "skip",
    "reschedule",
    "defer",
    "die",
    "time_out",
)


def _number(task_id: str, values: Mapping[str, str], name: str, read: Callable[[str], N], expected: str) -> N | None:
    """The number after ``task_id.name=``, or None. Raises ValueError."""
    if name not in values:
        return None
    try:
        return read(values[name])
    except ValueError:
        raise ValueError(f"{task_id}.{name}={values[name]} is invalid; write {expected}.") from None


def _tries(task_id: str, values: Mapping[str, str]) -> Tries:
    outcomes = values.get("outcome", "success").split(",")
    unknown = [outcome for outcome in outcomes if outcome not in _OUTCOMES]
    if unknown:
        raise ValueError(f"{task_id}={unknown[0]} is invalid; an outcome is one of {', '.join(_OUTCOMES)}.")
    seconds = _number(task_id, values, "seconds", float, "a number of seconds")
    behaviour = Behaviour(
        seconds=DEFAULT_SECONDS if seconds is None else seconds,
        follow=tuple(values["follow"].split(",")) if "follow" in values else None,
        length=_number(task_id, values, "length", int, "a whole number"),
    )
    if "skip" in values:
        if values["skip"] not in ("none", "direct", "all"):
            raise ValueError(f"{task_id}.skip={values['skip']} is invalid; write none, direct or all.")
        behaviour = replace(behaviour, skip=values["skip"])  # type: ignore[arg-type]
    return tuple(replace(behaviour, outcome=outcome) for outcome in outcomes if outcome in _OUTCOMES)
