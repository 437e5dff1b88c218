"""simulate: the runs of a DAG in the next days, with the real scheduler on a virtual clock."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nbflow.cli import find_dag, output
from nbflow.cli.invocation import Call
from nbflow.cli.progress import Progress, is_shown
from nbflow.cli.terminal_command import OUTPUT, SUBDIR, terminal_command
from nbflow.command_arguments import WHOLE, argument
from nbflow.commands.simulation import simulation

if TYPE_CHECKING:
    from nbflow.sim.timeline import TimelineRun

COLUMNS = ("run_id", "run_type", "logical_date", "due", "started", "ended", "state", "why", "tasks")


def simulate(call: Call) -> None:
    args = call.args
    spec = find_dag.find(call, args.dag_id, args.subdir).spec
    with Progress(100, "% of the time", transient=True) as progress:
        simulated = simulation(call.context, args, spec, progress.update if is_shown() else None)
    if args.trace:
        print(output.printable(simulated.trace))
    elif args.output == "table":
        print(output.printable(simulated.text(most_runs=args.most_runs)))
    else:
        for line in simulated.assumptions:
            output.note(f"assumed: {line}")
        call.show([_row(run) for run in simulated.runs], columns=COLUMNS)


def _row(run: TimelineRun) -> dict[str, Any]:
    return {
        "run_id": run.key.run_id,
        "run_type": run.run_type,
        "logical_date": run.logical_date,
        "due": run.planned,
        "started": run.started,
        "ended": run.ended,
        "state": run.state,
        "why": run.why,
        "tasks": [
            {
                "task_id": entry.key.task_id,
                "map_index": entry.key.map_index,
                "try_number": entry.try_number,
                "start": entry.start,
                "end": entry.end,
                "state": entry.state,
                "why": entry.why,
            }
            for entry in run.entries
        ],
    }


COMMANDS = (
    terminal_command(
        "simulate",
        argument("--most-runs", type=WHOLE, default=30, help="Maximum number of runs to show (default: 30)."),
        SUBDIR,
        OUTPUT,
        run=simulate,
    ),
)
