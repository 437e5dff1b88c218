"""JSON schemas of Params: which schemas are accepted, and whether a value fits a schema.

The rules:

* ``jsonschema`` validates, by draft 2020-12, as in Airflow 3. It is imported only for a schema with a validating
  keyword (:data:`KEYWORDS`); a DAG file whose params have only titles and sections does not pay for the import.
* :mod:`nbflow.authoring.bounded_jsonschema` makes the time of a check linear. Schemas for which ``jsonschema`` would
  bypass it and use ``re`` are refused: ``unevaluatedProperties`` with ``patternProperties``, and ``$schema`` inside a
  schema, which selects the stock validator.
* A ``$ref`` must point into the same schema. The registry is empty, so that a ``$ref`` never opens a URL.
* :func:`verify_schema` refuses an invalid schema when the DAG is parsed, not when a run is triggered.
  :func:`check_schema` verifies as well, because a stored version may have a schema that was never verified.

Each error is one line of text, without long values and without values of a sensitive name.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from graphlib import CycleError, TopologicalSorter
from itertools import islice
from types import MappingProxyType
from typing import Any

from nbflow.authoring.bounded_jsonschema import (
    MAX_ERRORS,
    TooManySteps,
    additional_names,
    compile_pattern,
    engine,
    limited_steps,
)
from nbflow.errors import ParamValidationError, did_you_mean, shortened

DRAFT = "https://json-schema.org/draft/2020-12/schema"

KEYWORDS = frozenset(
    {
        *("type", "enum", "const", "format", "pattern", "minLength", "maxLength"),
        *("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"),
        *("items", "prefixItems", "contains", "minContains", "maxContains", "minItems", "maxItems", "uniqueItems"),
        *("unevaluatedItems", "properties", "patternProperties", "additionalProperties", "propertyNames", "required"),
        *("minProperties", "maxProperties", "dependentRequired", "dependentSchemas", "unevaluatedProperties"),
        *("allOf", "anyOf", "oneOf", "not", "if", "then", "else", "$ref", "$dynamicRef", "$schema"),
    }
)
"""The keywords that validate. All others are for forms, and are stored as they are."""

_ANNOTATIONS = frozenset(
    {
        *("title", "description", "description_md", "default", "examples", "deprecated", "readOnly", "writeOnly"),
        *("section", "values_display", "source", "custom_html_form", "definitions", "dependencies"),
        *("$defs", "$id", "$anchor", "$dynamicAnchor", "$comment", "$vocabulary"),
        *("contentEncoding", "contentMediaType", "contentSchema"),
    }
)
"""Keywords of JSON Schema and of Airflow's forms that do not validate: they are not misspelt :data:`KEYWORDS`."""

FORMATS: Mapping[str, str] = MappingProxyType(
    {
        "date": "2024-12-31",
        "date-time": "2024-12-31T23:59:00Z",
        "time": "23:59:00",
        "duration": "PT15M",
        "email": "ada@example.org",
        "idn-email": "ada@example.org",
        "hostname": "example.org",
        "idn-hostname": "example.org",
        "ipv4": "192.0.2.1",
        "ipv6": "2001:db8::1",
        "uri": "https://example.org/a",
        "uri-reference": "a/b?c=d",
        "uri-template": "https://example.org/{name}",
        "iri": "https://example.org/é",
        "iri-reference": "é/b",
        "uuid": "2b6f0cc9-04d1-4c3b-9d5c-1c1d1c1d1c1d",
        "json-pointer": "/a/0",
        "relative-json-pointer": "1/a",
        "regex": "^a+$",
    }
)
"""Format that is checked -> an example."""

_FORM_FORMATS = frozenset({"multiline", "password", "color", "textarea"})
"""Formats that describe a field of a form."""

MAX_SHOWN_CHARACTERS = 120
MAX_ERRORS_SHOWN = 3
"""Number of errors shown for one value; the first ones are enough to correct it."""

_JSON_TYPES: Mapping[str, str] = MappingProxyType(
    {
        "str": "string",
        "int": "integer",
        "float": "number",
        "bool": "boolean",
        "list": "array",
        "tuple": "array",
        "dict": "object",
        "None": "null",
        "NoneType": "null",
    }
)
"""Python's name for a type -> JSON Schema's."""


# ----------------------------------------------------------------------------------------------------- public functions


def validates(schema: Mapping[str, Any]) -> bool:
    """Whether the schema has a keyword that a value could fail."""
    return not KEYWORDS.isdisjoint(schema)


def verify_schema(schema: Mapping[str, Any]) -> None:
    """Raise ParamValidationError, with a message of one line, for an invalid schema."""
    if validates(schema):
        _validator(_as_text(schema))


def misspelt(schema: Mapping[str, Any]) -> Iterator[str]:
    """Yield a warning for each unknown keyword and format whose name is close to a known one."""
    for name in schema:
        if (
            name not in KEYWORDS
            and name not in _ANNOTATIONS
            and (nearest := did_you_mean(str(name), KEYWORDS, cutoff=0.75))
        ):
            yield f"{name!r} is not a keyword of JSON Schema, so it has no effect.{nearest}"
    kind = str(schema.get("format", "date"))
    if kind not in FORMATS and kind not in _FORM_FORMATS and (nearest := did_you_mean(kind, FORMATS, cutoff=0.75)):
        yield f"format {kind!r} is not a format of JSON Schema, so it has no effect.{nearest}"


def check_schema(value: Any, schema: Mapping[str, Any], *, name: str = "") -> None:
    """Raise ParamValidationError, with the paths inside the value, for a value that does not fit the schema.

    ``value`` is JSON (:func:`nbflow.authoring.params.as_json`). ``name``: the param's name; errors do not show the
    value of a sensitive name.
    """
    if not validates(schema):
        return
    validator = _validator(_as_text(schema))
    try:
        with limited_steps(validator.schema, value):
            errors = list(islice(validator.iter_errors(value), MAX_ERRORS))
    except RecursionError:
        raise ParamValidationError(
            "The value is nested too deeply to be checked, or its schema refers to itself endlessly."
        ) from None
    except TooManySteps:
        raise ParamValidationError(f"The value takes too long to check. {_REPEATED}") from None
    except ArithmeticError as overflow:
        raise ParamValidationError(f"The value cannot be checked: {overflow}.") from None
    # For a value of the wrong type, other errors are noise.
    mistyped = {tuple(error.absolute_path) for error in errors if error.validator == "type"}
    relevant = [error for error in errors if error.validator == "type" or tuple(error.absolute_path) not in mistyped]
    messages: dict[str, None] = {}
    for error in relevant:
        messages[_message(error, name)] = None
        if len(messages) == MAX_ERRORS_SHOWN:
            break
    if messages:
        raise ParamValidationError(" ".join(messages))


# --------------------------------------------------------------------------------------------------- verifying a schema


def _as_text(schema: Mapping[str, Any]) -> str:
    """The schema as JSON text: tuples become lists and keys become text, as when a DAG is stored."""
    try:
        return _DUMPS(schema)
    except (TypeError, ValueError, RecursionError):
        pass
    for keyword, value in schema.items():
        try:
            _DUMPS(value)
        except TypeError as error:
            raise ParamValidationError(f"Its schema is wrong: {keyword} must be JSON: {error}.") from None
        except (ValueError, RecursionError) as error:
            problem = "nested too deeply" if isinstance(error, RecursionError) else "NaN, infinite, or contains itself"
            raise ParamValidationError(f"Its schema is wrong: {keyword} is {problem}.") from None
    raise ParamValidationError("Its schema is wrong: the keywords must be text.")


def _type_name(value: Any) -> str:
    """Write a class by its name, so that ``type=int`` gets the same error as ``type="int"``, with the right name."""
    if isinstance(value, type):
        return value.__name__
    raise TypeError(f"JSON has no {type(value).__name__}")


_DUMPS = json.JSONEncoder(allow_nan=False, default=_type_name).encode


_REPEATED = "Its references multiply each other: refer to a schema once in allOf, anyOf or oneOf."


@lru_cache(maxsize=256)
def _validator(text: str) -> Any:
    """The validator of a schema in JSON text. Raises ParamValidationError for an invalid schema."""
    from referencing import Registry

    validator_class, formats = engine()
    schema = json.loads(text)
    if schema.get("$schema") in (DRAFT, f"{DRAFT}#"):
        del schema["$schema"]
    try:
        _verify_against_metaschema(schema)
        _verify_subschemas(schema)
        validator = validator_class(schema, registry=Registry(), format_checker=formats)
        with limited_steps(schema, None):
            list(validator.iter_errors(None))
    except RecursionError:
        raise ParamValidationError("Its schema is nested too deeply, or refers to itself endlessly.") from None
    except TooManySteps:
        raise ParamValidationError(f"Its schema takes too long to check. {_REPEATED}") from None
    return validator


def _verify_against_metaschema(schema: Any) -> None:
    """Validate a schema by JSON Schema's metaschema."""
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import best_match

    error = best_match(Draft202012Validator(Draft202012Validator.META_SCHEMA).iter_errors(schema))
    if error is None:
        return
    place = _place(error.absolute_path).removeprefix(" at ") or "it"
    rule = _RULES.get(error.validator)
    must = rule(error.validator_value) if rule else f"fit {error.validator}: {_short(error.validator_value)}"
    suggestion = ""
    if "type" in list(error.absolute_path)[-2:] and error.validator in ("anyOf", "enum"):
        types = sorted(set(_JSON_TYPES.values()))
        must = f"be one of {', '.join(types)}, or a list of them"
        if isinstance(error.instance, str):
            json_type = _JSON_TYPES.get(error.instance)
            suggestion = f" Did you mean {json_type!r}?" if json_type else did_you_mean(error.instance, types)
    raise ParamValidationError(f"Its schema is wrong: {place} must {must}, not {_short(error.instance)}.{suggestion}")


_IN_WORDS: Mapping[str, str] = MappingProxyType(
    {
        "array": "a list",
        "object": "a dict",
        "string": "text",
        "number": "a number",
        "integer": "a whole number",
        "boolean": "True or False",
    }
)

_RULES: Mapping[str, Callable[[Any], str]] = MappingProxyType(
    {
        "type": lambda types: "be " + (_IN_WORDS[types] if isinstance(types, str) else "a schema, which is a dict"),
        "minItems": lambda least: "not be empty",
        "minimum": lambda least: f"be at least {least}",
        "exclusiveMinimum": lambda least: f"be more than {least}",
        "uniqueItems": lambda value: "have no duplicates",
    }
)
"""Keyword of the metaschema -> what it demands, in words."""


def _verify_subschemas(schema: Mapping[str, Any]) -> None:
    """Verify every schema inside a schema, and the schemas that they refer to."""
    from referencing import Registry
    from referencing.jsonschema import DRAFT202012

    root = DRAFT202012.create_resource(schema)
    pending = [(Registry().resolver_with_root(root), root)]
    visited: set[int] = set()
    keywords: set[str] = set()
    same_value: dict[int, list[int]] = {}
    while pending:
        resolver, subschema = pending.pop()
        if isinstance(subschema.contents, bool) or id(subschema.contents) in visited:
            continue
        visited.add(id(subschema.contents))
        keywords.update(subschema.contents)
        _verify_keywords(subschema.contents)
        applied = same_value[id(subschema.contents)] = [id(inner) for inner in _applied_in_place(subschema.contents)]
        for keyword in ("$ref", "$dynamicRef"):
            if keyword in subschema.contents:
                target = _resolve_reference(resolver, subschema.contents[keyword], schema)
                _verify_against_metaschema(target.contents)
                applied.append(id(target.contents))
                pending.append((target.resolver, DRAFT202012.create_resource(target.contents)))
        pending.extend((resolver.in_subresource(inner), inner) for inner in subschema.subresources())
    _refuse_endless_references(same_value)
    if {"unevaluatedProperties", "patternProperties"} <= keywords:
        raise ParamValidationError(
            "Its schema has unevaluatedProperties and patternProperties, which cannot be checked together.",
            hint="Use additionalProperties with patternProperties.",
        )


def _applied_in_place(subschema: Mapping[str, Any]) -> Iterator[Any]:
    """The schemas inside a schema that check the same value, not a part of it."""
    for keyword in ("allOf", "anyOf", "oneOf"):
        yield from subschema.get(keyword, ())
    yield from subschema.get("dependentSchemas", {}).values()
    for keyword in ("not", "if", "then", "else"):
        if keyword in subschema:
            yield subschema[keyword]


def _refuse_endless_references(same_value: Mapping[int, Sequence[int]]) -> None:
    """Raise ParamValidationError if a schema applies itself to the same value.

    ``same_value``: id of a schema -> ids of the schemas that it applies to its value."""
    try:
        TopologicalSorter(same_value).prepare()
    except CycleError:
        raise ParamValidationError(
            "Its schema refers to itself endlessly: a $ref may lead back to its own schema only through properties "
            "or items."
        ) from None


def _verify_keywords(subschema: Mapping[str, Any]) -> None:
    if "$schema" in subschema:
        raise ParamValidationError(
            f"Its schema has $schema {_short(subschema['$schema'])}, but Params follow JSON Schema 2020-12.",
            hint="Leave out $schema, and write the schema by draft 2020-12.",
        )
    patterns = (subschema["pattern"],) if "pattern" in subschema else ()
    for pattern in (*patterns, *subschema.get("patternProperties", ())):
        _verify_pattern(pattern)


def _resolve_reference(resolver: Any, reference: str, schema: Mapping[str, Any]) -> Any:
    """The schema that a reference points to. Raises ParamValidationError for one that points out of the schema or to
    nothing."""
    from referencing.exceptions import Unresolvable

    try:
        return resolver.lookup(reference)
    except (Unresolvable, ValueError):
        pass
    inside = reference.startswith("#")
    where = "points to nothing" if inside else "points out of the schema; nbflow does not open URLs"
    names = schema.get("$defs", {})
    nearest = did_you_mean(reference, [f"#/$defs/{name}" for name in names]) if inside else ""
    raise ParamValidationError(
        f"Its schema is wrong: $ref {_short(reference)} {where}.{nearest}",
        hint="" if nearest else """Define it under "$defs", and refer to it by "#/$defs/NAME".""",
    )


# ------------------------------------------------------------------------------------------------------------- patterns

_PATTERN_HINTS: Sequence[tuple[tuple[str, ...], str]] = (
    (
        ("missing )", "missing ]", "unexpected )", "no argument"),
        "Correct it; put a backslash before a special character that stands for itself.",
    ),
    (
        ("perl operator: (?=", "perl operator: (?!", "perl operator: (?<"),
        'Lookaheads and lookbehinds are not available. Combine patterns instead: allOf=[{"pattern": ...}, '
        '{"not": {"pattern": ...}}].',
    ),
    (("perl operator", "bad repetition"), "Use groups (?:...) and the repetitions *, + or ?."),
    (tuple(rf"escape sequence: \{digit}" for digit in range(1, 10)), "Backreferences are not available."),
    ((r"escape sequence: \Z",), r"Write \z, or $."),
    ((r"escape sequence: \u", r"escape sequence: \U"), r"Write the character itself, or \x{...} with its number."),
    (("repetition size",), "Repeat at most 1,000 times, or use minLength and maxLength."),
    (("too large",), "Make it shorter, or use minLength and maxLength."),
)
"""Parts of re2's error messages -> the hint."""
_SYNTAX = "Patterns follow https://github.com/google/re2/wiki/Syntax, because re2 matches in linear time."


def _verify_pattern(pattern: str) -> None:
    import re2

    try:
        compile_pattern(pattern)
        return
    except re2.error as error:
        message = error.args[0]
        reason = message.decode(errors="replace") if isinstance(message, bytes) else str(message)
    except UnicodeEncodeError:
        reason = "it contains half of a surrogate pair"
    reason = _cut(reason.removesuffix(f": {pattern}"))
    hint = next((hint for parts, hint in _PATTERN_HINTS if any(part in reason for part in parts)), _SYNTAX)
    raise ParamValidationError(f"Its pattern {_short(pattern)} is invalid: {reason}.", hint=hint)


# ------------------------------------------------------------------------------------------------------- error messages


def _message(error: Any, name: str) -> str:
    """The message of one of jsonschema's errors: the value, its path, the keyword and what it allows."""
    from jsonschema.exceptions import best_match

    from nbflow.secrets_masker import MASK, Masker

    error = best_match([error])  # for anyOf and oneOf: the error of the branch that the value nearly fits, if any
    secret = _secret_name(error, name)
    subject = f"{_short(Masker().mask_value(error.instance, secret))}{_place(error.absolute_path)}"
    if error.validator is None:
        return f"{subject} is not allowed."
    describe = _DETAILS.get(error.validator)
    detail = describe(error) if describe else ""
    if secret and error.validator in ("const", "enum"):
        detail = f"{MASK}."
    return f"{subject} does not fit {error.validator}: {detail or f'{_short(error.validator_value)}.'}"


def _secret_name(error: Any, name: str) -> str:
    """The first sensitive name on the path to the value, or nothing. A value that forms hide is sensitive, too."""
    from nbflow.secrets_masker import is_sensitive_name

    form = error.schema if isinstance(error.schema, Mapping) else {}
    if form.get("format") == "password" or form.get("writeOnly") is True:
        return "password"
    names = (part for part in (name, *error.absolute_path) if isinstance(part, str))
    return next(filter(is_sensitive_name, names), "")


def _missing(error: Any) -> str:
    missing = [name for name in error.validator_value if name not in error.instance]
    return f"{_listed(missing)} is missing."


def _needed(error: Any) -> str:
    missing = {
        f"{name!r} needs {need!r}": None
        for name, needs in error.validator_value.items()
        if name in error.instance
        for need in needs
        if need not in error.instance
    }
    return f"{'; '.join(missing)}."


def _not_allowed(error: Any) -> str:
    additional, properties = additional_names(error.instance, error.schema), list(error.schema.get("properties", {}))
    allowed = [repr(name) for name in properties]
    allowed += [f"names that match {pattern!r}" for pattern in error.schema.get("patternProperties", {})]
    suggestion = did_you_mean(additional[0], properties)
    return f"{_listed(additional)} is not allowed. Allowed: {_cut(', '.join(allowed)) or 'none'}.{suggestion}"


def _type(error: Any) -> str:
    expected = error.validator_value
    if error.instance is not None or error.absolute_path:
        return ""
    types = [expected] if isinstance(expected, str) else list(expected)
    return f"""{_short(expected)}. To allow None, write type={json.dumps(["null", *types])}."""


def _format(error: Any) -> str:
    expected = error.validator_value
    return f"{expected!r}, such as {FORMATS[expected]}." if expected in FORMATS else ""


def _one_of(error: Any) -> str:
    return "" if error.context else f"it fits more than one of {_short(error.validator_value)}."


_DETAILS: Mapping[str, Callable[[Any], str]] = MappingProxyType(
    {
        "type": _type,
        "format": _format,
        "required": _missing,
        "dependentRequired": _needed,
        "additionalProperties": _not_allowed,
        "oneOf": _one_of,
    }
)
"""Keyword -> the message after its name, where it is more than the keyword's value (an empty string if not)."""


def _place(path: Iterable[Any]) -> str:
    """`` at rows[1].n``; an empty string for the value itself."""
    text = ""
    for step in path:
        is_name = isinstance(step, str) and step.isidentifier()
        text += (f".{step}" if text else step) if is_name else f"[{_short(step)}]"
    return f" at {_cut(text)}" if text else ""


def _listed(names: Sequence[str]) -> str:
    return _cut(", ".join(repr(name) for name in names))


def _short(value: Any) -> str:
    # The repr of a conf's value may be a megabyte long, which is acceptable because errors are rare.
    return _cut(repr(value))


def _cut(text: str) -> str:
    return shortened(text, MAX_SHOWN_CHARACTERS)
