"""What templates find under ``macros``: small helpers on dates, and a few modules of the standard library.

Names and results follow Airflow's ``airflow.macros``. ``__all__`` is more than style here: the sandbox lets a template
reach only what a module lists as public (see :mod:`nbflow.authoring.jinja`).
"""

from __future__ import annotations

from datetime import datetime, timedelta
from importlib import import_module
from random import random
from typing import Any

from nbflow.errors import MissingExtra

__all__ = [  # noqa: F822 - the modules are imported when they are asked for
    "dateutil",
    "datetime",
    "datetime_diff_for_humans",
    "ds_add",
    "ds_format",
    "ds_format_locale",
    "json",
    "random",
    "time",
    "timedelta",
    "uuid",
]

_DAY = "%Y-%m-%d"
_MODULES = frozenset({"dateutil", "json", "time", "uuid"})


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return import_module(name)
    raise AttributeError(f"macros has no {name!r}")


def ds_add(ds: str, days: int) -> str:
    """``YYYY-MM-DD`` plus (or minus) so many days: ``ds_add("2024-02-28", 2)`` is ``"2024-03-01"``."""
    if not days:
        return str(ds)
    return (datetime.strptime(str(ds), _DAY) + timedelta(days=days)).strftime(_DAY)  # noqa: DTZ007 - a day has no zone


def ds_format(ds: str, input_format: str, output_format: str) -> str:
    """The same date in another ``strftime`` format."""
    return datetime.strptime(str(ds), input_format).strftime(output_format)  # noqa: DTZ007


def ds_format_locale(ds: str, input_format: str, output_format: str, locale: str | None = None) -> str:
    """The same date in a Babel pattern (``EEEE d MMMM yyyy``) and a language (``de_DE``; None: the environment's)."""
    try:
        from babel.dates import format_datetime
    except ImportError:
        raise MissingExtra("macros.ds_format_locale", "babel", "lab") from None
    moment = datetime.strptime(str(ds), input_format)  # noqa: DTZ007
    return format_datetime(moment, output_format, locale=locale)


def datetime_diff_for_humans(dt: Any, since: Any = None) -> str:
    """How far two moments lie apart, in words: ``2 hours before``. Without ``since``: from now, ``2 hours ago``."""
    import pendulum

    return pendulum.instance(dt).diff_for_humans(since and pendulum.instance(since))
