"""A backfill of many days, each a run of three tasks in processes, until all states are stored."""

from __future__ import annotations

import gc
import time
from datetime import UTC, datetime, timedelta

from bench.harness import DAYS, Bench, Engine
from bench.results import Figure

FIRST = datetime(2024, 1, 1, tzinfo=UTC)


def measure(bench: Bench) -> list[Figure]:
    figures = []
    for store in bench.stores:
        seconds = []
        for _ in range(bench.runs):  # a new home for each, because a date has only one run
            with bench.home(store, days=DAYS) as home, home.engine() as engine:
                engine.run("days")
                seconds.append(_backfill(engine, bench.days))
        figures.append(
            Figure(
                row="backfill",
                what=f"{bench.days} days x 3 tasks",
                store=store,
                unit="s",
                samples=tuple(seconds),
                target=1.5,
            )
        )
    return figures


def _backfill(engine: Engine, days: int) -> float:
    gc.collect()
    started = time.perf_counter()
    last = FIRST + timedelta(days=days - 1)
    result = engine.app.operations("bench").backfill("days", FIRST, last)
    engine.drive({run.key for run in engine.app.store.active_runs("days")}, started)
    seconds = time.perf_counter() - started
    assert result.backfill_id is not None
    row = engine.app.store.backfill(result.backfill_id)
    if row is None or row.completed_at is None:
        raise RuntimeError(f"the backfill has not completed: {row}")
    return seconds
