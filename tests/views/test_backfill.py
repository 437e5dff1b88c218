"""One backfill, previewed or made."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

from nbflow.core.backfill import plan_backfill
from nbflow.core.timetables import timetable_from_schedule
from nbflow.views.backfill import backfill_view
from tests.views.samples import NOW


def test_a_backfill_over_a_change_of_the_clocks_says_so() -> None:
    # Given a daily backfill over the night in which Berlin's clocks go forward
    berlin = ZoneInfo("Europe/Berlin")
    plan = plan_backfill(
        timetable_from_schedule("@daily", berlin),
        dag_id="d",
        from_date=datetime(2024, 3, 30, tzinfo=berlin),
        to_date=datetime(2024, 4, 1, tzinfo=berlin),
        now=NOW,
        dry_run=True,
    )
    view = backfill_view("d", plan, berlin, dry_run=True)
    # Then the day that is short is remarked upon
    assert view.remarks == ("The clocks go forward on 31 Mar 2024: that interval has 23 hours.",)
    assert [run.action for run in view.runs] == ["make", "make", "make"]
