"""The context: the values that a running task, its templates and its callbacks get by name.

Names and values are Airflow's (times are pendulum DateTimes in UTC). The context is a mapping that computes a value at
its first use and caches it: a task that does not use ``ds`` does not pay for pendulum, and a task that does not use
``prev_start_date_success`` sends no request to its supervisor. ``NAMES`` is the table of all names. ``OLD_NAMES`` maps
the names that only Airflow 2 has to their replacements: they work as in Airflow 2, with a warning.

``**context`` of a user's function is a plain dict, so its values are computed at once, except those that cost a request
to the supervisor or a warning: they are passed as a :class:`LazyValue`, which behaves like its value.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from contextvars import ContextVar
from types import FunctionType
from typing import TYPE_CHECKING, Any

from nbflow.errors import AirflowException, ConnectionNotFound, VariableNotFound

if TYPE_CHECKING:
    from nbflow.authoring.taskinstance import TaskInstance

_MISSING: Any = object()


class OldNameWarning(DeprecationWarning):
    """A DAG uses a name of Airflow 2 that Airflow 3 no longer has."""


class Context(MutableMapping[str, Any]):
    """The context of one try. Names can be added and replaced, as in a dict."""

    __slots__ = ("_ti", "_values")
    __eq__ = object.__eq__  # Mapping.__eq__ would compute every value
    __hash__ = object.__hash__

    def __init__(self, ti: TaskInstance) -> None:
        self._ti = ti
        self._values: dict[str, Any] = {}

    def __getitem__(self, key: str) -> Any:
        value = self._values.get(key, _MISSING)
        if value is _MISSING:
            compute = NAMES.get(key)
            value = _MISSING if compute is None else compute(self._ti)
            if value is _MISSING:
                raise KeyError(key)
            self._values[key] = value
        if key in OLD_NAMES:
            warn_old_name(key)
        return value

    def __setitem__(self, key: str, value: Any) -> None:
        self._values[key] = value

    def __delitem__(self, key: str) -> None:
        self._values[key] = _MISSING

    def __contains__(self, key: object) -> bool:
        if key in self._values:
            return self._values[key] is not _MISSING  # type: ignore[index]
        return key in NAMES and (key not in NEED_LOGICAL_DATE or self._ti.run.logical_date is not None)

    def __iter__(self) -> Iterator[str]:
        for key in {**NAMES, **self._values}:
            if key in self and key not in OLD_NAMES:
                yield key

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __repr__(self) -> str:
        return f"<Context of {self._ti!r}>"

    def as_kwargs(self) -> dict[str, Any]:
        """All names as a plain dict, for a function with ``**context``."""
        lazy = (NEED_SUPERVISOR - self._values.keys()) | OLD_NAMES.keys()
        return {key: LazyValue(self, key) if key in lazy else self[key] for key in (*self, *OLD_NAMES) if key in self}


# --------------------------------------------------------------------------------------------------------------- values


def _attribute(path: str) -> Callable[[TaskInstance], Any]:
    """The attribute at a dotted path of the task instance."""
    first, _, rest = path.partition(".")
    return (lambda ti: getattr(getattr(ti, first), rest)) if rest else (lambda ti: getattr(ti, first))


def _dated(convert: Callable[[Any], Any]) -> Callable[[TaskInstance], Any]:
    """A value made from the run's logical date; missing where the run has none."""

    def value(ti: TaskInstance) -> Any:
        moment = ti.dag_run.logical_date
        return _MISSING if moment is None else convert(moment)

    return value


def _format(pattern: str) -> Callable[[Any], str]:
    return lambda moment: moment.strftime(pattern)


def _ts_nodash_with_tz(moment: Any) -> str:
    return moment.isoformat().replace("-", "").replace(":", "")


def _previous(attribute: str) -> Callable[[TaskInstance], Any]:
    return lambda ti: getattr(ti.previous_success, attribute) if ti.previous_success is not None else None


def _step(sign: int, convert: Callable[[Any], Any]) -> Callable[[TaskInstance], Any]:
    """Airflow 2: the logical date of the schedule's previous or next run."""

    def value(ti: TaskInstance) -> Any:
        if ti.run.logical_date is None:
            return _MISSING
        moment = ti.next_logical_date if sign > 0 else ti.previous_logical_date
        return None if moment is None else convert(moment)

    return value


def _day(offset: int, pattern: str) -> Callable[[TaskInstance], Any]:
    return _dated(lambda moment: moment.add(days=offset).strftime(pattern))


def _unchanged(moment: Any) -> Any:
    return moment


def _key_text(ti: TaskInstance) -> str:
    moment = ti.dag_run.logical_date or ti.dag_run.run_after
    return f"{ti.dag_id}__{ti.task_id}__{moment.strftime(_DAY_NODASH)}"


_DAY, _DAY_NODASH = "%Y-%m-%d", "%Y%m%d"


def _macros(ti: TaskInstance) -> Any:
    from nbflow.authoring import macros

    return macros


NAMES: Mapping[str, Callable[[TaskInstance], Any]] = {
    "conn": lambda ti: ConnectionAccessor(),
    "dag": _attribute("dag"),
    "dag_run": _attribute("dag_run"),
    "data_interval_end": _attribute("dag_run.data_interval_end"),
    "data_interval_start": _attribute("dag_run.data_interval_start"),
    "ds": _dated(_format(_DAY)),
    "ds_nodash": _dated(_format(_DAY_NODASH)),
    "expanded_ti_count": lambda ti: None,
    "inlets": lambda ti: list(getattr(ti.task, "inlets", None) or []),
    "logical_date": _dated(_unchanged),
    "macros": _macros,
    "map_index_template": lambda ti: getattr(ti.task, "map_index_template", None),
    "outlets": lambda ti: list(getattr(ti.task, "outlets", None) or []),
    "params": _attribute("params"),
    "prev_data_interval_end_success": _previous("data_interval_end"),
    "prev_data_interval_start_success": _previous("data_interval_start"),
    "prev_end_date_success": _previous("end_date"),
    "prev_start_date_success": _previous("start_date"),
    "run_id": _attribute("run_id"),
    "start_date": _attribute("start_date"),
    "task": _attribute("task"),
    "task_instance": lambda ti: ti,
    "task_instance_key_str": _key_text,
    "task_reschedule_count": lambda ti: ti.workload.reschedules,
    "templates_dict": lambda ti: getattr(ti.task, "templates_dict", None),
    "ti": lambda ti: ti,
    "triggering_asset_events": lambda ti: {},
    "try_number": _attribute("try_number"),
    "ts": _dated(lambda moment: moment.isoformat()),
    "ts_nodash": _dated(_format("%Y%m%dT%H%M%S")),
    "ts_nodash_with_tz": _dated(_ts_nodash_with_tz),
    "var": lambda ti: VariableAccessors(),
    # Airflow 2 only
    "conf": lambda ti: ConfigAccessor(),
    "execution_date": _dated(_unchanged),
    "next_ds": _step(+1, _format(_DAY)),
    "next_ds_nodash": _step(+1, _format(_DAY_NODASH)),
    "next_execution_date": _step(+1, _unchanged),
    "prev_ds": _step(-1, _format(_DAY)),
    "prev_ds_nodash": _step(-1, _format(_DAY_NODASH)),
    "prev_execution_date": _step(-1, _unchanged),
    "prev_execution_date_success": _previous("logical_date"),
    "test_mode": lambda ti: False,
    "tomorrow_ds": _day(+1, _DAY),
    "tomorrow_ds_nodash": _day(+1, _DAY_NODASH),
    "triggering_dataset_events": lambda ti: {},
    "yesterday_ds": _day(-1, _DAY),
    "yesterday_ds_nodash": _day(-1, _DAY_NODASH),
}
"""name -> function that computes its value from the task instance. Callbacks also get ``exception`` and ``reason``."""

OLD_NAMES: Mapping[str, str] = {
    "conf": "the settings, nbflow.toml",
    "execution_date": "logical_date",
    "next_ds": "data_interval_end | ds",
    "next_ds_nodash": "data_interval_end | ds_nodash",
    "next_execution_date": "data_interval_end",
    "prev_ds": "a date computed from data_interval_start",
    "prev_ds_nodash": "a date computed from data_interval_start",
    "prev_execution_date": "a date computed from data_interval_start",
    "prev_execution_date_success": "prev_data_interval_start_success",
    "test_mode": "dag_run.run_type",
    "tomorrow_ds": "macros.ds_add(ds, 1)",
    "tomorrow_ds_nodash": "macros.ds_add(ds, 1)",
    "triggering_dataset_events": "triggering_asset_events",
    "yesterday_ds": "macros.ds_add(ds, -1)",
    "yesterday_ds_nodash": "macros.ds_add(ds, -1)",
}
"""Names that only Airflow 2 has -> what to write instead."""

NEED_SUPERVISOR = frozenset(name for name in NAMES if name.startswith("prev_") and name.endswith("_success"))
"""Names whose values cost a request to the supervisor."""

NEED_LOGICAL_DATE = frozenset(
    {"ds", "ds_nodash", "logical_date", "ts", "ts_nodash", "ts_nodash_with_tz", "execution_date"}
) | {name for name in OLD_NAMES if name.startswith(("next_", "prev_", "tomorrow_", "yesterday_"))}
"""Names that a run without a logical date (triggered with ``logical_date=None``) does not have, as in Airflow 3."""

NEED_PENDULUM = NEED_LOGICAL_DATE | NEED_SUPERVISOR | {"start_date", "data_interval_start", "data_interval_end"}
"""Names whose values are pendulum DateTimes, or are computed from them."""


def warn_old_name(name: str) -> None:
    """Warn that ``name`` is Airflow 2's and name its replacement; the warning points to the user's line."""
    frame, level = sys._getframe(1), 2
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] in ("nbflow", "jinja2"):
        frame, level = frame.f_back, level + 1
    warnings.warn(
        f"{name!r} is a name of Airflow 2 that Airflow 3 no longer has; use {OLD_NAMES[name]}.",
        OldNameWarning,
        stacklevel=level,
    )


# ------------------------------------------------------------------------------------------------------------ accessors


class ConnectionAccessor:
    """``conn.my_db.host``, ``conn.get("my_db", default)``"""

    def __getattr__(self, conn_id: str) -> Any:
        from nbflow.secrets_backends import get_connection

        if conn_id.startswith("__"):
            raise AttributeError(conn_id)
        return get_connection(conn_id)

    def get(self, conn_id: str, default_conn: Any = None) -> Any:
        from nbflow.secrets_backends import get_connection

        try:
            return get_connection(conn_id)
        except ConnectionNotFound:
            return default_conn

    def __repr__(self) -> str:
        return "<connections by id>"


class VariableAccessor:
    """``var.value.key``, ``var.json.key.inside``, and ``.get(key, default)`` of both"""

    def __init__(self, *, deserialize_json: bool) -> None:
        self._json = deserialize_json

    def __getattr__(self, key: str) -> Any:
        from nbflow.variables import Variable

        if key.startswith("__"):
            raise AttributeError(key)
        return Variable.get(key, deserialize_json=self._json)

    def get(self, key: str, default: Any = _MISSING) -> Any:
        from nbflow.variables import Variable

        try:
            return Variable.get(key, deserialize_json=self._json)
        except VariableNotFound:
            if default is _MISSING:
                raise
            return default

    def __repr__(self) -> str:
        return "<variables by key>"


class VariableAccessors:
    """``var``"""

    def __init__(self) -> None:
        self.value = VariableAccessor(deserialize_json=False)
        self.json = VariableAccessor(deserialize_json=True)


class ConfigAccessor:
    """``conf.get("core", "parallelism")`` of Airflow 2, over nbflow's settings. Sensitive settings are not readable."""

    def get(self, section: str, key: str, fallback: Any = _MISSING) -> Any:
        import os
        from dataclasses import fields

        from nbflow.config import Settings

        settings = getattr(Settings.load(os.environ), section.lower(), None)
        options = {field.name: field for field in fields(settings)} if settings is not None else {}
        option = options.get(key.lower())
        if option is None or option.metadata.get("sensitive"):
            if fallback is not _MISSING:
                return fallback
            problem = "is not readable in tasks" if option is not None else "does not exist"
            raise AirflowException(f"The setting [{section}] {key} {problem}.")
        return getattr(settings, option.name)

    def getint(self, section: str, key: str, fallback: Any = _MISSING) -> int:
        return int(self.get(section, key, fallback))

    def getfloat(self, section: str, key: str, fallback: Any = _MISSING) -> float:
        return float(self.get(section, key, fallback))

    def getboolean(self, section: str, key: str, fallback: Any = _MISSING) -> bool:
        value = self.get(section, key, fallback)
        return value.strip().lower() in {"1", "t", "true", "y", "yes", "on"} if isinstance(value, str) else bool(value)


class LazyValue:
    """A proxy that computes a context value at its first use. Comparisons, arithmetic, attributes, ``str`` and
    ``isinstance`` are those of the value; only ``is`` can tell the two apart."""

    __slots__ = ("_context", "_key")

    def __init__(self, context: Mapping[str, Any], key: str) -> None:
        object.__setattr__(self, "_context", context)
        object.__setattr__(self, "_key", key)

    @property  # type: ignore[misc]
    def __class__(self) -> type:  # type: ignore[override]
        return type(value_of(self))

    def __getattr__(self, name: str) -> Any:
        return getattr(value_of(self), name)

    def __getitem__(self, key: Any) -> Any:
        return value_of(self)[key]

    def __iter__(self) -> Iterator[Any]:
        return iter(value_of(self))

    def __len__(self) -> int:
        return len(value_of(self))

    def __contains__(self, item: object) -> bool:
        return item in value_of(self)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return value_of(self)(*args, **kwargs)

    def __str__(self) -> str:
        return str(value_of(self))

    def __repr__(self) -> str:
        return repr(value_of(self))

    def __format__(self, spec: str) -> str:
        return format(value_of(self), spec)

    def __bool__(self) -> bool:
        return bool(value_of(self))

    def __hash__(self) -> int:
        return hash(value_of(self))

    def __eq__(self, other: object) -> bool:
        return bool(value_of(self) == value_of(other))

    def __lt__(self, other: Any) -> Any:
        return value_of(self) < value_of(other)

    def __le__(self, other: Any) -> Any:
        return value_of(self) <= value_of(other)

    def __gt__(self, other: Any) -> Any:
        return value_of(self) > value_of(other)

    def __ge__(self, other: Any) -> Any:
        return value_of(self) >= value_of(other)

    def __add__(self, other: Any) -> Any:
        return value_of(self) + value_of(other)

    def __radd__(self, other: Any) -> Any:
        return value_of(other) + value_of(self)

    def __sub__(self, other: Any) -> Any:
        return value_of(self) - value_of(other)

    def __rsub__(self, other: Any) -> Any:
        return value_of(other) - value_of(self)


def value_of(value: Any) -> Any:
    """The value of a LazyValue; any other object is returned as it is."""
    if type(value) is not LazyValue:
        return value
    context, key = object.__getattribute__(value, "_context"), object.__getattribute__(value, "_key")
    return context[key]


# ------------------------------------------------------------------------------------------------------ current context

_current: ContextVar[Context | None] = ContextVar("nbflow_context", default=None)
_running: list[Context] = []


@contextmanager
def running_in(context: Context) -> Iterator[None]:
    """Make ``get_current_context()`` return ``context`` inside the ``with`` block."""
    token = _current.set(context)
    _running.append(context)
    try:
        yield
    finally:
        _running.remove(context)
        _current.reset(token)


def inside_a_task() -> bool:
    """Whether this code runs inside a task (``get_current_context()`` would return its context)."""
    return _current.get() is not None


def get_current_context() -> Context:
    """Return the context of the running task.

    A thread that a task started gets the task's context if only one task runs in this process. Raises AirflowException
    outside of a task.
    """
    context = _current.get()
    if context is None and len(_running) == 1:
        context = _running[0]
    if context is None:
        raise AirflowException(
            "There is no current context because no task is running.",
            hint="Call get_current_context() inside the task's function, not at the top level of the DAG file.",
        )
    return context


def arguments_for(
    function: Callable[..., Any], kwargs: Mapping[str, Any], context: Context, *, positional: int = 0
) -> dict[str, Any]:
    """Keyword arguments for a user's function: ``kwargs``, and the context values that its parameters name.

    A function with ``**kwargs`` gets the whole context. ``positional``: number of parameters that positional arguments
    fill; the context fills none of them.
    """
    named, takes_all = parameters_of(function)
    if takes_all:
        return {**{k: v for k, v in context.as_kwargs().items() if k not in named[:positional]}, **kwargs}
    from_context = [name for name in named[positional:] if name not in kwargs and name in context]
    if not OLD_NAMES.keys().isdisjoint(from_context):
        from_context = [name for name in from_context if name not in OLD_NAMES or not _has_default(function, name)]
    return {**{name: context[name] for name in from_context}, **kwargs}


def _has_default(function: Callable[..., Any], name: str) -> bool:
    """Whether a parameter has a default other than None. A parameter such as ``conf={}`` is then the function's own,
    not Airflow 2's context value of that name."""
    import inspect

    return inspect.signature(function).parameters[name].default not in (None, inspect.Parameter.empty)


def parameters_of(function: Callable[..., Any]) -> tuple[tuple[str, ...], bool]:
    """Names of a function's parameters in order, and whether it has ``**kwargs``."""
    import inspect

    if type(function) is FunctionType and not function.__dict__:  # the common case, 10 us faster than inspect
        code = function.__code__
        named = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
        return named, bool(code.co_flags & inspect.CO_VARKEYWORDS)
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return (), False  # a builtin without a signature
    named = tuple(p.name for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD))
    return named, any(p.kind is p.VAR_KEYWORD for p in parameters)
