"""The rules for ids, names and keys: one table, which every store applies to each write.

Ids become primary keys, folders of logs, parts of URLs and words of a command line, so a value that one store, file
system or terminal treats differently from another is refused. The rules for characters are Airflow's where it has one:
``validate_key`` for DAGs and tasks, ``allowed_run_id_pattern`` for runs, ``sanitize_conn_id`` for connections. Every
length is that of the database column; Airflow's columns for pools (256) and XCom keys (512) are longer.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from nbflow.core.run_ids import RunType, run_type_of
from nbflow.errors import InvalidArgument, InvalidDag, InvalidIdentifier, shortened

MAX_SHOWN = 40
"""Maximum number of characters of a refused value that an error shows."""
MAX_INTEGER = 2**31 - 1
"""Maximum of an integer column in Postgres; an integer in SQLite may be greater."""


@dataclass(frozen=True, slots=True)
class Rule:
    """Allowed values of one kind of id."""

    what: str
    """The name in errors: "run_id"."""
    pattern: re.Pattern[str] | None
    """The whole value must match. None: every printable character is allowed."""
    allowed: str
    """The allowed characters in words."""
    longest: int = 250
    error: type[Exception] = InvalidIdentifier


_PRINTABLE = "printable characters (no control characters, line breaks or marks of direction)"

DAG_ID = Rule("dag_id", re.compile(r"[\w.-]+"), "letters, digits, dashes, dots and underscores", error=InvalidDag)
TASK_ID = Rule("task_id", DAG_ID.pattern, DAG_ID.allowed, error=InvalidDag)
GROUP_ID = Rule(
    "group_id", re.compile(r"[\w-]+"), "letters, digits, dashes and underscores", longest=200, error=InvalidDag
)
"""A group id has no dots, which separate the group from the task."""
RUN_ID = Rule("run_id", re.compile(r"[A-Za-z0-9_.~:+-]+"), "ASCII letters, digits and _ . ~ : + -")
CONN_ID = Rule("conn_id", re.compile(r"[\w#!()\-.:/\\]+"), "letters, digits and _ - . : / \\ # ! ( )")
POOL_NAME = Rule("Pool name", None, _PRINTABLE)
QUEUE = Rule("Queue name", None, _PRINTABLE)
VARIABLE_KEY = Rule("Variable key", None, _PRINTABLE)
XCOM_KEY = Rule("XCom key", None, _PRINTABLE)


def check_id(value: Any, rule: Rule) -> None:
    """Check a value. Raises InvalidArgument for one that is not text, otherwise the rule's error."""
    if not isinstance(value, str):
        raise InvalidArgument(f"{rule.what} must be text, not {type(value).__name__}: {_shown(value)}.")
    if problem := _problem(value, rule):
        hint = f"For example {example!r}." if (example := _example(value, rule)) else ""
        error: Any = rule.error
        raise error(f"{rule.what} {_shown(value)} {problem}.", hint=hint)


def is_valid_id(value: object, rule: Rule) -> bool:
    """Whether an object of this id can exist."""
    return isinstance(value, str) and not _problem(value, rule)


def _problem(value: str, rule: Rule) -> str:
    """What is wrong with the value, as the end of a sentence; empty: nothing."""
    if not value.strip():
        return "is blank" if value else "is empty"
    if len(value) > rule.longest:
        return f"has {len(value)} characters; at most {rule.longest} are allowed"
    if not (rule.pattern.fullmatch(value) if rule.pattern is not None else value.isprintable()):
        return f"may contain only {rule.allowed}"
    if {".", ".."} & set(re.split(r"[/\\]", value)):
        return "has a part '.' or '..', which would be another folder in a path"
    return ""


def _example(value: str, rule: Rule) -> str:
    """A similar value that is allowed, if there is one."""
    unusual = r"[^\w-]+" if rule is GROUP_ID else r"[^\w.-]+"
    example = re.sub(unusual, "_", value, flags=re.ASCII if rule is RUN_ID else 0).strip("_.")
    return example if not _problem(example, rule) else ""


def _shown(value: Any) -> str:
    return shortened(repr(value), MAX_SHOWN)


def check_run_id(run_id: Any, run_type: str) -> None:
    """Check a run id. Raises InvalidArgument, and InvalidIdentifier also for a manual run whose id looks like that of
    another type, as in Airflow 3: it would take the id of a run that the schedule or a backfill creates."""
    check_id(run_id, RUN_ID)
    if run_type == RunType.MANUAL and (inferred := run_type_of(run_id)) is not RunType.MANUAL:
        raise InvalidIdentifier(
            f"run_id {_shown(run_id)} is reserved: ids of manual runs must not begin with {inferred.value}__.",
            hint=f"For example {run_id.replace(inferred.value, RunType.MANUAL.value, 1)!r}.",
        )


def check_text(value: str | None, what: str) -> None:
    """Check a text without other rules, such as a description. Raises InvalidIdentifier for characters that Postgres or
    UTF-8 cannot store: NUL and lone surrogates (which stand for bytes that are not UTF-8). The error does not show the
    text, which may be secret."""
    if value is not None and ("\x00" in value or any("\ud800" <= character <= "\udfff" for character in value)):
        raise InvalidIdentifier(f"The {what} cannot be stored: it has NUL characters or bytes that are not UTF-8.")


def check_integer(value: int | None, what: str) -> None:
    """Check an integer. Raises InvalidIdentifier for one that Postgres cannot store."""
    if value is not None and not -MAX_INTEGER <= value <= MAX_INTEGER:
        shown = shortened(str(value), MAX_SHOWN) if abs(value) < 10**MAX_SHOWN else "more than 40 digits"
        raise InvalidIdentifier(f"The {what} is out of range: {shown}; at most {MAX_INTEGER:,} is allowed.")
