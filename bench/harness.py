"""Homes to measure in, and the real scheduler in this process."""

from __future__ import annotations

import contextlib
import gc
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bench.postgres_databases import Postgres

if TYPE_CHECKING:
    from nbflow.app import App
    from nbflow.core.snapshot import RunKey
    from nbflow.services.scheduler import LoopResult, Scheduler

MAX_SECONDS = 60.0
"""A run that takes longer is an error."""

PARALLEL_TASKS = """
from nbflow import DAG, task

with DAG("wide", schedule=None, is_paused_upon_creation=False, max_active_tasks=10_000):

    @task
    def nothing():
        pass

    for number in range({tasks}):
        nothing.override(task_id=f"t{{number}}")()
"""

CHAIN = """
import os
import time

from nbflow import DAG, task

with DAG("chain", schedule=None, is_paused_upon_creation=False, max_active_tasks=10_000):

    @task
    def stamp(number):
        began = time.time()
        with open(os.environ["NBFLOW_HOME"] + "/times", "a") as file:
            file.write(f"{{number}} {{began}} {{time.time()}}\\n")

    before = None
    for number in range({tasks}):
        this = stamp.override(task_id=f"t{{number}}")(number)
        if before is not None:
            before >> this
        before = this
"""

DAYS = """
from datetime import datetime

from nbflow import DAG, task

YEAR = {"start_date": datetime(2024, 1, 1), "end_date": datetime(2024, 12, 31)}
with DAG("days", schedule="@daily", **YEAR, is_paused_upon_creation=False, max_active_runs=16):

    @task
    def nothing():
        pass

    a, b, c = (nothing.override(task_id=name)() for name in "abc")
    a >> b >> c
"""

ONE = """
from nbflow import DAG, task

with DAG("one", schedule=None):

    @task
    def nothing():
        pass

    nothing()
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """The options of a measurement: how often, on which stores, and the sizes."""

    runs: int = 5
    stores: tuple[str, ...] = ("sqlite", "postgres")
    postgres: Postgres | None = None
    tasks: int = 200
    chain: int = 50
    days: int = 60
    files: int = 200
    tasks_per_file: int = 10
    history: int = 1_000_000
    idle_seconds: float = 4.0
    browser: str | None = None
    """The path of a Chromium."""
    nodes: tuple[int, ...] = (300, 1000, 3000)
    megabytes: float = 1.0
    log: Callable[[str], None] = lambda text: None

    @contextmanager
    def home(self, store: str = "sqlite", **dags: str) -> Iterator[Home]:
        """A new home with these DAG files (name -> text) and a migrated metastore. ``store``: sqlite or postgres."""
        with contextlib.ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="nbflow-bench-")))
            environ = {**_INHERITED, "NBFLOW_HOME": str(folder), "NBFLOW__CORE__DAGS_FOLDER": str(folder / "dags")}
            if store == "postgres":
                assert self.postgres is not None
                environ["NBFLOW__DATABASE__SQL_ALCHEMY_CONN"] = stack.enter_context(self.postgres.database())
            home = Home(folder, environ)
            home.dags_folder.mkdir()
            for name, text in dags.items():
                (home.dags_folder / f"{name}.py").write_text(text, encoding="utf-8")
            with home.app() as app:
                app.store.migrate()
            yield home


_INHERITED = {
    name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR", "PGUSER", "PYTHONPATH") if name in os.environ
}


@dataclass(frozen=True, slots=True)
class Home:
    """An NBFLOW_HOME, and the environment that selects it."""

    folder: Path
    environ: Mapping[str, str]

    @property
    def dags_folder(self) -> Path:
        return self.folder / "dags"

    def app(self) -> App:
        from nbflow.app import App

        return App.open(environ=self.environ, migrate=False)

    @contextmanager
    def engine(self) -> Iterator[Engine]:
        """A scheduler in this process, driven by the caller. The DAG files are parsed first."""
        with self.app() as app:
            processor = app.processor()
            processor.start()
            try:
                processor.sync(MAX_SECONDS)
            finally:
                processor.stop()
            errors = app.store.import_errors()
            if errors:
                raise RuntimeError(f"a DAG file of the benchmark has an import error: {errors[0]}")
            scheduler = app.scheduler()
            scheduler.start()
            try:
                yield Engine(app, scheduler)
            finally:
                scheduler.close()


@dataclass(frozen=True, slots=True)
class Engine:
    """A scheduler, and the App that it belongs to."""

    app: App
    scheduler: Scheduler

    def run(self, dag_id: str) -> tuple[RunKey, float]:
        """Trigger a DAG. Returns its run, and the seconds from the trigger until all states are stored."""
        gc.collect()
        started = time.perf_counter()
        run = self.app.operations("bench").trigger(dag_id).key
        self.drive({run}, started)
        return run, time.perf_counter() - started

    def drive(self, runs: set[RunKey], started: float) -> None:
        """Run the scheduler loop until these runs have ended. Raises RuntimeError after a timeout, or if one fails."""
        remaining = set(runs)

        def until(result: LoopResult) -> bool:
            remaining.difference_update(result.ended)
            if time.perf_counter() - started > MAX_SECONDS:
                raise RuntimeError(f"{len(remaining)} runs did not end within {MAX_SECONDS:g} s")
            return not remaining

        self.scheduler.loop(until=until)
        for key in runs:
            run = self.app.store.run(key)
            if run is None or run.state.value != "success":
                raise RuntimeError(f"{key} ended as {run and run.state}")


def process_tree(pid: int) -> list[int]:
    """The ids of a process and its descendants, from /proc."""
    pids = [pid]
    for parent in pids:
        with contextlib.suppress(OSError):
            for thread in os.listdir(f"/proc/{parent}/task"):
                text = Path(f"/proc/{parent}/task/{thread}/children").read_text(encoding="ascii")
                pids += [int(child) for child in text.split()]
    return pids
