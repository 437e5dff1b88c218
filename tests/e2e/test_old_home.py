"""A home of an earlier nbflow: its metastore and DAG files, written with public names, still load and run.

``old_home/`` was created by nbflow before its packages were renamed: one finished and one queued run of each DAG.
Module names are plain text in stored sources and specs, so a renamed module causes no import error in nbflow itself.
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
def old_home(tmp_path, make_deployment):
    home = tmp_path / "old"
    home.mkdir()
    shutil.copytree(OLD / "dags", home / "dags")
    with sqlite3.connect(home / "nbflow.db") as database:
        database.executescript((OLD / "nbflow.sql").read_text().replace("{home}", str(home)))
    return make_deployment(home)


@pytest.mark.parametrize("files_exist", [True, False], ids=["with DAG files", "without DAG files"])
def test_queued_runs_of_an_old_home_run_with_their_stored_version(old_home, files_exist):
    # Given an old home, whose DAG files may have been deleted
    if not files_exist:
        shutil.rmtree(old_home.home / "dags")
        (old_home.home / "dags").mkdir()
    for dag_id in ENDS:
        old_home.ops.set_paused(dag_id, False)
    # When a scheduler runs
    old_home.start()
    ends = {dag_id: old_home.end_of(RunKey(dag_id, "before_the_move")) for dag_id in ENDS}
    # Then the runs end as before
    assert ends == ENDS


def test_the_files_of_an_old_home_load_and_run(old_home):
    # Given an old home whose files a scheduler has read
    before = {dag_id: old_home.store.dag(dag_id).last_parsed_at for dag_id in ENDS}
    old_home.start()
    old_home.until(lambda: all(old_home.store.dag(dag_id).last_parsed_at > at for dag_id, at in before.items()))
    # When its DAGs are triggered again
    for dag_id in ENDS:
        old_home.ops.set_paused(dag_id, False)
    runs = {dag_id: old_home.trigger(dag_id) for dag_id in ENDS}
    # Then no file has an import error, and the runs end as before
    assert {dag_id: old_home.end_of(run) for dag_id, run in runs.items()} == ENDS
    assert old_home.store.import_errors() == []
