"""Outcomes of a try: each as the event that the scheduler gets."""

from __future__ import annotations

import logging
import signal
import sys
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from nbflow import DAG, task
from nbflow.authoring.operator import BaseOperator
from nbflow.core.attempt_events import Deferred, Failed, Rescheduled, SkippedItself, Succeeded
from nbflow.core.states import Cause
from nbflow.errors import (
    AirflowFailException,
    AirflowRescheduleException,
    AirflowSensorTimeout,
    AirflowSkipException,
    AirflowTaskTerminated,
    DownstreamTasksSkipped,
    SerializationError,
)
from nbflow.operators.empty import EmptyOperator
from nbflow.operators.python import PythonOperator
from nbflow.triggers.base import BaseTrigger
from tests.running.memory import MONDAY, MemoryRuntime, attempt

NOW = MONDAY + timedelta(days=1)
COMMON: dict[str, Any] = {"attempt_id": "a1", "at": NOW, "started_at": NOW}


class Mute(Exception):
    def __str__(self) -> str:
        return str(1 / 0)


class Odd(BaseException):
    pass


def raising(error: BaseException) -> Any:
    def function() -> None:
        raise error

    return function


@pytest.mark.parametrize(
    ("error", "event"),
    [
        (ValueError("no  good\nat all"), Failed(**COMMON, error="ValueError: no good at all")),
        (
            AirflowFailException("no"),
            Failed(**COMMON, cause=Cause.FAILED_HARD, error="AirflowFailException: no", retry=False),
        ),
        (AirflowSensorTimeout("late"), Failed(**COMMON, error="AirflowSensorTimeout: late", retry=False)),
        (
            AirflowTaskTerminated("end"),
            Failed(**COMMON, error="AirflowTaskTerminated: end"),
        ),
        (AirflowSkipException("not today"), SkippedItself(**COMMON, message="not today")),
        (AirflowRescheduleException(NOW + timedelta(hours=1)), Rescheduled(**COMMON, until=NOW + timedelta(hours=1))),
        (SystemExit(3), Failed(**COMMON, error="SystemExit: 3")),
        (SystemExit(0), Succeeded(**COMMON)),
        (KeyError("x"), Failed(**COMMON, error="KeyError: 'x'")),
        (Mute(), Failed(**COMMON, error="Mute: (its message raised ZeroDivisionError)")),
        (Odd("no Exception"), Failed(**COMMON, error="Odd: no Exception")),
        (AirflowRescheduleException(NOW.replace(tzinfo=None)), Rescheduled(**COMMON, until=NOW)),
    ],
    ids=lambda value: type(value).__name__,
)
def test_an_exception_becomes_an_event(dag: DAG, runtime: MemoryRuntime, error: BaseException, event: Any) -> None:
    PythonOperator(task_id="t", python_callable=raising(error))

    assert attempt(dag, "t", runtime).event == event


def test_a_returned_value_becomes_an_xcom(dag: DAG, runtime: MemoryRuntime) -> None:
    PythonOperator(task_id="t", python_callable=lambda: {"a": [1, None]})

    assert attempt(dag, "t", runtime).event == Succeeded(**COMMON)
    assert runtime.stored() == {"a": [1, None]}


def test_none_and_do_xcom_push_false_store_nothing(dag: DAG, runtime: MemoryRuntime) -> None:
    PythonOperator(task_id="none", python_callable=lambda: None)
    PythonOperator(task_id="off", python_callable=lambda: 5, do_xcom_push=False)

    attempt(dag, "none", runtime)
    attempt(dag, "off", runtime)

    assert runtime.rows == {}


def test_multiple_outputs_store_each_key(dag: DAG, runtime: MemoryRuntime) -> None:
    @task
    def t() -> dict[str, Any]:
        return {"p": 1, "q": None}

    t()
    attempt(dag, "t", runtime)

    stored = {key: runtime.stored("t", key) for _, _, _, key in runtime.rows}
    assert stored == {"p": 1, "q": None, "return_value": {"p": 1, "q": None}}


def test_multiple_outputs_with_a_key_that_is_not_a_str_fail_and_store_nothing(dag: DAG, runtime: MemoryRuntime) -> None:
    PythonOperator(task_id="t", python_callable=lambda: {"a": 1, 2: 3}, multiple_outputs=True)

    event = attempt(dag, "t", runtime).event

    assert isinstance(event, Failed)
    assert event.error.startswith("TypeError: multiple_outputs needs str keys")
    assert runtime.rows == {}


def test_a_value_that_json_cannot_hold_fails_with_its_place(dag: DAG, runtime: MemoryRuntime) -> None:
    PythonOperator(task_id="t", python_callable=lambda: {"a": [object()]})

    event = attempt(dag, "t", runtime).event

    assert isinstance(event, Failed)
    assert SerializationError.__name__ in event.error
    assert '["a"][0]' in event.error


def test_a_deferral_holds_the_trigger_as_data(dag: DAG, runtime: MemoryRuntime) -> None:
    class Wait(BaseTrigger):
        def serialize(self) -> tuple[str, dict[str, Any]]:
            return "tests.Wait", {"until": NOW}

    class DeferringOperator(BaseOperator):
        def execute(self, context: Any) -> None:
            self.defer(trigger=Wait(), method_name="resume", kwargs={"n": 1}, timeout=timedelta(minutes=5))

        def resume(self, context: Any, event: Any, n: int) -> Any:
            return [event, n]

    DeferringOperator(task_id="t")

    event = attempt(dag, "t", runtime).event
    assert isinstance(event, Deferred)
    assert event.trigger["name"] == "tests.Wait"
    assert (event.next_method, event.kwargs, event.timeout_at) == ("resume", {"n": 1}, NOW + timedelta(minutes=5))

    resumed = attempt(dag, "t", runtime, continues=True, next_method="resume", next_kwargs={"n": 1, "event": "it came"})
    assert resumed.event == Succeeded(**COMMON)
    assert runtime.stored() == ["it came", 1]


def test_a_deferred_task_resumes_only_in_a_method_that_it_has(dag: DAG, runtime: MemoryRuntime) -> None:
    EmptyOperator(task_id="t")

    event = attempt(dag, "t", runtime, next_method="__class__").event

    assert isinstance(event, Failed)
    assert "no method '__class__'" in event.error


def test_an_attempt_that_exceeds_its_execution_timeout_fails(dag: DAG, runtime: MemoryRuntime) -> None:
    killed = []

    class Spin(BaseOperator):
        def execute(self, context: Any) -> None:
            while True:
                pass

        def on_kill(self) -> None:
            killed.append(self.task_id)

    Spin(task_id="t", execution_timeout=timedelta(milliseconds=20))

    event = attempt(dag, "t", runtime).event

    assert isinstance(event, Failed)
    assert (event.cause, event.retry, killed) == (Cause.EXECUTION_TIMEOUT, True, ["t"])


def test_a_keyboard_interrupt_reaches_the_caller_after_on_kill(dag: DAG, runtime: MemoryRuntime) -> None:
    killed = []

    class Stopped(BaseOperator):
        def execute(self, context: Any) -> None:
            raise KeyboardInterrupt

        def on_kill(self) -> None:
            killed.append(self.task_id)

    Stopped(task_id="t")

    with pytest.raises(KeyboardInterrupt):
        attempt(dag, "t", runtime)
    assert killed == ["t"]


@pytest.mark.parametrize("where", ["task", "callback"])
def test_a_keyboard_interrupt_in_a_process_of_its_own_is_an_exception_like_others(
    dag: DAG, runtime: MemoryRuntime, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    monkeypatch.setattr("nbflow.execution.task_runner.setup_logging", lambda level: None)
    # Given a task that raises KeyboardInterrupt, or whose callback does, in a process that no terminal interrupts
    calls = []

    def interrupt(context: Any) -> None:
        calls.append(context["ti"].state)
        raise KeyboardInterrupt("stop")

    function = raising(KeyboardInterrupt("stop")) if where == "task" else lambda: None
    callbacks: dict[str, Any] = {"on_retry_callback": interrupt, "on_success_callback": interrupt}
    PythonOperator(task_id="t", python_callable=function, retries=1, **callbacks)

    # When its first of two tries runs
    outcome = attempt(dag, "t", runtime, max_tries=1, options={"own_process": True})

    # Then it fails and may be retried, as for any exception; its callback changes nothing
    expected = Failed(**COMMON, error="KeyboardInterrupt: stop") if where == "task" else Succeeded(**COMMON)
    assert (outcome.event, calls) == (expected, ["up_for_retry" if where == "task" else "success"])


def test_a_sigterm_that_nbflow_did_not_send_fails_the_try_as_the_death_of_its_process(
    dag: DAG, runtime: MemoryRuntime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nbflow.execution.task_runner.setup_logging", lambda level: None)
    PythonOperator(task_id="t", python_callable=lambda: signal.raise_signal(signal.SIGTERM))

    event = attempt(dag, "t", runtime, options={"own_process": True}).event

    error = "AirflowTaskTerminated: the task received SIGTERM, which nbflow did not send"
    assert event == Failed(**COMMON, cause=Cause.PROCESS_DIED, error=error)


def test_the_log_shows_the_traceback_of_user_code(
    dag: DAG, runtime: MemoryRuntime, caplog: pytest.LogCaptureFixture
) -> None:
    def inner() -> None:
        raise ValueError("bad row")

    PythonOperator(task_id="t", python_callable=lambda: inner())

    with caplog.at_level(logging.ERROR):
        attempt(dag, "t", runtime)

    text = caplog.records[-1].getMessage()
    assert text.startswith("Task failed: ValueError: bad row\nTraceback (most recent call last):")
    assert "in inner" in text
    assert "nbflow/execution/" not in text
    assert "nbflow/authoring/" not in text
    assert "nbflow/operators/" not in text


def test_an_error_raised_by_nbflow_is_one_line(
    dag: DAG, runtime: MemoryRuntime, caplog: pytest.LogCaptureFixture
) -> None:
    BaseOperator(task_id="t")

    with caplog.at_level(logging.ERROR):
        attempt(dag, "t", runtime)

    assert caplog.records[-1].getMessage() == (
        "Task failed: NotImplementedError: BaseOperator must define execute(self, context)."
    )


def test_the_task_in_the_dag_is_not_changed(dag: DAG, runtime: MemoryRuntime) -> None:
    args = ["{{ ds }}"]
    t = PythonOperator(task_id="t", python_callable=lambda day: day, op_args=args)

    attempt(dag, "t", runtime)
    runtime.run = replace(runtime.run, run_id="r2", logical_date=NOW)
    attempt(dag, "t", runtime)

    assert (runtime.stored(), t.op_args, args) == ("2024-01-02", ["{{ ds }}"], ["{{ ds }}"])


def test_an_async_function_is_awaited(dag: DAG, runtime: MemoryRuntime) -> None:
    @task
    async def t() -> int:
        return 7

    t()
    attempt(dag, "t", runtime)

    assert runtime.stored() == 7


def test_downstream_tasks_skipped_by_name(dag: DAG, runtime: MemoryRuntime) -> None:
    t = PythonOperator(task_id="t", python_callable=raising(DownstreamTasksSkipped(tasks=["b"])))
    t >> [EmptyOperator(task_id="a"), EmptyOperator(task_id="b")]

    event = attempt(dag, "t", runtime).event

    assert event == Succeeded(**COMMON, follow=("a",))


def test_running_a_python_task_needs_neither_jinja_nor_pendulum(tmp_path: Any) -> None:
    import subprocess

    code = (
        "import sys\n"
        "from nbflow import DAG, task\n"
        "from tests.running.memory import MemoryRuntime, attempt\n"
        "with DAG('d') as dag:\n"
        "    task(task_id='t')(lambda ti: ti.try_number)()\n"
        "runtime = MemoryRuntime(environ={})\n"
        "attempt(dag, 't', runtime)\n"
        "assert runtime.stored() == 1\n"
        "print([name for name in ('jinja2', 'pendulum', 'sqlalchemy', 'croniter') if name in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_a_template_that_cannot_be_rendered_is_named_with_its_field(
    dag: DAG, runtime: MemoryRuntime, caplog: pytest.LogCaptureFixture
) -> None:
    PythonOperator(task_id="t", python_callable=print, op_args=["{{ dag_run.conf['msg'] }}"])
    with caplog.at_level(logging.ERROR):
        attempt(dag, "t", runtime)
    text = caplog.records[-1].getMessage()
    assert text.endswith("""Rendering op_args of task 't': ["{{ dag_run.conf['msg'] }}"]""")
    assert "jinja2/" not in text


def test_a_task_called_inside_a_task_warns_that_it_has_no_effect(
    runtime: MemoryRuntime, caplog: pytest.LogCaptureFixture
) -> None:
    @task
    def inner() -> None: ...

    def outer() -> None:
        inner()

    with DAG("d", schedule=None) as dag:
        PythonOperator(task_id="outer", python_callable=outer)
    with caplog.at_level(logging.WARNING):
        attempt(dag, "outer", runtime)
    assert "<@task inner> was called inside a running task, which neither adds a task nor runs the" in caplog.text


class _WithoutText(dict[str, int]):
    def __repr__(self) -> str:
        raise RuntimeError("no repr")


@pytest.mark.parametrize(
    ("value", "kind"), [(_WithoutText(a=1), "_WithoutText"), (10**5000, "int")], ids=["repr", "int"]
)
def test_a_result_without_a_text_is_no_error_of_its_log_line(
    dag: DAG, runtime: MemoryRuntime, caplog: pytest.LogCaptureFixture, value: object, kind: str
) -> None:
    caplog.set_level(logging.INFO)
    PythonOperator(task_id="t", python_callable=lambda: value, do_xcom_push=False)

    assert isinstance(attempt(dag, "t", runtime).event, Succeeded)
    assert f"Returned value was: <a {kind}, whose text raised" in caplog.text
