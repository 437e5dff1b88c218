"""The Gantt chart of a run."""

from __future__ import annotations

from pathlib import Path

from nbflow.config import Settings
from nbflow.core.snapshot import Instance, TaskKey
from nbflow.store import open_store
from nbflow.views.gantt import GanttQuery, fetch
from nbflow.views.shared import Bar, Lane
from tests.store.worlds import a_run, after, begin, ended, plan, register, spec, started_run


def test_lanes_are_in_the_order_of_the_dag_not_of_the_ends(tmp_path: Path) -> None:
    # Given a run in which a task ended before an earlier, mapped task, of which one instance still runs
    store = open_store("memory://")
    register(store, spec("extract", "load"))
    mapped = [Instance(task_id="extract", map_index=index) for index in (0, 1)]
    run = started_run(store, a_run(), *mapped, "load")
    load = begin(store, run, "load", at=after(1))
    store.apply([plan(ended(run, "load", load, at=after(2)))], actor="worker")
    second = begin(store, run, TaskKey("extract", 1), at=after(3))
    begin(store, run, TaskKey("extract", 0), at=after(4))
    store.apply([plan(ended(run, TaskKey("extract", 1), second, at=after(5)))], actor="worker")

    view = fetch(store, GanttQuery(dag_id="sales", run_id="r1"), after(9), Settings.load({}, tmp_path))

    def bar(start: int, end: int, state: str) -> Bar:
        return Bar(start=after(start), end=after(end), state=state, queued_from=after(start))

    assert view.lanes == (
        Lane(label="extract[0]", bars=(bar(4, 9, "running"),)),
        Lane(label="extract[1]", bars=(bar(3, 5, "success"),)),
        Lane(label="load", bars=(bar(1, 2, "success"),)),
    )
