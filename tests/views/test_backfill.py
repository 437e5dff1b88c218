"""The view of a backfill and of a dry run."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from nbflow.clock import VirtualClock
from nbflow.config import Settings
from nbflow.core.backfill import plan_backfill
from nbflow.core.timetables import timetable_from_schedule
from nbflow.errors import NbflowError
from nbflow.services.operations import Operations
from nbflow.store import open_store
from nbflow.views.backfill import BackfillQuery, backfill_view, fetch
from tests.store.worlds import DAY, T0, a_run, add, register, spec
from tests.views.samples import NOW


def test_a_backfill_over_a_clock_change_has_a_remark() -> None:
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
    view = backfill_view("d", plan, berlin)
    # Then a remark names the short day
    assert view.remarks == ("The clocks go forward on 31 Mar 2024: that interval has 23 hours.",)
    assert [run.action for run in view.runs] == ["create", "create", "create"]


def test_a_created_backfill_has_the_same_runs_as_its_dry_run(tmp_path: Path) -> None:
    # Given a daily DAG with a run on one of the days
    store, settings = open_store("memory://"), Settings.load({}, tmp_path)
    schedule = timetable_from_schedule("@daily", UTC).to_spec()
    register(store, spec(schedule=schedule, start_date=T0, catchup=True))
    store.apply([add(a_run("existing", 1))], actor="scheduler")
    operations = Operations(store, VirtualClock(T0 + 9 * DAY), settings)
    preview = backfill_view("sales", operations.plan_backfill("sales", T0, T0 + 2 * DAY), UTC)
    # When the backfill is created
    backfill = operations.backfill("sales", T0, T0 + 2 * DAY)
    assert backfill.backfill_id is not None
    view = fetch(store, BackfillQuery(backfill_id=backfill.backfill_id), T0, settings)
    # Then it has the same runs, now with their states
    states = ["queued", "", "queued"]
    assert view.runs == tuple(replace(run, state=state) for run, state in zip(preview.runs, states, strict=True))
    assert [run.action for run in view.runs] == ["create", "keep", "create"]
    assert (view.status, view.dry_run) == ("running", False)
    # And an unknown backfill raises
    with pytest.raises(NbflowError, match="There is no backfill 9"):
        fetch(store, BackfillQuery(backfill_id=9), T0, settings)
