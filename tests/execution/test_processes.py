"""The processes below the supervisor: their parents, what they can read, and that none outlives its try."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from nbflow.core.attempt_events import DispatchLost, Failed, KilledToRestart, Started, Succeeded
from nbflow.core.snapshot import RunKey, TaskKey
from nbflow.core.spec import DagSpec, TaskSpec
from nbflow.core.states import Cause
from nbflow.execution.process_identity import process_started
from nbflow.store.base import Attempt
from tests.execution.support import NOW, ROOT, Harness, wait_for_exit
from tests.gates import WAIT_AT, Gate

SOURCE = (
    WAIT_AT
    + """
import os, signal, sys

def fine(rt):
    return "fine"

def parents(rt):
    return [os.getpid(), os.getppid(), os.getpgrp(), os.getsid(0)]

def environ(rt):
    return dict(os.environ)

def hangs(rt):
    rt.xcom_push("pids", [os.getpid(), os.getppid()])
    while True:
        signal.pause()

def cleans_up(rt):
    def terminate(number, frame):
        raise RuntimeError("terminated")
    signal.signal(signal.SIGTERM, terminate)
    rt.xcom_push("pids", [os.getpid()])
    try:
        while True:
            signal.pause()
    finally:
        rt.xcom_push("terminated", 1)
        wait_at("GATE")
        rt.xcom_push("cleaned", 1)

def reads_secrets(rt):
    rt.set_variable("new", "1") if False else None
    connection = rt.get_connection("db")
    print("the password is", connection.password, "and", rt.get_variable("api_token"))
    return [rt.get_variable("plain"), connection.host, rt.get_variable("nowhere")]

def modules(rt):
    return sorted(name for name in sys.modules if name.partition(".")[0] in ("sqlalchemy", "asyncio", "sqlite3"))
"""
)


def with_gate(folder: Path) -> str:
    return SOURCE.replace('"GATE"', repr(str(folder / "gate")))


@pytest.fixture
def harness(tmp_path: Path) -> Iterator[Harness]:
    with Harness(tmp_path, SOURCE, grace_seconds=0.2) as harness:
        yield harness


def returned(harness: Harness, task: str) -> Any:
    attempt_id = harness.submit(task)
    end = harness.end(attempt_id)
    assert isinstance(end, Succeeded), end
    return json.loads(harness.store.xcoms[attempt_id, "return_value"])


# ------------------------------------------------------------------------------------------------------ forks and loads


def test_tries_of_a_dag_are_forks_of_one_fork_server_each_in_its_own_process_group(harness: Harness) -> None:
    # When two tries of a DAG run
    first, second = returned(harness, "parents"), returned(harness, "parents")
    # Then they are different processes of one parent, and each leads its own session and group
    assert first[0] != second[0]
    assert first[1] == second[1]
    assert first[0] == first[2] == first[3]


def test_a_try_is_reported_started_and_then_ended_once(harness: Harness) -> None:
    attempt_id = harness.submit("fine")
    harness.end(attempt_id)
    assert [type(event) for event in harness.events if event.attempt_id == attempt_id] == [Started, Succeeded]


def test_a_duplicate_delivery_is_dropped(harness: Harness) -> None:
    # Given an attempt that another supervisor has claimed
    harness.store.claims["taken"] = "another supervisor"
    # When it is submitted, and after it an unclaimed attempt
    harness.submit("fine", attempt_id="taken")
    harness.run("fine")
    # Then it is not reported, and not live
    assert [event for event in harness.events if event.attempt_id == "taken"] == []
    assert list(harness.executor.live) == []


@pytest.mark.parametrize(
    ("at_load", "why"),
    [
        (
            "import threading; threading.Thread(target=threading.Event().wait, daemon=True).start()",
            "1 thread(s) running",
        ),
        ("TOKEN = Variable.get('plain')", "read variable plain while it was loaded"),
    ],
)
def test_a_dag_whose_process_must_not_be_forked_is_loaded_for_each_try(tmp_path: Path, at_load: str, why: str) -> None:
    # Given a file that starts a thread, or reads a variable, while it is loaded
    with Harness(tmp_path, SOURCE + at_load, environ={**os.environ, "NBFLOW_VAR_PLAIN": "x"}) as harness:
        # When two tries run
        first, second = returned(harness, "parents"), returned(harness, "parents")
        # Then both are forks of the base, which has loaded nothing, and the log says why
        assert first[1] == second[1] == harness.executor.supervisor.base_pid
        assert why in harness.log("parents")


def test_native_threads_that_stop_around_a_fork_do_not_prevent_forking(tmp_path: Path) -> None:
    # Given a DAG that imports NumPy, whose OpenBLAS ends its threads around a fork
    with Harness(tmp_path, "import numpy\nnumpy.ones((300, 300)) @ numpy.ones((300, 300))\n" + SOURCE) as harness:
        first, second = returned(harness, "parents"), returned(harness, "parents")
        # Then its fork server is forked like any other
        assert first[1] == second[1] != harness.executor.supervisor.base_pid


def test_forks_do_not_draw_the_same_random_numbers(tmp_path: Path) -> None:
    source = "import numpy, random\ndef draws(rt): return [random.random(), float(numpy.random.random())]\n"
    with Harness(tmp_path, source) as harness:
        first, second = returned(harness, "draws"), returned(harness, "draws")
        assert first[0] != second[0]
        assert first[1] != second[1]


@pytest.mark.parametrize(
    ("source", "error_text"),
    [
        ("while True: pass", "loading the DAG took longer than 0.5 s ([core] dagbag_import_timeout)"),
        ("import os; os._exit(7)", "loading the DAG ended its process: exit code 7"),
        ("1 / 0", "ZeroDivisionError: division by zero"),
    ],
)
def test_a_dag_that_does_not_load_fails_its_tries_with_the_reason(tmp_path: Path, source: str, error_text: str) -> None:
    with Harness(tmp_path, source, load_seconds=0.5) as harness:
        end = harness.run("fine")
        assert (type(end), end.cause, end.error) == (Failed, Cause.LOAD_FAILED, error_text)
        assert error_text in harness.log("fine")


def test_a_version_that_is_not_stored_fails_the_try(harness: Harness) -> None:
    end = harness.end(harness.submit("fine", version=0))
    assert (end.cause, end.error) == (Cause.LOAD_FAILED, "version 0 of the DAG 'd' is not in the metastore")


def test_a_task_that_loads_with_another_definition_fails_and_names_the_difference(tmp_path: Path) -> None:
    # Given a source that now gives the task an upstream that its version did not have
    spec = DagSpec(dag_id="d", tasks={"fine": TaskSpec(task_id="fine", upstream=("new",))}).to_dict()
    with Harness(tmp_path, f"SPEC = {spec!r}\n" + SOURCE) as harness:
        end = harness.run("fine")
        error_text = (
            "loading the DAG's source again gives another definition of the task 'fine': upstream is ('new',), was ()"
        )
        assert (end.cause, end.error) == (Cause.LOAD_FAILED, error_text)
        end = harness.run("parents")
        assert end.error == "loading the DAG's source again no longer defines the task 'parents'"


def test_the_least_recently_used_fork_server_is_retired(tmp_path: Path) -> None:
    # Given a limit of two DAG fork servers
    with Harness(tmp_path, SOURCE, max_dag_fork_servers=2) as harness:
        of_version: dict[int, int] = {}
        for version in (1, 2, 1, 3):
            attempt_id = harness.submit("parents", version=version)
            harness.end(attempt_id)
            of_version[version] = json.loads(harness.store.xcoms[attempt_id, "return_value"])[1]
        # When a third version runs, then version 2's fork server ends, and version 1's is still used
        assert wait_for_exit([of_version[2]]) == []
        attempt_id = harness.submit("parents", version=1)
        harness.end(attempt_id)
        assert json.loads(harness.store.xcoms[attempt_id, "return_value"])[1] == of_version[1]


# ------------------------------------------------------------------------------------------------- what children know


def test_planted_secrets_are_in_no_environment_below_the_supervisor(tmp_path: Path) -> None:
    # Given secrets of many kinds in the supervisor's environment
    planted = {
        "NBFLOW__DATABASE__SQL_ALCHEMY_CONN": "postgresql://u:PLANTED@h/db",
        "NBFLOW__CORE__FERNET_KEY": "PLANTED",
        "NBFLOW__CORE__FERNET_KEY_CMD": "echo PLANTED",
        "AIRFLOW__CORE__FERNET_KEY": "PLANTED",
        "NBFLOW_CONN_DB": "postgres://u:PLANTED@h",
        "AIRFLOW_VAR_X": "PLANTED",
        "AWS_SECRET_ACCESS_KEY": "PLANTED",
        "NBFLOW__CORE__PARALLELISM": "3",
    }
    with Harness(tmp_path, SOURCE, environ={**os.environ, **planted}) as harness:
        # When a task returns its environment
        environ = returned(harness, "environ")
        dag_fork_server = returned(harness, "parents")[1]
        base = harness.executor.supervisor.base_pid
        # Then it has no secret, like the environments of the processes above it, but plain settings
        assert [name for name, value in environ.items() if "PLANTED" in value] == []
        assert environ["NBFLOW__CORE__PARALLELISM"] == "3"
        for pid in (dag_fork_server, base):
            assert b"PLANTED" not in Path(f"/proc/{pid}/environ").read_bytes()
            assert b"PLANTED" not in Path(f"/proc/{pid}/cmdline").read_bytes()


def test_variables_and_connections_come_over_the_socket_and_are_masked_in_the_log(tmp_path: Path) -> None:
    environ = {
        **os.environ,
        "NBFLOW_CONN_DB": "postgres://ada:hunter2hunter2@db.example/x",
        "NBFLOW_VAR_PLAIN": "plain text",
        "NBFLOW_VAR_API_TOKEN": "tok-123456789",
    }
    with Harness(tmp_path, SOURCE, environ=environ) as harness:
        assert returned(harness, "reads_secrets") == ["plain text", "db.example", None]
        assert harness.log("reads_secrets").splitlines()[0] == "the password is *** and ***"


def test_children_hold_no_database_driver(harness: Harness) -> None:
    assert returned(harness, "modules") == []


# ------------------------------------------------------------------------------------------------- leases and orphans


def test_a_try_that_another_supervisor_has_taken_over_is_killed_at_once(tmp_path: Path) -> None:
    with Harness(tmp_path, SOURCE, heartbeat_seconds=0.05) as harness:
        attempt_id = harness.submit("hangs")
        harness.until(lambda: harness.started(attempt_id))
        # When the store no longer renews the lease of the attempt
        harness.store.taken.add(attempt_id)
        # Then its process is killed
        end = harness.end(attempt_id)
        assert (end.cause, end.error) == (Cause.HEARTBEAT_LOST, "the lease of the attempt was lost")


@pytest.mark.parametrize("cancelled", [True, False], ids=["cancelled before the heartbeat", "found by the heartbeat"])
@pytest.mark.parametrize("restart", [True, False], ids=["cleared", "marked"])
def test_a_try_that_is_being_ended_has_its_whole_grace(tmp_path: Path, restart: bool, cancelled: bool) -> None:
    # Given a task that cleans up when it is terminated
    with Harness(tmp_path, with_gate(tmp_path), heartbeat_seconds=0.01) as harness, Gate(tmp_path / "gate") as gate:
        attempt_id = harness.submit("cleans_up")
        harness.until(lambda: (attempt_id, "pids") in harness.store.xcoms)
        # When a user clears or marks it, and heartbeats follow (as in a shared store, also more cancels)
        if restart:
            harness.store.restarting.add(attempt_id)
        else:
            harness.store.ended[attempt_id] = Cause.MARKED_FAILED
        if cancelled:
            harness.executor.cancel(attempt_id, reason="ada", restart=restart)
        harness.until(lambda: (attempt_id, "terminated") in harness.store.xcoms)
        harness.executor.cancel(attempt_id, reason="ada", restart=restart)
        since = harness.store.heartbeats
        harness.until(lambda: harness.store.heartbeats > since + 3)
        gate.open()
        # Then its clean-up runs to its end
        end = harness.end(attempt_id)
        assert (attempt_id, "cleaned") in harness.store.xcoms
        assert type(end) is (KilledToRestart if restart else Failed)


def test_the_next_try_starts_when_the_process_of_the_ended_one_has_exited(tmp_path: Path) -> None:
    # Given a task that a user has marked failed and that still cleans up
    with Harness(tmp_path, with_gate(tmp_path), heartbeat_seconds=0.01) as harness, Gate(tmp_path / "gate") as gate:
        first = harness.submit("cleans_up")
        harness.until(lambda: (first, "pids") in harness.store.xcoms)
        harness.executor.cancel(first, reason="ada")
        harness.until(lambda: (first, "terminated") in harness.store.xcoms)
        # When it is cleared and dispatched again
        second = harness.submit("cleans_up", try_number=2)
        since = harness.store.heartbeats
        harness.until(lambda: harness.store.heartbeats > since + 3)
        # Then the second try waits for the exit of the first
        assert not harness.started(second)
        gate.open()
        harness.until(lambda: (second, "pids") in harness.store.xcoms)
        assert harness.ends(first)


def test_tries_are_killed_before_their_lease_expires_when_the_store_is_unreachable(tmp_path: Path) -> None:
    with Harness(tmp_path, SOURCE, heartbeat_seconds=0.1, lease_seconds=2.0) as harness:
        attempt_id = harness.submit("hangs")
        harness.until(lambda: harness.store.heartbeats > 0)
        clock = harness.executor.supervisor.loop.monotonic
        # When the store becomes unreachable
        harness.store.down, since = True, clock()
        end = harness.end(attempt_id)
        # Then the try is killed before its lease expires
        assert (end.cause, clock() - since < 2.0) == (Cause.HEARTBEAT_LOST, True)


def test_a_try_outlives_its_lease_while_a_store_that_nobody_shares_is_locked(tmp_path: Path) -> None:
    with Harness(tmp_path, SOURCE, heartbeat_seconds=0.1, lease_seconds=0.3) as harness:
        harness.store.shared = False
        attempt_id = harness.submit("hangs")
        harness.until(lambda: harness.store.heartbeats > 0)
        # When the store is locked until the lease has long expired
        harness.store.down, before = True, harness.store.failed_heartbeats
        harness.until(lambda: harness.store.failed_heartbeats - before > 10)
        harness.store.down, before = False, harness.store.heartbeats
        harness.until(lambda: harness.store.heartbeats > before)
        # Then the try still runs: no other scheduler could have taken it
        assert attempt_id in harness.executor.live


def test_the_process_of_a_try_is_stored_with_its_start_time(harness: Harness) -> None:
    attempt_id = harness.submit("hangs")
    harness.until(lambda: attempt_id in harness.store.processes)
    (pid, _) = json.loads(harness.store.xcoms[attempt_id, "pids"])
    assert harness.store.processes[attempt_id] == (pid, process_started(pid))


def orphan(attempt_id: str, pid: int | None, started: float | None, hostname: str, state: str = "running") -> Attempt:
    return Attempt(
        attempt_id=attempt_id,
        run=RunKey("d", "r"),
        key=TaskKey("t"),
        try_number=1,
        version=1,
        state=state,
        owner="a-dead-supervisor",
        hostname=hostname,
        pid=pid,
        pid_started=started,
        lease_until=NOW - timedelta(seconds=1),
    )


def test_an_orphan_is_killed_before_it_is_reported(harness: Harness) -> None:
    # Given a process group that a supervisor left behind
    process = subprocess.Popen(["sleep", "1000"], start_new_session=True)
    attempt = orphan("a", process.pid, process_started(process.pid), harness.options.hostname)
    # When its attempt is adopted
    (report,) = harness.executor.adopt([attempt])
    # Then it has been killed, and the report says why
    assert process.wait() == -signal.SIGKILL
    assert isinstance(report.event, Failed)
    assert (report.event.cause, report.event.error) == (
        Cause.HEARTBEAT_LOST,
        "the heartbeat of its supervisor a-dead-supervisor was lost; the task's processes were killed",
    )


def test_a_process_that_reuses_an_orphans_pid_is_not_killed(harness: Harness) -> None:
    # Given a process with the pid of an earlier orphan
    process = subprocess.Popen(["sleep", "1000"], start_new_session=True)
    started = process_started(process.pid)
    assert started is not None
    # When that orphan is adopted
    (report,) = harness.executor.adopt([orphan("a", process.pid, started - 5, harness.options.hostname)])
    # Then the orphan is reported, and the process still runs
    assert (type(report.event), process.poll()) == (Failed, None)
    process.kill()
    process.wait()


def test_the_dispatch_of_an_orphan_that_never_started_is_lost(harness: Harness) -> None:
    (report,) = harness.executor.adopt([orphan("a", None, None, "other-host", state="queued")])
    assert isinstance(report.event, DispatchLost)


# --------------------------------------------------------------------------------------------------- no process is left


def test_stop_leaves_no_process(tmp_path: Path) -> None:
    with Harness(tmp_path, SOURCE) as harness:
        attempt_id = harness.submit("hangs")
        harness.until(lambda: (attempt_id, "pids") in harness.store.xcoms)
        pids = json.loads(harness.store.xcoms[attempt_id, "pids"])
        base = harness.executor.supervisor.base_pid
        assert base is not None
    assert wait_for_exit([*pids, base]) == []


def test_drain_waits_for_tries_and_cancels_those_that_still_run(harness: Harness) -> None:
    quick, slow = harness.submit("fine"), harness.submit("hangs")
    harness.until(lambda: (slow, "pids") in harness.store.xcoms and bool(harness.ends(quick)))
    harness.collect(harness.executor.drain(0.1))
    (end,) = harness.ends(slow)
    assert (type(end), end.cause, end.error) == (Failed, Cause.KILLED, "the executor is shutting down")
    assert harness.executor.slots_free == 0


DRIVER = """
import sys
sys.path[:0] = [{root!r}]
from pathlib import Path
from tests.execution.support import Harness
from tests.execution.test_processes import SOURCE
with Harness(Path({folder!r}), SOURCE) as harness:
    first, second = harness.submit("hangs"), harness.submit("hangs")
    harness.until(lambda: {{(first, "pids"), (second, "pids")}} <= set(harness.store.xcoms))
    pids = {{pid for text in harness.store.xcoms.values() for pid in eval(text)}}
    print(*pids, harness.executor.supervisor.base_pid, flush=True)
    harness.until(lambda: False)
"""

LOADING_DRIVER = """
import sys
sys.path[:0] = [{root!r}]
from pathlib import Path
from tests.execution.support import Harness
pid_file = Path({folder!r}, "pid")
source = f"import os, signal; open({{str(pid_file)!r}}, 'w').write(str(os.getpid()) + '.')\\nwhile True: signal.pause()"
with Harness(Path({folder!r}), source) as harness:
    harness.submit("t")
    harness.until(lambda: pid_file.exists() and pid_file.read_text().endswith("."))
    print(pid_file.read_text().rstrip("."), harness.executor.supervisor.base_pid, flush=True)
    harness.until(lambda: False)
"""


@pytest.mark.chaos
@pytest.mark.parametrize(
    ("driver", "processes"),
    [
        pytest.param(DRIVER, 4, id="while two tries run"),
        pytest.param(LOADING_DRIVER, 2, id="while a DAG file hangs"),
    ],
)
def test_kill_9_of_the_supervisor_leaves_no_process(tmp_path: Path, driver: str, processes: int) -> None:
    # Given a supervisor with processes below it: tries and their fork server, or one that is loading, and the base
    command = [sys.executable, "-c", driver.format(root=str(ROOT), folder=str(tmp_path))]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    pids = [int(word) for word in process.stdout.readline().split()]
    assert len(pids) == processes
    # When it is killed
    process.kill()
    process.wait()
    # Then all of them end
    assert wait_for_exit(pids) == []


def test_a_failure_is_reported_only_when_its_process_has_exited(tmp_path: Path) -> None:
    # Given a task that stores its process id, and fails
    source = "import os\ndef fails(rt):\n    rt.xcom_push('pid', os.getpid())\n    raise ValueError('no')\n"
    with Harness(tmp_path, source) as harness:
        attempt_id = harness.submit("fails")
        # When its failure is reported
        harness.until(lambda: bool(harness.ends(attempt_id)))
        # Then its process no longer exists
        assert not os.path.exists(f"/proc/{harness.store.xcoms[attempt_id, 'pid']}")
        (end,) = harness.ends(attempt_id)
        assert (type(end), end.error) == (Failed, "ValueError: no")
