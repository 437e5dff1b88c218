"""Several scheduler processes on one Postgres metastore, of which some stall, die or come late."""

from __future__ import annotations

import os
import signal

import pytest
from sqlalchemy import text

from nbflow.core.snapshot import RunKey
from nbflow.store.base import Attempt, Job
from tests.e2e.conftest import Deployment

LEASES = {
    "SCHEDULER__SCHEDULER_HEARTBEAT_SEC": "0.5",
    "SCHEDULER__SCHEDULER_HEALTH_CHECK_THRESHOLD": "2",
    "SCHEDULER__TASK_INSTANCE_HEARTBEAT_SEC": "0.5",
    "DATABASE__IDLE_IN_TRANSACTION_TIMEOUT_SECONDS": "1",
}
"""A run is leased for 2 s; an attempt for 60 s, as by default. A stalled transaction ends after 1 s."""
GATED = """
with DAG("d", schedule=None):
    @task(retries=3)
    def t():
        with open(NOTES / "ran", "a") as file: file.write("x")
        wait_at(NOTES / "go")
    t()
"""


@pytest.fixture
def deployment(make_deployment, postgres_url) -> Deployment:
    return make_deployment(DATABASE__SQL_ALCHEMY_CONN=postgres_url, **LEASES)


def start(deployment: Deployment, schedulers: int) -> None:
    """Start schedulers and wait until each has its first heartbeat."""
    for _ in range(schedulers):
        deployment.start()
    deployment.until(lambda: len(jobs(deployment)) == schedulers)


def jobs(deployment: Deployment) -> dict[str, Job]:
    return {job.job_id: job for job in deployment.store.jobs("scheduler") if job.ended_at is None}


def lease_owner(deployment: Deployment, run: RunKey) -> str | None:
    with deployment.store._reading() as connection:
        query = text("SELECT lease_owner FROM dag_run WHERE dag_id = :dag_id AND run_id = :run_id")
        return connection.execute(query, run._asdict()).scalar()


def started_attempt(deployment: Deployment, run: RunKey) -> Attempt:
    """Wait until the first task of the run runs user code."""
    deployment.until(lambda: (deployment.notes / "ran").exists())
    [attempt] = deployment.store.attempts(run)
    return attempt


def wait_for_loops(deployment: Deployment, job_id: str) -> None:
    """Wait until the scheduler has looped: it stores its heartbeat at the beginning of a loop."""
    for _ in range(2):
        before = jobs(deployment)[job_id].heartbeat_at
        deployment.until(lambda before=before: jobs(deployment)[job_id].heartbeat_at > before)


@pytest.mark.postgres
def test_a_task_outlives_its_schedulers_lease_of_the_run(deployment):
    # Given two schedulers, of which one runs a task
    deployment.write("d.py", GATED)
    gate = deployment.close_gate("go")
    start(deployment, 2)
    run = deployment.trigger("d")
    owner = jobs(deployment)[started_attempt(deployment, run).owner]

    # When it stands still until the other has leased the run, and then goes on
    os.kill(owner.pid, signal.SIGSTOP)
    deployment.until(lambda: lease_owner(deployment, run) != owner.job_id)
    os.kill(owner.pid, signal.SIGCONT)
    wait_for_loops(deployment, owner.job_id)
    gate.open()

    # Then the task ends as if nothing had happened
    assert deployment.end_of(run) == {"t": "success"}
    assert deployment.causes(run, "t") == ["dependencies_met", "dispatched", "started", "succeeded"]
    assert (deployment.notes / "ran").read_text() == "x"
    assert (deployment.stop(), deployment.processes()) == ([0, 0], [])
