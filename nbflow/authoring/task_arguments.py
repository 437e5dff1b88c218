"""The arguments that every task takes: one table of name, default and reader of the value.

The defaults are attributes of the task class, so that a task stores only the arguments that were passed to it: a DAG of
ten thousand tasks stays small, and the compiler can tell an argument that was not passed (where a setting decides) from
one that was. Defaults and checks follow Airflow 3; ``OLD`` lists the names that only Airflow 2 has.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta, tzinfo
from types import MappingProxyType
from typing import Any, NamedTuple

from nbflow.authoring.current_dag import warn
from nbflow.authoring.params import verify_params
from nbflow.core.identifiers import POOL_NAME, QUEUE, Rule, check_id, check_integer
from nbflow.core.trigger_rules import OLD_NAMES as OLD_RULES
from nbflow.core.trigger_rules import TriggerRule
from nbflow.errors import InvalidArgument, InvalidDag, did_you_mean

Reader = Callable[[str, Any, str], Any]
"""(argument name, value passed, subject of errors such as "task 't'") -> value stored. Raises InvalidArgument or
InvalidDag."""


class Argument(NamedTuple):
    """One row: the default, and the reader of a value (None: the value is stored as it is)."""

    default: Any = None
    read: Reader | None = None


# -------------------------------------------------------------------------------------------------------------- readers


def _of_type(kind: type | tuple[type, ...], expected: str) -> Reader:
    def read(name: str, value: Any, subject: str) -> Any:
        if value is not None and not isinstance(value, kind):
            raise InvalidArgument(f"{name} of {subject} must be {expected}, not {type(value).__name__} {value!r}.")
        return value

    return read


_flag = _of_type(bool, "True or False")
_integer = _of_type(int, "a whole number")
_text = _of_type(str, "text")


def _id(rule: Rule) -> Reader:
    def read(name: str, value: Any, subject: str) -> Any:
        if _text(name, value, subject) is not None:
            check_id(value, rule)
        return value

    return read


def _retries(name: str, value: Any, subject: str) -> int:
    if value is None:
        return 0
    try:
        retries = int(value)
    except (TypeError, ValueError, OverflowError):
        raise InvalidArgument(
            f"{name} of {subject} must be a whole number, not {type(value).__name__} {value!r}."
        ) from None
    check_integer(retries, f"{name} of {subject}")
    return retries


def _delay(name: str, value: Any, subject: str) -> timedelta:
    if isinstance(value, timedelta):
        return value
    if isinstance(value, int | float):
        return timedelta(seconds=value)
    raise InvalidArgument(
        f"{name} of {subject} must be a timedelta or a number of seconds, not {type(value).__name__} {value!r}.",
        hint=f"For example {name}=timedelta(minutes=5).",
    )


def _delay_or_none(name: str, value: Any, subject: str) -> timedelta | None:
    return None if value is None else _delay(name, value, subject)


def _timeout(name: str, value: Any, subject: str) -> timedelta | None:
    if value is not None and not isinstance(value, timedelta):
        raise InvalidDag(
            f"{name} of {subject} must be a timedelta, not {type(value).__name__} {value!r}.",
            hint=f"For example {name}=timedelta(hours=1).",
        )
    return value


def _backoff(name: str, value: Any, subject: str) -> bool | float:
    if not isinstance(value, int | float):
        raise InvalidArgument(f"{name} of {subject} must be True, False or a multiplier, not {value!r}.")
    if value < 0:
        raise InvalidDag(f"{name} of {subject} must not be negative, got {value!r}.")
    return value


def read_datetime(name: str, value: Any, subject: str) -> datetime | None:
    """Check that a date is a ``datetime`` (a naive one is wall-clock time in the DAG's time zone)."""
    if value is not None and not isinstance(value, datetime):
        raise InvalidArgument(
            f"{name} of {subject} must be a datetime, not {type(value).__name__} {value!r}.",
            hint="For example pendulum.datetime(2024, 1, 1), or datetime(2024, 1, 1).",
        )
    return value


def _trigger_rule(name: str, value: Any, subject: str) -> TriggerRule:
    rule = _RULES.get(value) if isinstance(value, str) else None
    if rule is not None:
        return rule
    if isinstance(value, str) and value in OLD_RULES:
        replacement = OLD_RULES[value]
        warn_deprecated(f"{name}={value!r} of {subject}", f"{name}={replacement.value!r}")
        return replacement
    raise InvalidDag(
        f"{name} of {subject} must be one of {', '.join(_RULES)}, not {value!r}." + did_you_mean(str(value), _RULES)
    )


_RULES: Mapping[str, TriggerRule] = {rule.value: rule for rule in TriggerRule}

WEIGHT_RULES = ("downstream", "upstream", "absolute")


def _weight_rule(name: str, value: Any, subject: str) -> str | None:
    text = getattr(value, "value", value)
    if text is not None and text not in WEIGHT_RULES:
        raise InvalidDag(
            f"{name} of {subject} must be one of {', '.join(WEIGHT_RULES)}, not {value!r}."
            + did_you_mean(str(value), WEIGHT_RULES)
        )
    return text


def _pool_slots(name: str, value: Any, subject: str) -> int:
    if value is None:
        raise InvalidArgument(f"{name} of {subject} must be a whole number, not None.")
    _integer(name, value, subject)
    if value < 1:
        raise InvalidDag(f"{name} of {subject} must be at least 1, got {value!r}.")
    check_integer(value, f"{name} of {subject}")
    return int(value)


def read_callbacks(name: str, value: Any, subject: str) -> tuple[Any, ...]:
    """Read one function or a list of them. A value that is not callable is stored with a warning, as in Airflow."""
    if value is None:
        return ()
    callbacks = tuple(value) if isinstance(value, list | tuple) else (value,)
    for callback in callbacks:
        if not callable(callback):
            warn(f"{name} of {subject} contains {callback!r}, which is not callable.")
    return callbacks


def _mapping(name: str, value: Any, subject: str) -> Mapping[str, Any]:
    if value is not None and not isinstance(value, Mapping):
        raise InvalidArgument(f"{name} of {subject} must be a dict, not {type(value).__name__} {value!r}.")
    return value or {}


def _params(name: str, value: Any, subject: str) -> Mapping[str, Any]:
    params = _mapping(name, value, subject)
    if params:
        verify_params(params, subject)
    return params


def _resources(name: str, value: Any, subject: str) -> Mapping[str, Any] | None:
    if value is not None and (unknown := _mapping(name, value, subject).keys() - RESOURCES):
        raise unknown_argument(f"{name} of {subject}", unknown, RESOURCES)
    return value  # type: ignore[no-any-return]


RESOURCES = frozenset({"cpus", "ram", "disk", "gpus"})


def _run_as_user(name: str, value: Any, subject: str) -> None:
    if value is not None:
        raise InvalidDag(
            f"{subject} has {name}={value!r}, but nbflow runs every task as the user that runs its scheduler.",
            hint=f"Leave out {name}; to run as another user, start a scheduler as that user.",
        )


def _unsupported(instead: str) -> Reader:
    def read(name: str, value: Any, subject: str) -> Any:
        if value is not None:
            warn_deprecated(f"{name} of {subject}", instead)
        return value

    return read


# --------------------------------------------------------------------------------------------------------------- tables

_NONE: Mapping[str, Any] = MappingProxyType({})

COMMON: Mapping[str, Argument] = MappingProxyType(
    {
        "owner": Argument("airflow"),
        "email": Argument(None, _of_type((str, list, tuple, set, frozenset), "an address or a list of them")),
        "email_on_retry": Argument(True, _flag),
        "email_on_failure": Argument(True, _flag),
        "retries": Argument(0, _retries),
        "retry_delay": Argument(timedelta(seconds=300), _delay),
        "retry_exponential_backoff": Argument(False, _backoff),
        "max_retry_delay": Argument(None, _delay_or_none),
        "start_date": Argument(None, read_datetime),
        "end_date": Argument(None, read_datetime),
        "depends_on_past": Argument(False, _flag),
        "ignore_first_depends_on_past": Argument(True, _flag),
        "wait_for_past_depends_before_skipping": Argument(False, _flag),
        "wait_for_downstream": Argument(False, _flag),
        "params": Argument(_NONE, _params),
        "priority_weight": Argument(1, _integer),
        "weight_rule": Argument("downstream", _weight_rule),
        "queue": Argument("default", _id(QUEUE)),
        "pool": Argument("default_pool", _id(POOL_NAME)),
        "pool_slots": Argument(1, _pool_slots),
        "execution_timeout": Argument(None, _timeout),
        "on_execute_callback": Argument((), read_callbacks),
        "on_failure_callback": Argument((), read_callbacks),
        "on_success_callback": Argument((), read_callbacks),
        "on_retry_callback": Argument((), read_callbacks),
        "on_skipped_callback": Argument((), read_callbacks),
        "pre_execute": Argument(),
        "post_execute": Argument(),
        "trigger_rule": Argument(TriggerRule.ALL_SUCCESS, _trigger_rule),
        "resources": Argument(None, _resources),
        "run_as_user": Argument(None, _run_as_user),
        "map_index_template": Argument(None, _text),
        "max_active_tis_per_dag": Argument(None, _integer),
        "max_active_tis_per_dagrun": Argument(None, _integer),
        "executor": Argument(None, _text),
        "executor_config": Argument(_NONE),
        "do_xcom_push": Argument(True, _flag),
        "multiple_outputs": Argument(False, _flag),
        "inlets": Argument(()),
        "outlets": Argument(()),
        "task_display_name": Argument(None, _text),
        "doc": Argument(None, _text),
        "doc_md": Argument(None, _text),
        "doc_json": Argument(None, _text),
        "doc_yaml": Argument(None, _text),
        "doc_rst": Argument(None, _text),
        "logger_name": Argument(None, _text),
        "allow_nested_operators": Argument(True, _flag),
        "render_template_as_native_obj": Argument(None),
        # Airflow 2 only
        "sla": Argument(None, _unsupported("execution_timeout, or dagrun_timeout of the DAG")),
    }
)
"""name -> default and reader, in Airflow's order."""

STRUCTURE = frozenset({"task_id", "dag", "task_group", "default_args"})
"""The task's id, DAG and group; the task reads them itself."""

OLD: Mapping[str, str | None] = MappingProxyType(
    {"task_concurrency": "max_active_tis_per_dag", "provide_context": None, "run_as_owner": None}
)
"""Airflow 2's name -> Airflow 3's, or None where the argument is no longer needed."""

KNOWN = frozenset(COMMON) | STRUCTURE | frozenset(OLD)

HOOKS = frozenset({"pre_execute", "post_execute"})
"""Arguments with the name of a method: stored as ``_<name>_hook``."""


def warn_deprecated(name: str, replacement: str | None) -> None:
    """Warn that ``name`` belongs to Airflow 2, and name its ``replacement`` (None: it is not needed any more)."""
    from nbflow.authoring.context import OldNameWarning  # a DAG without old names does not pay for the import

    advice = f"use {replacement}" if replacement else "leave it out"
    warn(f"{name} is Airflow 2's; {advice}.", OldNameWarning)


def unknown_argument(subject: str, names: Iterable[str], known: Iterable[str]) -> InvalidArgument:
    """The error for arguments that ``subject`` does not have, with the nearest known name for the first."""
    unknown = sorted(names)
    shown = ", ".join(repr(name) for name in unknown)
    return InvalidArgument(f"{subject} has no argument {shown}.{did_you_mean(unknown[0], sorted(known))}")


def aware(moment: datetime | None, zone: tzinfo) -> datetime | None:
    """A naive datetime as wall-clock time in ``zone``; an aware one as it is."""
    return moment.replace(tzinfo=zone) if moment is not None and moment.tzinfo is None else moment
