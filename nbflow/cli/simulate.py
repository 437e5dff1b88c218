"""simulate: what a DAG's schedule will do in the coming days, on a simulated clock."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from nbflow.arguments import DATE, WHOLE, argument, switch
from nbflow.cli import find_dag, output
from nbflow.cli.declaring import OUTPUT, SUBDIR, declared
from nbflow.cli.invocation import Call, UsageError

if TYPE_CHECKING:
    from nbflow.sim.outcomes import Outcomes
    from nbflow.sim.timeline import RunLine

COLUMNS = ("run_id", "run_type", "logical_date", "due", "started", "ended", "state", "why", "tasks")


def simulate(call: Call) -> int:
    from nbflow.sim.simulate import simulate

    args = call.args
    spec = find_dag.known(call, args.dag_id, args.subdir).spec
    start, until = call.date(args.start_date) or call.now(), call.date(args.end_date)
    if until is not None and until <= start:
        raise UsageError("nbflow simulate: the end lies before the start.")
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
            output.say(f"assumed: {line}")
        call.show([_row(run) for run in shown.runs], columns=COLUMNS)
    return 0


def _outcomes(call: Call) -> Outcomes | None:
    """What the tasks do: as in the last real run, changed by what was said; or drawn from a seed, given or set."""
    from nbflow.sim.outcomes import Seeded, as_last_time, script_of

    args = call.args
    if args.seed is not None:
        if args.say:
            raise UsageError("nbflow simulate: say what tasks do, or draw it from a seed, not both.")
        return Seeded(seed=args.seed)
    if not args.say:
        seed = call.settings.sim.seed
        return None if seed is None else Seeded(seed=seed)
    try:
        said = script_of(args.say)
    except ValueError as fault:
        raise UsageError(f"nbflow simulate: {fault}") from None
    return replace(as_last_time(call.app.store, args.dag_id, changes=said.tasks), runs=said.runs)


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
                "task_id": one.key.task_id,
                "map_index": one.key.map_index,
                "try_number": one.try_number,
                "start": one.start,
                "end": one.end,
                "state": one.state,
                "why": one.why,
            }
            for one in run.stretches
        ],
    }


COMMANDS = (
    declared(
        "simulate",
        argument("say", repeated=True, metavar="TASK=OUTCOME", help="What tasks do; see below."),
        argument("-e", "--end", "--end-date", name="end_date", type=DATE, help="Until when."),
        argument("--most-runs", type=WHOLE, default=30, help="Runs to show (default: 30)."),
        switch("--trace", help="Print every line of history."),
        SUBDIR,
        OUTPUT,
        run=simulate,
        epilog="extract=fail,success      the first try fails, the second succeeds\n"
        "extract@2024-01-03=fail   in that run only\n"
        "extract.seconds=120       how long it takes\n"
        "choose.follow=left        what a branch follows\n"
        "list_files.length=3       how many items its result has",
    ),
)
