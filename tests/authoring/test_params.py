"""Params: defaults, what a run gives, and the schema that both must fit."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from nbflow import DAG, Param
from nbflow.authoring.params import ParamsDict, check_schema, params_of_run
from nbflow.errors import InvalidDag, ParamValidationError

# Of each keyword: values that fit, and values that do not.
KEYWORDS: dict[str, tuple[Any, list[Any], list[Any]]] = {
    "type": ("integer", [1, -3, 2.0], [1.5, "1", True, None, float("inf")]),
    "type (several)": (["null", "string"], [None, "x"], [1]),
    "type (number)": ("number", [1, 1.5], [True, "1"]),
    "type (boolean)": ("boolean", [True, False], [0, 1, "true"]),
    "type (array)": ("array", [[], [1]], [{}, "ab"]),
    "type (object)": ("object", [{}, {"a": 1}], [[], "ab"]),
    "const": (1, [1, 1.0], [2, True]),
    "enum": (["a", 1], ["a", 1], ["b", True]),
    "format": ("date", ["2024-02-29", 5], ["2024-02-30", "today"]),
    "format (date-time)": (
        "date-time",
        ["2024-01-01T00:00:00Z", "2024-01-01T00:00:00+01:00"],
        ["2024-01-01T00:00:00", "x"],
    ),
    "format (unknown)": ("multiline", ["anything"], []),
    "minimum": (2, [2, 3, "x"], [1]),
    "maximum": (2, [2, 1, "x"], [3]),
    "exclusiveMinimum": (2, [3], [2]),
    "exclusiveMaximum": (2, [1], [2]),
    "multipleOf": (3, [6], [7]),
    "minLength": (2, ["ab", 1], ["a"]),
    "maxLength": (2, ["ab", 1], ["abc"]),
    "pattern": ("^a", ["ab", 1], ["ba"]),
    "minItems": (1, [[1], "x"], [[]]),
    "maxItems": (1, [[1], "xy"], [[1, 2]]),
    "uniqueItems": (True, [[1, 2], [{"a": 1}, {"a": 2}]], [[1, 1], [{"a": 1}, {"a": 1}]]),
    "items": ({"type": "integer"}, [[], [1, 2], "x"], [[1, "2"]]),
    "required": (["a"], [{"a": 1}, 5], [{"b": 1}]),
    "properties": ({"a": {"minimum": 1}}, [{"a": 1}, {"b": 0}, 5], [{"a": 0}]),
    "additionalProperties": (False, [{}, 5], [{"a": 1}]),
    "minProperties": (1, [{"a": 1}], [{}]),
    "maxProperties": (1, [{"a": 1}], [{"a": 1, "b": 2}]),
    "anyOf": ([{"type": "string"}, {"minimum": 3}], ["x", 3], [2]),
    "oneOf": ([{"minimum": 3}, {"maximum": 5}], [2, 6], [4]),
    "allOf": ([{"minimum": 3}, {"maximum": 5}], [4], [2, 6]),
    "not": ({"type": "string"}, [1], ["x"]),
    "title": ("shown in forms", [1, "x"], []),
}


@pytest.mark.parametrize("name", KEYWORDS)
def test_a_keyword_lets_through_what_fits_and_nothing_else(name: str) -> None:
    limit, good, bad = KEYWORDS[name]
    schema = {name.split(" ")[0]: limit}
    for value in good:
        check_schema(value, schema)
    for value in bad:
        with pytest.raises(ParamValidationError):
            check_schema(value, schema)


def test_an_error_names_the_place_inside_the_value() -> None:
    schema = {"properties": {"rows": {"items": {"properties": {"n": {"minimum": 1}}}}}}
    with pytest.raises(ParamValidationError, match=r"^0 at rows\[1\]\.n does not fit minimum: 1\.$"):
        check_schema({"rows": [{"n": 1}, {"n": 0}]}, schema)


def test_a_params_value_is_read_by_its_name() -> None:
    params = ParamsDict({"x": 1, "y": Param("a", "which", enum=["a", "b"])})
    assert (params["x"], params["y"], dict(params), params.get_param("y").description) == (
        1,
        "a",
        {"x": 1, "y": "a"},
        "which",
    )


def test_setting_a_value_keeps_the_schema_and_checks_it() -> None:
    params = ParamsDict({"y": Param("a", enum=["a", "b"])})
    params["y"] = "b"
    with pytest.raises(ParamValidationError, match=r"Param 'y': 'c' does not fit enum: \['a', 'b'\]"):
        params["y"] = "c"
    assert params["y"] == "b"


def test_a_copy_is_independent() -> None:
    params = ParamsDict({"x": Param(1, minimum=0)})
    twin = copy.deepcopy(params)
    twin["x"] = 5
    assert (params["x"], twin["x"]) == (1, 5)


def test_a_default_must_be_json() -> None:
    with pytest.raises(ParamValidationError, match="A param's default must be JSON"):
        Param({1, 2})


def test_a_run_gets_the_defaults_and_what_its_conf_says() -> None:
    declared = DAG("d", params={"x": Param(3, type="integer"), "y": Param(type="string")}).to_spec().params
    assert params_of_run(declared, {"y": "a", "extra": [1]}) == {"x": 3, "y": "a", "extra": [1]}


@pytest.mark.parametrize(
    ("conf", "message"),
    [
        ({}, "Param 'y': No value was given, and there is no default"),
        ({"y": 5}, "Param 'y': 5 does not fit type: 'string'"),
        ({"y": "a", "x": "b"}, "Param 'x': 'b' does not fit type: 'integer'"),
    ],
)
def test_a_run_with_a_wrong_conf_is_refused(conf, message) -> None:
    declared = DAG("d", params={"x": Param(3, type="integer"), "y": Param(type="string")}).to_spec().params
    with pytest.raises(ParamValidationError, match=message):
        params_of_run(declared, conf)


@pytest.mark.parametrize("param", [Param("x", type="integer"), Param(type="integer")])
def test_a_scheduled_dag_needs_defaults_that_fit(param: Param) -> None:
    with pytest.raises(
        InvalidDag, match=r"DAG 'd' has a schedule, so each of its params needs a default that fits. Param 'p'"
    ):
        DAG("d", schedule="@daily", params={"p": param})
