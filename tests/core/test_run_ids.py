"""Run ids: behaviour that tests/facts does not cover."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from nbflow.core.run_ids import RunType, make_run_id, run_type_of

AT = datetime(2024, 1, 2, tzinfo=UTC)


@pytest.mark.parametrize("run_type", list(RunType))
def test_the_type_of_every_run_id_can_be_read_back(run_type):
    assert run_type_of(make_run_id(run_type, logical_date=AT, run_after=AT)) is run_type


@pytest.mark.parametrize("run_id", ["", "scheduled", "scheduled_x", "__", "SCHEDULED__x", "my__run"])
def test_an_id_of_another_form_is_that_of_a_manual_run(run_id):
    assert run_type_of(run_id) is RunType.MANUAL


def test_a_run_without_a_logical_date_needs_a_token():
    with pytest.raises(ValueError, match="needs a token"):
        make_run_id("manual", logical_date=None, run_after=AT)


def test_an_unknown_type_is_refused():
    with pytest.raises(ValueError, match="lunar"):
        make_run_id("lunar", logical_date=AT, run_after=AT)
