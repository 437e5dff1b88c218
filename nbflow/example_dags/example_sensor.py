"""Waiting without occupying a slot: in reschedule mode a sensor releases its slot between two pokes."""

from datetime import UTC, datetime, timedelta

from nbflow import DAG, task

with DAG(
    "example_sensor",
    description="A sensor in reschedule mode, with a timeout",
    schedule=None,
    start_date=datetime(2024, 1, 1, tzinfo=UTC),
    tags=["example"],
    doc_md=__doc__,
):

    @task.sensor(mode="reschedule", poke_interval=0.5, timeout=timedelta(minutes=1).total_seconds())
    def wait_a_moment(dag_run):
        """Return True two seconds after the run was due to start."""
        return datetime.now(UTC) > dag_run.run_after + timedelta(seconds=2)

    @task
    def go_on():
        print("it is time")

    wait_a_moment() >> go_on()
