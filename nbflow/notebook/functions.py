"""The verbs of ``%dag``, as plain functions: ``from nbflow.notebook import run, test, backfill, show, ...``.

Each finds the DAG, makes one call of a service, and returns a value that displays itself. ``dag`` is a dag_id or a DAG.
Errors are NbflowErrors that say the way out; in a notebook they show as one red line.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from nbflow.authoring.dag import DAG
from nbflow.core.backfill import Reprocess
from nbflow.core.snapshot import INLINE, Instance, Run, RunKey, TaskKey
from nbflow.core.states import FAILED_STATES, FINISHED, RUN_FINISHED, TaskState
from nbflow.errors import NbflowError, TaskNotFound, did_you_mean
from nbflow.notebook import scheduler_process, views
from nbflow.notebook.breakpoints import breakpoints_stop
from nbflow.notebook.error_display import told_in_one_line
from nbflow.notebook.handles import BackfillHandle, RunHandle, Shown, execution_count, tasks_shown
from nbflow.notebook.session import Session, session
from nbflow.ui import formatting
from nbflow.ui.html import (
    dags_bundle,
    gantt_bundle,
    graph_bundle,
    grid_bundle,
    import_errors_bundle,
    log_bundle,
    message_bundle,
    runs_bundle,
    states_bundle,
    table_bundle,
    timeline_bundle,
    why_bundle,
)
from nbflow.ui.mime_bundle import Bundle
from nbflow.ui.tables import Cell, Table

if TYPE_CHECKING:
    from nbflow.core.spec import DagSpec

Dag = str | DAG
When = str | datetime | None


def _id(dag: Dag) -> str:
    return dag.dag_id if isinstance(dag, DAG) else dag


def _moment(here: Session, when: When) -> datetime | None:
    from nbflow.core.timetables.time_zones import as_utc
    from nbflow.services.date_parsing import parse_date

    if when is None:
        return None
    if isinstance(when, datetime):
        return as_utc(when, here.zone)
    try:
        return parse_date(when, zone=here.zone, now=here.app.clock.now())
    except ValueError as error:
        raise NbflowError(str(error)) from None


def _message(text: str, data: Any = None, *, state: str = "") -> Shown:
    return Shown(data, message_bundle(text, state=state))


# ---------------------------------------------------------------------------------------- looking


@told_in_one_line
def list_dags(pattern: str = "") -> Shown:
    """Every DAG with its last runs and what comes next, and the files that do not load. ``pattern``: part of an id or a
    tag. As a value: dag_id -> row."""
    here = session()
    store = here.app.store
    rows = {}
    for row in store.dags():
        version = store.version(row.dag_id)
        if version is not None:
            rows[row.dag_id] = views.dag_row(store, version.spec, paused=row.paused, next_run=row.next_run)
    for dag_id, own in here.dags.items():
        if dag_id not in rows:
            rows[dag_id] = views.dag_row(store, own.version.spec, paused=False, next_run=None)
    word = pattern.lower()
    kept = {k: row for k, row in sorted(rows.items()) if word in k.lower() or any(word in t.lower() for t in row.tags)}
    bundle = dags_bundle(list(kept.values()), here.app.clock.now())
    faults = views.import_error_rows(store.import_errors(), here.app.settings.core.dags_folder, here.zone)
    if faults:
        wrong = import_errors_bundle(faults, here.app.clock.now())
        bundle = Bundle(html=bundle.html + wrong.html, text=f"{bundle.text}\n\nImport errors\n{wrong.text}")
    return Shown(kept, bundle)


@told_in_one_line
def show(dag: Dag, *, run: str | None = None) -> Shown | RunHandle:
    """The graph of a DAG; with ``run`` ("last", a run id or a logical date) that of a run, live until it ends."""
    here = session()
    if run is not None:
        return handle_of(here, here.find_run(dag, run))
    spec = here.version(dag).spec if not isinstance(dag, DAG) or dag.dag_id in here.dags else _spec(here, dag)
    row = here.app.store.dag(spec.dag_id)
    view = views.graph_view(
        spec,
        next_run=row.next_run if row is not None else None,
        paused=row is not None and row.paused,
        footer=footer(here, spec.dag_id),
    )
    return Shown(spec, graph_bundle(view, here.app.clock.now().astimezone(views.zone_of(spec))))


def _spec(here: Session, dag: DAG) -> DagSpec:
    return dag.to_spec(here.app.compile_options())


def footer(here: Session, dag_id: str, *, version: int | None = None) -> list[str]:
    """What stands under a graph: version, file and cell, scheduler, and where kernel and schedule differ."""
    own = here.dags.get(dag_id)
    known = own.version if own is not None and version in (None, own.version.number) else None
    known = known or here.app.store.version(dag_id, version)
    if known is None:
        return [scheduler_process.find(here.app).text]
    place = known.fileloc if known.fileloc.startswith("<") else known.fileloc.rpartition("/")[2]
    where = ", ".join(filter(None, [place, known.cell]))
    parts = [f"version {known.number}", where, scheduler_process.find(here.app).text]
    if own is not None and known.number == own.version.number:
        parts.append(here.differs(dag_id))
    return [part for part in parts if part]


@told_in_one_line
def states(dag: Dag | None = None, *, run: str | None = None) -> Shown:
    """The task instances of a run (the newest, unless ``run`` says which); without a DAG: what the states mean."""
    if dag is None:
        return Shown(dict(_MEANINGS), states_bundle(_MEANINGS.items()))
    here = session()
    found = here.find_run(dag, run)
    spec = _spec_of_run(here, found)
    zone = views.zone_of(spec)
    instances = here.app.store.instances(found.key)
    reasons = _reasons(here, found, instances)
    order = list(spec.tasks)
    rows = views.task_rows(instances, reasons, zone, order)
    now = here.app.clock.now().astimezone(zone)
    title = f"{found.dag_id}, {views.run_title(found, zone)}: {found.state.value}"
    return tasks_shown([i for i in instances if i.task_id in spec.tasks], rows, now, title=title)


_MEANINGS: Mapping[str, str] = {
    "none": "Not looked at yet, or waits for tasks before it.",
    "scheduled": "Its rule is met; it waits for a slot.",
    "queued": "It has a slot and is about to start.",
    "running": "It runs.",
    "success": "It ended well.",
    "failed": "It ended with an error, and has no retry left.",
    "skipped": "It was not needed: a branch, or a task before it, said so.",
    "upstream_failed": "A task that it needs failed.",
    "up_for_retry": "It failed and will be tried again.",
    "up_for_reschedule": "A sensor that looks again later; it takes no slot meanwhile.",
    "deferred": "It waits in the triggerer; it takes no slot meanwhile.",
    "restarting": "It was cleared while it ran, and starts over.",
    "removed": "The DAG no longer has it.",
}


def _reasons(here: Session, run: Run, instances: Sequence[Instance]) -> dict[TaskKey, str]:
    reasons = {key: wait.text for key, wait in here.operations.why(run.key).items()}
    for one in instances:
        if one.state in FAILED_STATES or one.state is TaskState.UP_FOR_RETRY:
            error = views.failure(here.app.store, run.key, one.key)
            if error and one.key not in reasons:
                reasons[one.key] = error.splitlines()[-1]
    return reasons


def _spec_of_run(here: Session, run: Run) -> DagSpec:
    version = here.app.store.version(run.dag_id, run.version)
    if version is None:
        raise NbflowError(f"Version {run.version} of {run.dag_id}, which {run.run_id} ran with, is gone.")
    return version.spec


@told_in_one_line
def why(dag: Dag, task: str | None = None, *, run: str | None = None) -> Shown:
    """Why a run's tasks wait, or why one task is in its state. As a value: task -> reason."""
    here = session()
    found = here.find_run(dag, run)
    spec = _spec_of_run(here, found)
    zone = views.zone_of(spec)
    waits = here.operations.why(found.key)
    instances = here.app.store.instances(found.key)
    if task is not None:
        _known_task(spec, task)
        own = [one for one in instances if task in (one.task_id, str(one.key))]
        if not own:
            raise NbflowError(f"Task {task!r} has no instance in {found.run_id} yet.")
        one = next((i for i in own if i.state not in FINISHED), own[0])
        wait = waits.get(one.key)
        text, kind = (wait.text, wait.kind) if wait is not None else ("", "")
        view = views.why_view(here.app.store, found, one, text, zone=zone, kind=kind)
        return Shown({str(one.key): view.headline}, why_bundle(view, here.app.clock.now()))
    reasons = _reasons(here, found, instances)
    rows = [row for row in views.task_rows(instances, reasons, zone, list(spec.tasks)) if row.reason]
    title = f"{found.dag_id}, {views.run_title(found, zone)}: {found.state.value}"
    if not rows:
        return _message(f"{title}. Nothing waits, and nothing failed.", {}, state=found.state.value)
    table = Table(
        columns=("task", "state", "why"),
        rows=tuple(
            (Cell(text=_row_name(row), bold=True), Cell(text=row.state, state=row.state), row.reason) for row in rows
        ),
    )
    data = {_row_name(row): row.reason for row in rows}
    return Shown(data, table_bundle(title, table, view="why"))


def _row_name(row: Any) -> str:
    return row.task_id if row.map_index < 0 else str(TaskKey(row.task_id, row.map_index))


def _known_task(spec: DagSpec, task: str) -> None:
    name = task.partition("[")[0]
    if name not in spec.tasks:
        hint = did_you_mean(name, spec.tasks).strip() or f"It has: {', '.join(list(spec.tasks)[:8])}."
        raise TaskNotFound(f"DAG {spec.dag_id!r} has no task {task!r}.", hint=hint)


@told_in_one_line
def logs(
    dag: Dag, task: str | None = None, *, run: str | None = None, try_number: int | None = None, search: str = ""
) -> Shown:
    """The log of a task's last try (or of ``try_number``) in a run. Without ``task``: of one that failed, else of the
    last that ran. ``search`` keeps the lines with that word. As a value: the lines."""
    from nbflow.execution.logs import read_log

    here = session()
    found = here.find_run(dag, run)
    spec = _spec_of_run(here, found)
    one = _logged(here, found, spec, task)
    number = try_number or max(one.try_number, 1)
    path = here.app.logs.path(found.key, one.key, number)
    start = max(0, path.stat().st_size - views.LOG_BYTES) if path.exists() else 0
    text, _ = read_log(path, start=start, max_bytes=views.LOG_BYTES)
    if not path.exists() and (found.triggered_by or "").startswith(INLINE):
        text = "A test run's tasks print into the cell that ran them."
    if start:
        text = text.partition("\n")[2]
    title = f"{one.key} of {found.run_id}, try {number}"
    view = views.log_view(title, text, views.zone_of(spec), search=search)
    return Shown([line.message for line in view.lines], log_bundle(view))


def _logged(here: Session, run: Run, spec: DagSpec, task: str | None) -> Instance:
    instances = here.app.store.instances(run.key)
    if task is not None:
        _known_task(spec, task)
        own = [one for one in instances if task in (one.task_id, str(one.key))]
        if own:
            return next((one for one in own if one.state in FAILED_STATES), own[0])
    tried = [one for one in instances if one.try_number > 0 and (task is None or one.task_id == task)]
    if not tried:
        raise NbflowError(f"Nothing of run {run.run_id} has been tried yet.", hint=f"See: %dag why {run.dag_id}.")
    failed = [one for one in tried if one.state is TaskState.FAILED]
    return max(failed or tried, key=lambda one: one.start_date or run.run_after)


@told_in_one_line
def runs(dag: Dag, *, limit: int = 20) -> Shown:
    """The newest runs of a DAG. As a value: the runs."""
    here = session()
    spec = here.version(dag).spec
    found = here.app.store.runs(spec.dag_id, limit=limit)
    counts = here.app.store.counts([run.key for run in found])
    rows = views.run_rows(found, counts, views.zone_of(spec))
    return Shown(found, runs_bundle(rows, here.app.clock.now(), dag_id=spec.dag_id))


@told_in_one_line
def grid(dag: Dag, *, limit: int = 25) -> Shown:
    """How it has been going: the newest runs as columns, the tasks as rows. As a value: run_id -> task -> state."""
    here = session()
    spec = here.version(dag).spec
    found = list(reversed(here.app.store.runs(spec.dag_id, limit=limit)))
    columns = [(one, here.app.store.instances(one.key)) for one in found]
    data = {one.run_id: {str(i.key): i.state.value for i in instances} for one, instances in columns}
    return Shown(data, grid_bundle(views.grid_view(spec, columns)))


@told_in_one_line
def gantt(dag: Dag, *, run: str | None = None) -> Shown:
    """Where a run's time went (the newest, unless ``run`` says which). As a value: the bars of each task."""
    here = session()
    found = here.find_run(dag, run)
    spec, now = _spec_of_run(here, found), here.app.clock.now()
    view = views.gantt_view(spec, found, here.app.store.events(run=found.key), now)
    return Shown({lane.label: list(lane.bars) for lane in view.lanes}, gantt_bundle(view))


@told_in_one_line
def next_runs(dag: Dag, number: int = 5) -> Shown:
    """The next runs of the schedule, each with its data interval. As a value: the logical dates."""
    here = session()
    spec = here.version(dag).spec
    store, zone, now = here.app.store, views.zone_of(spec), here.app.clock.now()
    row = store.dag(spec.dag_id)
    infos = views.next_runs(spec, store.latest_run(spec.dag_id), now, number)
    table = Table(
        columns=("runs at", "", "logical date", "data interval"),
        rows=tuple(
            (
                Cell(text=formatting.short_time(info.run_after.astimezone(zone)), bold=True),
                Cell(
                    text=formatting.relative(info.run_after, now).relative if info.run_after > now else "at once",
                    muted=True,
                ),
                formatting.short_time(info.logical_date.astimezone(zone)),
                Cell(
                    text=f"{formatting.short_time(info.data_interval.start.astimezone(zone))} to "
                    f"{formatting.short_time(info.data_interval.end.astimezone(zone))}",
                    muted=True,
                ),
            )
            for info in infos
        ),
        empty=f"{spec.dag_id} has no run to come: its schedule is {spec.schedule_text}.",
    )
    what = "paused" if row is not None and row.paused else "" if row is not None else here.differs(spec.dag_id)
    title = f"Next runs of {spec.dag_id}, {spec.schedule_text} ({spec.timezone})" + (f" · {what}" if what else "")
    return Shown([info.logical_date for info in infos], table_bundle(title, table, view="next"))


# ---------------------------------------------------------------------------------------- running


def handle_of(here: Session, run: Run) -> RunHandle:
    """A handle on a run that exists."""

    def below() -> list[str]:
        parts = footer(here, run.dag_id, version=run.version)
        return [*parts, *_held(here, run.key)]

    return RunHandle(here, run, _spec_of_run(here, run), below)


def _held(here: Session, key: RunKey) -> list[str]:
    """Why a run as a whole does not go on, where that is so."""
    row, run = here.app.store.dag(key.dag_id), here.app.store.run(key)
    if row is not None and row.paused and run is not None and run.state not in RUN_FINISHED and run.heeds_pause:
        return [f"{key.dag_id} is paused, so this run waits: %dag unpause {key.dag_id}"]
    return []


@told_in_one_line
def run(dag: Dag, *, conf: Mapping[str, Any] | None = None, date: When = None, run_id: str | None = None) -> RunHandle:
    """Start a run now, in a process of its own, and return a handle on it. The scheduler is started if there is none.

    ``conf``: what the run is given; ``date``: its logical date (default: now).
    """
    here = session()
    version = here.version(dag)
    moment = _moment(here, date)
    made = here.operations_on(version).trigger(
        version.dag_id, run_id=run_id, logical_date=moment, conf=conf, version=version.number
    )
    _have_scheduler(here)
    return handle_of(here, made)


def _have_scheduler(here: Session) -> None:
    """A run needs somebody who runs it; whoever is started is named."""
    scheduler = scheduler_process.ensure(here.app)
    if not scheduler.started:
        return
    pid = scheduler.job.pid if scheduler.job is not None else "?"
    idle = formatting.duration(here.app.settings.scheduler.idle_minutes * 60)
    _tell(f"Started a scheduler (pid {pid}) for {here.app.settings.home}. It ends when it was idle for {idle}.")


def _tell(text: str) -> None:
    """Say something beside the result."""
    if execution_count() is None:
        print(text)
        return
    from IPython.display import display

    display(message_bundle(text).mime(), raw=True)


@told_in_one_line
def test(
    dag: Dag,
    *,
    date: When = None,  # noqa: PT028  (the verb, no test)
    conf: Mapping[str, Any] | None = None,  # noqa: PT028
    watch: bool = False,  # noqa: PT028
) -> RunHandle:
    """Run a DAG once, here, in this process: breakpoints work and prints show. Returns the handle of the ended run.

    ``watch`` displays the graph at once, so that it follows the tasks; else it is there when the run has ended.
    """
    from nbflow.services.dag_test import run_inline

    here = session()
    obj = here.object_of(dag)
    own = here.dags.get(obj.dag_id)
    version = own.version if own is not None and own.dag is obj else None
    asked = _moment(here, date)
    if not watch or execution_count() is None:
        with breakpoints_stop():
            return handle_of(here, run_inline(here.app, obj, asked, conf or {}, version=version))
    begun: list[RunHandle] = []

    def follow(made: Run) -> None:
        begun.append(handle_of(here, made))
        begun[0].show_once()

    try:
        with breakpoints_stop():
            run_inline(here.app, obj, asked, conf or {}, version=version, watch=follow)
    finally:  # also where a debugger quits: the picture says how the run ended
        for handle in begun:
            handle.settle()
    return begun[0]


test.__test__ = False  # type: ignore[attr-defined]  # nor pytest's


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
    """Run the past intervals from ``start`` to ``end`` (logical dates, both included). ``reprocess`` says which runs
    that exist already go again: none, failed or completed. ``dry_run`` only shows what would be made."""
    here = session()
    version = here.version(dag)
    if reprocess not in set(Reprocess):
        choices = ", ".join(Reprocess)
        raise NbflowError(f"reprocess is one of {choices}, not {reprocess!r}.{did_you_mean(reprocess, Reprocess)}")
    begin, last = _moment(here, start), _moment(here, end)
    if begin is None or last is None:
        raise NbflowError("A backfill needs its first and its last logical date.")
    zone = views.zone_of(version.spec)
    asked: dict[str, Any] = {"reprocess": reprocess, "run_backwards": backwards, "version": version.number}
    operations = here.operations
    if dry_run:
        plan = operations.plan_backfill(version.dag_id, begin, last, **asked)
        return BackfillHandle(here, version.dag_id, plan, None, zone)
    made = operations.backfill(version.dag_id, begin, last, max_active_runs=max_active_runs, conf=conf, **asked)
    _have_scheduler(here)
    return BackfillHandle(here, version.dag_id, made.plan, made.backfill_id, zone)


@told_in_one_line
def clear(
    dag: Dag,
    *tasks: str,
    run: str | None = None,
    upstream: bool = False,
    downstream: bool = False,
    failed: bool = False,
    newest: bool = False,
    dry_run: bool = False,
) -> Shown:
    """Let tasks of a run go again: all of them, or those named, with what is before or after them. ``failed``: only the
    failed ones; ``newest``: with the newest version of the DAG. As a value: the cleared task instances."""
    here = session()
    found = here.find_run(dag, run)
    spec = _spec_of_run(here, found)
    for task in tasks:
        _known_task(spec, task)
    cleared = here.operations.clear(
        found.key,
        tasks or None,
        upstream=upstream,
        downstream=downstream,
        only_failed=failed,
        newest_version=newest,
        dry_run=dry_run,
    )
    names = [str(key) for key in cleared]
    if not names:
        return _message(f"There is nothing to clear in {found.run_id}.", cleared)
    will = "would be cleared" if dry_run else "cleared"
    return _message(f"{formatting.count(len(names), 'task')} of {found.run_id} {will}: {', '.join(names)}.", cleared)


@told_in_one_line
def pause(dag: Dag) -> Shown:
    """Make no new scheduled runs, and start no waiting ones."""
    return _set_paused(_id(dag), True)


@told_in_one_line
def unpause(dag: Dag) -> Shown:
    """Let the schedule go on."""
    return _set_paused(_id(dag), False)


def _set_paused(dag_id: str, paused: bool) -> Shown:
    here = session()
    here.version(dag_id)
    row = here.app.store.dag(dag_id)
    if row is None:
        raise NbflowError(
            f"{dag_id} is this kernel's only, so nothing schedules it.",
            hint=f"Save its notebook in {here.app.settings.core.dags_folder}.",
        )
    word = "paused" if paused else "unpaused"
    if row.paused == paused:
        return _message(f"{dag_id} is {word} already.", False)
    here.operations.set_paused(dag_id, paused)
    return _message(f"{dag_id} is {word}.", True)


@told_in_one_line
def simulate(dag: Dag, *, days: float = 7, start: When = None, seed: int | None = None) -> Shown:
    """Watch the coming days of a DAG's schedule, decided at once on a simulated clock. As a value: the simulation.

    Tasks fare as drawn from ``seed``, or from the setting ``[sim] seed``; without both as in their last successful run.
    """
    from nbflow.sim import simulate as play
    from nbflow.sim.outcomes import Seeded

    here = session()
    spec = _spec(here, dag) if isinstance(dag, DAG) and dag.dag_id not in here.dags else here.version(dag).spec
    begin = _moment(here, start) or here.app.clock.now()
    settings = here.app.settings
    seed = settings.sim.seed if seed is None else seed
    outcomes = Seeded(seed=seed) if seed is not None else None
    slots = settings.core.parallelism
    simulation = play(spec, start=begin, days=days, outcomes=outcomes, store=here.app.store, slots=slots)
    return Shown(simulation, timeline_bundle(views.timeline_view(simulation, spec)))


@told_in_one_line
def schedule(
    notebook: str, *, cron: str, name: str | None = None, parameters: Mapping[str, Any] | None = None
) -> Shown:
    """Let a notebook run on a schedule, by papermill: writes a small DAG file into the DAGs folder. As a value: its
    path."""
    from nbflow.notebook.schedule_notebook import overwritten, write_dag_file

    here = session()
    path, dag_id, existed = write_dag_file(here, notebook, cron=cron, name=name, parameters=parameters or {})
    row = here.app.store.dag(dag_id)
    hint = "" if row is not None and not row.paused else f" It starts paused: %dag unpause {dag_id}."
    if parameters and overwritten(here, notebook):
        hint += (
            f" No cell of {notebook} has the tag 'parameters': give it to the one with the defaults, or that one undoes"
            f" {', '.join(parameters)}."
        )
    verb = "Changed" if existed else "Wrote"
    return _message(f"{verb} {path}: DAG {dag_id} runs {notebook} at {cron}.{hint}", path)


def as_bundle(shown: Any) -> Bundle:
    """The picture of what a verb returned."""
    bundle = shown.bundle
    return bundle() if callable(bundle) else bundle
