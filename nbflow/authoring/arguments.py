"""The arguments that every task takes: one table of name, default and how the value is read.

The defaults stand on the task class, so that a task holds only what was given to it: a DAG of ten thousand tasks stays
small, and the compiler can tell "not said" (where a setting decides) from "said". Defaults and checks follow Airflow 3;
``OLD`` lists the names that only Airflow 2 has.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta, tzinfo
from types import MappingProxyType
from typing import Any, NamedTuple

from nbflow.authoring.current_dag import warn
from nbflow.core.trigger_rules import OLD_NAMES as OLD_RULES
from nbflow.core.trigger_rules import TriggerRule
from nbflow.errors import InvalidArgument, InvalidDag, did_you_mean

Reader = Callable[[str, Any, str], Any]
"""(argument's name, value given, whose argument it is) -> value kept. Raises InvalidArgument or InvalidDag."""


class Argument(NamedTuple):
    """One row: the default, and how a value is read (None: kept as it is)."""

    default: Any = None
    read: Reader | None = None


# ------------------------------------------------------------------------------------------------------------- readers


def _of_type(kind: type | tuple[type, ...], words: str) -> Reader:
    def read(name: str, value: Any, whose: str) -> Any:
        if value is not None and not isinstance(value, kind):
            raise InvalidArgument(f"{name} of {whose} must be {words}, not {type(value).__name__} {value!r}.")
        return value

    return read


_flag = _of_type(bool, "True or False")
_whole = _of_type(int, "a whole number")
_text = _of_type(str, "text")


def _retries(name: str, value: Any, whose: str) -> int:
    if value is None:
        return 0
    try:
        return int(value)
    except (TypeError, ValueError):
        raise InvalidArgument(
            f"{name} of {whose} must be a whole number, not {type(value).__name__} {value!r}."
        ) from None


def _delay(name: str, value: Any, whose: str) -> timedelta:
    if isinstance(value, timedelta):
        return value
    if isinstance(value, int | float):
        return timedelta(seconds=value)
    raise InvalidArgument(
        f"{name} of {whose} must be a timedelta or a number of seconds, not {type(value).__name__} {value!r}.",
        hint=f"For example {name}=timedelta(minutes=5).",
    )


def _delay_or_none(name: str, value: Any, whose: str) -> timedelta | None:
    return None if value is None else _delay(name, value, whose)


def _timeout(name: str, value: Any, whose: str) -> timedelta | None:
    if value is not None and not isinstance(value, timedelta):
        raise InvalidDag(
            f"{name} of {whose} must be a timedelta, not {type(value).__name__} {value!r}.",
            hint=f"For example {name}=timedelta(hours=1).",
        )
    return value


def _backoff(name: str, value: Any, whose: str) -> bool | float:
    if not isinstance(value, int | float):
        raise InvalidArgument(f"{name} of {whose} must be True, False or a multiplier, not {value!r}.")
    if value < 0:
        raise InvalidDag(f"{name} of {whose} must not be negative, got {value!r}.")
    return value


def read_moment(name: str, value: Any, whose: str) -> datetime | None:
    """A date is a ``datetime`` (a naive one is wall-clock time in the DAG's zone)."""
    if value is not None and not isinstance(value, datetime):
        raise InvalidArgument(
            f"{name} of {whose} must be a datetime, not {type(value).__name__} {value!r}.",
            hint="For example pendulum.datetime(2024, 1, 1), or datetime(2024, 1, 1).",
        )
    return value


def _trigger_rule(name: str, value: Any, whose: str) -> TriggerRule:
    rule = _RULES.get(value) if isinstance(value, str) else None
    if rule is not None:
        return rule
    if isinstance(value, str) and value in OLD_RULES:
        today = OLD_RULES[value]
        warn_old(f"{name}={value!r} of {whose}", f"{name}={today.value!r}")
        return today
    raise InvalidDag(
        f"{name} of {whose} must be one of {', '.join(_RULES)}, not {value!r}." + did_you_mean(str(value), _RULES)
    )


_RULES: Mapping[str, TriggerRule] = {rule.value: rule for rule in TriggerRule}

WEIGHT_RULES = ("downstream", "upstream", "absolute")


def _weight_rule(name: str, value: Any, whose: str) -> str | None:
    text = getattr(value, "value", value)
    if text is not None and text not in WEIGHT_RULES:
        raise InvalidDag(
            f"{name} of {whose} must be one of {', '.join(WEIGHT_RULES)}, not {value!r}."
            + did_you_mean(str(value), WEIGHT_RULES)
        )
    return text


def _pool_slots(name: str, value: Any, whose: str) -> int:
    if value is None:
        raise InvalidArgument(f"{name} of {whose} must be a whole number, not None.")
    _whole(name, value, whose)
    if value < 1:
        raise InvalidDag(f"{name} of {whose} must be at least 1, got {value!r}.")
    return int(value)


def read_callbacks(name: str, value: Any, whose: str) -> tuple[Any, ...]:
    """One function or a list of them. What cannot be called is kept, as in Airflow, with a warning."""
    if value is None:
        return ()
    found = tuple(value) if isinstance(value, list | tuple) else (value,)
    for one in found:
        if not callable(one):
            warn(f"{name} of {whose} holds {one!r}, which cannot be called.")
    return found


def _mapping(name: str, value: Any, whose: str) -> Mapping[str, Any]:
    if value is not None and not isinstance(value, Mapping):
        raise InvalidArgument(f"{name} of {whose} must be a dict, not {type(value).__name__} {value!r}.")
    return value or {}


def _params(name: str, value: Any, whose: str) -> Mapping[str, Any]:
    given = _mapping(name, value, whose)
    if given:
        from nbflow.authoring.params import verify_params  # only where there are some

        verify_params(given, whose)
    return given


def _resources(name: str, value: Any, whose: str) -> Mapping[str, Any] | None:
    if value is not None and (unknown := _mapping(name, value, whose).keys() - RESOURCES):
        raise unknown_argument(f"{name} of {whose}", unknown, RESOURCES)
    return value  # type: ignore[no-any-return]


RESOURCES = frozenset({"cpus", "ram", "disk", "gpus"})


def _run_as_user(name: str, value: Any, whose: str) -> None:
    if value is not None:
        raise InvalidDag(
            f"{whose} asks for {name}={value!r}: nbflow runs every task as the user that runs its scheduler.",
            hint=f"Leave out {name}; to run as somebody else, start a scheduler as that user.",
        )


def _unsupported(instead: str) -> Reader:
    def read(name: str, value: Any, whose: str) -> Any:
        if value is not None:
            warn_old(f"{name} of {whose}", instead)
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
        "start_date": Argument(None, read_moment),
        "end_date": Argument(None, read_moment),
        "depends_on_past": Argument(False, _flag),
        "ignore_first_depends_on_past": Argument(True, _flag),
        "wait_for_past_depends_before_skipping": Argument(False, _flag),
        "wait_for_downstream": Argument(False, _flag),
        "params": Argument(_NONE, _params),
        "priority_weight": Argument(1, _whole),
        "weight_rule": Argument("downstream", _weight_rule),
        "queue": Argument("default", _text),
        "pool": Argument("default_pool", _text),
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
        "max_active_tis_per_dag": Argument(None, _whole),
        "max_active_tis_per_dagrun": Argument(None, _whole),
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
        # of Airflow 2 only
        "sla": Argument(None, _unsupported("execution_timeout, or dagrun_timeout of the DAG")),
    }
)
"""name -> default and reader, in Airflow's order."""

STRUCTURE = frozenset({"task_id", "dag", "task_group", "default_args"})
"""Where the task stands; read by the task itself."""

OLD: Mapping[str, str | None] = MappingProxyType(
    {"task_concurrency": "max_active_tis_per_dag", "provide_context": None, "run_as_owner": None}
)
"""Airflow 2's name -> today's, or None where the argument is no longer needed."""

KNOWN = frozenset(COMMON) | STRUCTURE | frozenset(OLD)

HOOKS = frozenset({"pre_execute", "post_execute"})
"""Arguments that are functions of the same name: kept under ``_<name>_hook``."""


def warn_old(found: str, today: str | None) -> None:
    """Warn that ``found`` is Airflow 2's, and name today's word (None: nothing is needed)."""
    from nbflow.authoring.context import OldNameWarning  # only where there is something to say

    way_out = f"use {today}" if today else "leave it out"
    warn(f"{found} is Airflow 2's; {way_out}.", OldNameWarning)


def unknown_argument(whose: str, names: Iterable[str], known: Iterable[str]) -> InvalidArgument:
    """The error for arguments that ``whose`` does not have, with the nearest name for the first."""
    wrong = sorted(names)
    known = sorted(known)
    shown = ", ".join(repr(name) for name in wrong)
    return InvalidArgument(f"{whose} has no argument {shown}.{did_you_mean(wrong[0], known)}")


def aware(moment: datetime | None, zone: tzinfo) -> datetime | None:
    """A naive moment as wall-clock time in ``zone``; an aware one as it is."""
    return moment.replace(tzinfo=zone) if moment is not None and moment.tzinfo is None else moment
