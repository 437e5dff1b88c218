"""Parallel tasks that do nothing, each in a process, until all states are stored."""

from __future__ import annotations

from bench.floors import PROCESS_FLOOR, process_floor
from bench.harness import PARALLEL_TASKS, Bench
from bench.results import Figure


def measure(bench: Bench) -> list[Figure]:
    figures = []
    for store in bench.stores:
        rates, floor = [], []
        with bench.home(store, wide=PARALLEL_TASKS.format(tasks=bench.tasks)) as home, home.engine() as engine:
            engine.run("wide")  # the first run loads the DAG
            for _ in range(bench.runs):
                _, seconds = engine.run("wide")
                rates.append(bench.tasks / seconds)
                floor.append(1 / process_floor(bench.tasks))
        figures.append(
            Figure(
                row="parallel",
                what=f"{bench.tasks} tasks, each in a process",
                store=store,
                unit="tasks/s",
                samples=tuple(rates),
                more_is_better=True,
                target=330.0 if store == "sqlite" else None,
                floor=tuple(floor),
                floor_is=PROCESS_FLOOR,
                most_floors=2.0 if store == "sqlite" else None,
            )
        )
    return figures
