"""Params: what a run of a DAG can be given, each with a default and a JSON schema.

The schema is checked by :data:`_KEYWORDS`, a table of the keywords of JSON Schema 2020-12 that describe one value; it
needs no library, so that a run can be checked from the stored DAG, by a process that has nothing else loaded. Other
keywords (``title``, ``section``, ``values_display`` ...) are for forms and are kept.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from datetime import date, datetime, time
from typing import Any

from nbflow.errors import ParamValidationError

_UNSET: Any = object()


class Param:
    """One param: a default (left out: the run must give it), a description, and keywords of its schema."""

    __slots__ = ("description", "schema", "value")

    def __init__(self, default: Any = _UNSET, description: str | None = None, **kwargs: Any) -> None:
        self.value = default
        self.description = description
        self.schema: dict[str, Any] = dict(kwargs.pop("schema", None) or kwargs)
        if default is not _UNSET:
            check_json(default, "A param's default")

    def __repr__(self) -> str:
        parts = [] if self.value is _UNSET else [repr(self.value)]
        return f"Param({', '.join(parts + [f'{name}={value!r}' for name, value in self.schema.items()])})"

    @property
    def has_value(self) -> bool:
        return self.value is not _UNSET

    def resolve(self, value: Any = _UNSET, suppress_exception: bool = False) -> Any:
        """The value after checking it; ``value`` replaces the default. Raises ParamValidationError."""
        final = self.value if value is _UNSET else value
        try:
            if final is _UNSET:
                raise ParamValidationError("No value was given, and there is no default.")
            check_json(final, "A param's value")
            check_schema(final, self.schema)
        except ParamValidationError:
            if suppress_exception:
                return None
            raise
        if value is not _UNSET:
            self.value = value
        return final

    def dump(self) -> dict[str, Any]:
        return to_spec(self)


class ParamsDict(MutableMapping[str, Any]):
    """Params by name; reading one gives its value, checked."""

    def __init__(self, params: Mapping[str, Any] | None = None, suppress_exception: bool = False) -> None:
        self._params = {name: _as_param(value) for name, value in (params or {}).items()}
        self.suppress_exception = suppress_exception

    def __getitem__(self, name: str) -> Any:
        return self._params[name].resolve(suppress_exception=self.suppress_exception)

    def __setitem__(self, name: str, value: Any) -> None:
        known = self._params.get(name)
        if isinstance(value, Param) or known is None:
            self._params[name] = _as_param(value)
            return
        changed = copy.copy(known)
        _named(name, lambda: changed.resolve(value, self.suppress_exception))
        self._params[name] = changed

    def __delitem__(self, name: str) -> None:
        del self._params[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._params)

    def __len__(self) -> int:
        return len(self._params)

    def __repr__(self) -> str:
        return repr(self._params)

    def __deepcopy__(self, memo: Any) -> ParamsDict:
        twin = ParamsDict(suppress_exception=self.suppress_exception)
        twin._params = {name: copy.copy(param) for name, param in self._params.items()}
        return twin

    def get_param(self, name: str) -> Param:
        return self._params[name]

    def validate(self) -> dict[str, Any]:
        """All values. Raises ParamValidationError naming the first that does not fit."""
        return {name: _named(name, param.resolve) for name, param in self._params.items()}

    def dump(self) -> dict[str, Any]:
        """All values; None for a param that has none."""
        return {name: param.resolve(suppress_exception=True) for name, param in self._params.items()}


def _as_param(value: Any) -> Param:
    return value if isinstance(value, Param) else Param(value)


def _named(name: str, resolve: Callable[[], Any]) -> Any:
    try:
        return resolve()
    except ParamValidationError as error:
        raise ParamValidationError(f"Param {name!r}: {error}") from None


class DagParam:
    """A param as an argument: ``dag.param("name")``, and what a ``@dag`` function's arguments are inside it."""

    def __init__(self, dag: Any, name: str, default: Any = _UNSET) -> None:
        if default is not _UNSET:
            dag.params[name] = default
        self.name = name

    def __repr__(self) -> str:
        return f"DagParam({self.name!r})"

    def iter_references(self) -> tuple[()]:
        return ()

    def resolve(self, context: Mapping[str, Any]) -> Any:
        """The run's value: of its conf, else the default."""
        try:
            return context["params"][self.name]
        except KeyError:
            raise ParamValidationError(f"This run has no param {self.name!r}.") from None


# ------------------------------------------------------------------------------------------------------ the stored form


def to_spec(param: Param) -> dict[str, Any]:
    """``{"value", "schema", "description"}``; no ``value`` where the run must give it."""
    out: dict[str, Any] = {"schema": param.schema, "description": param.description}
    if param.has_value:
        out["value"] = param.value
    return out


def params_of_run(declared: Mapping[str, Any], conf: Mapping[str, Any] | None) -> dict[str, Any]:
    """The params of a run: the declared defaults (in their stored form), what ``conf`` gives in their place, checked.

    Raises ParamValidationError naming the param. What ``conf`` holds besides is the run's own and is let through.
    """
    params = ParamsDict()
    for name, raw in declared.items():
        params._params[name] = Param(raw.get("value", _UNSET), raw.get("description"), schema=raw.get("schema") or {})
    for name, value in (conf or {}).items():
        params[name] = value
    return params.validate()


def check_json(value: Any, what: str) -> None:
    """Raise ParamValidationError unless the value is JSON."""
    if value is None or type(value) in (bool, int, str):
        return
    try:
        json.dumps(value)
    except (TypeError, ValueError) as error:
        raise ParamValidationError(f"{what} must be JSON: {error}.") from None


# --------------------------------------------------------------------------------------------------------- JSON schema


def check_schema(value: Any, schema: Mapping[str, Any], path: str = "") -> None:
    """Raise ParamValidationError, with the place inside the value, unless ``value`` fits the schema."""
    for keyword, limit in schema.items():
        check = _KEYWORDS.get(keyword)
        if check is not None and not check(value, limit, schema, path):
            where = f" at {path}" if path else ""
            raise ParamValidationError(f"{value!r}{where} does not fit {keyword}: {limit!r}.")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


_TYPES: dict[str, Callable[[Any], bool]] = {
    "null": lambda value: value is None,
    "boolean": lambda value: isinstance(value, bool),
    "integer": lambda value: _is_number(value) and (isinstance(value, int) or value.is_integer()),
    "number": _is_number,
    "string": lambda value: isinstance(value, str),
    "array": lambda value: isinstance(value, list | tuple),
    "object": lambda value: isinstance(value, Mapping),
}


def _type(value: Any, wanted: Any, schema: Any, path: str) -> bool:
    return any(_TYPES[kind](value) for kind in ([wanted] if isinstance(wanted, str) else wanted) if kind in _TYPES)


def _date_time(text: str) -> None:
    if datetime.fromisoformat(text).tzinfo is None:
        raise ValueError(text)


_FORMATS: dict[str, Callable[[str], Any]] = {
    "date": date.fromisoformat,
    "date-time": _date_time,
    "time": time.fromisoformat,
}


def _format(value: Any, wanted: Any, schema: Any, path: str) -> bool:
    parse = _FORMATS.get(wanted)
    if parse is None or not isinstance(value, str):
        return True
    try:
        parse(value)
    except ValueError:
        return False
    return True


def _fits(value: Any, schema: Any, path: str) -> bool:
    if isinstance(schema, bool):
        return schema
    try:
        check_schema(value, schema, path)
    except ParamValidationError:
        return False
    return True


def _items(value: Any, inner: Any, schema: Any, path: str) -> bool:
    if isinstance(value, list | tuple) and isinstance(inner, Mapping):
        for index, item in enumerate(value):
            check_schema(item, inner, f"{path}[{index}]")
    return True


def _properties(value: Any, inner: Any, schema: Any, path: str) -> bool:
    if isinstance(value, Mapping):
        for name, rule in inner.items():
            if name in value and isinstance(rule, Mapping):
                check_schema(value[name], rule, f"{path}.{name}" if path else name)
    return True


def _additional(value: Any, allowed: Any, schema: Mapping[str, Any], path: str) -> bool:
    if not isinstance(value, Mapping):
        return True
    return all(_fits(value[name], allowed, path) for name in value.keys() - schema.get("properties", {}).keys())


def _number(holds: Callable[[Any, Any], bool]) -> Callable[[Any, Any, Any, str], bool]:
    return lambda value, limit, schema, path: not _is_number(value) or holds(value, limit)


def _sized(kind: type | tuple[type, ...], holds: Callable[[int, int], bool]) -> Callable[[Any, Any, Any, str], bool]:
    def check(value: Any, limit: Any, schema: Any, path: str) -> bool:
        return not isinstance(value, kind) or holds(len(value), limit)  # type: ignore[arg-type]

    return check


def _same(one: Any, other: Any) -> bool:
    return bool(one == other) and isinstance(one, bool) == isinstance(other, bool)


_KEYWORDS: dict[str, Callable[[Any, Any, Mapping[str, Any], str], bool]] = {
    "type": _type,
    "const": lambda value, wanted, schema, path: _same(value, wanted),
    "enum": lambda value, wanted, schema, path: any(_same(value, one) for one in wanted),
    "format": _format,
    "minimum": _number(lambda value, limit: value >= limit),
    "maximum": _number(lambda value, limit: value <= limit),
    "exclusiveMinimum": _number(lambda value, limit: value > limit),
    "exclusiveMaximum": _number(lambda value, limit: value < limit),
    "multipleOf": _number(lambda value, limit: value % limit == 0),
    "minLength": _sized(str, lambda size, limit: size >= limit),
    "maxLength": _sized(str, lambda size, limit: size <= limit),
    "pattern": lambda value, wanted, schema, path: not isinstance(value, str) or bool(re.search(wanted, value)),
    "minItems": _sized((list, tuple), lambda size, limit: size >= limit),
    "maxItems": _sized((list, tuple), lambda size, limit: size <= limit),
    "uniqueItems": lambda value, wanted, schema, path: (
        not wanted
        or not isinstance(value, list | tuple)
        or len({json.dumps(v, sort_keys=True) for v in value}) == len(value)
    ),
    "items": _items,
    "minProperties": _sized(Mapping, lambda size, limit: size >= limit),
    "maxProperties": _sized(Mapping, lambda size, limit: size <= limit),
    "required": lambda value, names, schema, path: not isinstance(value, Mapping) or all(n in value for n in names),
    "properties": _properties,
    "additionalProperties": _additional,
    "anyOf": lambda value, ways, schema, path: any(_fits(value, way, path) for way in ways),
    "oneOf": lambda value, ways, schema, path: sum(_fits(value, way, path) for way in ways) == 1,
    "allOf": lambda value, ways, schema, path: all(_fits(value, way, path) for way in ways),
    "not": lambda value, way, schema, path: not _fits(value, way, path),
}
"""keyword -> whether the value fits: (value, the keyword's value, the whole schema, path)."""
