"""``macros`` in templates: date functions, and a few modules of the standard library.

Names and results follow Airflow's ``airflow.macros``. ``__all__`` is required: the sandbox lets a template read only
the public names of a module (see :mod:`nbflow.authoring.jinja`).
"""

from __future__ import annotations

from datetime import datetime, timedelta
from importlib import import_module
from random import random
from typing import Any

import pendulum

from nbflow.errors import MissingExtra

__all__ = [  # noqa: F822 - __getattr__ imports the modules at their first use
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
    """Add ``days`` (or subtract, if negative) to a date ``YYYY-MM-DD``: ``ds_add("2024-02-28", 2)`` is
    ``"2024-03-01"``."""
    if not days:
        return str(ds)
    return (datetime.strptime(str(ds), _DAY) + timedelta(days=days)).strftime(_DAY)  # noqa: DTZ007 - a day has no zone


def ds_format(ds: str, input_format: str, output_format: str) -> str:
    """Convert a date from one ``strftime`` format to another."""
    return datetime.strptime(str(ds), input_format).strftime(output_format)  # noqa: DTZ007


def ds_format_locale(ds: str, input_format: str, output_format: str, locale: str | None = None) -> str:
    """Convert a date to a Babel pattern (``EEEE d MMMM yyyy``) in a locale (``de_DE``; default: the environment's)."""
    try:
        from babel.dates import format_datetime
    except ImportError:
        raise MissingExtra("macros.ds_format_locale", "babel", "lab") from None
    moment = datetime.strptime(str(ds), input_format)  # noqa: DTZ007
    return format_datetime(moment, output_format, locale=locale)


def datetime_diff_for_humans(dt: Any, since: Any = None) -> str:
    """The difference between two datetimes in words: ``2 hours before``; without ``since``, the difference from now:
    ``2 hours ago``."""
    return pendulum.instance(dt).diff_for_humans(since and pendulum.instance(since))
