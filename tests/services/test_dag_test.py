"""``dag.test()``: a whole run in the calling process, with its states stored."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from nbflow import DAG, task, task_group
from nbflow.core.run_changes import new_run
from nbflow.core.snapshot import INLINE, Run, TaskKey
from nbflow.core.states import Cause, RunCause, RunState, TaskState
from nbflow.core.timetables import DataInterval, Timetable
from nbflow.errors import NbflowError
from nbflow.operators.empty import EmptyOperator
from nbflow.services.dag_test import run_inline, run_test
from nbflow.sources.loading import load_source
from nbflow.store.base import Job


def states(app, run):
    return {str(ti.key): ti.state.value for ti in app.store.instances(run.key)}


def test_a_dag_runs_in_this_process_and_its_states_are_stored(memory_app):
    results = []
    with DAG("d", schedule=None) as dag:

        @task
        def a():
            return 1

        @task
        def b(x):
            results.append(x)

        b(a())

    run = run_test(dag, logical_date="2024-01-31", app=memory_app)

    assert (run.state, results, states(memory_app, run)) == (RunState.SUCCESS, [1], {"a": "success", "b": "success"})
    assert run.logical_date == datetime(2024, 1, 31, tzinfo=UTC)


def test_the_same_date_can_be_tested_twice(memory_app):
    with DAG("d", schedule=None) as dag:
        task(task_id="t")(lambda: None)()

    first, second = (run_test(dag, logical_date="2024-01-31", app=memory_app) for _ in range(2))

    assert first.run_id != second.run_id
    assert second.state is RunState.SUCCESS


def test_tasks_that_match_the_pattern_count_as_success_without_running(memory_app):
    ran = []
    with DAG("d", schedule=None) as dag:
        for name in ("wait_for_a", "work"):
            task(task_id=name)(lambda name=name: ran.append(name))()

    run = run_test(dag, mark_success_pattern="wait_.*", app=memory_app)

    assert (ran, states(memory_app, run)) == (["work"], {"wait_for_a": "success", "work": "success"})


def test_each_callback_is_called_once_in_this_process(memory_app):
    calls = []
    with DAG("d", schedule=None, on_failure_callback=lambda context: calls.append(("dag", context["reason"]))) as dag:

        @task(on_failure_callback=lambda context: calls.append(("task", context["ti"].task_id)))
        def t():
            raise ValueError("no")

        t()

    run_test(dag, app=memory_app)

    assert calls == [("task", "t"), ("dag", "task_failed")]
    later = memory_app.clock.now()
    assert memory_app.store.claim_callbacks(owner="x", lease=later - later, now=later) == []


def test_the_run_of_an_interrupted_test_is_failed(memory_app):
    with DAG("d", schedule=None) as dag:

        @task
        def t():
            raise KeyboardInterrupt

        t()

    with pytest.raises(KeyboardInterrupt):
        run_test(dag, app=memory_app)

    (run,) = memory_app.store.runs("d")
    assert (run.state, states(memory_app, run)) == (RunState.FAILED, {"t": "failed"})
    # And the history names no user
    ends = [event for event in memory_app.store.events(run=run.key) if event.target == "failed"]
    assert [event.cause for event in ends] == [Cause.RUN_ABANDONED, RunCause.ABANDONED]
    assert {event.detail["reason"] for event in ends} == {"KeyboardInterrupt ended it"}


def test_a_task_of_a_test_run_is_cleared_and_runs_again_in_a_scheduler(stage):
    # Given a test run of a stored DAG version, whose task fails the first time
    stage.write(
        "d.py",
        """
        from pathlib import Path
        from nbflow import DAG, task
        with DAG("d", schedule=None, is_paused_upon_creation=True) as dag:
            @task
            def t():
                if not Path(__file__).with_name("good").exists():
                    raise ValueError("no")
            t()
        """,
    )
    stage.process()
    version = stage.store.version("d")
    dag = load_source(stage.folder / "d.py", folder=stage.folder).dags[0]
    run = run_inline(stage.app, dag, None, {}, version=version)
    assert run.state is RunState.FAILED
    stage.write("good", "")

    # When its task is cleared, although the DAG is paused
    assert stage.ops.clear(run.key, ["t"]) == [TaskKey("t")]

    # Then a scheduler runs it again
    assert stage.run_to_end(run.key) == {"t": "success"}


def test_clearing_a_test_run_whose_process_has_died_ends_and_reopens_it(stage):
    # Given a test run that its process has left running
    stage.write("d.py", "from nbflow import DAG, task\nwith DAG('d', schedule=None): task(task_id='t')(print)()\n")
    stage.process()
    version = stage.store.version("d")
    now = stage.app.clock.now()
    run = Run(dag_id="d", run_id="r", run_after=now, version=version.number, triggered_by=f"{INLINE}dead")
    stage.store.apply([new_run(version.spec, run, now)], actor="test")
    job = Job(job_id="dead", kind="inline", hostname="h", pid=1, started_at=now, heartbeat_at=now, ended_at=now)
    stage.store.put_job(job)
    # When a user clears it
    assert stage.ops.clear(run.key) == [TaskKey("t")]
    # Then a scheduler runs it
    assert stage.run_to_end(run.key) == {"t": "success"}


def test_a_test_run_whose_source_is_not_stored_runs_again_on_the_newest_version(stage):
    # Given a test run of a DAG object, and a file of the same DAG
    with DAG("d", schedule=None) as dag:
        task(task_id="t")(lambda: None)()
    stage.write("d.py", "from nbflow import DAG, task\nwith DAG('d', schedule=None): task(task_id='t')(print)()\n")
    stage.process()
    run = run_test(dag, logical_date="2024-01-31", app=stage.app)
    # When its task is cleared
    assert stage.ops.clear(run.key, ["t"]) == [TaskKey("t")]
    # Then a scheduler runs it again
    assert stage.run_to_end(run.key) == {"t": "success"}


def test_clearing_a_test_run_of_which_no_source_is_stored_is_refused_with_the_way_out(memory_app):
    with DAG("d", schedule=None) as dag:
        task(task_id="t")(lambda: None)()
    run = run_test(dag, logical_date="2024-01-31", app=memory_app)

    with pytest.raises(NbflowError, match="is a test run whose process has ended") as refusal:
        memory_app.operations("user:ada").clear(run.key, ["t"])

    assert "nbflow dags test d 2024-01-31T00:00:00+00:00 -S " in refusal.value.hint
    assert states(memory_app, run) == {"t": "success"}


def test_marking_a_task_of_a_test_run_does_not_reopen_it(memory_app):
    with DAG("d", schedule=None) as dag:

        @task
        def fails():
            raise ValueError("no")

        fails() >> EmptyOperator(task_id="after")
    run = run_test(dag, app=memory_app)

    memory_app.operations("user:ada").mark_tasks(run.key, [TaskKey("fails")], TaskState.SUCCESS)

    assert states(memory_app, run) == {"fails": "success", "after": "upstream_failed"}
    assert memory_app.store.run(run.key).state is RunState.FAILED


def test_a_conf_that_does_not_match_the_params_is_refused_before_a_run_is_created(memory_app):
    from nbflow import Param
    from nbflow.errors import ParamValidationError

    with DAG("d", schedule=None, params={"n": Param(1, type="integer")}) as dag:
        task(task_id="t")(lambda: None)()

    with pytest.raises(ParamValidationError, match="n"):
        run_test(dag, run_conf={"n": "many"}, app=memory_app)

    assert memory_app.store.runs("d") == []


def test_history_names_the_cause_of_every_step(memory_app):
    with DAG("d", schedule=None) as dag:
        task(task_id="t")(lambda: None)()

    run = run_test(dag, app=memory_app)

    causes = [event.cause for event in memory_app.store.events(run=run.key, key=TaskKey("t"))]
    assert causes == ["dependencies_met", "dispatched", "started", "succeeded"]


def test_a_custom_timetable_determines_the_interval_of_a_tested_run(memory_app):
    class WeekBefore(Timetable):
        def next_dagrun_info(self, *, last_automated_data_interval, restriction):
            return None

        def infer_manual_data_interval(self, *, run_after):
            return DataInterval(run_after - timedelta(days=7), run_after)

    with DAG("d", schedule=WeekBefore(), start_date=datetime(2024, 1, 1, tzinfo=UTC)) as dag:
        EmptyOperator(task_id="a")

    run = run_test(dag, logical_date="2024-01-31", app=memory_app)

    assert (run.state, run.data_interval_start) == (RunState.SUCCESS, datetime(2024, 1, 24, tzinfo=UTC))


def test_a_run_that_cannot_continue_is_failed_and_the_reason_is_logged(memory_app, caplog):
    with DAG("d", schedule=None) as dag:

        @task(pool="none_such")
        def a(): ...

        a()

    run = run_test(dag, logical_date="2024-01-31", app=memory_app)

    assert run.state == RunState.FAILED
    assert "a: Pool 'none_such' does not exist." in caplog.text


def test_a_long_wait_is_logged(memory_app, caplog):
    with DAG("d", schedule=None) as dag:

        @task(retries=1, retry_delay=timedelta(seconds=2.2))
        def a(ti=None):
            if ti.try_number == 1:
                raise ValueError("not yet")

        a()

    run = run_test(dag, app=memory_app)

    assert run.state == RunState.SUCCESS
    assert [r.getMessage()[:30] for r in caplog.records if r.name == "nbflow.services.dag_test"] == [
        "a: Waits for try 2 of 2 (next "
    ]


def test_a_group_mapped_over_dicts_takes_its_functions_defaults_for_what_they_lack(memory_app, caplog):
    results = []
    with DAG("d", schedule=None) as dag:

        @task
        def dicts():
            return [{"a": 1}, {"a": 2, "b": 5}, {"b": 7}]

        @task_group
        def group(a, b=10):
            @task
            def add(x, y):
                results.append(x + y)

            add(a, b)

        group.expand_kwargs(dicts())

    run = run_test(dag, app=memory_app)

    assert (results, states(memory_app, run)) == (
        [11, 7],
        {"dicts": "success", "group.add[0]": "success", "group.add[1]": "success", "group.add[2]": "failed"},
    )
    assert "The arguments of the mapped group lack 'a' for map index 2." in caplog.text
