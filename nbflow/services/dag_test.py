"""Runs in the calling process: ``dag.test()``, ``%dag test``, ``nbflow dags test``.

The scheduler itself drives the run, with the sequential executor and limited to this run. So breakpoints work; states,
retries, trigger rules and history are those of any other run, and are stored.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from nbflow.core import run_changes
from nbflow.core.plan import Callback
from nbflow.core.run_ids import RunType, make_run_id
from nbflow.core.snapshot import INLINE, Run, RunKey, TaskKey
from nbflow.core.states import RUN_FINISHED, TaskState
from nbflow.core.timetables import timetable_from_spec
from nbflow.core.timetables.time_zones import as_utc
from nbflow.errors import NbflowError
from nbflow.services.callbacks import call_callbacks, callback_workload
from nbflow.services.date_parsing import parse_date
from nbflow.services.file_parsing import with_recorded_runs
from nbflow.services.operations import check_conf
from nbflow.services.scheduler import LoopResult, Scheduler
from nbflow.services.schedulers import running_schedulers
from nbflow.services.why import wait_reasons
from nbflow.store.base import DagVersion

if TYPE_CHECKING:
    from nbflow.app import App
    from nbflow.authoring.dag import DAG


log = logging.getLogger(__name__)

LONG_WAIT_SECONDS = 2
"""A wait that is longer than this is logged with its reason."""


def run_test(
    dag: DAG,
    *,
    logical_date: datetime | str | None = None,
    run_conf: Mapping[str, Any] | None = None,
    execution_date: datetime | str | None = None,
    mark_success_pattern: str | None = None,
    each_loop: Callable[[Run], None] | None = None,
    files: Mapping[str, str] | None = None,
    app: App,
) -> Run:
    """Run ``dag`` once in this process and return the finished run.

    ``logical_date`` defaults to now; ``execution_date`` is its 2.x name. Tasks whose id matches the regular expression
    ``mark_success_pattern`` are marked success without running, as in Airflow. ``each_loop`` is called with the new run
    after each loop of the scheduler. ``files``: the DAG's source, as in ``DagVersion``; with it, a scheduler can run
    cleared tasks of the run again.
    """
    moment, version = logical_date or execution_date, register_inline(app, dag, files)
    return run_inline(app, dag, moment, run_conf or {}, mark_success_pattern, version=version, each_loop=each_loop)


def run_inline(
    app: App,
    dag: DAG,
    logical_date: datetime | str | None,
    conf: Mapping[str, Any],
    mark_success_pattern: str | None = None,
    *,
    version: DagVersion | None = None,
    watch: Callable[[Run], None] | None = None,
    each_loop: Callable[[Run], None] | None = None,
) -> Run:
    """Create a run of ``dag``, drive it to its end and return it.

    ``version``: the stored version of ``dag``, if it is already registered. ``watch`` is called with the new run before
    its first task starts. With ``watch``, the start of each task is stored before its code runs, so that a view which
    ``watch`` opens shows running tasks.
    """
    version = version or register_inline(app, dag)
    now, job_id = app.clock.now(), app.new_job_id("inline")
    moment = _moment(logical_date, now)
    custom = version.spec.schedule.get("kind") == "custom"  # the DAG is loaded here, so its timetable may be called
    timetable = dag.timetable if custom else timetable_from_spec(version.spec.schedule)
    interval = timetable.manual_interval(moment)
    run = Run(
        dag_id=dag.dag_id,
        run_id=_unused_run_id(app, dag.dag_id, moment),
        run_type=RunType.MANUAL,
        logical_date=moment,
        data_interval_start=interval.start,
        data_interval_end=interval.end,
        run_after=moment,
        conf=dict(check_conf(version.spec, conf)),
        version=version.number,
        triggered_by=f"{INLINE}{job_id}",
    )
    app.store.apply([run_changes.new_run(version.spec, run, now)], actor="test")
    if mark_success_pattern:
        _mark_success(app, run.key, mark_success_pattern)
    try:
        if watch is not None:
            watch(run)
        after_loop = None if each_loop is None else partial(each_loop, run)
        drive(app, [run.key], {version.number: dag}, job_id=job_id, announce=watch is not None, each_loop=after_loop)
    except BaseException as error:  # Ctrl-C or a debugger's quit: no other process continues this run
        app.operations("test").abandon_run(run.key, f"{type(error).__name__} ended it")
        raise
    finished = app.store.run(run.key)
    assert finished is not None
    if finished.state not in RUN_FINISHED:
        log_waits(app, [run.key], "no event in this process can change that; the run is marked failed")
        app.operations("test").abandon_run(run.key, "no event in its process could continue it")
        finished = app.store.run(run.key)
        assert finished is not None
    return finished


def register_inline(app: App, dag: DAG, files: Mapping[str, str] | None = None) -> DagVersion:
    """Store the DAG's current version for runs in this process; it is not scheduled."""
    spec = with_recorded_runs(dag, dag.to_spec(app.compile_options()), app.clock.now())
    version = DagVersion(dag_id=dag.dag_id, spec=spec, fileloc=dag.fileloc or "", files=files or {}, origin="kernel")
    return app.store.register(version, now=app.clock.now(), paused=True, activate=False)


def drive(
    app: App,
    runs: list[RunKey],
    dags: Mapping[int, DAG],
    *,
    job_id: str | None = None,
    announce: bool = False,
    each_loop: Callable[[], None] | None = None,
) -> None:
    """Drive these runs in this process until all have ended or none can continue. ``announce``: see
    :mod:`nbflow.execution.executors.sequential`."""

    def handle_callback(callback: Callback) -> None:
        dag = next(dag for dag in dags.values() if dag.dag_id == callback.run.dag_id)
        workload = callback_workload(app.store, callback.run, callback.key, dag.to_spec(app.compile_options()))
        if workload is None:
            return
        for error in call_callbacks(
            dag,
            workload,
            app.task_api.runtime(workload),
            kind=callback.kind,
            of_task=callback.key is not None,
            reason=callback.reason,
            at=callback.at,
        ):
            log.error("%s", error)

    logged: set[datetime] = set()

    def until(result: LoopResult) -> bool:
        if each_loop is not None:
            each_loop()
        now, at = app.clock.now(), result.wake_at
        if not result.busy and not scheduler.executor.live and at is not None and at not in logged:
            logged.add(at)
            if (at - now).total_seconds() > LONG_WAIT_SECONDS:
                log_waits(app, runs, f"next check at {at:%H:%M:%S}, in {(at - now).total_seconds():.0f} s")
        return _is_finished(scheduler, result)

    executor = app.sequential_executor("inline", dags=dags, announce=announce)
    scheduler = app.scheduler(executor=executor, only=runs, job_id=job_id, callback_handler=handle_callback)
    with app.providing_secrets():
        scheduler.run(until=until)


def _is_finished(scheduler: Scheduler, result: LoopResult) -> bool:
    """Whether no run is active, or none can continue: nothing changed, no task is running, and no retry or check is
    due later."""
    if not scheduler.memory.active.snapshots:
        return True
    return not result.busy and not scheduler.executor.live and result.wake_at is None


def log_waits(app: App, runs: Sequence[RunKey], addition: str) -> None:
    """Log why each unfinished task of these runs waits."""
    now = app.clock.now()
    schedulers = running_schedulers(app.store, app.settings, now)
    for run in runs:
        for key, wait in wait_reasons(app.store, run, schedulers, now).items():
            log.warning("%s: %s (%s)", key, wait.text.rstrip("."), addition)


def _moment(date: datetime | str | None, now: datetime) -> datetime:
    if date is None:
        return now
    return parse_date(date, now=now) if isinstance(date, str) else as_utc(date)


def _unused_run_id(app: App, dag_id: str, moment: datetime) -> str:
    """The id of a manual run; with a random suffix if a run with that id exists."""
    run_id = make_run_id(RunType.MANUAL, logical_date=moment, run_after=moment)
    if app.store.run(RunKey(dag_id, run_id)) is None:
        return run_id
    return f"{run_id}_{uuid.uuid4().hex[:8]}"


def _mark_success(app: App, run: RunKey, pattern: str) -> None:
    import re

    try:
        matches = re.compile(pattern).match
    except re.error as error:
        raise NbflowError(f"mark_success_pattern {pattern!r} is not a regular expression: {error}.") from None
    keys = [ti.key for ti in app.store.instances(run) if matches(ti.task_id)]
    app.operations("test").mark_tasks(run, [TaskKey(*key) for key in keys], TaskState.SUCCESS)
