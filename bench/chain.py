"""A chain of tasks: the gap between the end of a task and the start of the next one.

Two clocks measure it: the stored dates (end of the user code, and when the next try was sent to its process), and the
tasks themselves (from the last line of a task to the first line of the next one)."""

from __future__ import annotations

from itertools import pairwise
from statistics import median

from bench.harness import CHAIN, Bench, Engine, Home
from bench.results import Figure

MAX_GAP_MS = {"sqlite": 5.0, "postgres": 8.0}


def measure(bench: Bench) -> list[Figure]:
    figures = []
    for store in bench.stores:
        with bench.home(store, chain=CHAIN.format(tasks=bench.chain)) as home, home.engine() as engine:
            engine.run("chain")
            gaps = [measure_gaps(home, engine) for _ in range(bench.runs)]
        for clock, samples in zip(("stored dates", "user code"), zip(*gaps, strict=True), strict=True):
            figures.append(
                Figure(
                    row="chain",
                    what=f"gap in a chain of {bench.chain}, {clock}",
                    store=store,
                    unit="ms",
                    samples=samples,
                    target=MAX_GAP_MS[store],
                )
            )
    return figures


def measure_gaps(home: Home, engine: Engine) -> tuple[float, float]:
    """Run the chain. Returns the median gap in ms, by the stored dates and by the tasks."""
    times = home.folder / "times"
    times.unlink(missing_ok=True)
    run, _ = engine.run("chain")
    dates = [(ti.start_date, ti.end_date) for ti in engine.app.store.instances(run)]
    stored = sorted((start, end) for start, end in dates if start is not None and end is not None)
    by_tasks = sorted(tuple(map(float, line.split())) for line in times.read_text(encoding="ascii").splitlines())
    return (
        1000 * median((start - end).total_seconds() for (_, end), (start, _) in pairwise(stored)),
        1000 * median(start - end for (_, _, end), (_, start, _) in pairwise(by_tasks)),
    )
