"""Skipping what only the newest run should do, while older intervals are made up for."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from nbflow.operators.base import BaseBranchOperator

if TYPE_CHECKING:
    from nbflow.authoring.context import Context


class LatestOnlyOperator(BaseBranchOperator):
    """Skips the tasks directly after it, unless the run is about the latest interval or was triggered by hand."""

    ui_color = "#e9ffdb"

    def choose_branch(self, context: Context) -> Iterable[str]:
        ti = context["ti"]
        if ti.run.run_type == "manual":
            self.log.info("This run was triggered by hand: go on.")
            return sorted(self.downstream_task_ids)
        begin = ti.run.data_interval_end or ti.run.run_after
        following = ti.runtime.next_interval_after(begin)
        now = ti.runtime.now()
        if following is None:
            self.log.info("No run comes after this one: go on.")
            return sorted(self.downstream_task_ids)
        start, end = following
        # An instant in place of a period (a trigger timetable): this run is the latest until that instant.
        latest = now < start if start == end else start < now <= end
        times = (start.isoformat(), end.isoformat(), now.isoformat(timespec="seconds"))
        self.log.info("The next interval is %s to %s, and it is now %s: %s.", *times, "go on" if latest else "skip")
        return sorted(self.downstream_task_ids) if latest else []
