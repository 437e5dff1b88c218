"""A chain of tasks: from one task's end to the next one's start.

Two clocks tell: the stored dates (the end is when user code ended, the start when the next try was handed to its
process), and the tasks themselves (from the last line of one to the first line of the next)."""

from __future__ import annotations

from itertools import pairwise
from statistics import median

from bench.figures import Figure
from bench.world import CHAIN, Bench, Engine, Home

MOST_MS = {"sqlite": 5.0, "postgres": 8.0}


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
                    target=MOST_MS[store],
                )
            )
    return figures


def measure_gaps(home: Home, engine: Engine) -> tuple[float, float]:
    """Run the chain; the median gap in ms, by both clocks."""
    times = home.folder / "times"
    times.unlink(missing_ok=True)
    run, _ = engine.run("chain")
    dates = [(one.start_date, one.end_date) for one in engine.app.store.instances(run)]
    stored = sorted((begin, end) for begin, end in dates if begin is not None and end is not None)
    own = sorted(tuple(map(float, line.split())) for line in times.read_text(encoding="ascii").splitlines())
    return (
        1000 * median((began - ended).total_seconds() for (_, ended), (began, _) in pairwise(stored)),
        1000 * median(began - ended for (_, _, ended), (_, began, _) in pairwise(own)),
    )
