"""What stands behind ``%%dag``: one table of its options, for the magic, its help and completion, and for the reader
of notebooks as DAG files. An option is a line in :data:`OPTIONS`.

::

    %%dag sales --schedule "0 6 * * *" --start 2024-01-01 --timezone Europe/Berlin --tags daily,finance
    %%dag --shared
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta, tzinfo
from types import MappingProxyType
from typing import Any, NamedTuple

from nbflow.authoring.identifiers import check_key
from nbflow.errors import InvalidArgument, NbflowError, did_you_mean

_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(s|m|min|h|d)?")
_SECONDS = {None: 1, "s": 1, "m": 60, "min": 60, "h": 3600, "d": 86_400}
_NONE = frozenset({"none", "null", ""})


class Option(NamedTuple):
    """One option: what it sets, how its text is read, what the help says. A flag reads no text and sets ``flag``."""

    argument: str
    """Argument of DAG; ``default_args.NAME`` is one that every task gets."""
    help: str
    value: str = ""
    """What the help shows for the value; empty for a flag."""
    read: Callable[[str], Any] = str
    flag: Any = True
    many: bool = False
    """It may be given more than once, and the values (lists or dicts) are joined."""


def _whole(text: str) -> int:
    return int(text)


def _date(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _zone(text: str) -> tzinfo:
    from nbflow.core.timetables.time_zones import timezone_of

    return timezone_of(text)


def _duration(text: str) -> timedelta:
    match = _DURATION.fullmatch(text.strip())
    if match is None:
        raise ValueError("give seconds, or a number with s, min, h or d: 90, 5min, 2h")
    return timedelta(seconds=float(match[1]) * _SECONDS[match[2]])


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]


def _schedule(text: str) -> str | None:
    return None if text.strip().lower() in _NONE else text


def read_pair(text: str) -> dict[str, Any]:
    """``name=value``, the value as JSON where it is JSON: ``rows=10``, ``country=DE``, ``"ids=[1, 2]"``."""
    import json

    name, equals, value = text.partition("=")
    if not equals or not name.strip():
        raise ValueError("give name=value")
    try:
        return {name.strip(): json.loads(value)}
    except RecursionError:
        raise InvalidArgument(f"{name.strip()} is nested too deeply.") from None
    except ValueError:
        return {name.strip(): value}


OPTIONS: Mapping[str, Option] = MappingProxyType(
    {
        "--schedule": Option("schedule", "When it runs: a cron expression or a preset.", '"0 6 * * *"', _schedule),
        "--start": Option("start_date", "The first logical date.", "2024-01-01", _date),
        "--end": Option("end_date", "The last logical date.", "2024-12-31", _date),
        "--timezone": Option("timezone", "Zone of its dates and its schedule.", "Europe/Berlin", _zone),
        "--catchup": Option("catchup", "Make up for the intervals since the start date."),
        "--no-catchup": Option("catchup", "Do not, whatever the settings say.", flag=False),
        "--description": Option("description", "One line for lists.", '"what it is for"'),
        "--tags": Option("tags", "Words to find it by.", "daily,finance", _words, many=True),
        "--owner": Option("default_args.owner", "Who answers for it.", "NAME"),
        "--retries": Option("default_args.retries", "Retries of each task that does not say.", "2", _whole),
        "--retry-delay": Option("default_args.retry_delay", "Wait before a retry.", "5min", _duration),
        "--timeout": Option("dagrun_timeout", "Longest time that a run may take.", "2h", _duration),
        "--max-active-runs": Option("max_active_runs", "Most runs at once.", "1", _whole),
        "--max-active-tasks": Option("max_active_tasks", "Most tasks at once in a run.", "4", _whole),
        "--param": Option("params", "A param with its default; may be repeated.", "name=value", read_pair, many=True),
        "--paused": Option("is_paused_upon_creation", "It starts paused when it is first seen."),
        "--unpaused": Option("is_paused_upon_creation", "It starts unpaused when it is first seen.", flag=False),
        "--fail-fast": Option("fail_fast", "The first failure ends the run."),
    }
)

SHARED = "--shared"
SHARED_HELP = "Not a DAG: helpers that travel with this notebook's DAGs."
SHORT: Mapping[str, str] = MappingProxyType({"-s": "--schedule", "-p": "--param"})


@dataclass(frozen=True, slots=True, kw_only=True)
class CellMagic:
    """A ``%%dag`` line, read. Without ``dag_id`` the cell makes its DAG itself."""

    dag_id: str | None = None
    shared: bool = False
    arguments: Mapping[str, Any] = field(default_factory=dict)
    """Arguments of DAG, and ``timezone``."""
    given: tuple[str, ...] = ()
    """The options as they were written."""


def parse_magic(line: str) -> CellMagic:
    """Read what stands behind ``%%dag``. Raises InvalidArgument that names the option and the nearest known one."""
    try:
        words = shlex.split(line)
    except ValueError as error:
        raise InvalidArgument(f"%%dag {line.strip()}: {str(error).lower()}.", hint="Close the quote.") from None
    names: list[str] = []
    arguments: dict[str, Any] = {}
    given: list[str] = []
    shared = False
    rest = iter(words)
    for word in rest:
        if word == SHARED:
            shared = True
        elif word.startswith("-") and len(word) > 1:
            given.append(_read_option(word, rest, arguments))
        else:
            names.append(word)
    return _checked(line, names, arguments, tuple(given), shared=shared)


def _read_option(word: str, rest: Iterator[str], arguments: dict[str, Any]) -> str:
    name, equals, text = word.partition("=")
    name = SHORT.get(name, name)
    option = OPTIONS.get(name)
    if option is None:
        hint = did_you_mean(name, [*OPTIONS, SHARED]).strip() or "See: %%dag?"
        raise InvalidArgument(f"%%dag has no option {name}.", hint=hint)
    if not option.value:
        if equals:
            raise InvalidArgument(f"{name} takes no value.", hint=f"Write {name} alone.")
        value: Any = option.flag
    else:
        value = _read_value(name, option, text if equals else next(rest, None))
    place, _, key = option.argument.partition(".")
    if key:
        arguments.setdefault(place, {})[key] = value
    elif option.many and place in arguments:
        held = arguments[place]
        arguments[place] = {**held, **value} if isinstance(held, dict) else held + value
    else:
        arguments[place] = value
    return name


def _read_value(name: str, option: Option, text: str | None) -> Any:
    if text is None or (text.startswith("--") and text.partition("=")[0] in {*OPTIONS, SHARED}):
        raise InvalidArgument(f"{name} needs a value.", hint=f"For example: {name} {option.value}")
    try:
        return option.read(text)
    except (ValueError, NbflowError) as error:
        said = str(error).rstrip(".")
        raise InvalidArgument(f"{name} {text!r}: {said}.", hint=f"For example: {name} {option.value}") from None


def _checked(
    line: str, names: Sequence[str], arguments: Mapping[str, Any], given: tuple[str, ...], *, shared: bool
) -> CellMagic:
    if shared and (names or given):
        raise InvalidArgument(
            "%%dag --shared takes no name and no other option.", hint="It marks a cell of helpers, which is no DAG."
        )
    if len(names) > 1:
        cron = " ".join([str(arguments.get("schedule")), *names[1:]])
        hint = f'Quote a cron expression: --schedule "{cron}".' if "--schedule" in given else "Quote what holds spaces."
        raise InvalidArgument(f"%%dag takes one name, not {len(names)}: {' '.join(names)}.", hint=hint)
    if names:
        check_key(names[0], "dag_id")
    elif given:
        raise InvalidArgument(f"%%dag {line.strip()} names no DAG.", hint="Write: %%dag NAME --schedule @daily")
    return CellMagic(
        dag_id=names[0] if names else None, shared=shared, arguments=MappingProxyType(dict(arguments)), given=given
    )


def help_text() -> str:
    """The help of ``%%dag``, made from the table."""
    rows = [(f"{name} {option.value}".rstrip(), option.help) for name, option in OPTIONS.items()]
    rows.append((SHARED, SHARED_HELP))
    width = max(len(left) for left, _ in rows)
    return "\n".join(f"  {left:<{width}}  {right}" for left, right in rows)
