"""dags: list, show, check, test, trigger, pause ... one function a command."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from nbflow.cli import check_files, find_dag, output
from nbflow.cli.backfill import DAGS_BACKFILL
from nbflow.cli.declaring import (
    BUNDLE,
    CONF,
    DAG_ID,
    END,
    LOCAL,
    OUTPUT,
    RUN,
    START,
    SUBDIR,
    SUBDIR_ONLY,
    YES,
    Command,
    arg,
    positive,
    switch,
)
from nbflow.cli.invocation import Call, UsageError
from nbflow.errors import NbflowError, did_you_mean

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


# ------------------------------------------------------------------------------------------------------------- looking


def list_dags(call: Call) -> None:
    args = call.args
    columns = _columns(args.columns)
    if args.local or args.subdir:
        rows = _local_rows(call, args.subdir)
    else:
        rows = [_stored_row(row) for row in call.app.store.dags()]
        find_dag.say_unread(call)
    call.show([{name: row[name] for name in columns} for row in rows], empty="There are no DAGs.", columns=columns)


def _columns(text: str | None) -> tuple[str, ...]:
    if not text:
        return LIST_COLUMNS
    chosen = tuple(name.strip() for name in text.split(",") if name.strip())
    for name in chosen:
        if name not in ALL_COLUMNS:
            raise UsageError(
                f"There is no column {name!r}.{did_you_mean(name, ALL_COLUMNS)}",
                hint=f"There are: {', '.join(ALL_COLUMNS)}.",
            )
    return chosen


def _stored_row(row: Any) -> dict[str, Any]:
    return {
        "dag_id": row.dag_id,
        "schedule": row.schedule_text,
        "is_paused": row.paused,
        "next_run": row.next_run,
        "next_logical_date": row.next_logical_date,
        "owners": ", ".join(row.owners),
        "tags": ", ".join(row.tags),
        "fileloc": row.fileloc,
        "description": row.description,
        "version": row.version,
        "is_stale": row.stale,
        "has_import_errors": row.has_import_errors,
        "last_parsed": row.last_parsed_at,
    }


def _local_rows(call: Call, subdir: str | None) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for loaded in find_dag.load_all(call, subdir):
        for line in find_dag.fault_lines(loaded.path, loaded.faults):
            output.warn(line)
        for dag_id, spec in loaded.specs.items():
            known = call.app.store.dag(dag_id)
            rows.append(
                dict.fromkeys(ALL_COLUMNS)
                | (_stored_row(known) if known else {})
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
    known = find_dag.known(call, call.args.dag_id, call.args.subdir)
    spec, version = known.spec, known.version
    row = call.app.store.dag(spec.dag_id)
    call.show_one(
        {
            "dag_id": spec.dag_id,
            "description": spec.description,
            "fileloc": known.fileloc,
            "version": version.number if version else None,
            "schedule": spec.schedule_text,
            "timezone": spec.timezone,
            "start_date": spec.start_date,
            "end_date": spec.end_date,
            "catchup": spec.catchup,
            "is_paused": row.paused if row else None,
            "next_run": row.next_run if row else None,
            "max_active_runs": spec.max_active_runs,
            "max_active_tasks": spec.max_active_tasks,
            "dagrun_timeout": spec.dagrun_timeout,
            "tags": list(spec.tags),
            "owners": list(spec.owners),
            "params": {name: param.get("value") for name, param in spec.params.items()},
            "tasks": list(spec.tasks),
        }
    )


def show_graph(call: Call) -> None:
    from nbflow.cli.graph_files import coloured_digraph, save, states_of

    args, states = call.args, {}
    if args.run is None:
        spec = find_dag.known(call, args.dag_id, args.subdir).spec
    else:
        run = call.operations.find_run(args.dag_id, args.run)
        spec = call.operations.version(args.dag_id, run.version).spec
        states = states_of(call.app.store.instances(run.key))
    if args.save is None:
        print(coloured_digraph(spec, states).source, end="")
        return
    save(spec, states, Path(args.save))
    output.say(f"{args.save} shows {spec.dag_id}.")


def state(call: Call) -> None:
    run = call.operations.find_run(call.args.dag_id, call.args.run)
    print(run.state.value)


def list_runs(call: Call) -> None:
    from nbflow.cli.run_rows import RUN_COLUMNS, run_row
    from nbflow.core.states import RunState

    args = call.args
    if args.dag_id and args.dag_id_option and args.dag_id != args.dag_id_option:
        raise UsageError("nbflow dags list-runs: two DAG ids were given.")
    dag_id = args.dag_id or args.dag_id_option
    if dag_id is None:
        raise UsageError("nbflow dags list-runs: which DAG?", hint="Usage: nbflow dags list-runs DAG_ID")
    call.operations.version(dag_id)
    runs = call.app.store.runs(
        dag_id,
        states=[RunState(args.state)] if args.state else None,
        since=call.date(args.start_date),
        until=call.date(args.end_date),
        limit=ALL,
    )
    rows = [run_row(run) for run in runs if not (args.no_backfill and run.run_type == "backfill")]
    call.show(rows, empty=f"DAG {dag_id} has no such runs.", columns=RUN_COLUMNS)


ALL = 1_000_000
"""A listing that a script reads is whole."""


def next_execution(call: Call) -> None:
    from nbflow.core.timetables import DataInterval, TimeRestriction, timetable_from_spec

    args = call.args
    spec = find_dag.known(call, args.dag_id, args.subdir).spec
    row = call.app.store.dag(spec.dag_id)
    if row is not None and row.paused:
        output.warn(f"DAG {spec.dag_id} is paused: nothing is scheduled until nbflow dags unpause {spec.dag_id}.")
    latest = call.app.store.latest_run(spec.dag_id)
    last = None
    if latest is not None and latest.data_interval_start is not None and latest.data_interval_end is not None:
        last = DataInterval(latest.data_interval_start, latest.data_interval_end)
    timetable, now, rows = timetable_from_spec(spec.schedule), call.now(), []
    for _ in range(args.num_executions):
        info = timetable.next_run(last, TimeRestriction(spec.start_date, spec.end_date, spec.catchup), now)
        if info is None:
            break
        last = info.data_interval
        rows.append(
            {
                "logical_date": info.logical_date,
                "data_interval_start": info.data_interval.start,
                "data_interval_end": info.data_interval.end,
                "run_after": info.run_after,
            }
        )
    if args.output is not None:
        call.show(rows, columns=("logical_date", "data_interval_start", "data_interval_end", "run_after"))
        return
    for one in rows:
        print(output.iso(one["logical_date"]))
    if not rows:
        output.warn(f"No next run: the schedule of {spec.dag_id} ({spec.schedule_text}) has none to come.")
        print("None")


# -------------------------------------------------------------------------------------------------------------- running


def test(call: Call) -> int:
    from nbflow.cli.run_here import interruptible, level_of, logging_to_stderr, results_only
    from nbflow.cli.run_rows import run_object
    from nbflow.core.states import RunState
    from nbflow.services.dag_test import run_test

    args = call.args
    moment = call.date(args.exec_date or args.logical_date)
    conf = call.conf(args.conf)
    with results_only(), logging_to_stderr(level_of(call)), interruptible():
        dag, loaded = find_dag.dag_of(call, args.dag_id, args.subdir)
        if loaded.output:
            print(loaded.output, end="")
        run = run_test(
            dag, logical_date=moment, run_conf=conf, mark_success_pattern=args.mark_success_pattern, app=call.app
        )
    instances = call.app.store.instances(run.key)
    found = run_object(run, instances)
    if args.output == "table":
        call.show(found["task_instances"])
        print(f"\n{run.dag_id} {run.run_id}: {run.state.value}")
        _print_failures(call, run)
    elif args.output == "plain":
        call.show(found["task_instances"])
    else:
        call.show_one(found)
    if args.show_dagrun or args.save_dagrun:
        _show_test(call, loaded.specs[run.dag_id], instances)
    return 0 if run.state is RunState.SUCCESS else 1


def _print_failures(call: Call, run: Any) -> None:
    for attempt in call.app.store.attempts(run.key):
        if attempt.error:
            output.warn(f"{attempt.key} (try {attempt.try_number}): {attempt.error}")


def _show_test(call: Call, spec: Any, instances: Iterable[Any]) -> None:
    from nbflow.cli.graph_files import coloured_digraph, save, states_of

    states = states_of(instances)
    if call.args.save_dagrun:
        save(spec, states, Path(call.args.save_dagrun))
    if call.args.show_dagrun:
        output.say(coloured_digraph(spec, states).source.rstrip())


def trigger(call: Call) -> None:
    from nbflow.cli.run_rows import run_row

    args = call.args
    moment = call.date(args.logical_date)
    conf = call.conf(args.conf)
    version = find_dag.stored(call, args.dag_id, args.subdir)
    run = call.operations.trigger(
        args.dag_id,
        run_id=args.run_id,
        logical_date=moment,
        conf=conf,
        version=version.number if args.subdir else None,
    )
    call.show_one(run_row(run))
    waits = call.operations.why(run.key)
    reason = next((wait for wait in waits.values() if wait.kind in ("paused", "no_scheduler")), None)
    if reason is not None:
        output.warn(reason.text)
    if not args.subdir and _is_stale(call, args.dag_id):
        output.warn(f"{version.fileloc} does not define DAG {args.dag_id} any more: the run takes what it last said.")


def _is_stale(call: Call, dag_id: str) -> bool:
    """Whether the file of a DAG is gone, or defines it no more."""
    row = call.app.store.dag(dag_id)
    return row is not None and row.stale


def clear(call: Call) -> int:
    args, operations = call.args, call.operations
    operations.version(args.dag_id)
    if args.run_id:
        runs = [operations.find_run(args.dag_id, args.run_id)]
    else:
        runs = call.app.store.runs(args.dag_id, limit=ALL)
    options = {"only_failed": args.only_failed, "only_running": args.only_running}
    plan = [(run.key, len(operations.clear(run.key, dry_run=True, **options))) for run in runs]
    chosen = [key for key, size in plan if size]
    count = sum(size for _, size in plan)
    if not chosen:
        output.say("Nothing to clear.")
        return 0
    if not call.sure(f"Clear {count} task instances of {args.dag_id} in {len(chosen)} runs?"):
        return 1
    for key in chosen:
        operations.clear(key, **options)
    print(f"{count} task instances of {args.dag_id} were cleared.")
    return 0


# ---------------------------------------------------------------------------------------------------- pausing, deleting


def pause(call: Call) -> int:
    return _set_paused(call, True)


def unpause(call: Call) -> int:
    return _set_paused(call, False)


def _set_paused(call: Call, paused: bool) -> int:
    args, store = call.args, call.app.store
    word = "Pause" if paused else "Unpause"
    if args.treat_dag_id_as_regex:
        try:
            pattern = re.compile(args.dag_id)
        except re.error as fault:
            raise UsageError(f"{args.dag_id!r} is not a regular expression: {fault}.") from None
        dag_ids = [row.dag_id for row in store.dags() if pattern.search(row.dag_id)]
        if not dag_ids:
            raise NbflowError(f"No DAG's id matches {args.dag_id!r}.")
        if len(dag_ids) > 1 and not call.sure(f"{word} {len(dag_ids)} DAGs: {', '.join(dag_ids)}?"):
            return 1
    else:
        dag_ids = [find_dag.stored(call, args.dag_id, None).dag_id]
    rows = []
    for dag_id in dag_ids:
        if store.dag(dag_id) is None and not find_dag.follow(call, dag_id):
            raise NbflowError(
                f"DAG {dag_id} has no schedule to {word.lower()}: it was registered for its own runs only.",
                hint="Save it in the DAGs folder.",
            )
        call.operations.set_paused(dag_id, paused)
        if not paused and _is_stale(call, dag_id):
            output.warn(f"No file defines DAG {dag_id} any more: nothing is scheduled.")
        rows.append({"dag_id": dag_id, "is_paused": paused})
    call.show(rows)
    return 0


def delete(call: Call) -> int:
    dag_id = call.args.dag_id
    call.operations.version(dag_id)
    if not call.sure(f"Delete DAG {dag_id} with all its runs and history?"):
        return 1
    gone = call.app.store.delete_dag(dag_id, actor=call.actor, now=call.now())
    print(f"DAG {dag_id} was deleted: {gone} rows.")
    fileloc = [path for path in find_dag.files_of(call, None) if find_dag.names(path, dag_id)]
    if fileloc:
        output.say(f"{fileloc[0]} still names it: a scheduler that reads the file makes the DAG again.")
    return 0


def list_jobs(call: Call) -> None:
    from nbflow.cli.processes import show_jobs

    show_jobs(call, state=call.args.state, limit=call.args.limit)


LOGICAL_DATE = arg("logical_date", nargs="?", metavar="DATE", help="Logical date of the run (now).")

COMMANDS = (
    Command(
        name="dags list",
        help="The DAGs there are.",
        run=list_dags,
        args=(
            OUTPUT,
            arg("--columns", metavar="A,B", help=f"Which of {', '.join(ALL_COLUMNS)}."),
            LOCAL,
            SUBDIR,
            BUNDLE,
        ),
    ),
    Command(
        name="dags details", help="All that is known of a DAG.", run=details, args=(DAG_ID, OUTPUT, SUBDIR, BUNDLE)
    ),
    Command(
        name="dags show",
        help="The graph, as DOT; or saved as a picture.",
        run=show_graph,
        args=(
            DAG_ID,
            SUBDIR,
            BUNDLE,
            arg("-s", "--save", metavar="FILE", help="Write .svg or .dot; .png or .pdf where Graphviz is installed."),
            arg("--run", metavar="RUN", help="With the states of this run: its id, logical date, or last."),
        ),
    ),
    Command(
        name="dags test",
        help="Run a DAG once, here and now, in this process; exit code 0 if the run succeeded.",
        run=test,
        args=(
            DAG_ID,
            LOGICAL_DATE,
            arg("--exec-date", "--execution-date", dest="exec_date", metavar="DATE", help="The same, in 2.x words."),
            SUBDIR,
            CONF,
            OUTPUT,
            arg("--mark-success-pattern", metavar="REGEX", help="Do not run the tasks that match; they succeed."),
            switch("--show-dagrun", help="Print the run's graph (DOT) afterwards, on stderr."),
            arg("--save-dagrun", metavar="FILE", help="Save the run's graph: .svg, .dot, .png, .pdf."),
            BUNDLE,
        ),
    ),
    Command(
        name="dags trigger",
        help="Make a run now; a scheduler runs it.",
        run=trigger,
        args=(
            DAG_ID,
            CONF,
            arg(
                "-l", "-e", "--logical-date", "--exec-date", dest="logical_date", metavar="DATE", help="Its date (now)."
            ),
            arg("-r", "--run-id", metavar="ID", help="Its id."),
            switch("--no-replace-microseconds", help="Accepted: microseconds are always kept."),
            OUTPUT,
            SUBDIR,
        ),
    ),
    DAGS_BACKFILL,
    *check_files.COMMANDS,
    Command(
        name="dags clear",
        help="Let the tasks of runs go again.",
        run=clear,
        args=(
            DAG_ID,
            arg("--run-id", metavar="ID", help="Only this run."),
            switch("-f", "--only-failed", help="Only failed tasks."),
            switch("-r", "--only-running", help="Only running tasks."),
            YES,
        ),
    ),
    Command(
        name="dags list-runs",
        help="The runs of a DAG, newest first.",
        run=list_runs,
        args=(
            arg("dag_id", nargs="?", metavar="DAG_ID", help="Id of the DAG."),
            arg("-d", "--dag-id", dest="dag_id_option", metavar="DAG_ID", help="The same, as an option."),
            arg("--state", choices=("queued", "running", "success", "failed"), help="Only runs in this state."),
            switch("--no-backfill", help="Leave out runs of backfills."),
            START,
            END,
            OUTPUT,
        ),
    ),
    Command(
        name="dags list-jobs",
        help="The processes of nbflow.",
        run=list_jobs,
        args=(
            OUTPUT,
            arg("--state", choices=("running", "success", "failed"), help="Only those that run, ended, or were lost."),
            arg("--limit", type=positive, default=100, metavar="N", help="At most so many (100)."),
        ),
    ),
    Command(
        name="dags next-execution",
        help="The logical date of the run that comes next.",
        run=next_execution,
        args=(
            DAG_ID,
            arg("-n", "--num-executions", type=positive, default=1, metavar="N", help="So many of them."),
            arg("-o", "--output", choices=("table", "json", "yaml", "plain"), help="Form of the output (bare dates)."),
            SUBDIR,
            BUNDLE,
        ),
    ),
    Command(
        name="dags state",
        help="The state of a run.",
        run=state,
        args=(DAG_ID, RUN, SUBDIR, BUNDLE),
    ),
    Command(
        name="dags pause",
        help="Stop scheduling a DAG.",
        run=pause,
        args=(DAG_ID, switch("--treat-dag-id-as-regex", help="Every DAG whose id matches."), YES, OUTPUT, SUBDIR_ONLY),
    ),
    Command(
        name="dags unpause",
        help="Go on scheduling a DAG.",
        run=unpause,
        args=(DAG_ID, switch("--treat-dag-id-as-regex", help="Every DAG whose id matches."), YES, OUTPUT, SUBDIR_ONLY),
    ),
    Command(name="dags delete", help="Delete a DAG and its history.", run=delete, args=(DAG_ID, YES)),
)
