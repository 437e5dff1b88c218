"""How a command of the terminal is declared: its name, its arguments and the function that carries it out.

What nbflow can do is declared in :mod:`nbflow.commands`; here stand the options that only a terminal has: forms of
output, files to load, not to be asked.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from typing import TYPE_CHECKING

from nbflow.arguments import DAG, DATE, FILE, INTEGER, JSON, RUN, TASK, Argument, argument, switch
from nbflow.cli import output
from nbflow.commands import command_named, commands_of
from nbflow.commands.base import Command as Declared
from nbflow.commands.base import Preview, Result, run_command
from nbflow.core.run_ids import WHICH_RUN

if TYPE_CHECKING:
    from nbflow.cli.invocation import Call

Run = Callable[["Call"], "int | None"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """One command. ``name`` is all its words: "dags list". ``run`` returns the exit code; None is 0."""

    name: str
    help: str
    run: Run
    arguments: tuple[Argument, ...] = ()
    aliases: tuple[str, ...] = ()
    """Other names of it: "db upgrade"."""
    epilog: str = ""
    """Shown under the options."""


DAG_ID = argument("dag_id", type=DAG, help="Id of the DAG.")
TASK_ID = argument("task_id", type=TASK, help="Id of the task.")
FORMS = ("table", "json", "yaml", "plain")
OUTPUT = argument("-o", "--output", choices=FORMS, default="table", help="Form of the output (table).")
SUBDIR = argument(
    "-S",
    "--subdir",
    "-f",
    "--dagfile-path",
    type=FILE,
    help="Take the DAG from this file (or folder), loaded here and now; no scheduler is needed.",
)
SUBDIR_ONLY = argument("-S", "--subdir", type=FILE, help=SUBDIR.help)
"""Where ``-f`` is taken by another option."""
LOCAL = switch("-l", "--local", help="Read the DAG files here and now, instead of asking the metastore.")
BUNDLE = argument("-B", "--bundle-name", repeated=True, help="Accepted for Airflow 3's sake: there is one DAGs folder.")
YES = switch("-y", "--yes", help="Do not ask.")
CONF = argument("-c", "--conf", type=JSON, help="The run's conf: a JSON object.")
START = argument("-s", "--start-date", type=DATE, help="From this logical date on.")
END = argument("-e", "--end-date", type=DATE, help="Up to this logical date.")
MAP_INDEX = argument("--map-index", type=INTEGER, default=-1, help="Which instance of a mapped task.")
RUN_ID = argument("run", type=RUN, metavar="RUN", help=f"Which run: {WHICH_RUN}.")


# ------------------------------------------------------------------------------------------------ commands of nbflow


Show = Callable[["Call", Result], "int | None"]
"""Shows a result; returns the exit code, None for 0."""


def declared(
    name: str,
    *options: Argument,
    run: Run | None = None,
    show: Show | None = None,
    note: bool = False,
    epilog: str = "",
) -> Command:
    """The terminal's form of a command of :mod:`nbflow.commands`, with options that only a terminal has. ``run`` shows
    what a command finds that only looks; ``show`` shows a result in a way of its own."""
    one = command_named(name)
    return Command(
        name=one.name,
        help=one.help,
        run=run or partial(carried_out, one, show=show, note=note),
        arguments=(*one.arguments, *options),
        aliases=one.aliases,
        epilog=epilog or one.epilog,
    )


def carried_out(one: Declared, call: Call, *, show: Show | None = None, note: bool = False) -> int:
    """Carry out a command; its rows go to stdout in the form asked for, else its sentence, which ``note`` sends to
    stderr: it is no result that a script would read. With ``--dry-run`` only the preview is shown."""
    if getattr(call.args, "dry_run", False):
        return _previewed(call, one.preview(call.context, call.args))

    def sure(question: str, preview: Preview | None) -> bool:
        _say_items(preview)
        return call.sure(question)

    done = run_command(one, call.context, call.args, confirm=sure)
    if done is None:
        return 1
    code = 0 if done.ok else 1
    if show is not None:
        code = show(call, done) or code
    elif done.rows and hasattr(call.args, "output"):
        call.show(done.rows)
    elif note:
        output.say(done.text)
    else:
        print(output.harmless(done.text))
    for warning in done.warnings:
        output.warn(warning)
    return code


def _previewed(call: Call, preview: Preview | None) -> int:
    assert preview is not None
    if hasattr(call.args, "output"):
        call.show(preview.items)
    else:
        _say_items(preview)
        print(output.harmless(preview.text))
    return 0


def _say_items(preview: Preview | None) -> None:
    """The task instances that would change, a line a run, on stderr."""
    runs: dict[str, list[str]] = {}
    for item in preview.items if preview else ():
        if "task_id" in item:
            name = item["task_id"] if item["map_index"] < 0 else f"{item['task_id']}[{item['map_index']}]"
            runs.setdefault(f"{item['dag_id']} {item['run_id']}", []).append(name)
    for run, names in runs.items():
        output.say(f"{run}: {', '.join(names)}")


def others(group: str, own: tuple[Command, ...] | list[Command]) -> list[Command]:
    """The commands of a group that need nothing of the terminal's own."""
    names = {one.name for one in own}
    return [_alone(one) for one in commands_of(group) if one.run is not None and one.name not in names]


@cache
def _alone(one: Declared) -> Command:
    return declared(one.name, OUTPUT, *([YES] if one.may_ask else []))
