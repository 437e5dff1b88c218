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
    """Take all the room that is left."""
    ballast = disk / "ballast"
    with open(ballast, "wb", buffering=0) as file:
        try:
            while file.write(bytes(4096)):
                pass
        except OSError:
            pass
    return ballast


def test_after_a_full_disk_the_scheduler_continues_and_the_store_is_consistent(make_house, small_disk, tmp_path):
    # Given a run under way, whose metastore's disk becomes full
    house = make_house(home=small_disk / "home", LOGGING__BASE_LOG_FOLDER=str(tmp_path / "logs"))
    house.write("d.py", WAITS)
    gate = house.close_gate("go")
    scheduler = house.start()
    run = house.trigger("d")
    house.until(lambda: "started" in house.causes(run, "first"))
    ballast = fill(small_disk)

    # When its tasks go on, until the scheduler says what is wrong, and then there is room again
    gate.open()
    house.until(lambda: "is full" in house.said())
    alive = scheduler.poll() is None
    os.truncate(ballast, 0)
    states = house.end_of(run)

    # Then the run ends; each change of state is there once, and the file is whole
    assert alive
    assert set(states.values()) <= {"success", "failed"}
    failed = [task for task, state in states.items() if state == "failed"]
    errors = [event.detail["error"] for event in house.store.events(run=run) if "error" in event.detail]
    assert all("disk" in error and "full" in error for error in errors), errors
    assert len(errors) == len(failed)
    assert house.store.run(run).state.value == ("failed" if failed else "success")
    for one in house.store.instances(run):
        events = house.store.events(run=run, key=one.key)
        assert [event.source for event in events] == ["none", *(event.target for event in events[:-1])]
        assert events[-1].target == one.state
    assert house.stop() == [0]
    with sqlite3.connect(house.home / "nbflow.db") as database:
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def test_the_scheduler_waits_for_a_locked_database(make_house, tmp_path):
    # Given a scheduler whose metastore another process locks for longer than it is willing to wait
    home = tmp_path / "home"
    house = make_house(home=home, DATABASE__SQL_ALCHEMY_CONN=f"sqlite:///{home}/nbflow.db?timeout=0.3")
    house.write("d.py", WAITS)
    gate = house.close_gate("go")
    scheduler = house.start()
    run = house.trigger("d")
    house.until(lambda: "started" in house.causes(run, "first"))
    other = sqlite3.connect(house.home / "nbflow.db", isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")

    # When the task ends meanwhile, and the lock is given back once the scheduler has said that it waits
    gate.open()
    house.until(lambda: "was locked for 0.3 s" in house.said())
    alive = scheduler.poll() is None
    other.execute("ROLLBACK")
    other.close()
    states = house.end_of(run)

    # Then nothing is lost and nothing ran twice
    assert (alive, set(states.values())) == (True, {"success"})
    assert house.causes(run, "first") == ["dependencies_met", "dispatched", "started", "succeeded"]
    assert "metastore is available again" in house.said()
    assert (house.stop(), house.processes()) == ([0], [])


def test_a_second_scheduler_on_sqlite_is_refused_and_the_first_continues(house):
    house.write("d.py", WAITS)
    gate = house.close_gate("go")
    first = house.start()
    run = house.trigger("d")
    house.until(lambda: "started" in house.causes(run, "first"))
    second = house.start()
    code = second.wait(60)
    gate.open()
    states = house.end_of(run)

    assert code != 0
    assert f"A scheduler already runs on this metastore (pid {first.pid}" in house.said()
    assert set(states.values()) == {"success"}


def test_a_full_log_disk_loses_output_but_does_not_stop_the_scheduler(make_house, small_disk):
    # Given logs on a small disk, and a task that prints once that disk is full
    house = make_house(LOGGING__BASE_LOG_FOLDER=str(small_disk / "logs"))
    house.write(
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
    gate = house.close_gate("go")
    scheduler = house.start()
    first = house.trigger("d")
    house.until(lambda: "started" in house.causes(first, "prints"))
    ballast = fill(small_disk)

    # When it prints, and there is room again for the next run
    gate.open()
    states = house.end_of(first)
    os.truncate(ballast, 0)
    second = house.end_of(house.trigger("d"))

    # Then each task of the full disk's time ended well or says that no space was left, and the next run is whole
    errors = {task: house.error(first, task) for task, state in states.items() if state == "failed"}
    assert all("No space left" in error for error in errors.values()), errors
    assert "running" not in states.values()
    assert (scheduler.poll(), second) == (None, {"prints": "success", "after": "success"})
