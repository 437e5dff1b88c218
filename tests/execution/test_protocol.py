"""Messages between supervisor and children: each arrives unchanged, or is refused."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from nbflow.authoring.workload import Outcome, Workload
from nbflow.core import attempt_events as ev
from nbflow.core.snapshot import Run
from nbflow.core.states import Cause, RunState
from nbflow.execution import protocol
from nbflow.execution.protocol import Channel, ConnectionClosed, ProtocolError

AT = datetime(2026, 3, 1, 12, tzinfo=UTC)
RUN = Run(
    dag_id="d", run_id="r", run_after=AT, logical_date=AT, conf={"since": AT, "n": (1, 2)}, state=RunState.RUNNING
)


@pytest.fixture
def ends() -> Iterator[tuple[Channel, Channel]]:
    first, second = socket.socketpair()
    pair = Channel(first, blocking=False, max_bytes=1000), Channel(second, blocking=True)
    yield pair
    for end in pair:
        end.close()


# A Workload and events with fields of every type: dates, user values, tuples, enums, and defaults.
WORKLOAD = Workload(
    attempt_id="a",
    run=RUN,
    task_id="t",
    map_index=3,
    try_number=2,
    continues=True,
    first_start=AT,
    next_method="resume",
    next_kwargs={"event": {"at": AT}, "wait": timedelta(seconds=5)},
)
EVENTS = [
    ev.Started(attempt_id="a", at=AT),
    ev.Succeeded(attempt_id="a", at=AT, started_at=AT, length=0, follow=("x", "y"), skip="all"),
    ev.Succeeded(attempt_id="a", at=AT, follow=()),
    ev.SkippedItself(attempt_id="a", at=AT, message="no data"),
    ev.Failed(attempt_id="a", at=AT, cause=Cause.FAILED_HARD, error="x", retry=False),
    ev.Rescheduled(attempt_id="a", at=AT, until=AT + timedelta(hours=1)),
    ev.Deferred(attempt_id="a", at=AT, trigger={"name": "n", "kwargs": {"moment": AT}}, next_method="m", timeout_at=AT),
    ev.TriggerFired(attempt_id="a", at=AT, payload={"k": AT}),
    ev.DispatchLost(attempt_id="a", at=AT),
    ev.KilledToRestart(attempt_id="a", at=AT),
]


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: type(event).__name__)
def test_an_outcome_arrives_as_it_was_sent(ends: tuple[Channel, Channel], event: ev.Event) -> None:
    supervisor_end, child_end = ends
    outcome = Outcome(event=event, callbacks_run=("execute", "success"))
    child_end.send({"outcome": protocol.pack_outcome(outcome)})
    ((message, _),), is_open = supervisor_end.receive_available()
    assert (protocol.unpack_outcome(message["outcome"]), is_open) == (outcome, True)


def test_work_arrives_as_it_was_sent(ends: tuple[Channel, Channel]) -> None:
    supervisor_end, child_end = ends
    supervisor_end.send({"workload": protocol.pack_workload(WORKLOAD)})
    assert protocol.unpack_workload(child_end.receive()[0]["workload"]) == WORKLOAD


def test_every_event_can_be_sent() -> None:
    assert (
        set(protocol.EVENTS)
        == {type(event).__name__ for event in EVENTS}
        == {cls.__name__ for cls in ev.Event.__args__}
    )


@pytest.mark.parametrize(
    "raw",
    [
        None,
        [],
        {},
        {"event": "Succeeded"},
        {"event": "Popen", "args": "ls"},
        {"event": "Succeeded", "attempt_id": "a", "at": "yesterday"},
        {"event": "Succeeded", "attempt_id": "a", "at": AT.isoformat(), "length": "many"},
        {"event": "Succeeded", "attempt_id": "a", "at": AT.isoformat(), "follow": 3},
        {"event": "Failed", "attempt_id": "a", "at": AT.isoformat(), "cause": "bored"},
        {"event": "Failed", "attempt_id": "a", "at": AT.isoformat(), "retry": 1},
        {"event": "Succeeded", "attempt_id": "a", "at": AT.isoformat(), "extra": 1},
        {
            "event": "TriggerFired",
            "attempt_id": "a",
            "at": AT.isoformat(),
            "payload": {"__type__": "os.system", "value": "ls"},
        },
    ],
)
def test_an_invalid_event_is_refused(raw: Any) -> None:
    with pytest.raises(ProtocolError):
        protocol.unpack_event(raw)


@pytest.mark.parametrize(
    "data",
    [
        b"\x00\x00\x00\x02hi",
        b"\x00\x00\x00\x02[]",
        b"\x00\x00\x03\xe9",
        b"\xff\xff\xff\xff",
        b'\x00\x00\x00\x0a{"fds": 2}',
        b"\x00\x00\x03\xe0" + b"[" * 0x3E0,
    ],
)
def test_bytes_that_are_not_a_message_are_refused(ends: tuple[Channel, Channel], data: bytes) -> None:
    supervisor_end, child_end = ends
    child_end.sock.sendall(data)
    with pytest.raises(ProtocolError):
        supervisor_end.receive_available()


def test_a_message_in_pieces_arrives_when_it_is_whole(ends: tuple[Channel, Channel]) -> None:
    supervisor_end, child_end = ends
    data = protocol.encode({"a": "ü" * 20}) + protocol.encode({"b": 2})
    messages = []
    for index in range(len(data)):
        child_end.sock.send(data[index : index + 1])
        messages += [message for message, _ in supervisor_end.receive_available()[0]]
    assert messages == [{"a": "ü" * 20}, {"b": 2}]


def test_descriptors_travel_with_their_message(ends: tuple[Channel, Channel], tmp_path: Any) -> None:
    supervisor_end, child_end = ends
    with open(tmp_path / "log", "w") as log:
        supervisor_end.send({"plain": 1})
        supervisor_end.send({"workload": 1}, [log.fileno()])
        supervisor_end.send({"plain": 2})
    messages = [child_end.receive() for _ in range(3)]
    assert [(sorted(message), len(fds)) for message, fds in messages] == [
        (["plain"], 0),
        (["workload"], 1),
        (["plain"], 0),
    ]
    ((handle,),) = [fds for _, fds in messages if fds]
    os.write(handle, b"written through it")
    os.close(handle)
    assert (tmp_path / "log").read_text() == "written through it"


def test_messages_that_the_other_end_does_not_read_are_queued_without_waiting(ends: tuple[Channel, Channel]) -> None:
    # Given an end that sends without blocking, and another end that does not read
    supervisor_end, child_end = ends
    sent = [{"n": n, "text": "x" * 10_000} for n in range(200)]
    for message in sent:
        supervisor_end.send(message)
    assert supervisor_end.unsent
    # When the other end starts to read
    received = []
    while len(received) < len(sent):
        supervisor_end.flush()
        received.append(child_end.receive()[0])
    # Then all messages arrive, in order
    assert received == sent


def test_a_closed_connection_is_reported(ends: tuple[Channel, Channel]) -> None:
    supervisor_end, child_end = ends
    child_end.send({"last": "words"})
    child_end.close()
    assert [supervisor_end.receive_available(), supervisor_end.receive_available()] == [
        ([({"last": "words"}, [])], True),
        ([], False),
    ]
    with pytest.raises(ConnectionClosed):
        supervisor_end.send({"anybody": "there"})
