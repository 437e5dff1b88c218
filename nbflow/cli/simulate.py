"""simulate: a DAG's runs in the coming days, on a simulated clock."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from nbflow.cli import find_dag, output
from nbflow.cli.command_declarations import OUTPUT, SUBDIR, terminal_command
from nbflow.cli.invocation import Call, UsageError
from nbflow.command_arguments import DATE, WHOLE, argument, switch

if TYPE_CHECKING:
    from nbflow.sim.outcomes import Outcomes
    from nbflow.sim.timeline import RunLine

COLUMNS = ("run_id", "run_type", "logical_date", "due", "started", "ended", "state", "why", "tasks")


def simulate(call: Call) -> int:
    from nbflow.sim.simulate import simulate

    args = call.args
    spec = find_dag.find(call, args.dag_id, args.subdir).spec
    start, until = call.date(args.start_date) or call.now(), call.date(args.end_date)
    if until is not None and until <= start:
        raise UsageError("nbflow simulate: --end must be after --start.")
    if args.days <= 0:
        raise UsageError("nbflow simulate: --days must be more than 0.")
    shown = simulate(
        spec,
        start=start,
        until=until,
        days=args.days,
        outcomes=_outcomes(call),
        store=call.app.store,
        slots=call.settings.core.parallelism,
    )
    if args.trace:
        print(output.harmless(shown.trace))
    elif args.output == "table":
        print(output.harmless(shown.text(most_runs=args.most_runs)))
    else:
        for line in shown.assumptions:
            output.note(f"assumed: {line}")
        call.show([_row(run) for run in shown.runs], columns=COLUMNS)
    return 0


def _outcomes(call: Call) -> Outcomes | None:
    """Outcomes of the tasks: those of the last real run with the changes of the command line, or random from a seed."""
    from nbflow.sim.outcomes import Seeded, as_last_time, script_of

    args = call.args
    if args.seed is not None:
        if args.say:
            raise UsageError("nbflow simulate: TASK=OUTCOME and --seed exclude each other.")
        return Seeded(seed=args.seed)
    if not args.say:
        seed = call.settings.sim.seed
        return None if seed is None else Seeded(seed=seed)
    try:
        script = script_of(args.say)
    except ValueError as error:
        raise UsageError(f"nbflow simulate: {error}") from None
    return replace(as_last_time(call.app.store, args.dag_id, changes=script.tasks), runs=script.runs)


def _row(run: RunLine) -> dict[str, Any]:
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
                "task_id": stretch.key.task_id,
                "map_index": stretch.key.map_index,
                "try_number": stretch.try_number,
                "start": stretch.start,
                "end": stretch.end,
                "state": stretch.state,
                "why": stretch.why,
            }
            for stretch in run.stretches
        ],
    }


COMMANDS = (
    terminal_command(
        "simulate",
        argument("say", repeated=True, metavar="TASK=OUTCOME", help="Outcomes of tasks; see below."),
        argument("-e", "--end", "--end-date", name="end_date", type=DATE, help="End of the simulation."),
        argument("--most-runs", type=WHOLE, default=30, help="Maximum number of runs to show (default: 30)."),
        switch("--trace", help="Print the whole event history."),
        SUBDIR,
        OUTPUT,
        run=simulate,
        epilog="outcomes:\n"
        "extract=fail,success      the first try fails, the second succeeds\n"
        "extract@2024-01-03=fail   only in the run of this date\n"
        "extract.seconds=120       duration of a try\n"
        "choose.follow=left        task that a branch follows\n"
        "list_files.length=3       length of the result, for mapped tasks",
    ),
)
