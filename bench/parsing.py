"""Parsing many DAG files: all of them in one process, and what the DAG processor makes of a folder and of a change."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

from bench.figures import Figure
from bench.world import PATIENCE_SECONDS, Bench, Home

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
FLOOR = "the texts compiled and run in one process, which makes the DAG objects but neither checks nor compiles them"


def measure(bench: Bench) -> list[Figure]:
    texts = {f"dag_{number}": FILE.format(number=number, tasks=bench.tasks_a_file) for number in range(bench.files)}
    what = f"{bench.files} files of {bench.tasks_a_file} tasks"
    with bench.home(**texts) as home:
        paths = sorted(home.dags_folder.iterdir())
        alone, floor = [], []
        for _ in range(bench.runs):
            alone.append(_in_a_fork(lambda: _parse(paths, home.dags_folder)))
            floor.append(_in_a_fork(lambda: _execute(paths)))
        whole, changed = _processor(home, paths, bench.runs)
    one = Figure(
        row="parsing",
        what=f"{what}, one process",
        unit="s",
        samples=tuple(alone),
        target=0.35,
        floor=tuple(floor),
        floor_is=FLOOR,
    )
    daemon = "DAG processor (a process a file)"
    return [
        one,
        Figure(row="parsing", what=f"{what}, {daemon}", store="sqlite", unit="s", samples=tuple(whole)),
        Figure(row="parsing", what=f"1 changed of {bench.files}, {daemon}", store="sqlite", unit="s", samples=changed),
    ]


def _in_a_fork(work: Callable[[], None]) -> float:
    """Seconds that ``work`` takes in a process that has nbflow imported and nothing loaded before."""

    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            began = time.perf_counter()
            work()
            os.write(writer, str(time.perf_counter() - began).encode())
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as said:
        text = said.read()
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
    """Seconds of its first look at a folder that the metastore knows, and of the look after one file changed."""
    whole, changed = [], []
    with home.app() as app:
        for run in range(runs + 1):
            processor = app.processor()
            began = time.perf_counter()
            processor.start()
            try:
                processor.sync(PATIENCE_SECONDS)
                first = time.perf_counter() - began
                paths[run].write_text(paths[run].read_text(encoding="utf-8") + "\n", encoding="utf-8")
                began = time.perf_counter()
                processor.sync(PATIENCE_SECONDS)
                again = time.perf_counter() - began
            finally:
                processor.stop()
            if run:  # before that, every DAG is new to the metastore
                whole.append(first)
                changed.append(again)
    return whole, tuple(changed)
