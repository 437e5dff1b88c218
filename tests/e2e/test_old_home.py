"""A home that an earlier nbflow left: its metastore and DAG files, written with public names, still load and run.

``old_home/`` was made by the code as it was before its packages were renamed: one finished and one queued run of each
DAG. Module names stand in stored sources and specs as plain text, so no import error at our end would tell of a loss.
"""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path

import pytest

from nbflow.core.snapshot import RunKey

OLD = Path(__file__).parent / "old_home"
ENDS = {
    "public_names": {
        **dict.fromkeys(("start", "ready", "echo", "choose", "grouped.numbers", "total"), "success"),
        **{f"grouped.double[{index}]": "success" for index in range(3)},
        **dict.fromkeys(("other", "skips"), "skipped"),
    },
    "cells": {"greet": "success"},
}


@pytest.fixture
def old_home(tmp_path, make_house):
    home = tmp_path / "old"
    home.mkdir()
    shutil.copytree(OLD / "dags", home / "dags")
    with sqlite3.connect(home / "nbflow.db") as database:
        database.executescript((OLD / "nbflow.sql").read_text().replace("{home}", str(home)))
    return make_house(home)


@pytest.mark.parametrize("files_left", [True, False], ids=["files left", "files gone"])
def test_queued_runs_of_an_old_home_run_with_their_stored_version(old_home, files_left):
    # Given an old home, whose DAG files may have gone since
    if not files_left:
        shutil.rmtree(old_home.home / "dags")
        (old_home.home / "dags").mkdir()
    for dag_id in ENDS:
        old_home.ops.set_paused(dag_id, False)
    # When a scheduler works on it
    old_home.start()
    ends = {dag_id: old_home.end_of(RunKey(dag_id, "before_the_move")) for dag_id in ENDS}
    # Then the runs end as they did before
    assert ends == ENDS


def test_the_files_of_an_old_home_load_and_run(old_home):
    # Given an old home whose files a scheduler has read
    before = {dag_id: old_home.store.dag(dag_id).last_parsed_at for dag_id in ENDS}
    old_home.start()
    old_home.until(lambda: all(old_home.store.dag(dag_id).last_parsed_at > at for dag_id, at in before.items()))
    # When its DAGs are triggered anew
    for dag_id in ENDS:
        old_home.ops.set_paused(dag_id, False)
    runs = {dag_id: old_home.trigger(dag_id) for dag_id in ENDS}
    # Then no file is in error, and the runs end as ever
    assert {dag_id: old_home.end_of(run) for dag_id, run in runs.items()} == ENDS
    assert old_home.store.import_errors() == []
