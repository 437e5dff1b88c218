"""Tasks that misbehave: each fails its own try and nothing else, and the event and the log have the reason."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from nbflow.core.attempt_events import DispatchLost, Failed, Succeeded
from nbflow.core.states import Cause
from tests.execution.support import Harness, wait_for_exit
from tests.gates import WAIT_AT, Gate

pytestmark = pytest.mark.chaos

SOURCE = """
import os, signal, subprocess, sys, time

def fine(rt):
    return "fine"

def exits(rt):
    os._exit(3)

def kills_itself(rt):
    os.kill(os.getpid(), signal.SIGKILL)

def crashes(rt):
    import ctypes
    ctypes.string_at(0)

def allocates_without_limit(rt):
    blocks = []
    while True:
        blocks.append(bytearray(16 * 1024 * 1024))

def prints_much(rt):
    line = "x" * 999
    for _ in range(100_000):
        print(line)

def floods_by_subprocess(rt):
    subprocess.run("head -c 100000000 /dev/zero | tr '\\\\0' y", shell=True, check=True)

def returns_a_lock(rt):
    import threading
    return {"a": [threading.Lock()]}

def closes_everything(rt):
    os.closerange(0, 256)
    while True:
        signal.pause()

def sends_invalid_json(rt):
    rt._channel.sock.send(b"\\x00\\x00\\x00\\x05hello")
    while True:
        signal.pause()

def announces_a_too_long_message(rt):
    rt._channel.sock.send(b"\\xff\\xff\\xff\\xff")
    while True:
        signal.pause()

def uses_another_attempt_id(rt):
    rt._channel.send({"request": "xcom_push", "args": {"key": "k", "value": "1"}, "attempt": "somebody else"})
    return rt._channel.receive()[0]["error"]["message"]

def forges_an_outcome(rt):
    event = {"event": "Succeeded", "attempt_id": "other", "at": "2026-01-01T00:00:00+00:00"}
    rt._channel.send({"outcome": {"event": event}, "attempt": "other"})
    while True:
        signal.pause()

def reports_and_stays(rt):
    event = {"event": "Succeeded", "attempt_id": rt._attempt_id, "at": "2026-01-01T00:00:00+00:00"}
    rt._channel.send({"outcome": {"event": event}, "attempt": rt._attempt_id})
    while True:
        signal.pause()

def leaves_processes(rt):
    children = [subprocess.Popen(["sleep", "1000"]).pid for _ in range(3)]
    daemon = subprocess.Popen(["setsid", "sleep", "1000"]).pid
    return {"group": children, "daemon": daemon}

def forks_and_returns(rt):
    os.fork()
    return "both sides return"

def ignores_sigterm(rt):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    stubborn = "trap '' TERM; echo ready; while :; do sleep 1000; done"
    child = subprocess.Popen(["sh", "-c", stubborn], stdout=subprocess.PIPE)
    child.stdout.readline()
    rt.xcom_push("pids", [os.getpid(), child.pid])
    while True:
        signal.pause()

def hangs(rt):
    rt.xcom_push("pids", [os.getpid()])
    while True:
        signal.pause()

def waits_at_gate(rt):
    rt.xcom_push("pids", [os.getpid()])
    wait_at(GATE)

def waits_at_gate_and_exits(rt):
    rt.xcom_push("pids", [os.getpid()])
    wait_at(GATE)
    os._exit(3)

def kills_its_parent(rt):
    os.kill(os.getppid(), signal.SIGKILL)

def sends_unknown_request(rt):
    return rt._request("drop_all_tables", {})
"""


@pytest.fixture
def harness(tmp_path: Path) -> Iterator[Harness]:
    source = f"{WAIT_AT}\nGATE = {str(tmp_path / 'gate')!r}\n{SOURCE}"
    with Harness(tmp_path, source, grace_seconds=0.2) as harness:
        yield harness
        assert isinstance(harness.run("fine"), Succeeded)  # after each test, the next try still works


@pytest.mark.parametrize(
    ("task", "error_text"),
    [
        ("exits", "the task's process died: exit code 3"),
        ("kills_itself", "the task's process died: killed by SIGKILL (out of memory?)"),
        ("crashes", "the task's process died: killed by SIGSEGV (a crash in native code)"),
        ("closes_everything", "the task's process died: it closed the connection to its supervisor"),
        (
            "sends_invalid_json",
            "the task's process died: it broke the protocol with its supervisor: b'hello' is not a message",
        ),
        (
            "announces_a_too_long_message",
            "the task's process died: it broke the protocol with its supervisor: "
            "a message of 4,294,967,295 bytes is more than the 16,777,216 allowed",
        ),
        (
            "forges_an_outcome",
            "the task's process died: it broke the protocol with its supervisor: "
            "an outcome with the id of another attempt",
        ),
    ],
)
def test_a_process_that_dies_is_reported_with_its_exit(harness: Harness, task: str, error_text: str) -> None:
    # When it runs
    end = harness.run(task)
    # Then the event states how its process exited, and so does the log
    assert (type(end), end.cause, end.error, end.retry) == (Failed, Cause.PROCESS_DIED, error_text, True)
    assert error_text in harness.log(task)


def test_unlimited_allocation_fails_one_try(tmp_path: Path) -> None:
    # Given a limit on what a child may allocate
    with Harness(tmp_path, SOURCE, memory_limit_bytes=512 * 1024 * 1024) as harness:
        # When a task allocates without limit
        end = harness.run("allocates_without_limit")
        # Then it fails like any task that raises
        assert (type(end), end.cause, end.error) == (Failed, Cause.RAISED, "MemoryError: ")
        assert isinstance(harness.run("fine"), Succeeded)


@pytest.mark.parametrize("task", ["prints_much", "floods_by_subprocess"])
def test_a_flooded_log_is_truncated_and_states_it(tmp_path: Path, task: str) -> None:
    # Given logs of at most 1 MB
    with Harness(tmp_path, SOURCE, max_log_bytes=1_000_000) as harness:
        # When a task writes 100 MB
        end = harness.run(task)
        # Then it succeeds, its log is truncated, and the log states that
        assert isinstance(end, Succeeded)
        text = harness.log(task)
        assert len(text) < 1_010_000
        assert text.count("\n*** the log is full; further output is dropped ([logging] max_log_bytes_per_try)\n") == 1


def test_a_value_that_cannot_be_stored_names_its_place(harness: Harness) -> None:
    end = harness.run("returns_a_lock")
    assert isinstance(end, Failed)
    assert end.error.startswith('SerializationError: return value["a"][0]: a value of type')


def test_a_request_for_another_attempt_is_refused(harness: Harness) -> None:
    assert isinstance(harness.run("uses_another_attempt_id"), Succeeded)
    assert list(harness.store.xcoms.values()) == ['"a request with the id of another attempt"']


def test_an_unknown_request_is_refused(harness: Harness) -> None:
    end = harness.run("sends_unknown_request")
    assert (type(end), end.error) == (Failed, "NbflowError: a task cannot request 'drop_all_tables'")


def test_the_write_of_a_stale_attempt_is_refused(harness: Harness) -> None:
    # Given an attempt that is no longer the current one
    harness.store.stale.add("old")
    # When it writes
    end = harness.end(harness.submit("fine", attempt_id="old"))
    # Then the store's refusal reaches the task, and nothing was written
    assert (end.error, harness.store.xcoms) == ("StaleAttempt: attempt old is no longer the current one", {})


def test_processes_left_in_the_group_or_outside_it_are_killed(harness: Harness) -> None:
    import json

    # When a task leaves children in its group and a daemon in a session of its own
    attempt_id = harness.submit("leaves_processes")
    assert isinstance(harness.end(attempt_id), Succeeded)
    pids = json.loads(harness.store.xcoms[attempt_id, "return_value"])
    # Then none of them outlives its try
    assert wait_for_exit([*pids["group"], pids["daemon"]]) == []


def test_a_fork_that_returns_from_the_task_reports_no_outcome(harness: Harness) -> None:
    attempt_id = harness.submit("forks_and_returns")
    end = harness.end(attempt_id)
    assert isinstance(end, Succeeded)
    assert harness.ends(attempt_id) == [end]


def test_a_process_that_stays_after_its_outcome_is_killed(harness: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    from nbflow.execution import supervisor

    monkeypatch.setattr(supervisor, "EXIT_SECONDS", 0.1)
    # When it reports success and does not exit
    end = harness.run("reports_and_stays")
    # Then the success stands, and the process has exited (run() waits for that)
    assert isinstance(end, Succeeded)
    assert harness.executor.supervisor.idle


def test_a_group_that_ignores_sigterm_is_killed_after_the_grace_period(harness: Harness) -> None:
    import json

    # Given a task that ignores SIGTERM, like its child process
    attempt_id = harness.submit("ignores_sigterm")
    harness.until(lambda: (attempt_id, "pids") in harness.store.xcoms)
    pids = json.loads(harness.store.xcoms[attempt_id, "pids"])
    # When it is cancelled
    assert harness.executor.cancel(attempt_id, reason="ada stopped it")
    end = harness.end(attempt_id)
    # Then the report has the reason, and no process is left
    assert (type(end), end.cause, end.error, end.retry) == (Failed, Cause.KILLED, "ada stopped it", False)
    assert [pid for pid in pids if os.path.exists(f"/proc/{pid}")] == []
    assert "SIGKILL" in harness.log("ignores_sigterm")


def test_a_task_that_hangs_is_killed_at_its_time_limit(tmp_path: Path) -> None:
    with Harness(tmp_path, SOURCE, grace_seconds=5.0, timeout_margin_seconds=0.0) as harness:
        end = harness.run("hangs", execution_timeout=0.2)
        assert (type(end), end.cause, end.error, end.retry) == (
            Failed,
            Cause.EXECUTION_TIMEOUT,
            "the task ran longer than its execution_timeout of 0.2 s",
            True,
        )


def test_a_cleared_try_is_reported_ended_when_its_process_has_exited(harness: Harness) -> None:
    import json

    from nbflow.core.attempt_events import KilledToRestart

    attempt_id = harness.submit("hangs")
    harness.until(lambda: (attempt_id, "pids") in harness.store.xcoms)
    (pid,) = json.loads(harness.store.xcoms[attempt_id, "pids"])
    harness.executor.cancel(attempt_id, reason="cleared", restart=True)
    end = harness.end(attempt_id)
    assert isinstance(end, KilledToRestart)
    assert not os.path.exists(f"/proc/{pid}")


@pytest.mark.parametrize("victim", ["DAG fork server", "base fork server"])
def test_tries_of_a_killed_fork_server_go_on(harness: Harness, tmp_path: Path, victim: str) -> None:
    import json

    # Given tasks of a DAG that run: one waits at a gate, the other will die by its own doing
    with Gate(tmp_path / "gate") as gate:
        waiting, dying = harness.submit("waits_at_gate"), harness.submit("waits_at_gate_and_exits")
        harness.until(lambda: {(waiting, "pids"), (dying, "pids")} <= harness.store.xcoms.keys())
        (pid,) = json.loads(harness.store.xcoms[waiting, "pids"])
        victim_pid = parent_of(pid) if victim == "DAG fork server" else harness.executor.supervisor.base_pid
        assert victim_pid is not None
        # When the fork server above them is killed, and then another task of the DAG starts and leaves a daemon
        os.kill(victim_pid, signal.SIGKILL)
        assert wait_for_exit([victim_pid]) == []
        harness.until(lambda: isinstance(harness.run("leaves_processes"), Succeeded))
        # Then the tries go on to their own ends, and no process is left
        gate.open()
        assert isinstance(harness.end(waiting), Succeeded)
        end = harness.end(dying)
        assert (type(end), end.cause) == (Failed, Cause.PROCESS_DIED)
        unknown = "its exit status is unknown, because its fork server had died before it"
        assert end.error.endswith(unknown if victim == "DAG fork server" else "exit code 3")
        assert wait_for_exit([pid]) == []


def test_a_task_that_kills_its_parent_costs_no_try(harness: Harness, tmp_path: Path) -> None:
    # Given a task that waits, and one of the same DAG that kills its parent process
    with Gate(tmp_path / "gate") as gate:
        waiting = harness.submit("waits_at_gate")
        harness.until(lambda: (waiting, "pids") in harness.store.xcoms)
        assert isinstance(harness.run("kills_its_parent"), Succeeded)
        # When it is cancelled in the orphaned state, another try ends as it would have
        hanging = harness.submit("hangs")
        harness.until(lambda: bool(harness.ends(hanging)) or (hanging, "pids") in harness.store.xcoms)
        assert not harness.ends(hanging) or isinstance(harness.ends(hanging)[0], DispatchLost)
        harness.executor.cancel(hanging, reason="enough")
        gate.open()
        assert isinstance(harness.end(waiting), Succeeded)


def test_an_orphaned_try_can_be_killed(harness: Harness) -> None:
    import json

    # Given a try whose fork server has died
    attempt_id = harness.submit("hangs")
    harness.until(lambda: (attempt_id, "pids") in harness.store.xcoms)
    (pid,) = json.loads(harness.store.xcoms[attempt_id, "pids"])
    os.kill(parent_of(pid), signal.SIGKILL)
    harness.until(lambda: isinstance(harness.run("fine"), Succeeded))
    # When a user stops it
    harness.executor.cancel(attempt_id, reason="ada stopped it")
    # Then it ends for that reason
    assert harness.end(attempt_id).error == "ada stopped it"
    assert wait_for_exit([pid]) == []


@pytest.mark.parametrize("victim", ["DAG fork server", "base fork server"])
def test_stop_leaves_no_orphaned_try(tmp_path: Path, victim: str) -> None:
    import json

    with Harness(tmp_path, SOURCE) as harness:
        attempt_id = harness.submit("hangs")
        harness.until(lambda: (attempt_id, "pids") in harness.store.xcoms)
        (pid,) = json.loads(harness.store.xcoms[attempt_id, "pids"])
        victim_pid = parent_of(pid) if victim == "DAG fork server" else harness.executor.supervisor.base_pid
        assert victim_pid is not None
        os.kill(victim_pid, signal.SIGKILL)
        harness.until(lambda: isinstance(harness.run("fine"), Succeeded))
    assert wait_for_exit([pid]) == []


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def test_a_daemon_that_a_running_try_may_use_is_not_killed(harness: Harness) -> None:
    import json

    # Given a running try, and another try of the same DAG that leaves a daemon behind
    running = harness.submit("hangs")
    harness.until(lambda: (running, "pids") in harness.store.xcoms)
    attempt_id = harness.submit("leaves_processes")
    assert isinstance(harness.end(attempt_id), Succeeded)
    daemon = json.loads(harness.store.xcoms[attempt_id, "return_value"])["daemon"]
    # Then the daemon runs as long as it may belong to the running try, and no longer
    assert os.path.exists(f"/proc/{daemon}")
    harness.executor.cancel(running, reason="enough")
    harness.end(running)
    assert wait_for_exit([daemon]) == []
