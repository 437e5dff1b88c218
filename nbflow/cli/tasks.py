"""tasks: list, test, render, state, clear, mark ..."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from nbflow.cli import find_dag, output
from nbflow.cli.invocation import Call, UsageError
from nbflow.cli.terminal_command import BUNDLE, FORMATS, OUTPUT, SUBDIR, SUBDIR_ONLY, YES, terminal_command
from nbflow.command_arguments import argument, switch
from nbflow.errors import NbflowError, TaskNotFound

if TYPE_CHECKING:
    from nbflow.core.snapshot import Instance, Run, TaskKey
    from nbflow.core.spec import DagSpec


def list_tasks(call: Call) -> None:
    args = call.args
    spec = find_dag.find(call, args.dag_id, args.subdir).spec
    if args.tree:
        print(output.printable("\n".join(tree(spec))))
    elif args.output is None:
        print("\n".join(output.printable(task_id) for task_id in sorted(spec.tasks)))
    else:
        from nbflow.views.dag_details import details_of_spec

        columns = ("task_id", "operator", "upstream", "trigger_rule", "pool", "retries", "is_mapped")
        call.show(output.fields_of(task, columns) for task in details_of_spec(spec, fileloc="").tasks)


def tree(spec: DagSpec) -> Iterator[str]:
    """Each task below its upstream tasks. The downstream tasks of a task are listed only at its first occurrence; later
    ones end in "..."."""
    visited: set[str] = set()

    def subtree(task_id: str, depth: int) -> Iterator[str]:
        omitted = task_id in visited and spec.downstream[task_id]
        yield f"{'    ' * depth}<Task({spec.tasks[task_id].operator}): {task_id}>{' ...' if omitted else ''}"
        if omitted:
            return
        visited.add(task_id)
        for downstream_id in spec.downstream[task_id]:
            yield from subtree(downstream_id, depth + 1)

    for task in spec.tasks.values():
        if not task.upstream:
            yield from subtree(task.task_id, 0)


# ---------------------------------------------------------------------------------------------------------- task tests


def test(call: Call) -> int:
    from nbflow.cli.inline_runs import level_of, logging_to_stderr, stdout_to_stderr
    from nbflow.services.task_test import state_of, task_test

    args = call.args
    run = _run_or_date(call, args.run)
    conf = args.conf or {}
    os.environ.update({name: str(value) for name, value in (args.env_vars or {}).items()})
    with stdout_to_stderr(), logging_to_stderr(level_of(call)):
        dag, loaded = find_dag.dag_of(call, args.dag_id, args.subdir)
        spec = loaded.specs[args.dag_id]
        tested = task_test(call.app, dag, spec, args.task_id, run=run, map_index=args.map_index, conf=conf)
        if args.dry_run:
            fields = tested.render()
        else:
            event = tested.run().event
    if args.dry_run:
        call.show_one(fields)
        return 0
    state = state_of(event)
    row = {
        "dag_id": args.dag_id,
        "task_id": args.task_id,
        "map_index": args.map_index,
        "run_id": tested.workload.run.run_id,
        "logical_date": tested.workload.run.logical_date,
        "state": state,
        "xcoms": tested.shown,
    }
    call.show_one(row)
    return 1 if state == "failed" else 0


def render(call: Call) -> None:
    from nbflow.cli.inline_runs import level_of, logging_to_stderr, stdout_to_stderr
    from nbflow.services.task_test import task_test

    args = call.args
    with stdout_to_stderr(), logging_to_stderr(level_of(call)):
        dag, loaded = find_dag.dag_of(call, args.dag_id, args.subdir)
        tested = task_test(
            call.app,
            dag,
            loaded.specs[args.dag_id],
            args.task_id,
            run=_run_or_date(call, args.run),
            map_index=args.map_index,
            conf={},
        )
        fields = tested.render()
    if args.output == "table":
        for name, value in fields.items():
            print(f"# {name}")
            print(output.printable(value if isinstance(value, str) else output.cell_text(value)))
            print()
    else:
        call.show_one(fields)


def _run_or_date(call: Call, text: str | None) -> str | datetime | None:
    """Parse a date; a text that is not a date is a run id."""
    if text is None:
        return None
    try:
        return call.date(text)
    except UsageError:
        return text


# ------------------------------------------------------------------------------------------------------ task instances


def state(call: Call) -> None:
    _, ti = _instance(call)
    print(None if ti.state == "none" else ti.state.value)


def _map_index_hint(keys: Sequence[TaskKey]) -> str:
    """A hint how to select an instance of a task in a run."""
    if keys[0].map_index < 0:
        return f"{keys[0].task_id} is not mapped in this run: omit --map-index."
    return f"{keys[0].task_id} is mapped: pass --map-index 0 to {len(keys) - 1}."


def _instance(call: Call) -> tuple[Run, Instance]:
    from nbflow.core.snapshot import TaskKey

    args = call.args
    run = call.operations.find_run(args.dag_id, args.run)
    instances = {ti.key: ti for ti in call.app.store.instances(run.key)}
    key = TaskKey(args.task_id, args.map_index)
    if key not in instances:
        same_task = [existing for existing in instances if existing.task_id == args.task_id]
        if same_task:
            raise NbflowError(f"Run {run.run_id} has no task instance {key}.", hint=_map_index_hint(same_task))
        names = sorted({existing.task_id for existing in instances})
        raise TaskNotFound.among(args.dag_id, args.task_id, names)
    return run, instances[key]


TI_COLUMNS = (
    "dag_id",
    "run_id",
    "logical_date",
    "task_id",
    "map_index",
    "state",
    "try_number",
    "start_date",
    "end_date",
)


def states_for_dag_run(call: Call) -> None:
    from nbflow.views.task_instances import TaskInstancesQuery

    run = call.operations.find_run(call.args.dag_id, call.args.run)
    view = call.fetch(TaskInstancesQuery(dag_id=run.dag_id, run_id=run.run_id, reasons=False))
    run_fields = output.fields_of(view, TI_COLUMNS[:3])
    rows = [run_fields | output.fields_of(ti, TI_COLUMNS[3:]) for ti in view.by_id()]
    call.show(rows, empty=f"Run {run.run_id} has no task instances.", columns=TI_COLUMNS)
    if view.note and call.args.output == "table":
        print(output.printable(view.note))


def failed_deps(call: Call) -> None:
    from nbflow.views.why_run import WhyRunQuery

    run, ti = _instance(call)
    view = call.fetch(WhyRunQuery(dag_id=run.dag_id, run_id=run.run_id))
    unmet = [row for row in view.rows if row.id == str(ti.key) and row.kind]
    if not unmet:
        print("Task instance dependencies are all met.")
        return
    print("Task instance dependencies not met:")
    for row in unmet:
        print(output.printable(f"{row.id}: {row.kind}: {row.reason}"))


OPTIONAL_OUTPUT = argument("-o", "--output", choices=FORMATS, help="Output format (default: task ids).")

COMMANDS = (
    terminal_command("tasks list", OPTIONAL_OUTPUT, SUBDIR, BUNDLE, run=list_tasks),
    terminal_command("tasks test", OUTPUT, SUBDIR, BUNDLE, change=test),
    terminal_command("tasks render", OUTPUT, SUBDIR, BUNDLE, run=render),
    terminal_command("tasks state", SUBDIR, BUNDLE, run=state),
    terminal_command("tasks states-for-dag-run", OUTPUT, run=states_for_dag_run),
    terminal_command("tasks failed-deps", SUBDIR, BUNDLE, run=failed_deps),
    terminal_command(
        "tasks clear",
        switch("-x", "--exclude-subdags", help="Ignored: there are no SubDAGs."),
        switch("-X", "--exclude-parentdag", help="Ignored: there are no SubDAGs."),
        SUBDIR_ONLY,
        BUNDLE,
        YES,
    ),
    terminal_command("tasks mark", YES),
)
