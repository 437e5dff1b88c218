"""Serialisation of NumPy and pandas values; this module is imported only if NumPy or pandas is.

A column is stored as a list of plain values with its dtype; dates and durations as integers in the dtype's unit, so
that they are not rounded. A RangeIndex is stored as its start, stop and step.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import Any

Encode = Callable[[Any, str], Any]
Decode = Callable[[Any], Any]


class Unstorable(Exception):
    """``what`` (a column of period[M]) cannot be stored; ``at`` is its place in the encoded value."""

    def __init__(self, what: str, *, hint: str, at: str = "") -> None:
        super().__init__(what)
        self.what, self.hint, self.at = what, hint, at


def encoder_of(value: Any) -> Callable[[Any, Encode], Any] | None:
    """Return the encoder of ``value``, or None if it is neither NumPy's nor pandas'."""
    if pandas := sys.modules.get("pandas"):
        if isinstance(value, pandas.DataFrame):
            return _frame
        if isinstance(value, pandas.Series):
            return _series
        if value is pandas.NaT or value is pandas.NA:
            return lambda value, encode: None
        if isinstance(value, pandas.Timestamp):
            return lambda value, encode: encode(value.to_pydatetime(warn=False), "")
        if isinstance(value, pandas.Timedelta):
            return lambda value, encode: encode(value.to_pytimedelta(), "")
    if numpy := sys.modules.get("numpy"):
        if isinstance(value, numpy.generic):
            return lambda value, encode: encode(_scalar(value), "")
        if isinstance(value, numpy.ndarray):
            return _array
    return None


def _scalar(value: Any) -> Any:
    plain = value.item()
    if isinstance(plain, int) and value.dtype.kind in "mM":  # item() returns an int for nanoseconds
        return value.astype(f"{value.dtype.kind}8[us]").item()
    if type(plain) is type(value):
        raise Unstorable(f"a NumPy {value.dtype}", hint="Convert it to float.")
    return plain


def _array(value: Any, encode: Encode) -> Any:
    kind = value.dtype.kind
    if kind not in "biufUSmMO":
        raise Unstorable(f"an array of {value.dtype}", hint="Return a list of plain values.")
    data = value.astype("int64").ravel().tolist() if kind in "mM" else value.ravel().tolist()
    return {"__type__": "ndarray", "value": encode(data, ""), "dtype": value.dtype.str, "shape": list(value.shape)}


def _read_array(stored: Mapping[str, Any], decode: Decode) -> Any:
    import numpy

    dtype = numpy.dtype(stored["dtype"])
    if dtype.kind == "O":
        array = numpy.empty(len(stored["value"]), dtype=object)
        array[:] = decode(stored["value"])
    elif dtype.kind in "mM":
        array = numpy.array(stored["value"], dtype="int64").view(dtype)
    else:
        array = numpy.array(decode(stored["value"]), dtype=dtype)
    return array.reshape(stored["shape"])


# -------------------------------------------------------------------------------------------------------------- columns


def _column(values: Any, encode: Encode) -> dict[str, Any]:
    """Encode the values of a Series. Missing values are None; dates and floats keep NaT and NaN."""
    import pandas

    dtype = values.dtype
    if isinstance(dtype, pandas.CategoricalDtype):
        categories = _column(pandas.Series(dtype.categories), encode)
        codes = values.cat.codes.tolist()
        return {"dtype": "category", "values": codes, "categories": categories, "ordered": bool(dtype.ordered)}
    if dtype.kind in "mM":
        zone = getattr(dtype, "tz", None)
        naive = values if zone is None else values.dt.tz_convert("UTC").dt.tz_localize(None)
        numbers = naive.to_numpy().astype("int64").tolist()
        return {"dtype": naive.dtype.str, "values": numbers, "zone": None if zone is None else str(zone)}
    if dtype.kind in "biuf":
        plain = [None if item is pandas.NA else item for item in values.tolist()]
        return {"dtype": str(dtype), "values": encode(plain, "")}
    if isinstance(dtype, pandas.StringDtype):
        return {"dtype": str(dtype), "values": [None if pandas.isna(item) else item for item in values]}
    if dtype.kind == "O" and not pandas.api.types.is_extension_array_dtype(dtype):
        return {"dtype": "object", "values": encode(values.tolist(), "")}
    raise Unstorable(f"a column of {dtype}", hint="Convert it, or store the frame in a file.")


def _read_column(stored: Mapping[str, Any], decode: Decode) -> Any:
    import numpy
    import pandas

    dtype = stored["dtype"]
    if dtype == "category":
        categories = _read_column(stored["categories"], decode)
        values = pandas.Categorical.from_codes(stored["values"], categories=categories, ordered=stored["ordered"])
        return pandas.Series(values)
    if "zone" in stored:
        values = pandas.Series(numpy.array(stored["values"], dtype="int64").view(dtype))
        return values if stored["zone"] is None else values.dt.tz_localize("UTC").dt.tz_convert(stored["zone"])
    return pandas.Series(decode(stored["values"]), dtype=dtype)


def _index(index: Any, encode: Encode) -> dict[str, Any]:
    import pandas

    if isinstance(index, pandas.RangeIndex):
        return {"range": [index.start, index.stop, index.step], "names": encode([index.name], ".index")}
    levels = [index.get_level_values(level).to_series(index=range(len(index))) for level in range(index.nlevels)]
    columns = [_column(level, lambda item, at: encode(item, f".index{at}")) for level in levels]
    return {"columns": columns, "names": encode(list(index.names), ".index")}


def _read_index(stored: Mapping[str, Any], decode: Decode) -> Any:
    import pandas

    names = decode(stored["names"])
    if "range" in stored:
        return pandas.RangeIndex(*stored["range"], name=names[0])
    levels = [_read_column(column, decode) for column in stored["columns"]]
    if len(levels) == 1:
        return pandas.Index(levels[0], name=names[0])
    return pandas.MultiIndex.from_arrays(levels, names=names)


def _series(value: Any, encode: Encode) -> Any:
    return {
        "__type__": "series",
        "value": _column(value, encode),
        "index": _index(value.index, encode),
        "name": encode(value.name, ".name"),
    }


def _read_series(stored: Mapping[str, Any], decode: Decode) -> Any:
    series = _read_column(stored["value"], decode)
    series.index = _read_index(stored["index"], decode)
    series.name = decode(stored["name"])
    return series


def _frame(value: Any, encode: Encode) -> Any:
    def encode_column(position: int, name: Any) -> dict[str, Any]:
        try:
            return _column(value.iloc[:, position], lambda item, at: encode(item, f"[{name!r}]{at}"))
        except Unstorable as error:
            raise Unstorable(error.what, hint=error.hint, at=f"[{name!r}]{error.at}") from None

    columns = [encode_column(position, name) for position, name in enumerate(value.columns)]
    return {
        "__type__": "frame",
        "value": columns,
        "index": _index(value.index, encode),
        "header": _index(value.columns, encode),
    }


def _read_frame(stored: Mapping[str, Any], decode: Decode) -> Any:
    import pandas

    index = _read_index(stored["index"], decode)
    columns = {position: _read_column(column, decode) for position, column in enumerate(stored["value"])}
    frame = pandas.DataFrame(columns, index=range(len(index)))
    frame.index = index
    frame.columns = _read_index(stored["header"], decode)
    return frame


DECODERS: dict[str, Callable[[Mapping[str, Any], Decode], Any]] = {
    "ndarray": _read_array,
    "series": _read_series,
    "frame": _read_frame,
}
