"""What a long history costs: the chain's gap and the scheduler's turn beside a million finished task instances."""

from __future__ import annotations

import time
from statistics import median

from bench.chain import measure_gaps
from bench.figures import Figure
from bench.world import CHAIN, Bench, Engine, Home

TASKS_A_RUN = 50
MOST_TIMES = 1.1
FLOOR = "the same with an empty metastore, measured in turn"


def measure(bench: Bench) -> list[Figure]:
    figures = []
    for store in bench.stores:
        text = CHAIN.format(tasks=bench.chain)
        with bench.home(store, chain=text) as empty, bench.home(store, chain=text) as full:
            with empty.engine() as here, full.engine() as there:
                began = time.perf_counter()
                fill(there, bench.history)
                bench.say(f"{store}: {bench.history:,} task instances in {time.perf_counter() - began:.0f} s")
                samples = _in_turn(bench, (empty, here), (full, there))
        for what, unit, floor, most in samples:
            figures.append(
                Figure(
                    row="history",
                    what=f"{what}, {bench.history:,} finished instances",
                    store=store,
                    unit=unit,
                    samples=most,
                    floor=floor,
                    floor_is=FLOOR,
                    most_floors=MOST_TIMES,
                )
            )
    return figures


def _in_turn(
    bench: Bench, empty: tuple[Home, Engine], full: tuple[Home, Engine]
) -> list[tuple[str, str, tuple[float, ...], tuple[float, ...]]]:
    gaps: tuple[list[float], list[float]] = ([], [])
    turns: tuple[list[float], list[float]] = ([], [])
    for run in range(bench.runs + 1):
        for number, (home, engine) in enumerate((empty, full)):
            gap, _ = measure_gaps(home, engine)
            turn = _turn(engine)
            if run:
                gaps[number].append(gap)
                turns[number].append(turn)
    return [
        ("chain gap", "ms", tuple(gaps[0]), tuple(gaps[1])),
        ("turn of the loop", "ms", tuple(turns[0]), tuple(turns[1])),
    ]


def _turn(engine: Engine) -> float:
    """Median ms of a turn in which the scheduler reads anew what is active (one run that waits), and what is due."""
    operations = engine.app.operations("bench")
    operations.set_paused("chain", True)
    run = operations.trigger("chain").key
    while engine.scheduler.step().busy:
        pass
    taken = []
    for _ in range(20):
        engine.scheduler.memory.token = None
        began = time.perf_counter()
        engine.scheduler.step()
        taken.append(1000 * (time.perf_counter() - began))
    operations.set_paused("chain", False)
    engine.drive({run}, time.perf_counter())
    return median(taken)


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
"""What the numbers count, and the two halves of an INSERT between which they are made."""


def fill(engine: Engine, instances: int) -> None:
    """Put so many finished instances into the metastore, each with its attempt and its four rows of history."""
    from sqlalchemy import create_engine

    runs = max(1, instances // TASKS_A_RUN)
    database = create_engine(engine.app.settings.database.sql_alchemy_conn)
    numbers = {"runs": _NUMBERS.format(first=1, last=runs), "tasks": _NUMBERS.format(first=0, last=TASKS_A_RUN - 1)}
    at = _HOUR[database.dialect.name]
    with database.begin() as connection:
        for counted, into, rows in _STATEMENTS:
            connection.exec_driver_sql(f"{into} {numbers[counted]} {rows.format(at=at)}")
    with database.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql("ANALYZE")
    database.dispose()
