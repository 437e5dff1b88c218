"""The command ``simulate``, and the simulation that all surfaces show."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from nbflow.command_arguments import DATE, INTEGER, NUMBER, UsageError, Values, argument, switch
from nbflow.commands.base import Command
from nbflow.commands.options import DAG_ID
from nbflow.errors import InvalidArgument
from nbflow.suggested_commands import suggest

if TYPE_CHECKING:
    from nbflow.commands.context import Context
    from nbflow.core.spec import DagSpec
    from nbflow.sim.outcomes import Outcomes
    from nbflow.sim.timeline import Simulation

NAME = "simulate"


def simulation(
    context: Context, args: Values, spec: DagSpec, progress: Callable[[int], None] | None = None
) -> Simulation:
    """Simulate a DAG. ``progress``: called with the simulated percentage of the time. Raises UsageError for invalid
    outcomes, for an end that is not after the start, or for too many runs."""
    from nbflow.sim.simulate import simulate

    try:
        return simulate(
            spec,
            start=context.date(args.start_date) or context.now(),
            until=context.date(args.end_date),
            days=args.days,
            outcomes=_outcomes(context, args),
            store=context.store,
            slots=context.settings.core.parallelism,
            progress=progress,
        )
    except InvalidArgument as error:
        raise UsageError(str(error.args[0]), hint=error.hint) from None


def _outcomes(context: Context, args: Values) -> Outcomes | None:
    """The outcomes of the tasks: those of the last successful run, changed by TASK=OUTCOME, or random with a seed.
    None: those of the last successful run."""
    from nbflow.sim.outcomes import RandomOutcomes, outcomes_of_last_run, parse_script

    line = context.spell(suggest(NAME))
    if args.outcomes and args.seed is not None:
        raise UsageError(f"{line}: TASK=OUTCOME and --seed exclude each other.")
    if args.outcomes:
        try:
            script = parse_script(args.outcomes)
        except ValueError as error:
            raise UsageError(f"{line}: {error}") from None
        return replace(outcomes_of_last_run(context.store, args.dag_id, changes=script.tasks), runs=script.runs)
    seed = context.settings.sim.seed if args.seed is None else args.seed
    return None if seed is None else RandomOutcomes(seed=seed)


COMMANDS = (
    Command(
        name=NAME,
        magic="%dag simulate",
        help="Simulate days of scheduling in seconds, without running any task.",
        permission="dags.read",
        arguments=(
            DAG_ID,
            argument("outcomes", repeated=True, metavar="TASK=OUTCOME", help="Outcomes of tasks; see below."),
            argument("--days", type=NUMBER, default=7.0, help="Days to simulate (default: 7)."),
            argument(
                "-s",
                "--start",
                "--start-date",
                name="start_date",
                type=DATE,
                help="Simulated start (default: now).",
            ),
            argument(
                "-e",
                "--end",
                "--end-date",
                name="end_date",
                type=DATE,
                help="End of the simulation (default: --days after its start).",
            ),
            argument("--seed", type=INTEGER, help="Seed of random outcomes (default: [sim] seed)."),
            switch("--trace", help="Show the whole event history."),
        ),
        example="sales extract=fail,success --days 14",
        epilog="outcomes:\n"
        "extract=fail,success      the first try fails, the second succeeds\n"
        "extract@2024-01-03=fail   only in the run of this date\n"
        "extract.seconds=120       duration of a try\n"
        "choose.follow=left        task that a branch follows\n"
        "list_files.length=3       length of the result, for mapped tasks",
    ),
)
