"""A task instance for each item of a list that is known only at run time, then a task that gets all results."""

from datetime import UTC, datetime

from nbflow import DAG, task, task_group

with DAG(
    "example_mapping",
    description="Tasks and groups mapped over a list that another task returns",
    schedule=None,
    start_date=datetime(2024, 1, 1, tzinfo=UTC),
    tags=["example"],
    doc_md=__doc__,
):

    @task
    def cities():
        return ["Aachen", "Bonn", "Celle"]

    @task
    def letters(city):
        return len(city)

    @task
    def total(numbers):
        return sum(numbers)

    @task_group
    def postcard(city):
        @task
        def write(city):
            return f"Greetings from {city}"

        @task
        def send(text):
            print(text)

        send(write(city))

    names = cities()
    total(letters.expand(city=names))
    postcard.expand(city=names)
