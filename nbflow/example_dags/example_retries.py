"""A task that fails in its first try and is retried, a task that runs in any case, and a task that runs only after a
failure."""

from datetime import UTC, datetime, timedelta

from nbflow import DAG, task

with DAG(
    "example_retries",
    description="Retries with backoff, and trigger rules for tasks after a failure",
    schedule=None,
    start_date=datetime(2024, 1, 1, tzinfo=UTC),
    tags=["example"],
    doc_md=__doc__,
):

    @task(retries=3, retry_delay=timedelta(seconds=1), retry_exponential_backoff=True)
    def flaky(ti):
        if ti.try_number < 2:
            raise ConnectionError("the first try fails")

    @task(trigger_rule="all_done")
    def tidy_up():
        print("this runs in any case")

    @task(trigger_rule="one_failed")
    def raise_alarm():
        print("this runs only if something failed")

    flaky() >> [tidy_up(), raise_alarm()]
