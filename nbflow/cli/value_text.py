"""Values as text, for tables and machine-readable formats."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import datetime
from enum import Enum
from pathlib import PurePath
from typing import Any

Row = Mapping[str, Any]

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def iso(at: datetime | None, *, timespec: str = "microseconds") -> str | None:
    """The time in ISO 8601 with offset; None for None."""
    return None if at is None else at.isoformat(timespec=timespec)


def printable(text: str) -> str:
    """The text with escaped control characters, which could control the terminal."""
    return _CONTROL.sub(lambda match: f"\\x{ord(match[0]):02x}", text)


def plain(value: Any) -> Any:
    """The value, converted to the types of JSON."""
    if isinstance(value, datetime):
        return iso(value)
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(item) for item in value]
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    return str(value)


def cell_text(value: Any, timespec: str = "seconds") -> str:
    """The value as the text of a table's cell."""
    if value is None:
        return ""
    if isinstance(value, datetime):
        return value.isoformat(timespec=timespec)
    if isinstance(value, Enum):
        return str(value.value)
    if isinstance(value, bool):
        return str(value)
    if isinstance(value, (list, tuple)) and all(isinstance(item, str) for item in value):
        return ", ".join(value)
    if isinstance(value, (Mapping, list, tuple)):
        return json.dumps(plain(value), ensure_ascii=False)
    if isinstance(value, PurePath):
        return str(value)
    return str(value)
