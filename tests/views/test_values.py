"""The priority of states in legends and counts."""

from __future__ import annotations

from nbflow.core.states import TaskState
from nbflow.state_colors import glyphs
from nbflow.views.shared import STATE_PRIORITY, state_counts


def test_every_state_has_a_priority_and_legends_have_its_order() -> None:
    assert set(STATE_PRIORITY) == {state.value for state in TaskState}
    assert list(glyphs()) == list(STATE_PRIORITY)
    # And an unknown state comes last
    assert list(state_counts(["success", "later", "failed", ""])) == ["failed", "success", "none", "later"]
