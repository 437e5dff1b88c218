"""why: the reasons why the tasks of a run wait."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from nbflow.cli import output
from nbflow.cli.invocation import Call
from nbflow.cli.terminal_command import OUTPUT, terminal_command
from nbflow.core.states import RUN_FINISHED, TaskState
from nbflow.errors import TaskNotFound

if TYPE_CHECKING:
    from nbflow.core.snapshot import Run
    from nbflow.suggested_commands import SuggestedCommand
    from nbflow.views.why_run import WhyRunView

COLUMNS = ("task_id", "map_index", "state", "kind", "reason", "until")


def why(call: Call) -> None:
    from nbflow.views.why_run import WhyRunQuery

    args = call.args
    task_id, run_id = call.context.task_or_run(args.dag_id, args.task_id, args.run)
    run = call.operations.find_run(args.dag_id, run_id)
    _check_task(call, run, task_id)
    view = call.fetch(WhyRunQuery(dag_id=run.dag_id, run_id=run.run_id))
    if args.output == "table":
        print(output.printable(f"{run.dag_id} {run.run_id}: {view.run_state}"))
        if view.run_state in RUN_FINISHED:
            _print_end(view)
            if task_id is not None:
                _print_task(call, run, task_id)
            return
    waiting = sorted((row for row in view.rows if row.kind), key=lambda row: (row.task_id, row.map_index))
    rows = [
        output.fields_of(row, COLUMNS)
        for row in waiting
        if task_id in (None, row.task_id) and (args.map_index < 0 or row.map_index == args.map_index)
    ]
    call.show(rows, empty="No task waits: all remaining tasks are running.", columns=COLUMNS)


def _print_end(view: WhyRunView) -> None:
    """Why a run has ended, and which of its tasks failed."""
    print(output.printable(view.end or "The run has ended: no task waits."))
    for failure in view.failures:
        print(output.printable(f"{failure.name} (try {failure.try_number}): {failure.error}"))
    for row in view.rows:
        if row.state == TaskState.UPSTREAM_FAILED:
            print(output.printable(f"{row.id} ({row.state}): {row.error}"))
    _print_suggestions(view.suggestions)


def _print_task(call: Call, run: Run, task_id: str) -> None:
    from nbflow.views.why_task import WhyTaskQuery

    index = call.args.map_index if call.args.map_index >= 0 else None
    view = call.fetch(WhyTaskQuery(dag_id=run.dag_id, run_id=run.run_id, task_id=task_id, map_index=index))
    print(output.printable(f"{view.name} is {view.state}: {view.headline}"))
    _print_suggestions(view.suggestions)


def _print_suggestions(suggestions: Iterable[SuggestedCommand]) -> None:
    if commands := " or ".join(map(str, suggestions)):
        print(output.printable(f"Next step: {commands}"))


def _check_task(call: Call, run: Run, task_id: str | None) -> None:
    if task_id is None:
        return
    names = {ti.task_id for ti in call.app.store.instances(run.key)}
    if task_id not in names:
        raise TaskNotFound.among(run.dag_id, task_id, sorted(names))


COMMANDS = (terminal_command("why", OUTPUT, run=why),)
