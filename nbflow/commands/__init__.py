"""The commands of nbflow as data: one :class:`~nbflow.commands.base.Command` per command.

The rules
---------
* A command declares its name, its typed arguments, the permission that it requires, and its functions. ``nbflow``,
  ``%dag`` and the functions of ``nbflow.notebook``, with their help and completion, are generated from it. To add a
  command, add it to a module of this package; for a new module, add a row to ``MODULES``. Arguments that several
  commands share are declared in :mod:`nbflow.commands.options`.
* A surface has no command that is not declared here (tests/commands/test_declarations.py).
* A command that changes state has three functions that are called before ``run`` and change nothing: ``refusals``
  returns the reasons why the command is not possible now, ``preview`` returns exactly what ``run`` would change, and
  ``confirmation`` returns the question to ask. A terminal asks unless ``-y`` is passed; a magic does not ask, since
  notebooks also run unattended.
* ``run`` returns a :class:`~nbflow.commands.base.Result`: a text, rows, a value for code, and warnings. Surfaces only
  display it. A command without ``run`` either is read-only, and the surface fetches a view; or it needs what only a
  surface has, such as the DAG object of ``dags test``, and the surface passes its own function to ``run_command``.
* Positional arguments have the order DAG TASK RUN, as in Airflow's ``tasks failed-deps``.
* Surfaces write to the metastore only through commands and ``services.operations``, so that every change is audited.
  :class:`~nbflow.commands.base.Audit` says who records a success; :func:`~nbflow.commands.base.run_command` records
  every failure.
* An error suggests commands as :class:`~nbflow.suggested_commands.SuggestedCommand`, which each surface shows in its
  syntax (:mod:`nbflow.commands.surface_syntax`). A test parses every suggestion with the real parsers.

Only the modules that a command line needs are imported, and declarations import no service, so that commands start
quickly.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib import import_module

from nbflow.commands.base import Command
from nbflow.errors import NbflowError, did_you_mean

#: first word of a command -> modules of this package
MODULES: Mapping[str, tuple[str, ...]] = {
    "dags": ("dags", "dag_files", "dag_runs", "backfills", "tasks", "processes"),
    "backfill": ("backfills",),
    "tasks": ("tasks",),
    "states": ("tasks",),
    "logs": ("tasks",),
    "why": ("tasks",),
    "grid": ("dags",),
    "gantt": ("dags",),
    "simulate": ("simulation",),
    "schedule": ("dags",),
    "variables": ("variables",),
    "connections": ("connections",),
    "pools": ("pools",),
    "status": ("processes",),
    "scheduler": ("processes",),
    "stop": ("processes",),
    "standalone": ("processes",),
    "lab": ("processes",),
    "jobs": ("processes",),
    "lint": ("dag_files",),
    "labs": ("learning",),
    "quiz": ("learning",),
    "db": ("metastore",),
    "rotate-fernet-key": ("metastore",),
    "config": ("installation",),
    "info": ("installation",),
    "version": ("installation",),
    "cheat-sheet": ("installation",),
}


def commands_of(group: str) -> list[Command]:
    """The commands whose first word is ``group``."""
    declared: list[Command] = []
    for module in MODULES.get(group, ()):
        declared += import_module(f"nbflow.commands.{module}").COMMANDS
    return [command for command in declared if command.name.split()[0] == group]


def command_named(name: str) -> Command:
    """The command with this name or alias, e.g. "dags pause". Raises NbflowError, which suggests the nearest name."""
    for command in commands_of(name.split()[0]):
        if name in (command.name, *command.aliases):
            return command
    raise NbflowError(f"Unknown command {name!r}.{did_you_mean(name, all_commands())}")


@cache
def all_commands() -> Mapping[str, Command]:
    """Name -> command, for all commands."""
    return {command.name: command for group in MODULES for command in commands_of(group)}


@cache
def magics(magic: str) -> Mapping[str, Command]:
    """Verb -> command of a line magic: for ``%dag``, "pause" -> the command "dags pause"."""
    verbs: dict[str, Command] = {}
    for command in all_commands().values():
        line_magic, _, verb = command.magic.partition(" ")
        if line_magic == magic:
            verbs[verb] = command
    return verbs
