"""Graphs of DAGs and runs."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from nbflow.core.snapshot import Instance, Run
from nbflow.core.states import RunState, TaskState
from nbflow.views.graph import graph_view
from nbflow.views.shared import run_title
from tests.views.samples import NOW, spec


def test_a_graph_has_groups_edge_labels_and_mapped_tasks() -> None:
    # Given a DAG without runs, with a task group, an edge label and a mapped task
    view = graph_view(spec(), footer=("version 1", ""))
    # Then the view has them, and the number of mapped instances is unknown
    assert [(t.task_id, t.group, t.mapped, t.state) for t in view.tasks] == [
        ("first", "", None, "none"),
        ("inner.each", "inner", -1, "none"),
        ("last", "", None, "none"),
    ]
    assert [(e.source, e.target, e.label) for e in view.edges] == [
        ("first", "inner.each", ""),
        ("inner.each", "last", "all done"),
    ]
    assert [group.group_id for group in view.groups] == ["inner"]
    assert (view.schedule, view.run, view.footer) == ("@daily", "", ("version 1",))


def test_a_graph_of_a_run_has_states_and_times() -> None:
    # Given a running run: one instance of a mapped task has succeeded, the other waits for its second try
    due = datetime(2024, 6, 1, 12, 5, tzinfo=UTC)
    run = Run(dag_id="sales", run_id="r", run_after=NOW, logical_date=NOW, state=RunState.RUNNING)
    start, end = datetime(2024, 6, 1, 11, 59, 30, tzinfo=UTC), datetime(2024, 6, 1, 11, 59, 32, tzinfo=UTC)
    instances = [
        Instance(task_id="first", state=TaskState.SUCCESS, try_number=1, start_date=start, end_date=end),
        Instance(task_id="inner.each", map_index=0, state=TaskState.SUCCESS, try_number=1),
        Instance(task_id="inner.each", map_index=1, state=TaskState.UP_FOR_RETRY, try_number=1, next_at=due),
        Instance(task_id="last", state=TaskState.UP_FOR_RETRY, try_number=1, max_tries=2, next_at=due),
    ]
    first, each, last = graph_view(spec(), run=run, instances=instances).tasks
    # Then unmapped tasks have their times, and the mapped task has one state and a note
    assert (first.state, first.duration) == ("success", 2.0)
    assert (each.state, each.mapped, each.note) == ("up_for_retry", 2, "1 of 2 done")
    assert (last.state, last.try_number, last.max_tries, last.due) == ("up_for_retry", 1, 3, due)


def test_the_title_of_a_run_is_its_logical_date() -> None:
    # Given a logical date at local midnight, one at another time of day, and none
    berlin = ZoneInfo("Europe/Berlin")
    dates = (datetime(2024, 1, 1, 23, tzinfo=UTC), NOW, None)
    runs = [Run(dag_id="d", run_id="r", run_after=NOW, logical_date=date) for date in dates]
    # Then the title is the date, the date and time, or the run id
    assert [run_title(run, berlin) for run in runs] == ["run 2024-01-02", "run 2024-06-01 14:00", "run r"]
