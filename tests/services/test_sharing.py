"""Two schedulers on one Postgres metastore: runs are shared, none runs twice, and pools hold over both."""

from __future__ import annotations

import threading
from itertools import accumulate

import pytest

from nbflow.core.snapshot import TaskKey
from nbflow.core.states import OCCUPYING
from nbflow.store.base import Pool

DAG_FILE = """
from pathlib import Path
from nbflow import DAG, task
HERE = Path(__file__).parent
with DAG("d", schedule=None):
    @task(pool="narrow")
    def work(n):
        with open(HERE / "log", "a") as log: log.write("+")
        with open(HERE / "log", "a") as log: log.write("-")
    for n in range(6):
        work.override(task_id=f"t{n}")(n)
"""


def occupied_slots(event):
    """Number of slots that an event of a task occupies; -1: it frees one."""
    return (event.target in OCCUPYING) - (event.source in OCCUPYING)


@pytest.mark.postgres
def test_a_pool_of_one_runs_one_task_at_a_time_over_two_schedulers(new_postgres_url, make_stage):
    # Given two schedulers on one metastore, a pool of one slot, and four runs that need it
    url = new_postgres_url()
    stage = make_stage(DATABASE__SQL_ALCHEMY_CONN=url)
    stage.store.set_pool(Pool(name="narrow", slots=1), actor="ada", now=stage.app.clock.now())
    stage.write("d.py", DAG_FILE)
    stage.process()
    runs = [stage.ops.trigger("d").key for _ in range(4)]
    second = stage.app.scheduler()
    thread = threading.Thread(target=second.run, daemon=True)
    thread.start()

    # When both work until all runs have ended
    try:
        for run in runs:
            stage.loop_until(lambda run=run: stage.store.run(run).state.value == "success")
    finally:
        second.stop()
        thread.join()

    # Then no commit occupied two slots, no two tasks ran at once, and each ran once
    changes = [occupied_slots(event) for event in stage.store.events(dag_id="d") if event.key is not None]
    assert (max(accumulate(changes)), changes.count(1)) == (1, 24)
    assert (stage.folder / "log").read_text() == "+-" * 24
    events = [stage.store.events(run=run, key=TaskKey("t0")) for run in runs]
    assert [[event.cause for event in history].count("started") for history in events] == [1, 1, 1, 1]
