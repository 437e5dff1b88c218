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
    from nbflow.cli.run_rows import state_word
    from nbflow.core.states import RUN_FINISHED

    args = call.args
    task_id, which = call.context.task_or_run(args.dag_id, args.task_id, args.run)
    run = call.operations.find_run(args.dag_id, which)
    waits = call.operations.why(run.key)
    instances = {one.key: one for one in call.app.store.instances(run.key)}
    if task_id is not None and task_id not in {key.task_id for key in instances}:
        names = sorted({key.task_id for key in instances})
        raise TaskNotFound(f"DAG {run.dag_id!r} has no task {task_id!r}.{did_you_mean(task_id, names)}")
    rows = [
        {
            "task_id": key.task_id,
            "map_index": key.map_index,
            "state": state_word(instances[key].state) if key in instances else None,
            "kind": wait.kind,
            "reason": wait.text,
            "until": wait.until,
        }
        for key, wait in waits.items()
        if task_id in (None, key.task_id) and (args.map_index < 0 or key.map_index == args.map_index)
    ]
    if args.output == "table":
        print(output.harmless(f"{run.dag_id} {run.run_id}: {run.state.value}"))
        if run.state in RUN_FINISHED:
            print("It has ended: nothing waits.")
            _print_failures(call, run)
            return
    call.show(rows, empty="Nothing waits: what is left runs.", columns=COLUMNS)


def _print_failures(call: Call, run: Run) -> None:
    for attempt in call.app.store.attempts(run.key):
        if attempt.error:
            print(output.harmless(f"{attempt.key} (try {attempt.try_number}): {attempt.error}"))


COMMANDS = (declared("why", OUTPUT, run=why),)
