"""How a command is declared: its name, its options and the function that carries it out.

A command's options are data, so that parser, help, ``nbflow cheat-sheet`` and the tests against Airflow's spellings
all read one table. ``arg`` takes what ``argparse.ArgumentParser.add_argument`` takes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from nbflow.core.run_ids import WHICH_RUN

if TYPE_CHECKING:
    from nbflow.cli.invocation import Call


@dataclass(frozen=True, slots=True, kw_only=True)
class Arg:
    """One positional or option."""

    flags: tuple[str, ...]
    options: Mapping[str, Any] = field(default_factory=dict)


def arg(*flags: str, **options: Any) -> Arg:
    """An argument as argparse would be told of it."""
    return Arg(flags=flags, options=options)


def switch(*flags: str, help: str, **options: Any) -> Arg:
    """An option without a value."""
    return arg(*flags, action="store_true", help=help, **options)


def positive(text: str) -> int:
    """The type of an option that counts: a whole number, at least 1."""
    import argparse

    if text.isascii() and text.isdigit() and int(text) > 0:
        return int(text)
    raise argparse.ArgumentTypeError(f"a whole number from 1 on, not {text!r}")


Run = Callable[["Call"], "int | None"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """One command. ``name`` is all its words: "dags list". ``run`` returns the exit code; None is 0."""

    name: str
    help: str
    run: Run
    args: tuple[Arg, ...] = ()
    also: tuple[str, ...] = ()
    """Other names of it: "db upgrade"."""
    more: str = ""
    """Shown under the options."""


DAG_ID = arg("dag_id", help="Id of the DAG.")
TASK_ID = arg("task_id", help="Id of the task.")
OUTPUT = arg(
    "-o", "--output", choices=("table", "json", "yaml", "plain"), default="table", help="Form of the output (table)."
)
SUBDIR = arg(
    "-S",
    "--subdir",
    "-f",
    "--dagfile-path",
    metavar="FILE",
    help="Take the DAG from this file (or folder), loaded here and now; no scheduler is needed.",
)
SUBDIR_ONLY = arg("-S", "--subdir", metavar="FILE", help=SUBDIR.options["help"])
"""Where ``-f`` is taken by another option."""
LOCAL = switch("-l", "--local", help="Read the DAG files here and now, instead of asking the metastore.")
BUNDLE = arg("-B", "--bundle-name", action="append", help="Accepted for Airflow 3's sake: there is one DAGs folder.")
YES = switch("-y", "--yes", help="Do not ask.")
CONF = arg("-c", "--conf", metavar="JSON", help="The run's conf: a JSON object.")
START = arg("-s", "--start-date", metavar="DATE", help="From this logical date on.")
END = arg("-e", "--end-date", metavar="DATE", help="Up to this logical date.")
MAP_INDEX = arg("--map-index", type=int, default=-1, metavar="N", help="Which instance of a mapped task.")
RUN = arg("run", metavar="RUN", help=f"Which run: {WHICH_RUN}.")
