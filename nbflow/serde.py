"""JSON with types, for XComs and other stored values.

Plain JSON is stored unchanged, so that people and SQL can read it. Any other value becomes
``{"__type__": name, "value": ...}``, where ``name`` is a key of this module's table or the name of a registered
dataclass: an allow-list. Stored text never names code to import, and nothing is pickled.

Behaviour follows Airflow 3: tuples and sets are restored as tuples and sets, the keys of a dict become strings. NumPy
scalars become Python values. A dict with the key ``__type__`` is stored as a list of pairs, so that a user's value
cannot be mistaken for a typed value. pandas and NumPy are not imported for values that do not need them.
"""

from __future__ import annotations

import base64
import datetime as dt
import json
import math
import sys
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from decimal import Decimal
from functools import partial
from pathlib import Path, PurePath
from typing import Any, TypeVar
from uuid import UUID
from zoneinfo import ZoneInfo

from nbflow.errors import MissingExtra, SerializationError

TAG = "__type__"
#: Maximum depth of a value; a deeper one probably contains itself, and would reach Python's recursion limit (1000).
MAX_NESTED = 150

T = TypeVar("T")
Json = None | bool | int | float | str | list["Json"] | dict[str, "Json"]


def dumps(value: Any, *, root: str = "value", max_bytes: int | None = None) -> str:
    """Return ``value`` as JSON text in ASCII.

    Raises ``SerializationError`` with the path of a value that cannot be stored (``return value["a"][3]``, where
    ``root`` is ``return value``), or with the size if the text is longer than ``max_bytes``.
    """
    kind = type(value)
    plain = value if value is None or kind is str or kind is int or kind is bool else encode(value, root)
    try:
        text = json.dumps(plain, ensure_ascii=True, allow_nan=False, separators=(", ", ": "))
    except ValueError:  # Python converts only ints of up to 4,300 digits to text
        _refuse_long_int(plain, root)
        raise
    if max_bytes is not None and len(text) > max_bytes:
        raise SerializationError(
            f"{root} is {len(text):,} bytes of JSON, more than the {max_bytes:,} allowed ([core] max_xcom_bytes).",
            hint="Store it in a file or a table, and pass its path or name.",
        )
    return text


def _refuse_long_int(encoded: Any, path: str) -> None:
    """Raise SerializationError with the path of the first int that has more digits than Python converts."""
    if isinstance(encoded, dict):
        typed = TAG in encoded
        for key, item in encoded.items():
            _refuse_long_int(item, path if typed else f"{path}[{_quoted(key)}]")
    elif isinstance(encoded, list):
        for index, item in enumerate(encoded):
            _refuse_long_int(item, f"{path}[{index}]")
    elif isinstance(encoded, int) and encoded.bit_length() > sys.get_int_max_str_digits() * 3:
        try:
            str(encoded)
        except ValueError:
            digits = int(encoded.bit_length() * math.log10(2))
            raise SerializationError(
                f"{path}: an int of {digits:,} digits cannot be stored.", hint="Return hex(...) of it, or a float."
            ) from None


def loads(text: str | bytes) -> Any:
    """Return the value that ``dumps`` wrote. Raises ``SerializationError`` for other text."""
    try:
        return decode(json.loads(text, parse_constant=_refuse_constant))
    except (ValueError, RecursionError) as error:
        raise SerializationError(f"This is not a stored value: {error}") from None


def _refuse_constant(constant: str) -> Any:
    raise ValueError(f"{constant} is not JSON")


# ------------------------------------------------------------------------------------------------------------ registry

_DATACLASSES: dict[str, type[Any]] = {}
_DATACLASS_NAMES: dict[type[Any], str] = {}


def register(cls: type[T]) -> type[T]:
    """Allow a dataclass in XComs (usable as a decorator). Its module and name are stored with the value.

    The process that reads the value must register the same class, so put it in a module of the DAGs folder.
    """
    if not is_dataclass(cls):
        raise TypeError(f"{cls!r} is not a dataclass; only dataclasses can be registered.")
    name = f"{cls.__module__}.{cls.__qualname__}"
    _DATACLASSES[name] = cls
    _DATACLASS_NAMES[cls] = name
    return cls


# ------------------------------------------------------------------------------------------------------------ encoding


def encode(value: Any, root: str = "value") -> Json:
    """Convert ``value`` to JSON. Raises ``SerializationError`` with the path from ``root``."""
    return _encode(value, root, 0)


def _tagged(name: str, value: Any, /, **attributes: Any) -> dict[str, Any]:
    return {TAG: name, "value": value, **attributes}


def _encode(value: Any, path: str, depth: int) -> Any:
    encoder = _ENCODERS.get(type(value))
    if encoder is None:
        encoder = _encoder_of_subclass(value)
    if encoder is None:
        raise SerializationError(f"{path}: a value of type {_type_name(value)} cannot be stored.", hint=_hint(value))
    if depth > MAX_NESTED:
        raise SerializationError(f"{path[:80]}...: nested more than {MAX_NESTED} levels deep, or contains itself.")
    return encoder(value, path, depth)


def _plain(value: Any, path: str, depth: int) -> Any:
    return value


def _float(value: float, path: str, depth: int) -> Any:
    return value if math.isfinite(value) else _tagged("float", str(value))


def _list(value: list[Any], path: str, depth: int) -> Any:
    return [
        item if type(item) is str or type(item) is int else _encode(item, f"{path}[{index}]", depth + 1)
        for index, item in enumerate(value)
    ]


def _tuple(value: tuple[Any, ...], path: str, depth: int) -> Any:
    return _tagged("tuple", _list(list(value), path, depth))


def _set(value: set[Any] | frozenset[Any], path: str, depth: int) -> Any:
    items = [_encode(item, f"{path}{{...}}", depth + 1) for item in value]
    items.sort(key=lambda item: json.dumps(item, sort_keys=True))  # equal sets get equal texts
    return _tagged("frozenset" if isinstance(value, frozenset) else "set", items)


def _dict(value: Mapping[Any, Any], path: str, depth: int) -> Any:
    encoded: dict[str, Any] = {}
    for key, item in value.items():
        name = key if type(key) is str else str(key)
        if name in encoded:
            raise SerializationError(f"{path}: two keys become the same text {name!r}.")
        encoded[name] = _encode(item, f"{path}[{_quoted(key)}]", depth + 1)
    return _tagged("dict", [[key, item] for key, item in encoded.items()]) if TAG in encoded else encoded


def _quoted(key: Any) -> str:
    return f'"{key}"' if isinstance(key, str) else repr(key)


def _datetime(value: dt.datetime, path: str, depth: int) -> Any:
    attributes = _fold(value)
    zone = getattr(value.tzinfo, "key", None) or getattr(value.tzinfo, "name", None)
    if isinstance(zone, str) and _is_zone(zone):
        attributes["zone"] = zone
    if type(value).__module__.partition(".")[0] == "pendulum":
        attributes["pendulum"] = True
    return _tagged("datetime", dt.datetime.isoformat(value), **attributes)


def _fold(value: dt.datetime | dt.time) -> dict[str, Any]:
    return {"fold": 1} if value.fold else {}


def _is_zone(name: str) -> bool:
    try:
        ZoneInfo(name)
    except (
        KeyError,
        ValueError,
        OSError,
    ):  # KeyError: not found; the others: a name with dots, or of a folder
        return False
    return True


def _timedelta(value: dt.timedelta, path: str, depth: int) -> Any:
    return _tagged("timedelta", [value.days, value.seconds, value.microseconds])


def _dataclass(value: Any, path: str, depth: int) -> Any:
    content = {
        spec.name: _encode(getattr(value, spec.name), f"{path}.{spec.name}", depth + 1)
        for spec in fields(value)
        if spec.init
    }
    return _tagged("dataclass", content, name=_DATACLASS_NAMES[type(value)])


_Encoder = Callable[[Any, str, int], Any]

_ENCODERS: dict[type[Any], _Encoder] = {
    type(None): _plain,
    bool: _plain,
    int: _plain,
    str: _plain,
    float: _float,
    list: _list,
    tuple: _tuple,
    dict: _dict,
    set: _set,
    frozenset: _set,
    bytes: lambda value, path, depth: _tagged("bytes", base64.b64encode(value).decode()),
    dt.datetime: _datetime,
    dt.date: lambda value, path, depth: _tagged("date", dt.date.isoformat(value)),
    dt.time: lambda value, path, depth: _tagged("time", value.isoformat(), **_fold(value)),
    dt.timedelta: _timedelta,
    Decimal: lambda value, path, depth: _tagged("decimal", str(value)),
    UUID: lambda value, path, depth: _tagged("uuid", str(value)),
}

#: Subclasses are stored as the first matching base, so datetime comes before date.
_BASES: tuple[tuple[type[Any], _Encoder], ...] = (
    (PurePath, lambda value, path, depth: _tagged("path", str(value))),
    (dt.datetime, _datetime),
    (dt.date, _ENCODERS[dt.date]),
    (dt.timedelta, _timedelta),
    (str, lambda value, path, depth: str.__str__(value)),
    (int, lambda value, path, depth: int(value)),
    (float, lambda value, path, depth: _float(float(value), path, depth)),
    (dict, _dict),
    (list, _list),
    (tuple, _tuple),
)


def _encoder_of_subclass(value: Any) -> _Encoder | None:
    if type(value) in _DATACLASS_NAMES:
        return _dataclass
    if "numpy" in sys.modules or "pandas" in sys.modules:
        from nbflow import serde_numpy_pandas

        if encoder := serde_numpy_pandas.encoder_of(value):
            return partial(_encode_array_or_frame, encoder)
    return next((encoder for base, encoder in _BASES if isinstance(value, base)), None)


def _encode_array_or_frame(encoder: Callable[..., Any], value: Any, path: str, depth: int) -> Any:
    from nbflow.serde_numpy_pandas import Unstorable

    try:
        return encoder(value, lambda item, at: _encode(item, f"{path}{at}", depth + 1))
    except Unstorable as error:
        raise SerializationError(f"{path}{error.at}: {error.what} cannot be stored.", hint=error.hint) from None


def _type_name(value: Any) -> str:
    kind = type(value)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def _hint(value: Any) -> str:
    if is_dataclass(value):
        return "Register its class with nbflow.serde.register, or return dataclasses.asdict(...)."
    if callable(getattr(value, "__next__", None)):
        return "Return list(...) of it."
    return "Return plain values: numbers, text, dates, lists, dicts; or store it and return its path."


# ------------------------------------------------------------------------------------------------------------ decoding


def decode(value: Json) -> Any:
    """Restore a value from the result of ``encode``. Raises ``SerializationError`` for a type not on the allow-list."""
    if isinstance(value, list):
        return [decode(item) if isinstance(item, (list, dict)) else item for item in value]
    if not isinstance(value, dict):
        return value
    if TAG not in value:
        return {key: decode(item) if isinstance(item, (list, dict)) else item for key, item in value.items()}
    name = value[TAG]
    decoder = _DECODERS.get(name) if isinstance(name, str) else None
    if decoder is None:
        raise SerializationError(f"A stored value has the unknown type {name!r}.")
    try:
        return decoder(value)
    except (KeyError, TypeError, ValueError, ArithmeticError, AttributeError) as error:
        if isinstance(error, SerializationError):
            raise
        raise SerializationError(f"A stored {name} cannot be read: {type(error).__name__}: {error}") from None


def _read_datetime(stored: Mapping[str, Any]) -> dt.datetime:
    value = dt.datetime.fromisoformat(stored["value"]).replace(fold=stored.get("fold", 0))
    if "zone" in stored:
        zone = ZoneInfo(stored["zone"])
        local = value.replace(tzinfo=zone)  # keeps fold; if the zone's rules have changed, the instant is kept instead
        value = local if local.utcoffset() == value.utcoffset() else value.astimezone(zone)
    if stored.get("pendulum"):
        import pendulum

        return pendulum.instance(value, tz=None)
    return value


def _read_dataclass(stored: Mapping[str, Any]) -> Any:
    cls = _DATACLASSES.get(stored["name"])
    if cls is None:
        raise SerializationError(
            f"A stored value is a {stored['name']}, which is not registered in this process.",
            hint="Register the class with nbflow.serde.register where the DAG is defined.",
        )
    return cls(**{name: decode(item) for name, item in stored["value"].items()})


def _read_frame(stored: Mapping[str, Any]) -> Any:
    from nbflow import serde_numpy_pandas

    try:
        return serde_numpy_pandas.DECODERS[stored[TAG]](stored, decode)
    except ModuleNotFoundError as error:
        raise MissingExtra(f"Reading a stored {stored[TAG]}", error.name or "pandas", "lab") from None


_DECODERS: dict[str, Callable[[Mapping[str, Any]], Any]] = {
    "float": lambda stored: {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}[stored["value"]],
    "tuple": lambda stored: tuple(decode(stored["value"])),
    "set": lambda stored: set(decode(stored["value"])),
    "frozenset": lambda stored: frozenset(decode(stored["value"])),
    "dict": lambda stored: {key: decode(item) for key, item in stored["value"]},
    "bytes": lambda stored: base64.b64decode(stored["value"], validate=True),
    "datetime": _read_datetime,
    "date": lambda stored: dt.date.fromisoformat(stored["value"]),
    "time": lambda stored: dt.time.fromisoformat(stored["value"]).replace(fold=stored.get("fold", 0)),
    "timedelta": lambda stored: dt.timedelta(*stored["value"]),
    "decimal": lambda stored: Decimal(stored["value"]),
    "uuid": lambda stored: UUID(stored["value"]),
    "path": lambda stored: Path(stored["value"]),
    "dataclass": _read_dataclass,
    "ndarray": _read_frame,
    "series": _read_frame,
    "frame": _read_frame,
}
