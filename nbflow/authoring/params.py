"""Params: the parameters of a DAG's runs, each with a default and a JSON schema.

Values are JSON, because a run's conf is typed and stored as JSON. Tuples become lists, as in Airflow. Values that JSON
would change in another way (a key that is a number) or cannot hold (a date, NaN) are refused at the user's line, with
their path and what to write instead. :mod:`nbflow.authoring.param_schema` handles the schemas. A :class:`ParamsDict`
verifies declarations; values are checked when a run is created, and again in the task that reads them.
"""

from __future__ import annotations

import copy
import json
import math
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any

from nbflow.authoring import current_dag
from nbflow.authoring.param_schema import MAX_SHOWN_CHARACTERS, check_schema, misspelt, verify_schema
from nbflow.errors import InvalidArgument, InvalidDag, ParamValidationError, shortened

if TYPE_CHECKING:
    from nbflow.authoring.dag import DAG

_UNSET: Any = object()

MAX_CONF_BYTES = 1024 * 1024
"""Maximum size of a run's conf as JSON. The conf is sent to every task of the run, and is part of every list of
runs."""
MAX_NESTED = 100
"""Maximum depth of lists and dicts in a value. Checking by a recursive schema takes six Python frames a level, of 1,000
available."""
MAX_ERRORS_SHOWN = 5
"""Number of params that one error names."""


class Param:
    """A param: a default (without one, each run must give a value), a description, and keywords of its JSON schema."""

    __slots__ = ("description", "schema", "value")

    def __init__(self, default: Any = _UNSET, description: str | None = None, **kwargs: Any) -> None:
        self.value = default if default is _UNSET else as_json(default, "A param's default", "default")
        self.description = description
        self.schema = _read_schema(kwargs)

    def __repr__(self) -> str:
        parts = [] if self.value is _UNSET else [repr(self.value)]
        return f"Param({', '.join(parts + [f'{name}={value!r}' for name, value in self.schema.items()])})"

    @property
    def has_value(self) -> bool:
        return self.value is not _UNSET

    def resolve(self, value: Any = _UNSET, suppress_exception: bool = False, *, name: str = "") -> Any:
        """Check and return the value; ``value`` replaces the default. Raises ParamValidationError.

        ``name``: the param's name; errors do not show the value of a sensitive name.
        """
        try:
            resolved = self.value if value is _UNSET else as_json(value, "A param's value", "value")
            if resolved is _UNSET:
                raise ParamValidationError("No value and no default; pass a value or give the Param a default.")
            check_schema(resolved, self.schema, name=name)
        except ParamValidationError:
            if suppress_exception:
                return None
            raise
        self.value = resolved
        return resolved

    def dump(self) -> dict[str, Any]:
        return to_spec(self)


class ParamsDict(MutableMapping[str, Any]):
    """Params by name; ``params[name]`` checks and returns the value.

    ``subject``: the owner of the params in errors, such as ``DAG 'd'``. Raises ParamValidationError for a declaration
    whose default is not JSON or whose schema is invalid.
    """

    def __init__(
        self, params: Mapping[str, Any] | None = None, suppress_exception: bool = False, *, subject: str = ""
    ) -> None:
        self._params: dict[str, Param] = {}
        self.suppress_exception, self.subject = suppress_exception, subject
        messages = []
        for name, value in (params or {}).items():
            try:
                self._declare(name, value)
            except ParamValidationError as error:
                messages.append(str(error))
        _raise_all(messages)

    def __getitem__(self, name: str) -> Any:
        return self._params[name].resolve(suppress_exception=self.suppress_exception, name=name)

    def __setitem__(self, name: str, value: Any) -> None:
        declared = self._params.get(name)
        if isinstance(value, Param) or declared is None:
            self._declare(name, value)
            return
        changed = copy.copy(declared)
        _with_name(repr(name), lambda: changed.resolve(value, self.suppress_exception, name=name))
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
        clone = ParamsDict(suppress_exception=self.suppress_exception, subject=self.subject)
        clone._params = {name: copy.copy(param) for name, param in self._params.items()}
        return clone

    def _declare(self, name: str, value: Any) -> None:
        of = f" of {self.subject}" if self.subject else ""
        if not isinstance(name, str):
            raise ParamValidationError(f"The names of params{of} must be text, not {type(name).__name__} {name!r}.")
        self._params[name] = _with_name(f"{name!r}{of}", lambda: _verified(value))
        for warning in misspelt(self._params[name].schema):
            current_dag.warn(f"Param {name!r}{of}: {warning}")

    def get_param(self, name: str) -> Param:
        return self._params[name]

    def validate(self) -> dict[str, Any]:
        """Check and return all values. Raises one ParamValidationError that names all params that do not fit."""
        return self.values_with({})

    def values_with(self, overrides: Mapping[str, Any]) -> dict[str, Any]:
        """Check and return all values; ``overrides`` replace defaults. Raises one ParamValidationError for all errors.

        The values are copies: a task that changes a list in its params changes neither the DAG's default nor the run's
        conf.
        """
        merged, messages = copy.deepcopy(self), {}
        for name, value in overrides.items():
            try:
                merged[name] = value
            except ParamValidationError as error:
                messages[name] = str(error)
        values = {}
        for name, param in merged._params.items():
            if name in messages:
                continue
            try:
                values[name] = _with_name(repr(name), partial(param.resolve, name=name))
            except ParamValidationError as error:
                messages[name] = str(error)
        _raise_all(messages.values())
        return copy.deepcopy(values)

    def dump(self) -> dict[str, Any]:
        """All values; None for a param without a valid value."""
        return {name: param.resolve(suppress_exception=True) for name, param in self._params.items()}


def _read_schema(keywords: dict[str, Any]) -> dict[str, Any]:
    """The schema in a Param's keywords: the value of ``schema=``, else the keywords themselves."""
    if keywords.get("schema") is None:
        return {name: value for name, value in keywords.items() if name != "schema"}
    schema = keywords.pop("schema")
    if not isinstance(schema, Mapping):
        raise InvalidArgument(
            f"schema of a Param must be a dict, not {type(schema).__name__} {schema!r}.",
            hint='For example schema={"type": "integer"}, or Param(1, type="integer").',
        )
    if keywords:
        current_dag.warn(
            f"{', '.join(map(repr, keywords))} of a Param has no effect with schema=; put it into the schema."
        )
    return dict(schema)


def _raise_all(messages: Iterable[str]) -> None:
    if message := " ".join(islice(messages, MAX_ERRORS_SHOWN)):
        raise ParamValidationError(message)


def _verified(value: Any) -> Param:
    """Return a Param with a verified schema."""
    param = value if isinstance(value, Param) else Param(value)
    verify_schema(param.schema)
    return param


def _with_name(param: str, call: Callable[[], Any]) -> Any:
    """Return the result of ``call``; a ParamValidationError gets the param's name."""
    try:
        return call()
    except ParamValidationError as error:
        raise ParamValidationError(f"Param {param}: {error}") from None


def verify_params(params: Mapping[str, Any], subject: str) -> None:
    """Raise ParamValidationError for an invalid declaration in a task's argument ``params``."""
    ParamsDict(params, subject=subject)


class DagParam:
    """A reference to a param as an argument of a task: ``dag.param("name")``, and each argument of a ``@dag`` function
    inside the function."""

    def __init__(self, dag: Any, name: str, default: Any = _UNSET) -> None:
        if default is not _UNSET:
            dag.params[name] = default
        self.name = name

    def __repr__(self) -> str:
        return f"DagParam({self.name!r})"

    def resolve(self, context: Mapping[str, Any]) -> Any:
        """The value in this run: that of the conf, else the default."""
        try:
            return context["params"][self.name]
        except KeyError:
            raise ParamValidationError(f"This run has no param {self.name!r}.") from None


# ---------------------------------------------------------------------------------------------------- serialised params


def to_spec(param: Param) -> dict[str, Any]:
    """The serialised param: ``{"value", "schema", "description"}``, without ``value`` if it has no default."""
    spec: dict[str, Any] = {"schema": param.schema, "description": param.description}
    if param.has_value:
        spec["value"] = param.value
    return spec


def params_of_run(declared: Mapping[str, Any], conf: Mapping[str, Any] | None) -> dict[str, Any]:
    """Check and return the params of a run: the defaults of the serialised params, overridden by ``conf``.

    Raises one ParamValidationError that names all params that do not fit. Other keys of ``conf`` are allowed.
    """
    params = ParamsDict()
    for name, spec in declared.items():
        # Without verify_schema: a stored version may have a schema that is refused today, and only a run whose value
        # is checked by that schema should get the error.
        params._params[name] = Param(
            spec.get("value", _UNSET), spec.get("description"), schema=spec.get("schema") or {}
        )
    return params.values_with(conf or {})


# ----------------------------------------------------------------------------------------------------------------- JSON


def read_conf(text: str) -> dict[str, Any]:
    """Parse a conf typed by a user. Raises ParamValidationError for text that is not a JSON object."""
    try:
        conf = json.loads(text)
    except RecursionError:
        raise ParamValidationError("is nested too deeply.") from None
    except ValueError as error:
        raise ParamValidationError(f"is not JSON: {error}.") from None
    if not isinstance(conf, dict):
        raise ParamValidationError("must be a JSON object.")
    return conf


def conf_as_json(conf: Any) -> dict[str, Any]:
    """A run's conf as JSON stores it (see :func:`as_json`). Raises ParamValidationError for a conf that is not a dict,
    that JSON cannot hold, or that has more than MAX_CONF_BYTES."""
    if not isinstance(conf, Mapping):
        raise ParamValidationError(f"A run's conf must be a dict, not {type(conf).__name__}.")
    stored: dict[str, Any] = as_json(dict(conf), "A run's conf", "conf")
    size = len(json.dumps(stored))
    if size > MAX_CONF_BYTES:
        raise ParamValidationError(
            f"A run's conf of {size:,} bytes is more than the {MAX_CONF_BYTES:,} allowed.",
            hint="Store it in a file or a table, and pass its path or name.",
        )
    return stored


def as_json(value: Any, subject: str, root: str = "value") -> Any:
    """The value as JSON stores it: tuples become lists, as in Airflow.

    Raises ParamValidationError, with the path from ``root`` on, for a value that JSON cannot hold or would change in
    another way.
    """
    if value is None or type(value) in (bool, str):
        return value
    if problem := _json_problem(value, root, 0):
        raise ParamValidationError(f"{subject} must be JSON: {problem}")
    return _with_lists(value)


def _with_lists(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_with_lists(item) for item in value]
    if isinstance(value, dict):
        return {key: _with_lists(item) for key, item in value.items()}
    return value


def _json_problem(value: Any, path: str, depth: int) -> str:
    """The reason why JSON cannot hold the value, or an empty string."""
    if value is None or isinstance(value, bool | str):
        return ""
    if isinstance(value, int):
        return _too_long(value, path)
    if isinstance(value, float):
        finite = math.isfinite(value)
        return "" if finite else f"{_cut(path)} is {value!r}, which JSON does not have. Use None, or text."
    if depth >= MAX_NESTED:
        return f"{_cut(path)} is nested more than {MAX_NESTED} levels deep, or contains itself."
    if isinstance(value, list | tuple):
        problems = (_json_problem(item, f"{path}[{index}]", depth + 1) for index, item in enumerate(value))
        return next(filter(None, problems), "")
    if isinstance(value, dict):
        return next(filter(None, (_item_problem(key, item, path, depth) for key, item in value.items())), "")
    hint = next((_INSTEAD[base.__name__] for base in type(value).__mro__ if base.__name__ in _INSTEAD), _PLAIN)
    return f"{_cut(path)} is of type {type(value).__name__}, which JSON does not have. {hint}"


def _item_problem(key: Any, item: Any, path: str, depth: int) -> str:
    if not isinstance(key, str):
        kind, shown = type(key).__name__, _cut(repr(key))
        return f"{_cut(path)} has the key {shown} of type {kind}; JSON's keys are text. Write {_cut(repr(str(key)))}."
    return _json_problem(item, f"{path}[{json.dumps(key)}]", depth + 1)


def _cut(path: str) -> str:
    return shortened(path, MAX_SHOWN_CHARACTERS)


def _too_long(value: int, path: str) -> str:
    """Refuse an int that Python does not parse: ``int(text)`` takes quadratic time, so Python limits the digits."""
    max_digits = sys.get_int_max_str_digits()
    if not max_digits or value.bit_length() <= 3 * max_digits or abs(value) < 10**max_digits:
        return ""
    return f"{_cut(path)} is an int of more than {max_digits:,} digits, which cannot be stored. Use text."


_PLAIN = "Use None, True, False, numbers, text, and lists and dicts of them."
_INSTEAD = {
    "set": "Use a list, such as sorted(...) of it.",
    "frozenset": "Use a list, such as sorted(...) of it.",
    "date": "Use its isoformat().",
    "time": "Use its isoformat().",
    "timedelta": "Use its total_seconds().",
    "Decimal": "Use str(...) or float(...) of it.",
    "bytes": "Use its decode().",
    "PurePath": "Use str(...) of it.",
    "UUID": "Use str(...) of it.",
    "generic": "Use its item().",
    "ndarray": "Use its tolist().",
    "mappingproxy": "Use dict(...) of it.",
    "type": "Use its name.",
}
"""Name of a type or of a base -> what to use instead. By name, so that no module has to be imported."""


# ------------------------------------------------------------------------------------------------------ those of a DAG


def check_params(dag: DAG) -> None:
    """Require a valid default of every param: a scheduled run has no conf that could give a value."""
    try:
        dag.params.validate()
    except ValueError as error:
        raise InvalidDag(
            f"DAG {dag.dag_id!r} has a schedule, so each of its params needs a default that fits. {error}",
            hint="Give a default, or schedule=None.",
        ) from None


def warn_of_params(dag: DAG) -> None:
    """Warn of invalid defaults. A DAG without a schedule may have them, as in Airflow; a run whose conf does not
    replace them is refused."""
    for name in dag.params:
        param = dag.params.get_param(name)
        if not param.has_value:
            continue
        try:
            param.resolve(name=name)
        except ParamValidationError as error:
            current_dag.warn(
                f"Param {name!r} of DAG {dag.dag_id!r} has a default that does not fit, so the conf of each run must "
                f"give a value: {error} If that is intended, leave out the default.",
                at=dag.place,
            )
