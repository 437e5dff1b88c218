"""Answers that the engine computes, so that a quiz cannot teach what nbflow does not do.

A question in a quiz file may hold a key and its arguments instead of an answer; ``KEYS`` is the table of keys. A key
returns the values of the right options (``"is"`` in the file), in the right order for an order question.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from itertools import count, pairwise
from typing import Any

from nbflow.core.attempt_events import Failed
from nbflow.core.event_handlers import handle_event
from nbflow.core.snapshot import Instance, Run, Snapshot
from nbflow.core.spec import DagSpec, TaskSpec
from nbflow.core.states import TRANSITIONS, Cause, RunState, TaskState
from nbflow.core.timetables import TimeRestriction, as_utc, timetable_from_schedule
from nbflow.core.trigger_rules import FINAL, Verdict, mask_of, rule_verdict

Key = Callable[..., tuple[str, ...]]


def becomes(source: str, cause: str) -> tuple[str, ...]:
    """The states to which ``cause`` can move a task instance in state ``source``."""
    return tuple(sorted(state.value for state in TRANSITIONS[TaskState(source)][Cause(cause)]))


def walk(states: Sequence[str]) -> tuple[str, ...]:
    """Return ``states`` unchanged. Raises ValueError if ``TRANSITIONS`` lacks a transition from one to the next."""
    for source, target in pairwise(map(TaskState, states)):
        if not any(target in targets for targets in TRANSITIONS[source].values()):
            raise ValueError(f"no transition leads from {source} to {target}")
    return tuple(states)


def decides(rule: str, upstream: Sequence[str]) -> tuple[str, ...]:
    """The verdict of a trigger rule on the upstream states: run, skipped, upstream_failed or wait."""
    return (_verdict(rule, upstream).value,)


def rules(runs_after: Sequence[Sequence[str]], not_after: Sequence[Sequence[str]]) -> tuple[str, ...]:
    """The trigger rules that run a task for all upstream states in ``runs_after`` and for none in ``not_after``."""
    return tuple(
        sorted(
            rule
            for rule in FINAL
            if all(_verdict(rule, states) is Verdict.RUN for states in runs_after)
            and not any(_verdict(rule, states) is Verdict.RUN for states in not_after)
        )
    )


def first_run(schedule: str, start: str) -> tuple[str, ...]:
    """The time at which the first run of a schedule starts, with catchup."""
    start_date = as_utc(datetime.fromisoformat(start))
    now = start_date.replace(year=start_date.year + 10)
    info = timetable_from_schedule(schedule).next_run(None, TimeRestriction(start_date, None, True), now)
    return () if info is None else (info.run_after.strftime("%Y-%m-%d %H:%M"),)


def executions(retries: int) -> tuple[str, ...]:
    """How often a task that always raises is started: ``handle_event`` is called until it returns the state failed."""
    now = datetime(2024, 1, 1, tzinfo=UTC)
    dag = DagSpec(dag_id="quiz", tasks={"task": TaskSpec(task_id="task", retries=retries)})
    run = Run(dag_id="quiz", run_id="run", state=RunState.RUNNING, run_after=now)
    for try_number in count(1):
        ti = Instance(
            task_id="task",
            state=TaskState.RUNNING,
            try_number=try_number,
            max_tries=retries,
            attempt_id="now",
            start_date=now,
        )
        snapshot = Snapshot(dag=dag, run=run, instances={ti.key: ti})
        plan = handle_event(snapshot, ti.key, Failed(attempt_id="now", at=now))
        if plan.moves[0].target is TaskState.FAILED:
            return (str(try_number),)
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
    """The values of the key ``{"kind": ..., arguments}``. Raises ValueError for an unknown kind or wrong arguments."""
    arguments = dict(key)
    kind = arguments.pop("kind", None)
    if kind not in KEYS:
        raise ValueError(f"unknown key {kind!r}; the keys are {', '.join(KEYS)}")
    try:
        return KEYS[kind](**arguments)
    except (TypeError, KeyError) as error:
        raise ValueError(f"key {kind}: {error}") from None
