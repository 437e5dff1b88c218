"""The scheduler on a real metastore with real processes: which tasks it starts, ends and delays, and why."""

from __future__ import annotations

import json
import os
import time
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest

from nbflow.clock import SystemClock
from nbflow.core.snapshot import RunKey, TaskKey
from nbflow.core.states import RunState, TaskState
from nbflow.errors import NbflowError
from tests.gates import WAIT_AT

HEAD = f"""\
import os, signal
from datetime import datetime, timedelta, timezone
from pathlib import Path
from nbflow import DAG, task, get_current_context
HERE = Path(__file__).parent
{WAIT_AT}"""


def dag_file(body, **options):
    arguments = ", ".join(f"{name}={value}" for name, value in {"schedule": None, **options}.items())
    lines = "\n".join(f"    {line}" for line in body.strip("\n").split("\n"))
    return f"{HEAD}\nwith DAG('d', {arguments}) as dag:\n{lines}\n"


def put(stage, body, **options):
    stage.write("d.py", dag_file(body, **options))
    stage.process()
    assert stage.store.import_errors() == []


def trigger_and_end(stage, **options):
    run = stage.ops.trigger("d", **options).key
    return run, stage.run_to_end(run)


def test_results_flow_between_processes(stage):
    put(
        stage,
        """
@task
def one(): return {"a": [1, 2]}
@task
def two(x): print("got", x); return x["a"][1]
two(one())
""",
    )
    run, states = trigger_and_end(stage)

    assert states == {"one": "success", "two": "success"}
    stored = [(str(key), name, json.loads(text)) for key, name, text in stage.store.xcoms(run)]
    assert stored == [("one", "return_value", {"a": [1, 2]}), ("two", "return_value", 2)]
    assert "got {'a': [1, 2]}" in stage.log(run, "two")


def test_numbers_that_json_cannot_express_flow_too(stage):
    put(
        stage,
        """
@task
def one(): return {"rates": [float("nan"), float("inf"), 1.5]}
@task
def two(x): return str(x)
two(one())
""",
    )
    run, states = trigger_and_end(stage)

    assert states == {"one": "success", "two": "success"}
    assert json.loads(stage.store.xcoms(run)[-1][2]) == "{'rates': [nan, inf, 1.5]}"
    assert stage.store.rendered(run, TaskKey("two"))["op_args"] == [{"rates": ["nan", "inf", 1.5]}]


def test_tuples_in_params_and_in_the_conf_of_a_triggered_run_become_lists(stage):
    # Given a DAG with a tuple as default of a param, and one that triggers it with tuples in the conf
    stage.write(
        "d.py",
        f"""{HEAD}
from nbflow import Param
from nbflow.operators.trigger_dagrun import TriggerDagRunOperator

with DAG("triggers", schedule=None):
    TriggerDagRunOperator(task_id="t", trigger_dag_id="triggered", trigger_run_id="r", conf={{"ids": (1, (2,))}})

with DAG("triggered", schedule=None, params={{"ids": Param((), type="array"), "size": (3, 4)}}):
    @task
    def t():
        return dict(get_current_context()["params"])
    t()
""",
    )
    stage.process()
    # When it is triggered by the other DAG, and by a user
    triggers = stage.ops.trigger("triggers").key
    by_user = stage.ops.trigger("triggered", conf={"ids": (5,)}).key
    assert stage.run_to_end(triggers) == {"t": "success"}
    by_task = RunKey("triggered", "r")
    # Then the stored confs and the params in the task have lists
    results = []
    for run in (by_task, by_user):
        assert stage.run_to_end(run) == {"t": "success"}
        results += [(stage.store.run(run).conf, json.loads(text)) for _, _, text in stage.store.xcoms(run)]
    assert results == [
        ({"ids": [1, [2]]}, {"ids": [1, [2]], "size": [3, 4]}),
        ({"ids": [5]}, {"ids": [5], "size": [3, 4]}),
    ]


def test_a_failure_is_retried_after_its_delay_which_is_the_reason_meanwhile(stage):
    put(
        stage,
        """
@task(retries=1, retry_delay=timedelta(seconds=0.2))
def t():
    if get_current_context()["ti"].try_number == 1:
        raise ValueError("not yet")
t()
""",
    )
    run = stage.ops.trigger("d").key
    stage.loop_until(lambda: stage.states(run).get("t") == "up_for_retry")
    (why,) = stage.ops.why(run).values()
    states = stage.run_to_end(run)

    assert (why.kind, why.until is not None) == ("retry", True)
    assert states == {"t": "success"}
    assert stage.causes(run, "t") == [
        "dependencies_met",
        "dispatched",
        "started",
        "raised",
        "retry_due",
        "dispatched",
        "started",
        "succeeded",
    ]
    failed = next(e for e in stage.store.events(run=run, key=TaskKey("t")) if e.cause == "raised")
    assert failed.detail["error"] == "ValueError: not yet"


def test_a_task_that_times_out_is_killed_with_its_process_group(make_stage):
    # Given a task that ignores signals and has a child, and an hour's limit
    stage = make_stage(CORE__KILLED_TASK_CLEANUP_TIME="0.5")
    put(
        stage,
        """
@task(execution_timeout=timedelta(hours=1))
def t():
    import subprocess
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    child = subprocess.Popen(["sleep", "infinity"])
    (HERE / "pids.part").write_text(f"{os.getpid()} {child.pid}")
    (HERE / "pids.part").rename(HERE / "pids")
    while True: signal.pause()
t()
""",
    )
    run = stage.ops.trigger("d").key
    stage.loop_until((stage.folder / "pids").exists)

    # When the hour has passed for its supervisor
    loop = stage.scheduler.executor._supervisor.loop
    loop.monotonic = lambda: time.monotonic() + 3601
    states = stage.run_to_end(run)

    # Then the task has failed, and both processes have exited
    assert (states, stage.causes(run, "t")[-1]) == ({"t": "failed"}, "execution_timeout")
    for pid in (stage.folder / "pids").read_text().split():
        with pytest.raises(ProcessLookupError):
            os.kill(int(pid), 0)


class MovableClock(SystemClock):
    """The system's clock, set forward or back."""

    offset = timedelta(0)

    def now(self):
        return super().now() + self.offset


def test_a_run_that_times_out_fails_and_its_tasks_are_killed(stage):
    stage.app.clock = stage.ops.clock = clock = MovableClock()
    put(
        stage,
        """
@task
def t():
    (HERE / "started").touch()
    signal.pause()
@task
def after(): pass
t() >> after()
""",
        dagrun_timeout="timedelta(hours=1)",
    )
    run = stage.ops.trigger("d").key
    stage.loop_until(lambda: (stage.folder / "started").exists() and stage.states(run)["t"] == "running")
    clock.offset = timedelta(hours=1)
    states = stage.run_to_end(run)

    assert (states, stage.store.run(run).state) == ({"t": "skipped", "after": "skipped"}, RunState.FAILED)
    stage.loop_until(lambda: not stage.scheduler.executor.live)


def test_fail_fast_kills_running_tasks_at_once(make_stage):
    # Given heartbeats so rare that no lost lease ends the other task
    stage = make_stage(SCHEDULER__TASK_INSTANCE_HEARTBEAT_SEC="600", SCHEDULER__SCHEDULER_HEARTBEAT_SEC="600")
    os.mkfifo(stage.folder / "started")
    put(
        stage,
        """
@task
def runs():
    (HERE / "started").write_text("")  # a pipe: its reader continues
    signal.pause()
@task
def fails():
    (HERE / "started").read_text()
    raise ValueError("no")
runs(); fails()
""",
        fail_fast=True,
    )
    run, states = trigger_and_end(stage)
    stage.loop_until(lambda: not stage.scheduler.executor.live)

    assert (states, stage.causes(run, "runs")[-1]) == ({"runs": "failed", "fails": "failed"}, "fail_fast")


def test_a_dag_whose_last_runs_all_failed_is_paused(stage):
    put(stage, "@task\ndef t(): raise ValueError('no')\nt()", max_consecutive_failed_dag_runs=2)
    paused = []
    for _ in range(2):
        trigger_and_end(stage)
        paused.append(stage.store.dag("d").paused)

    assert paused == [False, True]


def test_clearing_a_task_runs_its_setup_and_teardown_again(stage):
    put(
        stage,
        """
from nbflow import setup, teardown
@setup
def make(): pass
@task
def use(): pass
@task
def after(): pass
@teardown
def drop(): pass
first, last = make(), drop()
first >> use() >> last.as_teardown(setups=first)
last >> after()
""",
    )
    run, _ = trigger_and_end(stage)
    cleared = stage.ops.clear(run, ["use"])
    stage.run_to_end(run)

    assert sorted(map(str, cleared)) == ["drop", "make", "use"]
    assert {str(ti.key): ti.try_number for ti in stage.store.instances(run)} == {
        "make": 2,
        "use": 2,
        "drop": 2,
        "after": 1,
    }


def test_a_run_continues_when_its_failed_task_is_marked_success(stage):
    put(stage, "@task\ndef a(): raise ValueError('no')\n@task\ndef b(): pass\n@task\ndef c(): pass\na() >> b() >> c()")
    run, first = trigger_and_end(stage)
    stage.ops.mark_tasks(run, [TaskKey("a")], TaskState.SUCCESS)
    second = stage.run_to_end(run)

    assert first == {"a": "failed", "b": "upstream_failed", "c": "upstream_failed"}
    assert second == {"a": "success", "b": "success", "c": "success"}
    assert stage.store.run(run).state is RunState.SUCCESS


def test_clearing_a_running_task_restarts_it(stage):
    put(
        stage,
        """
@task
def t():
    count = len(list(HERE.glob("started*")))
    (HERE / f"started{count}").touch()
    if count == 0:
        signal.pause()
t()
""",
    )
    run = stage.ops.trigger("d").key
    stage.loop_until(lambda: (stage.folder / "started0").exists() and stage.states(run)["t"] == "running")
    stage.ops.clear(run, ["t"])
    states = stage.run_to_end(run)

    assert states == {"t": "success"}
    assert stage.causes(run, "t")[3:5] == ["cleared_while_live", "killed_to_restart"]


def test_a_task_that_is_cleared_before_it_is_claimed_is_restarted_at_once(stage):
    # Given a user who clears a task between the commit that queues it and its submission
    put(stage, "@task\ndef t(): pass\nt()")
    run = stage.ops.trigger("d").key
    executor = stage.schedule().executor
    submit = executor.submit

    def clear_first(submissions):
        executor.submit = submit
        stage.ops.clear(run, ["t"])
        submit(submissions)

    executor.submit = clear_first
    states = stage.run_to_end(run)

    # Then the restart does not wait for the lease of the unclaimed attempt, which is longer than this test's time limit
    assert states == {"t": "success"}
    assert stage.causes(run, "t")[1:4] == ["dispatched", "cleared_while_live", "killed_to_restart"]
    lost, second = stage.store.attempts(run)
    assert (lost.owner, lost.state, second.outcome) == (None, "ended", "succeeded")


def test_marking_a_running_task_kills_its_process(stage):
    put(stage, "@task\ndef t():\n    (HERE / 'started').touch()\n    signal.pause()\nt()")
    run = stage.ops.trigger("d").key
    stage.loop_until(lambda: (stage.folder / "started").exists())
    stage.ops.mark_tasks(run, [TaskKey("t")], TaskState.SUCCESS)

    assert stage.run_to_end(run) == {"t": "success"}
    stage.loop_until(lambda: not stage.scheduler.executor.live)


def test_a_finished_run_continues_from_its_cleared_tasks(stage):
    put(
        stage,
        """
@task
def a(): pass
@task
def b():
    if not (HERE / "fixed").exists():
        raise ValueError("broken")
@task
def c(): pass
a() >> b() >> c()
""",
    )
    run, first = trigger_and_end(stage)
    (stage.folder / "fixed").touch()
    cleared = stage.ops.clear(run, ["b"], downstream=True, only_failed=True)
    second = stage.run_to_end(run)

    assert first == {"a": "success", "b": "failed", "c": "upstream_failed"}
    assert sorted(map(str, cleared)) == ["b", "c"]
    assert second == {"a": "success", "b": "success", "c": "success"}
    assert [ti.try_number for ti in stage.store.instances(run)] == [1, 2, 1]


def test_catchup_creates_every_interval_within_max_active_runs(stage):
    start = (datetime.now(UTC) - timedelta(days=6)).strftime("datetime(%Y, %-m, %-d, tzinfo=timezone.utc)")
    max_active = 0

    def all_done():
        nonlocal max_active
        runs = stage.store.runs("d")
        max_active = max(max_active, sum(run.state in (RunState.RUNNING, RunState.QUEUED) for run in runs))
        return len(runs) == 6 and all(run.state is RunState.SUCCESS for run in runs)

    put(stage, "@task\ndef t(): pass\nt()", schedule="'@daily'", start_date=start, catchup=True, max_active_runs=2)
    stage.loop_until(all_done)

    dates = [run.logical_date for run in stage.store.runs("d", newest_first=False)]
    assert {later - earlier for earlier, later in pairwise(dates)} == {timedelta(days=1)}
    assert max_active <= 2


def test_the_next_interval_starts_when_a_user_ends_a_run(stage):
    start = (datetime.now(UTC) - timedelta(days=4)).strftime("datetime(%Y, %-m, %-d, tzinfo=timezone.utc)")
    hangs = "@task\ndef t(): signal.pause()\nt()"
    put(stage, hangs, schedule="'@daily'", start_date=start, catchup=True, max_active_runs=1)
    stage.loop_until(lambda: [run for run in stage.store.runs("d") if run.state is RunState.RUNNING])
    (first,) = stage.store.runs("d")
    stage.ops.mark_run(first.key, RunState.FAILED)
    stage.loop_until(lambda: len(stage.store.runs("d")) == 2)

    second, first = stage.store.runs("d")
    assert (first.state, first.data_interval_end) == (RunState.FAILED, second.data_interval_start)


def test_a_greater_max_active_runs_of_a_new_version_applies_at_once(stage):
    start = (datetime.now(UTC) - timedelta(days=4)).strftime("datetime(%Y, %-m, %-d, tzinfo=timezone.utc)")
    options = {"schedule": "'@daily'", "start_date": start, "catchup": True}
    put(stage, "@task\ndef t(): signal.pause()\nt()", **options, max_active_runs=1)
    stage.loop_until(lambda: [run for run in stage.store.runs("d") if run.state is RunState.RUNNING])
    before = len(stage.store.runs("d"))
    put(stage, "@task\ndef t(): signal.pause()\nt()", **options, max_active_runs=3)
    stage.loop_until(lambda: len(stage.store.runs("d")) == 3)

    assert before == 1


def test_a_timetable_that_fails_does_not_stop_other_dags(stage, monkeypatch):
    from nbflow.services import scheduled_runs

    def broken(spec):
        if "0 1 * * *" in str(spec):
            raise ZeroDivisionError("an unexpected error")
        return real(spec)

    real = scheduled_runs.timetable_from_spec
    monkeypatch.setattr(scheduled_runs, "timetable_from_spec", broken)
    start = "datetime(2024, 1, 1, tzinfo=timezone.utc)"
    stage.write(
        "bad.py", dag_file("@task\ndef t(): pass\nt()", schedule="'0 1 * * *'", start_date=start).replace("'d'", "'a'")
    )
    put(stage, "@task\ndef t(): pass\nt()", schedule="'@daily'", start_date=start)
    stage.loop_until(lambda: [run for run in stage.store.runs("d") if run.state is RunState.SUCCESS])

    assert stage.store.runs("a") == []


def test_without_catchup_only_the_latest_interval_runs(stage):
    put(
        stage,
        "@task\ndef t(): pass\nt()",
        schedule="'@daily'",
        start_date="datetime(2024, 1, 1, tzinfo=timezone.utc)",
    )
    stage.loop_until(lambda: [r for r in stage.store.runs("d") if r.state is RunState.SUCCESS])

    (run,) = stage.store.runs("d")
    assert run.data_interval_end <= datetime.now(UTC) < run.data_interval_end + timedelta(days=1)


def test_a_paused_dag_creates_no_runs_and_a_triggered_run_waits_with_the_reason(stage):
    put(
        stage,
        "@task\ndef t(): pass\nt()",
        schedule="'@daily'",
        start_date="datetime(2024, 1, 1, tzinfo=timezone.utc)",
        is_paused_upon_creation=True,
    )
    run = stage.ops.trigger("d").key
    results = [stage.schedule().step() for _ in range(5)]
    (why,) = stage.ops.why(run).values()
    stage.ops.set_paused("d", False)
    states = stage.run_to_end(run)

    assert [op for result in results for op in result.ops] == []
    assert (why.kind, states) == ("paused", {"t": "success"})


def test_a_backfill_creates_its_runs_and_completes(stage):
    put(
        stage,
        "@task\ndef t(): pass\nt()",
        schedule="'@daily'",
        start_date="datetime(2024, 1, 1, tzinfo=timezone.utc)",
        is_paused_upon_creation=True,
    )
    backfill = stage.ops.backfill("d", datetime(2024, 1, 1, tzinfo=UTC), datetime(2024, 1, 5, tzinfo=UTC))
    stage.loop_until(lambda: stage.store.backfill(backfill.backfill_id).completed_at is not None)

    runs = stage.store.runs("d", newest_first=False)
    assert [(run.logical_date.day, run.run_type, run.state.value) for run in runs] == [
        (day, "backfill", "success") for day in range(1, 6)
    ]


def test_the_schedule_skips_the_dates_of_a_backfill(stage):
    put(
        stage,
        "@task\ndef t(): pass\nt()",
        schedule="'@daily'",
        start_date="datetime(2024, 1, 1, tzinfo=timezone.utc)",
        end_date="datetime(2024, 1, 4, tzinfo=timezone.utc)",
        catchup=True,
        is_paused_upon_creation=True,
    )
    backfill = stage.ops.backfill("d", datetime(2024, 1, 2, tzinfo=UTC), datetime(2024, 1, 3, tzinfo=UTC))
    stage.loop_until(lambda: stage.store.backfill(backfill.backfill_id).completed_at is not None)
    stage.ops.set_paused("d", False)
    stage.loop_until(lambda: len([r for r in stage.store.runs("d") if r.state is RunState.SUCCESS]) == 4)

    runs = stage.store.runs("d", newest_first=False)
    assert [(run.logical_date.day, run.run_type) for run in runs] == [
        (1, "scheduled"),
        (2, "backfill"),
        (3, "backfill"),
        (4, "scheduled"),
    ]


def test_callbacks_of_a_killed_task_and_of_the_dag_are_called_once(stage):
    stage.write(
        "d.py",
        HEAD
        + """
def note(name):
    def write(context):
        with open(HERE / "calls", "a") as file:
            file.write(f"{name} {context['ti'].task_id if name != 'dag' else context['reason']}\\n")
    return write
with DAG("d", schedule=None, on_failure_callback=note("dag")):
    @task(on_failure_callback=note("failure"))
    def t():
        os.kill(os.getpid(), 9)
    t()
""",
    )
    stage.process()
    assert stage.store.import_errors() == []
    stage.schedule(on_callbacks=stage.processor.notify_callbacks)
    run, states = trigger_and_end(stage)
    stage.process()

    assert (states, stage.causes(run, "t")[-1]) == ({"t": "failed"}, "process_died")
    assert sorted((stage.folder / "calls").read_text().splitlines()) == ["dag task_failed", "failure t"]


def test_a_second_scheduler_on_sqlite_is_refused_with_the_pid_of_the_first(stage):
    stage.schedule()
    second = stage.app.scheduler()
    with pytest.raises(NbflowError, match="A scheduler already runs on this metastore"):
        second.start()


def test_a_queued_try_whose_scheduler_died_is_dispatched_again(stage):
    put(stage, "@task\ndef t(): pass\nt()")
    run = stage.ops.trigger("d").key
    scheduler = stage.schedule()
    scheduler._submit = lambda attempts: None  # as if it died between the commit and the submit
    stage.loop_until(lambda: stage.states(run)["t"] == "queued")
    lost = stage.store.attempts(run)[0]
    reports = scheduler.executor.adopt([lost])
    del scheduler._submit
    scheduler.memory.reports += reports
    states = stage.run_to_end(run)

    assert states == {"t": "success"}
    assert stage.causes(run, "t")[1:4] == ["dispatched", "dispatch_lost", "dispatched"]


def test_why_names_the_full_pool(stage):
    from nbflow.store.base import Pool

    stage.store.set_pool(Pool(name="one", slots=1), actor="ada", now=stage.app.clock.now())
    gate = stage.close_gate("go")
    put(
        stage,
        """
@task(pool="one")
def a():
    wait_at(HERE / "go")
@task(pool="one")
def b(): pass
a(); b()
""",
    )
    run = stage.ops.trigger("d").key
    stage.loop_until(lambda: "running" in stage.states(run).values())
    waits = stage.ops.why(run)
    gate.open()
    stage.run_to_end(run)

    assert sorted(wait.kind for wait in waits.values()) == ["pool", "running"]


def test_a_run_keeps_its_version_while_its_file_is_edited(stage):
    body = """
@task
def a():
    wait_at(HERE / "go")
@task
def b(): print("version {n}")
a() >> b()
"""
    gate = stage.close_gate("go")
    put(stage, body.replace("{n}", "one"))
    run = stage.ops.trigger("d").key
    stage.loop_until(lambda: stage.states(run)["a"] == "running")
    put(stage, body.replace("{n}", "two"))
    gate.open()
    states = stage.run_to_end(run)

    assert states == {"a": "success", "b": "success"}
    assert "version one" in stage.log(run, "b")
    assert (stage.store.run(run).version, stage.store.dag("d").version) == (1, 2)


def test_clearing_onto_the_newest_version_removes_and_adds_tasks(stage):
    put(stage, "@task\ndef a(): pass\n@task\ndef old(): pass\na() >> old()")
    run, first = trigger_and_end(stage)
    put(stage, "@task\ndef a(): pass\n@task\ndef new(): pass\na() >> new()")
    stage.ops.clear(run, newest_version=True)
    second = stage.run_to_end(run)

    assert first == {"a": "success", "old": "success"}
    assert second == {"a": "success", "old": "removed", "new": "success"}
    assert stage.store.run(run).version == 2


def test_the_tasks_of_a_stopped_scheduler_are_restarted_by_the_next(stage):
    put(
        stage,
        """
@task
def t():
    count = len(list(HERE.glob("started*")))
    (HERE / f"started{count}").touch()
    if count == 0:
        signal.pause()
t()
""",
    )
    run = stage.ops.trigger("d").key
    stage.loop_until(lambda: (stage.folder / "started0").exists() and stage.states(run)["t"] == "running")
    stage.scheduler.close()
    stage.scheduler = None
    states = stage.run_to_end(run)

    assert states == {"t": "success"}
    assert stage.causes(run, "t")[3:5] == ["scheduler_stopped", "killed_to_restart"]
    (ti,) = stage.store.instances(run)
    assert (ti.try_number, ti.max_tries) == (2, 1)


@pytest.mark.parametrize("jump", [timedelta(hours=-1), timedelta(hours=1)], ids=["back", "forward"])
def test_a_clock_that_jumps_loses_nothing_and_runs_nothing_twice(stage, jump):
    stage.app.clock = stage.ops.clock = clock = MovableClock()
    gate = stage.close_gate("go")
    put(
        stage,
        """
@task
def a():
    with open(HERE / "runs", "a") as file: file.write("a")
    wait_at(HERE / "go")
@task
def b():
    with open(HERE / "runs", "a") as file: file.write("b")
a() >> b()
""",
    )
    run = stage.ops.trigger("d").key
    stage.loop_until(lambda: stage.states(run)["a"] == "running" and (stage.folder / "runs").exists())
    clock.offset = jump
    stage.scheduler.next_heartbeat = None  # so that its next heartbeat is after the jump
    stage.scheduler.step()
    gate.open()
    states = stage.run_to_end(run)

    assert (states, (stage.folder / "runs").read_text()) == ({"a": "success", "b": "success"}, "ab")
