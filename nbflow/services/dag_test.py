"""Runs in the calling process: ``dag.test()``, ``%dag test``, ``nbflow dags test``.

The very scheduler drives them, with the sequential executor and only these runs in its sight. So breakpoints work, and
states, retries, trigger rules and history are those of a real run; they are stored like any other's.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from nbflow.core import actions
from nbflow.core.plan import Callback
from nbflow.core.run_ids import RunType, make_run_id
from nbflow.core.snapshot import INLINE, Run, RunKey, TaskKey
from nbflow.core.states import RUN_FINISHED, RunState, TaskState
from nbflow.core.timetables import timetable_from_spec
from nbflow.core.timetables.time_zones import as_utc
from nbflow.errors import NbflowError
from nbflow.services.callbacks import call_all, work_for
from nbflow.services.date_parsing import parse_date
from nbflow.services.file_parsing import with_recorded_runs
from nbflow.services.operations import check_conf
from nbflow.services.scheduler import Scheduler, Turn
from nbflow.services.schedulers import living
from nbflow.services.why import reasons
from nbflow.store.base import DagVersion

if TYPE_CHECKING:
    from nbflow.app import App
    from nbflow.authoring.dag import DAG


log = logging.getLogger(__name__)

LONG_WAIT_SECONDS = 2
"""Who watches a run in a terminal is told what it waits for if it is for longer than this."""


def run_test(
    dag: DAG,
    *,
    logical_date: datetime | str | None = None,
    run_conf: Mapping[str, Any] | None = None,
    execution_date: datetime | str | None = None,
    mark_success_pattern: str | None = None,
    each_turn: Callable[[Run], None] | None = None,
    app: App,
) -> Run:
    """Run ``dag`` once in this process and return the finished run.

    ``logical_date`` defaults to now; ``execution_date`` is its 2.x name. Tasks whose id matches the regular expression
    ``mark_success_pattern`` are not run but count as success, as in Airflow. ``each_turn`` is called with the run as it
    was made, whenever tasks may have ended.
    """
    moment = logical_date or execution_date
    return run_inline(app, dag, moment, run_conf or {}, mark_success_pattern, each_turn=each_turn)


def run_inline(
    app: App,
    dag: DAG,
    logical_date: datetime | str | None,
    conf: Mapping[str, Any],
    mark_success_pattern: str | None = None,
    *,
    version: DagVersion | None = None,
    watch: Callable[[Run], None] | None = None,
    each_turn: Callable[[Run], None] | None = None,
) -> Run:
    """Make a run of ``dag`` and drive it to its end.

    ``version``: what is stored of ``dag`` already, where that is known. ``watch`` is called with the new run before its
    first task starts; a view that it opens then sees each task start, which is stored before the task's code runs.
    """
    version = version or register_inline(app, dag)
    now, job_id = app.clock.now(), app.new_job_id("inline")
    moment = _moment(logical_date, now)
    custom = version.spec.schedule.get("kind") == "custom"  # this process holds the DAG: its author's class may answer
    timetable = dag.timetable if custom else timetable_from_spec(version.spec.schedule)
    interval = timetable.manual_interval(moment)
    run = Run(
        dag_id=dag.dag_id,
        run_id=_free_run_id(app, dag.dag_id, moment),
        run_type=RunType.MANUAL,
        logical_date=moment,
        data_interval_start=interval.start,
        data_interval_end=interval.end,
        run_after=moment,
        conf=dict(check_conf(version.spec, conf)),
        version=version.number,
        triggered_by=f"{INLINE}{job_id}",
    )
    app.store.apply([actions.new_run(version.spec, run, now)], actor="test")
    if mark_success_pattern:
        _mark_success(app, run.key, mark_success_pattern)
    try:
        if watch is not None:
            watch(run)
        look = None if each_turn is None else partial(each_turn, run)
        drive(app, [run.key], {version.number: dag}, job_id=job_id, announce=watch is not None, each_turn=look)
    except BaseException:  # Ctrl-C, a debugger that quits: nobody will drive this run on
        app.operations("test").mark_run(run.key, RunState.FAILED)
        raise
    done = app.store.run(run.key)
    assert done is not None
    if done.state not in RUN_FINISHED:
        tell_waits(app, [run.key], "and nothing will change that here: the run is ended as failed")
        app.operations("test").mark_run(run.key, RunState.FAILED)
        done = app.store.run(run.key)
        assert done is not None
    return done


def register_inline(app: App, dag: DAG) -> DagVersion:
    """Store the DAG as it is now, for its own runs only: no schedule follows this version."""
    spec = with_recorded_runs(dag, dag.to_spec(app.compile_options()), app.clock.now())
    version = DagVersion(dag_id=dag.dag_id, spec=spec, fileloc=dag.fileloc or "", origin="kernel")
    return app.store.register(version, now=app.clock.now(), paused=True, activate=False)


def drive(
    app: App,
    runs: list[RunKey],
    dags: Mapping[int, DAG],
    *,
    job_id: str | None = None,
    announce: bool = False,
    each_turn: Callable[[], None] | None = None,
) -> None:
    """Drive these runs in this process until each has ended, or none of them can go on. ``announce``: see
    :mod:`nbflow.execution.executors.sequential`."""

    def call(intent: Callback) -> None:
        dag = next(dag for dag in dags.values() if dag.dag_id == intent.run.dag_id)
        work = work_for(app.store, intent.run, intent.key, dag.to_spec(app.compile_options()))
        if work is None:
            return
        for fault in call_all(
            dag,
            work,
            app.task_api.runtime(work),
            kind=intent.kind,
            of_task=intent.key is not None,
            reason=intent.reason,
            at=intent.at,
        ):
            log.error("%s", fault)

    told: set[datetime] = set()

    def until(turn: Turn) -> bool:
        if each_turn is not None:
            each_turn()
        now, at = app.clock.now(), turn.wake_at
        if not turn.busy and not scheduler.executor.live and at is not None and at not in told:
            told.add(at)
            if (at - now).total_seconds() > LONG_WAIT_SECONDS:
                tell_waits(app, runs, f"the next look is at {at:%H:%M:%S}, in {(at - now).total_seconds():.0f} s")
        return _over(scheduler, turn)

    executor = app.sequential_executor("inline", dags=dags, announce=announce)
    scheduler = app.scheduler(executor=executor, only=runs, job_id=job_id, call_here=call)
    with app.answering():
        scheduler.run(until=until)


def _over(scheduler: Scheduler, turn: Turn) -> bool:
    """No run is left, or nothing moved, nothing is under way and no time will change that."""
    if not scheduler.memory.active.snapshots:
        return True
    return not turn.busy and not scheduler.executor.live and turn.wake_at is None


def tell_waits(app: App, runs: Sequence[RunKey], addition: str) -> None:
    """Log what each unfinished task of these runs waits for."""
    now = app.clock.now()
    schedulers = living(app.store, app.settings, now)
    for run in runs:
        for key, wait in reasons(app.store, run, schedulers, now).items():
            log.warning("%s: %s (%s)", key, wait.text.rstrip("."), addition)


def _moment(given: datetime | str | None, now: datetime) -> datetime:
    if given is None:
        return now
    return parse_date(given, now=now) if isinstance(given, str) else as_utc(given)


def _free_run_id(app: App, dag_id: str, moment: datetime) -> str:
    """The usual id of a manual run; a test of the same date again gets a token of its own."""
    usual = make_run_id(RunType.MANUAL, logical_date=moment, run_after=moment)
    if app.store.run(RunKey(dag_id, usual)) is None:
        return usual
    return f"{usual}_{uuid.uuid4().hex[:8]}"


def _mark_success(app: App, run: RunKey, pattern: str) -> None:
    import re

    try:
        matches = re.compile(pattern).match
    except re.error as fault:
        raise NbflowError(f"mark_success_pattern {pattern!r} is not a regular expression: {fault}") from None
    keys = [one.key for one in app.store.instances(run) if matches(one.task_id)]
    app.operations("test").mark_tasks(run, [TaskKey(*key) for key in keys], TaskState.SUCCESS)
