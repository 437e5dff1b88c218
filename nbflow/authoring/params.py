"""Params: what a run of a DAG can be given, each with a default and a JSON schema.

Values are JSON, because a run's conf is stored and typed as JSON: what JSON would change on the way (a tuple, a key
that is a number) or cannot hold (a date, NaN) is refused where it is written, with its place and what to write instead.
Schemas are read by :mod:`nbflow.authoring.param_schema`. A declaration is verified when it is put into a
:class:`ParamsDict`; values are checked when a run is made, and again by the task that looks at them.
"""

from __future__ import annotations

import copy
import json
import math
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping
from functools import partial
from itertools import islice
from typing import Any

from nbflow.authoring import current_dag
from nbflow.authoring.param_schema import MOST_SHOWN_CHARACTERS, check_schema, misspelt, verify_schema
from nbflow.errors import InvalidArgument, ParamValidationError, shortened

_UNSET: Any = object()

MOST_CONF_BYTES = 1024 * 1024
"""Of a run's conf as JSON. It is sent to every task of the run, and stands in every list of runs."""
MOST_NESTED = 100
"""Levels of lists and dicts in a value: a schema that refers to itself needs six frames a level, of Python's 1,000."""
MOST_FAULTS = 5
"""Params that one error names."""


class Param:
    """One param: a default (left out: the run must give it), a description, and keywords of its schema."""

    __slots__ = ("description", "schema", "value")

    def __init__(self, default: Any = _UNSET, description: str | None = None, **kwargs: Any) -> None:
        self.value = default
        self.description = description
        self.schema = _read_schema(kwargs)
        if default is not _UNSET:
            check_json(default, "A param's default", "default")

    def __repr__(self) -> str:
        parts = [] if self.value is _UNSET else [repr(self.value)]
        return f"Param({', '.join(parts + [f'{name}={value!r}' for name, value in self.schema.items()])})"

    @property
    def has_value(self) -> bool:
        return self.value is not _UNSET

    def resolve(self, value: Any = _UNSET, suppress_exception: bool = False, *, name: str = "") -> Any:
        """The value after checking it; ``value`` replaces the default. Raises ParamValidationError.

        ``name``: the param's; the value of a sensitive name is not shown in the error.
        """
        final = self.value if value is _UNSET else value
        try:
            if final is _UNSET:
                raise ParamValidationError("No value was given, and there is no default.")
            if value is not _UNSET:
                check_json(value, "A param's value", "value")
            check_schema(final, self.schema, name=name)
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
    """Params by name; reading one gives its value, checked.

    ``whose`` (``DAG 'd'``) stands in the errors about declarations. Raises ParamValidationError for a declaration whose
    default is not JSON or whose schema cannot be used.
    """

    def __init__(
        self, params: Mapping[str, Any] | None = None, suppress_exception: bool = False, *, whose: str = ""
    ) -> None:
        self._params: dict[str, Param] = {}
        self.suppress_exception, self.whose = suppress_exception, whose
        faults = []
        for name, value in (params or {}).items():
            try:
                self._declare(name, value)
            except ParamValidationError as error:
                faults.append(str(error))
        _raise_all(faults)

    def __getitem__(self, name: str) -> Any:
        return self._params[name].resolve(suppress_exception=self.suppress_exception, name=name)

    def __setitem__(self, name: str, value: Any) -> None:
        known = self._params.get(name)
        if isinstance(value, Param) or known is None:
            self._declare(name, value)
            return
        changed = copy.copy(known)
        _named(repr(name), lambda: changed.resolve(value, self.suppress_exception, name=name))
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
        twin = ParamsDict(suppress_exception=self.suppress_exception, whose=self.whose)
        twin._params = {name: copy.copy(param) for name, param in self._params.items()}
        return twin

    def _declare(self, name: str, value: Any) -> None:
        of = f" of {self.whose}" if self.whose else ""
        if not isinstance(name, str):
            raise ParamValidationError(f"The names of params{of} must be text, not {type(name).__name__} {name!r}.")
        self._params[name] = _named(f"{name!r}{of}", lambda: _declared(value))
        for line in misspelt(self._params[name].schema):
            current_dag.warn(f"Param {name!r}{of}: {line}")

    def get_param(self, name: str) -> Param:
        return self._params[name]

    def validate(self) -> dict[str, Any]:
        """All values. Raises one ParamValidationError that names the params that do not fit."""
        return self.values_with({})

    def values_with(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """All values, ``given`` in place of the defaults. Raises one ParamValidationError for all that do not fit.

        They are copies: what a task does to a list of its params changes neither the DAG's default nor the run's conf.
        """
        merged, faults = copy.deepcopy(self), {}
        for name, value in given.items():
            try:
                merged[name] = value
            except ParamValidationError as error:
                faults[name] = str(error)
        values = {}
        for name, param in merged._params.items():
            if name in faults:
                continue
            try:
                values[name] = _named(repr(name), partial(param.resolve, name=name))
            except ParamValidationError as error:
                faults[name] = str(error)
        _raise_all(faults.values())
        return copy.deepcopy(values)

    def dump(self) -> dict[str, Any]:
        """All values; None for a param that has none."""
        return {name: param.resolve(suppress_exception=True) for name, param in self._params.items()}


def _read_schema(keywords: dict[str, Any]) -> dict[str, Any]:
    """What a Param's keywords say: ``schema=``, or they themselves."""
    if keywords.get("schema") is None:
        return {name: value for name, value in keywords.items() if name != "schema"}
    schema = keywords.pop("schema")
    if not isinstance(schema, Mapping):
        raise InvalidArgument(
            f"schema of a Param must be a dict, not {type(schema).__name__} {schema!r}.",
            hint='For example schema={"type": "integer"}, or Param(1, type="integer").',
        )
    if keywords:
        current_dag.warn(f"{', '.join(map(repr, keywords))} of a Param has no effect beside schema=: put it inside.")
    return dict(schema)


def _raise_all(faults: Iterable[str]) -> None:
    if said := " ".join(islice(faults, MOST_FAULTS)):
        raise ParamValidationError(said)


def _declared(value: Any) -> Param:
    """A Param whose schema can be used."""
    param = value if isinstance(value, Param) else Param(value)
    verify_schema(param.schema)
    return param


def _named(which: str, call: Callable[[], Any]) -> Any:
    try:
        return call()
    except ParamValidationError as error:
        raise ParamValidationError(f"Param {which}: {error}") from None


def verify_params(params: Mapping[str, Any], whose: str) -> None:
    """Raise ParamValidationError for declarations that cannot be used (what a task takes as ``params``)."""
    ParamsDict(params, whose=whose)


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

    Raises one ParamValidationError that names the params that do not fit. What ``conf`` holds besides is the run's own
    and is let through.
    """
    params = ParamsDict()
    for name, raw in declared.items():
        # Not declared again: a version that was stored earlier may hold a schema that is refused today, and only a run
        # that it concerns is to be told.
        params._params[name] = Param(raw.get("value", _UNSET), raw.get("description"), schema=raw.get("schema") or {})
    return params.values_with(conf or {})


# ---------------------------------------------------------------------------------------------------------------- JSON


def read_conf(text: str) -> dict[str, Any]:
    """A conf as typed. Raises ParamValidationError for what is no JSON object."""
    try:
        conf = json.loads(text)
    except RecursionError:
        raise ParamValidationError("is nested too deeply.") from None
    except ValueError as error:
        raise ParamValidationError(f"is not JSON: {error}.") from None
    if not isinstance(conf, dict):
        raise ParamValidationError("must be a JSON object.")
    return conf


def check_conf_is_json(conf: Any) -> None:
    """Raise ParamValidationError unless a run's conf is a dict that JSON can hold, of at most MOST_CONF_BYTES."""
    if not isinstance(conf, Mapping):
        raise ParamValidationError(f"A run's conf must be a dict, not {type(conf).__name__}.")
    check_json(dict(conf), "A run's conf", "conf")
    size = len(json.dumps(dict(conf)))
    if size > MOST_CONF_BYTES:
        raise ParamValidationError(
            f"A run's conf of {size:,} bytes is more than the {MOST_CONF_BYTES:,} allowed.",
            hint="Store it in a file or a table, and pass its path or name.",
        )


def check_json(value: Any, what: str, root: str = "value") -> None:
    """Raise ParamValidationError, with the place from ``root`` on, unless the value is JSON and comes back the same."""
    if value is None or type(value) in (bool, str):
        return
    if fault := _not_json(value, root, 0):
        raise ParamValidationError(f"{what} must be JSON: {fault}")


def _not_json(value: Any, path: str, depth: int) -> str:
    """What is wrong, or nothing."""
    if value is None or isinstance(value, bool | str):
        return ""
    if isinstance(value, int):
        return _too_long(value, path)
    if isinstance(value, float):
        finite = math.isfinite(value)
        return "" if finite else f"{_cut(path)} is {value!r}, which JSON does not have. Give None, or text."
    if depth >= MOST_NESTED:
        return f"{_cut(path)} is nested more than {MOST_NESTED} levels deep, or holds itself."
    if isinstance(value, list):
        return next(filter(None, (_not_json(item, f"{path}[{at}]", depth + 1) for at, item in enumerate(value))), "")
    if isinstance(value, dict):
        return next(filter(None, (_item_not_json(key, item, path, depth) for key, item in value.items())), "")
    advice = next((_INSTEAD[kind.__name__] for kind in type(value).__mro__ if kind.__name__ in _INSTEAD), _PLAIN)
    return f"{_cut(path)} is of type {type(value).__name__}, which JSON does not have. {advice}"


def _item_not_json(key: Any, item: Any, path: str, depth: int) -> str:
    if not isinstance(key, str):
        kind, shown = type(key).__name__, _cut(repr(key))
        return f"{_cut(path)} has the key {shown} of type {kind}; JSON's keys are text. Write {_cut(repr(str(key)))}."
    return _not_json(item, f"{path}[{json.dumps(key)}]", depth + 1)


def _cut(path: str) -> str:
    return shortened(path, MOST_SHOWN_CHARACTERS)


def _too_long(value: int, path: str) -> str:
    """Python does not read longer ints from text, as a guard: reading them takes quadratic time."""
    most = sys.get_int_max_str_digits()
    if not most or value.bit_length() <= 3 * most or abs(value) < 10**most:
        return ""
    return f"{_cut(path)} is an int of more than {most:,} digits, which cannot be stored. Give text."


_PLAIN = "Give None, True, False, numbers, text, and lists and dicts of them."
_INSTEAD = {
    "tuple": "Give a list.",
    "set": "Give a list, such as sorted(...) of it.",
    "frozenset": "Give a list, such as sorted(...) of it.",
    "date": "Give its isoformat().",
    "time": "Give its isoformat().",
    "timedelta": "Give its total_seconds().",
    "Decimal": "Give str(...) or float(...) of it.",
    "bytes": "Give its decode().",
    "PurePath": "Give str(...) of it.",
    "UUID": "Give str(...) of it.",
    "generic": "Give its item().",
    "ndarray": "Give its tolist().",
    "mappingproxy": "Give dict(...) of it.",
    "type": "Give its name.",
}
"""Name of a type, or of one that it is derived from -> what to give instead. By name, so that no module is imported."""
