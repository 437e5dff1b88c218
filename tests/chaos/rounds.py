"""One round of chaos: a run of 200 tasks while processes are killed at moments drawn from a seed.

Every process of nbflow's may be killed: the scheduler (with its supervisor), a process that forks, a task. A killed
scheduler is started again. The moments are counted in lines of history, not in seconds, so a round means the same on
any machine. Each task notes its start and end in a file under a lock of its own: a second execution beside a living one
would find the lock taken, and say so.
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
PATIENCE_SECONDS = 120.0

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

SERVE = "from nbflow.app import App; from nbflow.services.scheduler_daemon import serve; serve(App.open(migrate=False))"


class Round:
    """Sets the scene in ``home`` for the metastore at ``url`` (None: SQLite in the home)."""

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

    # --- the scene

    def start_scheduler(self) -> None:
        with open(self.home / "scheduler.log", "ab") as log:
            one = subprocess.Popen(
                [sys.executable, "-c", SERVE], env=self.environ, stdout=log, stderr=log, start_new_session=True
            )
        self.schedulers.append(one)

    def below(self, pid: int) -> list[int]:
        """Processes below a scheduler, nearest first: the ones that fork, and the tasks."""
        found: list[int] = []
        todo = [pid]
        while todo:
            children = _children(todo.pop(0))
            found += children
            todo += children
        return found

    def play(self, *, schedulers: int = 1) -> dict[str, Any]:
        """Run to the end; returns what was killed."""
        for _ in range(schedulers):
            self.start_scheduler()
        self._wait(lambda: self.app.store.version("chaos") is not None)
        run = self.app.operations("chaos").trigger("chaos").key
        moments = sorted(self.random.sample(range(10, TASKS * 4), KILLS))
        while not self._ended(run):
            self._wait(lambda: self._ended(run) or (moments and self.app.store.last_seq() >= moments[0]))
            if moments and self.app.store.last_seq() >= moments[0]:
                moments.pop(0)
                self._kill_something()
        self._end_schedulers()
        self.check(run)
        return dict(self.killed)

    def _ended(self, run: Any) -> bool:
        found = self.app.store.run(run)
        return found is not None and found.state in RUN_FINISHED

    def _kill_something(self) -> None:
        alive = [one for one in self.schedulers if one.poll() is None]
        victim = self.random.choice(alive)
        what = self.random.choice(["scheduler", "below", "below"])
        if what == "scheduler":
            victim.kill()
            victim.wait()
            self.start_scheduler()
        else:
            below = self.below(victim.pid)
            if not below:
                return
            try:
                os.kill(self.random.choice(below), signal.SIGKILL)
            except ProcessLookupError:
                return
        self.killed[what] += 1

    def _wait(self, condition: Any) -> None:
        limit = time.monotonic() + PATIENCE_SECONDS
        while not condition():
            assert time.monotonic() < limit, f"seed {self.seed}: nothing moves any more; {self.story()}"
            for one in self.schedulers[-2:]:
                assert one.poll() in (None, -9), f"seed {self.seed}: a scheduler ended by itself: {self.log()}"
            self.app.store.wait_for_change(self.app.store.change_token(), timeout=0.2)

    def _end_schedulers(self) -> None:
        """SIGTERM, and every process below must be gone when they are."""
        left = []
        for one in self.schedulers:
            if one.poll() is None:
                left += self.below(one.pid)
                one.terminate()
                assert one.wait(30) == 0, f"seed {self.seed}: {self.log()}"
        for pid in left:
            _wait_gone(pid)

    # --- the verdict

    def check(self, run: Any) -> None:
        """The run ended right, each task once for every time it was let run, nothing beside itself, nothing left."""
        store, place = self.app.store, f"seed {self.seed}"
        states = Counter(one.state for one in store.instances(run))
        assert (store.run(run).state.value, dict(states)) == ("success", {TaskState.SUCCESS: TASKS}), place
        total = [text for key, name, text in store.xcoms(run) if key.task_id == "total"]
        assert total == [str(sum(range(50)))], place
        notes = [line.split() for line in (self.home / "notes" / "log").read_text().splitlines()]
        assert not [line for line in notes if line[0] == "OVERLAP"], place
        for event in store.events(run=run):
            if event.key is not None and event.source and event.target:  # an expansion begins and ends rows
                check_move(TaskState(event.source), Cause(event.cause), TaskState(event.target))
        starts = Counter((task, index) for word, task, index, _ in notes if word == "start")
        tries = {(one.task_id, str(one.map_index)): one.try_number for one in store.instances(run)}
        over = {name: (count, tries[name]) for name, count in starts.items() if count > tries[name]}
        assert not over, f"{place}: more executions than tries: {over}"
        assert store.live_attempts() == [], place
        assert _with_home(self.home) == [], place

    def story(self) -> str:
        """What history and log say last, for a failure."""
        events = self.app.store.events(after=max(self.app.store.last_seq() - 5, 0))
        lines = [f"{e.key} {e.source}->{e.target} {e.cause}" for e in events]
        return "; ".join(lines) + "\n" + self.log()

    def log(self) -> str:
        return (self.home / "scheduler.log").read_text()[-3000:]

    def close(self) -> None:
        for one in self.schedulers:
            if one.poll() is None:
                one.kill()
                one.wait()
        self.app.close()


def _children(pid: int) -> list[int]:
    """Those of all its threads; none, of one that ends while we look."""
    found: list[int] = []
    with contextlib.suppress(OSError):
        for thread in os.listdir(f"/proc/{pid}/task"):
            with contextlib.suppress(OSError):
                found += map(int, Path(f"/proc/{pid}/task/{thread}/children").read_text().split())
    return found


def _wait_gone(pid: int) -> None:
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        assert select.select([fd], [], [], 10)[0], f"process {pid} is still there"
    finally:
        os.close(fd)


def _with_home(home: Path) -> list[int]:
    """Processes that carry this home in their environment."""
    mark = f"NBFLOW_HOME={home}\0".encode()
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if mark in (folder / "environ").read_bytes() + b"\0":
                found.append(int(folder.name))
        except OSError:
            continue
    return found
