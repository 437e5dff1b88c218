"""The protocol between supervisor, fork servers and children: JSON messages over a socket pair, never pickle.

A message is its length in four bytes, then that many bytes of JSON, always one object. File descriptors (a log's
pipe, the socket of a new child) travel with a message that gives their number as ``"fds"``.

Messages by sender and receiver::

    supervisor -> fork server   {"fork": n, "warm_up": bool}    fork n idle children
                                {"kill": pid, "signal": n}      signal a child's process group; only the fork server,
                                                                which reaps it, knows that the pid is not reused
                                {"sweep": true}                 kill processes that children left outside their groups
    fork server -> supervisor   {"forked": pid, "fds": 1}       a new child, with its socket
                                {"fork_failed": reason}
                                {"exited": pid, "status": ...}  reaped, and its process group is empty
    supervisor -> child         {"load": {...}}                 become a DAG fork server: load this DAG, then serve
                                {"workload": {...}, "fds": 2}   run this try; with "load" if the child has no DAG.
                                                                The ends of its log's pipe: to write, to read
                                {"response": ...} or {"error": {"type", "message", "hint"}}
    child -> supervisor         {"loaded": {...}}               the report of loading the DAG
                                {"request": kind, "args": {...}, "attempt": id}
                                {"limit": seconds or null, "of": what, "attempt": id}
                                {"ended": {...}, "attempt": id}  the outcome, before its callbacks are called
                                {"outcome": {...}, "attempt": id}

Both ends run under one user id, so the checks guard against accidents, not against attacks. The supervisor still checks
the size, form and attempt id of everything that it reads, and a child that breaks the protocol is killed.
"""

from __future__ import annotations

import array
import json
import os
import socket
import struct
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from datetime import datetime
from typing import Any

from nbflow import serde
from nbflow.authoring.workload import Outcome, Workload
from nbflow.core import attempt_events
from nbflow.core.snapshot import Run
from nbflow.core.states import Cause, RunState
from nbflow.errors import NbflowError

MAX_MESSAGE_BYTES = 64 * 1024 * 1024
"""Longest message (a DAG's whole source is one message)."""
MAX_CHILD_MESSAGE_BYTES = 16 * 1024 * 1024
"""Longest message that a supervisor reads from a child; an XCom of the default size limit fits, even when escaped."""
READ_BYTES = 64 * 1024
MAX_FDS = 4

_HEADER = struct.Struct("!I")
_to_json = json.JSONEncoder(separators=(",", ":"), ensure_ascii=True, allow_nan=False).encode
_from_json = json.JSONDecoder().decode
_FD_BYTES = array.array("i").itemsize
_ANCILLARY_BYTES = socket.CMSG_SPACE(MAX_FDS * _FD_BYTES)


class ProtocolError(NbflowError):
    """The other end sent bytes that are not a valid message."""


class ConnectionClosed(NbflowError):
    """The other end closed the connection, or died."""


def encode(message: Mapping[str, Any]) -> bytes:
    """A message as bytes, with its length first. Raises :class:`ProtocolError` if it is too long."""
    body = _to_json(message).encode()
    if len(body) > MAX_MESSAGE_BYTES:
        raise ProtocolError(f"a message of {len(body):,} bytes is more than the {MAX_MESSAGE_BYTES:,} allowed")
    return _HEADER.pack(len(body)) + body


class Channel:
    """One end of a socket pair.

    The supervisor's end is not ``blocking``: data that the other end does not read is queued, and :meth:`flush` sends
    it later. The other processes send blocking: the supervisor always reads, and never waits for them.
    """

    def __init__(self, sock: socket.socket, *, blocking: bool, max_bytes: int = MAX_MESSAGE_BYTES) -> None:
        sock.setblocking(blocking)
        self.sock = sock
        self.max_bytes = max_bytes
        self._blocking = blocking
        self._inbox = bytearray()
        self._fds: deque[int] = deque()
        self._outbox = bytearray()

    def fileno(self) -> int:
        return self.sock.fileno()

    def send(self, message: Mapping[str, Any], fds: Sequence[int] = ()) -> None:
        """Send, or queue what the socket does not accept at once. Raises :class:`ConnectionClosed`."""
        data = encode({**message, "fds": len(fds)} if fds else message)
        if self._outbox:
            if fds:
                raise ProtocolError("descriptors cannot be sent while earlier messages wait")
            self._outbox += data
            self.flush()
            return
        try:
            sent = socket.send_fds(self.sock, [data], list(fds)) if fds else self.sock.send(data)
            if sent < len(data):
                if self._blocking:
                    self.sock.sendall(memoryview(data)[sent:])
                else:
                    self._outbox += data[sent:]
        except BlockingIOError:
            if fds:
                raise ProtocolError("the other end does not read") from None
            self._outbox += data
        except OSError as error:
            raise ConnectionClosed(f"the connection is closed: {error.strerror}") from None

    @property
    def unsent(self) -> bool:
        return bool(self._outbox)

    def flush(self) -> None:
        """Send queued data, as far as the socket accepts it. Raises :class:`ConnectionClosed`."""
        try:
            while self._outbox:
                del self._outbox[: self.sock.send(self._outbox)]
        except BlockingIOError:
            pass
        except OSError as error:
            raise ConnectionClosed(f"the connection is closed: {error.strerror}") from None

    def receive(self) -> tuple[dict[str, Any], list[int]]:
        """Wait for one message; returns it with its descriptors. Raises :class:`ConnectionClosed`."""
        while (message := self._next()) is None:
            if not self._read(0):
                raise ConnectionClosed("the other end closed the connection")
        return message

    def receive_available(self) -> tuple[list[tuple[dict[str, Any], list[int]]], bool]:
        """All complete messages that have arrived, without waiting, and whether the other end is still open."""
        is_open = True
        try:
            while (count := self._read(socket.MSG_DONTWAIT)) == READ_BYTES:
                pass
            is_open = count > 0
        except BlockingIOError:
            pass
        except ConnectionClosed:
            is_open = False
        messages = []
        while (message := self._next()) is not None:
            messages.append(message)
        return messages, is_open

    def _read(self, flags: int) -> int:
        try:
            data, ancillary, _, _ = self.sock.recvmsg(READ_BYTES, _ANCILLARY_BYTES, flags)
        except BlockingIOError:
            raise
        except OSError as error:
            raise ConnectionClosed(f"the connection is closed: {error.strerror}") from None
        for level, kind, payload in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                fds = array.array("i")
                fds.frombytes(payload[: len(payload) - len(payload) % _FD_BYTES])
                self._fds.extend(fds)
        self._inbox += data
        return len(data)

    def _next(self) -> tuple[dict[str, Any], list[int]] | None:
        if len(self._inbox) < _HEADER.size:
            return None
        (length,) = _HEADER.unpack_from(self._inbox)
        if length > self.max_bytes:
            raise ProtocolError(f"a message of {length:,} bytes is more than the {self.max_bytes:,} allowed")
        end = _HEADER.size + length
        if len(self._inbox) < end:
            return None
        body = bytes(self._inbox[_HEADER.size : end])
        del self._inbox[:end]
        try:
            message = _from_json(body.decode())
        except (ValueError, RecursionError):
            raise ProtocolError(f"{body[:40]!r} is not a message") from None
        if not isinstance(message, dict):
            raise ProtocolError(f"{body[:40]!r} is not a message")
        count = message.pop("fds", 0)
        if not isinstance(count, int) or count > len(self._fds):
            raise ProtocolError("a message without the descriptors that it announces")
        return message, [self._fds.popleft() for _ in range(count)]

    def close(self) -> None:
        self.sock.close()
        while self._fds:
            os.close(self._fds.popleft())


# ---------------------------------------------------------------------------------------------- dataclasses in messages


def _identity(value: Any) -> Any:
    return value


def _exactly(*types: type[Any]) -> Callable[[Any], Any]:
    def check(raw: Any) -> Any:
        if type(raw) not in types:
            raise TypeError(f"expected {types[0].__name__}, got {type(raw).__name__}")
        return raw

    return check


#: annotation -> (to JSON, from JSON). User values go through nbflow.serde, so that a datetime in a conf or in the
#: arguments of a method arrives as a datetime. Types that are not listed are JSON already.
_FIELDS: Mapping[str, tuple[Callable[[Any], Any], Callable[[Any], Any]]] = {
    "str": (_identity, _exactly(str)),
    "int": (_identity, _exactly(int)),
    "float": (_identity, _exactly(float, int)),
    "bool": (_identity, _exactly(bool)),
    "datetime": (datetime.isoformat, datetime.fromisoformat),
    "Mapping[str, Any]": (lambda value: serde.encode(dict(value)), serde.decode),
    "Any": (serde.encode, serde.decode),
    "tuple[str, ...]": (list, tuple),
    "Cause": (str, Cause),
    "RunState": (str, RunState),
    "Run": (lambda value: pack(value), lambda raw: unpack(Run, raw)),
    "Event": (lambda value: pack_event(value), lambda raw: unpack_event(raw)),
}

EVENTS: Mapping[str, type[Any]] = {
    cls.__name__: cls
    for cls in (
        attempt_events.Started,
        attempt_events.Succeeded,
        attempt_events.SkippedItself,
        attempt_events.Failed,
        attempt_events.Rescheduled,
        attempt_events.Deferred,
        attempt_events.TriggerFired,
        attempt_events.DispatchLost,
        attempt_events.KilledToRestart,
    )
}


_Converter = tuple[Callable[[Any], Any], Callable[[Any], Any]]
_CONVERTERS: dict[type[Any], tuple[tuple[str, Any, _Converter | None], ...]] = {}


def _converters_of(cls: type[Any]) -> tuple[tuple[str, Any, _Converter | None], ...]:
    """(name, default, converter or None) of each field, by its annotation; cached per class."""
    converters = _CONVERTERS.get(cls)
    if converters is None:
        converters = _CONVERTERS[cls] = tuple(
            (field.name, field.default, _FIELDS.get(str(field.type).removesuffix(" | None"))) for field in fields(cls)
        )
    return converters


def pack(value: Any) -> dict[str, Any]:
    """A dataclass of the protocol as JSON values; fields that hold their default are omitted."""
    packed: dict[str, Any] = {}
    for name, default, converter in _converters_of(type(value)):
        item = getattr(value, name)
        if item is not None and item is not default:
            packed[name] = item if converter is None else converter[0](item)
    return packed


def unpack(cls: type[Any], raw: Any) -> Any:
    """Inverse of :func:`pack`. Raises :class:`ProtocolError` if ``raw`` does not fit the class."""
    if not isinstance(raw, dict):
        raise ProtocolError(f"expected a {cls.__name__}, got {type(raw).__name__}")
    try:
        values = dict(raw)
        for name, _, converter in _converters_of(cls):
            if converter is not None and values.get(name) is not None:
                values[name] = converter[1](values[name])
        return cls(**values)
    except (TypeError, ValueError, AttributeError, NbflowError) as error:
        raise ProtocolError(f"not a valid {cls.__name__}: {error}") from None


def pack_event(event: attempt_events.Event) -> dict[str, Any]:
    return {"event": type(event).__name__, **pack(event)}


def unpack_event(raw: Any) -> attempt_events.Event:
    if not isinstance(raw, dict):
        raise ProtocolError(f"expected an event, got {type(raw).__name__}")
    values = dict(raw)
    cls = EVENTS.get(str(values.pop("event", "")))
    if cls is None:
        raise ProtocolError(f"unknown event {raw.get('event')!r}")
    event: attempt_events.Event = unpack(cls, values)
    return event


def pack_workload(workload: Workload) -> dict[str, Any]:
    return pack(workload)


def unpack_workload(raw: Any) -> Workload:
    workload: Workload = unpack(Workload, raw)
    return workload


def pack_outcome(outcome: Outcome) -> dict[str, Any]:
    return pack(outcome)


def unpack_outcome(raw: Any) -> Outcome:
    outcome: Outcome = unpack(Outcome, raw)
    return outcome
