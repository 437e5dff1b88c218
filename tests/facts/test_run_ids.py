"""Run ids, and the run types read from them."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any

import pytest

from nbflow.core.run_ids import make_run_id, run_type_of

_TOKEN = re.compile(r"<8 random letters or digits>$")


@pytest.mark.facts("run_ids")
def test_run_ids_are_those_of_airflow(case, check):
    if "run_id" in case:
        check(lambda: str(run_type_of(case["run_id"])))
    else:
        check(lambda: run_id_of(case), want=_TOKEN.sub("a1B2c3D4", check.expected))


def run_id_of(case: dict[str, Any]) -> str:
    logical_date, run_after = (
        None if case[key] is None else datetime.fromisoformat(case[key]) for key in ("logical_date", "run_after")
    )
    return make_run_id(case["run_type"], logical_date=logical_date, run_after=run_after, token="a1B2c3D4")
