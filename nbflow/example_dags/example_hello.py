"""Three tasks that pass data: the return value of a function is the argument of the next one."""

from datetime import UTC, datetime

from nbflow import DAG, Param, task

with DAG(
    "example_hello",
    description="TaskFlow: functions as tasks, results as arguments",
    schedule="@daily",
    start_date=datetime(2024, 1, 1, tzinfo=UTC),
    params={"name": Param("world", type="string", description="Name of the person to greet")},
    tags=["example"],
    doc_md=__doc__,
):

    @task
    def greet(params):
        return f"Hello, {params['name']}!"

    @task
    def count(text):
        return {"text": text, "characters": len(text)}

    @task
    def show(counted):
        print(f"{counted['text']} has {counted['characters']} characters")

    show(count(greet()))
