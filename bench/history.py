"""The cost of a long history: the gap in a chain and the time of a scheduler loop, with a million finished task
instances in the metastore."""

from __future__ import annotations

import time
from statistics import median

from bench.chain import measure_gaps
from bench.harness import CHAIN, Bench, Engine, Home
from bench.results import Figure

TASKS_PER_RUN = 50
MAX_FLOOR_RATIO = 1.1
FLOOR = "the same with an empty metastore, measured alternately"


def measure(bench: Bench) -> list[Figure]:
    figures = []
    for store in bench.stores:
        text = CHAIN.format(tasks=bench.chain)
        with bench.home(store, chain=text) as empty, bench.home(store, chain=text) as full:
            with empty.engine() as empty_engine, full.engine() as full_engine:
                started = time.perf_counter()
                fill(full_engine, bench.history)
                bench.log(f"{store}: {bench.history:,} task instances in {time.perf_counter() - started:.0f} s")
                samples = _alternately(bench, (empty, empty_engine), (full, full_engine))
        for what, unit, floor, measured in samples:
            figures.append(
                Figure(
                    row="history",
                    what=f"{what}, {bench.history:,} finished instances",
                    store=store,
                    unit=unit,
                    samples=measured,
                    floor=floor,
                    floor_is=FLOOR,
                    most_floors=MAX_FLOOR_RATIO,
                )
            )
    return figures


def _alternately(
    bench: Bench, empty: tuple[Home, Engine], full: tuple[Home, Engine]
) -> list[tuple[str, str, tuple[float, ...], tuple[float, ...]]]:
    gaps: tuple[list[float], list[float]] = ([], [])
    loops: tuple[list[float], list[float]] = ([], [])
    for run in range(bench.runs + 1):
        for number, (home, engine) in enumerate((empty, full)):
            gap, _ = measure_gaps(home, engine)
            loop_ms = _loop_ms(engine)
            if run:
                gaps[number].append(gap)
                loops[number].append(loop_ms)
    return [
        ("chain gap", "ms", tuple(gaps[0]), tuple(gaps[1])),
        ("scheduler loop", "ms", tuple(loops[0]), tuple(loops[1])),
    ]


def _loop_ms(engine: Engine) -> float:
    """Median ms of a scheduler loop that reads the active runs (one, which waits) and the due runs from the store."""
    operations = engine.app.operations("bench")
    operations.set_paused("chain", True)
    run = operations.trigger("chain").key
    while engine.scheduler.step().busy:
        pass
    samples = []
    for _ in range(20):
        engine.scheduler.memory.token = None
        started = time.perf_counter()
        engine.scheduler.step()
        samples.append(1000 * (time.perf_counter() - started))
    operations.set_paused("chain", False)
    engine.drive({run}, time.perf_counter())
    return median(samples)


# -------------------------------------------------------------------------------------------------------- bulk loading

_HOUR = {
    "sqlite": "strftime('%Y-%m-%dT%H:%M:%S.000000Z', '2015-01-01', '+' || n.i || ' hours')",
    "postgresql": "timestamptz '2015-01-01 00:00:00+00' + n.i * interval '1 hour'",
}
_NUMBERS = "WITH RECURSIVE n(i) AS (SELECT {first} UNION ALL SELECT i + 1 FROM n WHERE i < {last})"
_EACH_TASK = "FROM dag_run AS r CROSS JOIN n WHERE r.triggered_by = 'bench' ORDER BY r.id, n.i"
_CHANGES = (("none", "scheduled"), ("scheduled", "queued"), ("queued", "running"), ("running", "success"))
_STATEMENTS = (
    (
        "runs",
        "INSERT INTO dag_run (dag_id, run_id, run_type, state, logical_date, data_interval_start, data_interval_end,"
        " run_after, start_date, end_date, conf, version, clear_number, revision, sort_date, triggered_by)",
        "SELECT 'chain', 'old ' || n.i, 'scheduled', 'success', {at}, {at}, {at},"
        " {at}, {at}, {at}, '{{}}', 1, 0, 9, {at}, 'bench' FROM n",
    ),
    (
        "tasks",
        "INSERT INTO task_instance (run_no, task_id, map_index, state, try_number, max_tries, attempt_id, start_date,"
        " end_date, reschedules, pool, pool_slots)",
        "SELECT r.id, 't' || n.i, -1, 'success', 1, 0, r.id || '-' || n.i, r.start_date, r.end_date, 0,"
        f" 'default_pool', 1 {_EACH_TASK}",
    ),
    (
        "tasks",
        "INSERT INTO attempt (attempt_id, run_no, task_id, map_index, try_number, version, queue, continues, state,"
        " owner, queued_at, started_at, ended_at, outcome)",
        "SELECT r.id || '-' || n.i, r.id, 't' || n.i, -1, 1, 1, 'default', false, 'ended', 'scheduler@bench',"
        f" r.start_date, r.start_date, r.end_date, 'succeeded' {_EACH_TASK}",
    ),
    *(
        (
            "tasks",
            "INSERT INTO task_event (run_no, task_id, map_index, source, target, cause, actor, at, try_number,"
            " attempt_id)",
            f"SELECT r.id, 't' || n.i, -1, '{source}', '{target}', 'bench', 'scheduler', r.end_date, 1,"
            f" r.id || '-' || n.i {_EACH_TASK}",
        )
        for source, target in _CHANGES
    ),
)
"""What is numbered, and the two halves of an INSERT; the CTE of the numbers goes between them."""


def fill(engine: Engine, instances: int) -> None:
    """Insert finished task instances into the metastore, each with its attempt and four rows of history."""
    from sqlalchemy import create_engine

    runs = max(1, instances // TASKS_PER_RUN)
    database = create_engine(engine.app.settings.database.sql_alchemy_conn)
    numbers = {"runs": _NUMBERS.format(first=1, last=runs), "tasks": _NUMBERS.format(first=0, last=TASKS_PER_RUN - 1)}
    at = _HOUR[database.dialect.name]
    with database.begin() as connection:
        for numbered, insert, select in _STATEMENTS:
            connection.exec_driver_sql(f"{insert} {numbers[numbered]} {select.format(at=at)}")
    with database.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql("ANALYZE")
    database.dispose()
