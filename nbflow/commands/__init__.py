"""DO: everything that nbflow can do, one declaration per command.

The rules
---------
* A :class:`~nbflow.commands.base.Command` is data: its name, its typed arguments, the permission that it needs, and
  what ``run`` it has. ``nbflow``, ``%dag``, the functions of ``nbflow.notebook``, their help and their completion are
  made from it, and so will be REST and buttons. To add one, add it to a module here; a new module gets a row in
  ``MODULES``.
* A command that changes something says so before it does: ``refusals`` are the reasons why it cannot be done now,
  ``preview`` is exactly what ``run`` would change, ``confirmation`` is the question to ask first. None of them changes
  anything. A terminal asks unless ``-y`` is given, and a button asks; a typed magic is its own confirmation, since
  notebooks run unattended too.
* ``run`` returns a :class:`~nbflow.commands.base.Result`: a sentence, rows, a value for programs, warnings. Surfaces
  only show it. A command without ``run`` only looks: the surface fetches a view.
* Arguments stand in the order DAG TASK RUN, as in Airflow's ``tasks failed-deps``.
* Surfaces write to the metastore through commands and ``services.operations`` only, so every change is audited,
  failures included (:func:`~nbflow.commands.base.carry_out`).
* What an error suggests is a :class:`~nbflow.way_out.Way`, which each surface spells in its own words
  (:mod:`nbflow.commands.way_out`). A test parses every suggestion with the real parsers.

Only the modules that a line needs are imported, and declarations import no service: the terminal starts quickly.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib import import_module

from nbflow.commands.base import Command
from nbflow.errors import NbflowError, did_you_mean

#: first word of a command -> its modules here
MODULES: Mapping[str, tuple[str, ...]] = {
    "dags": ("dags", "runs", "tasks"),
    "backfill": ("runs",),
    "tasks": ("tasks",),
    "states": ("tasks",),
    "logs": ("tasks",),
    "why": ("tasks",),
    "grid": ("dags",),
    "gantt": ("dags",),
    "simulate": ("dags",),
    "schedule": ("dags",),
    "variables": ("variables",),
    "connections": ("connections",),
    "pools": ("pools",),
    "status": ("processes",),
    "scheduler": ("processes",),
    "stop": ("processes",),
    "labs": ("learning",),
    "quiz": ("learning",),
    "db": ("metastore",),
    "rotate-fernet-key": ("metastore",),
}


def commands_of(group: str) -> list[Command]:
    """The commands whose first word is ``group``."""
    found: list[Command] = []
    for module in MODULES.get(group, ()):
        found += import_module(f"nbflow.commands.{module}").COMMANDS
    return [one for one in found if one.name.split()[0] == group]


def command(name: str) -> Command:
    """The command of this name, as "dags pause". Raises NbflowError with the nearest name."""
    for one in commands_of(name.split()[0]):
        if name in (one.name, *one.also):
            return one
    raise NbflowError(f"There is no command {name!r}.{did_you_mean(name, all_commands())}")


@cache
def all_commands() -> Mapping[str, Command]:
    """Every command by its name."""
    return {one.name: one for group in MODULES for one in commands_of(group)}


@cache
def magics(magic: str) -> Mapping[str, Command]:
    """Commands behind a line magic by their verb: of ``%dag``, "pause" -> the command "dags pause"."""
    found = [one for one in all_commands().values() if one.magic.partition(" ")[0] == magic]
    return {one.magic.partition(" ")[2]: one for one in found}
