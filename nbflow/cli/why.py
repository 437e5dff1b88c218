"""why: what a run's tasks wait for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nbflow.cli import output
from nbflow.cli.declaring import OUTPUT, declared
from nbflow.cli.invocation import Call
from nbflow.errors import TaskNotFound, did_you_mean

if TYPE_CHECKING:
    from nbflow.core.snapshot import Run

COLUMNS = ("task_id", "map_index", "state", "kind", "reason", "until")


def why(call: Call) -> None:
    from nbflow.core.states import RUN_FINISHED
    from nbflow.views.why_run import WhyRunQuery

    args = call.args
    task_id, which = call.context.task_or_run(args.dag_id, args.task_id, args.run)
    run = call.operations.find_run(args.dag_id, which)
    _check_task(call, run, task_id)
    view = call.fetch(WhyRunQuery(dag_id=run.dag_id, run_id=run.run_id))
    if args.output == "table":
        print(output.harmless(f"{run.dag_id} {run.run_id}: {view.run_state}"))
        if view.run_state in RUN_FINISHED:
            print("It has ended: nothing waits.")
            for tried in view.failures:
                print(output.harmless(f"{tried.name} (try {tried.try_number}): {tried.error}"))
            return
    waits = sorted((row for row in view.rows if row.kind), key=lambda row: (row.task_id, row.map_index))
    rows = [
        output.fields_of(row, COLUMNS)
        for row in waits
        if task_id in (None, row.task_id) and (args.map_index < 0 or row.map_index == args.map_index)
    ]
    call.show(rows, empty="Nothing waits: what is left runs.", columns=COLUMNS)


def _check_task(call: Call, run: Run, task_id: str | None) -> None:
    names = {ti.task_id for ti in call.app.store.instances(run.key)} if task_id is not None else set()
    if task_id is not None and task_id not in names:
        raise TaskNotFound(f"DAG {run.dag_id!r} has no task {task_id!r}.{did_you_mean(task_id, sorted(names))}")


COMMANDS = (declared("why", OUTPUT, run=why),)
