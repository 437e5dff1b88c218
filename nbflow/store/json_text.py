"""Text as every store writes it: values as JSON, and text that any database accepts."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from nbflow.errors import SerializationError


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, set | frozenset):
        return sorted(value)
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"a {type(value).__name__} is not a JSON value")


_ENCODER = json.JSONEncoder(default=_plain, separators=(",", ":"))


def dump_json(value: Any) -> str:
    """JSON text, ASCII only (independent of the database's encoding); datetimes as ISO 8601, sets sorted.

    Raises SerializationError for any other value that JSON cannot express.
    """
    try:
        return _ENCODER.encode(value)
    except (TypeError, ValueError, RecursionError) as error:
        raise SerializationError(f"The metastore stores JSON, and this value is not JSON: {error}.") from None


def as_stored(value: Any) -> Any:
    """The value as it is read back after :func:`dump_json` (tuples become lists, keys become text)."""
    return json.loads(dump_json(value)) if value else value


def clean_text(text: str) -> str:
    """Text that every database accepts: Postgres refuses NUL, and UTF-8 cannot encode lone surrogates."""
    return text.replace("\x00", "\\x00").encode("utf-8", "backslashreplace").decode()
