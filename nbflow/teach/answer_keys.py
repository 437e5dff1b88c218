"""Answers that the engine itself gives, so that a quiz cannot teach what nbflow does not do.

A question of a quiz file names a key and its arguments instead of an answer; ``KEYS`` is the table. What a key returns
are the values that its right options stand for (``"is"`` in the file), in order where the order counts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from itertools import count, pairwise
from typing import Any

from nbflow.core.events import Failed
from nbflow.core.react import react
from nbflow.core.snapshot import Instance, Run, Snapshot
from nbflow.core.spec import DagSpec, TaskSpec
from nbflow.core.states import TRANSITIONS, Cause, RunState, TaskState
from nbflow.core.timetables import TimeRestriction, as_utc, timetable_from_schedule
from nbflow.core.trigger_rules import FINAL, Verdict, mask_of, rule_verdict

Key = Callable[..., tuple[str, ...]]


def becomes(source: str, cause: str) -> tuple[str, ...]:
    """The states that a task instance in ``source`` may get by ``cause``."""
    return tuple(sorted(state.value for state in TRANSITIONS[TaskState(source)][Cause(cause)]))


def walk(states: Sequence[str]) -> tuple[str, ...]:
    """``states`` as they stand, after a look that the table of transitions has an arrow from each to the next."""
    for source, target in pairwise(map(TaskState, states)):
        if not any(target in targets for targets in TRANSITIONS[source].values()):
            raise ValueError(f"nothing leads from {source} to {target}")
    return tuple(states)


def decides(rule: str, upstream: Sequence[str]) -> tuple[str, ...]:
    """What a trigger rule makes of the states before a task: run, skipped, upstream_failed or wait."""
    return (_verdict(rule, upstream).value,)


def rules(runs_after: Sequence[Sequence[str]], not_after: Sequence[Sequence[str]]) -> tuple[str, ...]:
    """The trigger rules that run a task after each of the first sets of states, and after none of the others."""
    return tuple(
        sorted(
            rule
            for rule in FINAL
            if all(_verdict(rule, states) is Verdict.RUN for states in runs_after)
            and not any(_verdict(rule, states) is Verdict.RUN for states in not_after)
        )
    )


def first_run(schedule: str, start: str) -> tuple[str, ...]:
    """When the first run of a schedule begins, with catchup on."""
    begin = as_utc(datetime.fromisoformat(start))
    far = begin.replace(year=begin.year + 10)
    info = timetable_from_schedule(schedule).next_run(None, TimeRestriction(begin, None, True), far)
    return () if info is None else (info.run_after.strftime("%Y-%m-%d %H:%M"),)


def executions(retries: int) -> tuple[str, ...]:
    """How often a task that always raises is started, by letting it fail until the engine has had enough."""
    now = datetime(2024, 1, 1, tzinfo=UTC)
    dag = DagSpec(dag_id="quiz", tasks={"task": TaskSpec(task_id="task", retries=retries)})
    run = Run(dag_id="quiz", run_id="run", state=RunState.RUNNING, run_after=now)
    for number in count(1):
        one = Instance(
            task_id="task",
            state=TaskState.RUNNING,
            try_number=number,
            max_tries=retries,
            attempt_id="now",
            start_date=now,
        )
        snapshot = Snapshot(dag=dag, run=run, instances={one.key: one})
        plan = react(snapshot, one.key, Failed(attempt_id="now", at=now))
        if plan.moves[0].target is TaskState.FAILED:
            return (str(number),)
    raise AssertionError("count() does not end")


def _verdict(rule: str, upstream: Sequence[str]) -> Verdict:
    return rule_verdict(rule, mask_of(map(TaskState, upstream)))


KEYS: Mapping[str, Key] = {
    "becomes": becomes,
    "walk": walk,
    "decides": decides,
    "rules": rules,
    "first_run": first_run,
    "executions": executions,
}


def key_values(key: Mapping[str, Any]) -> tuple[str, ...]:
    """What ``{"kind": ..., arguments}`` gives. Raises ValueError for a key that makes no sense."""
    arguments = dict(key)
    kind = arguments.pop("kind", None)
    if kind not in KEYS:
        raise ValueError(f"there is no key {kind!r}; known are {', '.join(KEYS)}")
    try:
        return KEYS[kind](**arguments)
    except (TypeError, KeyError) as error:
        raise ValueError(f"key {kind}: {error}") from None
