"""dags: list, show, check, test, trigger, pause ..."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nbflow.cli import check_files, find_dag, output
from nbflow.cli.backfill import DAGS_BACKFILL
from nbflow.cli.invocation import Call, UsageError
from nbflow.cli.processes import list_jobs
from nbflow.cli.terminal_command import (
    BUNDLE,
    FORMATS,
    LOCAL,
    OUTPUT,
    SUBDIR,
    SUBDIR_ONLY,
    YES,
    terminal_command,
)
from nbflow.command_arguments import FILE, NAMES, PATTERN, argument, switch
from nbflow.commands.base import Result
from nbflow.commands.options import END_DATE, START_DATE
from nbflow.commands.run_conf import conf_of
from nbflow.core.states import FINISHED, RunState, TaskState
from nbflow.errors import did_you_mean
from nbflow.suggested_commands import suggest

if TYPE_CHECKING:
    from nbflow.core.snapshot import Instance, Run, TaskKey
    from nbflow.core.spec import DagSpec
    from nbflow.views.dag_list import DagListRow

LIST_COLUMNS = ("dag_id", "schedule", "is_paused", "next_run", "owners", "tags", "fileloc")
ALL_COLUMNS = (
    *LIST_COLUMNS,
    "description",
    "version",
    "is_stale",
    "has_import_errors",
    "last_parsed",
    "next_logical_date",
)


# ----------------------------------------------------------------------------------------------------------- read-only


def list_dags(call: Call) -> None:
    from nbflow.views.dag_list import DagListQuery

    args = call.args
    columns = _columns(args.columns)
    if args.local or args.subdir:
        rows = _local_rows(call, args.subdir)
    else:
        rows = [_row(row) for row in call.fetch(DagListQuery(last_runs=0)).rows]
        find_dag.note_unparsed_files(call)
    call.show([{name: row[name] for name in columns} for row in rows], empty="No DAGs.", columns=columns)


def _columns(names: list[str] | None) -> tuple[str, ...]:
    for name in names or ():
        if name not in ALL_COLUMNS:
            raise UsageError(
                f"Unknown column {name!r}.{did_you_mean(name, ALL_COLUMNS)}",
                hint=f"Columns: {', '.join(ALL_COLUMNS)}.",
            )
    return tuple(names or LIST_COLUMNS)


def _row(row: DagListRow) -> dict[str, Any]:
    joined = {"owners": ", ".join(row.owners), "tags": ", ".join(row.tags), "schedule": row.schedule or "None"}
    return output.fields_of(row, ALL_COLUMNS) | joined


def _local_rows(call: Call, subdir: str | None) -> list[dict[str, Any]]:
    from nbflow.views.dag_list import DagListQuery

    stored = {row.dag_id: row for row in call.fetch(DagListQuery(last_runs=0, with_stale=True)).rows}
    rows: list[dict[str, Any]] = []
    for loaded in find_dag.load_all(call, subdir):
        for line in find_dag.error_lines(loaded.path, loaded.import_errors):
            output.warn(line)
        for dag_id, spec in loaded.specs.items():
            rows.append(
                dict.fromkeys(ALL_COLUMNS)
                | (_row(stored[dag_id]) if dag_id in stored else {})
                | {
                    "dag_id": dag_id,
                    "schedule": spec.schedule_text,
                    "owners": ", ".join(spec.owners),
                    "tags": ", ".join(spec.tags),
                    "fileloc": loaded.path,
                    "description": spec.description,
                }
            )
    return sorted(rows, key=lambda row: row["dag_id"])


def details(call: Call) -> None:
    from dataclasses import fields

    from nbflow.views.dag_details import details_of_spec

    dag = find_dag.find(call, call.args.dag_id, call.args.subdir)
    view = details_of_spec(
        dag.spec,
        fileloc=dag.fileloc,
        version=dag.version.number if dag.version is not None else None,
        row=call.app.store.dag(dag.spec.dag_id),
    )
    names = (field.name for field in fields(view))
    call.show_one(output.fields_of(view, names) | {"tasks": [task.task_id for task in view.tasks]})


def show_graph(call: Call) -> None:
    from nbflow.cli.graph_files import digraph_of, save
    from nbflow.views.graph import graph_view

    args = call.args
    if args.run is None:
        spec = find_dag.find(call, args.dag_id, args.subdir).spec
        view = graph_view(spec)
    else:
        run = call.operations.find_run(args.dag_id, args.run)
        spec = call.operations.version(args.dag_id, run.version).spec
        view = graph_view(spec, run=run, instances=call.app.store.instances(run.key))
    if args.save is None:
        print(digraph_of(spec, view).source, end="")
        return
    save(spec, view, Path(args.save))
    output.note(f"The graph of {spec.dag_id} was saved to {args.save}.")


def state(call: Call) -> None:
    run = call.operations.find_run(call.args.dag_id, call.args.run)
    print(run.state.value)


RUN_COLUMNS = (
    "dag_id",
    "run_id",
    "run_type",
    "state",
    "logical_date",
    "data_interval_start",
    "data_interval_end",
    "start_date",
    "end_date",
)
ALL_RUNS = 1_000_000
"""Limit of runs; listings for scripts must be complete."""


def list_runs(call: Call) -> None:
    from nbflow.services.runs_set_aside import set_aside_lines
    from nbflow.services.schedulers import running_schedulers
    from nbflow.views.runs import RunsQuery

    args = call.args
    call.operations.check_exists(args.dag_id)
    query = RunsQuery(
        dag_id=args.dag_id,
        states=(args.state,) if args.state else (),
        since=call.date(args.start_date),
        until=call.date(args.end_date),
        limit=ALL_RUNS,
        task_counts=False,
    )
    rows = [row for row in call.fetch(query).rows if not (args.no_backfill and row.run_type == "backfill")]
    call.show(
        [output.fields_of(row, RUN_COLUMNS) for row in rows],
        empty=f"DAG {args.dag_id} has no matching runs.",
        columns=RUN_COLUMNS,
    )
    if args.output == "table":
        for row in rows:
            if row.note:
                print(output.printable(f"{row.run_id}: {row.note}"))
    schedulers = running_schedulers(call.app.store, call.settings, call.now())
    for line in set_aside_lines(schedulers, args.dag_id):
        output.note(line)


NEXT_COLUMNS = ("logical_date", "data_interval_start", "data_interval_end", "run_after")


def next_execution(call: Call) -> None:
    from nbflow.views.next_runs import fetch_of_spec

    args = call.args
    spec = find_dag.find(call, args.dag_id, args.subdir).spec
    view = fetch_of_spec(call.app.store, spec, call.now(), limit=args.number)
    if view.is_paused:
        output.warn(f"DAG {view.dag_id} is paused. Schedule its runs with: {suggest('dags unpause', view.dag_id)}")
    rows = [output.fields_of(row, NEXT_COLUMNS) for row in view.rows]
    if args.output is not None:
        call.show(rows, columns=NEXT_COLUMNS)
        return
    for row in rows:
        print(output.iso(row["logical_date"]))
    if not rows:
        output.warn(f"No next run: the schedule of {view.dag_id} ({view.schedule}) has no further dates.")
        print("None")


# ------------------------------------------------------------------------------------------------------ tests and runs


def test(call: Call) -> int:
    from nbflow.cli.inline_runs import interruptible, level_of, logging_to_stderr, stdout_to_stderr
    from nbflow.services.dag_test import run_test
    from nbflow.views.task_instances import TaskInstancesQuery

    args = call.args
    logical_date = call.date(args.logical_date)
    conf = conf_of(args)
    with stdout_to_stderr(), logging_to_stderr(level_of(call)), interruptible():
        dag, loaded = find_dag.dag_of(call, args.dag_id, args.subdir)
        if loaded.output:
            print(loaded.output, end="")
        run = run_test(
            dag,
            logical_date=logical_date,
            run_conf=conf,
            mark_success_pattern=args.mark_success_pattern,
            each_loop=_step_printer(call),
            files=loaded.files,
            app=call.app,
        )
    view = call.fetch(TaskInstancesQuery(dag_id=run.dag_id, run_id=run.run_id, reasons=False))
    tis = [output.fields_of(ti, ("task_id", "map_index", "state", "try_number")) for ti in view.by_id()]
    if args.output in ("table", "plain"):
        call.show(tis)
    else:
        call.show_one(
            output.fields_of(view, ("dag_id", "run_id", "logical_date"))
            | {"state": view.run_state, "task_instances": tis}
        )
    if args.output == "table":
        print(f"\n{run.dag_id} {run.run_id}: {run.state.value}")
        _print_failures(call, run)
    if args.show_dagrun or args.save_dagrun:
        _show_test(call, loaded.specs[run.dag_id], run, call.app.store.instances(run.key))
    return 0 if run.state is RunState.SUCCESS else 1


def _step_printer(call: Call) -> Callable[[Run], None] | None:
    """A callback that prints each ended task instance once; None if stderr is not a terminal."""
    from nbflow.cli.progress import is_shown, print_step

    printed: set[TaskKey] = set()

    def print_ended(run: Run) -> None:
        tis = [ti for ti in call.app.store.instances(run.key) if ti.state is not TaskState.REMOVED]
        ended = [ti for ti in tis if ti.state in FINISHED and ti.key not in printed]
        for ti in sorted(ended, key=lambda ti: ti.end_date.timestamp() if ti.end_date else float("inf")):
            printed.add(ti.key)
            print_step(len(printed), len(tis), "tasks", str(ti.key), ti.state.value)

    return print_ended if is_shown() else None


def _print_failures(call: Call, run: Any) -> None:
    for attempt in call.app.store.attempts(run.key):
        if attempt.error:
            output.warn(f"{attempt.key} (try {attempt.try_number}): {attempt.error}")


def _show_test(call: Call, spec: DagSpec, run: Run, instances: Iterable[Instance]) -> None:
    from nbflow.cli.graph_files import digraph_of, save
    from nbflow.views.graph import graph_view

    view = graph_view(spec, run=run, instances=instances)
    if call.args.save_dagrun:
        save(spec, view, Path(call.args.save_dagrun))
    if call.args.show_dagrun:
        output.note(digraph_of(spec, view).source.rstrip())


def _show_triggered(call: Call, result: Result) -> None:
    call.show_one(output.fields_of(result.value, RUN_COLUMNS))


def _show_deleted(call: Call, result: Result) -> None:
    dag_id = call.args.dag_id
    print(output.printable(result.text))
    files = [path for path in find_dag.files_of(call, None) if find_dag.mentions(path, dag_id)]
    if files:
        output.note(f"{files[0]} contains {dag_id!r}: if it defines the DAG, a scheduler registers the DAG again.")


COMMANDS = (
    terminal_command(
        "dags list",
        OUTPUT,
        argument("--columns", type=NAMES, help=f"Columns to show: {', '.join(ALL_COLUMNS)}."),
        LOCAL,
        SUBDIR,
        BUNDLE,
        run=list_dags,
    ),
    terminal_command("dags details", OUTPUT, SUBDIR, BUNDLE, run=details),
    terminal_command(
        "dags show",
        SUBDIR,
        BUNDLE,
        argument("-s", "--save", type=FILE, help="Write .svg or .dot; .png and .pdf need Graphviz."),
        run=show_graph,
    ),
    terminal_command(
        "dags test",
        SUBDIR,
        OUTPUT,
        argument("--mark-success-pattern", type=PATTERN, help="Do not run matching tasks; mark them success."),
        switch("--show-dagrun", help="Print the run's graph in DOT to stderr."),
        argument("--save-dagrun", type=FILE, help="Write the run's graph: .svg, .dot, .png, .pdf."),
        BUNDLE,
        change=test,
    ),
    terminal_command(
        "dags trigger",
        switch("--no-replace-microseconds", help="Ignored: microseconds are always kept."),
        OUTPUT,
        SUBDIR,
        show=_show_triggered,
    ),
    DAGS_BACKFILL,
    *check_files.COMMANDS,
    terminal_command("dags clear", YES),
    terminal_command(
        "dags list-runs",
        argument("--state", choices=("queued", "running", "success", "failed"), help="Only runs in this state."),
        switch("--no-backfill", help="Exclude runs of backfills."),
        START_DATE,
        END_DATE,
        OUTPUT,
        run=list_runs,
    ),
    terminal_command("dags list-jobs", OUTPUT, run=list_jobs),
    terminal_command(
        "dags next-execution",
        argument("-o", "--output", choices=FORMATS, help="Output format (default: dates)."),
        SUBDIR,
        BUNDLE,
        run=next_execution,
    ),
    terminal_command("dags state", SUBDIR, BUNDLE, run=state),
    terminal_command("dags pause", YES, OUTPUT, SUBDIR_ONLY),
    terminal_command("dags unpause", YES, OUTPUT, SUBDIR_ONLY),
    terminal_command("dags delete", YES, show=_show_deleted),
    terminal_command("dags delete-run", YES),
)
