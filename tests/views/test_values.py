"""What several views share."""

from __future__ import annotations

from nbflow.core.states import TaskState
from nbflow.ui.state_colors import glyphs
from nbflow.views.shared import LOUDEST_FIRST, state_counts


def test_every_state_has_its_place_and_legends_keep_it() -> None:
    assert set(LOUDEST_FIRST) == {state.value for state in TaskState}
    assert list(glyphs()) == list(LOUDEST_FIRST)
    # And a state of a newer version comes last
    assert list(state_counts(["success", "later", "failed", ""])) == ["failed", "success", "none", "later"]
