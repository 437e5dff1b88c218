"""Whatever a try writes, and in whatever way, reaches its log masked: real processes over a pipe."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from nbflow.core.attempt_events import Succeeded
from nbflow.execution.supervisor import Supervisor
from tests.execution.support import Harness

PASSWORD = "hunter2hunter2"
ENVIRON = {
    "NBFLOW_CONN_DB": f"postgres://ada:{PASSWORD}@db.example/x",
    "NBFLOW_VAR_IBAN": "DE02120300000000202051",
    "NBFLOW_VAR_AT_LOAD_TOKEN": "read-while-loading",
}
SOURCE = """
import ctypes, faulthandler, multiprocessing, os, signal, subprocess, sys

AT_LOAD = Variable.get("at_load_token")

def password(rt):
    return rt.get_connection("db").password

def run_by_subprocess(rt):
    subprocess.run(["echo", password(rt)], check=True)

def os_write(rt):
    os.write(1, f"{password(rt)}\\n".encode())

def two_parts(rt):
    secret = password(rt)
    print(secret[:5], end="", flush=True)
    print(secret[5:], flush=True)

def two_streams(rt):
    secret = password(rt)
    print(secret[:5], end="", flush=True)
    print(secret[5:], file=sys.stderr, flush=True)

def two_processes(rt):
    secret = password(rt)
    os.write(2, secret[:5].encode())
    subprocess.run(["sh", "-c", "printf %s $1", "-", secret[5:]], check=True)

def bytes_of_c(rt):
    ctypes.CDLL(None).printf(f"{password(rt)}\\n".encode())
    ctypes.CDLL(None).fflush(None)

def forked(rt):
    secret = password(rt)
    child = multiprocessing.get_context("fork").Process(target=print, args=(secret,))
    child.start()
    child.join()

def reopened(rt):
    with open("/dev/stdout", "w") as file:
        file.write(password(rt))

def of_a_variable(rt):
    os.write(1, rt.get_variable("iban").encode())

def read_at_load(rt):
    subprocess.run(["echo", AT_LOAD], check=True)

def kills_itself(rt):
    os.write(1, password(rt).encode())
    os.kill(os.getpid(), signal.SIGKILL)

def leaves_a_daemon(rt):
    return subprocess.Popen(["setsid", "sleep", "1000"]).pid

def prints_more_than_a_pipe_holds(rt):
    print("x" * 300_000)

def pipes(rt):
    paths = [f"/proc/self/fd/{fd}" for fd in range(64)]
    return [os.readlink(path) for path in paths if os.path.lexists(path)]
"""
WAYS = (
    "run_by_subprocess", "os_write", "two_parts", "two_streams", "two_processes", "bytes_of_c", "forked", "reopened",
    "of_a_variable", "read_at_load", "kills_itself",
)  # fmt: skip


@pytest.fixture(scope="module")
def harness(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Harness]:
    folder = tmp_path_factory.mktemp("masked")
    with Harness(folder, SOURCE, environ={**os.environ, **ENVIRON}, sensitive_names=("iban",)) as harness:
        yield harness


@pytest.mark.parametrize("way", WAYS)
def test_a_secret_is_masked_in_whatever_way_it_is_written(harness: Harness, way: str) -> None:
    # When a task writes a secret that it was given
    harness.run(way)
    # Then its log has the mask instead
    log = harness.log(way)
    secrets = [PASSWORD[:5], PASSWORD[5:], ENVIRON["NBFLOW_VAR_IBAN"], ENVIRON["NBFLOW_VAR_AT_LOAD_TOKEN"]]
    assert "***" in log.replace("\n*** ", "").removeprefix("*** ")
    assert [secret for secret in secrets if secret in log] == []


def test_a_process_that_holds_the_pipe_does_not_prolong_the_try(harness: Harness) -> None:
    # Given a try whose daemon holds its output
    end = harness.run("leaves_a_daemon")
    # Then it has ended, and its log is closed (`run` waits for that, not for the daemon)
    assert isinstance(end, Succeeded)
    assert "peak memory" in harness.log("leaves_a_daemon")


def test_a_task_waits_while_nobody_reads_its_pipe_and_loses_nothing(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a supervisor that reads no log
    monkeypatch.setattr("nbflow.execution.logs.LogCopier.add", lambda self, log: added.append(log))
    monkeypatch.setattr("nbflow.execution.logs.LogCopier.remove", lambda self, log: None)
    added: list[object] = []
    supervisor: Supervisor = harness.executor.supervisor
    # When a task prints more than the pipe holds, the pipe is full
    attempt_id = harness.submit("prints_more_than_a_pipe_holds")
    harness.until(lambda: bool(added) and added[0].pipe.waiting() >= 65_536)  # type: ignore[attr-defined]
    still_running = attempt_id in supervisor.live
    # And when the log is read again
    harness.until(lambda: not added[0].copy_pipe() and attempt_id not in supervisor.live)  # type: ignore[attr-defined]
    # Then the try has waited, and its log is complete
    assert (still_running, type(harness.end(attempt_id))) == (True, Succeeded)
    assert "x" * 300_000 in harness.log("prints_more_than_a_pipe_holds")


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="needs /proc")
def test_a_try_holds_the_reading_end_so_that_the_death_of_its_supervisor_breaks_no_write(harness: Harness) -> None:
    import json

    attempt_id = harness.submit("pipes")
    harness.end(attempt_id)
    links = json.loads(harness.store.xcoms[attempt_id, "return_value"])
    pipe = [link for link in links if link.startswith("pipe:")]
    assert len(pipe) == 3  # standard output, standard error, and the reading end
    assert len(set(pipe)) == 1
