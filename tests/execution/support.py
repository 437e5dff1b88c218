"""Shared by the tests of execution: an executor over the stand-in user code, and a recording store."""

from __future__ import annotations

import itertools
import os
import select
import subprocess
import sys
import textwrap
from collections.abc import Callable, Mapping, Sequence, Set
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from nbflow.authoring.workload import Workload
from nbflow.core.attempt_events import Event, Started
from nbflow.core.snapshot import Run, RunKey, TaskKey
from nbflow.core.spec import DagSpec, TaskSpec
from nbflow.errors import StaleAttempt
from nbflow.execution.environment_allowlist import minimal_environment
from nbflow.execution.executors.base import Report, Submission
from nbflow.execution.executors.local import LocalExecutor
from nbflow.execution.fork_server_pool import ProcessPoolOptions
from nbflow.execution.logs import LogFolder
from nbflow.execution.supervisor import SupervisorOptions
from nbflow.execution.task_api import TaskApi
from nbflow.secrets_backends import EnvironmentBackend, SecretsChain
from nbflow.store.base import Attempt, DagVersion

ROOT = Path(__file__).resolve().parents[2]
STAND_IN = (
    sys.executable,
    "-P",
    "-c",
    f"import sys; sys.path[:0] = [{str(ROOT)!r}]\nfrom tests.execution.stand_in_user_code import start; start()",
)
NOW = datetime(2026, 3, 1, tzinfo=UTC)
TIMEOUT_SECONDS = 30.0


class RecordingStore:
    """The part of a store that a supervisor uses. ``stale`` attempts are refused. Of ``restarting`` attempts, ``ended``
    ones (with their outcome) and those ``taken`` by another supervisor no outcome is expected any more."""

    def __init__(self) -> None:
        self.claims: dict[str, str] = {}
        self.claim_calls = 0
        self.processes: dict[str, tuple[int, float | None]] = {}
        self.xcoms: dict[tuple[str, str], str] = {}
        self.rendered: dict[str, Mapping[str, Any]] = {}
        self.stale: set[str] = set()
        self.restarting: set[str] = set()
        self.ended: dict[str, str] = {}
        self.taken: set[str] = set()
        self.down = False
        self.shared = True
        self.heartbeats = self.failed_heartbeats = 0

    def claim_all(self, attempt_ids: Sequence[str], *, log_paths: Mapping[str, str] = {}, **claim: Any) -> Set[str]:
        self.claim_calls += 1
        claimed = {id_: log_paths.get(id_, "") for id_ in attempt_ids if id_ not in self.claims}
        self.claims |= claimed
        return claimed.keys()

    def set_process(self, attempt_id: str, *, pid: int, pid_started: float | None) -> None:
        self.processes[attempt_id] = (pid, pid_started)

    def attempt(self, attempt_id: str) -> Attempt:
        ended = self.ended.get(attempt_id)
        fields: dict[str, Any] = {"run": RunKey("d", "r"), "key": TaskKey("t"), "try_number": 1, "version": 1}
        owner = "another" if attempt_id in self.taken else "tester"
        state = "ended" if ended else "running"
        return Attempt(attempt_id=attempt_id, state=state, owner=owner, outcome=ended, **fields)

    def heartbeat(self, attempt_ids: list[str], *, owner: str, lease: timedelta, now: datetime) -> list[str]:
        if self.down:
            self.failed_heartbeats += 1
            raise ConnectionError("the store is down")
        self.heartbeats += 1
        return [attempt_id for attempt_id in attempt_ids if attempt_id in {*self.restarting, *self.ended, *self.taken}]

    def xcom_push(self, attempt_id: str, key: str, value: str, *, now: datetime) -> None:
        if attempt_id in self.stale:
            raise StaleAttempt(f"attempt {attempt_id} is no longer the current one")
        self.xcoms[attempt_id, key] = value

    def xcom_get(self, run: RunKey, task_ids: list[str], key: str, **_: Any) -> list[tuple[TaskKey, str]]:
        return [(TaskKey(task_id), self.xcoms[task_id, key]) for task_id in task_ids if (task_id, key) in self.xcoms]

    def put_rendered(self, attempt_id: str, fields: Mapping[str, Any]) -> None:
        self.rendered[attempt_id] = fields


class Harness:
    """An executor, and one "DAG" of the functions in ``source``."""

    def __init__(
        self,
        folder: Path,
        source: str,
        *,
        parallelism: int = 4,
        environ: Mapping[str, str] | None = None,
        spare_children: int = 2,
        max_dag_fork_servers: int = 8,
        load_seconds: float = 20.0,
        reload_every_try: bool = False,
        sensitive_names: tuple[str, ...] = (),
        **options: Any,
    ) -> None:
        self.folder = folder
        self.source = textwrap.dedent(source)
        self.store = RecordingStore()
        self.environ = dict(os.environ if environ is None else environ)
        self.lines: list[str] = []
        secrets = SecretsChain([EnvironmentBackend(self.environ)])
        self.task_api = TaskApi(store=self.store, secrets=secrets, sensitive_names=sensitive_names)  # type: ignore[arg-type]
        self.logs = LogFolder(folder / "logs", options.pop("max_log_bytes", 16 * 1024 * 1024))
        process_pool = ProcessPoolOptions(
            environment=minimal_environment(self.environ),
            command=STAND_IN,
            spare_children=spare_children,
            max_dag_fork_servers=max_dag_fork_servers,
            load_seconds=load_seconds,
            reload_every_try=reload_every_try,
            stderr=subprocess.DEVNULL,
        )
        self.options = SupervisorOptions(owner="tester", logs=self.logs, process_pool=process_pool, **options)
        self.executor = LocalExecutor(
            self.options, self.task_api, versions=self.version, parallelism=parallelism, log=self.lines.append
        )
        self._numbers = itertools.count(1)
        self.events: list[Event] = []

    def __enter__(self) -> Harness:
        self.executor.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.executor.stop()

    def version(self, dag_id: str, number: int) -> DagVersion | None:
        if number < 1:
            return None
        return DagVersion(dag_id=dag_id, number=number, spec=DagSpec(dag_id=dag_id), files={"d.py": self.source})

    def submit(
        self, task_id: str, *, attempt_id: str | None = None, version: int = 1, try_number: int = 1, **task: Any
    ) -> str:
        attempt_id = attempt_id or f"{task_id}-{next(self._numbers)}"
        run = Run(dag_id="d", run_id="r", run_after=NOW, logical_date=NOW, conf={"when": NOW})
        workload = Workload(attempt_id=attempt_id, run=run, task_id=task_id, version=version, try_number=try_number)
        self.executor.submit([Submission(workload=workload, task=TaskSpec(task_id=task_id, **task))])
        return attempt_id

    def until(self, is_true: Callable[[], bool], condition: str = "the condition of the test") -> None:
        """Poll until ``is_true()``; events are collected in ``events``. Fails after TIMEOUT_SECONDS."""
        deadline = self.executor.supervisor.loop.monotonic() + TIMEOUT_SECONDS
        while not is_true():
            remaining = deadline - self.executor.supervisor.loop.monotonic()
            assert remaining > 0, f"{condition} did not happen; events: {self.events}"
            self.collect(self.executor.poll(min(remaining, 0.1)))

    def collect(self, reports: list[Report]) -> None:
        self.events += [report.event for report in reports]

    def started(self, attempt_id: str) -> bool:
        return any(isinstance(event, Started) and event.attempt_id == attempt_id for event in self.events)

    def ends(self, attempt_id: str) -> list[Event]:
        return [event for event in self.events if event.attempt_id == attempt_id and not isinstance(event, Started)]

    def end(self, attempt_id: str) -> Any:
        """Poll until this attempt has ended and its process has exited; returns its last event."""
        self.until(lambda: bool(self.ends(attempt_id)), f"the end of {attempt_id}")
        self.until(lambda: attempt_id not in self.executor.supervisor.exiting, "the end of its process")
        (end,) = self.ends(attempt_id)
        return end

    def run(self, task_id: str, **task: Any) -> Any:
        return self.end(self.submit(task_id, **task))

    def log(self, task_id: str, try_number: int = 1) -> str:
        path = self.logs.path(RunKey("d", "r"), TaskKey(task_id), try_number)
        return path.read_text() if path.exists() else ""


def wait_for_exit(pids: list[int], seconds: float = TIMEOUT_SECONDS) -> list[int]:
    """Wait until these processes have exited, by pidfd; returns those that still run."""
    running = []
    for pid in pids:
        try:
            pidfd = os.pidfd_open(pid)
        except ProcessLookupError:
            continue
        try:
            if not select.select([pidfd], [], [], seconds)[0]:
                running.append(pid)
        finally:
            os.close(pidfd)
    return running
