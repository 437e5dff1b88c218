"""The verbs of ``%dag``, as plain functions: ``from nbflow.notebook import run, test, backfill, show, ...``.

Each returns a value that displays itself. ``dag`` is a dag_id or a DAG; times are texts or datetimes. Each raises
NbflowError, whose message says what to do; a notebook shows it as one red line.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from nbflow.authoring.dag import DAG
from nbflow.command_arguments import values_of
from nbflow.commands import command_named
from nbflow.commands.runs import backfill_plan
from nbflow.commands.simulation import simulation
from nbflow.core.backfill import Reprocess
from nbflow.core.snapshot import Run
from nbflow.core.timetables.time_zones import as_utc
from nbflow.errors import NbflowError, did_you_mean
from nbflow.notebook.breakpoints import breakpoints_stop
from nbflow.notebook.commands import context_of, function_of, result_of
from nbflow.notebook.displayable import Shown, execution_count, seen
from nbflow.notebook.error_display import spell, told_in_one_line
from nbflow.notebook.handles import BackfillHandle, RunHandle
from nbflow.notebook.session import Session, session
from nbflow.notebook.task_verbs import clear as clear
from nbflow.notebook.task_verbs import logs as logs
from nbflow.notebook.task_verbs import message, spec_of_run
from nbflow.notebook.task_verbs import states as states
from nbflow.notebook.task_verbs import why as why
from nbflow.services import schedulers
from nbflow.suggestions import suggest
from nbflow.ui import formatting
from nbflow.ui.html import (
    dags_bundle,
    gantt_bundle,
    graph_bundle,
    grid_bundle,
    import_errors_bundle,
    message_bundle,
    next_runs_bundle,
    runs_bundle,
    text_bundle,
    timeline_bundle,
)
from nbflow.ui.mime_bundle import Bundle
from nbflow.views.dag_list import DagListQuery
from nbflow.views.gantt import GanttQuery
from nbflow.views.graph import GraphQuery, GraphView, graph_view
from nbflow.views.grid import GridQuery
from nbflow.views.import_errors import ImportErrorsQuery
from nbflow.views.next_runs import NextRunsQuery
from nbflow.views.runs import RunsQuery
from nbflow.views.shared import zone_of
from nbflow.views.timeline import timeline_view

if TYPE_CHECKING:
    from nbflow.core.spec import DagSpec

Dag = str | DAG
When = str | datetime | None


def _datetime(here: Session, when: When) -> datetime | None:
    from nbflow.services.date_parsing import parse_date

    if when is None:
        return None
    if isinstance(when, datetime):
        return as_utc(when, here.zone)
    try:
        return parse_date(when, zone=here.zone, now=here.app.clock.now())
    except ValueError as error:
        raise NbflowError(str(error)) from None


# ---------------------------------------------------------------------------------------- showing


@told_in_one_line
def list_dags(pattern: str = "") -> Shown:
    """The DAGs with their latest runs and their next one, and the import errors. ``pattern``: part of a dag_id or tag.
    As a value: dag_id -> row."""
    here = session()
    now = here.app.clock.now()
    view = here.fetch(DagListQuery(pattern=pattern, kernel_dags=tuple(here.dags)))
    bundle = dags_bundle(view, now)
    errors = here.fetch(ImportErrorsQuery())
    if errors.rows:
        below = import_errors_bundle(errors, now, folder=str(here.app.settings.core.dags_folder))
        bundle = Bundle(html=bundle.html + below.html, text=f"{bundle.text}\n\nImport errors\n{below.text}")
    return Shown({row.dag_id: row for row in view.rows}, bundle)


@told_in_one_line
def show(dag: Dag, *, run: str | None = None) -> Shown | RunHandle:
    """The graph of a DAG, or of its run ``run`` ("last", a run id or a logical date), live until the run ends."""
    here = session()
    if run is not None:
        return handle_of(here, here.find_run(dag, run))
    if isinstance(dag, DAG) and dag.dag_id not in here.dags:
        spec = _spec(here, dag)
        view = graph_view(spec)
    else:
        version = here.version(dag)
        spec = version.spec
        view = with_kernel(here, here.fetch(GraphQuery(dag_id=spec.dag_id, version=version.number)), version.number)
    return Shown(spec, graph_bundle(view, here.app.clock.now().astimezone(zone_of(spec))))


def _spec(here: Session, dag: DAG) -> DagSpec:
    return dag.to_spec(here.app.compile_options())


def with_kernel(here: Session, view: GraphView, version: int | None = None) -> GraphView:
    """The graph with two notes in its footer that the metastore does not have: how the kernel's ``version`` differs
    from the saved notebook, and what to do if the run is held."""
    own = here.dags.get(view.dag_id)
    kernels = own is not None and version == own.version.number
    unpause = spell(suggest("dags unpause", view.dag_id))
    held = f"{view.dag_id} is paused, so this run waits. Unpause it with: {unpause}" if view.blocked_by_pause else ""
    parts = (here.differs(view.dag_id) if kernels else "", held)
    return replace(view, footer=(*view.footer, *filter(None, parts)))


@told_in_one_line
def runs(dag: Dag, *, limit: int = 20) -> Shown:
    """The newest runs of a DAG. As a value: the runs."""
    here = session()
    view = here.fetch(RunsQuery(dag_id=here.version(dag).dag_id, limit=limit))
    return Shown(list(view.rows), runs_bundle(view, here.app.clock.now()))


@told_in_one_line
def grid(dag: Dag, *, limit: int = 25) -> Shown:
    """The newest runs as columns, the tasks as rows, their states as cells. As a value: run_id -> task -> state."""
    here = session()
    version = here.version(dag)
    view = here.fetch(GridQuery(dag_id=version.dag_id, version=version.number, limit=limit))
    columns = zip(view.runs, zip(*(row.states for row in view.rows), strict=True), strict=True)
    names = [row.label for row in view.rows]
    return Shown({run.run_id: dict(zip(names, states, strict=True)) for run, states in columns}, grid_bundle(view))


@told_in_one_line
def gantt(dag: Dag, *, run: str | None = None) -> Shown:
    """The tasks of a run (default: the newest) on a time axis. As a value: the bars of each task."""
    here = session()
    found = here.find_run(dag, run)
    view = here.fetch(GanttQuery(dag_id=found.dag_id, run_id=found.run_id))
    return Shown({lane.label: list(lane.bars) for lane in view.lanes}, gantt_bundle(view))


@told_in_one_line
def next_runs(dag: Dag, number: int = 5) -> Shown:
    """The next scheduled runs, each with its data interval. As a value: the logical dates."""
    here = session()
    version = here.version(dag)
    view = here.fetch(NextRunsQuery(dag_id=version.dag_id, version=version.number, limit=number))
    remark = here.differs(version.dag_id) if view.is_paused is None else ""
    bundle = next_runs_bundle(view, here.app.clock.now(), remark=remark)
    return Shown([row.logical_date for row in view.rows], bundle)


# ---------------------------------------------------------------------------------------- running


def handle_of(here: Session, run: Run) -> RunHandle:
    """The handle of an existing run."""
    return RunHandle(here, run, spec_of_run(here, run), lambda view: with_kernel(here, view, run.version))


@told_in_one_line
def run(dag: Dag, *, conf: Mapping[str, Any] | None = None, date: When = None, run_id: str | None = None) -> RunHandle:
    """Trigger a run and return its handle. The scheduler runs it, and is started if none is running.

    ``conf``: the run's conf; ``date``: its logical date (default: now).
    """
    run = result_of("dags trigger", dag, conf=conf, logical_date=date, run_id=run_id).value
    here = session()
    _ensure_scheduler(here)
    return handle_of(here, run)


def _ensure_scheduler(here: Session) -> None:
    """Start a scheduler if none is running, and print that it was started."""
    scheduler = schedulers.ensure(here.app)
    if not scheduler.started:
        return
    idle = formatting.duration(here.app.settings.scheduler.idle_minutes * 60)
    home = here.app.settings.home
    _notify(f"Started a scheduler (pid {scheduler.job.pid}) for {home}. It stops after {idle} without work.")


def _notify(text: str) -> None:
    """Display a message in addition to the result."""
    if execution_count() is None:
        print(text)
        return
    from IPython.display import display

    display(seen(message_bundle(text)), raw=True)


@told_in_one_line
def test(
    dag: Dag,
    *,
    date: When = None,  # noqa: PT028  (a verb, not a test)
    conf: Mapping[str, Any] | None = None,  # noqa: PT028
    watch: bool = False,  # noqa: PT028
) -> RunHandle:
    """Run a DAG once in this process, so that breakpoints stop and prints are shown; returns the handle of the run.

    ``watch`` displays the graph while the tasks run; without it the returned handle shows the graph.
    """
    from nbflow.services.dag_test import run_inline

    here = session()
    obj = here.object_of(dag)
    own = here.dags.get(obj.dag_id)
    version = own.version if own is not None and own.dag is obj else None
    logical_date = _datetime(here, date)
    if not watch or execution_count() is None:
        with breakpoints_stop():
            return handle_of(here, run_inline(here.app, obj, logical_date, conf or {}, version=version))
    started: list[RunHandle] = []

    def follow(run: Run) -> None:
        started.append(handle_of(here, run))
        started[0].show_once()

    try:
        with breakpoints_stop():
            run_inline(here.app, obj, logical_date, conf or {}, version=version, watch=follow)
    finally:  # also when a debugger quits: the picture shows how the run ended
        for handle in started:
            handle.settle()
    return started[0]


test.__test__ = False  # type: ignore[attr-defined]  # pytest must not collect it


@told_in_one_line
def backfill(
    dag: Dag,
    start: When,
    end: When,
    *,
    reprocess: str = "none",
    backwards: bool = False,
    max_active_runs: int = 10,
    conf: Mapping[str, Any] | None = None,
    dry_run: bool = False,
) -> BackfillHandle:
    """Run the past intervals from ``start`` to ``end`` (logical dates, inclusive). ``reprocess``: which existing runs
    are run again: none, failed or completed. ``dry_run`` only shows the runs that would be created."""
    if reprocess not in set(Reprocess):
        choices = ", ".join(Reprocess)
        raise NbflowError(f"reprocess must be one of {choices}, not {reprocess!r}.{did_you_mean(reprocess, Reprocess)}")
    here, create = session(), command_named("backfill create")
    version = here.version(dag)
    given = {"from_date": start, "to_date": end, "reprocess": reprocess, "run_backwards": backwards}
    if dry_run:
        args = values_of(create.arguments, {**given, "dag_id": version.dag_id})
        plan = backfill_plan(context_of(here, dag), args)
        return BackfillHandle(here, version.dag_id, plan, None, zone_of(version.spec))
    created = result_of("backfill create", dag, **given, max_active_runs=max_active_runs, conf=conf).value
    _ensure_scheduler(here)
    return BackfillHandle(here, version.dag_id, created.plan, created.backfill_id, zone_of(version.spec))


pause = function_of("dags pause")
unpause = function_of("dags unpause")
mark = function_of("tasks mark")


@told_in_one_line
def simulate(
    dag: Dag,
    *outcomes: str,
    days: float = 7,
    start: When = None,
    end: When = None,
    seed: int | None = None,
    trace: bool = False,
) -> Shown:
    """Simulate the coming days of a DAG's schedule with the real scheduler on a virtual clock. As a value: the
    simulation.

    ``outcomes``: outcomes of tasks, such as ``"extract=fail,success"`` (``%dag simulate?`` lists the forms). Without
    them outcomes are drawn with ``seed``, or with the setting ``[sim] seed``; without a seed they are those of the last
    successful run. ``trace`` shows the whole event history instead of the timeline.
    """
    here = session()
    spec = _spec(here, dag) if isinstance(dag, DAG) and dag.dag_id not in here.dags else here.version(dag).spec
    given = {
        "dag_id": spec.dag_id,
        "outcomes": list(outcomes),
        "days": days,
        "start_date": start,
        "end_date": end,
        "seed": seed,
    }
    args = values_of(command_named("simulate").arguments, given)
    simulated = simulation(context_of(here, dag), args, spec)
    if trace:
        return Shown(simulated, text_bundle(f"History of {spec.dag_id}, simulated", simulated.trace))
    return Shown(simulated, timeline_bundle(timeline_view(simulated, spec)))


@told_in_one_line
def schedule(
    notebook: str, *, cron: str, name: str | None = None, parameters: Mapping[str, Any] | None = None
) -> Shown:
    """Write a DAG file that runs a notebook on a schedule (by papermill) into the DAGs folder. As a value: its path."""
    from nbflow.notebook.schedule_notebook import overwritten, write_dag_file

    here = session()
    path, dag_id, existed = write_dag_file(here, notebook, cron=cron, name=name, parameters=parameters or {})
    row = here.app.store.dag(dag_id)
    unpause = spell(suggest("dags unpause", dag_id))
    hint = "" if row is not None and not row.paused else f" It is paused; unpause it with: {unpause}."
    if parameters and overwritten(here, notebook):
        hint += (
            f" No cell of {notebook} has the tag 'parameters'. Add the tag to the cell with the defaults, or that cell"
            f" overwrites {', '.join(parameters)}."
        )
    verb = "Changed" if existed else "Wrote"
    return message(f"{verb} {path}: DAG {dag_id} runs {notebook} at {cron}.{hint}", path)
