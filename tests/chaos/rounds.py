"""One round of chaos: a run of 200 tasks while processes are killed at times drawn from a seed.

Any process of nbflow may be killed: the scheduler (with its supervisor), a fork server, a task. A killed scheduler is
restarted. The times are numbers of history rows, not seconds, so a round is the same on any machine. Each task logs its
start and end while it holds a lock file: a second execution at the same time finds the lock taken, and logs that.
"""

from __future__ import annotations

import contextlib
import os
import random
import select
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

from nbflow.app import App
from nbflow.core.states import RUN_FINISHED, Cause, TaskState, check_move

TASKS = 200
KILLS = 6
TIMEOUT_SECONDS = 120.0

DAG_FILE = f"""
import fcntl, os
from datetime import timedelta
from pathlib import Path
from nbflow import DAG, task, get_current_context

NOTES = Path(__file__).parent.parent / "notes"

def note(ti, word):
    with open(NOTES / "log", "a") as file:
        file.write(f"{{word}} {{ti.task_id}} {{ti.map_index}} {{ti.try_number}}\\n")

with DAG("chaos", schedule=None, is_paused_upon_creation=False, max_active_tasks=1000,
         default_args={{"retries": 50, "retry_delay": timedelta(0)}}) as dag:
    @task
    def work(n):
        ti = get_current_context()["ti"]
        lock = open(NOTES / f"{{ti.task_id}}.{{ti.map_index}}.lock", "w")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            note(ti, "OVERLAP")
        note(ti, "start")
        total = sum(i * i for i in range(20_000))
        note(ti, "end")
        return n

    @task
    def numbers():
        return list(range(50))

    @task
    def total(values):
        return sum(values)

    first = [work.override(task_id=f"wide_{{i}}")(i) for i in range({TASKS} - 102)]
    chain = [work.override(task_id=f"chain_{{i}}")(i) for i in range(50)]
    for before, after in zip(chain, chain[1:]):
        before >> after
    first[0] >> chain[0]
    total(work.override(task_id="mapped").expand(n=numbers()))
"""

SERVE = (
    "from nbflow.app import App; from nbflow.services.scheduler_process import serve; serve(App.open(migrate=False))"
)


class Round:
    """A home with the DAG, and a metastore at ``url`` (None: SQLite in the home)."""

    def __init__(self, home: Path, seed: int, url: str | None = None) -> None:
        self.home, self.seed, self.random = home, seed, random.Random(seed)
        self.environ = {
            "PATH": os.environ["PATH"],
            "HOME": str(home),
            "NBFLOW_HOME": str(home),
            "NBFLOW__CORE__PARALLELISM": "4",
            "NBFLOW__CORE__KILLED_TASK_CLEANUP_TIME": "1",
            "NBFLOW__SCHEDULER__SCHEDULER_HEARTBEAT_SEC": "0.5",
            "NBFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_SEC": "0.5",
            "NBFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "5",
            "NBFLOW__SCHEDULER__SCHEDULER_HEALTH_CHECK_THRESHOLD": "5",
        }
        if url is not None:
            self.environ["NBFLOW__DATABASE__SQL_ALCHEMY_CONN"] = url
        self.app = App.open(home=home, environ=self.environ, migrate=False)
        self.app.store.migrate()
        (home / "notes").mkdir()
        (Path(self.app.settings.core.dags_folder) / "chaos.py").write_text(DAG_FILE)
        self.schedulers: list[subprocess.Popen[bytes]] = []
        self.killed: Counter[str] = Counter()

    # --- processes

    def start_scheduler(self) -> None:
        with open(self.home / "scheduler.log", "ab") as log:
            scheduler = subprocess.Popen(
                [sys.executable, "-c", SERVE], env=self.environ, stdout=log, stderr=log, start_new_session=True
            )
        self.schedulers.append(scheduler)

    def processes_below(self, pid: int) -> list[int]:
        """Processes below a scheduler, nearest first: fork servers and tasks."""
        pids: list[int] = []
        queue = [pid]
        while queue:
            children = _children(queue.pop(0))
            pids += children
            queue += children
        return pids

    def run(self, *, schedulers: int = 1) -> dict[str, Any]:
        """Run to the end and check the result; returns the numbers of killed processes."""
        for _ in range(schedulers):
            self.start_scheduler()
        self._wait(lambda: self.app.store.version("chaos") is not None)
        run = self.app.operations("chaos").trigger("chaos").key
        kill_at = sorted(self.random.sample(range(10, TASKS * 4), KILLS))
        while not self._ended(run):
            self._wait(lambda: self._ended(run) or (kill_at and self.app.store.last_seq() >= kill_at[0]))
            if kill_at and self.app.store.last_seq() >= kill_at[0]:
                kill_at.pop(0)
                self._kill_one_process()
        self._stop_schedulers()
        self.check(run)
        return dict(self.killed)

    def _ended(self, run_key: Any) -> bool:
        run = self.app.store.run(run_key)
        return run is not None and run.state in RUN_FINISHED

    def _kill_one_process(self) -> None:
        alive = [scheduler for scheduler in self.schedulers if scheduler.poll() is None]
        scheduler = self.random.choice(alive)
        kind = self.random.choice(["scheduler", "below", "below"])
        if kind == "scheduler":
            scheduler.kill()
            scheduler.wait()
            self.start_scheduler()
        else:
            below = self.processes_below(scheduler.pid)
            if not below:
                return
            try:
                os.kill(self.random.choice(below), signal.SIGKILL)
            except ProcessLookupError:
                return
        self.killed[kind] += 1

    def _wait(self, condition: Any) -> None:
        deadline = time.monotonic() + TIMEOUT_SECONDS
        while not condition():
            assert time.monotonic() < deadline, f"seed {self.seed}: no progress; {self.last_events()}"
            for scheduler in self.schedulers[-2:]:
                assert scheduler.poll() in (None, -9), f"seed {self.seed}: a scheduler exited: {self.log()}"
            self.app.store.wait_for_change(self.app.store.change_token(), timeout=0.2)

    def _stop_schedulers(self) -> None:
        """Send SIGTERM to all schedulers; every process below must exit, too."""
        below = []
        for scheduler in self.schedulers:
            if scheduler.poll() is None:
                below += self.processes_below(scheduler.pid)
                scheduler.terminate()
                assert scheduler.wait(30) == 0, f"seed {self.seed}: {self.log()}"
        for pid in below:
            _wait_for_exit(pid)

    # --- checks

    def check(self, run: Any) -> None:
        """The run succeeded, no task ran more often than its tries or twice at once, no process remains."""
        store, label = self.app.store, f"seed {self.seed}"
        states = Counter(ti.state for ti in store.instances(run))
        assert (store.run(run).state.value, dict(states)) == ("success", {TaskState.SUCCESS: TASKS}), label
        total = [text for key, name, text in store.xcoms(run) if key.task_id == "total"]
        assert total == [str(sum(range(50)))], label
        notes = [line.split() for line in (self.home / "notes" / "log").read_text().splitlines()]
        assert not [line for line in notes if line[0] == "OVERLAP"], label
        for event in store.events(run=run):
            if event.key is not None and event.source and event.target:  # not an expansion, which adds and drops rows
                check_move(TaskState(event.source), Cause(event.cause), TaskState(event.target))
        starts = Counter((task, index) for word, task, index, _ in notes if word == "start")
        tries = {(ti.task_id, str(ti.map_index)): ti.try_number for ti in store.instances(run)}
        excess = {name: (count, tries[name]) for name, count in starts.items() if count > tries[name]}
        assert not excess, f"{label}: more executions than tries: {excess}"
        assert store.live_attempts() == [], label
        assert _with_home(self.home) == [], label

    def last_events(self) -> str:
        """The last history rows and log lines, for a failure message."""
        events = self.app.store.events(after=max(self.app.store.last_seq() - 5, 0))
        lines = [f"{e.key} {e.source}->{e.target} {e.cause}" for e in events]
        return "; ".join(lines) + "\n" + self.log()

    def log(self) -> str:
        return (self.home / "scheduler.log").read_text()[-3000:]

    def close(self) -> None:
        for scheduler in self.schedulers:
            if scheduler.poll() is None:
                scheduler.kill()
                scheduler.wait()
        self.app.close()


def _children(pid: int) -> list[int]:
    """Children of all threads of a process; threads that end meanwhile are ignored."""
    pids: list[int] = []
    with contextlib.suppress(OSError):
        for thread in os.listdir(f"/proc/{pid}/task"):
            with contextlib.suppress(OSError):
                pids += map(int, Path(f"/proc/{pid}/task/{thread}/children").read_text().split())
    return pids


def _wait_for_exit(pid: int) -> None:
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        assert select.select([fd], [], [], 10)[0], f"process {pid} still runs"
    finally:
        os.close(fd)


def _with_home(home: Path) -> list[int]:
    """Processes with this NBFLOW_HOME in their environment."""
    variable = f"NBFLOW_HOME={home}\0".encode()
    pids = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if variable in (folder / "environ").read_bytes() + b"\0":
                pids.append(int(folder.name))
        except OSError:
            continue
    return pids
