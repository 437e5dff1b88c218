"""Every public name that a DAG file imports, as files of the first release wrote them."""

from datetime import datetime, timedelta

from nbflow import DAG, Label, Param, TaskGroup, chain, get_current_context, task
from nbflow.core.timetables import CronTriggerTimetable
from nbflow.errors import AirflowSkipException
from nbflow.operators.bash import BashOperator
from nbflow.operators.empty import EmptyOperator
from nbflow.operators.python import BranchPythonOperator
from nbflow.sensors.base import BaseSensorOperator


class Ready(BaseSensorOperator):
    def poke(self, context):
        return True


with DAG(
    "public_names",
    schedule=CronTriggerTimetable("0 3 * * *", timezone="UTC"),
    start_date=datetime(2024, 1, 1),
    params={"word": Param("hello", type="string")},
    default_args={"retries": 1, "retry_delay": timedelta(seconds=1)},
):
    start = EmptyOperator(task_id="start")
    ready = Ready(task_id="ready")
    echo = BashOperator(task_id="echo", bash_command="echo {{ params.word }} {{ ds }}")
    choose = BranchPythonOperator(task_id="choose", python_callable=lambda: "grouped.double")
    other = EmptyOperator(task_id="other")

    @task
    def numbers():
        return [1, 2, 3]

    @task
    def total(values):
        return {"total": sum(values), "run": get_current_context()["run_id"]}

    @task
    def skips():
        raise AirflowSkipException("nothing to do")

    with TaskGroup("grouped"):

        @task
        def double(x):
            return x * 2

        doubled = double.expand(x=numbers())

    chain(start, ready, echo, choose)
    choose >> Label("even") >> doubled
    choose >> other
    total(doubled)
    echo >> skips()
