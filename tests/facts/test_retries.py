"""The delay between a failed try and the next one."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest

from nbflow.core.retry import backoff_multiplier, retry_delay


@pytest.mark.facts("retries")
def test_a_failed_task_waits_as_long_as_in_airflow(case, check):
    exact = case["expected"]["exact"]

    check(lambda: [delay_of(case, **identity(row)) for row in exact], want=[row["seconds"] for row in exact])

    low, high = case["bounds_s"]
    delays = [delay_of(case, dag_id="sampled", task_id=f"task_{number}") for number in range(20)]
    assert [delay for delay in delays if not low <= delay <= high] == []


def identity(row: dict[str, Any]) -> dict[str, str]:
    return {"dag_id": row["dag_id"], "task_id": row["task_id"]}


def delay_of(case: dict[str, Any], *, dag_id: str, task_id: str) -> float:
    return retry_delay(
        delay_s=case["retry_delay_s"],
        multiplier=backoff_multiplier(case["retry_exponential_backoff"]),
        max_delay_s=case["max_retry_delay_s"],
        dag_id=dag_id,
        task_id=task_id,
        logical_date=datetime.fromisoformat(case["logical_date"]),
        failed_try=case["failed_try_number"],
    )
