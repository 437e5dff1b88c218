"""Tasks that misbehave: each fails its own try and nothing else, and the event and the log state the reason."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from nbflow.core.events import Failed, Succeeded
from nbflow.core.states import Cause
from tests.execution.support import Bench, wait_gone

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

def eats_memory(rt):
    hoard = []
    while True:
        hoard.append(bytearray(16 * 1024 * 1024))

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

def talks_nonsense(rt):
    rt._channel.sock.send(b"\\x00\\x00\\x00\\x05hello")
    while True:
        signal.pause()

def talks_endlessly(rt):
    rt._channel.sock.send(b"\\xff\\xff\\xff\\xff")
    while True:
        signal.pause()

def speaks_for_another(rt):
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

def sends_unknown_request(rt):
    return rt._request("drop_all_tables", {})
"""


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    with Bench(tmp_path, SOURCE, grace_seconds=0.2) as bench:
        yield bench
        assert isinstance(bench.run("fine"), Succeeded)  # after each test, the next try still works


@pytest.mark.parametrize(
    ("task", "gist"),
    [
        ("exits", "the task's process died: exit code 3"),
        ("kills_itself", "the task's process died: killed by SIGKILL (out of memory?)"),
        ("crashes", "the task's process died: killed by SIGSEGV (a crash in native code)"),
        ("closes_everything", "the task's process died: it closed the connection to its supervisor"),
        (
            "talks_nonsense",
            "the task's process died: it broke the protocol with its supervisor: b'hello' is not a message",
        ),
        (
            "talks_endlessly",
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
def test_a_process_that_dies_is_reported_with_its_exit(bench: Bench, task: str, gist: str) -> None:
    # When it runs
    end = bench.run(task)
    # Then the event states how its process exited, and so does the log
    assert (type(end), end.cause, end.error, end.retry) == (Failed, Cause.PROCESS_DIED, gist, True)
    assert gist in bench.log(task)


def test_unlimited_allocation_fails_one_try(tmp_path: Path) -> None:
    # Given a limit on what a child may allocate
    with Bench(tmp_path, SOURCE, memory_limit_bytes=512 * 1024 * 1024) as bench:
        # When a task allocates without limit
        end = bench.run("eats_memory")
        # Then it fails like any task that raises
        assert (type(end), end.cause, end.error) == (Failed, Cause.RAISED, "MemoryError: ")
        assert isinstance(bench.run("fine"), Succeeded)


@pytest.mark.parametrize("task", ["prints_much", "floods_by_subprocess"])
def test_a_flooded_log_is_truncated_and_states_it(tmp_path: Path, task: str) -> None:
    # Given logs of at most 1 MB
    with Bench(tmp_path, SOURCE, max_log_bytes=1_000_000) as bench:
        # When a task writes 100 MB
        end = bench.run(task)
        # Then it succeeds, its log is truncated, and the log states that
        assert isinstance(end, Succeeded)
        text = bench.log(task)
        assert len(text) < 1_010_000
        assert "further output is dropped" in text or "log truncated at 1,000,000 bytes" in text


def test_a_value_that_cannot_be_stored_names_its_place(bench: Bench) -> None:
    end = bench.run("returns_a_lock")
    assert isinstance(end, Failed)
    assert end.error.startswith('SerializationError: return value["a"][0]: a value of type')


def test_a_request_for_another_attempt_is_refused(bench: Bench) -> None:
    assert isinstance(bench.run("speaks_for_another"), Succeeded)
    assert list(bench.store.xcoms.values()) == ['"a request with the id of another attempt"']


def test_an_unknown_request_is_refused(bench: Bench) -> None:
    end = bench.run("sends_unknown_request")
    assert (type(end), end.error) == (Failed, "NbflowError: a task cannot request 'drop_all_tables'")


def test_the_write_of_a_stale_attempt_is_refused(bench: Bench) -> None:
    # Given an attempt that is no longer the current one
    bench.store.stale.add("old")
    # When it writes
    end = bench.end(bench.submit("fine", attempt_id="old"))
    # Then the store's refusal reaches the task, and nothing was written
    assert (end.error, bench.store.xcoms) == ("StaleAttempt: attempt old is no longer the current one", {})


def test_processes_left_in_the_group_or_outside_it_are_killed(bench: Bench) -> None:
    import json

    # When a task leaves children in its group and a daemon in a session of its own
    attempt_id = bench.submit("leaves_processes")
    assert isinstance(bench.end(attempt_id), Succeeded)
    left = json.loads(bench.store.xcoms[attempt_id, "return_value"])
    # Then none of them outlives its try
    assert wait_gone([*left["group"], left["daemon"]]) == []


def test_a_fork_that_returns_from_the_task_reports_no_outcome(bench: Bench) -> None:
    attempt_id = bench.submit("forks_and_returns")
    end = bench.end(attempt_id)
    assert isinstance(end, Succeeded)
    assert bench.ends(attempt_id) == [end]


def test_a_process_that_stays_after_its_outcome_is_killed(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    from nbflow.execution import supervisor

    monkeypatch.setattr(supervisor, "EXIT_SECONDS", 0.1)
    # When it reports success and does not leave
    end = bench.run("reports_and_stays")
    # Then the success stands, and the process is gone (run() waits for that)
    assert isinstance(end, Succeeded)
    assert bench.executor.supervisor.idle


def test_a_group_that_ignores_sigterm_is_gone_after_the_grace_period(bench: Bench) -> None:
    import json

    # Given a task that ignores SIGTERM, as does what it started
    attempt_id = bench.submit("ignores_sigterm")
    bench.until(lambda: (attempt_id, "pids") in bench.store.xcoms)
    pids = json.loads(bench.store.xcoms[attempt_id, "pids"])
    # When it is cancelled
    assert bench.executor.cancel(attempt_id, reason="ada stopped it")
    end = bench.end(attempt_id)
    # Then the report comes, says why, and no process is left by then
    assert (type(end), end.cause, end.error, end.retry) == (Failed, Cause.KILLED, "ada stopped it", False)
    assert [pid for pid in pids if os.path.exists(f"/proc/{pid}")] == []
    assert "SIGKILL" in bench.log("ignores_sigterm")


def test_a_task_that_hangs_is_killed_at_its_time_limit(tmp_path: Path) -> None:
    with Bench(tmp_path, SOURCE, grace_seconds=5.0, timeout_margin_seconds=0.0) as bench:
        end = bench.run("hangs", execution_timeout=0.2)
        assert (type(end), end.cause, end.error, end.retry) == (
            Failed,
            Cause.EXECUTION_TIMEOUT,
            "the task ran longer than its execution_timeout of 0.2 s",
            True,
        )


def test_a_cleared_try_is_reported_ended_when_its_process_is_gone(bench: Bench) -> None:
    import json

    from nbflow.core.events import KilledToRestart

    attempt_id = bench.submit("hangs")
    bench.until(lambda: (attempt_id, "pids") in bench.store.xcoms)
    (pid,) = json.loads(bench.store.xcoms[attempt_id, "pids"])
    bench.executor.cancel(attempt_id, reason="cleared", restart=True)
    end = bench.end(attempt_id)
    assert isinstance(end, KilledToRestart)
    assert not os.path.exists(f"/proc/{pid}")


@pytest.mark.parametrize("victim", ["DAG fork server", "base fork server"])
def test_tries_of_a_fork_server_that_is_killed_are_reported_and_gone(bench: Bench, victim: str) -> None:
    import json

    # Given a task that runs
    attempt_id = bench.submit("hangs")
    bench.until(lambda: (attempt_id, "pids") in bench.store.xcoms)
    (pid,) = json.loads(bench.store.xcoms[attempt_id, "pids"])
    parent = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    victim_pid = parent if victim == "DAG fork server" else bench.executor.supervisor.base_pid
    assert victim_pid is not None
    # When the fork server above it is killed
    os.kill(victim_pid, signal.SIGKILL)
    end = bench.end(attempt_id)
    # Then its try is reported, and its process is gone
    assert (type(end), end.cause) == (Failed, Cause.PROCESS_DIED)
    assert wait_gone([pid]) == []


def test_a_daemon_that_a_running_try_may_use_is_not_killed(bench: Bench) -> None:
    import json

    # Given a try that runs, and another one of the same DAG that leaves a daemon behind
    running = bench.submit("hangs")
    bench.until(lambda: (running, "pids") in bench.store.xcoms)
    attempt_id = bench.submit("leaves_processes")
    assert isinstance(bench.end(attempt_id), Succeeded)
    daemon = json.loads(bench.store.xcoms[attempt_id, "return_value"])["daemon"]
    # Then the daemon lives for as long as it may belong to the running one, and no longer
    assert os.path.exists(f"/proc/{daemon}")
    bench.executor.cancel(running, reason="enough")
    bench.end(running)
    assert wait_gone([daemon]) == []
