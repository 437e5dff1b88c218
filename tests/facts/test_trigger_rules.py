"""Trigger rules on sets of upstream states: the decision of one scheduler loop."""

from __future__ import annotations

import pytest

from nbflow.core.states import TaskState
from nbflow.core.trigger_rules import Verdict, mask_of, rule_verdict, teardown_verdict


def _states(names):
    return [TaskState(name) if name else TaskState.NONE for name in names]


def _word(verdict: Verdict) -> str:
    """The table has "wait" also for a rule that can never be met; the run then ends as deadlocked."""
    return "wait" if verdict is Verdict.STUCK else verdict.value


@pytest.mark.facts("trigger_rules")
def test_trigger_rule(case, check):
    check(lambda: _word(rule_verdict(case["trigger_rule"], mask_of(_states(case["upstream"])))))


@pytest.mark.facts("trigger_rules_teardown")
def test_teardown(case, check):
    setups = mask_of(_states(up["state"] for up in case["upstream"] if up["is_setup"]))
    others = mask_of(_states(up["state"] for up in case["upstream"] if not up["is_setup"]))
    check(lambda: _word(teardown_verdict(setups, others)))
