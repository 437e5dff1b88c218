"""Floors: the time that the operating system and the database alone need, without nbflow's decisions and writes."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench.harness import PARALLEL_TASKS

COMMITS_PER_TASK = 3
BATCH = 64

PROCESS_FLOOR = (
    "fork and exit, two at a time, of a process like the fork server (nbflow's user code imported, the DAG loaded, "
    f"memory frozen), + {COMMITS_PER_TASK} commits per task of one changed row, SQLite WAL, synchronous=NORMAL"
)
IN_PROCESS_FLOOR = (
    f"the functions called in a loop; for each function 3 updates of a row and 3 rows of history, a commit for every "
    f"{BATCH} tasks, SQLite WAL, synchronous=NORMAL"
)

# Runs in a separate interpreter, whose memory is like that of the fork server.
_FORKS = """
import gc, os, sys, time
from nbflow.execution.fork_server_main import nbflow_user_code
from nbflow.sources.loading import load_source
nbflow_user_code()
loaded = load_source(sys.argv[1], folder=sys.argv[3])
assert [dag.dag_id for dag in loaded.dags] == [sys.argv[2]], loaded
count = int(sys.argv[4])
gc.collect(); gc.freeze()
began = time.perf_counter()
running = 0
for _ in range(count):
    if running == 2:
        os.wait(); running -= 1
    if os.fork() == 0:
        os._exit(0)
    running += 1
while running:
    os.wait(); running -= 1
print(time.perf_counter() - began)
"""


def process_floor(tasks: int) -> float:
    """Seconds per task."""
    with tempfile.TemporaryDirectory(prefix="nbflow-bench-") as name:
        folder = Path(name)
        (folder / "dags").mkdir()
        path = folder / "dags" / "wide.py"
        path.write_text(PARALLEL_TASKS.format(tasks=tasks), encoding="utf-8")
        command = [sys.executable, "-P", "-c", _FORKS, str(path), "wide", str(path.parent), str(tasks)]
        environ = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
        forks = float(subprocess.run(command, env=environ, check=True, capture_output=True, text=True).stdout)
        return (forks + _commits(folder / "floor.db", tasks * COMMITS_PER_TASK)) / tasks


def _commits(path: Path, count: int) -> float:
    with _database(path, 1) as connection:
        started = time.perf_counter()
        for number in range(count):
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("UPDATE task SET state = ? WHERE id = 0", (f"state {number}",))
            connection.execute("COMMIT")
        seconds = time.perf_counter() - started
    connection.close()
    return seconds


def _nothing() -> None:
    """The function of a no-op task."""


def in_process_floor(tasks: int) -> float:
    """Seconds per task."""
    functions = [_nothing] * tasks
    with tempfile.TemporaryDirectory(prefix="nbflow-bench-") as name:
        with _database(Path(name) / "floor.db", tasks) as connection:
            started = time.perf_counter()
            for first in range(0, tasks, BATCH):
                batch = range(first, min(first + BATCH, tasks))
                for number in batch:
                    functions[number]()
                connection.execute("BEGIN IMMEDIATE")
                for state in ("queued", "running", "success"):
                    connection.executemany(
                        "UPDATE task SET state = ? WHERE id = ?", [(state, number) for number in batch]
                    )
                    connection.executemany(
                        "INSERT INTO event (task, state) VALUES (?, ?)", [(number, state) for number in batch]
                    )
                connection.execute("COMMIT")
            seconds = time.perf_counter() - started
        connection.close()
    return seconds / tasks


def start_floor() -> float:
    """Seconds that an interpreter takes to start and exit."""
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", "pass"], check=True)
    return time.perf_counter() - started


def _database(path: Path, rows: int) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=NORMAL")
    connection.execute("CREATE TABLE task (id INTEGER PRIMARY KEY, state TEXT)")
    connection.execute("CREATE TABLE event (id INTEGER PRIMARY KEY, task INTEGER, state TEXT)")
    connection.executemany("INSERT INTO task VALUES (?, 'none')", [(number,) for number in range(rows)])
    return connection
