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
from nbflow.command_arguments import Values, values_of
from nbflow.commands import command_named
from nbflow.commands.backfills import backfill_plan
from nbflow.commands.base import Result
from nbflow.commands.context import Context
from nbflow.commands.simulation import simulation
from nbflow.core.backfill import Reprocess
from nbflow.core.snapshot import Run
from nbflow.core.states import RunState
from nbflow.core.timetables.time_zones import as_utc
from nbflow.errors import NbflowError, did_you_mean
from nbflow.notebook.breakpoints import python_breakpoint_hook
from nbflow.notebook.commands import command_function, context_of, execute_by_name
from nbflow.notebook.displayable import Shown, display_bundle, execution_count
from nbflow.notebook.error_display import one_line_errors, spell
from nbflow.notebook.run_handles import BackfillHandle, RunHandle
from nbflow.notebook.session import Session, current_session
from nbflow.notebook.task_verbs import clear as clear
from nbflow.notebook.task_verbs import logs as logs
from nbflow.notebook.task_verbs import message, spec_of_run
from nbflow.notebook.task_verbs import states as states
from nbflow.notebook.task_verbs import why as why
from nbflow.services import schedulers
from nbflow.suggested_commands import suggest
from nbflow.ui import formatting
from nbflow.ui.mime_bundle import Bundle
from nbflow.ui.view_bundles import (
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


def _datetime(session: Session, when: When) -> datetime | None:
    from nbflow.services.date_parsing import parse_date

    if when is None:
        return None
    if isinstance(when, datetime):
        return as_utc(when, session.zone)
    try:
        return parse_date(when, zone=session.zone, now=session.app.clock.now())
    except ValueError as error:
        raise NbflowError(str(error)) from None


# ---------------------------------------------------------------------------------------- showing


@one_line_errors
def list_dags(pattern: str = "") -> Shown:
    """The DAGs with their newest runs and next run, and the import errors. ``pattern``: part of a DAG id or a tag. As a
    value: dag_id -> row."""
    session = current_session()
    now = session.app.clock.now()
    view = session.fetch(DagListQuery(pattern=pattern, kernel_dags=tuple(session.dags)))
    bundle = dags_bundle(view, now)
    errors = session.fetch(ImportErrorsQuery())
    if errors.rows:
        below = import_errors_bundle(errors, now, folder=str(session.app.settings.core.dags_folder))
        bundle = Bundle(html=bundle.html + below.html, text=f"{bundle.text}\n\nImport errors\n{below.text}")
    return Shown({row.dag_id: row for row in view.rows}, bundle)


@one_line_errors
def show(dag: Dag, *, run: str | None = None) -> Shown | RunHandle:
    """The graph of a DAG, or of one of its runs, live until the run ends. ``run``: "last", a run id or a logical
    date."""
    session = current_session()
    if run is not None:
        return handle_of(session, session.find_run(dag, run))
    if isinstance(dag, DAG) and dag.dag_id not in session.dags:
        spec = _spec(session, dag)
        view = graph_view(spec)
    else:
        version = session.version(dag)
        spec = version.spec
        graph = session.fetch(GraphQuery(dag_id=spec.dag_id, version=version.number))
        view = with_kernel_notes(session, graph, version.number)
    return Shown(spec, graph_bundle(view, session.app.clock.now().astimezone(zone_of(spec))))


def _spec(session: Session, dag: DAG) -> DagSpec:
    return dag.to_spec(session.app.compile_options())


def with_kernel_notes(session: Session, view: GraphView, version: int | None = None) -> GraphView:
    """The graph with two notes in its footer that are not in the metastore: how the kernel's ``version`` differs from
    the saved notebook, and how to unpause the DAG if the run waits for that."""
    kernel_dag = session.dags.get(view.dag_id)
    difference = pause = ""
    if kernel_dag is not None and version == kernel_dag.version.number:
        difference = session.difference_from_saved(view.dag_id)
    if view.blocked_by_pause:
        unpause = spell(suggest("dags unpause", view.dag_id))
        pause = f"{view.dag_id} is paused, so this run waits. Unpause it with: {unpause}"
    return replace(view, footer=(*view.footer, *filter(None, (difference, pause))))


@one_line_errors
def runs(dag: Dag, *, limit: int = 20) -> Shown:
    """The newest runs of a DAG. As a value: the runs."""
    session = current_session()
    view = session.fetch(RunsQuery(dag_id=session.version(dag).dag_id, limit=limit))
    return Shown(list(view.rows), runs_bundle(view, session.app.clock.now()))


@one_line_errors
def grid(dag: Dag, *, limit: int = 25) -> Shown:
    """The newest runs as columns, the tasks as rows, their states as cells. As a value: run id -> task -> state."""
    session = current_session()
    version = session.version(dag)
    view = session.fetch(GridQuery(dag_id=version.dag_id, version=version.number, limit=limit))
    columns = zip(view.runs, zip(*(row.states for row in view.rows), strict=True), strict=True)
    names = [row.label for row in view.rows]
    return Shown({run.run_id: dict(zip(names, states, strict=True)) for run, states in columns}, grid_bundle(view))


@one_line_errors
def gantt(dag: Dag, *, run: str | None = None) -> Shown:
    """The tasks of a run (default: the newest) on a time axis. As a value: the bars of each task."""
    session = current_session()
    dag_run = session.find_run(dag, run)
    view = session.fetch(GanttQuery(dag_id=dag_run.dag_id, run_id=dag_run.run_id))
    return Shown({lane.label: list(lane.bars) for lane in view.lanes}, gantt_bundle(view))


@one_line_errors
def next_runs(dag: Dag, number: int = 5) -> Shown:
    """The next scheduled runs, each with its data interval. As a value: the logical dates."""
    session = current_session()
    version = session.version(dag)
    view = session.fetch(NextRunsQuery(dag_id=version.dag_id, version=version.number, limit=number))
    remark = session.difference_from_saved(version.dag_id) if view.is_paused is None else ""
    bundle = next_runs_bundle(view, session.app.clock.now(), remark=remark)
    return Shown([row.logical_date for row in view.rows], bundle)


# ---------------------------------------------------------------------------------------- running


def handle_of(session: Session, run: Run) -> RunHandle:
    """The handle of an existing run."""
    spec = spec_of_run(session, run)
    return RunHandle(session, run, spec, lambda view: with_kernel_notes(session, view, run.version))


@one_line_errors
def run(dag: Dag, *, conf: Mapping[str, Any] | None = None, date: When = None, run_id: str | None = None) -> RunHandle:
    """Trigger a run and return its handle. The scheduler runs its tasks, and is started if none is running.

    ``conf``: the run's conf; ``date``: its logical date (default: now).
    """
    dag_run = execute_by_name("dags trigger", dag, conf=conf, logical_date=date, run_id=run_id).value
    session = current_session()
    _ensure_scheduler(session)
    return handle_of(session, dag_run)


def _ensure_scheduler(session: Session) -> None:
    """Start a scheduler if none is running, and display that it was started."""
    scheduler = schedulers.ensure(session.app)
    if not scheduler.started:
        return
    idle = formatting.duration(session.app.settings.scheduler.idle_minutes * 60)
    home = session.app.settings.home
    _notify(f"Started a scheduler (pid {scheduler.job.pid}) for {home}. It stops after {idle} without work.")


def _notify(text: str) -> None:
    """Display a message in addition to the result."""
    if execution_count() is None:
        print(text)
        return
    display_bundle(message_bundle(text))


@one_line_errors
def test(
    dag: Dag,
    *,
    date: When = None,  # noqa: PT028  (a verb, not a test)
    conf: Mapping[str, Any] | None = None,  # noqa: PT028
    watch: bool = False,  # noqa: PT028
) -> RunHandle:
    """Run a DAG once in this process, where breakpoints and prints work; returns the handle of the run.

    ``watch`` displays the graph while the tasks run; without it, the returned handle displays the graph.
    """

    def run_test(context: Context, args: Values) -> Result:
        handle = _run_here(dag, date, conf or {}, watch)
        return Result(text=repr(handle), value=handle, ok=handle.state == RunState.SUCCESS)

    handle: RunHandle = execute_by_name("dags test", dag, run_test, logical_date=date, conf=conf).value
    return handle


test.__test__ = False  # type: ignore[attr-defined]  # pytest must not collect it


def _run_here(dag: Dag, date: When, conf: Mapping[str, Any], watch: bool) -> RunHandle:
    from nbflow.services.dag_test import run_inline

    session = current_session()
    dag = session.dag_object(dag)
    kernel_dag = session.dags.get(dag.dag_id)
    version = kernel_dag.version if kernel_dag is not None and kernel_dag.dag is dag else None
    logical_date = _datetime(session, date)
    if not watch or execution_count() is None:
        with python_breakpoint_hook():
            return handle_of(session, run_inline(session.app, dag, logical_date, conf, version=version))
    handles: list[RunHandle] = []

    def show_graph(run: Run) -> None:
        handles.append(handle_of(session, run))
        handles[0].show_once()

    try:
        with python_breakpoint_hook():
            run_inline(session.app, dag, logical_date, conf, version=version, watch=show_graph)
    finally:  # also when the user quits the debugger: the graph shows how the run ended
        for handle in handles:
            handle.settle()
    return handles[0]


@one_line_errors
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
    """Run the past data intervals from ``start`` to ``end`` (logical dates, inclusive). ``reprocess``: which existing
    runs to run again: none, failed or completed. ``dry_run`` only shows the runs that would be created."""
    if reprocess not in set(Reprocess):
        choices = ", ".join(Reprocess)
        raise NbflowError(f"reprocess must be one of {choices}, not {reprocess!r}.{did_you_mean(reprocess, Reprocess)}")
    session, create = current_session(), command_named("backfill create")
    version = session.version(dag)
    arguments = {"from_date": start, "to_date": end, "reprocess": reprocess, "run_backwards": backwards}
    if dry_run:
        args = values_of(create.arguments, {**arguments, "dag_id": version.dag_id})
        plan = backfill_plan(context_of(session, dag), args)
        return BackfillHandle(session, version.dag_id, plan, None, zone_of(version.spec))
    created = execute_by_name("backfill create", dag, **arguments, max_active_runs=max_active_runs, conf=conf).value
    _ensure_scheduler(session)
    return BackfillHandle(session, version.dag_id, created.plan, created.backfill_id, zone_of(version.spec))


pause = command_function("dags pause")
unpause = command_function("dags unpause")
mark = command_function("tasks mark")


@one_line_errors
def simulate(
    dag: Dag,
    *outcomes: str,
    days: float = 7,
    start: When = None,
    end: When = None,
    seed: int | None = None,
    trace: bool = False,
) -> Shown:
    """Simulate the next ``days`` of a DAG's schedule with the real scheduler on a virtual clock. As a value: the
    simulation.

    ``outcomes``: outcomes of tasks, such as ``"extract=fail,success"`` (``%dag simulate?`` lists them). Without
    ``outcomes`` they are random with ``seed``, or with the setting ``[sim] seed``; without a seed they are those of the
    last successful run. ``trace`` shows the whole event history instead of the timeline.
    """
    session = current_session()
    spec = _spec(session, dag) if isinstance(dag, DAG) and dag.dag_id not in session.dags else session.version(dag).spec
    arguments = {
        "dag_id": spec.dag_id,
        "outcomes": list(outcomes),
        "days": days,
        "start_date": start,
        "end_date": end,
        "seed": seed,
    }
    args = values_of(command_named("simulate").arguments, arguments)
    simulated = simulation(context_of(session, dag), args, spec)
    if trace:
        return Shown(simulated, text_bundle(f"History of {spec.dag_id}, simulated", simulated.trace))
    return Shown(simulated, timeline_bundle(timeline_view(simulated, spec)))


@one_line_errors
def schedule(
    notebook: str, *, cron: str, name: str | None = None, parameters: Mapping[str, Any] | None = None
) -> Shown:
    """Write a DAG file that runs a notebook on a schedule (by papermill) into the DAGs folder. As a value: its path."""

    def write(context: Context, args: Values) -> Result:
        return _write_schedule(notebook, cron, name, parameters or {})

    param = [dict(parameters)] if parameters else []
    result = execute_by_name("schedule", None, write, notebook=notebook, cron=cron, name=name, param=param)
    return message(result.text, result.value)


def _write_schedule(notebook: str, cron: str, name: str | None, parameters: Mapping[str, Any]) -> Result:
    from nbflow.notebook.schedule_notebook import lacks_parameters_cell, write_dag_file

    session = current_session()
    path, dag_id, replaced = write_dag_file(session, notebook, cron=cron, name=name, parameters=parameters)
    row = session.app.store.dag(dag_id)
    unpause = spell(suggest("dags unpause", dag_id))
    hint = "" if row is not None and not row.paused else f" It is paused; unpause it with: {unpause}."
    if parameters and lacks_parameters_cell(session, notebook):
        hint += (
            f" No cell of {notebook} has the tag 'parameters'. Add the tag to the cell with the defaults, or that cell"
            f" overwrites {', '.join(parameters)}."
        )
    verb = "Replaced" if replaced else "Wrote"
    return Result(text=f"{verb} {path}: DAG {dag_id} runs {notebook} at {cron}.{hint}", value=path)
