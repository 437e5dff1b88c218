"""From the store's answers to view models."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from nbflow.authoring.dag import DAG
from nbflow.authoring.decorators import task
from nbflow.authoring.edges import Label
from nbflow.authoring.taskgroup import TaskGroup
from nbflow.core.backfill import plan_backfill
from nbflow.core.snapshot import Instance, Run
from nbflow.core.spec import DagSpec
from nbflow.core.states import RunState, TaskState
from nbflow.core.timetables import timetable_from_schedule
from nbflow.notebook import views

NOW = datetime(2024, 6, 1, 12, tzinfo=UTC)


def spec() -> DagSpec:
    with DAG("sales", schedule="@daily", start_date=datetime(2024, 1, 1, tzinfo=UTC)) as dag:
        first = task(lambda: [1, 2], task_id="first")()
        with TaskGroup("inner"):
            each = task(lambda row: row, task_id="each").expand(row=first)
        last = task(lambda: None, task_id="last")()
        each >> Label("all done") >> last
    return dag.to_spec()


def test_a_graph_has_groups_labels_and_what_is_mapped() -> None:
    # Given a DAG with a group, an edge label and a mapped task, which nobody has run
    view = views.graph_view(spec(), footer=("version 1", ""))
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
    first, each, last = views.graph_view(spec(), run=run, instances=instances).tasks
    # Then plain tasks have their times, and the mapped one a state and a note for all of it
    assert (first.state, first.duration) == ("success", 2.0)
    assert (each.state, each.mapped, each.note) == ("up_for_retry", 2, "1 of 2 done")
    assert (last.state, last.try_number, last.max_tries, last.due) == ("up_for_retry", 1, 3, due)


def test_only_what_changed_is_told() -> None:
    # Given two looks at a task
    before = views.graph_view(spec()).tasks[0]
    run = Run(dag_id="sales", run_id="r", run_after=NOW, logical_date=NOW)
    instances = [Instance(task_id="first", state=TaskState.QUEUED)]
    after = views.graph_view(spec(), run=run, instances=instances).tasks[0]
    # Then the difference is the fields that differ
    assert views.changed_fields(before, after) == {"state": "queued", "max_tries": 1}
    assert views.changed_fields(after, after) == {}


def test_runs_are_called_by_their_date() -> None:
    # Given logical dates at midnight and within a day of a zone, and none
    berlin = ZoneInfo("Europe/Berlin")
    dates = (datetime(2024, 1, 1, 23, tzinfo=UTC), NOW, None)
    runs = [Run(dag_id="d", run_id="r", run_after=NOW, logical_date=date) for date in dates]
    # Then the title says as much as there is to say
    assert [views.run_title(run, berlin) for run in runs] == ["run 2024-01-02", "run 2024-06-01 14:00", "run r"]


def test_a_log_knows_its_tracebacks() -> None:
    # Given a log with lines of ours, prints, and a traceback
    text = (
        "2024-06-01T12:00:00.123+00:00 INFO nbflow.task | begins\n"
        "a print\n"
        "2024-06-01T12:00:01.000+00:00 ERROR nbflow.task | Task failed: ValueError: no\n"
        "Traceback (most recent call last):\n"
        '  File "x.py", line 1, in f\n'
        "ValueError: no\n"
        "another print\n"
    )
    # Then each line has its level, and the times are in the zone asked for
    view = views.log_view("t", text, ZoneInfo("Europe/Berlin"))
    assert [(line.level, line.message) for line in view.lines] == [
        ("INFO", "begins"),
        ("INFO", "a print"),
        ("ERROR", "Task failed: ValueError: no"),
        ("ERROR", "Traceback (most recent call last):"),
        ("ERROR", '  File "x.py", line 1, in f'),
        ("ERROR", "ValueError: no"),
        ("INFO", "another print"),
    ]
    assert [line.at and f"{line.at:%H:%M}" for line in view.lines[:2]] == ["14:00", None]
    # And a search keeps the lines with the word
    assert [line.message for line in views.log_view("t", text, UTC, search="PRINT").lines] == [
        "a print",
        "another print",
    ]


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
    view = views.backfill_view("d", plan, berlin, dry_run=True)
    # Then the day that is short is remarked upon
    assert view.remarks == ("The clocks go forward on 31 Mar 2024: that interval has 23 hours.",)
    assert [run.action for run in view.runs] == ["make", "make", "make"]


def test_the_next_runs_follow_the_last_one() -> None:
    # Given a daily DAG whose last run covers yesterday, and one that has never run
    last = Run(
        dag_id="sales",
        run_id="r",
        run_after=NOW,
        data_interval_start=datetime(2024, 5, 31, tzinfo=UTC),
        data_interval_end=datetime(2024, 6, 1, tzinfo=UTC),
    )
    after_last = [info.run_after.day for info in views.next_runs(spec(), last, NOW, 3)]
    never_run = [info.run_after.day for info in views.next_runs(spec(), None, NOW, 3)]
    # Then the first goes on from there; the other begins with the interval that is over now
    assert (after_last, never_run) == ([2, 3, 4], [1, 2, 3])
    # And a DAG without a schedule has none
    with DAG("manual") as dag:
        pass
    assert views.next_runs(dag.to_spec(), None, NOW, 3) == []
