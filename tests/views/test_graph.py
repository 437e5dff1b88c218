"""Graphs of DAGs and runs."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from nbflow.core.snapshot import Instance, Run
from nbflow.core.states import RunState, TaskState
from nbflow.views.graph import changed_fields, graph_view
from nbflow.views.shared import run_title
from tests.views.samples import NOW, spec


def test_a_graph_has_groups_labels_and_what_is_mapped() -> None:
    # Given a DAG with a group, an edge label and a mapped task, which nobody has run
    view = graph_view(spec(), footer=("version 1", ""))
    # Then the view has them, and the mapped task has no number yet
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


def test_a_run_gives_its_tasks_states_and_times() -> None:
    # Given a run in the middle: one instance of a mapped task is done, the other waits for its second try
    due = datetime(2024, 6, 1, 12, 5, tzinfo=UTC)
    run = Run(dag_id="sales", run_id="r", run_after=NOW, logical_date=NOW, state=RunState.RUNNING)
    began, ended = datetime(2024, 6, 1, 11, 59, 30, tzinfo=UTC), datetime(2024, 6, 1, 11, 59, 32, tzinfo=UTC)
    instances = [
        Instance(task_id="first", state=TaskState.SUCCESS, try_number=1, start_date=began, end_date=ended),
        Instance(task_id="inner.each", map_index=0, state=TaskState.SUCCESS, try_number=1),
        Instance(task_id="inner.each", map_index=1, state=TaskState.UP_FOR_RETRY, try_number=1, next_at=due),
        Instance(task_id="last", state=TaskState.UP_FOR_RETRY, try_number=1, max_tries=2, next_at=due),
    ]
    # When it is looked at
    first, each, last = graph_view(spec(), run=run, instances=instances).tasks
    # Then plain tasks have their times, and the mapped one a state and a note for all of it
    assert (first.state, first.duration) == ("success", 2.0)
    assert (each.state, each.mapped, each.note) == ("up_for_retry", 2, "1 of 2 done")
    assert (last.state, last.try_number, last.max_tries, last.due) == ("up_for_retry", 1, 3, due)


def test_only_what_changed_is_told() -> None:
    # Given two looks at a task
    before = graph_view(spec()).tasks[0]
    run = Run(dag_id="sales", run_id="r", run_after=NOW, logical_date=NOW)
    instances = [Instance(task_id="first", state=TaskState.QUEUED)]
    after = graph_view(spec(), run=run, instances=instances).tasks[0]
    # Then the difference is the fields that differ
    assert changed_fields(before, after) == {"state": "queued", "max_tries": 1}
    assert changed_fields(after, after) == {}


def test_runs_are_called_by_their_date() -> None:
    # Given logical dates at midnight and within a day of a zone, and none
    berlin = ZoneInfo("Europe/Berlin")
    dates = (datetime(2024, 1, 1, 23, tzinfo=UTC), NOW, None)
    runs = [Run(dag_id="d", run_id="r", run_after=NOW, logical_date=date) for date in dates]
    # Then the title says as much as there is to say
    assert [run_title(run, berlin) for run in runs] == ["run 2024-01-02", "run 2024-06-01 14:00", "run r"]
