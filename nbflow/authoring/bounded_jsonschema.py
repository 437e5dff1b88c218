"""``jsonschema``'s validator of draft 2020-12, changed so that the time of a check is linear in the value's length.

The values of Params come from every user who can trigger a run, so a value must not be able to block the process. Each
keyword takes linear time and memory (n log n for ``uniqueItems``), where the stock ones can take exponential time (a
pattern with ``re``), quadratic time (``uniqueItems`` of objects), or store an error for each item of a list
(``anyOf``); formats are checked on short text only. The results are the same, except that patterns have re2's syntax.

References can multiply each other: if a property's ``allOf`` has two references to the whole schema, a value of depth n
is checked 2^n times. :func:`limited_steps` ends such a check. Without references, each keyword of a schema is checked
at most once for each part of a value; the limit is that product, plus :data:`FREE_STEPS`.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache, lru_cache
from itertools import islice
from types import ModuleType
from typing import Any

MAX_FORMATTED_CHARACTERS = 2000
"""Longer text fails every format: the slowest check, that of an IRI, takes a second for this many characters."""
MAX_ERRORS = 30
"""Number of errors that are collected for a value, and for each branch of anyOf."""
FREE_STEPS = 20_000
"""Steps (checks of a keyword) that any check may take: about 0.2 s."""


class TooManySteps(Exception):
    """A check takes more steps than the limit for its schema and value."""


_remaining: ContextVar[list[int] | None] = ContextVar("_remaining", default=None)
"""The number of steps that the current check may still take; None: any number."""


@contextmanager
def limited_steps(schema: Any, value: Any) -> Iterator[None]:
    """Raise TooManySteps in the block when a check of ``value`` takes more steps than the limit above."""
    token = _remaining.set([FREE_STEPS + _parts(schema) * _parts(value)])
    try:
        yield
    finally:
        _remaining.reset(token)


def _parts(value: Any) -> int:
    """The number of lists, dicts and scalars in a JSON value."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return 1 + sum(map(_parts, inner))


def _counted(keyword: Callable[..., Any]) -> Callable[..., Any]:
    """The keyword's check, which counts as one step."""

    def check(validator: Any, required: Any, value: Any, schema: Any) -> Any:
        remaining = _remaining.get()
        if remaining is not None:
            if not remaining[0]:
                raise TooManySteps
            remaining[0] -= 1
        return keyword(validator, required, value, schema)

    return check


@cache
def engine() -> tuple[Any, Any]:
    """Return jsonschema's validator class of draft 2020-12 with linear-time keywords, and the format checker."""
    with _lazy_iri_grammar():
        import jsonschema
    from jsonschema.validators import extend

    base = jsonschema.Draft202012Validator
    linear = {
        "pattern": _pattern,
        "patternProperties": _pattern_properties,
        "additionalProperties": _additional_properties,
        "uniqueItems": _unique_items,
        "anyOf": _branches(lambda fitting: fitting >= 1),
        "oneOf": _branches(lambda fitting: fitting == 1),
    }
    formats = jsonschema.FormatChecker(formats=())
    for name, (conforms, _) in base.FORMAT_CHECKER.checkers.items():
        formats.checks(name, raises=Exception)(_of_short_text(conforms))
    # A time of RFC 3339 has an offset; Airflow's form and format checker use HH:MM:SS.
    airflow_time, rfc_3339_time = (checkers.checkers["time"][0] for checkers in (jsonschema.FormatChecker, formats))
    formats.checks("time", raises=Exception)(lambda value: rfc_3339_time(value) or airflow_time(value))
    keywords = {name: _counted(check) for name, check in {**base.VALIDATORS, **linear}.items()}
    return extend(base, keywords), formats


@contextmanager
def _lazy_iri_grammar() -> Iterator[None]:
    """Import jsonschema without the grammar of IRIs, which takes 0.7 s of the import's 0.8 s.

    jsonschema imports the package rfc3987_syntax if it is installed, which builds its parser at import. This context
    manager replaces the package by a module that imports it when the first IRI is checked.
    """
    from importlib import import_module
    from importlib.util import find_spec

    name = "rfc3987_syntax"
    if name in sys.modules or find_spec(name) is None:
        yield
        return
    lazy = ModuleType(name)
    lazy.is_valid_syntax = lambda term, value: import_module(name).is_valid_syntax(term, value)  # type: ignore[attr-defined]
    sys.modules[name] = lazy
    try:
        yield
    finally:
        del sys.modules[name]


def _of_short_text(conforms: Callable[[Any], Any]) -> Callable[[Any], bool]:
    return lambda value: (
        not isinstance(value, str) or (len(value) <= MAX_FORMATTED_CHARACTERS and bool(conforms(value)))
    )


# ------------------------------------------------------------------------------------------------------------- patterns


@lru_cache(maxsize=128)
def compile_pattern(pattern: str) -> Any:
    """Compile a pattern by re2. Raises re2.error or UnicodeEncodeError for an invalid pattern."""
    import re2

    options = re2.Options()
    options.log_errors = False  # by default re2 writes errors to stderr as well
    return re2.compile(pattern, options)


def _matches(pattern: str, text: str) -> bool:
    """Whether the pattern matches anywhere in the text, in time linear in both."""
    return compile_pattern(pattern).search(text.encode("utf-8", "surrogatepass")) is not None


# ------------------------------------------------------------------------------------------------------------- keywords


def _pattern(validator: Any, pattern: str, value: Any, schema: Any) -> Iterator[Any]:
    from jsonschema import ValidationError

    if validator.is_type(value, "string") and not _matches(pattern, value):
        yield ValidationError("does not match")


def _pattern_properties(validator: Any, patterns: Mapping[str, Any], value: Any, schema: Any) -> Iterator[Any]:
    if validator.is_type(value, "object"):
        for pattern, inner in patterns.items():
            for name in value:
                if _matches(pattern, name):
                    yield from validator.descend(value[name], inner, path=name, schema_path=pattern)


def _additional_properties(validator: Any, allowed: Any, value: Any, schema: Mapping[str, Any]) -> Iterator[Any]:
    from jsonschema import ValidationError

    if not validator.is_type(value, "object"):
        return
    additional = additional_names(value, schema)
    if allowed is False and additional:
        yield ValidationError("has additional properties")
    elif validator.is_type(allowed, "object"):
        for name in additional:
            yield from validator.descend(value[name], allowed, path=name)


def additional_names(value: Mapping[str, Any], schema: Mapping[str, Any]) -> list[str]:
    """The names that neither properties nor patternProperties cover."""
    properties, patterns = schema.get("properties", {}), schema.get("patternProperties", {})
    return [
        name for name in value if name not in properties and not any(_matches(pattern, name) for pattern in patterns)
    ]


def _unique_items(validator: Any, required: bool, value: Any, schema: Any) -> Iterator[Any]:
    from jsonschema import ValidationError

    if not required or not validator.is_type(value, "array"):
        return
    if len({json.dumps(_with_integers(item), sort_keys=True) for item in value}) < len(value):
        yield ValidationError("has an item twice")


def _with_integers(value: Any) -> Any:
    """Replace 1.0 by 1, which are equal in JSON Schema."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, list):
        return [_with_integers(item) for item in value]
    if isinstance(value, dict):
        return {name: _with_integers(item) for name, item in value.items()}
    return value


def _branches(valid: Callable[[int], bool]) -> Callable[..., Iterator[Any]]:
    """anyOf and oneOf with at most MAX_ERRORS errors of each branch; jsonschema's store one for each item of a list.

    ``valid``: whether this number of matching branches is valid."""

    def check(validator: Any, branches: Sequence[Any], value: Any, schema: Any) -> Iterator[Any]:
        from jsonschema import ValidationError

        matching, errors = 0, []
        for index, branch in enumerate(branches):
            branch_errors = list(islice(validator.descend(value, branch, schema_path=index), MAX_ERRORS))
            matching += not branch_errors
            errors += branch_errors
        if not valid(matching):
            yield ValidationError("fits too few or too many", context=[] if matching else errors)

    return check
