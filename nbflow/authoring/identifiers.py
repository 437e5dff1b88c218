"""Allowed ids of DAGs, tasks and groups. Ids become primary keys, log folders and parts of URLs, so the rule is
strict."""

from __future__ import annotations

import re
from typing import Any

from nbflow.errors import InvalidArgument, InvalidDag

KEY_LENGTH = 250
GROUP_KEY_LENGTH = 200
_KEY = re.compile(r"[\w.-]+")
_GROUP_KEY = re.compile(r"[\w-]+")


def check_key(key: Any, what: str) -> None:
    """Check a ``dag_id`` or ``task_id`` (named by ``what``). Raises InvalidArgument for a value that is not text,
    InvalidDag for an id that is too long or has other characters than letters, digits, ``-``, ``.`` and ``_``."""
    _check(key, what, _KEY, KEY_LENGTH, "letters, digits, dashes, dots and underscores")


def check_group_key(key: Any) -> None:
    """Check a ``group_id``: like a task id, but without dots, which separate the group from the task."""
    _check(key, "group_id", _GROUP_KEY, GROUP_KEY_LENGTH, "letters, digits, dashes and underscores")


def _check(key: Any, what: str, pattern: re.Pattern[str], longest: int, allowed: str) -> None:
    if not isinstance(key, str):
        raise InvalidArgument(f"{what} must be text, not {type(key).__name__}: {key!r}.")
    if len(key) > longest:
        raise InvalidDag(f"{what} {key[:20]!r}... has {len(key)} characters; at most {longest} are allowed.")
    if not pattern.fullmatch(key):
        proposal = re.sub(r"[^\w.-]+" if pattern is _KEY else r"[^\w-]+", "_", key).strip("_")
        hint = f"For example {proposal!r}." if proposal else ""
        raise InvalidDag(f"{what} {key!r} may contain only {allowed}.", hint=hint)
