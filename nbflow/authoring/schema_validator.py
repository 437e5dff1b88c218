"""``jsonschema``'s validator of draft 2020-12, changed so that a hostile value costs no more than its length.

What it checks of a Param comes from whoever may trigger a run. So each keyword takes time and memory linear in the
value (n log n for ``uniqueItems``), where the stock ones may take exponential time (a pattern under ``re``), quadratic
time (``uniqueItems`` of objects) or keep an error for each item of a list (``anyOf``); a format is checked on short
text only. The answers are the same, but for the patterns' language, which is re2's.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache, lru_cache
from itertools import islice
from types import ModuleType
from typing import Any

MOST_FORMATTED_CHARACTERS = 2000
"""Longer text has no format: the slowest check, an IRI's, takes a second for this many."""
MOST_ERRORS = 30
"""Errors that are looked at, of a value or of a branch of anyOf."""


@cache
def engine() -> tuple[Any, Any]:
    """jsonschema's validator of draft 2020-12 with linear-time keywords, and what checks formats."""
    with _grammar_of_iris_later():
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
    # RFC 3339's time has an offset; the form and the checker of Airflow give and take HH:MM:SS.
    of_airflow, of_rfc_3339 = (checkers.checkers["time"][0] for checkers in (jsonschema.FormatChecker, formats))
    formats.checks("time", raises=Exception)(lambda value: of_rfc_3339(value) or of_airflow(value))
    return extend(base, linear), formats


@contextmanager
def _grammar_of_iris_later() -> Iterator[None]:
    """Let jsonschema be imported without the grammar of IRIs, which takes 0.7 s of its 0.8 s.

    Where the package is installed, jsonschema imports it at once, and it builds its parser at its own import. What
    jsonschema is given instead imports it when the first IRI is checked, and gives the same answers.
    """
    from importlib import import_module
    from importlib.util import find_spec

    name = "rfc3987_syntax"
    if name in sys.modules or find_spec(name) is None:
        yield
        return
    later = ModuleType(name)
    later.is_valid_syntax = lambda term, value: import_module(name).is_valid_syntax(term, value)  # type: ignore[attr-defined]
    sys.modules[name] = later
    try:
        yield
    finally:
        del sys.modules[name]


def _of_short_text(conforms: Callable[[Any], Any]) -> Callable[[Any], bool]:
    return lambda value: (
        not isinstance(value, str) or (len(value) <= MOST_FORMATTED_CHARACTERS and bool(conforms(value)))
    )


# ------------------------------------------------------------------------------------------------------------- patterns


@lru_cache(maxsize=128)
def compile_pattern(pattern: str) -> Any:
    """re2's form of a pattern. Raises re2.error or UnicodeEncodeError for what re2 does not read."""
    import re2

    options = re2.Options()
    options.log_errors = False  # re2 would write a line of its own on stderr
    return re2.compile(pattern, options)


def _matches(pattern: str, text: str) -> bool:
    """Whether the pattern is found anywhere in the text, in time linear in both."""
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
    more = additional_names(value, schema)
    if allowed is False and more:
        yield ValidationError("has additional properties")
    elif validator.is_type(allowed, "object"):
        for name in more:
            yield from validator.descend(value[name], allowed, path=name)


def additional_names(value: Mapping[str, Any], schema: Mapping[str, Any]) -> list[str]:
    """The names that neither properties nor patternProperties cover."""
    named, patterns = schema.get("properties", {}), schema.get("patternProperties", {})
    return [name for name in value if name not in named and not any(_matches(pattern, name) for pattern in patterns)]


def _unique_items(validator: Any, wanted: bool, value: Any, schema: Any) -> Iterator[Any]:
    from jsonschema import ValidationError

    if not wanted or not validator.is_type(value, "array"):
        return
    if len({json.dumps(_numbers_alike(item), sort_keys=True) for item in value}) < len(value):
        yield ValidationError("has an item twice")


def _numbers_alike(value: Any) -> Any:
    """1.0 is 1 in JSON Schema."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, list):
        return [_numbers_alike(item) for item in value]
    if isinstance(value, dict):
        return {name: _numbers_alike(item) for name, item in value.items()}
    return value


def _branches(enough: Callable[[int], bool]) -> Callable[..., Iterator[Any]]:
    """anyOf and oneOf that keep a few errors of each branch; jsonschema keeps one for each item of a long list."""

    def check(validator: Any, branches: Sequence[Any], value: Any, schema: Any) -> Iterator[Any]:
        from jsonschema import ValidationError

        fitting, errors = 0, []
        for at, branch in enumerate(branches):
            found = list(islice(validator.descend(value, branch, schema_path=at), MOST_ERRORS))
            fitting += not found
            errors += found
        if not enough(fitting):
            yield ValidationError("fits too few or too many", context=[] if fitting else errors)

    return check
