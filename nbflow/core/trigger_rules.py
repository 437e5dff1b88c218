"""Trigger rules: the verdict on a task, given the states of its upstream tasks.

Theory
------
A verdict depends only on *which* finished states exist upstream, not on how many instances have each (observed in
Airflow: all cases with the same set of states agree). So a rule is a function from that set, a bit mask, to a verdict.
:data:`FINAL` holds the rules for the case that every upstream instance has finished.

While an upstream instance is unfinished, :func:`rule_verdict` considers every state that it may end in: it applies the
final rule with each finished state added. (Adding several states at once gives nothing new: the set only grows, and
each rule's early verdicts are closed under growth, which a test checks by brute force.) If all possible ends agree on
skip or fail, that is decided now. If they agree on run, the task starts early only under the rules in
:data:`STARTS_EARLY`; ``all_done`` would otherwise not wait for anything. So a verdict never depends on the order of
events.

This is the one place where nbflow differs from Airflow: under ``all_success`` Airflow skips as soon as one upstream
task is skipped, and the result for {skipped, failed} depends on the order of arrival; nbflow waits, and the task
becomes upstream_failed if any upstream task failed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from enum import Enum, StrEnum
from functools import cache
from types import MappingProxyType

from nbflow.core.states import FINISHED, TaskState


class TriggerRule(StrEnum):
    """Airflow's trigger rules, with their names in Airflow 3."""

    ALL_SUCCESS = "all_success"
    ALL_FAILED = "all_failed"
    ALL_DONE = "all_done"
    ALL_DONE_MIN_ONE_SUCCESS = "all_done_min_one_success"
    ALL_DONE_SETUP_SUCCESS = "all_done_setup_success"
    ONE_SUCCESS = "one_success"
    ONE_FAILED = "one_failed"
    ONE_DONE = "one_done"
    NONE_FAILED = "none_failed"
    NONE_FAILED_MIN_ONE_SUCCESS = "none_failed_min_one_success"
    NONE_SKIPPED = "none_skipped"
    ALL_SKIPPED = "all_skipped"
    ALWAYS = "always"


OLD_NAMES: Mapping[str, TriggerRule] = MappingProxyType(
    {
        "dummy": TriggerRule.ALWAYS,
        "none_failed_or_skipped": TriggerRule.NONE_FAILED_MIN_ONE_SUCCESS,
    }
)
"""Names of Airflow 2 -> the rule."""


class Verdict(Enum):
    """What a trigger rule decides about a task."""

    RUN = "run"
    SKIP = "skipped"
    FAIL = "upstream_failed"
    WAIT = "wait"
    STUCK = "stuck"
    """Every upstream instance has finished, and the rule gives no result: the task waits for ever."""


BIT: Mapping[TaskState, int] = MappingProxyType({state: 1 << i for i, state in enumerate(sorted(FINISHED))})
UNFINISHED_BIT = 1 << len(BIT)
_STATE_BIT: Mapping[TaskState, int] = MappingProxyType({state: BIT.get(state, UNFINISHED_BIT) for state in TaskState})

_S, _F, _K, _U, _R = (
    BIT[s]
    for s in (TaskState.SUCCESS, TaskState.FAILED, TaskState.SKIPPED, TaskState.UPSTREAM_FAILED, TaskState.REMOVED)
)
_BAD = _F | _U


def mask_of(states: Iterable[TaskState]) -> int:
    """The set of states as a bit mask; all unfinished states share one bit."""
    mask = 0
    for state in states:
        mask |= _STATE_BIT[state]
    return mask


def _all_success(m: int) -> Verdict:
    return Verdict.FAIL if m & _BAD else Verdict.SKIP if m & _K else Verdict.RUN


def _all_failed(m: int) -> Verdict:
    return Verdict.SKIP if m & (_S | _K) else Verdict.RUN


def _all_done_min_one_success(m: int) -> Verdict:
    return Verdict.SKIP if m & _K else Verdict.RUN if m & _S else Verdict.FAIL


def _all_skipped(m: int) -> Verdict:
    return Verdict.SKIP if m & (_S | _BAD) else Verdict.STUCK if m & _R else Verdict.RUN


def _none_failed(m: int) -> Verdict:
    return Verdict.FAIL if m & _BAD else Verdict.RUN


def _none_failed_min_one_success(m: int) -> Verdict:
    if m & _BAD:
        return Verdict.FAIL
    return Verdict.RUN if m & _S else Verdict.SKIP if m == _K else Verdict.FAIL


def _one_success(m: int) -> Verdict:
    return Verdict.RUN if m & _S else Verdict.SKIP if m == _K else Verdict.FAIL


def _one_failed(m: int) -> Verdict:
    return Verdict.RUN if m & _BAD else Verdict.SKIP


def _one_done(m: int) -> Verdict:
    return Verdict.RUN if m & (_S | _F) else Verdict.SKIP


def _none_skipped(m: int) -> Verdict:
    return Verdict.SKIP if m & _K else Verdict.RUN


def _run(_m: int) -> Verdict:
    return Verdict.RUN


FINAL: Mapping[str, Callable[[int], Verdict]] = MappingProxyType(
    {
        TriggerRule.ALL_SUCCESS: _all_success,
        TriggerRule.ALL_FAILED: _all_failed,
        TriggerRule.ALL_DONE: _run,
        TriggerRule.ALL_DONE_MIN_ONE_SUCCESS: _all_done_min_one_success,
        TriggerRule.ALL_DONE_SETUP_SUCCESS: _run,
        TriggerRule.ONE_SUCCESS: _one_success,
        TriggerRule.ONE_FAILED: _one_failed,
        TriggerRule.ONE_DONE: _one_done,
        TriggerRule.NONE_FAILED: _none_failed,
        TriggerRule.NONE_FAILED_MIN_ONE_SUCCESS: _none_failed_min_one_success,
        TriggerRule.NONE_SKIPPED: _none_skipped,
        TriggerRule.ALL_SKIPPED: _all_skipped,
        TriggerRule.ALWAYS: _run,
    }
)
"""rule -> verdict on a non-empty set of finished states."""

STARTS_EARLY = frozenset({TriggerRule.ONE_SUCCESS, TriggerRule.ONE_FAILED, TriggerRule.ONE_DONE, TriggerRule.ALWAYS})
"""Rules under which a task may start before all upstream tasks have finished."""

SENTENCES: Mapping[str, str] = MappingProxyType(
    {
        TriggerRule.ALL_SUCCESS: "all upstream tasks must succeed",
        TriggerRule.ALL_FAILED: "all upstream tasks must fail",
        TriggerRule.ALL_DONE: "all upstream tasks must finish, in any state",
        TriggerRule.ALL_DONE_MIN_ONE_SUCCESS: "all upstream tasks must finish, none skipped, at least one succeeded",
        TriggerRule.ALL_DONE_SETUP_SUCCESS: "all upstream tasks must finish, and a setup must have succeeded",
        TriggerRule.ONE_SUCCESS: "one upstream task must succeed",
        TriggerRule.ONE_FAILED: "one upstream task must fail",
        TriggerRule.ONE_DONE: "one upstream task must succeed or fail",
        TriggerRule.NONE_FAILED: "all upstream tasks must succeed or be skipped",
        TriggerRule.NONE_FAILED_MIN_ONE_SUCCESS: "no upstream task may fail, and one must succeed",
        TriggerRule.NONE_SKIPPED: "no upstream task may be skipped",
        TriggerRule.ALL_SKIPPED: "all upstream tasks must be skipped",
        TriggerRule.ALWAYS: "it waits for no task",
    }
)
"""rule -> its meaning in words."""


def rule_verdict(rule: str, mask: int) -> Verdict:
    """Verdict of ``rule``; ``mask`` holds the states of the direct upstream instances (:func:`mask_of`; 0: none)."""
    return _verdict(FINAL[rule], mask, rule in STARTS_EARLY)


@cache
def _verdict(final: Callable[[int], Verdict], mask: int, starts_early: bool) -> Verdict:
    if mask == 0:
        return Verdict.RUN
    if not mask & UNFINISHED_BIT:
        return final(mask)
    finished = mask & ~UNFINISHED_BIT
    possible = {final(finished | bit) for bit in BIT.values()}
    if len(possible) == 1:
        (verdict,) = possible
        if verdict in (Verdict.SKIP, Verdict.FAIL) or (verdict is Verdict.RUN and starts_early):
            return verdict
    return Verdict.WAIT


def _setups_final(m: int) -> Verdict:
    return Verdict.RUN if m & _S else Verdict.FAIL if m & _BAD else Verdict.SKIP


def teardown_verdict(setups: int, others: int) -> Verdict:
    """Verdict on a teardown: it runs when all upstream tasks have finished and one of its setups succeeded (if it has
    any). Both arguments are masks."""
    if (setups | others) & UNFINISHED_BIT:
        return Verdict.WAIT
    return Verdict.RUN if setups == 0 else _setups_final(setups)


def setup_verdict(setups: int) -> Verdict:
    """Verdict of the setups in whose scope a task lies (a mask): each must succeed, under any trigger rule."""
    if setups & _BAD:
        return Verdict.FAIL
    if setups & UNFINISHED_BIT:
        return Verdict.WAIT
    return Verdict.SKIP if setups & _K else Verdict.RUN
