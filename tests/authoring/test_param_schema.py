"""JSON schemas of Params: jsonschema's results in linear time; invalid schemas are refused at the user's line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import reduce
from itertools import pairwise, product
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator, FormatChecker
from referencing import Registry

from nbflow import DAG, Param, task
from nbflow.authoring.bounded_jsonschema import MAX_FORMATTED_CHARACTERS, engine
from nbflow.authoring.param_schema import (
    FORMATS,
    KEYWORDS,
    MAX_SHOWN_CHARACTERS,
    check_schema,
    misspelt,
    verify_schema,
)
from nbflow.authoring.params import ParamsDict, params_of_run
from nbflow.errors import ParamValidationError

NODE = {"type": "object", "properties": {"next": {"$ref": "#/$defs/node"}, "n": {"type": "integer"}}}

# A schema; values that fit it; values that do not.
PROBES: dict[str, tuple[dict[str, Any], list[Any], list[Any]]] = {
    "integer": ({"type": "integer"}, [1, 1.0, -3, 10**30], [1.5, True, "1", None]),
    "number": ({"type": "number"}, [1, 1.0, 1.5], [True, "1", None, [1]]),
    "boolean": ({"type": "boolean"}, [True, False], [1, 0, "true", None]),
    "null": ({"type": "null"}, [None], [0, "", False, [], {}]),
    "several types": ({"type": ["null", "string"]}, [None, ""], [0, False]),
    "exclusiveMinimum": ({"exclusiveMinimum": 2}, [2.01, 3, "x", None], [2, 2.0, 1]),
    "exclusiveMaximum": ({"exclusiveMaximum": 2}, [1, 1.99, True], [2, 2.0, 3]),
    "multipleOf": ({"multipleOf": 3}, [6, 0, -3, 6.0, "x"], [7, 6.5]),
    "multipleOf a fraction": ({"multipleOf": 0.5}, [1, 1.5, 0], [1.25]),
    "minLength counts characters": ({"minLength": 2}, ["ab", "😀😀", 1], ["a", "😀"]),
    "maxLength counts characters": ({"maxLength": 1}, ["", "é", 12], ["ab"]),
    "pattern is searched for": ({"pattern": "b+"}, ["abc", "b", 5, None], ["ac", ""]),
    "pattern with anchors": ({"pattern": "^[a-z]{2}-[0-9]$"}, ["ab-1"], ["xab-1", "ab-12", "AB-1"]),
    "uniqueItems": (
        {"uniqueItems": True},
        [[1, True], [0, False], ["1", 1], [[1], [2]], "aa"],
        [[1, 1.0], [None, None]],
    ),
    "uniqueItems of objects": (
        {"uniqueItems": True},
        [[{"a": 1}, {"a": True}], [{"a": 1}, {"b": 1}]],
        [[{"a": 1, "b": [2]}, {"b": [2.0], "a": 1}]],
    ),
    "const": ({"const": {"a": [1, False]}}, [{"a": [1.0, False]}], [{"a": [1, 0]}, {"a": [True, False]}, None]),
    "const null": ({"const": None}, [None], [0, False, ""]),
    "enum with null": ({"enum": ["a", None, 1]}, ["a", None, 1, 1.0], ["b", True, "", 0]),
    "oneOf": ({"oneOf": [{"minimum": 3}, {"maximum": 5}]}, [2, 6], [4, "x"]),
    "anyOf": ({"anyOf": [{"type": "string"}, {"minimum": 3}]}, ["x", 3, None], [2]),
    "allOf": ({"allOf": [{"minimum": 3}, {"maximum": 5}]}, [4, "x"], [2, 6]),
    "not": ({"not": {"type": ["string", "null"]}}, [1, {}], ["x", None]),
    "nested": (
        {"properties": {"a": {"properties": {"b": {"type": "integer"}}, "required": ["b"]}}, "required": ["a"]},
        [{"a": {"b": 1}}, {"a": 5}, 5],
        [{}, {"a": {}}, {"a": {"b": "x"}}],
    ),
    "additionalProperties": (
        {"properties": {"a": {}}, "patternProperties": {"^x_": {"type": "integer"}}, "additionalProperties": False},
        [{}, {"a": 1, "x_b": 2}],
        [{"b": 1}, {"x_b": "c"}, {"ax_": 1}],
    ),
    "additionalProperties as a schema": (
        {"properties": {"a": {}}, "additionalProperties": {"type": "string"}},
        [{"a": 1, "b": "x"}],
        [{"a": 1, "b": 2}],
    ),
    "propertyNames": ({"propertyNames": {"pattern": "^[a-z]+$"}}, [{"ab": 1}, {}], [{"A": 1}]),
    "minProperties": ({"minProperties": 1}, [{"a": 1}, []], [{}]),
    "items": ({"items": {"type": "integer"}}, [[], [1, 2.0], "x"], [[1, "2"], [True]]),
    "items after prefixItems": (
        {"prefixItems": [{"type": "string"}, {"type": "integer"}], "items": False},
        [[], ["a"], ["a", 1]],
        [["a", 1, 2], [1], ["a", "b"]],
    ),
    "minItems": ({"minItems": 2}, [[1, 2], "x", {}], [[1]]),
    "contains": ({"contains": {"const": 1}, "maxContains": 2}, [[1], [1, 2, 1]], [[], [2], [1, 1, 1]]),
    "if": (
        {"if": {"properties": {"k": {"const": "a"}}}, "then": {"required": ["x"]}, "else": {"required": ["y"]}},
        [{"k": "a", "x": 1}, {"k": "b", "y": 1}],
        [{"k": "a"}, {"k": "b", "x": 1}],
    ),
    "dependentRequired": ({"dependentRequired": {"a": ["b"]}}, [{"a": 1, "b": 2}, {"b": 1}, {}], [{"a": 1}]),
    "dependentSchemas": ({"dependentSchemas": {"a": {"minProperties": 2}}}, [{"b": 1}, {"a": 1, "b": 1}], [{"a": 1}]),
    "unevaluatedProperties": (
        {"allOf": [{"properties": {"a": {}}}], "unevaluatedProperties": False},
        [{"a": 1}, {}],
        [{"b": 1}],
    ),
    "$ref": ({"$defs": {"size": {"minimum": 1}}, "$ref": "#/$defs/size"}, [1, "x"], [0]),
    "$ref to itself": (
        {"$defs": {"node": NODE}, "$ref": "#/$defs/node"},
        [{"next": {"next": {"n": 1}}}],
        [{"next": {"next": {"n": "x"}}}, {"next": 5}],
    ),
    "$anchor": ({"$defs": {"s": {"$anchor": "size", "minimum": 1}}, "$ref": "#size"}, [1], [0]),
    "false": ({"properties": {"a": False}}, [{}, {"b": 1}], [{"a": 1}]),
    "format": ({"type": "string", "format": "ipv4"}, ["192.0.2.1"], ["192.0.2.256", 1]),
}


def fits(value: Any, schema: dict[str, Any]) -> bool:
    try:
        check_schema(value, schema)
    except ParamValidationError:
        return False
    return True


def stock(schema: dict[str, Any]) -> Any:
    return Draft202012Validator(schema, registry=Registry(), format_checker=Draft202012Validator.FORMAT_CHECKER)


@pytest.mark.parametrize("name", PROBES)
def test_a_schema_validates_as_the_specification_says(name: str) -> None:
    schema, good, bad = PROBES[name]
    assert ([fits(value, schema) for value in good], [fits(value, schema) for value in bad]) == (
        [True] * len(good),
        [False] * len(bad),
    )


def test_every_probe_has_the_same_result_as_in_jsonschema() -> None:
    values = [value for _, good, bad in PROBES.values() for value in (*good, *bad)]
    differing = [
        (name, value)
        for (name, (schema, _, _)), value in product(PROBES.items(), values)
        if fits(value, schema) != stock(schema).is_valid(value)
    ]
    assert differing == []


scalars = st.sampled_from([None, True, False, 0, 1, 1.0, 1.5, -1, "", "a", "ab", "2024-01-01", "x_1"])
names = st.sampled_from(["a", "b", "ab", "x_1"])
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(names, inner, max_size=3), max_leaves=8
)
types = st.sampled_from(["null", "boolean", "integer", "number", "string", "array", "object"])
patterns = st.sampled_from(["^a", "b$", "a|x", "^[a-z]_[0-9]+$", "."])


def keywords(schemas: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    count, limit = st.integers(0, 3), st.sampled_from([0, 1, 1.5, 2])
    some = st.lists(schemas, min_size=1, max_size=3)
    return st.fixed_dictionaries(
        {},
        optional={
            "type": types | st.lists(types, min_size=1, max_size=3, unique=True),
            "enum": st.lists(values, max_size=3),
            "const": values,
            "minimum": limit,
            "exclusiveMaximum": limit,
            "multipleOf": st.sampled_from([1, 2, 0.5]),
            "minLength": count,
            "pattern": patterns,
            "format": st.sampled_from(["date", "email", "uuid"]),
            "items": schemas,
            "prefixItems": some,
            "contains": schemas,
            "uniqueItems": st.booleans(),
            "maxItems": count,
            "properties": st.dictionaries(names, schemas, max_size=2),
            "patternProperties": st.dictionaries(patterns, schemas, max_size=2),
            "additionalProperties": schemas,
            "propertyNames": schemas,
            "required": st.lists(names, max_size=2, unique=True),
            "dependentRequired": st.dictionaries(names, st.lists(names, max_size=2, unique=True), max_size=2),
            "anyOf": some,
            "oneOf": some,
            "not": schemas,
            "if": schemas,
            "then": schemas,
            "else": schemas,
        },
    )


schemas = st.recursive(st.booleans(), keywords, max_leaves=6).filter(lambda schema: isinstance(schema, dict))


@settings(max_examples=400, deadline=None)
@given(schema=schemas, value=values)
def test_any_schema_has_the_same_result_as_in_jsonschema(schema: dict[str, Any], value: Any) -> None:
    assert fits(value, schema) == stock(schema).is_valid(value)


def test_keywords_are_those_that_jsonschema_validates() -> None:
    # Given the keywords that jsonschema has functions for, and those that it reads with another keyword
    read_with_another = {"then", "else", "minContains", "maxContains", "$schema"}
    assert Draft202012Validator.VALIDATORS.keys() | read_with_another == KEYWORDS


# -------------------------------------------------------------------------------------------------------------- formats


@pytest.mark.parametrize(
    ("kind", "good", "bad"),
    [
        ("date", ["2024-02-29"], ["2024-02-30", "today", "2024-2-9", "20240229", ""]),
        (
            "date-time",
            ["2024-01-01T00:00:00Z", "2024-01-01t00:00:00.5+01:00"],
            ["2024-01-01T00:00:00", "2024-01-01", "2024-13-01T00:00:00Z", "now"],
        ),
        ("time", ["12:13:14", "12:13:14Z", "12:13:14.5+02:00"], ["12:13", "25:00:00", "noon", "12:13:14+02"]),
        ("email", ["ada@example.org"], ["ada"]),
        ("uri", ["https://example.org/a?b=c#d"], ["example.org", "https://a b"]),
        ("duration", ["PT15M", "P1DT2H"], ["15 minutes", "P"]),
        ("uuid", ["2b6f0cc9-04d1-4c3b-9d5c-1c1d1c1d1c1d"], ["2b6f0cc904d14c3b9d5c1c1d1c1d1c1d", "x"]),
        ("ipv6", ["2001:db8::1"], ["2001:db8::1::2", "192.0.2.1"]),
        ("hostname", ["example.org"], ["-a-", ""]),
        ("json-pointer", ["/a/0", ""], ["a"]),
    ],
)
def test_a_format_is_checked(kind: str, good: list[str], bad: list[str]) -> None:
    schema = {"format": kind}
    assert ([fits(text, schema) for text in good], [fits(text, schema) for text in bad]) == (
        [True] * len(good),
        [False] * len(bad),
    )
    assert fits(5, schema), "formats apply to text only"


def test_every_format_has_an_example_that_fits_and_refuses_something() -> None:
    _, checker = engine()
    assert FORMATS.keys() == checker.checkers.keys()
    assert {kind for kind, example in FORMATS.items() if not fits(example, {"format": kind})} == set()
    assert {kind for kind in FORMATS if fits("(\\ \n{", {"format": kind})} == set()


#: Format -> start, repeated character and end of a text of any length that fits it
OF_ANY_LENGTH = {
    "date-time": ("2024-12-31T23:59:00.0", "0", "Z"),
    "duration": ("P", "1", "D"),
    "email": ("", "a", "@example.org"),
    "idn-email": ("", "a", "@example.org"),
    "iri": ("https://example.org/", "a", ""),
    "iri-reference": ("/", "a", ""),
    "json-pointer": ("/", "a", ""),
    "regex": ("", "a", ""),
    "relative-json-pointer": ("1/", "a", ""),
    "time": ("23:59:00.0", "0", "Z"),
    "uri": ("https://example.org/", "a", ""),
    "uri-reference": ("/", "a", ""),
    "uri-template": ("/", "a", ""),
}


@pytest.mark.parametrize("kind", sorted(OF_ANY_LENGTH))
def test_a_format_has_a_maximum_length(kind: str) -> None:
    # Given a text of the format, of the maximum length, and one that is longer by one character
    start, repeated, end = OF_ANY_LENGTH[kind]
    longest, longer = (
        start + repeated * (length - len(start + end)) + end
        for length in (MAX_FORMATTED_CHARACTERS, MAX_FORMATTED_CHARACTERS + 1)
    )
    # Then only the first fits
    assert (fits(longest, {"format": kind}), fits(longer, {"format": kind})) == (True, False)


def test_the_other_formats_are_short_by_themselves() -> None:
    assert FORMATS.keys() - OF_ANY_LENGTH == {"date", "hostname", "idn-hostname", "ipv4", "ipv6", "uuid"}


@settings(max_examples=50, deadline=None)
@given(text=st.text(max_size=40), kind=st.sampled_from(sorted(FORMATS)))
def test_any_text_can_be_checked_by_any_format(text: str, kind: str) -> None:
    assert fits(text, {"format": kind}) in (True, False)


# --------------------------------------------------------------------------------------------- unbounded time or memory

BACKTRACKS = "^(a+)+$"
"""With ``re`` the time for a text that does not match doubles with each character."""
MISS = "a" * 60 + "!"


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"pattern": BACKTRACKS}, MISS),
        ({"items": {"pattern": BACKTRACKS}}, [MISS]),
        ({"propertyNames": {"pattern": BACKTRACKS}}, {MISS: 1}),
        ({"patternProperties": {BACKTRACKS: {}}, "additionalProperties": False}, {MISS: 1}),
        ({"$defs": {"s": {"pattern": BACKTRACKS}}, "$ref": "#/$defs/s"}, MISS),
        ({"uniqueItems": True}, [{"a": [n]} for n in range(60_000)] * 2),
    ],
)
def test_a_hostile_value_is_checked_in_time(schema: dict[str, Any], value: Any) -> None:
    # With jsonschema's own keywords each of these takes hours or more, so the test would time out.
    assert not fits(value, schema)


def test_a_pattern_matches_in_text_that_is_not_unicode() -> None:
    assert fits("\ud800a", {"pattern": "a$"})
    assert not fits("\ud800", {"pattern": "a"})


def test_the_errors_of_a_long_list_are_not_all_stored() -> None:
    import tracemalloc

    # Given a list whose items all fail a branch; jsonschema's own anyOf stores 2 KB for each
    schema = {"anyOf": [{"type": "array", "items": {"type": "string"}}, {"type": "null"}]}
    value = [1] * 20_000
    check_schema(None, schema)
    # When it is checked
    tracemalloc.start()
    assert not fits(value, schema)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    # Then the memory does not grow with the list
    assert peak < 5_000_000


def test_a_value_of_the_deepest_nesting_is_checked_by_a_schema_that_refers_to_itself() -> None:
    node = {"anyOf": [{"type": "integer"}, {"type": "array", "items": {"$ref": "#/$defs/n"}}]}
    schema = {"$defs": {"n": node}, "$ref": "#/$defs/n"}
    assert fits(reduce(lambda inner, _: [inner], range(99), 1), schema)
    with pytest.raises(ParamValidationError, match=r"^The value is nested too deeply to be checked, or its schema"):
        check_schema(reduce(lambda inner, _: [inner], range(900), 1), schema)


REPEATED = "Its references multiply each other: refer to a schema once in allOf, anyOf or oneOf."


@pytest.mark.parametrize("keyword", ["allOf", "anyOf", "oneOf"])
def test_a_schema_whose_references_multiply_each_other_is_refused(keyword: str) -> None:
    # Given 40 schemas, each of which refers twice to the next one
    names = [f"s{number}" for number in range(40)]
    defs = {name: {keyword: [{"$ref": f"#/$defs/{after}"}] * 2} for name, after in pairwise(names)}
    # Then the 2^40 checks are not made
    with pytest.raises(ParamValidationError, match=f"^Its schema takes too long to check. {REPEATED}$"):
        verify_schema({"$defs": {**defs, names[-1]: {"type": "integer"}}, "$ref": "#/$defs/s0"})


@pytest.mark.parametrize("keyword", ["allOf", "anyOf", "oneOf"])
def test_a_value_that_makes_references_multiply_each_other_is_refused(keyword: str) -> None:
    # Given a schema that checks an inner value twice by itself, and a value of 90 levels
    twice = {"properties": {"x": {keyword: [{"$ref": "#"}] * 2}}, "unevaluatedProperties": True}
    value = reduce(lambda inner, _: {"x": inner}, range(90), {})
    # Then the check ends
    with pytest.raises(ParamValidationError, match=f"^The value takes too long to check. {REPEATED}$"):
        check_schema(value, twice)


def test_a_long_value_that_is_checked_once_for_each_keyword_is_not_refused() -> None:
    tree = {"type": ["array", "integer"], "items": {"$ref": "#"}}

    assert fits([[[number, [number]] for number in range(100)] for _ in range(100)], tree)


# ----------------------------------------------------------------------------------------------- schemas that are wrong

ENDLESS = (
    "Its schema refers to itself endlessly: a $ref may lead back to its own schema only through properties or items."
)
ONE_OF_THE_TYPES = "type must be one of array, boolean, integer, null, number, object, string, or a list of them"
NO_LOOKAROUND = (
    "Lookaheads and lookbehinds are not available. Combine patterns instead: "
    'allOf=[{"pattern": ...}, {"not": {"pattern": ...}}].'
)
CORRECT_IT = "Correct it; put a backslash before a special character that stands for itself."
OUTSIDE = (
    "points out of the schema; nbflow does not open URLs. "
    """Define it under "$defs", and refer to it by "#/$defs/NAME"."""
)
REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"pattern": "("}, f"Its pattern '(' is invalid: missing ). {CORRECT_IT}"),
    ({"pattern": "a)"}, f"Its pattern 'a)' is invalid: unexpected ). {CORRECT_IT}"),
    ({"pattern": "[a"}, f"Its pattern '[a' is invalid: missing ]. {CORRECT_IT}"),
    ({"pattern": "*"}, f"Its pattern '*' is invalid: no argument for repetition operator. {CORRECT_IT}"),
    ({"pattern": "(?=a)b"}, f"Its pattern '(?=a)b' is invalid: invalid perl operator: (?=. {NO_LOOKAROUND}"),
    ({"pattern": "(?<!a)b"}, f"Its pattern '(?<!a)b' is invalid: invalid perl operator: (?<!. {NO_LOOKAROUND}"),
    (
        {"pattern": r"(a)\1"},
        r"Its pattern '(a)\\1' is invalid: invalid escape sequence: \1. Backreferences are not available.",
    ),
    ({"pattern": r"a\Z"}, r"Its pattern 'a\\Z' is invalid: invalid escape sequence: \Z. Write \z, or $."),
    (
        {"pattern": r"\u00e9"},
        r"Its pattern '\\u00e9' is invalid: invalid escape sequence: \u. "
        r"Write the character itself, or \x{...} with its number.",
    ),
    (
        {"pattern": "a{1,2000}"},
        "Its pattern 'a{1,2000}' is invalid: invalid repetition size: {1,2000}. "
        "Repeat at most 1,000 times, or use minLength and maxLength.",
    ),
    (
        {"pattern": "a++"},
        "Its pattern 'a++' is invalid: bad repetition operator: ++. Use groups (?:...) and the repetitions *, + or ?.",
    ),
    (
        {"pattern": "\ud800"},
        "Its pattern '\\ud800' is invalid: it contains half of a surrogate pair. "
        "Patterns follow https://github.com/google/re2/wiki/Syntax, because re2 matches in linear time.",
    ),
    ({"patternProperties": {"(": {}}}, f"Its pattern '(' is invalid: missing ). {CORRECT_IT}"),
    (
        {"items": {"anyOf": [{"properties": {"a": {"pattern": "("}}}]}},
        f"Its pattern '(' is invalid: missing ). {CORRECT_IT}",
    ),
    ({"type": "strnig"}, f"Its schema is wrong: {ONE_OF_THE_TYPES}, not 'strnig'. Did you mean 'string'?"),
    ({"type": ["null", "text"]}, f"Its schema is wrong: {ONE_OF_THE_TYPES.replace('type', 'type[1]')}, not 'text'."),
    ({"type": "dict"}, f"Its schema is wrong: {ONE_OF_THE_TYPES}, not 'dict'. Did you mean 'object'?"),
    ({"type": int}, f"Its schema is wrong: {ONE_OF_THE_TYPES}, not 'int'. Did you mean 'integer'?"),
    ({"type": []}, "Its schema is wrong: type must not be empty, not []."),
    ({"minimum": "x"}, "Its schema is wrong: minimum must be a number, not 'x'."),
    (
        {"minimum": float("nan")},
        "Its schema is wrong: minimum is NaN, infinite, or contains itself.",
    ),
    ({"minLength": -1}, "Its schema is wrong: minLength must be at least 0, not -1."),
    ({"minLength": 1.5}, "Its schema is wrong: minLength must be a whole number, not 1.5."),
    ({"multipleOf": 0}, "Its schema is wrong: multipleOf must be more than 0, not 0."),
    ({"enum": "abc"}, "Its schema is wrong: enum must be a list, not 'abc'."),
    ({"enum": {"a"}}, "Its schema is wrong: enum must be JSON: JSON has no set."),
    ({"uniqueItems": "yes"}, "Its schema is wrong: uniqueItems must be True or False, not 'yes'."),
    ({"required": "a"}, "Its schema is wrong: required must be a list, not 'a'."),
    ({"required": ["a", "a"]}, "Its schema is wrong: required must have no duplicates, not ['a', 'a']."),
    ({"properties": {"a": 5}}, "Its schema is wrong: properties.a must be a schema, which is a dict, not 5."),
    ({"items": {"minimum": []}}, "Its schema is wrong: items.minimum must be a number, not []."),
    ({"$ref": "http://127.0.0.1:9/x"}, f"Its schema is wrong: $ref 'http://127.0.0.1:9/x' {OUTSIDE}"),
    ({"$ref": "file:///etc/hostname"}, f"Its schema is wrong: $ref 'file:///etc/hostname' {OUTSIDE}"),
    ({"items": {"$ref": "other.json"}}, f"Its schema is wrong: $ref 'other.json' {OUTSIDE}"),
    (
        {"$defs": {"size": {}}, "$ref": "#/$defs/sise"},
        "Its schema is wrong: $ref '#/$defs/sise' points to nothing. Did you mean '#/$defs/size'?",
    ),
    ({"$ref": "#"}, ENDLESS),
    ({"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}, "$ref": "#/$defs/a"}, ENDLESS),
    ({"properties": {"a": {"$ref": "#/$defs/b"}}, "$defs": {"b": {"$ref": "#/$defs/b"}}}, ENDLESS),
    ({"anyOf": [{"type": "integer"}, {"not": {"$ref": "#"}}]}, ENDLESS),
    ({"items": {"if": {"dependentSchemas": {"a": {"oneOf": [{"$ref": "#/items"}]}}}}}, ENDLESS),
    (
        {"$schema": "http://json-schema.org/draft-07/schema#", "type": "object"},
        "Its schema has $schema 'http://json-schema.org/draft-07/schema#', but Params follow JSON Schema 2020-12. "
        "Leave out $schema, and write the schema by draft 2020-12.",
    ),
    (
        {"properties": {"a": {"$schema": "https://json-schema.org/draft/2020-12/schema"}}},
        "Its schema has $schema 'https://json-schema.org/draft/2020-12/schema', but Params follow JSON Schema 2020-12. "
        "Leave out $schema, and write the schema by draft 2020-12.",
    ),
    (
        {"unevaluatedProperties": False, "allOf": [{"patternProperties": {"a": {}}}]},
        "Its schema has unevaluatedProperties and patternProperties, which cannot be checked together. "
        "Use additionalProperties with patternProperties.",
    ),
]


@pytest.mark.parametrize(("schema", "message"), REFUSED)
def test_an_invalid_schema_is_refused(schema: dict[str, Any], message: str) -> None:
    with pytest.raises(ParamValidationError) as refused:
        verify_schema(schema)
    assert str(refused.value) == message


@pytest.mark.parametrize(
    ("levels", "message"),
    [
        (300, "Its schema is nested too deeply, or refers to itself endlessly."),
        (5000, "Its schema is wrong: not is nested too deeply."),
    ],
)
def test_a_schema_that_is_nested_too_deeply_is_refused(levels: int, message: str) -> None:
    schema: dict[str, Any] = reduce(lambda inner, _: {"not": inner}, range(levels), {"type": "string"})
    with pytest.raises(ParamValidationError) as refused:
        verify_schema(schema)
    assert str(refused.value) == message


def test_a_refused_pattern_writes_nothing_to_stderr(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ParamValidationError):
        verify_schema({"pattern": "(?=a)"})
    assert capfd.readouterr() == ("", "")


def test_a_schema_may_name_the_draft_that_it_follows() -> None:
    verify_schema({"$schema": "https://json-schema.org/draft/2020-12/schema", "type": "object"})


def test_a_reference_may_point_anywhere_in_the_schema_and_its_target_is_verified() -> None:
    assert not fits("x", {"shared": {"size": {"type": "integer"}}, "$ref": "#/shared/size"})
    with pytest.raises(ParamValidationError, match=r"type must be one of .* Did you mean 'integer'\?"):
        verify_schema({"shared": {"size": {"type": "integr"}}, "$ref": "#/shared/size"})


def test_values_of_annotations_are_not_verified() -> None:
    verify_schema({"type": "string", "examples": [{"pattern": "("}], "x-note": {"pattern": "(", "$ref": "http://x"}})


@pytest.mark.parametrize("reference", ["http://127.0.0.1:9/schema.json", "file:///etc/hostname", "https://a.invalid/b"])
def test_a_reference_opens_no_url(reference: str) -> None:
    # Given a process that records every opened socket, and every opened file except modules
    code = f"""
import sys
from nbflow.authoring.param_schema import check_schema, verify_schema
from nbflow.errors import ParamValidationError
verify_schema({{"type": "string"}})
opened = []
def hook(event, args):
    modules = event == "open" and str(args[0]).endswith((".py", ".pyc"))
    if event.startswith(("socket.", "urllib.", "http.", "open")) and not modules:
        opened.append((event, str(args)))
sys.addaudithook(hook)
for call in (verify_schema, lambda schema: check_schema(1, schema)):
    try:
        call({{"$ref": {reference!r}}})
    except ParamValidationError as error:
        print(error)
print(opened)
"""
    # When a schema refers to a URL, and is verified and used
    process = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True)
    # Then it is refused, and nothing was opened
    line = f"Its schema is wrong: $ref {reference!r} {OUTSIDE}"
    assert process.stdout.splitlines() == [line, line, "[]"]


# -------------------------------------------------------------------------------------------- where a schema is refused


def test_a_dag_names_each_param_with_an_invalid_schema() -> None:
    with pytest.raises(ParamValidationError) as refused:
        DAG("d", params={"s": Param("a", pattern="("), "fine": 1, "n": Param(1, minimum="x")})
    assert str(refused.value) == (
        f"Param 's' of DAG 'd': Its pattern '(' is invalid: missing ). {CORRECT_IT} "
        "Param 'n' of DAG 'd': Its schema is wrong: minimum must be a number, not 'x'."
    )


def test_a_param_that_is_added_later_is_verified_too() -> None:
    dag = DAG("d")
    with pytest.raises(ParamValidationError, match=r"^Param 's' of DAG 'd': Its pattern '\(' is invalid"):
        dag.params["s"] = Param("a", pattern="(")
    assert dict(dag.params) == {}


def test_the_params_of_a_task_and_of_default_args_are_verified_too() -> None:
    with pytest.raises(ParamValidationError, match=r"^Param 's' of task 't': Its pattern '\(' is invalid"):
        with DAG("d"):
            task(task_id="t", params={"s": Param("a", pattern="(")})(lambda: None)()
    with pytest.raises(ParamValidationError, match=r"^Param 's' of DAG 'd': Its pattern '\(' is invalid"):
        DAG("d", default_args={"params": {"s": Param("a", pattern="(")}})


def test_a_run_of_a_version_that_was_stored_with_a_wrong_schema_is_refused_in_one_line() -> None:
    declared = {
        "s": {"value": "a", "schema": {"pattern": "(?=a)"}, "description": None},
        "n": {"schema": {}, "value": 1},
    }
    with pytest.raises(ParamValidationError) as refused:
        params_of_run(declared, {"n": 2})
    assert str(refused.value) == (
        f"Param 's': Its pattern '(?=a)' is invalid: invalid perl operator: (?=. {NO_LOOKAROUND}"
    )


@pytest.mark.parametrize(
    ("schema", "line"),
    [
        ({"minimun": 3}, "'minimun' is not a keyword of JSON Schema, so it has no effect. Did you mean 'minimum'?"),
        (
            {"min_items": 3},
            "'min_items' is not a keyword of JSON Schema, so it has no effect. Did you mean 'minItems'?",
        ),
        (
            {"format": "datetime"},
            "format 'datetime' is not a format of JSON Schema, so it has no effect. Did you mean 'date-time'?",
        ),
    ],
)
def test_a_misspelt_keyword_is_warned_of(schema: dict[str, Any], line: str) -> None:
    with pytest.warns(UserWarning, match="has no effect") as warned:
        DAG("d", params={"x": Param("2024", **schema)})
    assert [str(warning.message) for warning in warned] == [f"Param 'x' of DAG 'd': {line}"]
    assert warned[0].filename == __file__


def test_keywords_for_forms_are_not_warned_of() -> None:
    for_forms = {
        "title": "T",
        "description_md": "*d*",
        "section": "S",
        "examples": ["a"],
        "format": "multiline",
        "custom_html_form": "<b>",
        "deprecated": True,
        "x-order": 3,
        "placeholder": "name",
        "values_display": {1: "One", None: "-"},
    }
    assert list(misspelt(for_forms)) == []
    dag = DAG("d", schedule="@daily", params={"x": Param(1, enum=[1, None], **for_forms)})
    assert dag.to_spec().params["x"]["schema"]["values_display"] == {"1": "One", "null": "-"}


# ------------------------------------------------------------------------------------------------------- error messages


@pytest.mark.parametrize(
    ("value", "schema", "message"),
    [
        (
            None,
            {"type": "string"},
            """None does not fit type: 'string'. To allow None, write type=["null", "string"].""",
        ),
        ({"a": None}, {"properties": {"a": {"type": "string"}}}, "None at a does not fit type: 'string'."),
        ("x", {"type": "integer", "enum": [1, 2]}, "'x' does not fit type: 'integer'."),
        ("today", {"format": "date"}, "'today' does not fit format: 'date', such as 2024-12-31."),
        ({"b": 1}, {"required": ["a", "b", "c"]}, "{'b': 1} does not fit required: 'a', 'c' is missing."),
        ({"a": 1}, {"dependentRequired": {"a": ["b"]}}, "{'a': 1} does not fit dependentRequired: 'a' needs 'b'."),
        (
            {"colour": 1},
            {"properties": {"color": {}, "size": {}}, "additionalProperties": False},
            "{'colour': 1} does not fit additionalProperties: 'colour' is not allowed. Allowed: 'color', 'size'. "
            "Did you mean 'color'?",
        ),
        (
            {"y": 1},
            {"patternProperties": {"^x": {}}, "additionalProperties": False},
            "{'y': 1} does not fit additionalProperties: 'y' is not allowed. Allowed: names that match '^x'.",
        ),
        (
            {"kind": "a", "n": "x"},
            {"anyOf": [{"type": "null"}, {"properties": {"n": {"type": "integer"}}}]},
            "'x' at n does not fit type: 'integer'.",
        ),
        (
            2,
            {"anyOf": [{"type": "string"}, {"type": "null"}]},
            "2 does not fit anyOf: [{'type': 'string'}, {'type': 'null'}].",
        ),
        (
            4,
            {"oneOf": [{"minimum": 3}, {"maximum": 5}]},
            "4 does not fit oneOf: it fits more than one of [{'minimum': 3}, {'maximum': 5}].",
        ),
        ({"a": 1}, {"properties": {"a": False}}, "1 is not allowed."),
        (
            {"a": [{"b c": 1}]},
            {"properties": {"a": {"items": {"properties": {"b c": {"minimum": 2}}}}}},
            "1 at a[0]['b c'] does not fit minimum: 2.",
        ),
        (
            [1, "x", 2, "y", "z", "u"],
            {"items": {"type": "integer"}},
            "'x' at [1] does not fit type: 'integer'. 'y' at [3] does not fit type: 'integer'. "
            "'z' at [4] does not fit type: 'integer'.",
        ),
    ],
)
def test_an_error_names_the_value_its_path_and_what_is_allowed(value: Any, schema: Any, message: str) -> None:
    with pytest.raises(ParamValidationError) as refused:
        check_schema(value, schema)
    assert str(refused.value) == message


def test_an_int_that_is_too_large_for_a_float_is_an_error() -> None:
    with pytest.raises(ParamValidationError, match="cannot be checked: int too large to convert to float"):
        check_schema(10**400, {"multipleOf": 0.1})


def test_long_values_are_shortened() -> None:
    with pytest.raises(ParamValidationError) as refused:
        check_schema("x" * 100_000, {"enum": [f"value {n}" for n in range(1000)]})
    assert len(str(refused.value)) < 2 * MAX_SHOWN_CHARACTERS + 50


@pytest.mark.parametrize(
    ("name", "schema", "value"),
    [
        ("db_password", {"minLength": 20}, "hunter2"),
        ("x", {"minLength": 20, "format": "password"}, "hunter2"),
        ("x", {"minLength": 20, "writeOnly": True}, "hunter2"),
        ("x", {"properties": {"api_key": {"minLength": 20}}}, {"api_key": "hunter2"}),
        ("x", {"required": ["user"]}, {"api_key": "hunter2"}),
        ("x", {"properties": {"n": {"minLength": 20, "format": "password"}}}, {"n": "hunter2"}),
        ("db_password", {"enum": ["hunter2"]}, "hunter3"),
        ("db_password", {"items": {"minLength": 20}}, ["hunter2"]),
    ],
)
def test_a_secret_is_not_shown(name: str, schema: dict[str, Any], value: Any) -> None:
    with pytest.raises(ParamValidationError) as refused:
        ParamsDict({name: Param(schema=schema)})[name] = value
    assert "hunter" not in str(refused.value)
    assert "***" in str(refused.value)


# -------------------------------------------------------------------------------------------------------------- imports

_HEAVY = ("jsonschema", "referencing", "re2", "attrs", "lark", "rfc3987_syntax")


def _run(code: str) -> list[str]:
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ)
    return json.loads(process.stdout)  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("param", "loaded"),
    [
        ("3", []),
        ("Param('a', 'which', title='A', section='S', examples=['a'])", []),
        ("Param('a', type='string')", ["attrs", "jsonschema", "referencing"]),
        ("Param('a', pattern='a')", ["attrs", "jsonschema", "re2", "referencing"]),
    ],
)
def test_a_dag_file_imports_what_its_schemas_need(param: str, loaded: list[str]) -> None:
    code = (
        "import json, sys\n"
        "from nbflow import DAG, Param\n"
        f"DAG('d', schedule='@daily', params={{'x': {param}}}).to_spec()\n"
        f"print(json.dumps(sorted(set({_HEAVY!r}) & set(sys.modules))))"
    )
    assert _run(code) == loaded


def test_the_grammar_of_iris_is_built_when_the_first_iri_is_checked() -> None:
    code = (
        "import json, sys\n"
        "from nbflow.authoring.param_schema import check_schema\n"
        "check_schema('x', {'type': 'string'})\n"
        "before = 'lark' in sys.modules\n"
        "import jsonschema, rfc3987_syntax\n"  # the real module, which jsonschema's own checker uses
        "own = [jsonschema.FormatChecker().conforms(text, 'iri') for text in ('https://example.org/é', 'no iri')]\n"
        "print(json.dumps([before, own, hasattr(rfc3987_syntax, 'parse')]))"
    )
    assert _run(code) == [False, [True, False], True]


def test_airflows_format_checker_accepts_times_without_offset() -> None:
    # Airflow passes jsonschema a FormatChecker(), which checks times by draft 3.
    assert [FormatChecker().conforms(text, "time") for text in ("12:13:14", "12:13:14Z")] == [True, False]
