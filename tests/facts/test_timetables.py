"""The runs of a schedule, in order, at a fixed time."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from dateutil.relativedelta import relativedelta

from nbflow.core.catchup import require_start_date
from nbflow.core.timetables import (
    CronDataIntervalTimetable,
    CronTriggerTimetable,
    DagRunInfo,
    DeltaDataIntervalTimetable,
    DeltaTriggerTimetable,
    EventsTimetable,
    MultipleCronTriggerTimetable,
    TimeRestriction,
    Timetable,
    as_utc,
    timetable_from_schedule,
    timezone_of,
)

_MAX_RUNS = 8
_STEPS = {"timedelta": timedelta, "relativedelta": relativedelta}


@pytest.mark.facts("timetables")
def test_a_schedule_has_the_runs_that_airflow_creates(case, check):
    check(lambda: runs_of(case))


def runs_of(case: dict[str, Any]) -> dict[str, Any]:
    timetable = timetable_of(case)
    start, end = (moment(case[key], case["timezone"]) for key in ("start_date", "end_date"))
    require_start_date(start, case["catchup"])
    now = moment(case["now"])
    restriction = TimeRestriction(start, end, case["catchup"])

    runs: list[DagRunInfo] = []
    info = timetable.next_run(None, restriction, now)
    while info is not None and info.run_after <= now and len(runs) < _MAX_RUNS:
        runs.append(info)
        info = timetable.next_run(info, restriction, now)
    truncated = len(runs) == _MAX_RUNS
    return {
        "timetable": type(timetable).__name__,
        "runs": [as_json(run) for run in runs],
        "next": None if info is None or truncated else as_json(info),
        "truncated": truncated,
    }


def as_json(run: DagRunInfo) -> dict[str, str]:
    return {
        "logical_date": run.logical_date.isoformat(),
        "data_interval_start": run.data_interval.start.isoformat(),
        "data_interval_end": run.data_interval.end.isoformat(),
        "run_after": run.run_after.isoformat(),
    }


def moment(text: str | None, timezone: str = "UTC") -> datetime | None:
    return None if text is None else as_utc(datetime.fromisoformat(text), timezone_of(timezone))


def timetable_of(case: dict[str, Any]) -> Timetable:
    """The timetable of a case's `schedule`, `timezone` and `mode`."""
    schedule = case["schedule"]
    if isinstance(schedule, dict):
        schedule = _schedule_of(schedule)
    return timetable_from_schedule(
        schedule, timezone_of(case["timezone"]), create_cron_data_intervals=case["mode"] != "trigger"
    )


def _step(words: dict[str, Any]) -> timedelta | relativedelta:
    """A timedelta, or a relativedelta if the step has calendar units such as months."""
    return relativedelta(**words) if set(words) & {"months", "years", "month", "day", "weekday"} else timedelta(**words)


def _schedule_of(raw: dict[str, Any]) -> Any:
    kind = raw["kind"]
    options = {key: _step(raw[key]) for key in ("interval",) if raw.get(key) is not None}
    if "run_immediately" in raw:
        immediately = raw["run_immediately"]
        options["run_immediately"] = timedelta(**immediately) if isinstance(immediately, dict) else immediately
    match kind:
        case "timedelta" | "relativedelta":
            return _STEPS[kind](**raw["delta"])
        case "cron_trigger":
            return CronTriggerTimetable(raw["cron"], timezone=raw["timezone"], **options)
        case "multi_cron_trigger":
            return MultipleCronTriggerTimetable(*raw["crons"], timezone=raw["timezone"], **options)
        case "cron_interval":
            return CronDataIntervalTimetable(raw["cron"], raw["timezone"])
        case "delta_trigger":
            return DeltaTriggerTimetable(_step(raw["delta"]), **options)
        case "delta_interval":
            return DeltaDataIntervalTimetable(_step(raw["delta"]))
        case "events":
            dates = [datetime.fromisoformat(text) for text in raw["dates"]]
            return EventsTimetable(dates, restrict_to_events=raw.get("restrict", False))
    return pytest.skip(f"unknown kind of schedule {kind!r}")
