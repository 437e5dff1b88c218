"""The faster ``dataclasses.replace``."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbflow.core.fast_replace import replacer
from nbflow.core.snapshot import Instance, Run, change, change_run
from nbflow.core.states import TaskState

T0 = datetime(2026, 3, 1, tzinfo=UTC)
changes = st.fixed_dictionaries(
    {},
    optional={
        "state": st.sampled_from(TaskState),
        "try_number": st.integers(0, 5),
        "attempt_id": st.none() | st.text(max_size=3),
        "skips": st.lists(st.text(max_size=2), max_size=2).map(tuple),
        "start_date": st.none() | st.just(T0),
    },
)


@given(before=changes, after=changes)
def test_change_gives_the_same_as_replace_and_leaves_the_original_unchanged(
    before: dict[str, Any], after: dict[str, Any]
) -> None:
    ti = Instance(task_id="a", **before)

    changed = change(ti, **after)

    assert changed == replace(ti, **after)
    assert hash(changed) == hash(replace(ti, **after))
    assert ti == Instance(task_id="a", **before)


def test_change_run_gives_the_same_as_replace() -> None:
    run = Run(dag_id="d", run_id="r", run_after=T0)
    assert change_run(run, revision=3, conf={"a": 1}) == replace(run, revision=3, conf={"a": 1})


def test_a_name_that_is_not_a_field_is_refused() -> None:
    with pytest.raises(TypeError, match="Instance has no field 'sate'"):
        change(Instance(task_id="a"), sate="x")


def test_a_class_that_checks_its_fields_or_has_no_slots_is_refused() -> None:
    @dataclass(frozen=True, slots=True)
    class WithPostInit:
        number: int

        def __post_init__(self) -> None:
            raise AssertionError

    @dataclass(frozen=True)
    class WithoutSlots:
        number: int

    for cls in (WithPostInit, WithoutSlots):
        with pytest.raises(TypeError, match=f"{cls.__name__} is not a dataclass with slots and without __post_init__"):
            replacer(cls)
