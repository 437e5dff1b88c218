"""The base classes of views and queries, and their JSON form.

A dataclass whose values are added to and removed from a list derives from :class:`Row`: its JSON has an ``id`` that is
unique in the list, and patches address it by that id. All other values are frozen dataclasses, mappings, tuples and
scalars.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, is_dataclass
from datetime import datetime, timedelta
from enum import Enum
from types import NoneType, UnionType
from typing import Any, ClassVar, Generic, Self, TypeVar, get_args, get_origin, get_type_hints

from nbflow.errors import SerializationError
from nbflow.suggested_commands import SuggestedCommand

MAX_CHARACTERS = 1_000
"""Maximum length of a string in a query. Ids have at most 250 characters, but a saved notebook can be edited."""


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """A snapshot of what a surface shows. ``NAME`` is the name of the view's module."""

    NAME: ClassVar[str] = ""
    SCHEMA: ClassVar[int] = 1

    def to_json(self) -> dict[str, Any]:
        """Plain JSON: ``{"view": name, "schema": 1, ...fields}``; times are ISO 8601 with microseconds and offset."""
        return {"view": self.NAME, "schema": self.SCHEMA, **_members(self)}

    def spelled(self, spell: Callable[[SuggestedCommand], str]) -> Self:
        """The view with the commands that its texts name in the syntax of a surface. Views whose values have
        ``suggestions`` override it."""
        return self


class Row:
    """Base of dataclasses that are rows of a list in a view."""

    __slots__ = ()

    @property
    def id(self) -> str:
        """Unique in the list, and constant for as long as the row describes the same thing."""
        raise NotImplementedError


def plain(value: Any) -> Any:
    """Convert a value to JSON. Raises SerializationError for types that JSON cannot hold, and for naive times."""
    if value is None or (isinstance(value, (str, bool, int)) and not isinstance(value, Enum)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)  # JSON has no infinity and no NaN
    if isinstance(value, Enum):
        return plain(value.value)
    if isinstance(value, datetime):
        return _time(value)
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, Row):
        return {"id": value.id, **_members(value)}
    if is_dataclass(value) and not isinstance(value, type):
        return _members(value)
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (tuple, list)):
        return [plain(item) for item in value]
    if isinstance(value, (set, frozenset)):
        return sorted(plain(item) for item in value)
    raise SerializationError(f"A view contains a {type(value).__name__}, which JSON cannot represent.")


def _members(value: Any) -> dict[str, Any]:
    return {field.name: plain(getattr(value, field.name)) for field in fields(value)}


def _time(at: datetime) -> str:
    if at.tzinfo is None:
        raise SerializationError(f"A view contains the time {at.isoformat()}, which has no time zone.")
    return at.isoformat(timespec="microseconds")


V_co = TypeVar("V_co", bound=View, covariant=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Query(Generic[V_co]):
    """Selects what a view shows. Its fields are str, int, bool, datetime, or tuples of these, each optionally None."""

    NAME: ClassVar[str] = ""
    SCHEMA: ClassVar[int] = 1
    SELF_CONTAINED: ClassVar[bool] = True
    """Whether only events of the query's own ``dag_id`` and ``run_id`` change the view."""

    def to_json(self) -> dict[str, Any]:
        """``{"view": name, "schema": 1, ...fields}``."""
        return {"view": self.NAME, "schema": self.SCHEMA, **_members(self)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Read a query that ``to_json`` wrote. The JSON is not trusted, since it may come from a notebook file. Raises
        SerializationError for another view or schema version, and for missing, unknown or wrongly typed members."""
        if (data.get("view"), data.get("schema")) != (cls.NAME, cls.SCHEMA):
            raise SerializationError(
                f"This query is for the view {data.get('view')!r} (version {data.get('schema')!r}), "
                f"not for {cls.NAME!r} (version {cls.SCHEMA})."
            )
        given = {name: value for name, value in data.items() if name not in ("view", "schema")}
        hints = get_type_hints(cls)
        for name in given:
            if name not in {field.name for field in fields(cls)}:
                raise SerializationError(f"A query of {cls.NAME!r} has no {name!r}.")
        values = {name: _typed(value, hints[name], f"{cls.NAME}.{name}") for name, value in given.items()}
        try:
            return cls(**values)
        except TypeError as error:
            raise SerializationError(f"A query of {cls.NAME!r} is incomplete: {error}.") from None


def _typed(value: Any, kind: Any, place: str) -> Any:
    """Convert a JSON value to the type ``kind`` of a field."""
    origin, args = get_origin(kind), get_args(kind)
    if origin is UnionType:
        [inner] = [arg for arg in args if arg is not NoneType]
        return None if value is None else _typed(value, inner, place)
    if origin is tuple and isinstance(value, list):
        return tuple(_typed(item, args[0], f"{place}[{number}]") for number, item in enumerate(value))
    if kind is datetime and isinstance(value, str):
        try:
            at = datetime.fromisoformat(value)
        except ValueError:
            at = None
        if at is not None and at.tzinfo is not None:
            return at
    elif type(value) is kind and not (kind is str and len(value) > MAX_CHARACTERS):
        return value
    expected = getattr(kind, "__name__", str(kind))
    raise SerializationError(f"{place} of a query must be a {expected}, not {str(value)[:60]!r}.")
