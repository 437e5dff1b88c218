"""JSON with types: values are restored unchanged, and a value that cannot be stored is named with its path."""

from __future__ import annotations

import datetime as dt
import json
import math
import subprocess
import sys
import uuid
from dataclasses import dataclass
from decimal import Decimal
from enum import Enum, IntEnum
from pathlib import Path, PurePosixPath
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pendulum
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbflow import serde
from nbflow.errors import SerializationError
from nbflow.serde import dumps, loads, register

_ZONES = st.sampled_from(["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe"]).map(ZoneInfo)
_SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(10**30), 10**30)
    | st.floats(allow_nan=False)
    | st.text()
    | st.binary(max_size=20)
    | st.decimals(allow_nan=False)
    | st.uuids()
    | st.dates()
    | st.times()
    | st.timedeltas()
    | st.datetimes()
    | st.datetimes(min_value=dt.datetime(1990, 1, 1), max_value=dt.datetime(2037, 1, 1), timezones=_ZONES)
)
_KEYS = st.text() | st.just("__type__")
_VALUES = st.recursive(
    _SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
        | st.dictionaries(_KEYS, inner, max_size=4)
        | st.frozensets(st.integers() | st.text(), max_size=4)
        | st.sets(st.dates(), max_size=4)
    ),
    max_leaves=12,
)


def _same(left: object, right: object) -> bool:
    """Equal and of the same types all the way down (1 == 1.0 == True is not enough)."""
    if type(left) is not type(right):
        return False
    if isinstance(left, (list, tuple)):
        return len(left) == len(right) and all(map(_same, left, right))
    if isinstance(left, dict):
        return list(left) == list(right) and all(_same(left[key], right[key]) for key in left)
    if isinstance(left, (dt.datetime, dt.time)):
        return (left, left.fold, left.isoformat()) == (right, right.fold, right.isoformat())
    return left == right


@given(_VALUES)
def test_a_value_is_restored_unchanged(value):
    assert _same(loads(dumps(value)), value)


@given(_VALUES)
def test_the_text_is_ascii_json_that_any_reader_accepts(value):
    text = dumps(value)
    assert text.isascii()
    json.loads(text, parse_constant=lambda word: pytest.fail(f"{word} is not JSON"))


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(), lambda x: st.lists(x) | st.dictionaries(st.text(), x)
    )
)
def test_plain_json_stays_plain(value):
    if "__type__" not in repr(value):
        assert json.loads(dumps(value)) == value


@pytest.mark.parametrize("value", [math.inf, -math.inf])
def test_infinite_numbers_are_restored(value):
    assert loads(dumps([value])) == [value]


def test_nan_is_restored():
    assert math.isnan(loads(dumps(math.nan)))


def test_the_same_set_gives_the_same_text():
    assert dumps({"b", "a", "c"}) == dumps({"c", "b", "a"}) == '{"__type__": "set", "value": ["a", "b", "c"]}'


def test_keys_become_text_as_in_airflow():
    assert loads(dumps({1: "a", None: "b", False: "c"})) == {"1": "a", "None": "b", "False": "c"}


def test_keys_that_become_the_same_text_are_refused():
    with pytest.raises(SerializationError, match="two keys become the same text '1'"):
        dumps({1: "a", "1": "b"})


def test_a_users_dict_is_not_mistaken_for_a_typed_value():
    trap = {"__type__": "path", "value": "/etc/passwd"}
    assert loads(dumps(trap)) == trap


@pytest.mark.parametrize(
    ("value", "stored"),
    [
        (PurePosixPath("a/b"), Path("a/b")),
        (IntEnum("N", {"ONE": 1}).ONE, 1),
        (Enum("S", {"A": "a"}, type=str).A, "a"),
        (type("MyDict", (dict,), {})(a=1), {"a": 1}),
    ],
)
def test_subclasses_are_restored_as_their_base(value, stored):
    assert _same(loads(dumps(value)), stored)


def test_pendulum_datetimes_are_restored_with_their_time_zone():
    moment = pendulum.datetime(2024, 10, 27, 2, 30, tz="Europe/Berlin")
    back = loads(dumps({"at": moment}))["at"]
    assert (type(back), back, back.timezone_name) == (pendulum.DateTime, moment, "Europe/Berlin")


# --------------------------------------------------------------------------------------------------------------- errors


class _Opaque:
    pass


@pytest.mark.parametrize(
    ("value", "path"),
    [
        (_Opaque(), "return value: "),
        ({"a": [0, 1, 2, _Opaque()]}, 'return value["a"][3]: '),
        ([{"k": (1, _Opaque())}], 'return value[0]["k"][1]: '),
        ({7: _Opaque()}, "return value[7]: "),
    ],
)
def test_the_error_names_the_path_and_the_type(value, path):
    with pytest.raises(SerializationError) as caught:
        dumps(value, root="return value")
    assert str(caught.value).startswith(f"{path}a value of type ")
    assert "_Opaque cannot be stored" in str(caught.value)


def test_the_error_for_a_generator_suggests_a_list():
    with pytest.raises(SerializationError, match=r"Return list\(\.\.\.\) of it\."):
        dumps(number for number in range(3))


def test_a_value_that_contains_itself_is_refused():
    value: list[object] = []
    value.append(value)
    with pytest.raises(SerializationError, match="contains itself"):
        dumps(value)


def test_a_value_over_the_limit_is_refused_with_its_size():
    assert dumps("x" * 98, max_bytes=100)
    with pytest.raises(SerializationError, match="101 bytes of JSON, more than the 100 allowed"):
        dumps("x" * 99, max_bytes=100)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "NaN",
        '{"__type__": "os.system", "value": "true"}',
        '{"__type__": ["list"], "value": 1}',
        '{"__type__": "uuid", "value": "zzz"}',
        '{"__type__": "timedelta", "value": "1"}',
        '{"__type__": "tuple"}',
        '{"__type__": "decimal", "value": "one"}',
        '{"__type__": "dataclass", "name": "subprocess.Popen", "value": {"args": "true"}}',
        '{"__type__": "ndarray", "value": [1], "dtype": "O8,zz", "shape": [1]}',
        "[" * 100_000,
    ],
)
def test_invalid_stored_text_is_refused(text):
    with pytest.raises(SerializationError):
        loads(text)


# ---------------------------------------------------------------------------------------------------------- dataclasses


@register
@dataclass(frozen=True)
class Rate:
    currency: str
    value: Decimal
    on: dt.date | None = None


@dataclass
class Unknown:
    x: int


def test_a_registered_dataclass_is_restored():
    rates = [Rate("USD", Decimal("1.0956"), dt.date(2024, 1, 2)), Rate("JPY", Decimal("155.6"))]
    assert loads(dumps(rates)) == rates


def test_a_dataclass_that_is_not_registered_is_refused_with_a_hint():
    with pytest.raises(SerializationError, match=r'^value\["r"\]: .*Unknown cannot be stored\. Register its class'):
        dumps({"r": Unknown(1)})


def test_a_dataclass_that_is_not_registered_where_it_is_read_is_refused(monkeypatch):
    text = dumps(Rate("USD", Decimal(1)))
    monkeypatch.setattr(serde, "_DATACLASSES", {})
    with pytest.raises(SerializationError, match="not registered in this process"):
        loads(text)


def test_only_dataclasses_can_be_registered():
    with pytest.raises(TypeError, match="is not a dataclass"):
        register(uuid.UUID)


# ----------------------------------------------------------------------------------------------------- NumPy and pandas


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        (np.int64(3), 3),
        (np.float32(1.5), 1.5),
        (np.bool_(True), True),
        (np.str_("x"), "x"),
        (np.datetime64("2024-01-01T00:00:00.5", "ns"), dt.datetime(2024, 1, 1, 0, 0, 0, 500000)),
        (np.timedelta64(90, "s"), dt.timedelta(seconds=90)),
        (pd.Timestamp("2024-01-01", tz="UTC"), dt.datetime(2024, 1, 1, tzinfo=dt.UTC)),
        (pd.Timedelta(hours=1), dt.timedelta(hours=1)),
        (pd.NaT, None),
        (pd.NA, None),
    ],
)
def test_scalars_of_numpy_and_pandas_become_pythons(value, plain):
    back = loads(dumps({"v": value}))["v"]
    assert back == plain
    assert type(back) is type(plain)


@pytest.mark.parametrize(
    "array",
    [
        np.arange(6).reshape(2, 3),
        np.array([1.5, np.nan]),
        np.array([], dtype="float32"),
        np.array(["2024-01-01", "NaT"], dtype="datetime64[D]"),
        np.array([1, "a", None], dtype=object),
        np.array(["é", ""]),
    ],
)
def test_arrays_are_restored(array):
    back = loads(dumps(array))
    np.testing.assert_array_equal(back, array)
    assert (back.dtype, back.shape) == (array.dtype, array.shape)


def _frame() -> pd.DataFrame:
    days = ["2024-01-01", None, "2024-03-31"]
    return pd.DataFrame(
        {
            "whole": [1, 2, 3],
            "gaps": [1.5, np.nan, -0.0],
            "text": ["x", None, "é"],
            "string": pd.array(["x", None, "é"], dtype="string"),
            "day": pd.to_datetime(days),
            "zoned": pd.to_datetime(days).tz_localize("Europe/Berlin"),
            "kind": pd.Categorical(["u", "v", "u"], categories=["v", "u"], ordered=True),
            "nullable": pd.array([1, None, 3], dtype="Int64"),
            "truth": [True, False, True],
            "took": pd.to_timedelta([1, 2, None], unit="s"),
            "mixed": pd.array([1, math.nan, dt.date(2024, 1, 1)], dtype=object),
        },
        index=pd.Index(["p", "q", "r"], name="key"),
    )


@pytest.mark.parametrize(
    "frame",
    [
        _frame(),
        _frame().iloc[:0],
        _frame().reset_index(),
        _frame().groupby(["text", "truth"]).agg({"whole": ["sum", "mean"]}),
        pd.DataFrame(),
        pd.DataFrame([[1, 2]], columns=["same", "same"]),
        pd.DataFrame({"n": [1]}, index=pd.date_range("2024-01-01", periods=1, tz="UTC")),
    ],
    ids=["all types", "empty", "range index", "multi index", "nothing", "same names", "date index"],
)
def test_frames_are_restored(frame):
    pd.testing.assert_frame_equal(loads(dumps(frame)), frame, check_freq=False)


def test_a_series_is_restored():
    series = _frame()["zoned"]
    pd.testing.assert_series_equal(loads(dumps(series)), series)


def test_a_frames_value_that_cannot_be_stored_is_named_with_its_column():
    with pytest.raises(SerializationError, match=r"^return value\['odd'\]\[0\]: a value of type "):
        dumps(pd.DataFrame({"odd": pd.Series([_Opaque()], dtype=object)}), root="return value")


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (
            {"frames": [pd.DataFrame({"ok": [1], "bad": pd.period_range("2024-01", periods=1, freq="M")})]},
            "value[\"frames\"][0]['bad']: a column of period[M] cannot be stored.",
        ),
        ([pd.Series(pd.period_range("2024-01", periods=1, freq="M"))], "value[0]: a column of period[M] cannot"),
        ((np.zeros(2, dtype="V4"),), "value[0]: an array of |V4 cannot be stored."),
        ({"n": [1, 10**5000]}, 'value["n"][1]: an int of 5,000 digits cannot be stored. Return hex'),
        ((10**5000,), "value[0]: an int of 5,000 digits cannot"),
        (10**5000, "value: an int of 5,000 digits cannot"),
    ],
    ids=["column", "series", "array", "int in a list", "int in a tuple", "int"],
)
def test_a_column_an_array_or_an_int_that_cannot_be_stored_is_named_with_its_path(value, message):
    with pytest.raises(SerializationError) as caught:
        dumps(value)
    assert str(caught.value).startswith(message)


def test_plain_values_do_not_load_numpy_pandas_or_pendulum():
    code = (
        "import sys, datetime as dt; from nbflow.serde import dumps, loads\n"
        "loads(dumps({'a': (1, {2}, dt.datetime.now(dt.UTC), 2.5)}))\n"
        "print(sorted({'numpy', 'pandas', 'pendulum'} & set(sys.modules)))"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"
