"""A deployment for each test: a home with a real metastore, and schedulers in processes.

Tests wait for events, with a time limit: for changes of the metastore, else for a file.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from nbflow.app import App
from nbflow.core.snapshot import RunKey, TaskKey
from nbflow.core.states import RUN_FINISHED
from tests.gates import WAIT_AT, Gate

TIMEOUT_SECONDS = 60.0
"""A test that waits longer for an event fails. Generous, because the machine may be busy."""
POLL_SECONDS = 0.05
"""Interval at which a condition is checked that does not depend on the metastore."""


class Deployment:
    """A home, its DAGs folder, and the schedulers that were started for it."""

    def __init__(self, home: Path, notes: Path, **settings: str) -> None:
        self.home, self.notes = home, notes
        notes.mkdir(parents=True, exist_ok=True)
        options = {
            "CORE__DAGS_ARE_PAUSED_AT_CREATION": "false",
            "CORE__PARALLELISM": "8",
            "CORE__KILLED_TASK_CLEANUP_TIME": "1",
            "SCHEDULER__SCHEDULER_HEARTBEAT_SEC": "0.5",
            "SCHEDULER__TASK_INSTANCE_HEARTBEAT_SEC": "0.5",
            **settings,
        }
        base = {"PATH": os.environ["PATH"], "HOME": str(notes), "NBFLOW_HOME": str(home), "NOTES": str(notes)}
        self.environ = base | {f"NBFLOW__{name}": value for name, value in options.items()}
        self.environ["NBFLOW__CORE__TASK_ENVIRONMENT"] = "NOTES"
        self.reopen()
        self.store.migrate()
        self.schedulers: list[subprocess.Popen[bytes]] = []
        self.gates: list[Gate] = []

    def reopen(self) -> None:
        """Open the metastore again in this process."""
        self.app = App.open(home=self.home, environ=self.environ, migrate=False)
        self.store, self.ops = self.app.store, self.app.operations("user:ada")

    # --- actions

    def write(self, name: str, source: str) -> None:
        """Save a DAG file atomically, as an editor does."""
        path = Path(self.app.settings.core.dags_folder) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_suffix(".part")
        temporary.write_text(HEAD + textwrap.dedent(source))
        temporary.replace(path)

    def close_gate(self, name: str) -> Gate:
        """A gate in the folder of notes, closed until the test opens it or ends."""
        self.gates.append(Gate(self.notes / name))
        return self.gates[-1]

    def start(self) -> subprocess.Popen[bytes]:
        """``python -m nbflow scheduler``, writing to ``notes/scheduler.log``."""
        with open(self.log_path, "ab") as log:
            command = [sys.executable, "-m", "nbflow", "scheduler"]
            scheduler = subprocess.Popen(
                command, env=self.environ, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        self.schedulers.append(scheduler)
        return scheduler

    def stop(self) -> list[int]:
        """Stop the schedulers with SIGTERM; returns their exit codes."""
        for scheduler in self.schedulers:
            if scheduler.poll() is None:
                scheduler.send_signal(signal.SIGTERM)
        return [scheduler.wait(TIMEOUT_SECONDS) for scheduler in self.schedulers]

    def trigger(self, dag_id: str) -> RunKey:
        """Wait until the DAG is stored, and trigger it."""
        self.until(lambda: self.store.dag(dag_id) is not None)
        return self.ops.trigger(dag_id).key

    # --- waiting

    def until(self, condition: Callable[[], Any]) -> Any:
        """Wait until the condition is true; returns its value."""
        limit = time.monotonic() + TIMEOUT_SECONDS
        while not (value := condition()):
            token = self.store.change_token()
            assert time.monotonic() < limit, (
                f"the condition did not become true in time; output of the scheduler:\n{self.output()[-4000:]}"
            )
            self.store.wait_for_change(token, timeout=POLL_SECONDS)
        return value

    def end_of(self, run: RunKey) -> dict[str, str]:
        """Wait for the end of a run; returns the states of its tasks."""
        self.until(lambda: self.store.run(run).state in RUN_FINISHED)
        return {str(ti.key): ti.state.value for ti in self.store.instances(run)}

    # --- observations

    @property
    def log_path(self) -> Path:
        return self.notes / "scheduler.log"

    def output(self) -> str:
        """The output of the schedulers."""
        return self.log_path.read_text() if self.log_path.exists() else ""

    def causes(self, run: RunKey, task_id: str) -> list[str]:
        return [event.cause for event in self.store.events(run=run, key=TaskKey(task_id))]

    def error(self, run: RunKey, task_id: str) -> str:
        """The error in the last event of a task."""
        return str(self.store.events(run=run, key=TaskKey(task_id))[-1].detail.get("error", ""))

    def task_log(self, run: RunKey, task_id: str, try_number: int = 1) -> str:
        return self.app.logs.path(run, TaskKey(task_id), try_number).read_text()

    def processes(self) -> list[int]:
        """Ids of the processes with this NBFLOW_HOME in their environment."""
        variable = f"NBFLOW_HOME={self.home}\0".encode()
        pids = []
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                environ = (folder / "environ").read_bytes()
            except OSError:
                continue
            if variable in environ + b"\0":
                pids.append(int(folder.name))
        return pids

    def close(self) -> None:
        for gate in self.gates:
            gate.open()
        for scheduler in self.schedulers:
            if scheduler.poll() is None:
                scheduler.kill()
                scheduler.wait()
        self.app.close()


HEAD = f"""\
import os, signal, subprocess, sys, time
from datetime import datetime, timedelta, timezone
from pathlib import Path
from nbflow import DAG, task, get_current_context
NOTES = Path(os.environ.get("NOTES", "/nowhere"))
{WAIT_AT}"""
"""The head of every DAG file of these tests."""


def wait_for_exit(pid: int, seconds: float = TIMEOUT_SECONDS) -> bool:
    """Wait until a process has exited; returns whether it has."""
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([fd], [], [], seconds)[0])
    finally:
        os.close(fd)


@pytest.fixture
def make_deployment(tmp_path: Path) -> Iterator[Callable[..., Deployment]]:
    deployments: list[Deployment] = []

    def make(home: Path | None = None, **settings: str) -> Deployment:
        deployments.append(
            Deployment(home or tmp_path / f"home{len(deployments)}", tmp_path / f"notes{len(deployments)}", **settings)
        )
        return deployments[-1]

    yield make
    for deployment in deployments:
        deployment.close()


@pytest.fixture
def deployment(make_deployment: Callable[..., Deployment]) -> Deployment:
    return make_deployment()
