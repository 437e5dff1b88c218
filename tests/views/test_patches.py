"""Patches: what they say, and that they lead exactly from one state to the other."""

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
        | rows.map(lambda found: [{"id": name, "value": value} for name, value in found])
    )


JSON = st.recursive(SCALARS, _containers, max_leaves=25)


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
            id="a row came first",
        ),
        pytest.param(
            rows("a"), rows("a", "b"),
            [{"op": "set", "path": ["rows", "b"], "value": {"id": "b", "state": "running"}, "before": None}],
            id="a row came last",
        ),
        pytest.param(rows("a", "b"), rows("a"), [{"op": "remove", "path": ["rows", "b"]}], id="a row went"),
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
            [{"op": "remove", "path": ["a"]}, {"op": "set", "path": ["c"], "value": 3}], id="members came and went",
        ),
        pytest.param(1, True, [{"op": "set", "path": [], "value": True}], id="true is not 1"),
    ],
)  # fmt: skip
def test_a_patch_says_what_changed_and_no_more(before: Any, after: Any, operations: list[Any]) -> None:
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
def test_a_patch_of_another_state_is_refused(operation: dict[str, Any]) -> None:
    with pytest.raises(StalePatch, match="The patch was made from another state of the view"):
        apply_patch(rows("a"), [operation])
