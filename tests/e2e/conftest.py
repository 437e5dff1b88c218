"""A house of its own for each test: a home with a real metastore, and schedulers that are processes of their own.

Waits are for events, with a limit: of the metastore's changes where they stand there, else of a file.
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

PATIENCE_SECONDS = 60.0
"""A test that waits longer for an event has failed; a loaded machine is slow, not wrong."""
LOOK_SECONDS = 0.05
"""How often a wait looks at what the metastore does not tell of."""


class House:
    """A home, its DAGs folder, and the schedulers that were started for it."""

    def __init__(self, home: Path, notes: Path, **settings: str) -> None:
        self.home, self.notes = home, notes
        notes.mkdir(parents=True, exist_ok=True)
        given = {
            "CORE__DAGS_ARE_PAUSED_AT_CREATION": "false",
            "CORE__PARALLELISM": "8",
            "CORE__KILLED_TASK_CLEANUP_TIME": "1",
            "SCHEDULER__SCHEDULER_HEARTBEAT_SEC": "0.5",
            "SCHEDULER__TASK_INSTANCE_HEARTBEAT_SEC": "0.5",
            **settings,
        }
        base = {"PATH": os.environ["PATH"], "HOME": str(notes), "NBFLOW_HOME": str(home), "NOTES": str(notes)}
        self.environ = base | {f"NBFLOW__{name}": value for name, value in given.items()}
        self.environ["NBFLOW__CORE__TASK_ENVIRONMENT"] = "NOTES"
        self.reopen()
        self.store.migrate()
        self.schedulers: list[subprocess.Popen[bytes]] = []
        self.gates: list[Gate] = []

    def reopen(self) -> None:
        """Open the metastore from this process, anew."""
        self.app = App.open(home=self.home, environ=self.environ, migrate=False)
        self.store, self.ops = self.app.store, self.app.operations("user:ada")

    # --- doing

    def write(self, name: str, source: str) -> None:
        """Save a DAG file, whole or not at all, as an editor does."""
        path = Path(self.app.settings.core.dags_folder) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.with_suffix(".part")
        beside.write_text(HEAD + textwrap.dedent(source))
        beside.replace(path)

    def close_gate(self, name: str) -> Gate:
        """A gate among the notes, closed until the test opens it or ends."""
        self.gates.append(Gate(self.notes / name))
        return self.gates[-1]

    def start(self) -> subprocess.Popen[bytes]:
        """``python -m nbflow scheduler``, writing to ``notes/scheduler.log``."""
        with open(self.log_path, "ab") as log:
            words = [sys.executable, "-m", "nbflow", "scheduler"]
            one = subprocess.Popen(
                words, env=self.environ, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        self.schedulers.append(one)
        return one

    def stop(self) -> list[int]:
        """End the schedulers as an operator does; their exit codes."""
        for one in self.schedulers:
            if one.poll() is None:
                one.send_signal(signal.SIGTERM)
        return [one.wait(PATIENCE_SECONDS) for one in self.schedulers]

    def trigger(self, dag_id: str) -> RunKey:
        """Wait until the DAG is known, and run it."""
        self.until(lambda: self.store.dag(dag_id) is not None)
        return self.ops.trigger(dag_id).key

    # --- waiting

    def until(self, condition: Callable[[], Any]) -> Any:
        """Wait until the condition holds; its value."""
        limit = time.monotonic() + PATIENCE_SECONDS
        while not (found := condition()):
            token = self.store.change_token()
            assert time.monotonic() < limit, f"it did not come true in time; the scheduler said:\n{self.said()[-4000:]}"
            self.store.wait_for_change(token, timeout=LOOK_SECONDS)
        return found

    def end_of(self, run: RunKey) -> dict[str, str]:
        """Wait for the end of a run; its tasks' states."""
        self.until(lambda: self.store.run(run).state in RUN_FINISHED)
        return {str(ti.key): ti.state.value for ti in self.store.instances(run)}

    # --- looking

    @property
    def log_path(self) -> Path:
        return self.notes / "scheduler.log"

    def said(self) -> str:
        """What the schedulers wrote."""
        return self.log_path.read_text() if self.log_path.exists() else ""

    def causes(self, run: RunKey, task_id: str) -> list[str]:
        return [event.cause for event in self.store.events(run=run, key=TaskKey(task_id))]

    def error(self, run: RunKey, task_id: str) -> str:
        """What the history says of the end of a task's last try."""
        return str(self.store.events(run=run, key=TaskKey(task_id))[-1].detail.get("error", ""))

    def task_log(self, run: RunKey, task_id: str, try_number: int = 1) -> str:
        return self.app.logs.path(run, TaskKey(task_id), try_number).read_text()

    def processes(self) -> list[int]:
        """Processes that carry this home in their environment, but this one."""
        mark = f"NBFLOW_HOME={self.home}\0".encode()
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                environ = (folder / "environ").read_bytes()
            except OSError:
                continue
            if mark in environ + b"\0":
                found.append(int(folder.name))
        return found

    def close(self) -> None:
        for gate in self.gates:
            gate.open()
        for one in self.schedulers:
            if one.poll() is None:
                one.kill()
                one.wait()
        self.app.close()


HEAD = f"""\
import os, signal, subprocess, sys, time
from datetime import datetime, timedelta, timezone
from pathlib import Path
from nbflow import DAG, task, get_current_context
NOTES = Path(os.environ.get("NOTES", "/nowhere"))
{WAIT_AT}"""
"""Stands at the head of every DAG file of these tests."""


def gone(pid: int, seconds: float = PATIENCE_SECONDS) -> bool:
    """Wait for the end of a process."""
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([fd], [], [], seconds)[0])
    finally:
        os.close(fd)


@pytest.fixture
def make_house(tmp_path: Path) -> Iterator[Callable[..., House]]:
    houses: list[House] = []

    def make(home: Path | None = None, **settings: str) -> House:
        houses.append(House(home or tmp_path / f"home{len(houses)}", tmp_path / f"notes{len(houses)}", **settings))
        return houses[-1]

    yield make
    for house in houses:
        house.close()


@pytest.fixture
def house(make_house: Callable[..., House]) -> House:
    return make_house()
