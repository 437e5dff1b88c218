"""Column types: moments and JSON.

Moments are kept as ``timestamptz`` by Postgres and as text of one width by SQLite (``2024-01-01T00:00:00.000000Z``): it
sorts as the moments do, SQLite's own date functions read it, and so does a person with ``nbflow db shell``, which
integers of microseconds would not give. The conversion costs 0.3 µs a value. A naive datetime is refused on its way in.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from sqlalchemy import BigInteger, DateTime, Dialect, Integer, String, Text, TypeDecorator
from sqlalchemy.types import TypeEngine

from nbflow.store.codec import dump_json
from nbflow.store.plan_effects import utc


@lru_cache(maxsize=1024)  # a turn writes the same few moments many times over; equal ones have one text
def moment_to_text(value: datetime | None) -> str | None:
    return None if value is None else utc(value).isoformat("T", "microseconds")[:-6] + "Z"


def moment_from_text(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)


def _checked(value: datetime | None) -> datetime | None:
    return None if value is None else utc(value)


def _from_session_zone(value: datetime | None) -> datetime | None:
    return None if value is None else value.astimezone(UTC)


class Moment(TypeDecorator[datetime]):
    """An aware datetime, given back in UTC."""

    impl = DateTime
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        return dialect.type_descriptor(String(27) if dialect.name == "sqlite" else DateTime(timezone=True))

    def bind_processor(self, dialect: Dialect) -> Callable[[datetime | None], Any]:
        return moment_to_text if dialect.name == "sqlite" else _checked

    def result_processor(self, dialect: Dialect, coltype: object) -> Callable[[Any], datetime | None]:
        return moment_from_text if dialect.name == "sqlite" else _from_session_zone


def _to_json(value: Any) -> str | None:
    return None if value is None else dump_json(value)


def _from_json(text: str | None) -> Any:
    return None if text is None else json.loads(text)


class Json(TypeDecorator[Any]):
    """JSON as text, so that both databases keep the same characters. None is NULL."""

    impl = Text
    cache_ok = True

    def bind_processor(self, dialect: Dialect) -> Callable[[Any], str | None]:
        return _to_json

    def result_processor(self, dialect: Dialect, coltype: object) -> Callable[[Any], Any]:
        return _from_json


Name = String(250).with_variant(String(250, collation="C"), "postgresql")
"""An id. Collation "C" sorts by code point, as Python and SQLite do; a locale's order would differ by machine."""

Number = BigInteger().with_variant(Integer, "sqlite")
"""A row number. SQLite numbers rows by itself only in a column that is called INTEGER."""
