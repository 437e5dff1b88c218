"""Patches: their operations, and that applying one gives exactly the other state."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbflow.errors import StalePatch
from nbflow.views.patches import apply_patch, patch

SCALARS = st.none() | st.booleans() | st.integers(-3, 3) | st.floats(allow_nan=False) | st.text("ab1", max_size=3)
IDS = st.sampled_from(["a", "b", "c", "d", "e"])
ROWS = st.dictionaries(IDS, st.dictionaries(st.sampled_from("xy"), SCALARS)).flatmap(
    lambda rows: st.permutations([{"id": name, **row} for name, row in rows.items()])
)


def _containers(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    names = st.sampled_from(["id", "a", "b", "c"])
    rows = st.lists(st.tuples(IDS, inner), unique_by=lambda row: row[0], max_size=4)
    return (
        st.lists(inner, max_size=4)
        | st.dictionaries(names, inner, max_size=4)
        | rows.map(lambda pairs: [{"id": name, "value": value} for name, value in pairs])
    )


JSON = st.recursive(SCALARS, _containers, max_leaves=25)


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


def rows(*ids: str, **changed: Any) -> dict[str, Any]:
    return {"rows": [{"id": name, "state": changed.get(name, "running")} for name in ids]}


@pytest.mark.parametrize(
    ("before", "after", "operations"),
    [
        pytest.param(
            rows("a", "b", "c"), rows("a", "b", "c", b="success"),
            [{"op": "set", "path": ["rows", "b", "state"], "value": "success"}], id="a row changed",
        ),
        pytest.param(
            rows("b", "c"), rows("a", "b", "c"),
            [{"op": "set", "path": ["rows", "a"], "value": {"id": "a", "state": "running"}, "before": "b"}],
            id="a row inserted first",
        ),
        pytest.param(
            rows("a"), rows("a", "b"),
            [{"op": "set", "path": ["rows", "b"], "value": {"id": "b", "state": "running"}, "before": None}],
            id="a row appended",
        ),
        pytest.param(rows("a", "b"), rows("a"), [{"op": "remove", "path": ["rows", "b"]}], id="a row removed"),
        pytest.param(
            rows("a", "b"), rows("b", "a"), [{"op": "set", "path": ["rows"], "value": rows("b", "a")["rows"]}],
            id="rows in another order",
        ),
        pytest.param(
            {"states": ["none", "none"]}, {"states": ["none", "queued"]},
            [{"op": "set", "path": ["states", 1], "value": "queued"}], id="an item of a list",
        ),
        pytest.param(
            {"states": ["none"]}, {"states": ["none", "queued"]},
            [{"op": "set", "path": ["states"], "value": ["none", "queued"]}], id="a list that grew",
        ),
        pytest.param(
            {"a": 1, "b": 2}, {"b": 2, "c": 3},
            [{"op": "remove", "path": ["a"]}, {"op": "set", "path": ["c"], "value": 3}], id="members added and removed",
        ),
        pytest.param(1, True, [{"op": "set", "path": [], "value": True}], id="true is not 1"),
    ],
)  # fmt: skip
def test_a_patch_has_only_the_changes(before: Any, after: Any, operations: list[Any]) -> None:
    assert patch(before, after) == operations
    assert same(apply_patch(before, operations), after)


@pytest.mark.parametrize(
    "operation",
    [
        {"op": "set", "path": ["rows", "z", "state"], "value": 1},
        {"op": "remove", "path": ["rows", "z"]},
        {"op": "set", "path": ["rows", "b"], "value": {"id": "b"}, "before": "z"},
        {"op": "set", "path": ["rows", 7], "value": 1},
        {"op": "set", "path": ["rows", -1], "value": 1},
        {"op": "remove", "path": ["other"]},
        {"op": "set", "path": ["other", "x"], "value": 1},
        {"op": "set", "path": ["rows", "a", "state", "x"], "value": 1},
    ],
)
def test_a_patch_from_another_state_raises(operation: dict[str, Any]) -> None:
    with pytest.raises(StalePatch, match="The patch starts from another state of the view"):
        apply_patch(rows("a"), [operation])
