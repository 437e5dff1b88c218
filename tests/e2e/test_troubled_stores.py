"""A full or locked metastore delays runs; no run, row or process is lost."""

from __future__ import annotations

import os
import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.servers import require

WAITS = """
with DAG("d", schedule=None, max_active_tasks=100):
    @task
    def first(): wait_at(NOTES / "go")
    @task
    def then(n): return "x" * 2000
    first() >> then.override(retries=0).expand(n=list(range(60)))
"""


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of a few MiB."""
    folder = tmp_path / "small"
    folder.mkdir()
    try:
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "none", folder], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        require("a small file system", f"mount said: {getattr(error, 'stderr', error)!r}")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


def fill(disk: Path) -> Path:
    """Write until the disk is full."""
    ballast = disk / "ballast"
    with open(ballast, "wb", buffering=0) as file:
        try:
            while file.write(bytes(4096)):
                pass
        except OSError:
            pass
    return ballast


def test_after_a_full_disk_the_scheduler_continues_and_the_store_is_consistent(make_deployment, small_disk, tmp_path):
    # Given an active run whose metastore's disk becomes full
    deployment = make_deployment(home=small_disk / "home", LOGGING__BASE_LOG_FOLDER=str(tmp_path / "logs"))
    deployment.write("d.py", WAITS)
    gate = deployment.close_gate("go")
    scheduler = deployment.start()
    run = deployment.trigger("d")
    deployment.until(lambda: "started" in deployment.causes(run, "first"))
    ballast = fill(small_disk)

    # When its tasks continue until the scheduler logs the error, and then space is freed
    gate.open()
    deployment.until(lambda: "is full" in deployment.output())
    alive = scheduler.poll() is None
    os.truncate(ballast, 0)
    states = deployment.end_of(run)

    # Then the run ends; each transition is stored once, and the file is consistent
    assert alive
    assert set(states.values()) <= {"success", "failed"}
    failed = [task for task, state in states.items() if state == "failed"]
    errors = [event.detail["error"] for event in deployment.store.events(run=run) if "error" in event.detail]
    assert all("disk" in error and "full" in error for error in errors), errors
    assert len(errors) == len(failed)
    assert deployment.store.run(run).state.value == ("failed" if failed else "success")
    for ti in deployment.store.instances(run):
        events = deployment.store.events(run=run, key=ti.key)
        assert [event.source for event in events] == ["none", *(event.target for event in events[:-1])]
        assert events[-1].target == ti.state
    assert deployment.stop() == [0]
    with sqlite3.connect(deployment.home / "nbflow.db") as database:
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def test_the_scheduler_waits_for_a_locked_database(make_deployment, tmp_path):
    # Given a scheduler whose metastore another process locks for longer than the busy timeout
    home = tmp_path / "home"
    deployment = make_deployment(home=home, DATABASE__SQL_ALCHEMY_CONN=f"sqlite:///{home}/nbflow.db?timeout=0.3")
    deployment.write("d.py", WAITS)
    gate = deployment.close_gate("go")
    scheduler = deployment.start()
    run = deployment.trigger("d")
    deployment.until(lambda: "started" in deployment.causes(run, "first"))
    other = sqlite3.connect(deployment.home / "nbflow.db", isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")

    # When the task ends meanwhile, and the lock is released after the scheduler has logged it
    gate.open()
    deployment.until(lambda: "was locked for 0.3 s" in deployment.output())
    alive = scheduler.poll() is None
    other.execute("ROLLBACK")
    other.close()
    states = deployment.end_of(run)

    # Then no event is lost and no task ran twice
    assert (alive, set(states.values())) == (True, {"success"})
    assert deployment.causes(run, "first") == ["dependencies_met", "dispatched", "started", "succeeded"]
    assert "metastore is available again" in deployment.output()
    assert (deployment.stop(), deployment.processes()) == ([0], [])


def test_a_second_scheduler_on_sqlite_is_refused_and_the_first_continues(deployment):
    deployment.write("d.py", WAITS)
    gate = deployment.close_gate("go")
    first = deployment.start()
    run = deployment.trigger("d")
    deployment.until(lambda: "started" in deployment.causes(run, "first"))
    second = deployment.start()
    code = second.wait(60)
    gate.open()
    states = deployment.end_of(run)

    assert code != 0
    assert f"A scheduler already runs on this metastore (pid {first.pid}" in deployment.output()
    assert set(states.values()) == {"success"}


def test_a_full_log_disk_loses_output_but_does_not_stop_the_scheduler(make_deployment, small_disk):
    # Given logs on a small disk, and a task that prints once that disk is full
    deployment = make_deployment(LOGGING__BASE_LOG_FOLDER=str(small_disk / "logs"))
    deployment.write(
        "d.py",
        """
        with DAG("d", schedule=None):
            @task
            def prints():
                wait_at(NOTES / "go")
                print("z" * 100_000, flush=True)
            @task
            def after(): print("still here")
            prints() >> after()
        """,
    )
    gate = deployment.close_gate("go")
    scheduler = deployment.start()
    first = deployment.trigger("d")
    deployment.until(lambda: "started" in deployment.causes(first, "prints"))
    ballast = fill(small_disk)

    # When it prints, and space is freed for the next run
    gate.open()
    states = deployment.end_of(first)
    os.truncate(ballast, 0)
    second = deployment.end_of(deployment.trigger("d"))

    # Then each task of the first run succeeded or its error is the full disk, and the next run succeeds
    errors = {task: deployment.error(first, task) for task, state in states.items() if state == "failed"}
    assert all("No space left" in error for error in errors.values()), errors
    assert "running" not in states.values()
    assert (scheduler.poll(), second) == (None, {"prints": "success", "after": "success"})
