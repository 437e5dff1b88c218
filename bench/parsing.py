"""Parsing many DAG files: all in one process, and by the DAG processor (the whole folder, and one changed file)."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

from bench.harness import MAX_SECONDS, Bench, Home
from bench.results import Figure

FILE = """
from datetime import datetime

from nbflow import DAG, task

with DAG("dag_{number}", schedule="@daily", start_date=datetime(2024, 1, 1), catchup=False, tags=["bench"]):
    before = None
    for step in range({tasks}):

        @task(task_id=f"t{{step}}")
        def work(value=1):
            return value + step

        this = work()
        if before is not None:
            before >> this
        before = this
"""
FLOOR = "the files run in one process, which creates the DAG objects but neither checks nor compiles them"


def measure(bench: Bench) -> list[Figure]:
    texts = {f"dag_{number}": FILE.format(number=number, tasks=bench.tasks_per_file) for number in range(bench.files)}
    what = f"{bench.files} files of {bench.tasks_per_file} tasks"
    with bench.home(**texts) as home:
        paths = sorted(home.dags_folder.iterdir())
        seconds, floor = [], []
        for _ in range(bench.runs):
            seconds.append(_seconds_in_fork(lambda: _parse(paths, home.dags_folder)))
            floor.append(_seconds_in_fork(lambda: _execute(paths)))
        all_files, changed = _processor(home, paths, bench.runs)
    in_one_process = Figure(
        row="parsing",
        what=f"{what}, one process",
        unit="s",
        samples=tuple(seconds),
        target=0.35,
        floor=tuple(floor),
        floor_is=FLOOR,
    )
    daemon = "DAG processor (one process per file)"
    return [
        in_one_process,
        Figure(row="parsing", what=f"{what}, {daemon}", store="sqlite", unit="s", samples=tuple(all_files)),
        Figure(row="parsing", what=f"1 changed of {bench.files}, {daemon}", store="sqlite", unit="s", samples=changed),
    ]


def _seconds_in_fork(function: Callable[[], None]) -> float:
    """Seconds that ``function`` takes in a process that has imported nbflow and loaded no DAG file."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            started = time.perf_counter()
            function()
            os.write(writer, str(time.perf_counter() - started).encode())
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        text = pipe.read()
    os.waitpid(pid, 0)
    if not text:
        raise RuntimeError("the parsing process died")
    return float(text)


def _parse(paths: list[Path], folder: Path) -> None:
    from nbflow.sources.loading import load_source

    for path in paths:
        loaded = load_source(path, folder=folder)
        if loaded.import_errors or len(loaded.specs) != 1:
            raise RuntimeError(f"{path}: {loaded.import_errors}")


def _execute(paths: list[Path]) -> None:
    for path in paths:
        exec(compile(path.read_text(encoding="utf-8"), str(path), "exec"), {"__name__": path.stem})


def _processor(home: Home, paths: list[Path], runs: int) -> tuple[list[float], tuple[float, ...]]:
    """Seconds for parsing a folder whose DAGs are in the metastore, and for parsing one changed file."""
    all_files, changed = [], []
    with home.app() as app:
        for run in range(runs + 1):
            processor = app.processor()
            started = time.perf_counter()
            processor.start()
            try:
                processor.sync(MAX_SECONDS)
                first = time.perf_counter() - started
                paths[run].write_text(paths[run].read_text(encoding="utf-8") + "\n", encoding="utf-8")
                started = time.perf_counter()
                processor.sync(MAX_SECONDS)
                second = time.perf_counter() - started
            finally:
                processor.stop()
            if run:  # in run 0 every DAG is new to the metastore
                all_files.append(first)
                changed.append(second)
    return all_files, tuple(changed)
