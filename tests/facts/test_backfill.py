"""The runs that a backfill creates, and the order in which they start."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest

from nbflow.core.backfill import BackfillPlan, ExistingRun, plan_backfill
from nbflow.core.dispatch import RunLimits, plan_run_starts
from nbflow.core.snapshot import Run
from nbflow.core.states import RunState

from .test_timetables import moment, timetable_of

_BACKFILL = 1


@pytest.mark.facts("backfill")
def test_a_backfill_creates_and_starts_the_same_runs_as_airflow(case, check):
    expected = check.expected

    check(
        lambda: [entry.logical_date.isoformat() for entry in plan(case, dry_run=True).to_run], want=expected["dry_run"]
    )
    if "raises" in expected:
        check(lambda: plan(case), want={"raises": expected["raises"]})
    else:
        check(lambda: as_rows(plan(case)), want=expected["runs"])
    if "start_batches" in expected:
        check(lambda: start_batches(case), want=expected["start_batches"])


def plan(case: dict[str, Any], *, dry_run: bool = False) -> BackfillPlan:
    return plan_backfill(
        timetable_of(case),
        dag_id="d",
        from_date=moment(case["from_date"]),
        to_date=moment(case["to_date"]),
        now=moment(case["now"]),
        existing=existing_runs(case),
        reprocess=case["reprocess_behavior"],
        run_backwards=case["run_backwards"],
        depends_on_past=case["depends_on_past"],
        another_active=case["another_active_backfill"],
        dry_run=dry_run,
    )


def existing_runs(case: dict[str, Any]) -> list[ExistingRun]:
    runs = []
    for date, state, *run_type in case["existing"]:
        at = moment(date)
        run_id = f"{run_type[0] if run_type else 'scheduled'}__existing_{at.isoformat()}"
        runs.append(ExistingRun(run_id=run_id, logical_date=at, state=RunState(state)))
    if case["another_active_backfill"]:
        # The table does not hold the runs of the other backfill; its dry runs omit all days but the last.
        at = moment(case["from_date"])
        while at < moment(case["to_date"]):
            runs.append(ExistingRun(run_id=f"other__{at}", logical_date=at, state=RunState.QUEUED))
            at += timedelta(days=1)
    return runs


def as_rows(plan: BackfillPlan) -> list[dict[str, Any]]:
    rows = []
    for entry in plan.entries:
        row: dict[str, Any] = {
            "ordinal": entry.ordinal,
            "logical_date": entry.logical_date.isoformat(),
            "not_created_because": entry.not_created_because,
        }
        if entry.not_created_because is None:
            row |= {"run_id": entry.run_id, "run_type": "backfill", "state": "queued"}
            row["run_after"] = entry.info.run_after.isoformat()
        rows.append(row)
    return rows


def start_batches(case: dict[str, Any]) -> list[list[str]]:
    """The running runs of each round; a round starts when all runs of the previous one have succeeded."""
    entries = plan(case).to_run
    dates = {entry.run_id: entry.logical_date.isoformat() for entry in entries}
    backfilled = set(dates)
    others = [run for run in existing_runs(case) if run.run_id not in backfilled]
    dates |= {run.run_id: run.logical_date.isoformat() for run in others}
    now = moment(case["now"])
    waiting = [a_run(entry.run_id, now, backfill_id=_BACKFILL) for entry in entries]
    waiting += [a_run(run.run_id, now) for run in others if run.state is RunState.QUEUED]
    running = [a_run(run.run_id, now) for run in others if run.state is RunState.RUNNING]
    limits = RunLimits(
        max_active_runs={"d": case["dag_max_active_runs"]}, backfills={_BACKFILL: case["max_active_runs"]}
    )

    batches: list[list[str]] = []
    while waiting or running:
        plan_ = plan_run_starts(waiting, running, limits, now)
        started = [op.run.run_id for op in plan_.ops]
        batches.append(sorted(dates[run_id] for run_id in [*(run.run_id for run in running), *started]))
        waiting = [run for run in waiting if run.key in plan_.run_waits]
        running = []
    return batches


def a_run(run_id: str, at: datetime, *, backfill_id: int | None = None) -> Run:
    return Run(dag_id="d", run_id=run_id, run_after=at, backfill_id=backfill_id)
