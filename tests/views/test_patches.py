"""Patches: what they contain, and that they lead exactly from one state to the other."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given

from nbflow.errors import StalePatch
from nbflow.views.patches import apply_patch, patch
from tests.views.patch_cases import CHANGES, JSON, REFUSED, REFUSED_BY, ROWS


def same(one: Any, other: Any) -> bool:
    """Equal, and of the same types: in JSON, true is not 1."""
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[name], other[name]) for name in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)


@given(before=JSON, after=JSON)
def test_a_patch_leads_from_any_json_to_any_other(before: Any, after: Any) -> None:
    kept = copy.deepcopy(before)

    assert same(apply_patch(before, patch(before, after)), after)
    # And what it started from is as it was
    assert same(before, kept)


@given(before=ROWS, after=ROWS)
def test_a_patch_leads_from_any_rows_to_any_others(before: Any, after: Any) -> None:
    assert same(apply_patch({"rows": before}, patch({"rows": before}, {"rows": after})), {"rows": after})


@given(value=JSON)
def test_nothing_leads_from_a_value_to_itself(value: Any) -> None:
    assert patch(value, copy.deepcopy(value)) == []


@pytest.mark.parametrize("case", CHANGES, ids=lambda case: case["case"])
def test_a_patch_says_what_changed_and_no_more(case: dict[str, Any]) -> None:
    assert patch(case["before"], case["after"]) == case["patch"]
    assert same(apply_patch(case["before"], case["patch"]), case["after"])


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: case["case"])
def test_a_patch_of_another_state_is_refused(case: dict[str, Any]) -> None:
    with pytest.raises(StalePatch, match="The patch was made from another state of the view"):
        apply_patch(REFUSED_BY, [case["operation"]])
