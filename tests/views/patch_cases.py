"""The cases of patch_cases.json, which the implementations in Python and in JavaScript pass, and any JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

CASES = json.loads(Path(__file__).with_suffix(".json").read_text("utf-8"))
CHANGES: list[dict[str, Any]] = CASES["changes"]
REFUSED: list[dict[str, Any]] = CASES["refused"]
REFUSED_BY: dict[str, Any] = CASES["refused_by"]
"""The document to which no operation of REFUSED applies."""

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-3, 3)
    | st.floats(allow_nan=False, allow_infinity=False)  # JSON has neither
    | st.text("ab1", max_size=3)
)
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
