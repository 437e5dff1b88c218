"""What supervisor, template and child say to each other: JSON messages over a socket pair, never pickle.

A message is four bytes of length, then that many bytes of JSON, always one object. File descriptors (a log, the socket
of a new child) travel beside a message that says how many under ``"fds"``.

Who says what::

    supervisor -> template   {"fork": n, "rehearse": bool}  make n children that wait for work
                             {"kill": pid, "signal": n}     to a child's process group; the template reaps, so it alone
                                                            knows that the number still means that child
                             {"sweep": true}                end what children left behind outside their groups
    template -> supervisor   {"forked": pid, "fds": 1}      a new child, with its socket
                             {"ended": pid, "status": ...}  it was reaped and its process group is empty
    supervisor -> child      {"load": {...}}                become a template: load this DAG, then serve forks
                             {"work": {...}, "fds": 1}      run this try; with "load" first where the child has no DAG
                             {"reply": ...} or {"error": {"type", "message"}}
    child -> supervisor      {"loaded": {...}}              what loading gave
                             {"ask": kind, "args": {...}, "attempt": id}
                             {"outcome": {...}, "attempt": id}

Both ends live under one user id, so this is a fence against accidents, not against attack. Still the supervisor trusts
nothing that it reads: size, form and attempt id are checked, and a child that breaks the rules loses its try.
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
from nbflow.authoring.runtime import Outcome, Work
from nbflow.core import events
from nbflow.core.snapshot import Run
from nbflow.core.states import Cause, RunState
from nbflow.errors import NbflowError

MOST_BYTES = 64 * 1024 * 1024
"""Longest message that is read at all (a DAG's whole source goes in one)."""
CHILD_MOST_BYTES = 16 * 1024 * 1024
"""Longest message that a supervisor reads from a child: an XCom of the largest size, escaped, fits well."""
READ_BYTES = 64 * 1024
MOST_FDS = 4

_HEADER = struct.Struct("!I")
_to_json = json.JSONEncoder(separators=(",", ":"), ensure_ascii=True, allow_nan=False).encode
_from_json = json.JSONDecoder().decode
_FD_BYTES = array.array("i").itemsize
_ANCILLARY_BYTES = socket.CMSG_SPACE(MOST_FDS * _FD_BYTES)


class BrokenProtocol(NbflowError):
    """The other end sent what is not a message."""


class Hangup(NbflowError):
    """The other end closed the connection, or died."""


def encode(message: Mapping[str, Any]) -> bytes:
    """A message as bytes, its length first."""
    body = _to_json(message).encode()
    if len(body) > MOST_BYTES:
        raise BrokenProtocol(f"a message of {len(body):,} bytes is more than the {MOST_BYTES:,} allowed")
    return _HEADER.pack(len(body)) + body


class Channel:
    """One end of a socket pair.

    The supervisor's end is not ``blocking``: what the other end does not read is queued, and goes out by :meth:`flush`.
    The ends below it send blocking: a supervisor always reads, and never waits for them.
    """

    def __init__(self, sock: socket.socket, *, blocking: bool, most_bytes: int = MOST_BYTES) -> None:
        sock.setblocking(blocking)
        self.sock = sock
        self.most_bytes = most_bytes
        self._blocking = blocking
        self._inbox = bytearray()
        self._fds: deque[int] = deque()
        self._outbox = bytearray()

    def fileno(self) -> int:
        return self.sock.fileno()

    def send(self, message: Mapping[str, Any], fds: Sequence[int] = ()) -> None:
        """Send, or queue what does not go out at once. Raises :class:`Hangup` if nobody listens."""
        data = encode({**message, "fds": len(fds)} if fds else message)
        if self._outbox:
            if fds:
                raise BrokenProtocol("descriptors cannot be sent while earlier messages wait")
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
                raise BrokenProtocol("the other end does not read") from None
            self._outbox += data
        except OSError as error:
            raise Hangup(f"the connection is gone: {error.strerror}") from None

    @property
    def unsent(self) -> bool:
        return bool(self._outbox)

    def flush(self) -> None:
        """Send what is queued, as far as the socket takes it."""
        try:
            while self._outbox:
                del self._outbox[: self.sock.send(self._outbox)]
        except BlockingIOError:
            pass
        except OSError as error:
            raise Hangup(f"the connection is gone: {error.strerror}") from None

    def receive(self) -> tuple[dict[str, Any], list[int]]:
        """Wait for one message; returns it with its descriptors."""
        while (found := self._next()) is None:
            if not self._read(0):
                raise Hangup("the other end is gone")
        return found

    def arrived(self) -> tuple[list[tuple[dict[str, Any], list[int]]], bool]:
        """All complete messages that are there, without waiting, and whether the other end is still open."""
        is_open = True
        try:
            while (count := self._read(socket.MSG_DONTWAIT)) == READ_BYTES:
                pass
            is_open = count > 0
        except BlockingIOError:
            pass
        except Hangup:
            is_open = False
        found = []
        while (one := self._next()) is not None:
            found.append(one)
        return found, is_open

    def _read(self, flags: int) -> int:
        try:
            data, ancillary, _, _ = self.sock.recvmsg(READ_BYTES, _ANCILLARY_BYTES, flags)
        except BlockingIOError:
            raise
        except OSError as error:
            raise Hangup(f"the connection is gone: {error.strerror}") from None
        for level, kind, payload in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                handles = array.array("i")
                handles.frombytes(payload[: len(payload) - len(payload) % _FD_BYTES])
                self._fds.extend(handles)
        self._inbox += data
        return len(data)

    def _next(self) -> tuple[dict[str, Any], list[int]] | None:
        if len(self._inbox) < _HEADER.size:
            return None
        (length,) = _HEADER.unpack_from(self._inbox)
        if length > self.most_bytes:
            raise BrokenProtocol(f"a message of {length:,} bytes is more than the {self.most_bytes:,} allowed")
        end = _HEADER.size + length
        if len(self._inbox) < end:
            return None
        body = bytes(self._inbox[_HEADER.size : end])
        del self._inbox[:end]
        try:
            message = _from_json(body.decode())
        except (ValueError, RecursionError):
            raise BrokenProtocol(f"{body[:40]!r} is not a message") from None
        if not isinstance(message, dict):
            raise BrokenProtocol(f"{body[:40]!r} is not a message")
        count = message.pop("fds", 0)
        if not isinstance(count, int) or count > len(self._fds):
            raise BrokenProtocol("a message without the descriptors that it names")
        return message, [self._fds.popleft() for _ in range(count)]

    def close(self) -> None:
        self.sock.close()
        while self._fds:
            os.close(self._fds.popleft())


# --------------------------------------------------------------------------------------------- dataclasses on the wire


def _same(value: Any) -> Any:
    return value


def _only(*kinds: type[Any]) -> Callable[[Any], Any]:
    def check(raw: Any) -> Any:
        if type(raw) not in kinds:
            raise TypeError(f"expected {kinds[0].__name__}, got {type(raw).__name__}")
        return raw

    return check


#: annotation -> (to JSON, from JSON). Values of users go through nbflow.serde, so that a datetime in a conf or in a
#: method's arguments comes out as it went in. What is not here is JSON already.
_FIELDS: Mapping[str, tuple[Callable[[Any], Any], Callable[[Any], Any]]] = {
    "str": (_same, _only(str)),
    "int": (_same, _only(int)),
    "float": (_same, _only(float, int)),
    "bool": (_same, _only(bool)),
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
        events.Started,
        events.Succeeded,
        events.SkippedItself,
        events.Failed,
        events.Rescheduled,
        events.Deferred,
        events.TriggerFired,
        events.DispatchLost,
        events.KilledToRestart,
    )
}


_Convert = tuple[Callable[[Any], Any], Callable[[Any], Any]]
_PLANS: dict[type[Any], tuple[tuple[str, Any, _Convert | None], ...]] = {}


def _plan_of(cls: type[Any]) -> tuple[tuple[str, Any, _Convert | None], ...]:
    """(name, default, converters) of each field, read off its annotation once."""
    plan = _PLANS.get(cls)
    if plan is None:
        plan = _PLANS[cls] = tuple(
            (spec.name, spec.default, _FIELDS.get(str(spec.type).removesuffix(" | None"))) for spec in fields(cls)
        )
    return plan


def pack(value: Any) -> dict[str, Any]:
    """A dataclass of the protocol as JSON values; what has its default is left out."""
    out: dict[str, Any] = {}
    for name, default, convert in _plan_of(type(value)):
        item = getattr(value, name)
        if item is not None and item is not default:
            out[name] = item if convert is None else convert[0](item)
    return out


def unpack(cls: type[Any], raw: Any) -> Any:
    """Inverse of :func:`pack`. Raises :class:`BrokenProtocol` for anything that does not fit the class."""
    if not isinstance(raw, dict):
        raise BrokenProtocol(f"expected a {cls.__name__}, got {type(raw).__name__}")
    try:
        made = dict(raw)
        for name, _, convert in _plan_of(cls):
            if convert is not None and made.get(name) is not None:
                made[name] = convert[1](made[name])
        return cls(**made)
    except (TypeError, ValueError, AttributeError, NbflowError) as error:
        raise BrokenProtocol(f"not a {cls.__name__}: {error}") from None


def pack_event(event: events.Event) -> dict[str, Any]:
    return {"event": type(event).__name__, **pack(event)}


def unpack_event(raw: Any) -> events.Event:
    if not isinstance(raw, dict):
        raise BrokenProtocol(f"expected an event, got {type(raw).__name__}")
    made = dict(raw)
    cls = EVENTS.get(str(made.pop("event", "")))
    if cls is None:
        raise BrokenProtocol(f"no such event: {raw.get('event')!r}")
    event: events.Event = unpack(cls, made)
    return event


def pack_work(work: Work) -> dict[str, Any]:
    return pack(work)


def unpack_work(raw: Any) -> Work:
    work: Work = unpack(Work, raw)
    return work


def pack_outcome(outcome: Outcome) -> dict[str, Any]:
    return pack(outcome)


def unpack_outcome(raw: Any) -> Outcome:
    outcome: Outcome = unpack(Outcome, raw)
    return outcome
