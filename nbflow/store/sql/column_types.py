"""Column types: datetimes and JSON.

Postgres stores a datetime as ``timestamptz``, SQLite as text of fixed width (``2024-01-01T00:00:00.000000Z``). The text
sorts chronologically, and both SQLite's date functions and a person in ``nbflow db shell`` can read it, unlike an
integer of microseconds. The conversion costs 0.3 µs per value. A naive datetime is refused when it is written.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from sqlalchemy import BigInteger, DateTime, Dialect, Integer, String, Text, TypeDecorator
from sqlalchemy.types import TypeEngine

from nbflow.errors import UnreadableRow, shortened
from nbflow.store.json_text import dump_json
from nbflow.store.plan_effects import utc


@lru_cache(maxsize=1024)  # one scheduler loop writes the same few datetimes many times
def datetime_to_text(value: datetime | None) -> str | None:
    return None if value is None else utc(value).isoformat("T", "microseconds")[:-6] + "Z"


def datetime_from_text(text: str | None) -> datetime | None:
    try:
        return None if text is None else datetime.fromisoformat(text)
    except (ValueError, TypeError):
        raise UnreadableRow(f"A row of the metastore has {shortened(repr(text), 60)}, which is no date.") from None


def _checked(value: datetime | None) -> datetime | None:
    return None if value is None else utc(value)


def _from_session_zone(value: datetime | None) -> datetime | None:
    return None if value is None else value.astimezone(UTC)


class UtcDateTime(TypeDecorator[datetime]):
    """An aware datetime; results are in UTC."""

    impl = DateTime
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        return dialect.type_descriptor(String(27) if dialect.name == "sqlite" else DateTime(timezone=True))

    def bind_processor(self, dialect: Dialect) -> Callable[[datetime | None], Any]:
        return datetime_to_text if dialect.name == "sqlite" else _checked

    def result_processor(self, dialect: Dialect, coltype: object) -> Callable[[Any], datetime | None]:
        return datetime_from_text if dialect.name == "sqlite" else _from_session_zone


def _to_json(value: Any) -> str | None:
    return None if value is None else dump_json(value)


def _from_json(text: str | None) -> Any:
    try:
        return None if text is None else json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UnreadableRow(f"A row of the metastore has a value that is not JSON: {error}.") from None


class Json(TypeDecorator[Any]):
    """JSON as text, so that both databases store the same characters. None is NULL."""

    impl = Text
    cache_ok = True

    def bind_processor(self, dialect: Dialect) -> Callable[[Any], str | None]:
        return _to_json

    def result_processor(self, dialect: Dialect, coltype: object) -> Callable[[Any], Any]:
        return _from_json


Name = String(250).with_variant(String(250, collation="C"), "postgresql")
"""An id. Collation "C" sorts by code point, as Python and SQLite do; a locale's order differs between machines."""

Number = BigInteger().with_variant(Integer, "sqlite")
"""A row number. SQLite generates row numbers only in a column of type INTEGER."""
