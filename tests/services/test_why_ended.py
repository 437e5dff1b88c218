"""``why`` of what has ended: the rule, the root and its error, who skipped; and suggested commands that work."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from nbflow import DAG, task, task_group
from nbflow.app import App
from nbflow.core.snapshot import RunKey, TaskKey
from nbflow.core.states import TaskState
from nbflow.errors import AirflowSkipException
from nbflow.operators.empty import EmptyOperator
from nbflow.operators.latest_only import LatestOnlyOperator
from nbflow.services.dag_test import drive, register_inline
from nbflow.suggested_commands import SuggestedCommand
from nbflow.views import fetch
from nbflow.views.graph import GraphQuery
from nbflow.views.runs import RunsQuery
from nbflow.views.task_instances import TaskInstancesQuery
from nbflow.views.why_run import WhyRunQuery
from nbflow.views.why_task import WhyTaskQuery, WhyTaskView


class World:
    """Runs of one DAG, driven in this process. Tasks fail until ``good`` is set."""

    def __init__(self, app: App) -> None:
        self.app, self.good = app, False
        self.ops = app.operations("user:ada")

    def start(self, dag: DAG, date: datetime | None = None, run_type: str = "manual") -> RunKey:
        self.dag, self.version = dag, register_inline(self.app, dag)
        run = self.ops.trigger("d", logical_date=date, version=self.version.number, run_type=run_type)
        self.drive(run.key)
        return run.key

    def drive(self, run: RunKey) -> None:
        drive(self.app, [run], {self.version.number: self.dag})

    def states(self, run: RunKey) -> dict[str, str]:
        return {str(ti.key): ti.state.value for ti in self.app.store.instances(run)}

    def why(self, run: RunKey, name: str) -> WhyTaskView:
        task_id, _, index = name.partition("[")
        query = WhyTaskQuery(
            dag_id="d", run_id=run.run_id, task_id=task_id, map_index=int(index.rstrip("]")) if index else None
        )
        return fetch(self.app.store, query, self.app.clock.now(), self.app.settings)

    def check(self) -> None:
        if not self.good:
            raise AssertionError("no rows")

    def obey(self, suggested: SuggestedCommand) -> None:
        """Do what a suggested ``tasks clear`` says."""
        words = list(suggested.words)
        options = {word for word in words if word.startswith("--")} - {"--run"}
        at = words.index("--run")
        run = RunKey(words[0], words[at + 1])
        assert options <= {"--downstream", "--only-failed"}
        self.ops.clear(
            run, words[1:at] or None, downstream="--downstream" in options, only_failed="--only-failed" in options
        )
        self.drive(run)


@pytest.fixture
def world(memory_app: App) -> World:
    return World(memory_app)


def chain(world: World) -> None:
    task(task_id="validate")(world.check)() >> EmptyOperator(task_id="load") >> EmptyOperator(task_id="report")


def mapped(world: World) -> None:
    @task
    def validate(n: int) -> int:
        if n:
            world.check()
        return n

    @task
    def report(values: Any) -> None: ...

    report(validate.expand(n=[0, 1]))


def mapped_over(world: World) -> None:
    @task
    def validate() -> list[int]:
        world.check()
        return [1]

    @task
    def report(n: int) -> None: ...

    report.expand(n=validate())


def grouped(world: World) -> None:
    @task_group
    def checks() -> None:
        task(task_id="validate")(world.check)()

    checks() >> EmptyOperator(task_id="report")


def mapped_group(world: World) -> None:
    @task
    def validate(n: int) -> int:
        if n:
            world.check()
        return n

    @task
    def report(n: int) -> None: ...

    @task_group
    def checks(n: int) -> None:
        report(validate(n))

    checks.expand(n=[0, 1])


def with_setup(world: World) -> None:
    setup = task(task_id="validate")(world.check)().as_setup()
    teardown = EmptyOperator(task_id="remove").as_teardown(setups=setup)
    setup >> EmptyOperator(task_id="report") >> teardown


def one_success(world: World) -> None:
    up = [task(task_id="validate")(world.check)(), task(task_id="other")(world.check)()]
    up >> EmptyOperator(task_id="report", trigger_rule="one_success")


NEEDED = "all upstream tasks must succeed"


@pytest.mark.parametrize(
    ("make", "name", "text"),
    [
        (
            chain,
            "report",
            "`validate` failed (AssertionError: no rows); `all_success` needs it: all upstream tasks must succeed. "
            "It reached this task by `load`.",
        ),
        (mapped, "report", f"`validate[1]` failed (AssertionError: no rows); `all_success` needs it: {NEEDED}."),
        (grouped, "report", f"`checks.validate` failed (AssertionError: no rows); `all_success` needs it: {NEEDED}."),
        (
            mapped_group,
            "checks.report[1]",
            f"`checks.validate[1]` failed (AssertionError: no rows); `all_success` needs it: {NEEDED}.",
        ),
        (
            mapped_over,
            "report",
            f"`validate` failed (AssertionError: no rows); `all_success` needs it: {NEEDED}.",
        ),
        (with_setup, "report", "`validate` failed (AssertionError: no rows); this task needs its setup `validate`."),
        (
            one_success,
            "report",
            "`other` failed (AssertionError: no rows), `validate` failed (AssertionError: no rows); "
            "`one_success` needs it: one upstream task must succeed.",
        ),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_upstream_failed_names_the_rule_and_the_root_and_its_clear_works(
    world: World, make: Callable[[World], None], name: str, text: str
) -> None:
    # Given a run in which the root fails
    with DAG("d", schedule=None) as dag:
        make(world)
    run = world.start(dag)
    view = world.why(run, name)
    assert (view.state, view.headline) == ("upstream_failed", text)
    # When its cause is mended, and the suggested clears are done
    world.good = True
    clears = [command for command in view.suggestions if command.command == "tasks clear"]
    assert clears
    for command in clears:
        world.obey(command)
    # Then the run succeeds
    assert world.app.store.run(run).state.value == "success", world.states(run)


def test_a_task_mapped_over_a_task_without_a_result_names_it(world: World) -> None:
    # Given a task that is mapped over one that succeeds without a result, and a task after it
    with DAG("d", schedule=None) as dag:
        nothing = EmptyOperator(task_id="nothing")
        task(task_id="report")(lambda n: None).expand(n=nothing.output) >> EmptyOperator(task_id="after")
    run = world.start(dag)
    root = "`nothing` succeeded without a result; "
    # Then both name it as the root, and no clear, which would end in the same way
    report, after = world.why(run, "report"), world.why(run, "after")
    assert report.headline == root + "this task is mapped over the result of `nothing`, which has none."
    assert after.headline == f"{root}`all_success` needs it: {NEEDED}. It reached this task by `report`."
    assert (report.suggestions, after.suggestions) == ((), ())


@pytest.mark.parametrize("make", [chain, mapped, one_success, with_setup], ids=lambda make: make.__name__)
def test_the_suggestion_for_a_failed_run_works(world: World, make: Callable[[World], None]) -> None:
    with DAG("d", schedule=None) as dag:
        make(world)
    run = world.start(dag)
    query = WhyRunQuery(dag_id="d", run_id=run.run_id)
    view = fetch(world.app.store, query, world.app.clock.now(), world.app.settings)
    assert view.end.startswith("Leaf tasks of the run failed: `")
    world.good = True
    for command in view.suggestions:
        world.obey(command)
    assert world.app.store.run(run).state.value == "success", world.states(run)


@pytest.mark.parametrize("name", ["validate", "checked"])
def test_the_suggestion_for_a_failed_task_works_for_its_downstream_tasks_too(world: World, name: str) -> None:
    with DAG("d", schedule=None) as dag:
        task(task_id=name)(world.check)() >> EmptyOperator(task_id="report")
    run = world.start(dag)
    view = world.why(run, name)
    assert view.headline == "Its code raised: AssertionError: no rows."
    world.good = True
    for command in view.suggestions:
        if command.command == "tasks clear":
            world.obey(command)
    assert world.states(run) == {name: "success", "report": "success"}


def branch(world: World) -> None:
    @task.branch
    def choose() -> str:
        return "other"

    choose() >> [EmptyOperator(task_id="t"), EmptyOperator(task_id="other")]


def short_circuit(world: World) -> None:
    task.short_circuit(task_id="check")(lambda: False)() >> EmptyOperator(task_id="t")


def latest_only(world: World) -> None:
    LatestOnlyOperator(task_id="latest") >> EmptyOperator(task_id="t")


def skips_itself(world: World) -> None:
    @task
    def t() -> None:
        raise AirflowSkipException("nothing to do")

    t()


def skipped_after(world: World) -> None:
    @task
    def a() -> None:
        raise AirflowSkipException

    a() >> EmptyOperator(task_id="b") >> EmptyOperator(task_id="t")


def over_nothing(world: World) -> None:
    @task
    def t(n: int) -> None: ...

    t.expand(n=[])


def failing_fast(world: World) -> None:
    EmptyOperator(task_id="first") >> task(task_id="validate")(world.check)() >> EmptyOperator(task_id="t")


@pytest.mark.parametrize(
    ("make", "start"),
    [
        (branch, "`choose` chose another branch ("),
        (short_circuit, "`check` skipped it: its condition was false ("),
        (latest_only, "`latest` skipped it, because this is not the latest run (LatestOnlyOperator)."),
        (skips_itself, "Its code raised AirflowSkipException: nothing to do."),
        (
            skipped_after,
            "`a` was skipped; trigger rule `all_success` then skips this task: all upstream tasks must succeed. "
            "It reached this task by `b`.",
        ),
        (over_nothing, "It is mapped over an empty list."),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_skipped_names_what_skipped_it(world: World, make: Callable[[World], None], start: str) -> None:
    with DAG("d", schedule="@daily", start_date=datetime(2020, 1, 1, tzinfo=UTC)) as dag:
        make(world)
    run = world.start(dag, datetime(2020, 1, 5, tzinfo=UTC), run_type="scheduled")
    view = world.why(run, "t")
    assert view.state == "skipped"
    assert view.headline.startswith(start)


def test_a_user_who_marks_a_task_is_named(world: World) -> None:
    with DAG("d", schedule=None) as dag:
        task(task_id="t")(world.check)()
    run = world.start(dag)
    world.ops.mark_tasks(run, [TaskKey("t")], TaskState.SKIPPED)
    view = world.why(run, "t")
    assert view.headline == "It was marked skipped by ada."
    # And its suggested clear works
    world.good = True
    for command in view.suggestions:
        world.obey(command)
    assert world.states(run) == {"t": "success"}


def test_success_is_answered_too(world: World) -> None:
    with DAG("d", schedule=None) as dag:
        task(task_id="t")(lambda: None)() >> EmptyOperator(task_id="e")
    run = world.start(dag)
    assert world.why(run, "t").headline == "Its code returned."
    assert world.why(run, "e").headline == "It has no code to run, so it needs no process."
    query = WhyRunQuery(dag_id="d", run_id=run.run_id)
    view = fetch(world.app.store, query, world.app.clock.now(), world.app.settings)
    assert view.end == "Every leaf task succeeded or was skipped."


@pytest.mark.parametrize(
    ("dates", "text"),
    [
        ({"start_date": datetime(2024, 1, 1, tzinfo=UTC)}, "lies before the start_date 2024-01-01"),
        ({"end_date": datetime(2019, 1, 1, tzinfo=UTC)}, "lies after the end_date 2019-01-01"),
    ],
    ids=["before", "after"],
)
def test_a_run_outside_the_dates_says_so_wherever_it_is_shown(world: World, dates: dict[str, Any], text: str) -> None:
    # Given a run whose logical date lies outside the dates of the tasks
    ends = {"start_date": datetime(2019, 1, 1, tzinfo=UTC), "end_date": datetime(2030, 1, 1, tzinfo=UTC)}
    with DAG("d", schedule=timedelta(days=1), **ends, default_args=dates) as dag:
        task(task_id="t")(lambda: None)()
    run = world.start(dag, datetime(2020, 1, 5, tzinfo=UTC))
    store, now, settings = world.app.store, world.app.clock.now(), world.app.settings
    said = f"The logical date 2020-01-05 {text}, so every task was skipped."
    # Then the list of runs, the states, the graph and why say it
    (row,) = fetch(store, RunsQuery(dag_id="d"), now, settings).rows
    states = fetch(store, TaskInstancesQuery(dag_id="d", run_id=run.run_id), now, settings)
    graph = fetch(store, GraphQuery(dag_id="d", run_id=run.run_id), now, settings)
    why = fetch(store, WhyRunQuery(dag_id="d", run_id=run.run_id), now, settings)
    assert (row.note, states.note, graph.footer[-1], why.end) == (said, said, said, said)
