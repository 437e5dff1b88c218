"""JSON schemas of Params: which schemas are accepted, and whether a value fits one.

The rules:

* ``jsonschema`` decides, by draft 2020-12, as in Airflow 3. It is imported for a schema with a keyword that checks
  something (:data:`KEYWORDS`); a DAG file whose params have titles and sections alone does not pay for it.
* :mod:`nbflow.authoring.schema_validator` keeps the time of a check linear. Where ``jsonschema`` would leave it and go
  back to ``re``, the schema is refused: ``unevaluatedProperties`` with ``patternProperties``, and ``$schema`` inside a
  schema, which selects the stock validator.
* A ``$ref`` leads to a place inside the same schema. The registry is empty, so that no ``$ref`` opens an address.
* :func:`verify_schema` refuses a wrong schema where the DAG is read, not where a run is triggered.
  :func:`check_schema` verifies too, because a version stored earlier may hold a schema that nobody has verified.

The errors are one line of text each, and show neither long values nor those of a sensitive name.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import islice
from types import MappingProxyType
from typing import Any

from nbflow.authoring.schema_validator import MOST_ERRORS, additional_names, compile_pattern, engine
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
"""The keywords that decide whether a value fits. Every other one is for forms, and is kept as it is."""

_NOTES = frozenset(
    {
        *("title", "description", "description_md", "default", "examples", "deprecated", "readOnly", "writeOnly"),
        *("section", "values_display", "source", "custom_html_form", "definitions", "dependencies"),
        *("$defs", "$id", "$anchor", "$dynamicAnchor", "$comment", "$vocabulary"),
        *("contentEncoding", "contentMediaType", "contentSchema"),
    }
)
"""Keywords of JSON Schema and of Airflow's forms that check nothing: none of them is a misspelt one."""

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
"""Each format that is checked -> an example of it."""

_FORM_FORMATS = frozenset({"multiline", "password", "color", "textarea"})
"""Formats that say how a form looks."""

MOST_SHOWN_CHARACTERS = 120
MOST_FAULTS = 3
"""Of one value; the first ones are enough to mend it."""

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


# ------------------------------------------------------------------------------------------------------ what is public


def checks_something(schema: Mapping[str, Any]) -> bool:
    """Whether some value could fail this schema."""
    return not KEYWORDS.isdisjoint(schema)


def verify_schema(schema: Mapping[str, Any]) -> None:
    """Raise ParamValidationError, one line that says what is wrong, unless the schema can be used."""
    if checks_something(schema):
        _validator(_as_text(schema))


def misspelt(schema: Mapping[str, Any]) -> Iterator[str]:
    """A line for each keyword and format that check nothing and are nearly those that would."""
    for name in schema:
        if name not in KEYWORDS and name not in _NOTES and (nearest := did_you_mean(str(name), KEYWORDS, cutoff=0.75)):
            yield f"{name!r} is not a keyword of JSON Schema, and checks nothing.{nearest}"
    kind = str(schema.get("format", "date"))
    if kind not in FORMATS and kind not in _FORM_FORMATS and (nearest := did_you_mean(kind, FORMATS, cutoff=0.75)):
        yield f"format {kind!r} is not a format of JSON Schema, and checks nothing.{nearest}"


def check_schema(value: Any, schema: Mapping[str, Any], *, name: str = "") -> None:
    """Raise ParamValidationError, with the places inside the value, unless it fits the schema.

    ``value`` is JSON, see :func:`nbflow.authoring.params.check_json`. ``name``: what it is called; the value of a
    sensitive name is not shown.
    """
    if not checks_something(schema):
        return
    validator = _validator(_as_text(schema))
    try:
        errors = list(islice(validator.iter_errors(value), MOST_ERRORS))
    except RecursionError:
        raise ParamValidationError(
            "The value is nested too deeply to be checked, or its schema refers to itself without end."
        ) from None
    except ArithmeticError as too_large:
        raise ParamValidationError(f"The value cannot be checked: {too_large}.") from None
    # A value of the wrong type need not be told what else it is not.
    mistyped = {tuple(error.absolute_path) for error in errors if error.validator == "type"}
    told = [error for error in errors if error.validator == "type" or tuple(error.absolute_path) not in mistyped]
    faults: dict[str, None] = {}
    for error in told:
        faults[_sentence(error, name)] = None
        if len(faults) == MOST_FAULTS:
            break
    if faults:
        raise ParamValidationError(" ".join(faults))


# ------------------------------------------------------------------------------------------------- a schema is verified


def _as_text(schema: Mapping[str, Any]) -> str:
    """The schema as JSON: tuples become lists and keys text, as they do where a DAG is stored."""
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
            too = "nested too deeply" if isinstance(error, RecursionError) else "NaN, infinite, or holds itself"
            raise ParamValidationError(f"Its schema is wrong: {keyword} is {too}.") from None
    raise ParamValidationError("Its schema is wrong: the keywords must be text.")


def _no_json(value: Any) -> str:
    """``type=int`` is refused as ``type="int"`` is, with the right word. Anything else is no JSON."""
    if isinstance(value, type):
        return value.__name__
    raise TypeError(f"JSON has no {type(value).__name__}")


_DUMPS = json.JSONEncoder(allow_nan=False, default=_no_json).encode


@lru_cache(maxsize=256)
def _validator(text: str) -> Any:
    """The validator of a schema in JSON. Raises ParamValidationError for a schema that cannot be used."""
    from referencing import Registry

    validator_class, formats = engine()
    schema = json.loads(text)
    if schema.get("$schema") in (DRAFT, f"{DRAFT}#"):
        del schema["$schema"]
    try:
        _verify_form(schema)
        _verify_parts(schema)
        validator = validator_class(schema, registry=Registry(), format_checker=formats)
        list(validator.iter_errors(None))
    except RecursionError:
        raise ParamValidationError("Its schema is nested too deeply, or refers to itself without end.") from None
    return validator


def _verify_form(schema: Any) -> None:
    """Hold a schema to the schema of schemas."""
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import best_match

    error = best_match(Draft202012Validator(Draft202012Validator.META_SCHEMA).iter_errors(schema))
    if error is None:
        return
    place = _place(error.absolute_path).removeprefix(" at ") or "it"
    rule = _RULES.get(error.validator)
    must = rule(error.validator_value) if rule else f"fit {error.validator}: {_short(error.validator_value)}"
    nearest = ""
    if "type" in list(error.absolute_path)[-2:] and error.validator in ("anyOf", "enum"):
        kinds = sorted(set(_JSON_TYPES.values()))
        must = f"be one of {', '.join(kinds)}, or a list of them"
        if isinstance(error.instance, str):
            known = _JSON_TYPES.get(error.instance)
            nearest = f" Did you mean {known!r}?" if known else did_you_mean(error.instance, kinds)
    raise ParamValidationError(f"Its schema is wrong: {place} must {must}, not {_short(error.instance)}.{nearest}")


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
        "type": lambda kinds: "be " + (_IN_WORDS[kinds] if isinstance(kinds, str) else "a schema, which is a dict"),
        "minItems": lambda least: "not be empty",
        "minimum": lambda least: f"be at least {least}",
        "exclusiveMinimum": lambda least: f"be more than {least}",
        "uniqueItems": lambda wanted: "name nothing twice",
    }
)
"""Keyword of the schema of schemas -> what it asks for, in words."""


def _verify_parts(schema: Mapping[str, Any]) -> None:
    """Look at every schema in a schema, and at what their references lead to."""
    from referencing import Registry
    from referencing.jsonschema import DRAFT202012

    root = DRAFT202012.create_resource(schema)
    waiting = [(Registry().resolver_with_root(root), root)]
    seen: set[int] = set()
    used: set[str] = set()
    while waiting:
        resolver, part = waiting.pop()
        if isinstance(part.contents, bool) or id(part.contents) in seen:
            continue
        seen.add(id(part.contents))
        used.update(part.contents)
        _verify_keywords(part.contents)
        for keyword in ("$ref", "$dynamicRef"):
            if keyword in part.contents:
                found = _referred(resolver, part.contents[keyword], schema)
                _verify_form(found.contents)
                waiting.append((found.resolver, DRAFT202012.create_resource(found.contents)))
        waiting.extend((resolver.in_subresource(inner), inner) for inner in part.subresources())
    if {"unevaluatedProperties", "patternProperties"} <= used:
        raise ParamValidationError(
            "Its schema has unevaluatedProperties and patternProperties, which cannot be checked together.",
            hint="Write additionalProperties beside patternProperties.",
        )


def _verify_keywords(part: Mapping[str, Any]) -> None:
    if "$schema" in part:
        raise ParamValidationError(
            f"Its schema has $schema {_short(part['$schema'])}: Params follow JSON Schema 2020-12.",
            hint="Leave $schema out, and write the schema by that draft.",
        )
    for pattern in (*((part["pattern"],) if "pattern" in part else ()), *part.get("patternProperties", ())):
        _verify_pattern(pattern)


def _referred(resolver: Any, reference: str, schema: Mapping[str, Any]) -> Any:
    """What a reference leads to. Raises ParamValidationError for one that leads out of the schema, or nowhere."""
    from referencing.exceptions import Unresolvable

    try:
        return resolver.lookup(reference)
    except (Unresolvable, ValueError):
        pass
    inside = reference.startswith("#")
    where = "leads nowhere" if inside else "leads out of the schema, and no address is opened for it"
    names = schema.get("$defs", {})
    nearest = did_you_mean(reference, [f"#/$defs/{name}" for name in names]) if inside else ""
    raise ParamValidationError(
        f"Its schema is wrong: $ref {_short(reference)} {where}.{nearest}",
        hint="" if nearest else """Put what it means under "$defs", and refer to it as "#/$defs/NAME".""",
    )


# ------------------------------------------------------------------------------------------------------------- patterns

_PATTERN_ADVICE: Sequence[tuple[tuple[str, ...], str]] = (
    (
        ("missing )", "missing ]", "unexpected )", "no argument"),
        "Mend it; a character that means itself has a backslash before it.",
    ),
    (
        ("perl operator: (?=", "perl operator: (?!", "perl operator: (?<"),
        'Lookaheads and lookbehinds are not available. Combine patterns instead: allOf=[{"pattern": ...}, '
        '{"not": {"pattern": ...}}].',
    ),
    (("perl operator", "bad repetition"), "Write it with plain groups (?:...) and with *, + or ?."),
    (tuple(rf"escape sequence: \{digit}" for digit in range(1, 10)), "Backreferences are not available."),
    ((r"escape sequence: \Z",), r"Write \z, or $."),
    ((r"escape sequence: \u", r"escape sequence: \U"), r"Write the character itself, or \x{...} with its number."),
    (("repetition size",), "Repeat at most 1,000 times, or use minLength and maxLength."),
    (("too large",), "Make it shorter, or use minLength and maxLength."),
)
"""Beginnings of re2's errors -> the way out."""
_SYNTAX = "Patterns follow https://github.com/google/re2/wiki/Syntax, whose matching takes linear time."


def _verify_pattern(pattern: str) -> None:
    import re2

    try:
        compile_pattern(pattern)
        return
    except re2.error as error:
        fault = error.args[0]
        reason = fault.decode(errors="replace") if isinstance(fault, bytes) else str(fault)
    except UnicodeEncodeError:
        reason = "it holds half of a surrogate pair"
    reason = _cut(reason.removesuffix(f": {pattern}"))
    advice = next((way for marks, way in _PATTERN_ADVICE if any(mark in reason for mark in marks)), _SYNTAX)
    raise ParamValidationError(f"Its pattern {_short(pattern)} cannot be used: {reason}.", hint=advice)


# ----------------------------------------------------------------------------------------------------- faults in words


def _sentence(error: Any, name: str) -> str:
    """One of jsonschema's errors as a sentence: the value, its place, the keyword and what it allows."""
    from jsonschema.exceptions import best_match

    from nbflow.secrets import MASK, Masker

    error = best_match([error])  # of a value that fits no branch: the branch that it nearly fits, if there is one
    secret = _secret_name(error, name)
    subject = f"{_short(Masker().mask_value(error.instance, secret))}{_place(error.absolute_path)}"
    if error.validator is None:
        return f"{subject} is not allowed."
    detail = _DETAILS.get(error.validator)
    said = detail(error) if detail else ""
    if secret and error.validator in ("const", "enum"):
        said = f"{MASK}."
    return f"{subject} does not fit {error.validator}: {said or f'{_short(error.validator_value)}.'}"


def _secret_name(error: Any, name: str) -> str:
    """The first name on the way to the value that is a secret's, or nothing. A form that hides it makes it one."""
    from nbflow.secrets import is_sensitive_name

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
    more, named = additional_names(error.instance, error.schema), list(error.schema.get("properties", {}))
    allowed = [repr(name) for name in named]
    allowed += [f"what matches {pattern!r}" for pattern in error.schema.get("patternProperties", {})]
    return f"{_listed(more)} is not among {_cut(', '.join(allowed)) or 'none'}.{did_you_mean(more[0], named)}"


def _type(error: Any) -> str:
    wanted = error.validator_value
    if error.instance is not None or error.absolute_path:
        return ""
    kinds = [wanted] if isinstance(wanted, str) else list(wanted)
    return f"""{_short(wanted)}. To allow None, write type={json.dumps(["null", *kinds])}."""


def _format(error: Any) -> str:
    wanted = error.validator_value
    return f"{wanted!r}, such as {FORMATS[wanted]}." if wanted in FORMATS else ""


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
"""Keyword -> what to say behind its name where that is more than its value; nothing where it is not."""


def _place(path: Iterable[Any]) -> str:
    """`` at rows[1].n``, or nothing for the value itself."""
    text = ""
    for step in path:
        plain = isinstance(step, str) and step.isidentifier()
        text += (f".{step}" if text else step) if plain else f"[{_short(step)}]"
    return f" at {_cut(text)}" if text else ""


def _listed(names: Sequence[str]) -> str:
    return _cut(", ".join(repr(name) for name in names))


def _short(value: Any) -> str:
    # The value of a conf may be a megabyte, and its repr as long as that; an error that is shown is rare enough.
    return _cut(repr(value))


def _cut(text: str) -> str:
    return shortened(text, MOST_SHOWN_CHARACTERS)
