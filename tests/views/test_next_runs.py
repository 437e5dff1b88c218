"""The next runs of a schedule."""

from __future__ import annotations

from datetime import UTC, datetime

from nbflow.authoring.dag import DAG
from nbflow.core.snapshot import Run
from nbflow.views.next_runs import next_runs
from tests.views.samples import NOW, spec


def test_the_next_runs_follow_the_last_one() -> None:
    # Given a daily DAG whose last run covers yesterday, and one that has never run
    last = Run(
        dag_id="sales",
        run_id="r",
        run_after=NOW,
        data_interval_start=datetime(2024, 5, 31, tzinfo=UTC),
        data_interval_end=datetime(2024, 6, 1, tzinfo=UTC),
    )
    after_last = [info.run_after.day for info in next_runs(spec(), last, NOW, 3)]
    never_run = [info.run_after.day for info in next_runs(spec(), None, NOW, 3)]
    # Then the first goes on from there; the other begins with the interval that is over now
    assert (after_last, never_run) == ([2, 3, 4], [1, 2, 3])
    # And a DAG without a schedule has none
    with DAG("manual") as dag:
        pass
    assert next_runs(dag.to_spec(), None, NOW, 3) == []
