"""The data interval of a manual run."""

from __future__ import annotations

import pytest

from .test_timetables import moment, timetable_of


@pytest.mark.facts("manual_intervals")
def test_a_manual_run_has_the_data_interval_that_airflow_infers(case, check):
    check(lambda: interval_of(case))


def interval_of(case):
    interval = timetable_of(case).manual_interval(moment(case["run_after"]))
    return {"data_interval_start": interval.start.isoformat(), "data_interval_end": interval.end.isoformat()}
