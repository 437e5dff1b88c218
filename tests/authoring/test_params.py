"""Params: defaults, values of a run's conf, and the schema that both must fit."""

from __future__ import annotations

import copy
import enum
import math
from datetime import date, datetime, timedelta
from decimal import Decimal
from functools import reduce
from pathlib import Path
from typing import Any, NamedTuple

import pendulum
import pytest

from nbflow import DAG, Param
from nbflow.authoring.params import (
    MAX_CONF_BYTES,
    ParamsDict,
    check_schema,
    conf_as_json,
    params_of_run,
    read_conf,
)
from nbflow.errors import InvalidArgument, InvalidDag, ParamValidationError

# Keyword -> its value, values that fit, and values that do not.
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
def test_a_keyword_accepts_only_values_that_fit(name: str) -> None:
    limit, good, bad = KEYWORDS[name]
    schema = {name.split(" ")[0]: limit}
    for value in good:
        check_schema(value, schema)
    for value in bad:
        with pytest.raises(ParamValidationError):
            check_schema(value, schema)


def test_an_error_names_the_path_inside_the_value() -> None:
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
    clone = copy.deepcopy(params)
    clone["x"] = 5
    assert (params["x"], clone["x"]) == (1, 5)


def test_a_default_must_be_json() -> None:
    with pytest.raises(ParamValidationError, match="A param's default must be JSON"):
        Param({1, 2})


def test_a_run_has_the_defaults_and_the_values_of_its_conf() -> None:
    declared = DAG("d", params={"x": Param(3, type="integer"), "y": Param(type="string")}).to_spec().params
    assert params_of_run(declared, {"y": "a", "extra": [1]}) == {"x": 3, "y": "a", "extra": [1]}


@pytest.mark.parametrize(
    ("conf", "message"),
    [
        ({}, "Param 'y': No value and no default; pass a value or give the Param a default."),
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


def test_one_error_names_every_param_that_does_not_fit() -> None:
    params = {"x": Param(3, type="integer"), "y": Param(type="string"), "z": Param("a", enum=["a"]), "fine": 1}
    with pytest.raises(ParamValidationError) as refused:
        params_of_run(DAG("d", params=params).to_spec().params, {"x": "b", "z": "c", "more": [1]})
    assert str(refused.value) == (
        "Param 'x': 'b' does not fit type: 'integer'. Param 'z': 'c' does not fit enum: ['a']. "
        "Param 'y': No value and no default; pass a value or give the Param a default."
    )


def test_a_default_of_none_that_does_not_fit_says_how_to_allow_it() -> None:
    # Given a param that Airflow, too, accepts until a run is created without a value
    declared = DAG("d", params={"x": Param(None, type="string")}).to_spec().params
    with pytest.raises(ParamValidationError) as refused:
        params_of_run(declared, {})
    assert str(refused.value) == (
        """Param 'x': None does not fit type: 'string'. To allow None, write type=["null", "string"]."""
    )
    assert params_of_run(declared, {"x": "a"}) == {"x": "a"}


@pytest.mark.parametrize(
    ("param", "problem"),
    [
        (
            Param(None, type="string"),
            """None does not fit type: 'string'. To allow None, write type=["null", "string"].""",
        ),
        (Param("text", type="integer"), "'text' does not fit type: 'integer'."),
    ],
)
def test_a_default_that_does_not_fit_is_warned_of_where_nothing_is_scheduled(param: Param, problem: str) -> None:
    dag = DAG("d", schedule=None, params={"x": param, "fine": Param(type="string")})
    with pytest.warns(UserWarning, match="a default that does not fit") as warned:
        dag.to_spec()
    assert [str(warning.message) for warning in warned] == [
        "Param 'x' of DAG 'd' has a default that does not fit, so the conf of each run must give "
        f"a value: {problem} If that is intended, leave out the default."
    ]
    assert (warned[0].filename, warned[0].lineno) == (__file__, dag.place.line)


def test_the_values_of_a_run_are_its_own() -> None:
    params, conf = ParamsDict({"ids": [1], "more": Param({"a": []})}), {"more": {"a": []}}
    values = params.values_with(conf)
    values["ids"].append(2)
    values["more"]["a"].append(3)
    assert (params.validate(), conf) == ({"ids": [1], "more": {"a": []}}, {"more": {"a": []}})


# ----------------------------------------------------------------------------------------------------------------- JSON


class Shade(enum.StrEnum):
    RED = "red"


HOLDS_ITSELF: list[Any] = []
HOLDS_ITSELF.append(HOLDS_ITSELF)
PLAIN_TYPES = "Use None, True, False, numbers, text, and lists and dicts of them."
# Values that JSON cannot hold, or that it would change -> the end of the error.
NOT_JSON: dict[str, tuple[Any, str]] = {
    "datetime": (datetime(2024, 1, 1), " is of type datetime, which JSON does not have. Use its isoformat()."),
    "date": (date(2024, 1, 1), " is of type date, which JSON does not have. Use its isoformat()."),
    "pendulum": (
        pendulum.datetime(2024, 1, 1),
        " is of type DateTime, which JSON does not have. Use its isoformat().",
    ),
    "timedelta": (timedelta(1), " is of type timedelta, which JSON does not have. Use its total_seconds()."),
    "set": ({1}, " is of type set, which JSON does not have. Use a list, such as sorted(...) of it."),
    "decimal": (Decimal(1), " is of type Decimal, which JSON does not have. Use str(...) or float(...) of it."),
    "bytes": (b"a", " is of type bytes, which JSON does not have. Use its decode()."),
    "path": (Path("a"), f" is of type {type(Path('a')).__name__}, which JSON does not have. Use str(...) of it."),
    "class": (int, " is of type type, which JSON does not have. Use its name."),
    "object": (object(), f" is of type object, which JSON does not have. {PLAIN_TYPES}"),
    "nan": (math.nan, " is nan, which JSON does not have. Use None, or text."),
    "infinity": (-math.inf, " is -inf, which JSON does not have. Use None, or text."),
    "inside": (
        {"a": [1, {"b c": {1}}]},
        '["a"][1]["b c"] is of type set, which JSON does not have. Use a list, such as',
    ),
    "key": ({"a": {1: 2}}, """["a"] has the key 1 of type int; JSON's keys are text. Write '1'."""),
    "key of None": ({None: 2}, " has the key None of type NoneType; JSON's keys are text. Write 'None'."),
    "long int": (10**5000, " is an int of more than 4,300 digits, which cannot be stored. Use text."),
    "deep": (reduce(lambda inner, _: [inner], range(5000), 1), "[0][0]"),
    "itself": (HOLDS_ITSELF, "[0][0]"),
    "below a long name": ({"x" * 100_000: {1}}, '["xxx'),
    "long key": ({("y" * 100_000,): 1}, " has the key ('yyy"),
}


@pytest.mark.parametrize("name", NOT_JSON)
def test_a_default_that_json_cannot_hold_is_refused_where_it_is_written(name: str) -> None:
    value, problem = NOT_JSON[name]
    with pytest.raises(ParamValidationError) as refused:
        Param(value)
    assert str(refused.value).startswith(f"A param's default must be JSON: default{problem}")
    assert len(str(refused.value)) < 420


@pytest.mark.parametrize("name", NOT_JSON)
def test_a_plain_default_that_json_cannot_hold_is_refused_with_its_name(name: str) -> None:
    value, problem = NOT_JSON[name]
    with pytest.raises(ParamValidationError) as refused:
        DAG("d", params={"x": value})
    assert str(refused.value).startswith(f"Param 'x' of DAG 'd': A param's default must be JSON: default{problem}")


@pytest.mark.parametrize("name", NOT_JSON)
def test_a_conf_that_json_cannot_hold_is_refused_with_the_place(name: str) -> None:
    value, problem = NOT_JSON[name]
    with pytest.raises(ParamValidationError) as refused:
        conf_as_json({"a": 1, "x": value})
    assert str(refused.value).startswith(f"""A run's conf must be JSON: conf["x"]{problem}""")
    assert len(str(refused.value)) < 420


def test_a_value_that_json_can_hold_may_be_a_default() -> None:
    value = [None, True, 1, 1.5, "a\ud800", Shade.RED, {"a": []}, 10**4299]
    assert DAG("d", params={"x": value}).to_spec().params["x"]["value"] == value


class Point(NamedTuple):
    x: int
    y: Any


TUPLES: dict[str, tuple[Any, Any]] = {
    "a tuple": ((1, "a"), [1, "a"]),
    "an empty tuple": ((), []),
    "in a list": ([(1,), (2, (3,))], [[1], [2, [3]]]),
    "in a dict": ({"a": ({"b": (1,)},)}, {"a": [{"b": [1]}]}),
    "a named tuple": (Point(1, (2,)), [1, [2]]),
}


@pytest.mark.parametrize(("value", "stored"), TUPLES.values(), ids=TUPLES)
def test_a_tuple_becomes_a_list_as_json_stores_it(value: Any, stored: Any) -> None:
    # Given a DAG with tuples in a default, in a plain default, and in the conf of a run
    schema = {"type": ["array", "object"]}
    dag = DAG("d", params={"x": Param(value, **schema), "plain": value, "given": Param(**schema)})
    spec = dag.to_spec()
    conf = conf_as_json({"given": value, "extra": value})
    # Then the DAG, its spec, the conf and the params of a run all have lists
    assert (dag.params["x"], spec.params["x"]["value"], spec.params["plain"]["value"]) == (stored, stored, stored)
    assert conf == {"given": stored, "extra": stored}
    assert params_of_run(spec.params, conf) == {"x": stored, "plain": stored, **conf}
    # And so has a value that a task's params or the conf of dag.test() set
    assert dag.params.values_with({"given": value}) == {"x": stored, "plain": stored, "given": stored}


def test_a_conf_that_is_converted_is_a_copy() -> None:
    conf = {"x": (1, [2])}
    conf_as_json(conf)["x"][1].append(3)
    assert conf == {"x": (1, [2])}


def test_a_set_inside_a_tuple_is_refused_with_its_path() -> None:
    with pytest.raises(ParamValidationError, match=r"^A param's default must be JSON: default\[1\] is of type set"):
        Param((1, {2}))


def test_a_conf_is_a_dict() -> None:
    with pytest.raises(ParamValidationError, match=r"^A run's conf must be a dict, not list\.$"):
        conf_as_json([1])


def test_a_conf_that_is_too_large_is_refused_with_its_size() -> None:
    conf_as_json({"x": "a" * (MAX_CONF_BYTES - len('{"x": ""}'))})
    with pytest.raises(ParamValidationError) as refused:
        conf_as_json({"x": "a" * MAX_CONF_BYTES})
    assert str(refused.value) == (
        "A run's conf of 1,048,585 bytes is more than the 1,048,576 allowed. "
        "Store it in a file or a table, and pass its path or name."
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nope", "is not JSON: Expecting value"),
        ("[1]", "must be a JSON object."),
        ("[" * 100_000, "is nested too deeply."),
        ('{"x": ' * 100_000, "is nested too deeply."),
        ('{"n": ' + "9" * 5000 + "}", "is not JSON: Exceeds the limit (4300 digits)"),
    ],
)
def test_a_typed_conf_that_is_not_a_json_object_is_refused(text: str, message: str) -> None:
    with pytest.raises(ParamValidationError) as refused:
        read_conf(text)
    assert str(refused.value).startswith(message)


# --------------------------------------------------------------------------------------------------------- declarations


def test_the_names_of_params_are_text() -> None:
    with pytest.raises(ParamValidationError, match=r"^The names of params of DAG 'd' must be text, not int 5\.$"):
        DAG("d", params={5: 1})  # type: ignore[dict-item]


def test_a_schema_is_a_dict() -> None:
    with pytest.raises(InvalidArgument, match=r"^schema of a Param must be a dict, not list \[1\]\."):
        Param(1, schema=[1])


def test_keywords_beside_a_schema_have_no_effect_as_in_airflow_and_are_warned_of() -> None:
    with pytest.warns(UserWarning, match="'type' of a Param has no effect with schema=; put it into the schema"):
        param = Param("a", type="integer", schema={"minLength": 1})
    assert (param.schema, param.resolve()) == ({"minLength": 1}, "a")


def test_params_of_default_args_are_a_dict() -> None:
    with pytest.raises(InvalidArgument, match="params of DAG 'd' must be"):
        DAG("d", default_args={"params": 5})
