"""Parallel tasks that do nothing, run in this process by ``dag.test()``."""

from __future__ import annotations

import gc
import time

from bench.floors import IN_PROCESS_FLOOR, in_process_floor
from bench.harness import PARALLEL_TASKS, Bench, Home
from bench.results import Figure


def measure(bench: Bench) -> list[Figure]:
    figures = []
    for store in bench.stores:
        rates, floor = [], []
        with bench.home(store, wide=PARALLEL_TASKS.format(tasks=bench.tasks)) as home:
            _seconds(home)
            for _ in range(bench.runs):
                rates.append(bench.tasks / _seconds(home))
                floor.append(1 / in_process_floor(bench.tasks))
        figures.append(
            Figure(
                row="in_process",
                what=f"{bench.tasks} tasks by dag.test()",
                store=store,
                unit="tasks/s",
                samples=tuple(rates),
                more_is_better=True,
                target=2000.0 if store == "sqlite" else None,
                floor=tuple(floor),
                floor_is=IN_PROCESS_FLOOR,
            )
        )
    return figures


def _seconds(home: Home) -> float:
    from nbflow.sources.loading import load_source

    dag = load_source(home.dags_folder / "wide.py", folder=home.dags_folder).dags[0]
    with home.app() as app:
        gc.collect()
        started = time.perf_counter()
        run = dag.test(app=app)
        seconds = time.perf_counter() - started
    if run.state.value != "success":
        raise RuntimeError(f"the run ended as {run.state}")
    return seconds
