"""Changing frozen values."""

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
def test_a_changed_instance_is_what_replace_gives_and_the_old_one_is_as_it_was(
    before: dict[str, Any], after: dict[str, Any]
) -> None:
    one = Instance(task_id="a", **before)

    changed = change(one, **after)

    assert changed == replace(one, **after)
    assert hash(changed) == hash(replace(one, **after))
    assert one == Instance(task_id="a", **before)


def test_a_run_is_changed_likewise() -> None:
    run = Run(dag_id="d", run_id="r", run_after=T0)
    assert change_run(run, revision=3, conf={"a": 1}) == replace(run, revision=3, conf={"a": 1})


def test_a_name_that_is_no_field_is_refused() -> None:
    with pytest.raises(TypeError, match="Instance has no field 'sate'"):
        change(Instance(task_id="a"), sate="x")


def test_a_class_that_checks_its_fields_or_has_no_slots_is_refused() -> None:
    @dataclass(frozen=True, slots=True)
    class Checked:
        one: int

        def __post_init__(self) -> None:
            raise AssertionError

    @dataclass(frozen=True)
    class Roomy:
        one: int

    for cls in (Checked, Roomy):
        with pytest.raises(TypeError, match=f"{cls.__name__} is not a dataclass of slots alone"):
            replacer(cls)
