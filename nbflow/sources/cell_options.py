"""What stands behind ``%%dag``: one table of its options, for the magic, its help and completion, and for the reader
of notebooks as DAG files. An option is a line in :data:`OPTIONS`.

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

from nbflow.arguments import (
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
from nbflow.authoring.identifiers import check_key
from nbflow.errors import InvalidArgument

_NONE = frozenset({"none", "null", ""})


class Option(NamedTuple):
    """One option: the argument, and what of the DAG it sets."""

    argument: Argument
    sets: str
    """Argument of DAG; ``default_args.NAME`` is one that every task gets."""

    def read(self, text: str) -> Any:
        """The value of a text."""
        return self.argument.type.read(text)


def _zone(text: str) -> tzinfo:
    from nbflow.core.timetables.time_zones import timezone_of

    return timezone_of(text)


LOCAL_DATE = Type(name="LOCAL_DATE", read=datetime.fromisoformat, schema={"type": "string", "format": "date-time"})
"""A moment on the DAG's own clock: naive unless it has an offset."""
ZONE = Type(name="ZONE", read=_zone)


def _option(
    flag: str, sets: str, help: str, example: str = "", type: Type = TEXT, *short: str, const: Any = None
) -> Option:
    """An option with an example of its value; without one it takes none, and sets ``const``."""
    if not example:
        return Option(switch(flag, help=help, const=const), sets)
    repeated = type in (NAMES, PAIR)
    made = argument(*short, flag, type=type, help=help, metavar=example, example=example, repeated=repeated)
    return Option(made, sets)


_OPTIONS = (
    _option("--schedule", "schedule", "When it runs: a cron expression or a preset.", '"0 6 * * *"', CRON, "-s"),
    _option("--start", "start_date", "The first logical date.", "2024-01-01", LOCAL_DATE),
    _option("--end", "end_date", "The last logical date.", "2024-12-31", LOCAL_DATE),
    _option("--timezone", "timezone", "Zone of its dates and its schedule.", "Europe/Berlin", ZONE),
    _option("--catchup", "catchup", "Make up for the intervals since the start date."),
    _option("--no-catchup", "catchup", "Do not, whatever the settings say.", const=False),
    _option("--description", "description", "One line for lists.", '"what it is for"'),
    _option("--tags", "tags", "Words to find it by.", "daily,finance", NAMES),
    _option("--owner", "default_args.owner", "Who answers for it.", "NAME"),
    _option("--retries", "default_args.retries", "Retries of each task that does not say.", "2", INTEGER),
    _option("--retry-delay", "default_args.retry_delay", "Wait before a retry.", "5min", DURATION),
    _option("--timeout", "dagrun_timeout", "Longest time that a run may take.", "2h", DURATION),
    _option("--max-active-runs", "max_active_runs", "Most runs at once.", "1", INTEGER),
    _option("--max-active-tasks", "max_active_tasks", "Most tasks at once in a run.", "4", INTEGER),
    _option("--param", "params", "A param with its default; may be repeated.", "name=value", PAIR, "-p"),
    _option("--paused", "is_paused_upon_creation", "It starts paused when it is first seen."),
    _option("--unpaused", "is_paused_upon_creation", "It starts unpaused when it is first seen.", const=False),
    _option("--fail-fast", "fail_fast", "The first failure ends the run."),
)
OPTIONS: Mapping[str, Option] = MappingProxyType({one.argument.flag: one for one in _OPTIONS})

SHARED = "--shared"
SHARED_HELP = "Not a DAG: helpers that travel with this notebook's DAGs."
ARGUMENTS = (
    argument("name", metavar="NAME", help="Id of the DAG.", required=False, repeated=False),
    *(one.argument for one in _OPTIONS),
    switch(SHARED, help=SHARED_HELP),
)
"""What may stand behind ``%%dag``."""

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
    """A ``%%dag`` line, read. Without ``dag_id`` the cell makes its DAG itself."""

    dag_id: str | None = None
    shared: bool = False
    arguments: Mapping[str, Any] = field(default_factory=dict)
    """Arguments of DAG, and ``timezone``."""
    given: tuple[str, ...] = ()
    """The options as they were written."""


@cache
def parser() -> Parser:
    """The parser of a ``%%dag`` line."""
    return Parser("%%dag", ARGUMENTS, texts=CELL)


def parse_magic(line: str) -> CellMagic:
    """Read what stands behind ``%%dag``. Raises InvalidArgument that names the option and the nearest known one."""
    words = split_line("%%dag", line, CELL)
    values, given = parser().parse(words), parser().options_on(words)
    options = tuple(flag for flag in given if flag != SHARED)
    if values.shared and (values.name or options):
        raise InvalidArgument(
            "%%dag --shared takes no name and no other option.", hint="It marks a cell of helpers, which is no DAG."
        )
    if values.name:
        check_key(values.name, "dag_id")
    elif options:
        raise InvalidArgument(f"%%dag {line.strip()} names no DAG.", hint="Write: %%dag NAME --schedule @daily")
    arguments: dict[str, Any] = {}
    for flag in options:
        _set(arguments, OPTIONS[flag].sets, getattr(values, OPTIONS[flag].argument.name))
    return CellMagic(dag_id=values.name, shared=values.shared, arguments=MappingProxyType(arguments), given=options)


def _set(arguments: dict[str, Any], sets: str, value: Any) -> None:
    """What is repeated is joined; a schedule of ``none`` is none."""
    if isinstance(value, list):
        value = (
            {k: v for one in value for k, v in one.items()} if sets == "params" else [n for one in value for n in one]
        )
    if sets == "schedule" and str(value).strip().lower() in _NONE:
        value = None
    place, _, key = sets.partition(".")
    if key:
        arguments.setdefault(place, {})[key] = value
    else:
        arguments[place] = value


def help_text() -> str:
    """The help of ``%%dag``, made from the table."""
    rows = [(f"{one.argument.flag} {one.argument.metavar}".rstrip(), one.argument.help) for one in _OPTIONS]
    rows.append((SHARED, SHARED_HELP))
    width = max(len(left) for left, _ in rows)
    return "\n".join(f"  {left:<{width}}  {right}" for left, right in rows)
