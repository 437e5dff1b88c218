"""Skipping tasks in the runs of past intervals (catchup, backfill)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from nbflow.operators.base import BaseBranchOperator

if TYPE_CHECKING:
    from nbflow.authoring.context import Context


class LatestOnlyOperator(BaseBranchOperator):
    """Skips the direct downstream tasks, unless the run's data interval is the latest or the run was triggered
    manually."""

    ui_color = "#e9ffdb"

    def choose_branch(self, context: Context) -> Iterable[str]:
        ti = context["ti"]
        if ti.run.run_type == "manual":
            self.log.info("The run was triggered manually, so its tasks run.")
            return sorted(self.downstream_task_ids)
        end_of_run = ti.run.data_interval_end or ti.run.run_after
        following = ti.runtime.next_interval_after(end_of_run)
        now = ti.runtime.now()
        if following is None:
            self.log.info("There is no later run, so its tasks run.")
            return sorted(self.downstream_task_ids)
        start, end = following
        # start == end (a trigger timetable): this run is the latest until the next one.
        latest = now < start if start == end else start < now <= end
        times = (start.isoformat(), end.isoformat(), now.isoformat(timespec="seconds"))
        outcome = "the latest run, so its tasks run" if latest else "not the latest run, so its tasks are skipped"
        self.log.info("The next interval is %s to %s, and it is now %s: this is %s.", *times, outcome)
        return sorted(self.downstream_task_ids) if latest else []
