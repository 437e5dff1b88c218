"""The signature of an operator class: its arguments, those of its bases and the common ones, and their defaults. Mapped
operators have the signature of their class."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any
from weakref import WeakKeyDictionary

from nbflow.authoring.task_arguments import KNOWN
from nbflow.errors import InvalidArgument


def argument_names(kind: type) -> frozenset[str]:
    """The arguments of an operator class: its own, those of its bases, and the common ones."""
    names = _names.get(kind)
    if names is None:
        inits = (cls.__dict__.get("__init__") for cls in kind.__mro__)
        names = _names[kind] = KNOWN.union(*(getattr(init, "names", ()) for init in inits))
    return names


_names: WeakKeyDictionary[type, frozenset[str]] = WeakKeyDictionary()


def required_names(kind: type) -> frozenset[str]:
    """Those of :func:`argument_names` that have no default in the outermost ``__init__`` that declares them."""
    required: set[str] = set()
    overridden: set[str] = set()
    for cls in kind.__mro__:
        init = cls.__dict__.get("__init__")
        required |= getattr(init, "required", frozenset()) - overridden
        overridden |= getattr(init, "names", frozenset())
        if init is not None and not getattr(init, "open", False):
            break
    return frozenset(required)


def default_of(kind: type, name: str) -> Any:
    """The default of an operator's own argument. Raises AttributeError if it has none."""
    for cls in kind.__mro__:
        defaults = getattr(cls.__dict__.get("__init__"), "defaults", {})
        if name in defaults:
            return defaults[name]
    raise AttributeError(f"{kind.__name__} has no argument {name!r} with a default")


def missing_arguments(operator: str, missing: Collection[str], unknown: Collection[str] = ()) -> InvalidArgument:
    """The error for required arguments that were not passed to ``operator``. ``unknown``: arguments that were passed
    but do not exist; often the misspelt name of a missing one."""
    plural = "s" if len(missing) > 1 else ""
    passed = f" It has no argument {', '.join(map(repr, sorted(unknown)))}, which was passed." if unknown else ""
    return InvalidArgument(f"{operator} is missing the argument{plural} {', '.join(sorted(missing))}.{passed}")
