"""Patches: their operations, and that applying one gives exactly the other state."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given

from nbflow.errors import StalePatch
from nbflow.views.patches import apply_patch, patch
from tests.views.patch_cases import CHANGES, JSON, REFUSED, REFUSED_BY, ROWS


def same(left: Any, right: Any) -> bool:
    """Equal, and of the same types: in JSON, true is not 1."""
    if type(left) is not type(right):
        return False
    if isinstance(left, dict):
        return left.keys() == right.keys() and all(same(left[name], right[name]) for name in left)
    if isinstance(left, list):
        return len(left) == len(right) and all(map(same, left, right))
    return bool(left == right)


@given(before=JSON, after=JSON)
def test_a_patch_turns_any_json_into_any_other(before: Any, after: Any) -> None:
    original = copy.deepcopy(before)

    assert same(apply_patch(before, patch(before, after)), after)
    # And the given document is unchanged
    assert same(before, original)


@given(before=ROWS, after=ROWS)
def test_a_patch_turns_any_rows_into_any_others(before: Any, after: Any) -> None:
    assert same(apply_patch({"rows": before}, patch({"rows": before}, {"rows": after})), {"rows": after})


@given(value=JSON)
def test_the_patch_between_equal_values_is_empty(value: Any) -> None:
    assert patch(value, copy.deepcopy(value)) == []


@pytest.mark.parametrize("case", CHANGES, ids=lambda case: case["case"])
def test_a_patch_has_only_the_changes(case: dict[str, Any]) -> None:
    assert patch(case["before"], case["after"]) == case["patch"]
    assert same(apply_patch(case["before"], case["patch"]), case["after"])


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: case["case"])
def test_a_patch_from_another_state_raises(case: dict[str, Any]) -> None:
    with pytest.raises(StalePatch, match="The patch starts from another state of the view"):
        apply_patch(REFUSED_BY, [case["operation"]])
