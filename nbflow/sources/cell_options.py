"""The options of ``%%dag``: one table, for the magic, its help and completion, and for reading notebooks as DAG files.

::

    %%dag sales --schedule "0 6 * * *" --start 2024-01-01 --timezone Europe/Berlin --tags daily,finance
    %%dag --shared
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, tzinfo
from functools import cache
from types import MappingProxyType
from typing import Any, NamedTuple

from nbflow.command_arguments import (
    CRON,
    DURATION,
    INTEGER,
    NAMES,
    PAIR,
    TEXT,
    Argument,
    ErrorTexts,
    Parser,
    Type,
    argument,
    split_line,
    switch,
)
from nbflow.core.identifiers import DAG_ID, check_id
from nbflow.core.timetables.time_zones import timezone_of
from nbflow.errors import InvalidArgument

_NONE = frozenset({"none", "null", ""})


class Option(NamedTuple):
    """One option: its declaration, and the argument of DAG that it sets."""

    argument: Argument
    sets: str
    """Name of the argument of DAG, or ``default_args.NAME`` for an argument of all its tasks."""

    def read(self, text: str) -> Any:
        """Convert the option's text to its value."""
        return self.argument.type.read(text)


def _zone(text: str) -> tzinfo:
    return timezone_of(text)


LOCAL_DATE = Type(name="LOCAL_DATE", read=datetime.fromisoformat, schema={"type": "string", "format": "date-time"})
"""A date in the DAG's time zone: naive unless it has an offset."""
ZONE = Type(name="ZONE", read=_zone)


def _option(
    flag: str, sets: str, help: str, example: str = "", type: Type = TEXT, *short: str, const: Any = None
) -> Option:
    """An option whose help shows ``example`` as its value; without an example, a flag that sets ``const``."""
    if not example:
        return Option(switch(flag, help=help, const=const), sets)
    repeated = type in (NAMES, PAIR)
    declared = argument(*short, flag, type=type, help=help, metavar=example, example=example, repeated=repeated)
    return Option(declared, sets)


_OPTIONS = (
    _option("--schedule", "schedule", "When the DAG runs: a cron expression or a preset.", '"0 6 * * *"', CRON, "-s"),
    _option("--start", "start_date", "The first logical date.", "2024-01-01", LOCAL_DATE),
    _option("--end", "end_date", "The last logical date.", "2024-12-31", LOCAL_DATE),
    _option("--timezone", "timezone", "Time zone of the dates and the schedule.", "Europe/Berlin", ZONE),
    _option("--catchup", "catchup", "Run the missed intervals since the start date."),
    _option("--no-catchup", "catchup", "Do not run missed intervals, whatever the setting.", const=False),
    _option("--description", "description", "Description of the DAG, one line.", '"Daily sales report"'),
    _option("--tags", "tags", "Tags of the DAG.", "daily,finance", NAMES),
    _option("--owner", "default_args.owner", "Owner of the DAG's tasks.", "NAME"),
    _option("--retries", "default_args.retries", "Default number of retries of a task.", "2", INTEGER),
    _option("--retry-delay", "default_args.retry_delay", "Delay before a retry.", "5min", DURATION),
    _option("--timeout", "dagrun_timeout", "Time limit of a run.", "2h", DURATION),
    _option("--max-active-runs", "max_active_runs", "Maximum number of active runs.", "1", INTEGER),
    _option("--max-active-tasks", "max_active_tasks", "Maximum number of running tasks of a run.", "4", INTEGER),
    _option("--param", "params", "A param with its default; may be repeated.", "name=value", PAIR, "-p"),
    _option("--paused", "is_paused_upon_creation", "Pause the DAG when it is created."),
    _option("--unpaused", "is_paused_upon_creation", "Do not pause the DAG when it is created.", const=False),
    _option("--fail-fast", "fail_fast", "End a run at its first failed task."),
)
OPTIONS: Mapping[str, Option] = MappingProxyType({option.argument.flag: option for option in _OPTIONS})

SHARED = "--shared"
SHARED_HELP = "Not a DAG: helper code for the DAGs of this notebook."
ARGUMENTS = (
    argument("name", metavar="NAME", help="Id of the DAG.", required=False, repeated=False),
    *(option.argument for option in _OPTIONS),
    switch(SHARED, help=SHARED_HELP),
)
"""The arguments of ``%%dag``."""

CELL = ErrorTexts(
    unknown_option="{line} has no option {option}.",
    too_many="{line} takes one name, not {count}: {words}.",
    bad_value="{flag} {text!r}: {error}.",
    no_value="{flag} needs a value.",
    hint="See: {line}?",
    error=InvalidArgument,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class CellMagic:
    """A parsed ``%%dag`` line. Without ``dag_id`` the cell's body defines the DAG."""

    dag_id: str | None = None
    shared: bool = False
    arguments: Mapping[str, Any] = field(default_factory=dict)
    """Arguments of DAG, and ``timezone``."""
    options: tuple[str, ...] = ()
    """The flags that the line has."""


@cache
def parser() -> Parser:
    """The parser of a ``%%dag`` line."""
    return Parser("%%dag", ARGUMENTS, texts=CELL)


def parse_magic(line: str) -> CellMagic:
    """Parse the line after ``%%dag``. Raises InvalidArgument, which names the wrong option and the nearest known
    one."""
    words = split_line("%%dag", line, CELL)
    values, given = parser().parse(words), parser().options_in(words)
    options = tuple(flag for flag in given if flag != SHARED)
    if values.shared and (values.name or options):
        raise InvalidArgument(
            "%%dag --shared takes no name and no other option.",
            hint="It marks a cell with helper code, which is not a DAG.",
        )
    if values.name:
        check_id(values.name, DAG_ID)
    elif options:
        raise InvalidArgument(
            f"%%dag {line.strip()} lacks the name of the DAG.", hint="Write: %%dag NAME --schedule @daily"
        )
    arguments: dict[str, Any] = {}
    for flag in options:
        _set(arguments, OPTIONS[flag].sets, getattr(values, OPTIONS[flag].argument.name))
    return CellMagic(dag_id=values.name, shared=values.shared, arguments=MappingProxyType(arguments), options=options)


def _set(arguments: dict[str, Any], sets: str, value: Any) -> None:
    """Set an argument. The values of a repeated option are joined; the schedule ``none`` means None."""
    if isinstance(value, list):
        value = (
            {name: default for pair in value for name, default in pair.items()}
            if sets == "params"
            else [name for names in value for name in names]
        )
    if sets == "schedule" and str(value).strip().lower() in _NONE:
        value = None
    name, _, default_arg = sets.partition(".")
    if default_arg:
        arguments.setdefault(name, {})[default_arg] = value
    else:
        arguments[name] = value


def help_text() -> str:
    """The help of ``%%dag``, from the table of options."""
    declared = [option.argument for option in _OPTIONS]
    rows = [(f"{argument.flag} {argument.metavar}".rstrip(), argument.help) for argument in declared]
    rows.append((SHARED, SHARED_HELP))
    width = max(len(left) for left, _ in rows)
    return "\n".join(f"  {left:<{width}}  {right}" for left, right in rows)
