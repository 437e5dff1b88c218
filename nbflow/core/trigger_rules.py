"""Trigger rules: what the states of the tasks before it mean for a task.

Theory
------
A verdict depends only on *which* finished states stand upstream, not on how many of each (observed in Airflow: every
case of one set of states agrees). So a rule is one plain function from that set to a verdict, and the set is a bit
mask. :data:`FINAL` holds the rules for the case that everything upstream has finished.

While something upstream is unfinished, :func:`verdict` asks what every end of it could bring: it tries the final rule
with each finished state added (adding several adds nothing new: the set grows, and each rule's early answers are
closed under growth, which a test checks by brute force). If all ends agree on skip or fail, that is decided now; if
they agree on run, the task starts early only under a rule that is about the first to come (``STARTS_EARLY``):
``all_done`` would otherwise not wait for anything. So a verdict never depends on the order of events.

That is also the one place where nbflow differs from Airflow: under ``all_success`` a skipped upstream makes Airflow
skip at once, and {skipped, failed} then ends by order of arrival; here it waits, and ends upstream_failed if any
failed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from enum import Enum, StrEnum
from functools import cache
from types import MappingProxyType

from nbflow.core.states import FINISHED, TaskState


class TriggerRule(StrEnum):
    """Airflow's trigger rules, by their names of 3.x."""

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
"""Names that only Airflow 2.x has, and today's rule."""


class Verdict(Enum):
    """What a rule says."""

    RUN = "run"
    SKIP = "skipped"
    FAIL = "upstream_failed"
    WAIT = "wait"
    STUCK = "stuck"
    """Everything upstream has finished and the rule is neither met nor broken: it never will be."""


BIT: Mapping[TaskState, int] = MappingProxyType({state: 1 << i for i, state in enumerate(sorted(FINISHED))})
UNFINISHED_BIT = 1 << len(BIT)
_OF_STATE: Mapping[TaskState, int] = MappingProxyType({state: BIT.get(state, UNFINISHED_BIT) for state in TaskState})

_S, _F, _K, _U, _R = (
    BIT[s]
    for s in (TaskState.SUCCESS, TaskState.FAILED, TaskState.SKIPPED, TaskState.UPSTREAM_FAILED, TaskState.REMOVED)
)
_BAD = _F | _U


def mask_of(states: Iterable[TaskState]) -> int:
    """The set of states as a bit mask; all unfinished states are one."""
    mask = 0
    for state in states:
        mask |= _OF_STATE[state]
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
"""Rules under which a task may start before everything upstream has finished."""

SENTENCES: Mapping[str, str] = MappingProxyType(
    {
        TriggerRule.ALL_SUCCESS: "all tasks before it must succeed",
        TriggerRule.ALL_FAILED: "all tasks before it must fail",
        TriggerRule.ALL_DONE: "all tasks before it must end, however",
        TriggerRule.ALL_DONE_MIN_ONE_SUCCESS: "all tasks before it must end, none skipped, at least one succeeded",
        TriggerRule.ALL_DONE_SETUP_SUCCESS: "all tasks before it must end, and a setup must have succeeded",
        TriggerRule.ONE_SUCCESS: "one task before it must succeed",
        TriggerRule.ONE_FAILED: "one task before it must fail",
        TriggerRule.ONE_DONE: "one task before it must succeed or fail",
        TriggerRule.NONE_FAILED: "all tasks before it must succeed or be skipped",
        TriggerRule.NONE_FAILED_MIN_ONE_SUCCESS: "none before it may fail, and one must succeed",
        TriggerRule.NONE_SKIPPED: "none before it may be skipped",
        TriggerRule.ALL_SKIPPED: "all tasks before it must be skipped",
        TriggerRule.ALWAYS: "it waits for nothing",
    }
)


def verdict(rule: str, mask: int) -> Verdict:
    """Verdict of ``rule`` on the states of the direct upstream instances (see :func:`mask_of`; 0: there are none)."""
    return _verdict(FINAL[rule], mask, rule in STARTS_EARLY)


@cache
def _verdict(final: Callable[[int], Verdict], mask: int, starts_early: bool) -> Verdict:
    if mask == 0:
        return Verdict.RUN
    if not mask & UNFINISHED_BIT:
        return final(mask)
    seen = mask & ~UNFINISHED_BIT
    possible = {final(seen | end) for end in BIT.values()}
    if len(possible) == 1:
        (sure,) = possible
        if sure in (Verdict.SKIP, Verdict.FAIL) or (sure is Verdict.RUN and starts_early):
            return sure
    return Verdict.WAIT


def _setups_final(m: int) -> Verdict:
    return Verdict.RUN if m & _S else Verdict.FAIL if m & _BAD else Verdict.SKIP


def teardown_verdict(setups: int, others: int) -> Verdict:
    """Verdict for a teardown: everything upstream has ended, and one of its setups succeeded (where it has any)."""
    if (setups | others) & UNFINISHED_BIT:
        return Verdict.WAIT
    return Verdict.RUN if setups == 0 else _setups_final(setups)


def setup_verdict(setups: int) -> Verdict:
    """Verdict of the setups in whose scope a task lies: each must have succeeded, whatever the task's own rule says."""
    if setups & _BAD:
        return Verdict.FAIL
    if setups & UNFINISHED_BIT:
        return Verdict.WAIT
    return Verdict.SKIP if setups & _K else Verdict.RUN
